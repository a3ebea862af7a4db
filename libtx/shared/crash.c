/* crash: see crash.h. An empty file in a release build. */
#include "libtx/shared/crash.h"

#ifdef ASSENT_CRASH_POINTS

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *const crash_names[] = {
#define CRASH_POINT_NAME(symbol, name) name,
    CRASH_POINT_LIST(CRASH_POINT_NAME)
#undef CRASH_POINT_NAME
};

static pthread_once_t crash_once = PTHREAD_ONCE_INIT;
static enum crash_point crash_at = CRASH_POINT_COUNT;
static int crash_signal = SIGKILL;
static int crash_countdown = 1;

/* A name that is not in the list ends the process loudly: a test must not pass because it asked for nothing. */
static void crash_read_environment(void)
{
    const char *want = getenv("ASSENT_CRASH");
    size_t n;

    if (want == NULL)
        return;
    n = strcspn(want, ":=");
    for (int i = 0; i < CRASH_POINT_COUNT; i++) {
        if (strlen(crash_names[i]) == n && strncmp(want, crash_names[i], n) == 0)
            crash_at = (enum crash_point)i;
    }
    if (crash_at == CRASH_POINT_COUNT) {
        fprintf(stderr, "ASSENT_CRASH: no crash point is called %s\n", want);
        abort();
    }
    if (want[n] == ':')
        crash_countdown = atoi(want + n + 1);
    if (strstr(want, "=stop") != NULL)
        crash_signal = SIGSTOP;
}

void crash_point(enum crash_point point)
{
    pthread_once(&crash_once, crash_read_environment);
    if (point != crash_at || __atomic_sub_fetch(&crash_countdown, 1, __ATOMIC_SEQ_CST) != 0)
        return;
    fprintf(stderr, "crash point %s\n", crash_names[point]);
    raise(crash_signal); /* kill() would let this thread run on for a moment */
    if (crash_signal == SIGKILL) {
        for (;;)
            pause();
    }
}

#else
typedef int crash_no_empty_unit;
#endif
