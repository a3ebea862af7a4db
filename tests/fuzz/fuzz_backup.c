/* fuzz_backup: files with a checksum behind them: backups of the ledger, and the log's snapshots (backup.h,
 * snapshot.h).
 *
 * Input: which of the two, then the file without its checksum, which is put behind it. Checked: what is taken
 * is in its bounds, and a backup's ledger can be restored.
 */
#include <stdlib.h>

#include "coordinator/backup.h"
#include "coordinator/snapshot.h"
#include "tests/fuzz/fuzz_ledger.h"
#include "tests/fuzz/targets.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

static void take_backup(const struct buf *file)
{
    const char *path = fuzz_file(file->data, file->len);
    struct tx_error e = {0};
    struct backup b;
    struct ledger *l;

    if (backup_load(&b, path, &e) == TX_OK) {
        fuzz_check(b.group != 0);
        l = ledger_new(b.group);
        fuzz_check(l != NULL && ledger_restore(l, b.ledger, b.len, NULL) == 0);
        ledger_free(l);
    } else {
        fuzz_check(e.code == TX_ECORRUPT || e.code == TX_EPROTO);
    }
    backup_release(&b);
}

static void take_snapshot(const struct buf *file)
{
    struct snapshot s;
    int rc = snapshot_decode(file->data, file->len, FUZZ_GROUP, &s);

    fuzz_check(rc == TX_OK || rc == TX_ECORRUPT);
    if (rc != TX_OK)
        return;
    fuzz_check(s.config.len + s.data.len < file->len);
    snapshot_release(&s);
}

void fuzz_backup_run(const uint8_t *data, size_t len)
{
    struct buf file;

    buf_init(&file);
    if (len > 1)
        buf_put_bytes(&file, data + 1, len - 1);
    buf_put_u64(&file, XXH3_64bits(file.len > 0 ? file.data : data, file.len));
    fuzz_check(!file.failed);
    if (len > 0 && data[0] == 0)
        take_backup(&file);
    else
        take_snapshot(&file);
    buf_release(&file);
}

/* As snapshot_write() makes it. */
static void seed_snapshot(struct fuzz_sink *to)
{
    static const char magic[] = "ASNTSNAP";
    struct buf b;

    buf_init(&b);
    buf_put_u8(&b, 1);
    buf_put_bytes(&b, magic, 8);
    for (uint64_t i = 0; i < 5; i++)
        buf_put_u64(&b, (const uint64_t[]){1, FUZZ_GROUP, 9, 2, 1}[i]);
    buf_put_u64(&b, 3);
    buf_put_bytes(&b, "abc", 3);
    buf_put_u64(&b, 4);
    buf_put_bytes(&b, "defg", 4);
    fuzz_put_buf(to, &b);
}

void fuzz_backup_seed(struct fuzz_sink *to)
{
    struct ledger *l = fuzz_ledger_sample();
    struct buf b, file;

    buf_init(&b);
    buf_init(&file);
    backup_make(l, 12, &file);
    buf_put_u8(&b, 0);
    buf_put_bytes(&b, file.data, file.len - sizeof(uint64_t));
    fuzz_put_buf(to, &b);
    buf_release(&file);
    ledger_free(l);
    seed_snapshot(to);
}
