/* fuzz_names: short texts that come back from resources and applications: gids out of pg_prepared_xacts, xids
 * out of XA RECOVER, transaction contexts, proofs (txid.h, xa_xid.h, context.h, pg_proof.h, rm_pg.h).
 *
 * Input: a text, or the bytes of an xid. Checked: each name has one text, so what is read is written as it
 * came.
 */
#include <stdlib.h>
#include <string.h>

#include "libtx/shared/context.h"
#include "libtx/shared/pg_proof.h"
#include "libtx/shared/xa_xid.h"
#include "participant/rm_pg.h"
#include "tests/fuzz/targets.h"

static void try_ids(const char *text)
{
    char again[GID_SIZE], name[TXID_TEXT_SIZE];
    unsigned branch;
    struct txid id;

    if (txid_parse(text, &id)) {
        txid_format(&id, name);
        fuzz_check(strcmp(name, text) == 0 && id.group != 0 && id.session != 0 && id.sequence != 0);
    }
    if (gid_parse(text, &id, &branch)) {
        gid_format(&id, branch, again);
        fuzz_check(strcmp(again, text) == 0 && branch >= 1 && branch <= UINT16_MAX);
    }
}

static void try_context(const char *text)
{
    char again[TXN_CONTEXT_SIZE];
    struct context c;

    if (!context_parse(text, &c))
        return;
    context_format(&c, again);
    fuzz_check(strcmp(again, text) == 0 && c.branch != 0 && c.number != 0);
}

static void try_proofs(const char *text)
{
    char again[PROOF_LIMIT + 1], xid[PG_XID_SIZE], epoch[PG_EPOCH_SIZE];
    struct pg_proof p;

    if (pg_proof_parse(text, &p)) {
        pg_proof_format(&p, again);
        fuzz_check(strcmp(again, text) == 0);
    }
    if (rm_pg_proof_parse_one_phase(text, xid, epoch))
        fuzz_check(strlen(xid) < PG_XID_SIZE && strlen(epoch) < PG_EPOCH_SIZE && *xid != '\0');
    if (pg_lsn_parse(text) != 0)
        fuzz_check(strlen(text) <= 17 && strspn(text, "0123456789ABCDEF/") == strlen(text));
    (void)pg_timeline_parse(text);
}

static void try_xid(const uint8_t *data, size_t len)
{
    unsigned branch, other_branch;
    struct txid id, other;
    char key[XA_KEY_SQL_SIZE], same[XA_KEY_SQL_SIZE];

    if (!xa_xid_parse_key(data, len, &id, &branch))
        return;
    fuzz_check(xa_xid_parse(XA_FORMAT_ID, XA_GTRID_SIZE, XA_BQUAL_SIZE, data, len, &other, &other_branch));
    xa_xid_key(&id, branch, key);
    xa_xid_key(&other, other_branch, same);
    fuzz_check(strcmp(key, same) == 0);
    for (size_t i = 0; i < len; i++) {
        static const char digits[] = "0123456789abcdef";

        fuzz_check(key[2 + 2 * i] == digits[data[i] >> 4] && key[3 + 2 * i] == digits[data[i] & 15]);
    }
}

void fuzz_names_run(const uint8_t *data, size_t len)
{
    char *text = fuzz_text(data, len);

    try_ids(text);
    try_context(text);
    try_proofs(text);
    try_xid(data, len);
    free(text);
}

void fuzz_names_seed(struct fuzz_sink *to)
{
    static const struct txid id = {0x0102030405060708, 12, 345, 0xfedcba9876543210};
    const struct context context = {id, 2, 3, 60000, "bank_a"};
    uint8_t key[XA_KEY_SIZE] = {[7] = 1, [15] = 2, [23] = 3, [31] = 4, [33] = 5};
    char text[TXN_CONTEXT_SIZE];

    txid_format(&id, text);
    fuzz_put_text(to, text);
    gid_format(&id, 7, text);
    fuzz_put_text(to, text);
    context_format(&context, text);
    fuzz_put_text(to, text);
    fuzz_put(to, key, sizeof key);
    fuzz_put_text(to, "xid=747 sys=7710375513606715811 tli=3 lsn=0/16B3748");
    fuzz_put_text(to, "xid=747 sys=-77 tli=4294967295");
    fuzz_put_text(to, "xid=747 epoch=1700000000.5/0000000A");
    fuzz_put_text(to, "1A/FFFFFFFF");
    fuzz_put_text(to, "0000000A000000010000007F");
}
