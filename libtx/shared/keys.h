/* keys: who is who. A program's own key pair, and the public keys of others with a name and roles.
 *
 * A key pair is Ed25519 (RFC 8032); as text a public key is 43 characters of URL-safe base64. The pair stands
 * in a file that only its owner may read. Whom a program believes stands in a keys file, a line each:
 *
 *     # name    roles        key                                           resources
 *     node1     coordinator  pJ0vXX…
 *     bank_a    agent        9gk2Qm…                                       bank_a,bank_b
 *
 * Read by every program at its start (security.h); the group's own list is the ledger's.
 */
#ifndef ASSENT_KEYS_H
#define ASSENT_KEYS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "libtx/shared/err.h"
#include "libtx/shared/words.h"

enum {
    KEY_SIZE = 32,         /* bytes of a public key */
    KEY_TEXT_SIZE = 44,    /* of its text, with the terminating NUL */
    KEY_LIMIT = 4096,      /* keys of a group, the revoked ones among them */
    KEY_GRANT_LIMIT = 511, /* bytes of an agent's list of resources */
    ROLES_TEXT_SIZE = 64,
};

/* What the owner of a key may be; or'ed. docs/security.md has the table of what each may do. */
enum role {
    ROLE_CLIENT = 1,
    ROLE_AGENT = 2,
    ROLE_OPERATOR = 4,
    ROLE_OBSERVER = 8,
    ROLE_COORDINATOR = 16,
    ROLES_ALL = 31,
};

struct identity {
    uint8_t public_key[KEY_SIZE];
    uint8_t secret_key[64]; /* libsodium's form: seed and public key */
};

void identity_generate(struct identity *i);
/* Makes the file, mode 0600. TX_EIO: cannot be written, or is there already. */
int identity_write(const struct identity *i, const char *path, struct tx_error *e);
/* TX_EREFUSED: others than its owner may read it; TX_EIO; TX_EINVAL: not a key file. */
int identity_load(struct identity *i, const char *path, struct tx_error *e);
/* Overwrites the secret. */
void identity_wipe(struct identity *i);

void key_format(const uint8_t key[KEY_SIZE], char out[KEY_TEXT_SIZE]);
/* False where the text is no key; nothing but zeros is none. */
bool key_parse(const char *text, uint8_t key[KEY_SIZE]);
bool key_equal(const uint8_t a[KEY_SIZE], const uint8_t b[KEY_SIZE]);

/* "client,agent" */
void roles_format(unsigned roles, char out[ROLES_TEXT_SIZE]);
/* 0 where a word is no role, or there is none. */
unsigned roles_parse(const char *text);
/* "*", or names with commas: whether `name` is among them. NULL: none. */
bool grant_has(const char *grant, const char *name);
/* TX_EINVAL: not "*" and not names with commas, or too long. */
int grant_check(const char *grant, struct tx_error *e);

struct key_entry {
    uint8_t key[KEY_SIZE];
    unsigned roles;
    char name[NAME_LIMIT + 1];
    char grant[KEY_GRANT_LIMIT + 1]; /* an agent's resources, as grant_has() takes them; "": none */
};

/* Zeroed is empty. */
struct keyring {
    size_t n;
    struct key_entry *entries; /* owned */
};

/* TX_EIO; TX_EREFUSED: others than its owner may write it; TX_EINVAL names file, line and what would be right;
 * TX_EBUSY: more than KEY_LIMIT; TX_ENOMEM. */
int keyring_load(struct keyring *r, const char *path, struct tx_error *e);
/* TX_EBUSY, TX_ENOMEM. */
int keyring_add(struct keyring *r, const struct key_entry *entry, struct tx_error *e);
const struct key_entry *keyring_find(const struct keyring *r, const uint8_t key[KEY_SIZE]);
void keyring_release(struct keyring *r);
/* A line as a keys file has it, without the newline. */
void key_entry_format(const struct key_entry *entry, char *out, size_t size);
/* TX_EINVAL. */
int key_entry_parse(const char *line, struct key_entry *out, struct tx_error *e);

#endif
