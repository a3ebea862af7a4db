/* stock: see stock.h. */
#include "tests/lib/stock.h"

#include <arpa/inet.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "libtx/shared/txid.h"
#include "tests/lib/kit.h"

enum { ANSWER_MS = 2000 };

bool stock_ask(unsigned port, const char *request, char answer[STOCK_LINE])
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct pollfd wait = {.fd = fd, .events = POLLIN};
    ssize_t n = -1;

    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (connect(fd, (struct sockaddr *)&a, sizeof a) == 0 &&
        send(fd, request, strlen(request), MSG_NOSIGNAL) > 0 && poll(&wait, 1, ANSWER_MS) == 1)
        n = read(fd, answer, STOCK_LINE - 1);
    close(fd);
    answer[n > 0 ? n : 0] = '\0';
    return n > 0;
}

int stock_take(unsigned port, txn *t, int pieces, struct tx_error *e)
{
    char context[TXN_CONTEXT_SIZE], request[STOCK_LINE], answer[STOCK_LINE];
    int rc = txn_export(t, "stock", context, e);

    if (rc != TX_OK)
        return rc;
    snprintf(request, sizeof request, "take %s bolt %d\n", context, pieces);
    return stock_ask(port, request, answer) && strcmp(answer, "ok\n") == 0 ? TX_OK : TX_EROLLBACK;
}

static void put(const struct stock *s, long pieces)
{
    char request[64], answer[STOCK_LINE];

    snprintf(request, sizeof request, "put bolt %ld\n", pieces);
    assert_true(stock_ask(s->port, request, answer));
    assert_string_equal(answer, "ok\n");
}

void stock_open(struct stock *s, struct world *w)
{
    char program[WORLD_PATH_SIZE], port[16];
    const char *argv[] = {world_program(w, "examples/service", program), s->journal, port, NULL};

    s->port = world_port(w);
    snprintf(port, sizeof port, "%u", s->port);
    snprintf(s->journal, sizeof s->journal, "%.480s/stock.journal", world_dir(w));
    s->process = world_process_new(w, "service", argv);
    world_process_start_ready(s->process, NULL);
    put(s, STOCK_PIECES);
}

static bool is_up(void *arg)
{
    return world_resources_up(arg, WORLD_ARGS("stock")) > 0;
}

void stock_await(struct world *w)
{
    if (!world_wait(KIT_SETTLE_MS, is_up, w))
        fail_msg("no coordinator knows the service");
}

void stock_fill(const struct stock *s)
{
    put(s, STOCK_PIECES - stock_count(s));
}

long stock_count(const struct stock *s)
{
    char answer[STOCK_LINE];
    long n = -1;

    assert_true(stock_ask(s->port, "count bolt\n", answer));
    assert_int_equal(sscanf(answer, "ok %ld", &n), 1);
    return n;
}

char *stock_journal(const struct stock *s)
{
    FILE *f = fopen(s->journal, "r");
    size_t size = 0;
    char *text = NULL;

    assert_non_null(f);
    if (getdelim(&text, &size, '\0', f) < 0)
        fail_msg("%s is empty", s->journal);
    fclose(f);
    return text;
}

unsigned stock_prepared(const struct stock *s)
{
    char *journal = stock_journal(s), *save, *line, word[16];
    unsigned n = 0;

    for (line = strtok_r(journal, "\n", &save); line != NULL; line = strtok_r(NULL, "\n", &save)) {
        if (sscanf(line, "%15s", word) != 1)
            continue;
        if (strcmp(word, "prepared") == 0)
            n++;
        else if (strcmp(word, "committed") == 0 || strcmp(word, "rolledback") == 0)
            n--;
    }
    free(journal);
    return n;
}

bool stock_committed(const char *journal, const char *transaction)
{
    char line[KIT_ID_SIZE + 32];

    snprintf(line, sizeof line, "\ncommitted " GID_PREFIX "%s-", transaction);
    return strstr(journal, line) != NULL;
}
