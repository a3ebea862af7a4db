/* wal_meta: see wal_meta.h. */
#include "coordinator/wal_meta.h"

#include <stdlib.h>
#include <string.h>

#include "libtx/shared/buf.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#define META_NAME "meta"
#define META_TMP "meta.tmp"
#define META_MAGIC 0x4154454d544e5341ULL /* "ASNTMETA" */
#define META_VERSION 3                   /* version 1 ends before base_index, version 2 before identity.log */

int wal_meta_write(const struct wal_dir *d, const struct wal_meta *m, struct tx_error *e)
{
    struct buf b;
    int rc;

    buf_init(&b);
    buf_put_u64(&b, META_MAGIC);
    buf_put_u32(&b, META_VERSION);
    buf_put_u32(&b, m->sealed);
    buf_put_u64(&b, m->identity.group);
    buf_put_u64(&b, m->node_id);
    buf_put_u64(&b, m->term);
    buf_put_u64(&b, m->vote);
    buf_put_u64(&b, m->first_segment);
    buf_put_u64(&b, m->last_segment);
    buf_put_u64(&b, m->snapshot_index);
    buf_put_u64(&b, m->sealed_segment);
    buf_put_u64(&b, m->sealed_offset);
    buf_put_u64(&b, m->sealed_index);
    buf_put_u64(&b, m->base_index);
    buf_put_u64(&b, m->guest);
    buf_put_u64(&b, m->identity.log);
    if (!b.failed)
        buf_put_u64(&b, XXH3_64bits(b.data, b.len));
    rc = b.failed ? err_set(e, TX_ENOMEM, "out of memory") : wal_dir_write(d, META_TMP, b.data, b.len, e);
    if (rc == 0)
        rc = wal_dir_publish(d, META_TMP, META_NAME, e);
    buf_release(&b);
    return rc;
}

static bool parse_meta(const uint8_t *data, size_t len, struct wal_meta *m)
{
    uint32_t version;
    struct cur c;
    bool known;

    cur_init(&c, data, len);
    known = cur_u64(&c) == META_MAGIC;
    version = cur_u32(&c);
    known = known && version >= 1 && version <= META_VERSION;
    m->sealed = cur_u32(&c) != 0;
    m->identity.group = cur_u64(&c);
    m->node_id = cur_u64(&c);
    m->term = cur_u64(&c);
    m->vote = cur_u64(&c);
    m->first_segment = cur_u64(&c);
    m->last_segment = cur_u64(&c);
    m->snapshot_index = cur_u64(&c);
    m->sealed_segment = cur_u64(&c);
    m->sealed_offset = cur_u64(&c);
    m->sealed_index = cur_u64(&c);
    if (version > 1) {
        m->base_index = cur_u64(&c);
        m->guest = cur_u64(&c) != 0;
    }
    m->identity.log = version > 2 ? cur_u64(&c) : m->identity.group;
    if (c.bad || !known)
        return false;
    known = cur_u64(&c) == XXH3_64bits(data, len - sizeof(uint64_t));
    return known && cur_done(&c) && m->identity.group != 0 && m->identity.log != 0 && m->term != 0 &&
           m->first_segment != 0;
}

int wal_meta_read(const struct wal_dir *d, struct wal_meta *m, struct tx_error *e)
{
    uint8_t *data;
    size_t len;
    int rc;

    memset(m, 0, sizeof *m);
    rc = wal_dir_read(d, META_NAME, &data, &len, e);
    if (rc != 0 || data == NULL)
        return rc;
    if (!parse_meta(data, len, m))
        rc = wal_dir_damaged(d, META_NAME, "the node's term and vote are damaged", e);
    free(data);
    return rc;
}
