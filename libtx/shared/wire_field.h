/* wire_field: the fields that messages are made of. Only wire.c uses it.
 *
 * A writer and a reader remember the first thing that went wrong, so that a message's functions run straight
 * through and wire.c looks once, at the end. A reader's functions take the field's name, for the error text.
 */
#ifndef ASSENT_WIRE_FIELD_H
#define ASSENT_WIRE_FIELD_H

#include "libtx/shared/wire.h"

struct wire_writer {
    struct buf *to;
    bool too_big; /* a bound of words.h is exceeded */
};

struct wire_reader {
    struct cur from;
    const char *field; /* the first that is malformed, or NULL */
    struct wire_scratch *scratch;
};

/* writing: what must not be NULL is asserted */

void wire_put_str(struct wire_writer *w, const char *s, size_t limit);
/* As wire_put_str, but NULL is allowed. */
void wire_put_optional(struct wire_writer *w, const char *s, size_t limit);
/* A reason or an error, for people: what is longer than TEXT_LIMIT is cut, between two characters of UTF-8.
 * NULL is allowed. */
void wire_put_text(struct wire_writer *w, const char *s);
/* How many elements follow: n, or 0 and too_big where n exceeds the limit. */
size_t wire_put_count(struct wire_writer *w, size_t n, size_t limit);
void wire_put_txid(struct wire_writer *w, const struct txid *id);
void wire_put_news(struct wire_writer *w, const struct wire_news *news);
void wire_put_branches(struct wire_writer *w, const struct branch_ref *branches, size_t n);
void wire_put_nodes(struct wire_writer *w, const struct wire_nodes *nodes);
/* NULL is allowed. */
void wire_put_key(struct wire_writer *w, const uint8_t *key);
void wire_put_clients(struct wire_writer *w, const struct wire_client_key *clients, size_t n);
/* Strings that are encoded already. */
void wire_put_block(struct wire_writer *w, const uint8_t *p, size_t n);

/* reading: 0 or NULL once anything was malformed */

void wire_spoil(struct wire_reader *r, const char *field);
/* A number from min to max. */
uint8_t wire_get_enum(struct wire_reader *r, const char *field, uint8_t min, uint8_t max);
uint16_t wire_get_u16(struct wire_reader *r, const char *field);
uint32_t wire_get_u32(struct wire_reader *r, const char *field);
uint64_t wire_get_u64(struct wire_reader *r, const char *field);
/* One of enum tx_err. */
int32_t wire_get_code(struct wire_reader *r);
const char *wire_get_str(struct wire_reader *r, const char *field, size_t limit);
const char *wire_get_optional(struct wire_reader *r, const char *field, size_t limit);
/* Checked with wire_name_valid(). */
const char *wire_get_name(struct wire_reader *r, const char *field);
/* The text that belongs to `code`: NULL at most with TX_OK. */
const char *wire_get_text(struct wire_reader *r, int32_t code);
size_t wire_get_count(struct wire_reader *r, const char *field, size_t limit);
struct txid wire_get_txid(struct wire_reader *r);
void wire_get_news(struct wire_reader *r, struct wire_news *news);
const struct branch_ref *wire_get_branches(struct wire_reader *r, size_t *n);
void wire_get_nodes(struct wire_reader *r, struct wire_nodes *nodes);
const uint8_t *wire_get_key(struct wire_reader *r, const char *field);
const struct wire_client_key *wire_get_clients(struct wire_reader *r, size_t *n);
/* As wire_put_block() wrote it: exactly `required` strings that are not NULL, then `optional` that may be. */
const uint8_t *wire_get_block(struct wire_reader *r, const char *field, uint64_t required, uint64_t optional,
                              size_t *len);

#endif
