/* txadmin: the operator's command line. What its files share.
 *
 * txadmin.c reads the arguments and runs a verb from its table; a verb (verb_*.c) asks the coordinator
 * (caller.c) and prints the answer (table.c, text.c). Nothing else prints.
 */
#ifndef ASSENT_TXADMIN_H
#define ASSENT_TXADMIN_H

#include <cjson/cJSON.h>
#include <stdbool.h>

enum exit_status {
    EXIT_DONE = 0,
    EXIT_REFUSED = 1,  /* the coordinator refused, or the operation failed */
    EXIT_USAGE = 2,    /* nothing was asked */
    EXIT_FINDINGS = 3, /* doctor found errors */
    EXIT_SILENCE = 4,  /* no coordinator answered in time */
    EXIT_DENIED = 5,   /* the key that it asks with may not, or is not known; or no coordinator is believed */
};

enum { OPERAND_LIMIT = 6 /* one more than any verb takes, so that too many are noticed */ };

struct arguments {
    /* all verbs */
    char *coordinators;
    unsigned timeout_ms;
    bool timeout_given; /* or it is the default */
    bool json;
    char *identity, *keys; /* NULL: as security.h has them */
    bool insecure;
    /* some */
    bool all, in_doubt, yes, force, wait;
    unsigned older_ms, limit;
    char *resource, *resources, *name, *role;
    /* what follows the verb */
    int n_operands;
    const char *operands[OPERAND_LIMIT];
};

/* verb_*.c: each asks, prints, and returns the program's exit status */

enum exit_status verb_status(const struct arguments *a);
enum exit_status verb_transactions(const struct arguments *a);
enum exit_status verb_show(const struct arguments *a);
enum exit_status verb_resources(const struct arguments *a);
enum exit_status verb_resource(const struct arguments *a);
enum exit_status verb_sessions(const struct arguments *a);
enum exit_status verb_resolve(const struct arguments *a);
enum exit_status verb_forget(const struct arguments *a);
enum exit_status verb_doctor(const struct arguments *a);
enum exit_status verb_backup(const struct arguments *a);
enum exit_status verb_node(const struct arguments *a);
enum exit_status verb_keygen(const struct arguments *a);
enum exit_status verb_key(const struct arguments *a);

/* Prints a transaction as `show` does. Used also before an operator's decision. */
void show_print(const cJSON *transaction);
/* Prints the group's nodes, and what is to be mended about them. */
void nodes_print(const cJSON *answer);
/* node list --wait. EXIT_REFUSED: not all came within a->timeout_ms, or two minutes where none was given. */
enum exit_status nodes_wait(const struct arguments *a);

/* credentials.c */

struct channel_security;
/* As whom it speaks, and whom it believes; *out NULL: in clear text. EXIT_USAGE: complained about. */
enum exit_status credentials_open(const struct arguments *a, const struct channel_security **out);
/* At the end. */
void credentials_close(void);

/* caller.c */

/* Sends a question and waits for the answer, at most a->timeout_ms. Takes the question. With EXIT_DONE the
 * caller frees *answer; else what went wrong has been printed: with --json as an answer that is a refusal. */
enum exit_status caller_ask(const struct arguments *a, cJSON *question, cJSON **answer);
/* The same for a verb with --json: prints the answer as it came. */
enum exit_status caller_print(const struct arguments *a, cJSON *question);
/* Prints an answer as JSON; what the program is to exit with. Takes the answer. */
enum exit_status caller_print_answer(cJSON *answer);
/* For those who read the answer with a program: the last complaint in the form of a refusal. */
void caller_print_failure(int code);
/* A question with its verb. */
cJSON *caller_question(const char *verb);
/* For a verb that changes something: asks, and prints the answer with --json, else `done` and what the
 * coordinator notes. */
enum exit_status caller_act(const struct arguments *a, cJSON *question, const char *done);

/* text.c */

/* «txadmin: …» on standard error. */
void complain(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* What complain() said last. */
const char *complaint(void);

/* Members of an answer; what is missing or of another type is "" or 0. */
const char *text_of(const cJSON *o, const char *name);
double number_of(const cJSON *o, const char *name);
bool truth_of(const cJSON *o, const char *name);

/* "3m12s", "250ms", "2d4h". Valid until the eighth next call. */
const char *age_text(double ms);
/* "-" for an empty text. */
const char *or_dash(const char *text);
/* "1 session", "2 sessions". Valid until the eighth next call. */
const char *count_text(double n, const char *what);

/* EXIT_DONE where there is a terminal to ask on; else says to use --yes. */
enum exit_status confirm_possible(void);
/* Puts the question on the terminal. EXIT_DONE: the operator typed «yes». */
enum exit_status confirm(const char *question);

/* Text that came from far, without what could steer the terminal. */
void print_clean(const char *text);

#endif
