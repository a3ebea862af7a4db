/* soak_checker: asks, all the time and at every coordinator in turn, what became of transactions that clients
 * have in their records, those of this moment and those of long ago; and where the client was told that it is
 * committed, asks for the commit once more. It judges nothing: it writes down what it is answered, and the
 * parent compares (soak_book.c).
 *
 * It speaks to one node and no other, which libtx does not, so it uses the messages themselves (wire, channel).
 */
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libtx/libtx.h"
#include "libtx/shared/channel.h"
#include "libtx/shared/wire.h"
#include "tests/soak/soak.h"

enum {
    WINDOW = 8192, /* bytes of a record that are looked at, at a time */
    ANSWER_MS = 400,
    PAUSE_MS = 10,
    WINDOW_TRIES = 128,
    NEWEST = 3,
};

struct checker {
    struct channel nodes[SOAK_NODES];
    unsigned n_nodes, n_clients;
    const char *directory;
    uint64_t random;
    uint32_t last;
    int fd;
    struct wire_scratch scratch;
};

/* A transaction found in a record. */
struct find {
    unsigned slot, banks;
    size_t number;
    struct txid id;
    bool committed; /* and so its client was told */
};

static volatile sig_atomic_t stopping;

static void stop(int sig)
{
    (void)sig;
    stopping = 1;
}

/* Finding one */

/* A piece of the file that begins with a whole line, in `text`; now and then the newest, else any. */
static bool read_window(struct checker *c, const char *path, char text[WINDOW + 1])
{
    FILE *f = fopen(path, "r");
    long size = 0, from = 0;
    size_t n;

    if (f == NULL)
        return false;
    if (fseek(f, 0, SEEK_END) == 0)
        size = ftell(f);
    if (size > WINDOW)
        from = soak_random(&c->random) % 3 == 0 ? (long)(soak_random(&c->random) % (uint64_t)(size - WINDOW))
                                                : size - WINDOW;
    n = fseek(f, from, SEEK_SET) == 0 ? fread(text, 1, WINDOW, f) : 0;
    text[n] = 0;
    fclose(f);
    return n > 0;
}

static void take_line(struct find *finds, size_t *n, unsigned slot, const char *line)
{
    struct find f = {.slot = slot};
    char id[BOOK_ID_SIZE];
    size_t number;
    int rc;

    if (sscanf(line, "try %zu %79s %*u %u", &f.number, id, &f.banks) == 3 && txid_parse(id, &f.id)) {
        if (*n == WINDOW_TRIES)
            memmove(finds, finds + 1, --*n * sizeof *finds);
        finds[(*n)++] = f;
    } else if (sscanf(line, "told %zu %d", &number, &rc) == 2) {
        for (size_t i = 0; i < *n; i++)
            finds[i].committed |= finds[i].number == number && rc == TX_OK;
    }
}

static bool find_one(struct checker *c, struct find *out)
{
    unsigned slot = (unsigned)(soak_random(&c->random) % c->n_clients);
    struct find finds[WINDOW_TRIES];
    char path[BOOK_PATH_SIZE + 32], text[WINDOW + 1], *rest = text, *line;
    size_t n = 0;

    snprintf(path, sizeof path, "%s/client_%u.told", c->directory, slot);
    if (!read_window(c, path, text))
        return false;
    while ((line = strsep(&rest, "\n")) != NULL) {
        if (rest != NULL && strlen(line) > 2 && strcmp(line + strlen(line) - 2, " .") == 0)
            take_line(finds, &n, slot, line);
    }
    if (n == 0)
        return false;
    if (n > NEWEST && soak_random(&c->random) % 2 == 0)
        *out = finds[n - 1 - soak_random(&c->random) % NEWEST]; /* under way, or just over */
    else
        *out = finds[soak_random(&c->random) % n];
    return true;
}

/* Asking */

static enum book_word word_of(const struct wire_message *m)
{
    static const enum book_word words[] = {[TX_OUTCOME_COMMITTED] = BOOK_COMMITTED,
                                           [TX_OUTCOME_ABORTED] = BOOK_ABORTED,
                                           [TX_OUTCOME_PENDING] = BOOK_DOUBT,
                                           [TX_OUTCOME_FORGOTTEN] = BOOK_FORGOTTEN};

    if (m->type == WIRE_OUTCOME_IS)
        return words[m->outcome_is.outcome];
    if (m->type == WIRE_DECIDED)
        return m->decided.verdict == VERDICT_COMMIT ? BOOK_COMMITTED : BOOK_ABORTED;
    return m->type == WIRE_ERROR && m->error.code == TX_ENOTFOUND ? BOOK_FORGOTTEN : BOOK_SILENCE;
}

/* True: this was the answer. */
static bool take_answer(struct checker *c, struct channel *node, enum book_word *word)
{
    struct channel_message m;
    struct wire_message reply;
    bool mine = false;

    while (!mine && channel_receive(node, &m) == 1) {
        mine = m.id == c->last;
        if (mine)
            *word = wire_decode(&reply, m.data, m.len, &c->scratch, NULL) == TX_OK ? word_of(&reply) : BOOK_ODD;
        channel_release(&m);
    }
    return mine;
}

static enum book_word ask(struct checker *c, struct channel *node, const struct wire_message *m)
{
    uint64_t end = world_now_ms() + ANSWER_MS, now;
    enum book_word word = BOOK_SILENCE;
    struct buf request;

    buf_init(&request);
    c->last = (c->last + 1) & 0x7fffffff;
    if (wire_encode(m, &request) == TX_OK && channel_send(node, c->last, request.data, request.len) == TX_OK) {
        while ((now = world_now_ms()) < end) {
            struct pollfd fd = {.fd = channel_fd(node), .events = POLLIN};

            (void)poll(&fd, 1, (int)(end - now));
            if (take_answer(c, node, &word))
                break;
        }
    }
    buf_release(&request);
    return word;
}

static void ask_outcome(struct checker *c, const struct find *f, unsigned node)
{
    struct wire_message m = {.type = WIRE_OUTCOME, .outcome = {f->id}};

    book_write(c->fd, "asked %u %zu %u outcome %d", f->slot, f->number, node + 1, ask(c, &c->nodes[node], &m));
}

/* The commit that was answered long ago, as a message that was lost on the way and comes late. */
static void ask_commit(struct checker *c, const struct find *f, unsigned node)
{
    static const char *const banks[BOOK_BANKS] = {"bank_a", "bank_b", "bank_c"};
    struct wire_message m = {.type = WIRE_DECIDE};
    struct branch_ref refs[BOOK_BANKS];
    size_t n = 0;

    for (unsigned i = 0; i < BOOK_BANKS; i++) {
        if ((f->banks & 1u << i) != 0) {
            refs[n] = (struct branch_ref){(uint16_t)(n + 1), BRANCH_DIRECT, banks[i], NULL, NULL};
            n++;
        }
    }
    m.decide.id = f->id;
    m.decide.verdict = VERDICT_COMMIT;
    m.decide.wait = WAIT_DECIDED;
    m.decide.n_branches = n;
    m.decide.branches = refs;
    book_write(c->fd, "asked %u %zu %u commit %d", f->slot, f->number, node + 1, ask(c, &c->nodes[node], &m));
}

static void check_one(struct checker *c)
{
    unsigned node = (unsigned)(soak_random(&c->random) % c->n_nodes);
    struct find f;

    if (!find_one(c, &f))
        return;
    if (f.committed && soak_random(&c->random) % 4 == 0)
        ask_commit(c, &f, node);
    else
        ask_outcome(c, &f, node);
    if (soak_random(&c->random) % 2 == 0)
        ask_outcome(c, &f, (node + 1) % c->n_nodes);
}

static bool dial(struct checker *c, char *list)
{
    struct tx_error e;
    char *address;

    while ((address = strsep(&list, ",")) != NULL && c->n_nodes < SOAK_NODES) {
        if (channel_dial(&c->nodes[c->n_nodes++], address, MESSAGE_LIMIT, world_client_security(), &e) !=
            TX_OK) {
            fprintf(stderr, "%s: %s\n", address, e.msg);
            return false;
        }
    }
    return true;
}

/* argv: name, directory of the records, number of clients, seed, addresses of the nodes. */
int soak_checker_job(int argc, char **argv)
{
    struct checker c = {.fd = -1};
    char path[BOOK_PATH_SIZE + 32];
    size_t last;

    if (argc != 5)
        return 2;
    signal(SIGTERM, stop);
    c.directory = argv[1];
    c.n_clients = (unsigned)atoi(argv[2]);
    c.random = strtoull(argv[3], NULL, 10);
    snprintf(path, sizeof path, "%s/checker.told", c.directory);
    c.fd = book_open(path, &last);
    if (!dial(&c, argv[4]))
        return 1;
    while (!stopping) {
        check_one(&c);
        world_sleep_ms(PAUSE_MS);
    }
    for (unsigned i = 0; i < c.n_nodes; i++)
        channel_close(&c.nodes[i]);
    return 0;
}
