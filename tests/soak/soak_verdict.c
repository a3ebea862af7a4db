/* soak_verdict: the checks at the end of the endurance run, when everything is up again: the four properties of
 * protocol.md, by the clients' own records, the receipts in the banks and the coordinators' answers. See
 * soak.h.
 */
#include <cjson/cJSON.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libtx/libtx.h"
#include "tests/lib/world_impl.h"
#include "tests/soak/soak.h"

enum {
    STORIES = 5,   /* told in full */
    SAMPLES = 150, /* transactions asked about at every leader */
    LINGER = 64,   /* told, and not acknowledged when its client was killed */
    EVENTS = 60,
};

/* The story of a transaction */

/* What a shell command finds in the directory's files. */
static void print_found(const char *title, const char *command)
{
    char line[1024];
    FILE *f = popen(command, "r");

    fprintf(stderr, "#   %s\n", title);
    while (f != NULL && fgets(line, sizeof line, f) != NULL)
        fprintf(stderr, "#     %s", line);
    if (f != NULL)
        pclose(f);
}

/* Branches of the transaction; in MariaDB, of all of them. */
static long long prepared_of(struct world_server *bank, const char *id)
{
    if (world_server_is_mariadb(bank))
        return world_prepared_count(bank);
    return world_sql_number(bank, "SELECT count(*) FROM pg_prepared_xacts WHERE gid LIKE 'assent-%s-%%'",
                            *id != 0 ? id : "none");
}

static void print_receipts(struct soak *s, unsigned slot, size_t number, const char *id)
{
    for (unsigned i = 0; i < BOOK_BANKS; i++) {
        struct part *p = stage_part(s, PART_SERVER, i);

        if (p->state != PART_UP) {
            fprintf(stderr, "#   %s is down\n", world_server_name(p->server));
            continue;
        }
        fprintf(stderr, "#   %s: %lld receipts, %lld prepared\n", world_server_name(p->server),
                world_sql_number(p->server, "SELECT count(*) FROM receipts WHERE id = %llu",
                                 (unsigned long long)BOOK_KEY(slot, number)),
                prepared_of(p->server, id));
    }
}

void verdict_story(struct soak *s, unsigned slot, size_t number)
{
    const struct book_entry *e = book_entry(&s->book, slot, number);
    const char *dir = world_dir(s->world);
    struct world_output o;
    char command[1024];

    if (e == NULL)
        return;
    fprintf(stderr, "#   transaction %zu of client %u (%s), id %s, banks %u, told %s, look-ups: %s\n", number,
            slot, book_mode_name(e->mode), *e->id != 0 ? e->id : "not asked for", e->banks,
            book_word_name(e->told), book_word_name(e->known));
    snprintf(command, sizeof command,
             "cd '%s'; grep -aE '^(try|told|saw|blind) %zu ' client_%u.told; grep -a '^asked %u %zu ' "
             "checker.told | tail -n 20",
             dir, number, slot, slot, number);
    print_found("records:", command);
    print_receipts(s, slot, number, e->id);
    if (*e->id == 0)
        return;
    o = world_admin(s->world, WORLD_ARGS("--timeout", "3s", "show", e->id));
    fprintf(stderr, "#   txadmin show: %s%s\n", o.text, o.error);
    world_output_release(&o);
    snprintf(command, sizeof command, "cd '%s'; grep -aF '%s' *.log | tail -n 40", dir, e->id);
    print_found("logs:", command);
}

void soak_wrong(struct soak *s, unsigned slot, size_t number, const char *what)
{
    soak_violation(s, "transaction %zu of client %u: %s", number, slot, what);
    if (s->n_violations <= STORIES)
        verdict_story(s, slot, number);
}

/* Waiting until it is quiet */

static void end_clients(struct soak *s)
{
    char name[64];

    world_process_signal(s->checker, SIGTERM);
    for (size_t i = 0; i < s->n_parts; i++) {
        if (s->parts[i].kind == PART_CLIENT)
            world_process_signal(s->parts[i].process, SIGTERM);
    }
    for (size_t i = 0; i < s->n_parts; i++) {
        struct part *p = &s->parts[i];
        uint64_t end = world_now_ms() + SOAK_SETTLE_MS;

        if (p->kind != PART_CLIENT)
            continue;
        while (world_process_running(p->process) && world_now_ms() < end)
            world_sleep_ms(20);
        if (world_process_running(p->process))
            soak_violation(s, "%s hangs: it has not ended %d s after SIGTERM", part_name(p, name),
                           SOAK_SETTLE_MS / 1000);
        else if (world_process_wait(p->process, 0) != 0)
            soak_violation(s, "%s ended with code %d", part_name(p, name), world_process_wait(p->process, 0));
    }
    world_process_wait(s->checker, SOAK_SETTLE_MS);
    book_read(&s->book);
}

struct quiet {
    struct soak *s;
    int transactions, sessions, heuristic;
};

/* The ledger has nothing to do any more: what it still keeps are answers for clients that are gone. */
static bool ledger_is_quiet(void *arg)
{
    struct quiet *q = arg;
    cJSON *list = group_ask(q->s, WORLD_ARGS("--json", "transactions"));
    cJSON *status = group_ask(q->s, WORLD_ARGS("--json", "status"));
    const cJSON *ledger = cJSON_GetObjectItem(status, "ledger");

    q->transactions = cJSON_GetArraySize(cJSON_GetObjectItem(list, "transactions"));
    q->sessions = (int)cJSON_GetNumberValue(cJSON_GetObjectItem(ledger, "open_sessions"));
    q->heuristic = (int)cJSON_GetNumberValue(cJSON_GetObjectItem(ledger, "heuristic"));
    q->s->decisions = (long long)cJSON_GetNumberValue(cJSON_GetObjectItem(ledger, "decisions"));
    if (!cJSON_IsArray(cJSON_GetObjectItem(list, "transactions")) || ledger == NULL)
        q->transactions = -1;
    cJSON_Delete(list);
    cJSON_Delete(status);
    return q->transactions == 0 && q->sessions == 0;
}

static void print_unfinished(struct soak *s)
{
    struct world_output o = world_admin(s->world, WORLD_ARGS("transactions"));

    fprintf(stderr, "%s%s\n", o.text, o.error);
    world_output_release(&o);
}

static void settle(struct soak *s)
{
    struct quiet q = {.s = s};

    if (!world_wait_nothing_prepared(s->world, SOAK_SETTLE_MS)) {
        for (unsigned i = 0; i < BOOK_BANKS; i++)
            soak_violation(s, "%lld branches stay prepared in %s",
                           world_prepared_count(stage_part(s, PART_SERVER, i)->server),
                           world_server_name(stage_part(s, PART_SERVER, i)->server));
        print_unfinished(s);
    }
    if (!world_wait(SOAK_SETTLE_MS, ledger_is_quiet, &q)) {
        soak_violation(s, "the ledger does not drain: %d transactions, %d open sessions", q.transactions,
                       q.sessions);
        print_unfinished(s);
    }
    if (q.heuristic != 0)
        soak_violation(s, "%d heuristic outcomes, and nobody decided any", q.heuristic);
}

/* Receipts and money */

static void note_receipt(struct soak *s, unsigned bank, uint64_t key)
{
    struct book_entry *e =
        book_entry(&s->book, (unsigned)(key / BOOK_KEY(1, 0)), (size_t)(key % BOOK_KEY(1, 0)));

    if (e == NULL)
        soak_violation(s, "%s has receipt %llu, which no client tried",
                       world_server_name(stage_part(s, PART_SERVER, bank)->server), (unsigned long long)key);
    else
        e->receipts |= (uint8_t)(1u << bank);
}

/* A piece at a time: MariaDB returns no value that is longer than a packet. The last piece has all that no
 * client can have written. */
static void load_receipts(struct soak *s, unsigned bank)
{
    struct world_server *server = stage_part(s, PART_SERVER, bank)->server;
    const char *sql = world_server_is_mariadb(server)
                          ? "SET group_concat_max_len = 1 << 30;"
                            "SELECT group_concat(id SEPARATOR ' ') FROM receipts WHERE id >= %llu AND id < %llu"
                          : "SELECT string_agg(id::text, ' ') FROM receipts WHERE id >= %llu AND id < %llu";

    for (unsigned slot = 0; slot <= BOOK_SLOTS; slot++) {
        uint64_t from = BOOK_KEY(slot, 0), to = slot < BOOK_SLOTS ? BOOK_KEY(slot + 1, 0) : INT64_MAX;
        char *all = world_sql_text(server, sql, (unsigned long long)from, (unsigned long long)to), *rest = all;

        while (*rest != 0)
            note_receipt(s, bank, strtoull(rest, &rest, 10));
        free(all);
    }
}

static void check_money(struct soak *s)
{
    long long should = (long long)BOOK_BANKS * SOAK_ACCOUNTS * SOAK_BALANCE, is = world_sum_balances(s->world);

    if (is != should)
        soak_violation(s, "there were %lld in the banks, and there are %lld", should, is);
    for (unsigned i = 0; i < BOOK_BANKS; i++) {
        struct world_server *bank = stage_part(s, PART_SERVER, i)->server;
        long long off = world_sql_number(bank,
                                         "SELECT (SELECT sum(balance) FROM accounts) - %lld - "
                                         "(SELECT coalesce(sum(delta), 0) FROM receipts)",
                                         (long long)SOAK_ACCOUNTS * SOAK_BALANCE);

        if (off != 0)
            soak_violation(s, "the money in %s is %lld off its receipts", world_server_name(bank), off);
    }
}

/* One transaction: where it is, against what anybody was told. */
static void judge(struct soak *s, unsigned slot, size_t number, const struct book_entry *e)
{
    bool done = e->receipts == e->banks;

    if (e->banks == 0) {
        if (e->receipts != 0)
            soak_wrong(s, slot, number, "there are receipts of it, and its client never wrote that it began");
    } else if (e->receipts != 0 && !done) {
        soak_wrong(s, slot, number, "committed in one bank, not in another");
    } else if ((e->told == BOOK_COMMITTED && !done) || (e->told == BOOK_ABORTED && done)) {
        soak_wrong(s, slot, number,
                   done ? "told rolled back, and it is committed" : "told committed, and it is not");
    } else if ((e->known == BOOK_COMMITTED && !done) || (e->known == BOOK_ABORTED && done)) {
        soak_wrong(s, slot, number, "a look-up said otherwise than it is");
    } else if (e->purpose && done) {
        soak_wrong(s, slot, number, "committed, though its client rolled it back");
    }
}

static void judge_all(struct soak *s)
{
    for (unsigned slot = 0; slot < s->book.n_pages; slot++) {
        const struct book_page *p = &s->book.pages[slot];

        for (size_t i = 1; i <= p->n; i++)
            judge(s, slot, i, &p->items[i]);
    }
}

/* Look-ups by id, at every node in the lead */

static enum book_word look_up(struct soak *s, tx_client *client, const char *id)
{
    enum tx_outcome outcome;
    struct tx_error e;

    s->lookups_at_end++;
    if (tx_client_outcome(client, id, &outcome, &e) == TX_OK)
        return book_word_of(outcome);
    soak_violation(s, "look-up of %s: %s", id, e.msg);
    return BOOK_SILENCE;
}

/* A client that was told nothing for certain must be able to learn it. One that was killed may just have heard,
 * and let the coordinators know, and not have written it down. */
static void look_up_entry(struct soak *s, tx_client *client, unsigned slot, size_t number)
{
    struct book_entry *e = book_entry(&s->book, slot, number);
    enum book_word word;

    if (*e->id == 0)
        return;
    word = look_up(s, client, e->id);
    book_learn(&s->book, slot, number, word, "a look-up at the end");
    if (word == BOOK_DOUBT)
        soak_wrong(s, slot, number, "still pending at the end");
    else if (e->told == BOOK_DOUBT && word == BOOK_FORGOTTEN)
        soak_wrong(s, slot, number, "told in doubt, its client cannot learn the outcome: it is forgotten");
}

static void look_up_open(struct soak *s, tx_client *client)
{
    for (unsigned slot = 0; slot < s->book.n_pages; slot++) {
        for (size_t i = 1; i <= s->book.pages[slot].n; i++) {
            const struct book_entry *e = book_entry(&s->book, slot, i);

            if (e->told == BOOK_DOUBT || e->told == BOOK_NOTHING)
                look_up_entry(s, client, slot, i);
        }
    }
}

static void look_up_samples(struct soak *s, tx_client *client)
{
    for (int i = 0; i < SAMPLES; i++) {
        unsigned slot = soak_below(s, s->book.n_pages);
        size_t n = s->book.pages[slot].n;

        if (n > 0)
            look_up_entry(s, client, slot, 1 + soak_random(&s->random) % n);
    }
}

static void look_up_everywhere(struct soak *s)
{
    struct tx_client_options options = {.coordinators = world_coordinators(s->world),
                                        .application_name = "verdict",
                                        .connect_timeout_ms = SOAK_SETTLE_MS};
    struct tx_error e;
    tx_client *client;
    char number[16];

    if (tx_client_open(&client, &options, &e) != TX_OK) {
        soak_violation(s, "tx_client_open: %s", e.msg);
        return;
    }
    for (size_t i = 0; i < s->n_parts; i++) {
        const struct part *p = &s->parts[i];

        if (p->kind != PART_NODE || p->state != PART_UP)
            continue;
        snprintf(number, sizeof number, "%u", p->number);
        if (s->options.nodes > 1)
            (void)group_admin(s, "transfer", number, NULL, NULL);
        look_up_open(s, client);
        look_up_samples(s, client);
    }
    tx_client_close(client);
}

/* All of it */

/* Records are kept for clients that were not told, or could not say that they were. */
static void check_decisions(struct soak *s)
{
    long long owed = 0, deaths = s->crashes;

    for (unsigned slot = 0; slot < s->book.n_pages; slot++) {
        for (size_t i = 1; i <= s->book.pages[slot].n; i++) {
            const struct book_entry *e = book_entry(&s->book, slot, i);

            owed += *e->id != 0 && (e->told == BOOK_DOUBT || e->told == BOOK_NOTHING);
        }
    }
    for (size_t k = 0; k < fault_kinds(); k++)
        deaths += fault_count(k);
    if (s->decisions > owed + deaths * LINGER)
        soak_violation(s, "the ledger keeps %lld decisions, though only %lld transactions have an open end",
                       s->decisions, owed);
}

/* What a broken coordinator might do. */
static void forge(struct soak *s)
{
    world_sql(stage_part(s, PART_SERVER, 0)->server,
              "DELETE FROM receipts WHERE id = (SELECT max(id) FROM receipts WHERE delta <> 0)");
}

void verdict(struct soak *s)
{
    uint64_t calm_ms = world_now_ms();
    char command[WORLD_PATH_SIZE + 64];

    end_clients(s);
    settle(s);
    s->settled_ms = world_now_ms() - calm_ms;
    if (s->options.forge)
        forge(s);
    for (unsigned i = 0; i < BOOK_BANKS; i++)
        load_receipts(s, i);
    check_money(s);
    judge_all(s);
    check_decisions(s);
    look_up_everywhere(s);
    if (s->n_violations == 0)
        return;
    snprintf(command, sizeof command, "tail -n %d '%s'", EVENTS, s->events);
    print_found("what was done last:", command);
}
