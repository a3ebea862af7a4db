/* kit_ask: see kit.h. Questions to one node, without a client that would go on to ask the others. */
#include <stdlib.h>

#include "libtx/shared/wire.h"
#include "tests/lib/kit.h"

enum { CONNECT_MS = 5000, ANSWER_MS = 1000 };

static bool is_ready(void *arg)
{
    return channel_ready(&((struct kit_asker *)arg)->channel);
}

void kit_ask_open(struct kit *k, unsigned node, struct kit_asker *a)
{
    assert_int_equal(channel_dial(&a->channel, world_node_address(k->world, node), MESSAGE_LIMIT,
                                  world_security(k->world, "client"), NULL),
                     TX_OK);
    if (!world_wait(CONNECT_MS, is_ready, a))
        fail_msg("node %u takes no connection", node);
}

void kit_ask_send(struct kit_asker *a, uint32_t number, const char *transaction)
{
    struct wire_message m = {.type = WIRE_OUTCOME};
    struct buf out;

    assert_true(txid_parse(transaction, &m.outcome.id));
    buf_init(&out);
    assert_int_equal(wire_encode(&m, &out), TX_OK);
    assert_int_equal(channel_send(&a->channel, number, out.data, out.len), TX_OK);
    buf_release(&out);
}

static bool has_answer(void *arg)
{
    struct kit_asker *a = arg;

    return channel_receive(&a->channel, &a->message) == 1;
}

bool kit_ask_answer(struct kit_asker *a, struct kit_answer *answer)
{
    struct wire_scratch *scratch = malloc(sizeof *scratch);
    struct wire_message m;
    bool answered = world_wait(ANSWER_MS, has_answer, a);

    assert_non_null(scratch);
    if (answered) {
        assert_int_equal(wire_decode(&m, a->message.data, a->message.len, scratch, NULL), TX_OK);
        assert_true(m.type == WIRE_OUTCOME_IS || m.type == WIRE_ERROR);
        answer->number = a->message.id;
        answer->code = m.type == WIRE_ERROR ? m.error.code : TX_OK;
        answer->outcome = m.type == WIRE_ERROR ? TX_OUTCOME_PENDING : (enum tx_outcome)m.outcome_is.outcome;
        channel_release(&a->message);
    }
    free(scratch);
    return answered;
}

void kit_ask_close(struct kit_asker *a)
{
    channel_close(&a->channel);
}
