/* believed: by which keys a program knows its group's coordinators: at first those that its keys file gives
 * this role, and as soon as a coordinator has told the group's own list, exactly these. So a coordinator that
 * was added later is believed without a new file, and one that was revoked is not.
 *
 * Used by libtx's calls and by the agent's pull; uses security and channel.
 */
#ifndef ASSENT_BELIEVED_H
#define ASSENT_BELIEVED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "libtx/shared/channel.h"
#include "libtx/shared/security.h"
#include "libtx/shared/wire.h"

/* Does not move between believed_init() and the end of its channels. */
struct believed {
    const struct security *security; /* borrowed; NULL: clear text */
    struct channel_security channel;
    size_t n; /* keys told; 0: none yet, the file counts */
    uint8_t keys[NODE_KEY_LIMIT * KEY_SIZE];
};

/* `security` NULL, or insecure: everybody is believed, in clear text. */
void believed_init(struct believed *b, const struct security *security);
/* What to dial coordinators with. */
const struct channel_security *believed_channel(const struct believed *b);
/* A believed coordinator's list. True: somebody is believed no longer, and lines to others are to be dialled
 * anew. */
bool believed_learn(struct believed *b, const struct wire_nodes *nodes);

#endif
