/* demo_stage: two banks, their agents, a coordinator; and the book-keeping of keys. */
#include <stdlib.h>
#include <string.h>

#include "tests/demo/demo.h"

void stage_open(struct stage *s, const char *name, const char *const *agent_flags)
{
    struct world_options options = {.name = name};
    static const char *const names[2] = {"bank_a", "bank_b"}, *const agents[2] = {"agent_a", "agent_b"};

    s->world = world_new(&options);
    s->coordinator = world_coordinator_new(s->world, "coordinator", NULL);
    world_process_start_ready(s->coordinator, NULL);
    for (int i = 0; i < 2; i++) {
        s->bank[i] = world_server_new(s->world, names[i], NULL);
        world_accounts(s->bank[i], DEMO_ACCOUNTS, DEMO_BALANCE);
        world_sql(s->bank[i],
                  "CREATE TABLE receipts (key bigint PRIMARY KEY); ALTER TABLE receipts OWNER TO app");
        s->agent[i] = world_agent_new(s->world, agents[i], &s->bank[i], 1, agent_flags);
        world_process_start_ready(s->agent[i], NULL);
    }
}

void keys_add(struct keys *k, long long key)
{
    if (k->n == k->cap) {
        k->cap = k->cap == 0 ? 4096 : k->cap * 2;
        k->items = realloc(k->items, k->cap * sizeof *k->items);
        if (k->items == NULL)
            abort();
    }
    k->items[k->n++] = key;
}

static int compare(const void *a, const void *b)
{
    long long x = *(const long long *)a, y = *(const long long *)b;

    return (x > y) - (x < y);
}

void keys_sort(struct keys *k)
{
    if (k->n > 0)
        qsort(k->items, k->n, sizeof *k->items, compare);
}

bool keys_contain(const struct keys *k, long long key)
{
    return k->n > 0 && bsearch(&key, k->items, k->n, sizeof *k->items, compare) != NULL;
}

void keys_release(struct keys *k)
{
    free(k->items);
    memset(k, 0, sizeof *k);
}
