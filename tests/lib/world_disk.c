/* world_disk: see world.h. Small disks: file systems in memory, in a mount namespace of this process's own. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/lib/world_impl.h"

enum { FILL_BYTES = 4096 };

static const char filler[] = "filler";

static void write_file(const char *path, const char *format, unsigned id)
{
    FILE *f = fopen(path, "w");

    if (f == NULL)
        return;
    fprintf(f, format, id, id);
    fclose(f);
}

/* An ordinary user needs a user namespace for it, and stays who he is there. */
void world_private_mounts(void)
{
    unsigned uid = (unsigned)geteuid(), gid = (unsigned)getegid();

    if (unshare(CLONE_NEWNS | (uid != 0 ? CLONE_NEWUSER : 0)) != 0) {
        fprintf(stderr, "no mount namespace: %s; run it as root, or allow user namespaces\n", strerror(errno));
        exit(1);
    }
    if (uid != 0) {
        write_file("/proc/self/setgroups", "deny", 0);
        write_file("/proc/self/uid_map", "%u %u 1", uid);
        write_file("/proc/self/gid_map", "%u %u 1", gid);
    }
    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0) {
        fprintf(stderr, "no private mounts: %s\n", strerror(errno));
        exit(1);
    }
}

void world_node_disk(struct world *w, unsigned id, size_t bytes)
{
    char data[WORLD_PATH_SIZE], options[64];

    world_node_data(w, id, data);
    snprintf(options, sizeof options, "size=%zu,mode=700", bytes);
    if ((mkdir(data, 0700) != 0 && errno != EEXIST) || mount("tmpfs", data, "tmpfs", 0, options) != 0)
        world_fail(w, "%s: no disk of %zu bytes: %s", data, bytes, strerror(errno));
    w->disks[id] = true;
}

void world_disks_release(struct world *w)
{
    char data[WORLD_PATH_SIZE];

    for (unsigned id = 1; id <= WORLD_NODE_LIMIT; id++) {
        if (w->disks[id] && umount2(world_node_data(w, id, data), MNT_DETACH) != 0)
            fprintf(stderr, "cannot unmount %s: %s\n", data, strerror(errno));
    }
}

static const char *filler_path(const struct world *w, unsigned id, char out[WORLD_PATH_SIZE + sizeof filler])
{
    char data[WORLD_PATH_SIZE];

    snprintf(out, WORLD_PATH_SIZE + sizeof filler, "%s/%s", world_node_data(w, id, data), filler);
    return out;
}

void world_node_disk_fill(struct world *w, unsigned id, size_t leave)
{
    static const char bytes[FILL_BYTES];
    char path[WORLD_PATH_SIZE + sizeof filler];
    int fd = open(filler_path(w, id, path), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    off_t size = 0;
    ssize_t n;

    if (fd < 0)
        world_fail(w, "%s: %s", path, strerror(errno));
    while ((n = write(fd, bytes, sizeof bytes)) > 0)
        size += n;
    if (errno != ENOSPC || size < (off_t)leave || ftruncate(fd, size - (off_t)leave) != 0)
        world_fail(w, "%s: %s after %lld bytes", path, strerror(errno), (long long)size);
    close(fd);
}

void world_node_disk_free(struct world *w, unsigned id)
{
    char path[WORLD_PATH_SIZE + sizeof filler];

    if (unlink(filler_path(w, id, path)) != 0)
        world_fail(w, "%s: %s", path, strerror(errno));
}

size_t world_node_bytes(const struct world *w, unsigned id)
{
    char data[WORLD_PATH_SIZE];
    struct dirent *entry;
    size_t bytes = 0;
    struct stat st;
    DIR *d = opendir(world_node_data(w, id, data));

    while (d != NULL && (entry = readdir(d)) != NULL) {
        if (fstatat(dirfd(d), entry->d_name, &st, 0) == 0 && S_ISREG(st.st_mode))
            bytes += (size_t)st.st_size;
    }
    if (d != NULL)
        closedir(d);
    return bytes;
}
