/* service: a store-room that takes part in transactions. It keeps how many pieces there are of each item in a
 * file of its own, and gives some away only if the transaction of whoever asks commits.
 *
 *   service FILE PORT
 *
 * It is the resource «stock». ASSENT_COORDINATORS says where the coordinators are, and ASSENT_IDENTITY names
 * its key, with the role agent for «stock»; or ASSENT_INSECURE=1, on a laptop.
 *
 * What it understands, a line each, over TCP on the loopback address:
 *
 *   take CONTEXT ITEM N         CONTEXT from txn_export(); answers «ok» or «no REASON»
 *   put ITEM N                  at once, without a transaction
 *   count ITEM                  answers «ok N»
 *
 * The file is a journal, and every line is forced to disk before anybody hears of it:
 *
 *   put ITEM N                  N pieces more, or fewer
 *   prepared BRANCH ITEM N …    are put by for this branch
 *   committed BRANCH            are given away
 *   rolledback BRANCH           are there again
 *
 * An unfinished last line is what a crash leaves, and is cut off: nobody has heard of it. The journal is the
 * memory of which branches were committed, too: commit is answered the same when it comes again. (A service
 * that runs for years would write its state out anew from time to time.)
 *
 * examples/order.c is an application that calls it. docs/participant.md says what each callback has to do.
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <libgen.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <libtx_participant.h>

enum { ITEMS = 64, BRANCHES = 4096, TAKES = 8, CLIENTS = 32, NAME = 24, LINE = 1024 };

enum state { FREE, WORKING, PREPARED, COMMITTED };

struct take {
    char item[NAME];
    long n;
};

static struct branch {
    enum state state;
    char name[TX_BRANCH_SIZE];
    time_t since;
    unsigned long number; /* counts branches */
    int n_takes;
    struct take takes[TAKES];
} branches[BRANCHES];

static struct item {
    char name[NAME];
    long n; /* there, and promised to nobody */
} items[ITEMS];

static FILE *journal;
static volatile sig_atomic_t stopping;

/* What is there */

/* Entered anew where it is not there; NULL: there are too many. */
static struct item *find_item(const char *name)
{
    struct item *unused = NULL;

    for (int i = 0; i < ITEMS; i++) {
        if (strcmp(items[i].name, name) == 0)
            return &items[i];
        if (unused == NULL && items[i].name[0] == '\0')
            unused = &items[i];
    }
    if (unused != NULL)
        snprintf(unused->name, NAME, "%s", name);
    return unused;
}

static struct branch *find_branch(const char *name)
{
    for (int i = 0; i < BRANCHES; i++) {
        if (branches[i].state != FREE && strcmp(branches[i].name, name) == 0)
            return &branches[i];
    }
    return NULL;
}

/* Takes the place of the oldest committed branch if need be. What is forgotten is not known for a double any
 * more: a service that takes thousands of requests a day has a larger table, and forgets by age, as
 * docs/participant.md says. */
static struct branch *new_branch(const char *name)
{
    static unsigned long count;
    struct branch *b = NULL;

    for (int i = 0; i < BRANCHES && (b == NULL || b->state != FREE); i++) {
        if (branches[i].state == FREE ||
            (branches[i].state == COMMITTED && (b == NULL || branches[i].number < b->number)))
            b = &branches[i];
    }
    if (b == NULL)
        return NULL;
    *b = (struct branch){.state = WORKING, .since = time(NULL), .number = ++count};
    snprintf(b->name, sizeof b->name, "%s", name);
    return b;
}

/* Promised pieces go from the shelf at once, so that nobody else is promised them. */
static int take(struct branch *b, const char *name, long n)
{
    struct item *item = find_item(name);

    if (item == NULL || item->n < n || n < 1 || b->n_takes == TAKES)
        return -1;
    item->n -= n;
    snprintf(b->takes[b->n_takes].item, NAME, "%s", name);
    b->takes[b->n_takes++].n = n;
    return 0;
}

static void give_back(struct branch *b)
{
    for (int i = 0; i < b->n_takes; i++)
        find_item(b->takes[i].item)->n += b->takes[i].n;
    b->state = FREE;
}

/* The journal */

/* After an error what is on the disk is not known, so the service ends, and begins again with what it finds. */
static void die(const char *what)
{
    perror(what);
    exit(EXIT_FAILURE);
}

static void force(const char *line)
{
    if (fprintf(journal, "%s\n", line) < 0 || fflush(journal) != 0 || fdatasync(fileno(journal)) != 0)
        die("journal");
}

static int replay_prepared(char *rest)
{
    char *save, *name = strtok_r(rest, " ", &save), *item, *n;
    struct branch *b = name != NULL ? new_branch(name) : NULL;

    if (b == NULL)
        return -1;
    while ((item = strtok_r(NULL, " ", &save)) != NULL && (n = strtok_r(NULL, " ", &save)) != NULL) {
        if (take(b, item, atol(n)) != 0)
            return -1;
    }
    b->state = PREPARED;
    return 0;
}

/* -1: that is no line of this service's. A branch that is not there any more was forgotten as in new_branch().
 */
static int replay_line(char *line)
{
    char name[TX_BRANCH_SIZE];
    struct branch *b;
    long n;

    if (strncmp(line, "prepared ", 9) == 0)
        return replay_prepared(line + 9);
    if (sscanf(line, "committed %99s", name) == 1) {
        if ((b = find_branch(name)) != NULL)
            b->state = COMMITTED;
    } else if (sscanf(line, "rolledback %99s", name) == 1) {
        if ((b = find_branch(name)) != NULL)
            give_back(b);
    } else if (sscanf(line, "put %23s %ld", name, &n) == 2 && find_item(name) != NULL) {
        find_item(name)->n += n;
    } else {
        return -1;
    }
    return 0;
}

/* A file just made is there after a crash only if its directory says so. */
static int force_directory(const char *path)
{
    char copy[4096];
    int fd, rc;

    snprintf(copy, sizeof copy, "%s", path);
    fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    rc = fd < 0 ? -1 : fsync(fd);
    close(fd);
    return rc;
}

static void replay(const char *path)
{
    char line[LINE];
    long whole = 0;

    journal = fopen(path, "a+e");
    /* Two services with one journal would each believe in a shelf of their own. */
    if (journal == NULL || flock(fileno(journal), LOCK_EX | LOCK_NB) != 0 || force_directory(path) != 0)
        die(path);
    rewind(journal);
    while (fgets(line, sizeof line, journal) != NULL && strchr(line, '\n') != NULL) {
        line[strcspn(line, "\n")] = '\0';
        if (replay_line(line) != 0) {
            fprintf(stderr, "%s: damaged behind byte %ld: %s\n", path, whole, line);
            exit(EXIT_FAILURE);
        }
        whole = ftell(journal);
    }
    if (ferror(journal) || ftruncate(fileno(journal), whole) != 0 || fdatasync(fileno(journal)) != 0)
        die(path);
}

/* What the coordinator asks for (libtx_participant.h says what each has to do) */

static int on_prepare(void *arg, const char *name)
{
    struct branch *b = find_branch(name);
    char line[LINE];
    int n;

    (void)arg;
    if (b == NULL)
        return TX_EROLLBACK;
    if (b->state != WORKING)
        return TX_OK;
    if (b->n_takes == 0) {
        b->state = FREE;
        return TX_PARTICIPANT_READ_ONLY;
    }
    n = snprintf(line, sizeof line, "prepared %s", name);
    for (int i = 0; i < b->n_takes; i++)
        n += snprintf(line + n, sizeof line - (size_t)n, " %s %ld", b->takes[i].item, b->takes[i].n);
    force(line);
    b->state = PREPARED;
    return TX_OK;
}

static int on_commit(void *arg, const char *name)
{
    struct branch *b = find_branch(name);
    char line[LINE];

    (void)arg;
    if (b == NULL || b->state == WORKING)
        return TX_ENOTFOUND;
    if (b->state == PREPARED) {
        snprintf(line, sizeof line, "committed %s", name);
        force(line);
        b->state = COMMITTED;
    }
    return TX_OK;
}

static int on_rollback(void *arg, const char *name)
{
    struct branch *b = find_branch(name);
    char line[LINE];

    (void)arg;
    if (b == NULL)
        return TX_OK;
    if (b->state == COMMITTED)
        return TX_EHEURISTIC;
    if (b->state == PREPARED) {
        snprintf(line, sizeof line, "rolledback %s", name);
        force(line);
    }
    give_back(b);
    return TX_OK;
}

static int on_list_in_doubt(void *arg, void (*found)(void *list, const char *branch, uint64_t age_ms),
                            void *list)
{
    time_t now = time(NULL);

    (void)arg;
    for (int i = 0; i < BRANCHES; i++) {
        if (branches[i].state == PREPARED)
            found(list, branches[i].name, (uint64_t)(now - branches[i].since) * 1000);
    }
    return TX_OK;
}

/* What applications ask for */

static void on_take(tx_participant *p, const char *context, const char *item, long n, char answer[LINE])
{
    char name[TX_BRANCH_SIZE];
    struct tx_error e = {0};
    struct branch *b;

    if (tx_participant_join(p, context, name, &e) != TX_OK) {
        snprintf(answer, LINE, "no %s\n", e.msg);
        return;
    }
    b = find_branch(name);
    if (b != NULL && b->state != WORKING) {
        snprintf(answer, LINE, "no this request was taken before\n"); /* and this service restarted since */
        return;
    }
    if (b == NULL)
        b = new_branch(name);
    if (b == NULL || take(b, item, n) != 0)
        snprintf(answer, LINE, "no there are not %ld of %s\n", n, item);
    else
        snprintf(answer, LINE, "ok\n");
}

static void on_request(tx_participant *p, const char *line, char answer[LINE])
{
    char context[TXN_CONTEXT_SIZE], item[NAME], record[LINE];
    struct item *i;
    long n;

    snprintf(answer, LINE, "no such request\n");
    if (sscanf(line, "take %255s %23s %ld", context, item, &n) == 3) {
        on_take(p, context, item, n, answer);
    } else if (sscanf(line, "put %23s %ld", item, &n) == 2 && (i = find_item(item)) != NULL && i->n + n >= 0) {
        snprintf(record, sizeof record, "put %s %ld", item, n);
        force(record);
        i->n += n;
        snprintf(answer, LINE, "ok\n");
    } else if (sscanf(line, "count %23s", item) == 1 && (i = find_item(item)) != NULL) {
        snprintf(answer, LINE, "ok %ld\n", i->n);
    }
}

/* The loop: the participant's descriptor is one more beside the service's own */

static int listen_on(const char *port)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;

    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof a) != 0 || listen(fd, CLIENTS) != 0)
        return -1;
    return fd;
}

static struct client {
    char line[LINE]; /* what has come of a request so far */
    size_t n;
} clients[CLIENTS];

/* False: the client is gone, or sends nonsense, or does not read its answers. */
static int serve_client(tx_participant *p, struct client *c, int fd)
{
    ssize_t n = read(fd, c->line + c->n, sizeof c->line - 1 - c->n);
    char answer[LINE], *end;

    if (n <= 0)
        return 0;
    c->n += (size_t)n;
    c->line[c->n] = '\0';
    while ((end = strchr(c->line, '\n')) != NULL) {
        *end = '\0';
        on_request(p, c->line, answer);
        if (send(fd, answer, strlen(answer), MSG_DONTWAIT) != (ssize_t)strlen(answer))
            return 0;
        c->n -= (size_t)(end + 1 - c->line);
        memmove(c->line, end + 1, c->n + 1);
    }
    return c->n < sizeof c->line - 1;
}

static void serve(tx_participant *p, int listener)
{
    struct pollfd fds[CLIENTS + 2];
    int vacant = 0;

    for (int i = 0; i < CLIENTS; i++)
        fds[i] = (struct pollfd){.fd = -1, .events = POLLIN};
    fds[CLIENTS] = (struct pollfd){.fd = tx_participant_fd(p), .events = POLLIN};
    while (!stopping) {
        fds[CLIENTS + 1] = (struct pollfd){.fd = vacant < CLIENTS ? listener : -1, .events = POLLIN};
        if (poll(fds, CLIENTS + 2, tx_participant_timeout_ms(p)) < 0)
            continue; /* a signal */
        tx_participant_dispatch(p);
        if (fds[CLIENTS + 1].revents != 0) {
            fds[vacant].fd = accept(listener, NULL, NULL);
            fds[vacant].revents = 0;
            clients[vacant].n = 0;
        }
        for (int i = 0; i < CLIENTS; i++) {
            if (fds[i].fd >= 0 && fds[i].revents != 0 && !serve_client(p, &clients[i], fds[i].fd)) {
                close(fds[i].fd);
                fds[i].fd = -1;
            }
        }
        for (vacant = 0; vacant < CLIENTS && fds[vacant].fd >= 0;)
            vacant++;
    }
}

static void on_log(void *arg, const char *line)
{
    (void)arg;
    fprintf(stderr, "%s\n", line);
}

static void on_signal(int number)
{
    (void)number;
    stopping = 1;
}

int main(int argc, char **argv)
{
    const struct tx_participant_options options = {
        .resource = "stock", .scan_interval_ms = 1000, .log = on_log};
    const struct tx_participant_callbacks callbacks = {
        .prepare = on_prepare, .commit = on_commit, .rollback = on_rollback, .list_in_doubt = on_list_in_doubt};
    struct sigaction action = {.sa_handler = on_signal};
    struct tx_error e = {0};
    tx_participant *p;
    int listener;

    if (argc != 3) {
        fprintf(stderr, "usage: service FILE PORT\n");
        return EXIT_FAILURE;
    }
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    signal(SIGPIPE, SIG_IGN);
    replay(argv[1]);
    if ((listener = listen_on(argv[2])) < 0)
        die(argv[2]);
    if (tx_participant_open(&p, &options, &callbacks, &e) != TX_OK) {
        fprintf(stderr, "service: %s\n", e.msg);
        return EXIT_FAILURE;
    }
    serve(p, listener);
    tx_participant_close(p);
    return EXIT_SUCCESS;
}
