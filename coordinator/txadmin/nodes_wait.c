/* nodes_wait: node list --wait: looks at the group until all of its nodes are up and have caught up. See
 * txadmin.h.
 *
 * What is heard of a node that has just died stays true for some seconds. So each node must have been heard of
 * after the first look.
 */
#include <poll.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

#include "coordinator/txadmin/txadmin.h"

enum {
    WAIT_MS = 120000,
    LOOK_MS = 100,   /* between two looks */
    LEAST_MS = 2000, /* for the last look, however little time is left */
    FRESH_MS = 100,  /* what is heard so long after the first look was said after it */
};

static uint64_t now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static double max_index(const cJSON *answer)
{
    const cJSON *n;
    double max = 0;

    cJSON_ArrayForEach(n, cJSON_GetObjectItemCaseSensitive(answer, "nodes"))
    {
        if (number_of(n, "last_index") > max)
            max = number_of(n, "last_index");
    }
    return max;
}

/* All are members that have what any had at the first look; and one leads. */
static bool all_there(const cJSON *answer, double index, double waited_ms)
{
    bool led = false;
    const cJSON *n;

    cJSON_ArrayForEach(n, cJSON_GetObjectItemCaseSensitive(answer, "nodes"))
    {
        const char *role = text_of(n, "role");

        if (cJSON_HasObjectItem(n, "heard_ms") && number_of(n, "heard_ms") + FRESH_MS > waited_ms)
            return false;
        if (number_of(n, "last_index") < index || strcmp(role, "catching up") == 0)
            return false;
        led = led || strcmp(role, "leader") == 0;
    }
    return led;
}

static void print(const struct arguments *a, cJSON *answer)
{
    if (a->json) {
        (void)caller_print_answer(answer);
        return;
    }
    nodes_print(answer);
    cJSON_Delete(answer);
}

enum exit_status nodes_wait(const struct arguments *a)
{
    struct arguments patient = *a;
    unsigned timeout_ms = a->timeout_given ? a->timeout_ms : WAIT_MS;
    uint64_t first = 0, end = now_ms() + timeout_ms;
    double index = 0;

    for (;;) {
        enum exit_status status;
        uint64_t now = now_ms();
        cJSON *answer;
        bool there;

        patient.timeout_ms = now + LEAST_MS < end ? (unsigned)(end - now) : LEAST_MS;
        status = caller_ask(&patient, caller_question("nodes"), &answer);
        if (status != EXIT_DONE)
            return status;
        now = now_ms();
        first = first == 0 ? now : first;
        index = index > 0 ? index : max_index(answer);
        there = all_there(answer, index, (double)(now - first));
        if (there || now >= end) {
            print(a, answer);
            if (!there)
                complain("not all nodes are up and caught up within %s", age_text(timeout_ms));
            return there ? EXIT_DONE : EXIT_REFUSED;
        }
        cJSON_Delete(answer);
        poll(NULL, 0, LOOK_MS);
    }
}
