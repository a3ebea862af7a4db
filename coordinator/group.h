/* group: what this node knows of the others of its group, and the line to them.
 *
 * main opens it before the log. It is replog's way to its peers (send, members), greets every member again and
 * again, tells the driver where the others listen for clients, and tells admin who is there and how far behind.
 */
#ifndef ASSENT_GROUP_H
#define ASSENT_GROUP_H

#include "coordinator/driver.h"
#include "coordinator/peer.h"
#include "coordinator/replog.h"

struct group;

struct group_options {
    uint64_t node_id;
    const char *peer_listen, *peer_address;  /* NULL: no line to other nodes; borrowed, as the next */
    const char *clients;                     /* this node's address for clients */
    const struct channel_security *security; /* borrowed; NULL: clear text */
};

struct group_node {
    uint64_t id;
    char address[ADDRESS_LIMIT + 1]; /* for peers */
    bool voter;
    uint64_t heard_ms;   /* uv_now() when it last said anything; 0: never */
    bool greeted;        /* has said where its log ends: */
    uint64_t last_index; /* as it said last */
};

/* TX_EINVAL, TX_EIO (peer_listen), TX_ENOMEM. */
int group_open(struct group **out, uv_loop_t *loop, const struct group_options *options, struct tx_error *e);
/* From now on it speaks and hears. Both are borrowed until group_stop(). */
void group_start(struct group *g, struct replog *replog, struct driver *driver);
void group_stop(struct group *g);
/* Nobody is heard by this key any more. */
void group_drop(struct group *g, const uint8_t key[KEY_SIZE]);
/* Frees it in a later turn of the loop. */
void group_close(struct group *g);

/* replog's callbacks; `group` is a struct group. */
void group_send(void *group, uint64_t to, const char *address, const void *data, size_t len);
void group_members(void *group, const struct replog_member *members, size_t n);

/* False: no peer_listen is set, so nobody can join. */
bool group_has_line(const struct group *g);
struct peer_traffic group_traffic(const struct group *g);
/* The members, this node among them. Borrowed until the loop's next turn. */
const struct group_node *group_nodes(const struct group *g, size_t *n);
/* NULL: no member. */
const struct group_node *group_find(const struct group *g, uint64_t id);
size_t group_voters(const struct group *g);
/* It is this node, or has said something a moment ago. */
bool group_alive(const struct group *g, const struct group_node *n);
/* Why nobody may lead, for an operator: «node 2 (tcp://…) is unreachable, 1 of 3 reachable, 2 needed». */
void group_describe(const struct group *g, char *text, size_t size);

#endif
