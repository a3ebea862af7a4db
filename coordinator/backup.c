/* backup: see backup.h. */
#include "coordinator/backup.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

enum { BACKUP_MAGIC = 0x424e5341 /* "ASNB" */, BACKUP_VERSION = 1 };

void backup_make(const struct ledger *l, uint64_t index, struct buf *out)
{
    struct buf snapshot;

    buf_init(&snapshot);
    ledger_snapshot(l, &snapshot);
    out->failed |= snapshot.failed;
    buf_put_u32(out, BACKUP_MAGIC);
    buf_put_u32(out, BACKUP_VERSION);
    buf_put_u64(out, ledger_group(l));
    buf_put_u64(out, index);
    buf_put_u64(out, snapshot.len);
    buf_put_bytes(out, snapshot.data, snapshot.len);
    if (!out->failed)
        buf_put_u64(out, XXH3_64bits(out->data, out->len));
    buf_release(&snapshot);
}

static int read_all(struct buf *to, const char *path, struct tx_error *e)
{
    FILE *f = fopen(path, "r");
    char block[65536];
    size_t n;
    int rc = TX_OK;

    if (f == NULL)
        return err_set(e, TX_EIO, "%s: %s", path, strerror(errno));
    while ((n = fread(block, 1, sizeof block, f)) > 0)
        buf_put_bytes(to, block, n);
    if (ferror(f))
        rc = err_set(e, TX_EIO, "%s: %s", path, strerror(errno));
    else if (to->failed)
        rc = err_set(e, TX_ENOMEM, "%s: no memory for it", path);
    fclose(f);
    return rc;
}

static int parse(struct backup *b, const char *path, struct tx_error *e)
{
    uint32_t magic, version;
    uint64_t len;
    struct cur c;

    cur_init(&c, b->file.data, b->file.len);
    magic = cur_u32(&c);
    version = cur_u32(&c);
    if (c.bad || magic != BACKUP_MAGIC)
        return err_set(e, TX_ECORRUPT, "%s is no backup of txadmin's", path);
    if (version > BACKUP_VERSION)
        return err_set(e, TX_EPROTO, "%s has version %u and this program knows up to %d: upgrade it", path,
                       version, BACKUP_VERSION);
    b->group = cur_u64(&c);
    b->index = cur_u64(&c);
    len = cur_u64(&c);
    b->len = len <= b->file.len ? (size_t)len : b->file.len;
    b->ledger = cur_bytes(&c, b->len);
    if (cur_u64(&c) != XXH3_64bits(b->file.data, b->file.len - sizeof(uint64_t)) || !cur_done(&c) ||
        b->group == 0)
        return err_set(e, TX_ECORRUPT, "%s is damaged, or not complete", path);
    return TX_OK;
}

/* What cannot be restored is to be known before the log is begun. */
static int try_restore(const struct backup *b, const char *path, struct tx_error *e)
{
    struct ledger *l = ledger_new(b->group);
    int rc = l == NULL ? err_set(e, TX_ENOMEM, "out of memory") : ledger_restore(l, b->ledger, b->len, e);

    if (rc == TX_OK && !ledger_may_begin(l))
        rc = err_set(e, TX_ECORRUPT, "its numbers are none that a group can have come to");
    ledger_free(l);
    return rc == TX_OK ? rc : err_wrap(e, rc, "%s", path);
}

int backup_load(struct backup *b, const char *path, struct tx_error *e)
{
    int rc;

    memset(b, 0, sizeof *b);
    buf_init(&b->file);
    rc = read_all(&b->file, path, e);
    if (rc == TX_OK)
        rc = parse(b, path, e);
    return rc == TX_OK ? try_restore(b, path, e) : rc;
}

void backup_release(struct backup *b)
{
    buf_release(&b->file);
}
