/* soak_book: every client's own record of what it did and what it was told, and what others were told of it.
 *
 * A client appends lines to a file, a write each, so that the record survives its kill -9; the parent reads
 * them into the book. A line ends with " .", or it was torn by the kill:
 *
 *   try N ID MODE BANKS PURPOSE .   before the work: ID is «-» where nobody asked for it; BANKS are those that
 *                                   it writes to, as bits; PURPOSE 1: it must not be committed
 *   told N RC MS TEXT .             what txn_commit() or txn_rollback() returned, and when
 *   saw N OUTCOME .                 what tx_client_outcome() said afterwards
 *   blind N BANK .                  told committed, it did not find its own receipt
 *   asked SLOT N NODE ANSWER .      the checker's: what a node said of a transaction
 *
 * Used by soak; the two job processes write with book_write().
 */
#ifndef ASSENT_SOAK_BOOK_H
#define ASSENT_SOAK_BOOK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "libtx/libtx.h"

enum {
    BOOK_BANKS = 3,
    BOOK_SLOTS = 16, /* clients at once; one slot has one client after the other */
    BOOK_ID_SIZE = 80,
    BOOK_PATH_SIZE = 512,
};

#define BOOK_KEY(slot, number) ((uint64_t)(slot)*1000000000u + (number))

enum book_mode {
    BOOK_DIRECT,
    BOOK_REMOTE,
    BOOK_MIXED,
    BOOK_LOGGED,   /* TXN_DECISION_LOGGED, of any kind of branches */
    BOOK_ROLLBACK, /* most of them on purpose */
    BOOK_SINGLE,   /* writes to one bank */
    BOOK_CROWD,    /* three threads on one tx_client */
    BOOK_MODES
};

const char *book_mode_name(unsigned mode);

/* What somebody was told of a transaction. */
enum book_word {
    BOOK_NOTHING,
    BOOK_COMMITTED,
    BOOK_ABORTED,
    BOOK_DOUBT,     /* told: TX_EINDOUBT; asked: pending */
    BOOK_FORGOTTEN, /* asked: no longer known */
    BOOK_ODD,       /* told: a code that does not belong there */
    BOOK_SILENCE,   /* asked: no answer */
};

const char *book_word_name(enum book_word w);
/* What was asked. */
enum book_word book_word_of(enum tx_outcome outcome);

struct book_entry {
    char id[BOOK_ID_SIZE]; /* "" where nobody asked for it */
    uint8_t mode, banks, purpose;
    uint8_t told;     /* enum book_word */
    uint8_t known;    /* COMMITTED or ABORTED, if any look-up said so */
    uint8_t receipts; /* banks that have its receipt, as bits; at the end */
    bool late;        /* told committed, but not finished everywhere */
    int rc;
    uint32_t told_ms; /* since the start of the run */
};

/* One client's; entries count from 1. */
struct book_page {
    char path[BOOK_PATH_SIZE];
    struct book_entry *items; /* owned; items[0] is not used */
    size_t n, cap;            /* the last number; space */
    long read;                /* bytes of the file taken in so far */
    unsigned committed;       /* lines that say so */
};

struct book {
    struct book_page pages[BOOK_SLOTS];
    unsigned n_pages;
    struct book_page checker;
    uint64_t started_ms;
    unsigned lookups[BOOK_SILENCE + 1]; /* by answer */
    unsigned asked_again;               /* requests to commit, made once more */
    /* Called for each contradiction that shows while reading. */
    void (*wrong)(void *arg, unsigned slot, size_t number, const char *what);
    void *arg;
};

void book_release(struct book *b);
/* Takes in what has been written since. */
void book_read(struct book *b);
/* Somebody was told this of it; calls wrong() where somebody was told otherwise. */
void book_learn(struct book *b, unsigned slot, size_t number, enum book_word word, const char *who);
struct book_entry *book_entry(struct book *b, unsigned slot, size_t number); /* NULL: there is none */

/* In a job: appends one line; format has no newline and no end mark. Ends the process where it cannot. */
void book_write(int fd, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* In a job: opens the file for appending, and returns the last number in it. */
int book_open(const char *path, size_t *last);

#endif
