/* fuzz_replog: what coordinators of a group say to each other (replog_message.h).
 *
 * Input: 1, and a message, whose version is put right; or 0, and a configuration. Checked: what is understood
 * is encoded to what is understood as the same; a configuration that is found good is one for libraft, too.
 */
#include <stdlib.h>
#include <string.h>

#include "coordinator/replog_core.h"
#include "coordinator/replog_message.h"
#include "tests/fuzz/targets.h"

static void try_config(const uint8_t *data, size_t len)
{
    struct buf b = {.data = (uint8_t *)(uintptr_t)data, .len = len};
    struct raft_configuration configuration;

    if (!replog_message_check_config(data, len))
        return;
    raft_configuration_init(&configuration);
    fuzz_check(replog_core_decode_config(&b, &configuration) == 0);
    fuzz_check(configuration.n > 0 && configuration.n <= REPLOG_MESSAGE_NODES);
    raft_configuration_close(&configuration);
}

static void try_entries(const struct raft_append_entries *a)
{
    for (unsigned i = 0; i < a->n_entries; i++) {
        if (a->entries[i].type == RAFT_CHANGE)
            try_config(a->entries[i].buf.base, a->entries[i].buf.len);
    }
}

static void goes_round(const struct replog_message *m)
{
    struct replog_message again;
    struct buf first, second;

    buf_init(&first);
    buf_init(&second);
    replog_message_encode(&first, m);
    fuzz_check(!first.failed && replog_message_decode(first.data, first.len, &again));
    replog_message_encode(&second, &again);
    fuzz_check(first.len == second.len && memcmp(first.data, second.data, first.len) == 0);
    replog_message_release(&again);
    buf_release(&first);
    buf_release(&second);
}

static uint8_t version(void)
{
    const struct replog_message m = {.type = REPLOG_MESSAGE_STRANGER, .group = 1, .log = 1, .from = 1};
    struct buf b;
    uint8_t v;

    buf_init(&b);
    replog_message_encode(&b, &m);
    v = b.data[0];
    buf_release(&b);
    return v;
}

static void try_message(uint8_t *data, size_t len)
{
    struct replog_message m;

    if (len > 0)
        data[0] = version();
    if (!replog_message_decode(data, len, &m))
        return;
    goes_round(&m);
    if (m.type == RAFT_APPEND_ENTRIES)
        try_entries(&m.raft.append_entries);
    replog_message_release(&m);
}

void fuzz_replog_run(const uint8_t *data, size_t len)
{
    uint8_t kind, *exact;
    struct cur c;

    cur_init(&c, data, len);
    kind = cur_u8(&c);
    exact = fuzz_bytes(&c, &len);
    if (kind == 0)
        try_config(exact, len);
    else
        try_message(exact, len);
    free(exact);
}

static void put_message(struct fuzz_sink *to, struct replog_message m)
{
    struct buf b;

    m.group = m.log = 7;
    m.from = 1;
    m.to = 2;
    m.address = "tcp://h:1";
    buf_init(&b);
    buf_put_u8(&b, 1);
    replog_message_encode(&b, &m);
    fuzz_put_buf(to, &b);
}

static struct raft_buffer sample_config(void)
{
    struct raft_configuration configuration;
    struct raft_buffer out;

    raft_configuration_init(&configuration);
    fuzz_check(raft_configuration_add(&configuration, 1, "tcp://h:1", RAFT_VOTER) == 0);
    fuzz_check(raft_configuration_add(&configuration, 2, "tcp://h:2", RAFT_STANDBY) == 0);
    fuzz_check(raft_configuration_encode(&configuration, &out) == 0);
    raft_configuration_close(&configuration);
    return out;
}

void fuzz_replog_seed(struct fuzz_sink *to)
{
    struct raft_buffer config = sample_config();
    struct raft_entry entries[] = {{.term = 2, .type = RAFT_COMMAND, .buf = {(void *)(uintptr_t) "abc", 3}},
                                   {.term = 3, .type = RAFT_CHANGE, .buf = config}};
    const struct raft_message append = {.append_entries = {.term = 3,
                                                           .prev_log_index = 4,
                                                           .prev_log_term = 2,
                                                           .leader_commit = 3,
                                                           .entries = entries,
                                                           .n_entries = 2}};
    struct buf b;

    put_message(to, (struct replog_message){.type = RAFT_APPEND_ENTRIES, .to_voter = true, .raft = append});
    put_message(to, (struct replog_message){.type = RAFT_APPEND_ENTRIES_RESULT,
                                            .raft.append_entries_result = {.term = 3, .last_log_index = 5}});
    put_message(
        to, (struct replog_message){
                .type = RAFT_REQUEST_VOTE,
                .raft.request_vote = {.term = 3, .candidate_id = 1, .last_log_index = 5, .last_log_term = 2}});
    put_message(to, (struct replog_message){.type = RAFT_REQUEST_VOTE_RESULT,
                                            .raft.request_vote_result = {.term = 3, .vote_granted = true}});
    put_message(to, (struct replog_message){.type = RAFT_TIMEOUT_NOW, .raft.timeout_now = {.term = 3}});
    put_message(to, (struct replog_message){.type = REPLOG_MESSAGE_PIECE,
                                            .piece = {3, 9, 20, 4, (const uint8_t *)"snap", 4}});
    put_message(to, (struct replog_message){.type = REPLOG_MESSAGE_PIECE_ACK, .ack = {3, 9, 8}});
    put_message(to, (struct replog_message){.type = REPLOG_MESSAGE_REMOVED, .removed_index = 9});
    put_message(to, (struct replog_message){.type = REPLOG_MESSAGE_STRANGER});
    buf_init(&b);
    buf_put_u8(&b, 0);
    buf_put_bytes(&b, config.base, config.len);
    fuzz_put_buf(to, &b);
    raft_free(config.base);
}
