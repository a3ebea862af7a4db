/* world_identity: a copy of a PostgreSQL data directory becomes a cluster of its own, as by an initdb of its
 * own, which takes a second: another system identifier in pg_control and in the files of the log. Called by
 * world_postgresql.c.
 *
 * pg_control begins with the identifier (pg_control.h), and ends with the CRC-32C of all before that; where it
 * ends depends on the version, and is found by the old CRC. The first page of a file of the log has the
 * identifier, too (xlog_internal.h, XLogLongPageHeaderData), and no checksum.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "tests/lib/world_impl.h"

enum { CONTROL_SIZE = 8192, LOG_NAME_LENGTH = 24, LOG_SYSTEM_AT = 24 };

static uint32_t crc32c_byte(uint32_t crc, uint8_t byte)
{
    crc ^= byte;
    for (int i = 0; i < 8; i++)
        crc = crc & 1 ? crc >> 1 ^ 0x82f63b78 : crc >> 1;
    return crc;
}

/* Where pg_control's CRC stands; 0: nowhere. With `system` in front it becomes *fresh. */
static size_t find_crc(const uint8_t *control, uint64_t system, uint32_t *fresh)
{
    uint32_t crc = UINT32_MAX, now = UINT32_MAX, old;

    for (size_t i = 0; i + sizeof old <= CONTROL_SIZE; i++) {
        memcpy(&old, control + i, sizeof old);
        *fresh = ~now;
        if (i > sizeof system && i % sizeof old == 0 && old == (uint32_t)~crc)
            return i;
        crc = crc32c_byte(crc, control[i]);
        now = crc32c_byte(now, i < sizeof system ? ((const uint8_t *)&system)[i] : control[i]);
    }
    return 0;
}

static int open_file(struct world *w, const char *data, const char *name, char path[2 * WORLD_PATH_SIZE])
{
    int fd;

    snprintf(path, 2 * WORLD_PATH_SIZE, "%s/%s", data, name);
    fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        world_fail(w, "%s: %s", path, strerror(errno));
    return fd;
}

/* Returns the old one. */
static uint64_t change_control(struct world *w, const char *data, uint64_t system)
{
    char path[2 * WORLD_PATH_SIZE];
    uint8_t control[CONTROL_SIZE];
    int fd = open_file(w, data, "global/pg_control", path);
    bool done = pread(fd, control, sizeof control, 0) == (ssize_t)sizeof control;
    uint64_t old;
    uint32_t crc;
    size_t at = done ? find_crc(control, system, &crc) : 0;

    memcpy(&old, control, sizeof old);
    done = at != 0 && pwrite(fd, &system, sizeof system, 0) == (ssize_t)sizeof system &&
           pwrite(fd, &crc, sizeof crc, (off_t)at) == (ssize_t)sizeof crc;
    close(fd);
    if (!done)
        world_fail(w, "%s: is not as expected", path);
    return old;
}

static void change_log(struct world *w, const char *data, uint64_t old, uint64_t system)
{
    char dir[WORLD_PATH_SIZE + 16], name[512], path[2 * WORLD_PATH_SIZE];
    struct dirent *entry;
    DIR *d;

    snprintf(dir, sizeof dir, "%s/pg_wal", data);
    d = opendir(dir);
    while (d != NULL && (entry = readdir(d)) != NULL) {
        uint64_t there = 0;
        int fd;

        if (strlen(entry->d_name) != LOG_NAME_LENGTH)
            continue;
        snprintf(name, sizeof name, "pg_wal/%s", entry->d_name);
        fd = open_file(w, data, name, path);
        if (pread(fd, &there, sizeof there, LOG_SYSTEM_AT) == (ssize_t)sizeof there && there == old &&
            pwrite(fd, &system, sizeof system, LOG_SYSTEM_AT) != (ssize_t)sizeof system)
            world_fail(w, "%s: %s", path, strerror(errno));
        close(fd);
    }
    if (d != NULL)
        closedir(d);
}

void world_identity_renew(struct world *w, const char *data)
{
    uint64_t system;

    if (getrandom(&system, sizeof system, 0) != (ssize_t)sizeof system)
        world_fail(w, "no random number");
    system >>= 1; /* PostgreSQL shows it as a signed number */
    change_log(w, data, change_control(w, data, system), system);
}
