/* service_seen: see service_seen.h. */
#include "libtx/service_seen.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uthash.h>

#include "libtx/shared/txid.h"

struct seen_branch {
    UT_hash_handle hh;
    char gid[GID_SIZE];
    uint64_t since_ms;
    bool listed; /* on the list that is being taken */
};

static struct seen_branch *seen_find(const struct service_seen *s, const char *gid)
{
    struct seen_branch *b;

    HASH_FIND_STR(s->branches, gid, b);
    return b;
}

static struct seen_branch *seen_add(struct service_seen *s, const char *gid, uint64_t now_ms)
{
    struct seen_branch *b = calloc(1, sizeof *b);

    if (b == NULL)
        return NULL;
    snprintf(b->gid, sizeof b->gid, "%s", gid);
    b->since_ms = now_ms;
    HASH_ADD_STR(s->branches, gid, b);
    return b;
}

static void seen_remove(struct service_seen *s, struct seen_branch *b)
{
    HASH_DEL(s->branches, b);
    free(b);
}

static void seen_forget(struct service_seen *s, const char *prefix)
{
    struct seen_branch *b, *next;

    HASH_ITER(hh, s->branches, b, next)
    {
        if (!b->listed && strncmp(b->gid, prefix, strlen(prefix)) == 0)
            seen_remove(s, b);
        else
            b->listed = false;
    }
}

bool service_seen_take(struct service_seen *s, const char *prefix, struct rm_found *found, size_t n,
                       uint64_t now_ms)
{
    for (size_t i = 0; i < n; i++) {
        struct seen_branch *b = seen_find(s, found[i].gid);

        if (strlen(found[i].gid) >= GID_SIZE)
            continue; /* no branch is called so */
        if (b == NULL)
            b = seen_add(s, found[i].gid, now_ms);
        if (b == NULL)
            return false;
        b->listed = true;
        if (now_ms - b->since_ms > found[i].age_ms)
            found[i].age_ms = now_ms - b->since_ms;
    }
    seen_forget(s, prefix);
    s->complete = true;
    return true;
}

bool service_seen_has(const struct service_seen *s, const char *gid)
{
    return seen_find(s, gid) != NULL;
}

void service_seen_release(struct service_seen *s)
{
    struct seen_branch *b, *next;

    HASH_ITER(hh, s->branches, b, next)
    seen_remove(s, b);
    s->complete = false;
}
