/* wal_dir: see wal_dir.h. */
#include "coordinator/wal_dir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOCK_NAME "lock"

/* What an operator does about it. */
static const char *remedy_of(int error)
{
    switch (error) {
    case ENOSPC:
    case EDQUOT:
        return "make room, then start this node again; what was acknowledged is not lost";
    case EFBIG:
        return "raise the limit of a file's size (ulimit -f, LimitFSIZE), then start this node again";
    case EMFILE:
    case ENFILE:
        return "raise the limit of open files (ulimit -n, LimitNOFILE), then start this node again";
    case EROFS:
    case EACCES:
    case EPERM:
        return "let txcoordd write there, then start it again";
    default:
        return "look at the disk and the kernel's log; when it works, start this node again";
    }
}

int wal_dir_error(const struct wal_dir *d, const char *name, struct tx_error *e)
{
    int saved = errno;

    /* The directory comes last: a long path must not push the advice out of the message. */
    return err_set(e, TX_EIO, "%s: %s; %s (%s)", name == NULL ? "data_dir" : name, strerror(saved),
                   remedy_of(saved), d->path);
}

int wal_dir_damaged(const struct wal_dir *d, const char *name, const char *what, struct tx_error *e)
{
    return err_set(
        e, TX_ECORRUPT,
        "%s: %s; restore the data directory from a backup, or in a group of several wipe it and rejoin "
        "this node; never delete log files by hand (%s)",
        name, what, d->path);
}

static int lock_busy(const struct wal_dir *d, struct tx_error *e)
{
    char pid[32] = "";
    ssize_t n = pread(d->lock_fd, pid, sizeof pid - 1, 0);

    pid[n > 0 ? strspn(pid, "0123456789") : 0] = '\0';
    return err_set(e, TX_EBUSY, "data_dir: in use by process %s (%s)", pid[0] == '\0' ? "unknown" : pid,
                   d->path);
}

/* The pid in the file is for people; the lock itself is the kernel's and goes with the process. */
static int lock_take(struct wal_dir *d, struct tx_error *e)
{
    char pid[32];
    int n;

    d->lock_fd = openat(d->fd, LOCK_NAME, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (d->lock_fd < 0)
        return wal_dir_error(d, LOCK_NAME, e);
    if (flock(d->lock_fd, LOCK_EX | LOCK_NB) != 0)
        return errno == EWOULDBLOCK ? lock_busy(d, e) : wal_dir_error(d, LOCK_NAME, e);
    n = snprintf(pid, sizeof pid, "%ld\n", (long)getpid());
    if (ftruncate(d->lock_fd, 0) != 0)
        return wal_dir_error(d, LOCK_NAME, e);
    errno = wal_dir_pwrite(d->lock_fd, pid, (size_t)n, 0);
    return errno == 0 ? 0 : wal_dir_error(d, LOCK_NAME, e);
}

int wal_dir_open(struct wal_dir *d, const char *path, struct tx_error *e)
{
    int rc;

    d->fd = d->lock_fd = -1;
    d->path = strdup(path);
    if (d->path == NULL)
        return err_set(e, TX_ENOMEM, "out of memory");
    d->fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    rc = d->fd < 0 ? wal_dir_error(d, NULL, e) : lock_take(d, e);
    if (rc != 0)
        wal_dir_close(d);
    return rc;
}

void wal_dir_close(struct wal_dir *d)
{
    if (d->lock_fd >= 0)
        close(d->lock_fd);
    if (d->fd >= 0)
        close(d->fd);
    free(d->path);
    d->path = NULL;
    d->fd = d->lock_fd = -1;
}

void wal_dir_name(char out[WAL_DIR_NAME_SIZE], const char *prefix, uint64_t number)
{
    snprintf(out, WAL_DIR_NAME_SIZE, "%s%08" PRIu64, prefix, number);
}

/* Only a name that wal_dir_name() writes counts. */
static bool parse_name(const char *name, const char *prefix, uint64_t *number)
{
    char again[WAL_DIR_NAME_SIZE];
    size_t n = strlen(prefix);

    if (strncmp(name, prefix, n) != 0 || name[n] < '0' || name[n] > '9')
        return false;
    *number = strtoull(name + n, NULL, 10);
    wal_dir_name(again, prefix, *number);
    return strcmp(name, again) == 0;
}

static int compare_numbers(const void *a, const void *b)
{
    const uint64_t *x = a, *y = b;

    return (*x > *y) - (*x < *y);
}

static int list_into(const struct wal_dir *d, DIR *dir, const char *prefix, uint64_t **numbers, size_t *n,
                     struct tx_error *e)
{
    size_t cap = 0;
    struct dirent *entry;
    uint64_t number, *grown;

    for (errno = 0; (entry = readdir(dir)) != NULL; errno = 0) {
        if (!parse_name(entry->d_name, prefix, &number))
            continue;
        if (*n == cap) {
            cap = cap == 0 ? 16 : cap * 2;
            grown = realloc(*numbers, cap * sizeof *grown);
            if (grown == NULL)
                return err_set(e, TX_ENOMEM, "out of memory");
            *numbers = grown;
        }
        (*numbers)[(*n)++] = number;
    }
    return errno == 0 ? 0 : wal_dir_error(d, NULL, e);
}

int wal_dir_list(const struct wal_dir *d, const char *prefix, uint64_t **numbers, size_t *n, struct tx_error *e)
{
    int fd = openat(d->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    int rc;

    *numbers = NULL;
    *n = 0;
    if (dir == NULL) {
        rc = wal_dir_error(d, NULL, e);
        if (fd >= 0)
            close(fd);
        return rc;
    }
    rc = list_into(d, dir, prefix, numbers, n, e);
    closedir(dir);
    if (rc != 0) {
        free(*numbers);
        *numbers = NULL;
        *n = 0;
    }
    if (*n > 1)
        qsort(*numbers, *n, sizeof **numbers, compare_numbers);
    return rc;
}

static int read_all(int fd, uint8_t *data, size_t len)
{
    size_t done = 0;
    ssize_t n;

    while (done < len) {
        n = pread(fd, data + done, len - done, (off_t)done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n == 0)
            errno = EIO; /* shorter than a moment ago: nobody else may write here */
        if (n <= 0)
            return -1;
        done += (size_t)n;
    }
    return 0;
}

int wal_dir_read(const struct wal_dir *d, const char *name, uint8_t **data, size_t *len, struct tx_error *e)
{
    struct stat st;
    int fd, rc = 0;

    *data = NULL;
    *len = 0;
    fd = openat(d->fd, name, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? 0 : wal_dir_error(d, name, e);
    if (fstat(fd, &st) != 0) {
        rc = wal_dir_error(d, name, e);
        goto out;
    }
    *len = (size_t)st.st_size;
    *data = malloc(*len + 1);
    if (*data == NULL)
        rc = err_set(e, TX_ENOMEM, "%s/%s: no memory for %zu bytes", d->path, name, *len);
    else if (read_all(fd, *data, *len) != 0)
        rc = wal_dir_error(d, name, e);
    if (rc != 0) {
        free(*data);
        *data = NULL;
    }
out:
    close(fd);
    return rc;
}

int wal_dir_write(const struct wal_dir *d, const char *name, const void *data, size_t len, struct tx_error *e)
{
    int fd = openat(d->fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    int rc = 0;

    if (fd < 0)
        return wal_dir_error(d, name, e);
    errno = wal_dir_pwrite(fd, data, len, 0);
    if (errno != 0 || fsync(fd) != 0)
        rc = wal_dir_error(d, name, e);
    if (close(fd) != 0 && rc == 0)
        rc = wal_dir_error(d, name, e);
    return rc;
}

int wal_dir_publish(const struct wal_dir *d, const char *from, const char *to, struct tx_error *e)
{
    int rc = wal_dir_rename(d, from, to, e);

    return rc != 0 ? rc : wal_dir_sync(d, e);
}

int wal_dir_rename(const struct wal_dir *d, const char *from, const char *to, struct tx_error *e)
{
    return renameat(d->fd, from, d->fd, to) == 0 ? 0 : wal_dir_error(d, from, e);
}

int wal_dir_remove(const struct wal_dir *d, const char *name, struct tx_error *e)
{
    return unlinkat(d->fd, name, 0) == 0 || errno == ENOENT ? 0 : wal_dir_error(d, name, e);
}

int wal_dir_sync(const struct wal_dir *d, struct tx_error *e)
{
    return fsync(d->fd) == 0 ? 0 : wal_dir_error(d, NULL, e);
}

int wal_dir_pwrite(int fd, const void *data, size_t len, uint64_t offset)
{
    const uint8_t *p = data;
    ssize_t n;

    while (len > 0) {
        n = pwrite(fd, p, len, (off_t)offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno;
        if (n == 0)
            return ENOSPC;
        p += n;
        len -= (size_t)n;
        offset += (uint64_t)n;
    }
    return 0;
}
