/* coordinator_kit: a coordinator of a few lines, in a thread of the test: it answers what the test tells it to,
 * and keeps account of what it was asked. Included by the tests of libtx; each test has it for itself.
 */
#ifndef ASSENT_COORDINATOR_KIT_H
#define ASSENT_COORDINATOR_KIT_H

#include <assert.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "libtx/shared/channel.h"
#include "libtx/shared/ranges.h"
#include "libtx/shared/wire.h"

enum { KIT_GROUP = 7, KIT_SESSION = 11 };

struct kit {
    /* Fills in the answer and says how often to send it. Runs in the kit's thread with the mutex held. */
    int (*answer)(struct kit *k, const struct wire_message *in, struct wire_message *out);
    void *arg;
    const struct channel_security *security; /* NULL: clear text */
    char dir[64], address[100];
    struct channel channel;
    pthread_t thread;
    atomic_bool stop;
    pthread_mutex_t mutex; /* guards what follows */
    unsigned asked[WIRE_ERROR + 1];
    struct wire_decide decide; /* the last one; its arrays are gone */
    struct ranges acknowledged, resolved;
    struct wire_scratch scratch;
};

static inline int kit_answer_well(const struct wire_message *in, struct wire_message *out)
{
    static const enum wire_type answers[] = {[WIRE_OPEN_SESSION] = WIRE_SESSION,
                                             [WIRE_DECIDE] = WIRE_DECIDED,
                                             [WIRE_HEARTBEAT] = WIRE_HEARTBEAT_OK,
                                             [WIRE_CLOSE_SESSION] = WIRE_CLOSED,
                                             [WIRE_OUTCOME] = WIRE_OUTCOME_IS};

    assert(in->type <= WIRE_OUTCOME && answers[in->type] != 0);
    out->type = answers[in->type];
    if (out->type == WIRE_SESSION)
        out->session = (struct wire_session){.group = KIT_GROUP, .session = KIT_SESSION};
    if (out->type == WIRE_DECIDED)
        out->decided = (struct wire_decided){.verdict = in->decide.verdict, .completed = 1};
    return 1;
}

static inline int kit_error(struct wire_message *out, int code, const char *leader)
{
    out->type = WIRE_ERROR;
    out->error = (struct wire_error){.code = code, .text = "as the test wants it", .leader = leader};
    return 1;
}

static inline void kit_note_news(struct kit *k, const struct wire_news *n)
{
    for (size_t i = 0; i < n->n_acknowledged; i++)
        ranges_add(&k->acknowledged, n->acknowledged[i].from, n->acknowledged[i].to);
    for (size_t i = 0; i < n->n_resolved; i++)
        ranges_add(&k->resolved, n->resolved[i].from, n->resolved[i].to);
}

static inline void kit_serve(struct kit *k, struct channel_message *m)
{
    struct wire_message in, out;
    struct buf b;
    int times;

    memset(&out, 0, sizeof out);
    if (wire_decode(&in, m->data, m->len, &k->scratch, NULL) != TX_OK)
        abort();
    pthread_mutex_lock(&k->mutex);
    k->asked[in.type]++;
    if (in.type == WIRE_DECIDE)
        k->decide = in.decide;
    if (in.type == WIRE_DECIDE || in.type == WIRE_HEARTBEAT || in.type == WIRE_CLOSE_SESSION)
        kit_note_news(k, in.type == WIRE_DECIDE ? &in.decide.news : &in.heartbeat.news);
    times = k->answer != NULL ? k->answer(k, &in, &out) : kit_answer_well(&in, &out);
    pthread_mutex_unlock(&k->mutex);
    buf_init(&b);
    if (times > 0 && wire_encode(&out, &b) != TX_OK)
        abort();
    while (times-- > 0)
        (void)channel_reply(&k->channel, &m->origin, b.data, b.len);
    buf_release(&b);
}

static inline void *kit_run(void *arg)
{
    struct kit *k = arg;
    struct pollfd fd = {channel_fd(&k->channel), POLLIN, 0};
    struct channel_message m;

    while (!atomic_load(&k->stop)) {
        (void)poll(&fd, 1, 5);
        while (channel_receive(&k->channel, &m) == 1) {
            kit_serve(k, &m);
            channel_release(&m);
        }
    }
    return NULL;
}

static inline void kit_listen(struct kit *k)
{
    struct tx_error e;

    if (channel_listen(&k->channel, k->address, ROWS_LIMIT, k->security, &e) != TX_OK)
        abort();
    atomic_store(&k->stop, false);
    pthread_create(&k->thread, NULL, kit_run, k);
}

static inline void kit_silence(struct kit *k)
{
    atomic_store(&k->stop, true);
    pthread_join(k->thread, NULL);
    channel_close(&k->channel);
}

static inline struct kit *kit_start_secure(const struct channel_security *security,
                                           int (*answer)(struct kit *, const struct wire_message *,
                                                         struct wire_message *))
{
    struct kit *k = calloc(1, sizeof *k);

    assert(k != NULL);
    k->answer = answer;
    pthread_mutex_init(&k->mutex, NULL);
    strcpy(k->dir, "/tmp/assent-kit-XXXXXX");
    if (mkdtemp(k->dir) == NULL)
        abort();
    snprintf(k->address, sizeof k->address, "ipc://%s/socket", k->dir);
    k->security = security;
    kit_listen(k);
    return k;
}

static inline struct kit *kit_start(int (*answer)(struct kit *, const struct wire_message *,
                                                  struct wire_message *))
{
    return kit_start_secure(NULL, answer);
}

static inline void kit_stop(struct kit *k)
{
    char path[120];

    kit_silence(k);
    snprintf(path, sizeof path, "%s/socket", k->dir);
    (void)unlink(path);
    (void)rmdir(k->dir);
    ranges_release(&k->acknowledged);
    ranges_release(&k->resolved);
    pthread_mutex_destroy(&k->mutex);
    free(k);
}

#endif
