/* world_fault: see world.h. Calls of a child that fail: the child asks the kernel to ask us (seccomp's user
 * notification, seccomp(2)) about each of its writes and forced writes, and a thread here answers «go on» or an
 * error. Nothing is preloaded, so it works with any build, and for any user.
 */
#include <assert.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <pthread.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tests/lib/world_impl.h"

struct world_watch {
    pthread_mutex_t lock;
    struct world_fault fault; /* under lock */
    pthread_t thread;
    bool running;
    int pair[2];  /* the child sends the listener over it */
    int listener; /* the thread's, while it runs */
};

/* In the child */

/* What a daemon does to hide its memory would hide from us, where we are not root, on which file it calls: it
 * is told that this was done. */
static int install_filter(void)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_prctl, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[0])),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, PR_SET_DUMPABLE, 0, 5),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_pwrite64, 2, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_fdatasync, 1, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_fsync, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof code / sizeof *code, code};

    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        return -1;
    return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &program);
}

/* A message of one byte with room for one descriptor. */
struct parcel {
    char byte;
    struct iovec part;
    union {
        char bytes[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control;
    struct msghdr message;
};

static void parcel_init(struct parcel *p)
{
    memset(p, 0, sizeof *p);
    p->part = (struct iovec){&p->byte, 1};
    p->message = (struct msghdr){.msg_iov = &p->part,
                                 .msg_iovlen = 1,
                                 .msg_control = p->control.bytes,
                                 .msg_controllen = sizeof p->control.bytes};
}

void world_watch_child(const struct world_watch *watch)
{
    int listener = install_filter();
    struct cmsghdr *c;
    struct parcel p;

    if (listener < 0) {
        fprintf(stderr, "seccomp: %s\n", strerror(errno));
        _exit(126);
    }
    parcel_init(&p);
    c = CMSG_FIRSTHDR(&p.message);
    *c = (struct cmsghdr){.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof(int))};
    memcpy(CMSG_DATA(c), &listener, sizeof listener);
    if (sendmsg(watch->pair[1], &p.message, 0) != 1)
        _exit(126);
    close(listener);
}

/* In the test */

static bool is_meant(const struct world_fault *f, const struct seccomp_notif *n)
{
    unsigned call = n->data.nr == SYS_pwrite64 ? WORLD_WRITE : WORLD_SYNC;
    char link[64], path[WORLD_PATH_SIZE];
    ssize_t len;

    if ((f->calls & call) == 0)
        return false;
    snprintf(link, sizeof link, "/proc/%u/fd/%llu", n->pid, (unsigned long long)n->data.args[0]);
    len = readlink(link, path, sizeof path - 1);
    path[len < 0 ? 0 : len] = 0;
    return strstr(path, f->file) != NULL;
}

/* Errors of ioctl() are those of a child that was killed meanwhile. */
static void answer(struct world_watch *w)
{
    struct seccomp_notif_resp response = {.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE};
    struct seccomp_notif notice = {0};

    if (ioctl(w->listener, SECCOMP_IOCTL_NOTIF_RECV, &notice) != 0)
        return;
    response.id = notice.id;
    pthread_mutex_lock(&w->lock);
    if (is_meant(&w->fault, &notice)) {
        response.flags = 0;
        response.error = -w->fault.error;
    }
    pthread_mutex_unlock(&w->lock);
    (void)ioctl(w->listener, SECCOMP_IOCTL_NOTIF_SEND, &response);
}

static void *answer_all(void *arg)
{
    struct world_watch *w = arg;
    struct pollfd fd = {.fd = w->listener, .events = POLLIN};

    while (poll(&fd, 1, -1) >= 0 || errno == EINTR) {
        if (fd.revents & POLLIN)
            answer(w);
        else if (fd.revents != 0)
            break;
    }
    return NULL;
}

void world_watch_prepare(struct world_watch *watch)
{
    world_watch_end(watch);
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, watch->pair) != 0)
        abort();
}

/* The child may have failed before it could send: then nothing is watched. */
void world_watch_begin(struct world_watch *watch)
{
    struct parcel p;

    close(watch->pair[1]);
    parcel_init(&p);
    if (recvmsg(watch->pair[0], &p.message, MSG_CMSG_CLOEXEC) == 1 && CMSG_FIRSTHDR(&p.message) != NULL) {
        memcpy(&watch->listener, CMSG_DATA(CMSG_FIRSTHDR(&p.message)), sizeof watch->listener);
        watch->running = pthread_create(&watch->thread, NULL, answer_all, watch) == 0;
        assert(watch->running);
    }
    close(watch->pair[0]);
}

void world_watch_end(struct world_watch *watch)
{
    if (!watch->running)
        return;
    pthread_join(watch->thread, NULL);
    close(watch->listener);
    watch->running = false;
}

void world_watch_free(struct world_watch *watch)
{
    world_watch_end(watch);
    pthread_mutex_destroy(&watch->lock);
    free(watch);
}

void world_process_watch(struct world_process *p)
{
    if (p->watch != NULL)
        return;
    p->watch = calloc(1, sizeof *p->watch);
    assert(p->watch != NULL);
    pthread_mutex_init(&p->watch->lock, NULL);
}

void world_process_fault(struct world_process *p, struct world_fault fault)
{
    if (p->watch == NULL)
        world_fail(p->world, "%s is not watched", p->name);
    pthread_mutex_lock(&p->watch->lock);
    p->watch->fault = fault;
    pthread_mutex_unlock(&p->watch->lock);
}
