/* relay: a man in the middle. Stands between callers and a daemon, a thread of the test's own, and sees whole
 * messages: records them, and lets them pass, or flips their bits, loses, doubles, delays or misplaces them, or
 * says something of his own.
 *
 * Made by world_assent before each node where the world's options ask for it, and by tests before agents. What
 * it passes on is bytes; it knows of Assent's messages nothing but that a request has a number.
 */
#ifndef ASSENT_RELAY_H
#define ASSENT_RELAY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct relay;

enum relay_way { RELAY_TO_SERVER, RELAY_TO_CALLER };

/* A message as it came: number of the request, with the top bit set, and content. */
struct relay_message {
    enum relay_way way;
    unsigned connection; /* counted from 1 */
    size_t len;
    uint8_t *body;
};

/* What becomes of messages: so many of a thousand. */
struct relay_plan {
    unsigned flip;        /* a bit of it, its number's among them */
    unsigned break_frame; /* a bit of what nanomsg puts before it */
    unsigned lose, twice;
    unsigned late; /* up to 100 ms, and so behind others */
    unsigned
        misplace; /* an answer: put under another open question of its connection, and then where it belongs */
    /* Asked first, in the relay's thread, of each message, which it may change in place; false: it is lost. It
     * may send with relay_say(). NULL: none. */
    bool (*hook)(void *ctx, struct relay *r, struct relay_message *m);
    void *ctx;
};

/* Ends the program where it cannot be. `listen` and `target` as sp has them. */
struct relay *relay_new(const char *listen, const char *target);
/* Ends the thread and every connection. */
void relay_free(struct relay *r);
/* Where it listens. */
const char *relay_address(const struct relay *r);
/* From now on; NULL: everything passes. */
void relay_plan(struct relay *r, const struct relay_plan *plan);
/* Messages that were not passed on as they came. */
size_t relay_mischief(struct relay *r);

/* Keeps a copy of each message that comes, up to a bound; what was kept before is forgotten. */
void relay_record(struct relay *r);
/* Ends that. Borrowed until relay_record() or relay_free(). */
const struct relay_message *relay_recorded(struct relay *r, size_t *n);

/* Puts a message into a connection; false: it has ended. */
bool relay_send(struct relay *r, unsigned connection, enum relay_way way, const void *body, size_t len);
/* The same, inside of a hook. */
bool relay_say(struct relay *r, unsigned connection, enum relay_way way, const void *body, size_t len);
/* Number of the last connection that is there; 0: none. */
unsigned relay_connection(struct relay *r);
/* Ends all connections; callers dial anew. */
void relay_cut(struct relay *r);

#endif
