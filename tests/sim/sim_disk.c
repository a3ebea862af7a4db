/* sim_disk: the coordinators' data directories, in memory: /sim/<place>. What was written and not forced is
 * lost in a crash, or is there, or in part; changes of the directory take place in their order, but maybe not
 * all.
 */
#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/sim/sim.h"
#include "tests/sim/sim_wrap.h"

enum { NAMES = 64, OPEN = 512, NAME_SIZE = 48, SECTOR = 512 };

struct write_op {
    struct write_op *next;
    size_t offset, len;
    bool truncates; /* to `len` */
    uint8_t data[];
};

struct inode {
    uint8_t *data, *forced;
    size_t len, cap, forced_len, forced_cap;
    struct write_op *first, **last;
};

struct name {
    char name[NAME_SIZE]; /* "": none */
    struct inode *inode;
};

struct directory {
    struct name now[NAMES];
    struct name *history; /* NAMES entries for each state since it was forced, the forced one first */
    size_t n_history, cap_history;
};

struct open_file {
    bool used, is_directory;
    unsigned node;
    struct inode *inode;
};

struct listing {
    int fd;
    unsigned at;
    struct dirent entry;
};

static struct directory directories[SIM_NODES];
static struct open_file open_files[OPEN];
static bool broken[SIM_NODES];

/* directories */

static void history_add(struct directory *d)
{
    if (d->n_history == d->cap_history) {
        d->cap_history = d->cap_history == 0 ? 8 : d->cap_history * 2;
        d->history = realloc(d->history, d->cap_history * sizeof d->now);
        assert(d->history != NULL);
    }
    memcpy(d->history + d->n_history++ * NAMES, d->now, sizeof d->now);
}

static void directory_force(struct directory *d)
{
    d->n_history = 0;
    history_add(d);
}

static void directory_changed(struct directory *d)
{
    if (d->n_history == 0) { /* what there was before anything was forced: nothing */
        struct name now[NAMES];

        memcpy(now, d->now, sizeof now);
        memset(d->now, 0, sizeof d->now);
        history_add(d);
        memcpy(d->now, now, sizeof now);
    }
    history_add(d);
}

static struct name *name_find(struct directory *d, const char *name)
{
    for (size_t i = 0; i < NAMES; i++) {
        if (strcmp(d->now[i].name, name) == 0)
            return &d->now[i];
    }
    return NULL;
}

/* files */

static void inode_put(uint8_t **data, size_t *len, size_t *cap, const struct write_op *op, size_t bytes)
{
    size_t end = op->truncates ? op->len : op->offset + bytes;

    if (end > *cap) {
        *cap = end * 2;
        *data = realloc(*data, *cap);
        assert(*data != NULL);
    }
    if (end > *len && *data != NULL)
        memset(*data + *len, 0, end - *len);
    if (end > *len || op->truncates)
        *len = end;
    if (!op->truncates && bytes > 0)
        memcpy(*data + op->offset, op->data, bytes);
}

static void inode_write(struct inode *n, const void *data, size_t len, size_t offset, bool truncates)
{
    struct write_op *op = malloc(sizeof *op + (truncates ? 0 : len));

    assert(op != NULL);
    *op = (struct write_op){.offset = offset, .len = len, .truncates = truncates};
    if (!truncates)
        memcpy(op->data, data, len);
    *n->last = op;
    n->last = &op->next;
    inode_put(&n->data, &n->len, &n->cap, op, len);
}

static void inode_drop_ops(struct inode *n)
{
    for (struct write_op *op = n->first, *next; op != NULL; op = next) {
        next = op->next;
        free(op);
    }
    n->first = NULL;
    n->last = &n->first;
}

static void inode_force(struct inode *n)
{
    for (struct write_op *op = n->first; op != NULL; op = op->next)
        inode_put(&n->forced, &n->forced_len, &n->forced_cap, op, op->len);
    inode_drop_ops(n);
}

/* How much of a write is there after a crash. */
static size_t survives(const struct write_op *op, unsigned how, bool *lost)
{
    uint64_t fate = how == 0 ? 1 : sim_random(how == 1 && !*lost ? 6 : 3);
    size_t bytes;

    if (how == 1 && *lost)
        return 0;
    *lost = fate <= 1;
    if (fate != 0 || op->truncates || op->len < 2)
        return *lost ? 0 : op->len;
    bytes = sim_random(op->len);
    sim_count(FAULT_torn_write);
    return op->len > SECTOR && sim_chance(5000) ? bytes - bytes % SECTOR : bytes;
}

/* Nothing that was not forced is there, or all up to one that is lost or torn, or each is there, or not, or in
 * part. */
static void inode_crash(struct inode *n)
{
    unsigned how = (unsigned)sim_random(3);
    bool lost = false;

    for (struct write_op *op = n->first; op != NULL; op = op->next) {
        size_t bytes = survives(op, how, &lost);

        if (bytes > 0 || (op->truncates && !lost))
            inode_put(&n->forced, &n->forced_len, &n->forced_cap, op, bytes);
        else
            sim_count(FAULT_unforced_lost);
    }
    inode_drop_ops(n);
    if (n->cap < n->forced_len) {
        n->cap = n->forced_len;
        n->data = realloc(n->data, n->cap);
        assert(n->data != NULL);
    }
    if (n->forced_len > 0)
        memcpy(n->data, n->forced, n->forced_len);
    n->len = n->forced_len;
}

void disk_close_all(unsigned node)
{
    for (size_t i = 0; i < OPEN; i++) {
        if (open_files[i].used && open_files[i].node == node)
            open_files[i].used = false;
    }
}

void disk_crash(unsigned node)
{
    struct directory *d = &directories[node];

    disk_close_all(node);
    if (d->n_history > 0)
        memcpy(d->now, d->history + sim_random(d->n_history) * NAMES, sizeof d->now);
    for (size_t i = 0; i < NAMES; i++) {
        if (d->now[i].name[0] != '\0')
            inode_crash(d->now[i].inode);
    }
    directory_force(d);
}

void disk_wipe(unsigned node)
{
    memset(directories[node].now, 0, sizeof directories[node].now);
    directory_force(&directories[node]);
}

/* the C library's functions */

static struct open_file *file_of(int fd)
{
    return fd >= SIM_FD + SIM_FD_FILE && fd < SIM_FD + SIM_FD_FILE + OPEN
               ? &open_files[fd - SIM_FD - SIM_FD_FILE]
               : NULL;
}

static int file_new(unsigned node, struct inode *inode)
{
    for (int i = 0; i < OPEN; i++) {
        if (open_files[i].used)
            continue;
        open_files[i] =
            (struct open_file){.used = true, .is_directory = inode == NULL, .node = node, .inode = inode};
        return SIM_FD + SIM_FD_FILE + i;
    }
    errno = EMFILE;
    return -1;
}

int __wrap_open(const char *path, int flags, ...)
{
    va_list args;
    mode_t mode;

    va_start(args, flags);
    mode = (flags & O_CREAT) != 0 ? va_arg(args, mode_t) : 0;
    va_end(args);
    if (strncmp(path, "/sim/", 5) != 0)
        return __real_open(path, flags, mode);
    return file_new((unsigned)atoi(path + 5), NULL);
}

int __wrap_openat(int at, const char *name, int flags, ...)
{
    struct open_file *f = file_of(at);
    struct directory *d;
    struct name *n;

    if (f == NULL)
        abort();
    d = &directories[f->node];
    if (strcmp(name, ".") == 0)
        return file_new(f->node, NULL);
    n = name_find(d, name);
    if (n == NULL && (flags & O_CREAT) == 0) {
        errno = ENOENT;
        return -1;
    }
    if (n == NULL) {
        n = name_find(d, "");
        assert(n != NULL && strlen(name) < NAME_SIZE);
        strcpy(n->name, name);
        n->inode = calloc(1, sizeof *n->inode);
        assert(n->inode != NULL);
        n->inode->last = &n->inode->first;
        directory_changed(d);
    }
    if ((flags & O_TRUNC) != 0 && n->inode->len > 0)
        inode_write(n->inode, NULL, 0, 0, true);
    return file_new(f->node, n->inode);
}

int disk_close(int fd)
{
    file_of(fd)->used = false;
    return 0;
}

/* A disk that is full, or fails: until the process has gone. */
static bool fails(const struct open_file *f)
{
    struct proc *p = sim_self();

    if (!broken[f->node] || p == NULL || world_calm())
        return false;
    sim_count(FAULT_disk_error);
    p->disk_failed = true;
    broken[f->node] = false;
    errno = sim_chance(5000) ? ENOSPC : EIO;
    return true;
}

void disk_break(unsigned node)
{
    broken[node] = true;
}

ssize_t __wrap_pwrite(int fd, const void *data, size_t len, off_t offset)
{
    struct open_file *f = file_of(fd);

    if (f == NULL)
        return __real_pwrite(fd, data, len, offset);
    sim_point("a write");
    if (fails(f)) {
        if (sim_chance(5000) && len > 1)
            inode_write(f->inode, data, len / 2, (size_t)offset, false);
        return -1;
    }
    inode_write(f->inode, data, len, (size_t)offset, false);
    sim_point("a write done");
    return (ssize_t)len;
}

ssize_t __wrap_pread(int fd, void *data, size_t len, off_t offset)
{
    struct open_file *f = file_of(fd);
    size_t at = (size_t)offset;

    if (f == NULL)
        return __real_pread(fd, data, len, offset);
    if (at >= f->inode->len)
        return 0;
    if (len > f->inode->len - at)
        len = f->inode->len - at;
    memcpy(data, f->inode->data + at, len);
    return (ssize_t)len;
}

static int force(struct open_file *f, bool lie)
{
    sim_point("a sync");
    if (fails(f))
        return -1;
    sim_tally->forced_writes++;
    if (f->is_directory)
        directory_force(&directories[f->node]);
    else if (!lie)
        inode_force(f->inode);
    sim_point("a sync done");
    return 0;
}

int __wrap_fsync(int fd)
{
    return file_of(fd) == NULL ? __real_fsync(fd) : force(file_of(fd), false);
}

/* The log's entries are forced by this one. */
int __wrap_fdatasync(int fd)
{
    return force(file_of(fd), sim_options.sabotage == SABOTAGE_LYING_DISK);
}

int __wrap_ftruncate(int fd, off_t len)
{
    struct open_file *f = file_of(fd);

    if (f == NULL)
        return __real_ftruncate(fd, len);
    inode_write(f->inode, NULL, (size_t)len, 0, true);
    return 0;
}

int __wrap_flock(int fd, int operation)
{
    return file_of(fd) == NULL ? __real_flock(fd, operation) : 0;
}

int __wrap_fstat(int fd, struct stat *st)
{
    struct open_file *f = file_of(fd);

    if (f == NULL)
        return __real_fstat(fd, st);
    memset(st, 0, sizeof *st);
    st->st_mode = f->is_directory ? S_IFDIR : S_IFREG;
    st->st_size = f->is_directory ? 0 : (off_t)f->inode->len;
    return 0;
}

int __wrap_fstatat(int at, const char *name, struct stat *st, int flags)
{
    struct open_file *f = file_of(at);
    struct name *n = f == NULL ? NULL : name_find(&directories[f->node], name);

    (void)flags;
    if (n == NULL) {
        errno = ENOENT;
        return -1;
    }
    memset(st, 0, sizeof *st);
    st->st_mode = S_IFREG;
    st->st_size = (off_t)n->inode->len;
    return 0;
}

int __wrap_renameat(int at, const char *from, int to_at, const char *to)
{
    struct directory *d = &directories[file_of(at)->node];
    struct name *n = name_find(d, from), *old = name_find(d, to);

    (void)to_at;
    sim_point("a rename");
    if (n == NULL) {
        errno = ENOENT;
        return -1;
    }
    if (old != NULL && old != n)
        memset(old, 0, sizeof *old);
    assert(strlen(to) < NAME_SIZE);
    memset(n->name, 0, sizeof n->name);
    strcpy(n->name, to);
    directory_changed(d);
    return 0;
}

int __wrap_unlinkat(int at, const char *name, int flags)
{
    struct directory *d = &directories[file_of(at)->node];
    struct name *n = name_find(d, name);

    (void)flags;
    if (n == NULL) {
        errno = ENOENT;
        return -1;
    }
    memset(n, 0, sizeof *n);
    directory_changed(d);
    return 0;
}

DIR *__wrap_fdopendir(int fd)
{
    struct listing *l = calloc(1, sizeof *l);

    assert(l != NULL && file_of(fd) != NULL);
    l->fd = fd;
    return (DIR *)(void *)l;
}

struct dirent *__wrap_readdir(DIR *dir)
{
    struct listing *l = (struct listing *)(void *)dir;
    struct directory *d = &directories[file_of(l->fd)->node];

    while (l->at < NAMES) {
        const char *name = d->now[l->at++].name;

        if (*name == '\0')
            continue;
        snprintf(l->entry.d_name, sizeof l->entry.d_name, "%s", name);
        return &l->entry;
    }
    return NULL;
}

int __wrap_closedir(DIR *dir)
{
    struct listing *l = (struct listing *)(void *)dir;

    disk_close(l->fd);
    free(l);
    return 0;
}
