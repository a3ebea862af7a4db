/* txid: what a transaction and a branch are called.
 *
 * Text of a transaction: <group>-<session>-<sequence>-<nonce>, group and nonce as 16 hex digits. A branch's
 * gid, the name it is prepared under in its resource: assent-<text>-<branch>. The random nonce makes it
 * unguessable; the random group keeps two groups on one server apart.
 */
#ifndef ASSENT_TXID_H
#define ASSENT_TXID_H

#include <stdbool.h>
#include <stdint.h>

struct txid {
    uint64_t group;    /* of the coordinator group; random, never 0 */
    uint64_t session;  /* as the ledger numbered it, from 1 */
    uint64_t sequence; /* within the session, from 1 */
    uint64_t nonce;    /* the session's; random */
};

enum { TXID_TEXT_SIZE = 80, GID_SIZE = 100 };
#define GID_PREFIX "assent-"

/* The number of no transaction. Under it an agent tries out whether its resource can prepare; who finds such a
 * branch prepared rolls it back, whatever the session. */
#define TXID_TRIAL UINT64_MAX

/* Both NUL-terminate. */
void txid_format(const struct txid *id, char out[TXID_TEXT_SIZE]);
void gid_format(const struct txid *id, unsigned branch, char out[GID_SIZE]);

/* False where the text is not exactly what the functions above write. Branches count from 1: anybody who may
 * prepare can choose a gid, and what no message may carry must not become a branch. */
bool txid_parse(const char *text, struct txid *id);
bool gid_parse(const char *gid, struct txid *id, unsigned *branch);

bool txid_equal(const struct txid *a, const struct txid *b);

#endif
