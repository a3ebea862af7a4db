/* believed: see believed.h. */
#include "libtx/shared/believed.h"

#include <string.h>

static bool is_among(const uint8_t *keys, size_t n, const uint8_t key[KEY_SIZE])
{
    for (size_t i = 0; i < n; i++) {
        if (key_equal(keys + i * KEY_SIZE, key))
            return true;
    }
    return false;
}

static bool in_file(const struct believed *b, const uint8_t key[KEY_SIZE])
{
    const struct key_entry *entry = keyring_find(&b->security->ring, key);

    return entry != NULL && (entry->roles & ROLE_COORDINATOR) != 0;
}

static bool accept(void *ctx, const uint8_t key[KEY_SIZE])
{
    const struct believed *b = ctx;

    return b->n > 0 ? is_among(b->keys, b->n, key) : in_file(b, key);
}

void believed_init(struct believed *b, const struct security *security)
{
    *b = (struct believed){.security = security != NULL && !security->insecure ? security : NULL};
    if (b->security != NULL)
        b->channel = (struct channel_security){.self = &security->self, .accept = accept, .ctx = b};
}

const struct channel_security *believed_channel(const struct believed *b)
{
    return b->security != NULL ? &b->channel : NULL;
}

/* Whether one that is believed now is not on the list. */
static bool loses(const struct believed *b, const struct wire_nodes *nodes)
{
    const struct keyring *file = &b->security->ring;

    for (size_t i = 0; i < b->n; i++) {
        if (!is_among(nodes->keys, nodes->n_keys, b->keys + i * KEY_SIZE))
            return true;
    }
    for (size_t i = 0; b->n == 0 && i < file->n; i++) {
        if (in_file(b, file->entries[i].key) && !is_among(nodes->keys, nodes->n_keys, file->entries[i].key))
            return true;
    }
    return false;
}

bool believed_learn(struct believed *b, const struct wire_nodes *nodes)
{
    bool lost;

    if (b->security == NULL || nodes->n_keys == 0)
        return false;
    lost = loses(b, nodes);
    b->n = nodes->n_keys;
    memcpy(b->keys, nodes->keys, b->n * KEY_SIZE);
    return lost;
}
