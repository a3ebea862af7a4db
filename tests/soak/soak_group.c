/* soak_group: the coordinators' group as an operator changes it, with txadmin alone. See soak.h.
 *
 * A change that gets no answer may have happened or not. group_mend() therefore goes by what `txadmin node
 * list` says, and brings the group back to its size step by step, whatever it finds.
 */
#include <cjson/cJSON.h>
#include <stdio.h>
#include <string.h>

#include "tests/lib/world_impl.h"
#include "tests/soak/soak.h"

enum {
    MEND_MS = 700,         /* between two looks */
    CATCHING_UP_MS = 8000, /* then a node is put out again, and added anew */
};

/* Of txadmin, which gives a node that is down a second before it asks the next; two of them may be. */
#define PATIENCE "3500ms"

/* What txadmin says */

struct members {
    bool known;
    unsigned leader, voters, learners; /* leader: its number; the others: bits, by number */
};

struct cJSON *group_ask(struct soak *s, const char *const *args)
{
    struct world_output o = world_admin(s->world, args);
    cJSON *answer = cJSON_Parse(o.text);

    world_output_release(&o);
    return answer != NULL ? answer : cJSON_CreateObject();
}

static struct members ask_members(struct soak *s)
{
    cJSON *answer = group_ask(s, WORLD_ARGS("--json", "--timeout", PATIENCE, "node", "list")), *n;
    struct members m = {.known = cJSON_IsArray(cJSON_GetObjectItem(answer, "nodes"))};

    cJSON_ArrayForEach(n, cJSON_GetObjectItem(answer, "nodes"))
    {
        const char *role = cJSON_GetStringValue(cJSON_GetObjectItem(n, "role"));
        unsigned id = (unsigned)cJSON_GetNumberValue(cJSON_GetObjectItem(n, "node"));

        if (strcmp(role, "leader") == 0)
            m.leader = id;
        if (strcmp(role, "catching up") == 0)
            m.learners |= 1u << id;
        else
            m.voters |= 1u << id;
    }
    cJSON_Delete(answer);
    return m;
}

int group_admin(struct soak *s, const char *verb, const char *a, const char *b, const char *c)
{
    struct world_output o = world_admin(s->world, WORLD_ARGS("--timeout", PATIENCE, "node", verb, a, b, c));
    char *newline = strchr(o.error, '\n');
    int code = o.code;

    if (newline != NULL)
        *newline = 0;
    soak_event(s, "txadmin node %s %s %s %s: %d %s", verb, a != NULL ? a : "", b != NULL ? b : "",
               c != NULL ? c : "", code, o.error);
    world_output_release(&o);
    if (code < 0)
        soak_violation(s, "txadmin node %s ended by signal %d", verb, -code);
    return code;
}

struct part *group_leader(struct soak *s)
{
    struct members m = ask_members(s);

    return m.leader == 0 ? NULL : stage_part(s, PART_NODE, m.leader - 1);
}

static const char *number(unsigned id, char out[16])
{
    snprintf(out, 16, "%u", id);
    return out;
}

/* Changes */

static bool all_up(struct soak *s)
{
    unsigned up = 0;

    for (size_t i = 0; i < s->n_parts; i++)
        up += s->parts[i].kind == PART_NODE && s->parts[i].state == PART_UP;
    return up == s->options.nodes && !s->unsure;
}

/* One that follows, and is up; NULL: there is none. */
static struct part *pick_follower(struct soak *s)
{
    struct part *leader = group_leader(s), *p;

    if (leader == NULL)
        return NULL;
    for (int i = 0; i < 20; i++) {
        p = stage_part(s, PART_NODE, soak_below(s, s->options.nodes + 1));
        if (p->state == PART_UP && p != leader)
            return p;
    }
    return NULL;
}

static void put_out(struct soak *s, struct part *p, unsigned ms)
{
    world_process_kill(p->process);
    world_node_wipe(s->world, p->number);
    p->state = PART_OUT;
    p->crash[0] = 0;
    p->due_ms = world_now_ms() + ms;
}

static struct part *pick_out(struct soak *s)
{
    for (size_t i = 0; i < s->n_parts; i++) {
        if (s->parts[i].kind == PART_NODE && s->parts[i].state == PART_OUT)
            return &s->parts[i];
    }
    return NULL;
}

static void begin_waiting(struct part *p)
{
    if (world_process_running(p->process))
        return;
    world_process_start(p->process, NULL);
    world_process_await(p->process, "event=waiting", SOAK_SETTLE_MS);
}

bool group_remove(struct soak *s)
{
    struct part *p = s->options.nodes > 1 && all_up(s) ? pick_follower(s) : NULL;
    char id[16];

    if (p == NULL)
        return false;
    if (soak_below(s, 2) == 0)
        part_kill(s, p, SOAK_SETTLE_MS);
    if (group_admin(s, "remove", number(p->number, id), NULL, NULL) == 0)
        put_out(s, p, soak_between(s, 0, 3000));
    s->unsure = true;
    return true;
}

bool group_replace(struct soak *s)
{
    struct part *p = s->options.nodes > 1 && all_up(s) ? pick_follower(s) : NULL, *other = pick_out(s);
    char id[16], new[16];

    if (p == NULL || other == NULL)
        return false;
    begin_waiting(other);
    if (soak_below(s, 2) == 0)
        part_kill(s, p, SOAK_SETTLE_MS);
    s->unsure = true;
    if (group_admin(s, "replace", number(p->number, id), number(other->number, new),
                    world_node_peer(s->world, other->number)) == 0) {
        put_out(s, p, soak_between(s, 0, 3000));
        other->state = PART_UP;
    }
    return true;
}

bool group_transfer(struct soak *s)
{
    struct part *p = s->options.nodes > 1 ? pick_follower(s) : NULL;
    char id[16];

    if (p == NULL)
        return false;
    return group_admin(s, "transfer", soak_below(s, 3) == 0 ? NULL : number(p->number, id), NULL, NULL) == 0;
}

/* Mending */

static void add_one(struct soak *s)
{
    struct part *p = pick_out(s);
    char id[16];

    if (p == NULL || (world_now_ms() < p->due_ms && !s->calm))
        return;
    begin_waiting(p);
    if (group_admin(s, "add", number(p->number, id), world_node_peer(s->world, p->number), NULL) == 0)
        p->state = PART_UP;
}

/* What is no member must not run, nor keep what it knew; what is one belongs to the world again. */
static void agree(struct soak *s, const struct members *m)
{
    for (size_t i = 0; i < s->n_parts; i++) {
        struct part *p = &s->parts[i];
        unsigned bit = 1u << p->number;

        if (p->kind != PART_NODE)
            continue;
        if ((m->voters & bit) != 0 && p->state == PART_OUT && world_process_running(p->process))
            p->state = PART_UP;
        else if ((m->voters & bit) != 0 && p->state == PART_DOWN)
            p->due_ms = 0;
        else if (((m->voters | m->learners) & bit) == 0 && p->state != PART_OUT)
            put_out(s, p, 0);
    }
}

static void remove_learner(struct soak *s, const struct members *m)
{
    static uint64_t since;
    unsigned id = 1;
    char text[16];

    if (m->learners == 0 || since == 0)
        since = world_now_ms();
    if (m->learners == 0 || world_now_ms() - since < CATCHING_UP_MS)
        return;
    while ((m->learners & 1u << id) == 0)
        id++;
    if (group_admin(s, "remove", number(id, text), NULL, NULL) == 0)
        put_out(s, stage_part(s, PART_NODE, id - 1), 0);
    since = 0;
}

/* Of too many, one that does not lead. */
static void remove_spare(struct soak *s, const struct members *m)
{
    unsigned id = 1;
    char text[16];

    while ((m->voters & 1u << id) == 0 || id == m->leader)
        id++;
    if (group_admin(s, "remove", number(id, text), NULL, NULL) == 0)
        put_out(s, stage_part(s, PART_NODE, id - 1), 0);
}

void group_mend(struct soak *s)
{
    struct members m;
    unsigned n;

    if (!s->unsure || world_now_ms() < s->next_mend_ms)
        return;
    m = ask_members(s);
    n = (unsigned)__builtin_popcount(m.voters);
    if (m.known && m.leader != 0) {
        agree(s, &m);
        remove_learner(s, &m);
        if (m.learners == 0 && n < s->options.nodes)
            add_one(s);
        else if (m.learners == 0 && n > s->options.nodes)
            remove_spare(s, &m);
        s->unsure = m.learners != 0 || n != s->options.nodes;
    }
    s->next_mend_ms = world_now_ms() + MEND_MS;
}
