/* txid: see txid.h. */
#include "libtx/shared/txid.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void txid_format(const struct txid *id, char out[TXID_TEXT_SIZE])
{
    snprintf(out, TXID_TEXT_SIZE, "%016" PRIx64 "-%" PRIu64 "-%" PRIu64 "-%016" PRIx64, id->group, id->session,
             id->sequence, id->nonce);
}

void gid_format(const struct txid *id, unsigned branch, char out[GID_SIZE])
{
    char text[TXID_TEXT_SIZE];

    txid_format(id, text);
    snprintf(out, GID_SIZE, GID_PREFIX "%s-%u", text, branch);
}

/* Reads the fields loosely; the callers format again and compare, which leaves one spelling per name. */
static bool scan(const char *text, struct txid *id)
{
    char *end;

    memset(id, 0, sizeof *id);
    id->group = strtoull(text, &end, 16);
    if (*end != '-')
        return false;
    id->session = strtoull(end + 1, &end, 10);
    if (*end != '-')
        return false;
    id->sequence = strtoull(end + 1, &end, 10);
    if (*end != '-')
        return false;
    id->nonce = strtoull(end + 1, &end, 16);
    return id->group != 0 && id->session != 0 && id->sequence != 0;
}

bool txid_parse(const char *text, struct txid *id)
{
    char again[TXID_TEXT_SIZE];

    if (!scan(text, id))
        return false;
    txid_format(id, again);
    return strcmp(again, text) == 0;
}

bool gid_parse(const char *gid, struct txid *id, unsigned *branch)
{
    char again[GID_SIZE];
    const char *last = strrchr(gid, '-');
    unsigned long number;

    if (strncmp(gid, GID_PREFIX, sizeof GID_PREFIX - 1) != 0 || last < gid + sizeof GID_PREFIX)
        return false;
    number = strtoul(last + 1, NULL, 10);
    if (number == 0 || number > UINT16_MAX || !scan(gid + sizeof GID_PREFIX - 1, id))
        return false;
    *branch = (unsigned)number;
    gid_format(id, *branch, again);
    return strcmp(again, gid) == 0;
}

bool txid_equal(const struct txid *a, const struct txid *b)
{
    return a->group == b->group && a->session == b->session && a->sequence == b->sequence &&
           a->nonce == b->nonce;
}
