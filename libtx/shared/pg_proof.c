/* pg_proof: see pg_proof.h. PostgreSQL 15 manual, «System Administration Functions», «WAL Internals». */
#include "libtx/shared/pg_proof.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void pg_proof_format(const struct pg_proof *p, char out[PROOF_LIMIT + 1])
{
    int n;

    out[0] = '\0';
    if (p->xid[0] == '\0')
        return;
    n = snprintf(out, PROOF_LIMIT + 1, "xid=%.20s", p->xid);
    if (p->system[0] == '\0' || p->timeline == 0)
        return;
    n += snprintf(out + n, (size_t)(PROOF_LIMIT + 1 - n), " sys=%.20s tli=%" PRIu32, p->system, p->timeline);
    if (p->lsn != 0)
        snprintf(out + n, (size_t)(PROOF_LIMIT + 1 - n), " lsn=%" PRIX32 "/%" PRIX32, (uint32_t)(p->lsn >> 32),
                 (uint32_t)p->lsn);
}

/* A number behind "key="; false: something else stands there. *text moves behind it. */
static bool proof_field(const char **text, const char *key, const char *digits, char *out, size_t max)
{
    size_t k = strlen(key), n;

    if (strncmp(*text, key, k) != 0)
        return false;
    n = strspn(*text + k, digits);
    if (n == 0 || n > max)
        return false;
    memcpy(out, *text + k, n);
    out[n] = '\0';
    *text += k + n;
    return true;
}

bool pg_proof_parse(const char *text, struct pg_proof *p)
{
    static const char decimal[] = "0123456789";
    char timeline[16], lsn[24], again[PROOF_LIMIT + 1];
    const char *whole = text;

    memset(p, 0, sizeof *p);
    if (text == NULL || !proof_field(&text, "xid=", decimal, p->xid, 20))
        return false;
    if (*text == '\0')
        return true;
    if (!proof_field(&text, " sys=", "-0123456789", p->system, 20) ||
        !proof_field(&text, " tli=", decimal, timeline, 10))
        return false;
    p->timeline = (uint32_t)strtoul(timeline, NULL, 10);
    if (*text != '\0' && proof_field(&text, " lsn=", "0123456789ABCDEF/", lsn, 17))
        p->lsn = pg_lsn_parse(lsn);
    /* A number too large, or none: what was read is written again and compared. */
    pg_proof_format(p, again);
    return strcmp(again, whole) == 0;
}

uint64_t pg_lsn_parse(const char *text)
{
    uint32_t high, low;
    int end = 0;

    if (text == NULL || strspn(text, "0123456789ABCDEF/") != strlen(text) ||
        sscanf(text, "%8" SCNx32 "/%8" SCNx32 "%n", &high, &low, &end) != 2 || text[end] != '\0')
        return 0;
    return (uint64_t)high << 32 | low;
}

uint32_t pg_timeline_parse(const char *file)
{
    char digits[9];

    if (file == NULL || strlen(file) != 24 || strspn(file, "0123456789ABCDEF") != 24)
        return 0;
    memcpy(digits, file, 8);
    digits[8] = '\0';
    return (uint32_t)strtoul(digits, NULL, 16);
}
