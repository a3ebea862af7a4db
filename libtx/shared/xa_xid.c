/* xa_xid: see xa_xid.h. */
#include "libtx/shared/xa_xid.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

static void put_u64(unsigned char *to, uint64_t v)
{
    for (int i = 7; i >= 0; i--, v >>= 8)
        to[i] = (unsigned char)v;
}

static uint64_t get_u64(const unsigned char *from)
{
    uint64_t v = 0;

    for (int i = 0; i < 8; i++)
        v = v << 8 | from[i];
    return v;
}

static void key_bytes(const struct txid *id, unsigned branch, unsigned char key[XA_KEY_SIZE])
{
    put_u64(key, id->group);
    put_u64(key + 8, id->session);
    put_u64(key + 16, id->sequence);
    put_u64(key + 24, id->nonce);
    key[XA_GTRID_SIZE] = (unsigned char)(branch >> 8);
    key[XA_GTRID_SIZE + 1] = (unsigned char)branch;
}

/* Two digits a byte; no NUL behind. Returns where it ends. */
static char *put_hex(char *to, const unsigned char *bytes, size_t n)
{
    static const char digits[] = "0123456789abcdef";

    for (size_t i = 0; i < n; i++) {
        *to++ = digits[bytes[i] >> 4];
        *to++ = digits[bytes[i] & 15];
    }
    return to;
}

void xa_xid_format(const struct txid *id, unsigned branch, char out[XA_XID_SQL_SIZE])
{
    unsigned char key[XA_KEY_SIZE];

    key_bytes(id, branch, key);
    out = put_hex(stpcpy(out, "X'"), key, XA_GTRID_SIZE);
    out = put_hex(stpcpy(out, "',X'"), key + XA_GTRID_SIZE, XA_BQUAL_SIZE);
    sprintf(out, "',%d", XA_FORMAT_ID);
}

bool xa_xid_parse_key(const void *key, size_t len, struct txid *id, unsigned *branch)
{
    const unsigned char *bytes = key;

    if (len != XA_KEY_SIZE)
        return false;
    id->group = get_u64(bytes);
    id->session = get_u64(bytes + 8);
    id->sequence = get_u64(bytes + 16);
    id->nonce = get_u64(bytes + 24);
    *branch = (unsigned)bytes[XA_GTRID_SIZE] << 8 | bytes[XA_GTRID_SIZE + 1];
    return id->group != 0 && id->session != 0 && id->sequence != 0 && *branch != 0;
}

bool xa_xid_parse(unsigned long long format, unsigned long long gtrid_len, unsigned long long bqual_len,
                  const void *data, size_t len, struct txid *id, unsigned *branch)
{
    return format == XA_FORMAT_ID && gtrid_len == XA_GTRID_SIZE && bqual_len == XA_BQUAL_SIZE &&
           xa_xid_parse_key(data, len, id, branch);
}

void xa_xid_key(const struct txid *id, unsigned branch, char out[XA_KEY_SQL_SIZE])
{
    unsigned char key[XA_KEY_SIZE];

    key_bytes(id, branch, key);
    strcpy(put_hex(stpcpy(out, "X'"), key, XA_KEY_SIZE), "'");
}

void xa_xid_receipt(const struct txid *id, unsigned branch, char out[XA_RECEIPT_SQL_SIZE])
{
    char key[XA_KEY_SQL_SIZE];

    xa_xid_key(id, branch, key);
    snprintf(out, XA_RECEIPT_SQL_SIZE, XA_RECEIPT_INSERT, key);
}
