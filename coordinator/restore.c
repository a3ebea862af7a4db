/* restore: see restore.h. */
#include "coordinator/restore.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "coordinator/record.h"

enum { PIECE = 256 << 10 /* bytes of a record; a few of them fit into the smallest segment */ };

struct restore {
    struct backup backup;
    char mark[4096];
    struct replog *replog;
    uint64_t wall, at; /* at: what stands in the log */
    bool running;
    void (*done)(void *arg, int rc, const struct tx_error *e);
    void *arg;
};

static int mark_path(char *out, size_t size, const char *data_dir, struct tx_error *e)
{
    if ((size_t)snprintf(out, size, "%s/restoring", data_dir) < size)
        return TX_OK;
    return err_set(e, TX_EINVAL, "data_dir: the path is too long");
}

int restore_check(const char *data_dir, struct tx_error *e)
{
    char mark[4096];
    int rc = mark_path(mark, sizeof mark, data_dir, e);

    if (rc != TX_OK || access(mark, F_OK) < 0)
        return rc;
    return err_set(e, TX_EREFUSED,
                   "data_dir %s: a restore into it was not completed; empty it, and restore again", data_dir);
}

static int assert_empty(const char *data_dir, struct tx_error *e)
{
    DIR *dir = opendir(data_dir);
    struct dirent *entry;
    bool empty = true;

    if (dir == NULL)
        return err_set(e, TX_EIO, "data_dir %s: %s", data_dir, strerror(errno));
    while ((entry = readdir(dir)) != NULL)
        empty = empty && (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0);
    closedir(dir);
    return empty ? TX_OK
                 : err_set(e, TX_EREFUSED, "data_dir %s is not empty; a backup is restored into an empty one",
                           data_dir);
}

static int mark_make(const struct restore *r, struct tx_error *e)
{
    int fd = open(r->mark, O_CREAT | O_EXCL | O_WRONLY, 0600);

    if (fd < 0 || fsync(fd) < 0) {
        err_set(e, TX_EIO, "%s: %s", r->mark, strerror(errno));
        if (fd >= 0)
            close(fd);
        return TX_EIO;
    }
    close(fd);
    return TX_OK;
}

int restore_open(struct restore **out, const char *path, const char *data_dir, struct tx_error *e)
{
    struct restore *r = calloc(1, sizeof *r);
    int rc;

    if (r == NULL)
        return err_set(e, TX_ENOMEM, "out of memory");
    rc = mark_path(r->mark, sizeof r->mark, data_dir, e);
    if (rc == TX_OK)
        rc = assert_empty(data_dir, e);
    if (rc == TX_OK) {
        rc = backup_load(&r->backup, path, e);
        rc = rc == TX_OK ? rc : err_wrap(e, rc, "restore");
    }
    if (rc == TX_OK)
        rc = mark_make(r, e);
    if (rc == TX_OK)
        *out = r;
    else
        restore_free(r);
    return rc;
}

uint64_t restore_group(const struct restore *r)
{
    return r->backup.group;
}

static void finish(struct restore *r, int rc, const struct tx_error *e)
{
    r->running = false;
    r->done(r->arg, rc, e);
}

static void on_proposed(void *arg, enum replog_result result, uint64_t index);

static void propose_next(struct restore *r)
{
    size_t left = r->backup.len - (size_t)r->at;
    struct record record = {.type = RECORD_RESTORE, .at_ms = r->wall};
    struct buf entry;
    uint8_t *data;
    size_t len;

    record.restore.at = r->at;
    record.restore.total = r->backup.len;
    record.restore.len = (uint32_t)(left < PIECE ? left : PIECE);
    record.restore.data = r->backup.ledger + r->at;
    buf_init(&entry);
    record_begin(&entry);
    record_append(&entry, &record);
    if (entry.failed)
        abort();
    r->at += record.restore.len;
    data = buf_detach(&entry, &len);
    replog_propose(r->replog, data, len, on_proposed, r);
}

static void on_proposed(void *arg, enum replog_result result, uint64_t index)
{
    struct restore *r = arg;
    struct tx_error e = {0};

    (void)index;
    if (result != REPLOG_COMMITTED)
        finish(r, err_set(&e, TX_EIO, "restore: the log did not take it; empty data_dir, and restore again"),
               &e);
    else if (r->at < r->backup.len)
        propose_next(r);
    else if (unlink(r->mark) < 0)
        finish(r, err_set(&e, TX_EIO, "%s: %s", r->mark, strerror(errno)), &e);
    else
        finish(r, TX_OK, &e);
}

void restore_run(struct restore *r, struct replog *replog, uint64_t wall,
                 void (*done)(void *arg, int rc, const struct tx_error *e), void *arg)
{
    if (r->running)
        return;
    r->running = true;
    r->replog = replog;
    r->wall = wall;
    r->done = done;
    r->arg = arg;
    propose_next(r);
}

void restore_free(struct restore *r)
{
    if (r == NULL)
        return;
    backup_release(&r->backup);
    free(r);
}
