/* world_net: see world_net.h. Namespaces, and what is cut between them. Called by world_new() and by those that
 * make processes; calls ip and nft.
 */
#include "tests/lib/world_net.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tests/lib/world_impl.h"

/* Tools */

/* Runs ip or nft in that host's namespace; NULL: in the test's own. One line of words with blanks between. */
__attribute__((format(printf, 4, 5))) static void run(struct world *w, struct world_host *h, const char *tool,
                                                      const char *format, ...)
{
    char words[WORLD_LINE_SIZE], path[WORLD_NAME_SIZE], *rest = words;
    const char *argv[WORLD_ARG_LIMIT + 1] = {path};
    struct world_output o;
    va_list args;
    size_t n = 1;

    va_start(args, format);
    vsnprintf(words, sizeof words, format, args);
    va_end(args);
    while (n < WORLD_ARG_LIMIT && (argv[n] = strsep(&rest, " ")) != NULL)
        n++;
    snprintf(path, sizeof path, "/usr/sbin/%s", tool);
    if (access(path, X_OK) != 0)
        snprintf(path, sizeof path, "/sbin/%s", tool);
    o = world_run_at(w, h, argv);
    if (o.code != 0)
        world_fail(w, "%s %s: exit code %d: %s%s", tool, argv[1], o.code, o.text, o.error);
    world_output_release(&o);
}

/* The hub */

static void write_file(struct world *w, const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);

    if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text))
        world_fail(w, "%s: %s", path, strerror(errno));
    close(fd);
}

/* The user stays who he is, since PostgreSQL runs as nobody whose number is 0. */
static void map_user(struct world *w, uid_t uid, gid_t gid)
{
    char line[64];

    snprintf(line, sizeof line, "%u %u 1\n", (unsigned)uid, (unsigned)uid);
    write_file(w, "/proc/self/uid_map", line);
    write_file(w, "/proc/self/setgroups", "deny");
    snprintf(line, sizeof line, "%u %u 1\n", (unsigned)gid, (unsigned)gid);
    write_file(w, "/proc/self/gid_map", line);
}

/* So that ip and nft, which are programs of their own, may do what this process may do in its namespace. */
static void hand_down_capability(struct world *w)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];

    if (syscall(SYS_capget, &header, data) != 0)
        world_fail(w, "capget: %s", strerror(errno));
    data[0].inheritable |= 1u << CAP_NET_ADMIN;
    if (syscall(SYS_capset, &header, data) != 0 ||
        prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_NET_ADMIN, 0, 0) != 0)
        world_fail(w, "cannot hand down CAP_NET_ADMIN: %s", strerror(errno));
}

static void leave_network(struct world *w)
{
    uid_t uid = geteuid();
    gid_t gid = getegid();

    if (uid == 0) {
        if (unshare(CLONE_NEWNET) != 0)
            world_fail(
                w,
                "cannot make a network namespace: %s. A container needs the capabilities CAP_SYS_ADMIN and "
                "CAP_NET_ADMIN for these tests",
                strerror(errno));
        return;
    }
    if (unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0)
        world_fail(w,
                   "cannot make a user namespace: %s. Allow them to ordinary users (sysctl "
                   "user.max_user_namespaces, kernel.unprivileged_userns_clone=1, "
                   "kernel.apparmor_restrict_unprivileged_userns=0), or run the tests as root",
                   strerror(errno));
    map_user(w, uid, gid);
    hand_down_capability(w);
}

static int open_namespace(struct world *w)
{
    int fd = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        world_fail(w, "/proc/thread-self/ns/net: %s", strerror(errno));
    return fd;
}

void world_net_open(struct world *w)
{
    leave_network(w);
    w->hub = open_namespace(w);
    snprintf(w->address, sizeof w->address, "10.77.0.254");
    run(w, NULL, "ip", "link set lo up");
    run(w, NULL, "ip", "link add hub type bridge");
    run(w, NULL, "ip", "addr add %s/24 dev hub", w->address);
    run(w, NULL, "ip", "link set hub up");
}

void world_net_close(struct world *w)
{
    for (size_t i = 0; i < w->n_hosts; i++) {
        close(w->hosts[i]->namespace);
        free(w->hosts[i]);
    }
    if (w->hub >= 0)
        close(w->hub);
}

/* Hosts */

struct world_host *world_host_new(struct world *w)
{
    struct world_host *h = calloc(1, sizeof *h);
    unsigned n = (unsigned)w->n_hosts + 1;

    assert(h != NULL);
    if (w->n_hosts == WORLD_HOST_LIMIT)
        world_fail(w, "more than %d hosts", WORLD_HOST_LIMIT);
    h->world = w;
    snprintf(h->address, sizeof h->address, "10.77.0.%u", n);
    if (unshare(CLONE_NEWNET) != 0)
        world_fail(w, "cannot make a network namespace: %s", strerror(errno));
    h->namespace = open_namespace(w);
    if (setns(w->hub, CLONE_NEWNET) != 0)
        world_fail(w, "cannot go back to the hub: %s", strerror(errno));
    w->hosts[w->n_hosts++] = h;
    run(w, h, "ip", "link add eth0 type veth peer name host%u netns %d", n, (int)getpid());
    run(w, h, "ip", "addr add %s/24 dev eth0", h->address);
    run(w, h, "ip", "link set lo up");
    run(w, h, "ip", "link set eth0 up");
    run(w, NULL, "ip", "link set host%u master hub up", n);
    return h;
}

void world_host_enter(const struct world_host *h)
{
    if (setns(h->namespace, CLONE_NEWNET) != 0)
        _exit(126);
}

/* Faults */

/* Ports of listeners are below those of outgoing connections. */
static const char to_listener[] = " tcp dport < 32768";

static void drop_out(struct world_host *h, const struct world_host *to, const char *what)
{
    run(h->world, h, "nft", "add table ip world");
    run(h->world, h, "nft", "add chain ip world out { type filter hook output priority 0; }");
    run(h->world, h, "nft", "add rule ip world out ip daddr %s%s drop", to->address, what);
}

static void drop_in(struct world_host *h, const struct world_host *from, const char *what)
{
    run(h->world, h, "nft", "add table ip world");
    run(h->world, h, "nft", "add chain ip world in { type filter hook input priority 0; }");
    run(h->world, h, "nft", "add rule ip world in ip saddr %s%s drop", from->address, what);
}

void world_host_mute(struct world_host *h, const struct world_host *to)
{
    drop_out(h, to, "");
}

void world_host_deafen(struct world_host *h, const struct world_host *from)
{
    drop_in(h, from, "");
}

void world_host_cut(struct world_host *h, const struct world_host *other)
{
    drop_out(h, other, "");
    drop_in(h, other, "");
}

void world_host_mute_lines(struct world_host *h, const struct world_host *to)
{
    drop_out(h, to, to_listener);
}

void world_host_deafen_lines(struct world_host *h, const struct world_host *from)
{
    drop_in(h, from, to_listener);
}

void world_host_lose(struct world_host *h, const struct world_host *from, unsigned percent)
{
    char what[64];

    snprintf(what, sizeof what, " numgen random mod 100 < %u", percent);
    drop_in(h, from, what);
}

void world_heal(struct world *w)
{
    for (size_t i = 0; i < w->n_hosts; i++)
        run(w, w->hosts[i], "nft", "flush ruleset");
}
