/* fuzz: see fuzz.h. */
#include "tests/fuzz/fuzz.h"

#include <dirent.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

void fuzz_broken(const char *file, int line, const char *condition)
{
    fprintf(stderr, "%s:%d: broken: %s\n", file, line, condition);
    abort();
}

/* Seeds */

void fuzz_put(struct fuzz_sink *to, const void *data, size_t len)
{
    to->put(to, data, len);
}

void fuzz_put_text(struct fuzz_sink *to, const char *text)
{
    fuzz_put(to, text, strlen(text));
}

void fuzz_put_buf(struct fuzz_sink *to, struct buf *b)
{
    fuzz_check(!b->failed);
    fuzz_put(to, b->data, b->len);
    buf_release(b);
}

/* Input */

uint8_t *fuzz_bytes(struct cur *c, size_t *len)
{
    size_t left = (size_t)(c->end - c->p);
    uint8_t *copy;

    *len = *len < left ? *len : left;
    copy = malloc(*len > 0 ? *len : 1);
    fuzz_check(copy != NULL);
    if (*len > 0)
        memcpy(copy, c->p, *len);
    c->p += *len;
    return copy;
}

char *fuzz_text(const uint8_t *data, size_t len)
{
    char *text = strndup(len > 0 ? (const char *)data : "", len);

    fuzz_check(text != NULL);
    return text;
}

/* Files */

static void write_all(int fd, const void *data, size_t len)
{
    fuzz_check(pwrite(fd, data, len, 0) == (ssize_t)len);
}

const char *fuzz_file(const void *data, size_t len)
{
    static char path[64];
    static int fd = -1;

    if (fd < 0) {
        fd = memfd_create("fuzz", MFD_CLOEXEC);
        fuzz_check(fd >= 0 && fchmod(fd, 0600) == 0);
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    }
    fuzz_check(ftruncate(fd, 0) == 0);
    if (len > 0)
        write_all(fd, data, len);
    return path;
}

static char directory[128];

static void directory_empty(void)
{
    DIR *d = opendir(directory);
    struct dirent *entry;

    fuzz_check(d != NULL);
    while ((entry = readdir(d)) != NULL) {
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            fuzz_check(unlinkat(dirfd(d), entry->d_name, 0) == 0);
    }
    closedir(d);
}

static void directory_remove(void)
{
    directory_empty();
    rmdir(directory);
}

const char *fuzz_directory(void)
{
    const char *tmp = getenv("TMPDIR");

    if (*directory == '\0') {
        if (access("/dev/shm", W_OK) == 0)
            tmp = "/dev/shm";
        snprintf(directory, sizeof directory, "%s/assent-fuzz-XXXXXX", tmp != NULL ? tmp : "/tmp");
        fuzz_check(mkdtemp(directory) != NULL);
        atexit(directory_remove);
    }
    directory_empty();
    return directory;
}

void fuzz_directory_put(const char *where, const char *name, const void *data, size_t len)
{
    char path[256];
    int fd;

    snprintf(path, sizeof path, "%s/%s", where, name);
    fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    fuzz_check(fd >= 0);
    write_all(fd, data, len);
    close(fd);
}

/* Random numbers that are none: an input does the same each time. (splitmix64, public domain) */

static uint64_t random_state;

static uint64_t next_random(void)
{
    uint64_t z = random_state += 0x9e3779b97f4a7c15u;

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static const char *random_name(void)
{
    return "fuzz";
}

static uint32_t random_u32(void)
{
    return (uint32_t)next_random();
}

static void random_bytes(void *const out, const size_t n)
{
    for (size_t i = 0; i < n; i++)
        ((uint8_t *)out)[i] = (uint8_t)next_random();
}

void fuzz_random_begin(uint64_t seed)
{
    static randombytes_implementation fixed = {
        .implementation_name = random_name, .random = random_u32, .buf = random_bytes};

    random_state = seed;
    randombytes_set_implementation(&fixed);
    fuzz_check(sodium_init() >= 0);
}
