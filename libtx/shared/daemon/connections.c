/* connections: see connections.h.
 *
 * The kernel gives out the lowest descriptor that is free. So a connection whose number is above the bound is
 * one too many, and everything above stays for files. It is closed before nanomsg sees it; ECONNABORTED says to
 * nanomsg (and by accept(2) to anybody) that the connection was gone already, and that the next one may come.
 */
#include "libtx/shared/daemon/connections.h"

#include <errno.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "libtx/shared/log.h"

enum {
    WATCH_MS = 1000,
    FILES_MIN = 256, /* nanomsg gives up with less than its own */
    FILES_OWN = 128, /* descriptors for the daemon's own files, databases and peers */
};

static atomic_int bound;             /* of descriptors; 0: none yet */
static atomic_uint_fast64_t refused; /* since the start */
static uv_timer_t watch;
static bool watching;

int connections_limit(unsigned max, struct tx_error *e)
{
    struct rlimit files;

    if (getrlimit(RLIMIT_NOFILE, &files) != 0)
        return err_set(e, TX_EIO, "limit of open files: %s", strerror(errno));
    if (files.rlim_max < FILES_MIN)
        return err_set(e, TX_EIO,
                       "limit of open files: %lu are too few, for each connection is one; allow %d at least "
                       "(ulimit -n, LimitNOFILE)",
                       (unsigned long)files.rlim_max, FILES_MIN);
    files.rlim_cur = files.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &files) != 0)
        return err_set(e, TX_EIO, "limit of open files: cannot raise it to %lu: %s",
                       (unsigned long)files.rlim_max, strerror(errno));
    if (files.rlim_max - FILES_OWN < max)
        max = (unsigned)files.rlim_max - FILES_OWN;
    bound = (int)max + FILES_OWN / 2;
    return TX_OK;
}

static void on_watch(uv_timer_t *timer)
{
    static uint_fast64_t told;
    uint_fast64_t now = refused;

    (void)timer;
    if (now > told)
        log_line(LOG_WARN, "connections",
                 "refused=%" PRIuFAST64
                 " text=\"as many are open as max_connections, or the limit of open files, "
                 "allows\"",
                 now - told);
    told = now;
}

void connections_watch(uv_loop_t *loop)
{
    uv_timer_init(loop, &watch);
    uv_timer_start(&watch, on_watch, WATCH_MS, WATCH_MS);
    uv_unref((uv_handle_t *)&watch);
    watching = true;
}

void connections_unwatch(void)
{
    if (watching)
        uv_close((uv_handle_t *)&watch, NULL);
    watching = false;
}

__attribute__((visibility("default"))) int accept4(int listener, struct sockaddr *address, socklen_t *size,
                                                   int flags)
{
    int fd = (int)syscall(SYS_accept4, listener, address, size, flags);

    if (fd < 0 || bound == 0 || fd < bound)
        return fd;
    close(fd);
    refused++;
    errno = ECONNABORTED;
    return -1;
}
