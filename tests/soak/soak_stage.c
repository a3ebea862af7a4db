/* soak_stage: the world of the endurance run: three banks (bank_c may be a MariaDB server), their agents
 * (bank_b has two), the coordinators and the clients; how its parts are felled and come back. See soak.h.
 */
#include <assert.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libtx/shared/crash.h"
#include "tests/lib/world_impl.h"
#include "tests/soak/soak.h"
#include "tests/soak/soak_bank.h"

enum {
    STOP_MS = 20000, /* a part that got SIGTERM has so long to end */
    YOUNG_MS = 5000, /* since its start: it may not yet know what to do at SIGTERM */
    CRASH_PASSAGES = 120,
    CRASH_FROZEN_MS = 1500, /* one that a crash point stopped */
    CRASH_DOWN_MS = 300,
};

static const char *const bank_names[BOOK_BANKS] = {"bank_a", "bank_b", "bank_c"};
static const char *const agent_names[SOAK_AGENTS] = {"agent_a", "agent_b", "agent_c", "agent_b2"};
static const unsigned agent_banks[SOAK_AGENTS] = {0, 1, 2, 1};

/* What is random */

/* xorshift64*, by Vigna. */
uint64_t soak_random(uint64_t *state)
{
    uint64_t x = *state != 0 ? *state : 88172645463325252u;

    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    *state = x;
    return (x * 2685821657736338717u) >> 16;
}

unsigned soak_below(struct soak *s, unsigned n)
{
    return (unsigned)(soak_random(&s->random) % n);
}

unsigned soak_between(struct soak *s, unsigned from, unsigned to)
{
    return from + soak_below(s, to - from + 1);
}

/* What happens */

static void write_event(struct soak *s, const char *text)
{
    FILE *f = fopen(s->events, "a");

    if (f == NULL)
        return;
    fprintf(f, "%8.3f %s\n", (double)(world_now_ms() - s->started_ms) / 1000, text);
    fclose(f);
}

void soak_event(struct soak *s, const char *format, ...)
{
    char text[512];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    write_event(s, text);
    if (s->options.verbose)
        fprintf(stderr, "# %8.3f %s\n", (double)(world_now_ms() - s->started_ms) / 1000, text);
}

void soak_violation(struct soak *s, const char *format, ...)
{
    char text[1024];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    s->n_violations++;
    write_event(s, text);
    fprintf(stderr, "# VIOLATION %8.3f s: %s\n", (double)(world_now_ms() - s->started_ms) / 1000, text);
}

/* The world */

static struct part *add_part(struct soak *s, enum part_kind kind, unsigned number, struct world_process *p)
{
    struct part *part = &s->parts[s->n_parts++];

    *part = (struct part){
        .kind = kind, .number = number, .process = p, .state = PART_UP, .started_ms = world_now_ms()};
    return part;
}

struct part *stage_part(struct soak *s, enum part_kind kind, unsigned n)
{
    for (size_t i = 0; i < s->n_parts; i++) {
        if (s->parts[i].kind == kind && n-- == 0)
            return &s->parts[i];
    }
    assert(!"a part that is not there");
    return NULL;
}

const char *part_name(const struct part *p, char out[64])
{
    static const char *const kinds[] = {"node", "agent", "bank", "client"};

    if (p->kind == PART_AGENT)
        snprintf(out, 64, "%s", agent_names[p->number]);
    else if (p->kind == PART_SERVER)
        snprintf(out, 64, "%s", bank_names[p->number]);
    else
        snprintf(out, 64, "%s %u", kinds[p->kind], p->number);
    return out;
}

static void open_bank(struct soak *s, unsigned i)
{
    static const char *const settings[] = {"innodb-lock-wait-timeout=1", NULL};
    const struct world_server_options mariadb = {.mariadb = true, .settings = settings};
    bool is_mariadb = s->options.mariadb && i == SOAK_MARIADB;
    struct world_server *bank = world_server_new(s->world, bank_names[i], is_mariadb ? &mariadb : NULL);
    struct part *p = add_part(s, PART_SERVER, i, bank->process);

    p->server = bank;
    world_accounts(bank, SOAK_ACCOUNTS, SOAK_BALANCE);
    /* Who waits for a row that a branch in doubt holds gives up; there is no detection of deadlocks across
     * servers. */
    if (is_mariadb) {
        world_sql(bank, "CREATE TABLE receipts (id bigint PRIMARY KEY, delta bigint NOT NULL)");
        return;
    }
    world_sql(bank, "ALTER DATABASE bank SET lock_timeout = '1s'");
    world_sql(bank, "SET ROLE app;"
                    "CREATE TABLE receipts (id bigint PRIMARY KEY, delta bigint NOT NULL);"
                    "CREATE TABLE checked (id int UNIQUE DEFERRABLE INITIALLY DEFERRED)");
}

static void open_group(struct soak *s)
{
    static const char *const flags[] = {"--segment_size", "2M", "--snapshot_size", "256k", NULL};
    unsigned n = s->options.nodes, all = n > 1 ? n + 1 : n;

    for (unsigned id = 1; id <= all; id++)
        add_part(s, PART_NODE, id, world_node_new(s->world, id, true, flags));
    world_node_begin(s->world, stage_part(s, PART_NODE, 0)->process, 1);
    for (unsigned id = 2; id <= all; id++) {
        struct part *p = stage_part(s, PART_NODE, id - 1);

        p->state = PART_OUT;
        if (id > n)
            continue;
        world_node_add(s->world, p->process, id);
        p->state = PART_UP;
    }
    s->majority = n / 2 + 1;
}

void stage_open(struct soak *s)
{
    struct world_options options = {.name = "soak"};
    static const char *const flags[] = {"--scan_interval", "500ms", NULL};

    s->world = world_new(&options);
    snprintf(s->events, sizeof s->events, "%s", world_dir(s->world));
    strncat(s->events, "/events.log", sizeof s->events - strlen(s->events) - 1);
    open_group(s);
    for (unsigned i = 0; i < BOOK_BANKS; i++)
        open_bank(s, i);
    for (unsigned i = 0; i < SOAK_AGENTS; i++) {
        struct world_server *bank = stage_part(s, PART_SERVER, agent_banks[i])->server;

        add_part(s, PART_AGENT, i, world_agent_new(s->world, agent_names[i], &bank, 1, flags));
        world_process_start_ready(stage_part(s, PART_AGENT, i)->process, NULL);
    }
}

/* As a client is told it. */
static void tell_where(const struct world_server *bank, char out[WORLD_PATH_SIZE])
{
    if (world_server_is_mariadb(bank))
        snprintf(out, WORLD_PATH_SIZE, BANK_MARIADB "%u", world_server_port(bank));
    else
        world_server_conninfo(bank, "app", out);
}

/* Slots have the modes in turn. */
static void start_client(struct soak *s, unsigned slot)
{
    char name[32], number[16], mode[16], pause[16], seed[32], where[BOOK_BANKS][WORLD_PATH_SIZE];
    struct book_page *page = &s->book.pages[slot];

    snprintf(name, sizeof name, "client_%u", slot);
    snprintf(number, sizeof number, "%u", slot);
    snprintf(mode, sizeof mode, "%u", slot % BOOK_MODES);
    snprintf(pause, sizeof pause, "%u", s->options.pause_ms);
    snprintf(seed, sizeof seed, "%llu", (unsigned long long)s->options.seed);
    snprintf(page->path, sizeof page->path, "%.400s/%s.told", world_dir(s->world), name);
    for (unsigned i = 0; i < BOOK_BANKS; i++)
        tell_where(stage_part(s, PART_SERVER, i)->server, where[i]);
    add_part(s, PART_CLIENT, slot,
             world_client_start(
                 s->world, name, NULL,
                 WORLD_ARGS("client", number, mode, pause, seed, page->path, where[0], where[1], where[2])));
    s->book.n_pages++;
}

void stage_start_clients(struct soak *s)
{
    char number[16], seed[32];

    snprintf(s->book.checker.path, sizeof s->book.checker.path, "%.400s/checker.told", world_dir(s->world));
    s->book.started_ms = s->started_ms;
    for (unsigned i = 0; i < s->options.clients; i++)
        start_client(s, i);
    snprintf(number, sizeof number, "%u", s->options.clients);
    snprintf(seed, sizeof seed, "%llu", (unsigned long long)s->options.seed + 1);
    s->checker = world_client_start(
        s->world, "checker", NULL,
        WORLD_ARGS("checker", world_dir(s->world), number, seed, world_coordinators(s->world)));
}

/* Felling a part */

void part_kill(struct soak *s, struct part *p, unsigned ms)
{
    char name[64];

    soak_event(s, "kill -9 %s for %u ms", part_name(p, name), ms);
    if (p->kind == PART_SERVER)
        world_server_kill(p->server);
    else
        world_process_kill(p->process);
    p->state = PART_DOWN;
    p->due_ms = world_now_ms() + ms;
}

void part_freeze(struct soak *s, struct part *p, unsigned ms)
{
    char name[64];

    soak_event(s, "SIGSTOP %s for %u ms", part_name(p, name), ms);
    world_process_signal(p->process, SIGSTOP);
    p->state = PART_FROZEN;
    p->due_ms = world_now_ms() + ms;
}

/* How long it may take to end. */
static unsigned stop_ms(const struct part *p)
{
    return STOP_MS + (p->kind == PART_CLIENT ? 2 * SOAK_COMMIT_MS : 0);
}

void part_stop(struct soak *s, struct part *p)
{
    char name[64];

    soak_event(s, "SIGTERM %s", part_name(p, name));
    world_process_signal(p->process, SIGTERM);
    p->state = PART_STOPPING;
    p->due_ms = world_now_ms() + stop_ms(p);
}

/* Coming back */

/* Now and then with a crash point ahead. */
static void choose_crash(struct soak *s, struct part *p)
{
    static const char *const prefixes[] = {"coord.", "agent.", "", "client."};
    static const char *const names[] = {
#define CRASH_NAME(symbol, name) name,
        CRASH_POINT_LIST(CRASH_NAME)
#undef CRASH_NAME
    };
    unsigned i;

    p->crash[0] = 0;
    if (s->calm || p->kind == PART_SERVER || soak_below(s, 3) > 0)
        return;
    do
        i = soak_below(s, CRASH_POINT_COUNT);
    while (strncmp(names[i], prefixes[p->kind], strlen(prefixes[p->kind])) != 0);
    snprintf(p->crash, sizeof p->crash, "ASSENT_CRASH=%s:%u=%s", names[i], soak_between(s, 1, CRASH_PASSAGES),
             soak_below(s, 3) > 0 ? "kill" : "stop");
}

static void part_start(struct soak *s, struct part *p)
{
    char name[64];

    if (p->kind == PART_SERVER) {
        world_server_start(p->server);
    } else {
        choose_crash(s, p);
        world_process_start(p->process, p->crash[0] != 0 ? p->crash : NULL);
    }
    p->state = PART_UP;
    p->started_ms = world_now_ms();
    soak_event(s, "start %s %s", part_name(p, name), p->crash);
}

static void part_return(struct soak *s, struct part *p)
{
    char name[64];

    if (p->state == PART_FROZEN) {
        world_process_signal(p->process, SIGCONT);
        p->state = PART_UP;
        soak_event(s, "SIGCONT %s", part_name(p, name));
    } else if (p->state == PART_DOWN) {
        part_start(s, p);
    }
}

/* Ended, though nobody told it to: at its crash point, or it is wrong. */
static void part_ended(struct soak *s, struct part *p)
{
    int code = world_process_wait(p->process, 0);
    char name[64];

    p->state = PART_DOWN;
    p->due_ms = world_now_ms() + soak_between(s, 0, CRASH_DOWN_MS);
    if (p->crash[0] != 0 && code == -SIGKILL && world_process_logged(p->process, "crash point")) {
        s->crashes++;
        soak_event(s, "%s died at %s", part_name(p, name), p->crash);
    } else if (p->kind == PART_NODE && s->unsure) {
        soak_event(s, "%s ended, code %d, while the group changed", part_name(p, name), code);
    } else {
        soak_violation(s, "%s ended by itself, code %d", part_name(p, name), code);
    }
}

static void part_stopped(struct soak *s, struct part *p)
{
    int code = world_process_wait(p->process, 0);
    bool young = p->due_ms < p->started_ms + stop_ms(p) + YOUNG_MS;
    char name[64];

    if (young && code == -SIGTERM)
        code = 0;
    if (code != 0 && p->crash[0] != 0 && code == -SIGKILL)
        s->crashes++;
    else if (code != 0)
        soak_violation(s, "%s ended with code %d after SIGTERM", part_name(p, name), code);
    p->state = PART_DOWN;
    p->due_ms = world_now_ms() + soak_between(s, 0, CRASH_DOWN_MS);
}

static void look_at_running(struct soak *s, struct part *p, uint64_t now)
{
    char name[64];

    if (p->state == PART_UP && p->crash[0] != 0 && world_process_stopped(p->process)) {
        s->crashes++;
        soak_event(s, "%s stopped at %s", part_name(p, name), p->crash);
        p->state = PART_FROZEN;
        p->due_ms = now + soak_between(s, 0, CRASH_FROZEN_MS);
    } else if (p->state == PART_STOPPING && world_process_stopped(p->process)) {
        world_process_signal(p->process, SIGCONT);
    } else if (p->state == PART_STOPPING && now > p->due_ms) {
        soak_violation(s, "%s does not end after SIGTERM", part_name(p, name));
        part_kill(s, p, 0);
    }
}

void stage_tick(struct soak *s)
{
    uint64_t now = world_now_ms();

    for (size_t i = 0; i < s->n_parts; i++) {
        struct part *p = &s->parts[i];
        bool running = world_process_running(p->process);

        if (p->state == PART_OUT)
            continue;
        if (!running && (p->state == PART_UP || p->state == PART_FROZEN))
            part_ended(s, p);
        else if (!running && p->state == PART_STOPPING)
            part_stopped(s, p);
        else if (running)
            look_at_running(s, p, now);
        if ((p->state == PART_FROZEN || p->state == PART_DOWN) && (now >= p->due_ms || s->calm))
            part_return(s, p);
    }
    if (!world_process_running(s->checker) && !s->calm)
        soak_violation(s, "the checker ended, code %d", world_process_wait(s->checker, 0));
}

/* A crash point that was not reached yet is taken away by one more kill. */
bool stage_is_whole(struct soak *s)
{
    bool whole = true;

    for (size_t i = 0; i < s->n_parts; i++) {
        struct part *p = &s->parts[i];

        if (p->state == PART_UP && p->crash[0] != 0)
            part_kill(s, p, 0);
        whole = whole && (p->state == PART_UP || p->state == PART_OUT);
    }
    return whole && !s->unsure;
}
