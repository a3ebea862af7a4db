/* kit_ask: see kit.h. A question to one node, without a client that would go on to ask the others. */
#include <stdlib.h>

#include "libtx/shared/channel.h"
#include "libtx/shared/wire.h"
#include "tests/lib/kit.h"

enum { ANSWER_MS = 1000 };

struct answer {
    struct channel channel;
    struct channel_message message;
};

static bool channel_is_ready(void *arg)
{
    return channel_ready(&((struct answer *)arg)->channel);
}

static bool has_answer(void *arg)
{
    struct answer *a = arg;

    return channel_receive(&a->channel, &a->message) == 1;
}

static void send_question(struct answer *a, const char *transaction)
{
    struct wire_message m = {.type = WIRE_OUTCOME};
    struct buf out;

    assert_true(txid_parse(transaction, &m.outcome.id));
    buf_init(&out);
    assert_int_equal(wire_encode(&m, &out), TX_OK);
    assert_int_equal(channel_send(&a->channel, 1, out.data, out.len), TX_OK);
    buf_release(&out);
}

static int read_answer(const struct answer *a, enum tx_outcome *outcome)
{
    struct wire_scratch *scratch = malloc(sizeof *scratch);
    struct wire_message m;
    int code = TX_OK;

    assert_non_null(scratch);
    assert_int_equal(wire_decode(&m, a->message.data, a->message.len, scratch, NULL), TX_OK);
    assert_true(m.type == WIRE_OUTCOME_IS || m.type == WIRE_ERROR);
    if (m.type == WIRE_ERROR)
        code = m.error.code;
    else
        *outcome = (enum tx_outcome)m.outcome_is.outcome;
    free(scratch);
    return code;
}

int kit_ask_node(struct kit *k, unsigned id, const char *transaction, enum tx_outcome *outcome)
{
    struct answer a;
    int code = TX_ETIMEOUT;

    assert_int_equal(channel_dial(&a.channel, world_node_address(k->world, id), MESSAGE_LIMIT, NULL), TX_OK);
    if (world_wait(ANSWER_MS, channel_is_ready, &a)) {
        send_question(&a, transaction);
        if (world_wait(ANSWER_MS, has_answer, &a)) {
            code = read_answer(&a, outcome);
            channel_release(&a.message);
        }
    }
    channel_close(&a.channel);
    return code;
}
