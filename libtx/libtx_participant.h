/* libtx for services: a C program of your own as a resource that takes part in transactions.
 *
 * The service keeps something durable (a file, an embedded database) and offers it to applications over
 * whatever protocol the two speak. It opens one participant, which stays in touch with the coordinator group,
 * and gives it four callbacks. An application that calls the service inside a transaction sends the
 * transaction's context along (txn_export(), libtx.h); the service joins with it (tx_participant_join()), does
 * its work under the branch's name without making it durable or visible, and answers. Whatever comes then comes
 * by callbacks:
 *
 *      join ──▶ work ──▶ prepare ──▶ commit          rollback may come instead of prepare, or after it
 *
 * What must be durable when (X/Open CAE Specification C193, chapter 2; Gray & Reuter, «Transaction Processing»,
 * chapter 10; docs/participant.md tells more):
 *   before prepare returns TX_OK    all that commit and rollback need, under the branch's name
 *   before commit returns TX_OK     the effect, and that this branch is committed
 *   before rollback returns TX_OK   that nothing of it is left
 * After a restart the service still knows its prepared branches (list_in_doubt), and is told what became of
 * them. It never decides by itself.
 *
 * Threads: tx_participant_join() and tx_participant_answer() may be called from any thread, with locks of the
 * program's held. Callbacks come one at a time, from inside tx_participant_dispatch() or on libtx's thread,
 * never two at once for one branch (an answer that is to come LATER counts), and may call anything here but
 * tx_participant_close(). Not fork-safe: open after fork().
 */
#ifndef LIBTX_PARTICIPANT_H
#define LIBTX_PARTICIPANT_H

#include "libtx.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct tx_participant tx_participant;

/* The name of a branch: printable, without blanks, never used twice. Bytes with the terminating NUL. */
#define TX_BRANCH_SIZE 100

/* What a callback returns beside TX_OK. */
enum {
    TX_PARTICIPANT_READ_ONLY = 1, /* prepare: the branch has changed nothing; it is over, and forgotten */
    TX_PARTICIPANT_LATER = 2,     /* tx_participant_answer() will bring the answer; not of list_in_doubt */
};

/* commit and rollback may come again for one branch, also after a restart, and must give the same answer then;
 * prepare may where a request came again. Borrowed arguments are valid during the call. */
struct tx_participant_callbacks {
    void *arg; /* handed to each */
    /* Votes. TX_OK: yes, prepared durably (or it is so already, or committed); from here on only commit or
     * rollback end it, whatever happens to this process. TX_PARTICIPANT_READ_ONLY. TX_EROLLBACK, and whatever
     * else it may be: no; nothing is left of it. */
    int (*prepare)(void *arg, const char *branch);
    /* TX_OK: is committed, now or by an earlier call. TX_ENOTFOUND: nothing is known of such a branch, neither
     * that it is prepared nor that it was committed (one at work is not prepared): reported to the operator as
     * a hazard, never taken for success. TX_EHEURISTIC: somebody has rolled it back by hand; reported. Anything
     * else: could not be done now, and is asked again. */
    int (*commit)(void *arg, const char *branch);
    /* Of a branch that is prepared, that is still at work (its application is gone), or of which nothing is
     * known. TX_OK: nothing of it is left. TX_EHEURISTIC: is committed: by hand, or long ago, and only a
     * request of it came again; an end, and reported where the coordinator has asked. Anything else: is asked
     * again. The first comes when the application rolls back, or is silent for its transaction_timeout_ms. */
    int (*rollback)(void *arg, const char *branch);
    /* Names every prepared branch that is neither committed nor rolled back: found(list, branch, age_ms), from
     * inside the callback. TX_OK, or why not. First of all, every few seconds, and before a branch at work is
     * rolled back.
     * age_ms: for how long it has been prepared. The coordinator is asked about one that is older than a
     * second, and operators are shown it. 0 is allowed where it is not known: libtx then counts from when it
     * heard of the branch first. */
    int (*list_in_doubt)(void *arg, void (*found)(void *list, const char *branch, uint64_t age_ms), void *list);
    /* May be NULL: this service takes no statements by txn_exec(). One statement of a branch at work, which has
     * joined by it; `result` (a buffer of `size` bytes) takes a text that the application reads as one row of
     * one column, "" none. TX_OK; TX_ESTATEMENT with the reason in `result`: refused, and the transaction can
     * only be rolled back. */
    int (*exec)(void *arg, const char *branch, const char *statement, int n_values, const char *const *values,
                char *result, size_t size);
};

/* Zero or NULL in a field means the default in brackets. */
struct tx_participant_options {
    const char *resource;     /* the name that applications use, required */
    const char *coordinators; /* as in struct tx_client_options */
    const char *name;         /* of this process, shown by txadmin; at most 63 bytes [the resource's name] */
    const char *listen; /* "tcp://host:port" where txn_exec() and roll-backs of applications arrive; [none:
                           they come through the coordinator] */
    unsigned scan_interval_ms; /* between two calls of list_in_doubt [5000] */
    /* Takes what libtx has to tell the operator: a line without its newline, key=value, on the thread that is
     * inside libtx, with libtx's lock held: it calls nothing here, and waits for no thread that may. [nothing
     * is written] */
    void (*log)(void *arg, const char *line);
    void *log_arg;
    /* As in struct tx_client_options; the key needs the role agent, for this resource. */
    const char *identity, *keys;
    int insecure;
};

/* Begins to serve; reaches the coordinators when it is dispatched, and goes on trying for ever. Options are
 * copied. On success *out is owned by the caller: tx_participant_close() it. TX_EINVAL (options, no identity, a
 * callback is missing), TX_EREFUSED (a file that others may read; insecure, and an address of another machine),
 * TX_EIO (cannot listen, or read a file), TX_ENOMEM. */
TX_API TX_MUST_USE int tx_participant_open(tx_participant **out, const struct tx_participant_options *options,
                                           const struct tx_participant_callbacks *callbacks,
                                           struct tx_error *error);

/* Ends libtx's thread; no callback comes any more, and no join succeeds. Answers are still taken, so that the
 * program can wait for threads of its own that owe some. Not from a callback. */
TX_API void tx_participant_stop(tx_participant *p);

/* Stops, where that was not done, and frees. Branches at work are rolled back: rollback is called for them,
 * here, once, whatever it answers (not at all, if list_in_doubt fails or names them). Prepared ones stay, and
 * so do those whose prepare, commit or rollback has not been answered: they are found by list_in_doubt when the
 * program opens the next participant. Nobody calls anything for `p` any more: whoever has threads that do stops
 * first, then waits for them. NULL is allowed. */
TX_API void tx_participant_close(tx_participant *p);

/* Either: a thread of libtx's calls the callbacks, until tx_participant_close(). TX_ENOMEM. */
TX_API TX_MUST_USE int tx_participant_start(tx_participant *p, struct tx_error *error);

/* Or: the service's own event loop does. The descriptor to poll for reading, the same for ever; how long to
 * wait at most, in milliseconds as poll() takes it; and what to call then, or earlier. Callbacks come from
 * inside it; called from one of them, or while another thread is in one, it does nothing. */
TX_API int tx_participant_fd(const tx_participant *p);
TX_API int tx_participant_timeout_ms(tx_participant *p);
TX_API void tx_participant_dispatch(tx_participant *p);

/* Takes the context that came with an application's request, before its work is done: the branch's name is the
 * same for all requests of one transaction.
 *
 * A request that comes twice is refused: as long as this participant is open (and for ten minutes after the
 * branch's end), and after a restart while the branch is prepared. That a branch is committed only the service
 * knows. So the work is done only where the service knows nothing of the branch, or has it at work; one that it
 * has prepared or committed makes the request a double, which it refuses itself. It has to remember committed
 * branches for a day (as long as the coordinators' --retention): docs/participant.md says why.
 *
 * TX_EINVAL: not a context, or for another resource. TX_EREFUSED: taken before. TX_EROLLBACK: the branch is
 * over, or an earlier request of it was lost (this service was restarted): the work must not be done.
 * TX_EUNREACHABLE: not yet: no coordinator has told which group this is, or list_in_doubt was not answered. */
TX_API TX_MUST_USE int tx_participant_join(tx_participant *p, const char *context, char branch[TX_BRANCH_SIZE],
                                           struct tx_error *error);

/* The answer to a callback that returned TX_PARTICIPANT_LATER, from any thread, also before it has returned:
 * what it would have returned. Every such callback needs one; nothing else comes for its branch before.
 * `result` is the text of exec, or the reason of a prepare that is refused; may be NULL. */
TX_API void tx_participant_answer(tx_participant *p, const char *branch, int answer, const char *result);

#ifdef __cplusplus
}
#endif

#endif
