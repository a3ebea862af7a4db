/* pg_system: see pg_system.h. */
#include "libtx/pg_system.h"

#include <string.h>

/* Objects of this size are far more than 64 bytes apart. */
static size_t system_slot(const struct pg_system *key)
{
    return ((uintptr_t)key->conn >> 6) % PG_SYSTEMS;
}

void pg_system_find(const struct pg_systems *s, struct pg_system *key, uint64_t now_ms)
{
    const struct pg_system *slot = &s->slots[system_slot(key)];

    key->system[0] = '\0';
    if (slot->conn == key->conn && slot->pid == key->pid && slot->fd == key->fd && now_ms < slot->until_ms)
        memcpy(key->system, slot->system, sizeof key->system);
}

void pg_system_note(struct pg_systems *s, const struct pg_system *of, uint64_t now_ms)
{
    struct pg_system *slot = &s->slots[system_slot(of)];

    *slot = *of;
    slot->until_ms = now_ms + PG_SYSTEM_MS;
}
