/* branches: see branches.h. */
#include "participant/branches.h"

#include <stdlib.h>
#include <string.h>

enum { BRANCHES_LIMIT = 16384 };

void branches_init(struct branches *t)
{
    memset(t, 0, sizeof *t);
}

static struct branch_key branches_key(const struct txid *id, uint16_t number)
{
    struct branch_key key;

    memset(&key, 0, sizeof key);
    key.id = *id;
    key.number = number;
    return key;
}

struct held *branches_find(const struct branches *t, const struct txid *id, uint16_t number)
{
    struct branch_key key = branches_key(id, number);
    struct held *h;

    HASH_FIND(hh, t->table, &key, sizeof key, h);
    return h;
}

void branches_remove(struct branches *t, struct held *h)
{
    HASH_DELETE(hh, t->table, h);
    t->n--;
    if (h->statements != NULL)
        free(h->statements->reply);
    free(h->statements);
    free(h->proof);
    free(h->text);
    free(h->stuck);
    free(h);
}

void branches_release(struct branches *t)
{
    while (t->table != NULL)
        branches_remove(t, t->table);
}

/* uthash walks in the order of entry, which is nearly the order of ending. */
static bool branches_make_room(struct branches *t)
{
    struct held *h, *next;

    if (t->n < BRANCHES_LIMIT)
        return true;
    HASH_ITER(hh, t->table, h, next)
    {
        if (branch_is_final(h->state)) {
            branches_remove(t, h);
            return true;
        }
    }
    return false;
}

struct held *branches_add(struct branches *t, const struct txid *id, uint16_t number)
{
    struct held *h;

    if (!branches_make_room(t))
        return NULL;
    h = calloc(1, sizeof *h);
    if (h == NULL)
        return NULL;
    h->key = branches_key(id, number);
    h->state = AT_NONE;
    HASH_ADD(hh, t->table, key, sizeof h->key, h);
    t->n++;
    return h;
}

void branches_set(char **to, const char *text)
{
    char *copy = text == NULL ? NULL : strdup(text);

    free(*to);
    *to = copy;
}
