/* audit: see audit.h. */
#include "coordinator/audit.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "libtx/shared/log.h"

enum {
    VALUE_LIMIT_BYTES = 512,             /* of a value as it is written; what is longer ends in an ellipsis */
    KEY_PREFIX = 8,                      /* characters of a key */
    UNKNOWN_REPEATS = AUDIT_REPEATS / 2, /* keys that nobody knows leave room for those with a name */
};

/* Lines */

struct line {
    char *out;
    size_t len;
};

static void put(struct line *l, const char *text, size_t n)
{
    if (n > AUDIT_LINE - 1 - l->len)
        n = AUDIT_LINE - 1 - l->len;
    memcpy(l->out + l->len, text, n);
    l->len += n;
    l->out[l->len] = '\0';
}

/* Bytes of the UTF-8 character at p, where it is one that shows and steers nothing; else 0. */
static size_t visible_length(const unsigned char *p)
{
    size_t n = p[0] < 0x80 ? 1 : p[0] < 0xc2 ? 0 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : p[0] < 0xf5 ? 4 : 0;
    unsigned code = n == 1 ? p[0] : n > 0 ? p[0] & (0x7fU >> n) : 0;

    for (size_t i = 1; i < n; i++) {
        if ((p[i] & 0xc0) != 0x80)
            return 0;
        code = code << 6 | (p[i] & 0x3f);
    }
    if (code < 0x20 || (code >= 0x7f && code < 0xa0) || (n == 3 && code < 0x800) || (n == 4 && code < 0x10000))
        return 0;
    /* Surrogates, and what changes the direction or the line: zero width, separators, marks. */
    if ((code >= 0xd800 && code < 0xe000) || (code >= 0x200b && code < 0x2010) ||
        (code >= 0x2028 && code < 0x2030) || (code >= 0x2060 && code < 0x2070) || code == 0xfeff)
        return 0;
    return code > 0x10ffff ? 0 : n;
}

static bool is_plain(const char *value)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.:/@,*+-";

    return *value != '\0' && value[strspn(value, plain)] == '\0' && strlen(value) < VALUE_LIMIT_BYTES;
}

/* One character as it stands between quotes; bytes taken. */
static size_t put_character(struct line *l, const char *p)
{
    size_t n = visible_length((const unsigned char *)p);
    char hex[8];

    if (n == 0) {
        snprintf(hex, sizeof hex, "\\x%02x", (unsigned)(unsigned char)*p);
        put(l, hex, strlen(hex));
        return 1;
    }
    if (*p == '"' || *p == '\\')
        put(l, "\\", 1);
    put(l, p, n);
    return n;
}

static void put_value(struct line *l, const char *value)
{
    size_t limit = l->len + VALUE_LIMIT_BYTES;

    if (is_plain(value)) {
        put(l, value, strlen(value));
        return;
    }
    put(l, "\"", 1);
    while (*value != '\0' && l->len < limit)
        value += put_character(l, value);
    if (*value != '\0')
        put(l, "…", strlen("…"));
    put(l, "\"", 1);
}

/* Nothing where there is no value. */
static void put_pair(struct line *l, const char *name, const char *value)
{
    if (value == NULL)
        return;
    if (l->len > 0)
        put(l, " ", 1);
    put(l, name, strlen(name));
    put(l, "=", 1);
    put_value(l, value);
}

void audit_format(const struct audit_entry *entry, char out[AUDIT_LINE])
{
    static const char *const outcomes[] = {"begun", "ok", "unknown", "refused", "denied"};
    struct line l = {.out = out};
    char key[KEY_TEXT_SIZE] = "", count[24];

    *out = '\0';
    if (entry->key != NULL)
        key_format(entry->key, key);
    key[KEY_PREFIX] = '\0';
    put_pair(&l, "name", entry->name != NULL ? entry->name : "");
    put_pair(&l, "key", key);
    put_pair(&l, "act", entry->act);
    put_pair(&l, "what", entry->what);
    for (size_t i = 0; i < AUDIT_MORE; i++)
        put_pair(&l, entry->more[i].name, entry->more[i].value);
    put_pair(&l, "outcome", outcomes[entry->outcome]);
    snprintf(count, sizeof count, "%llu", (unsigned long long)entry->count);
    put_pair(&l, "count", entry->count > 0 ? count : NULL);
    put_pair(&l, "error", entry->error);
}

/* Files */

/* The same that is denied, by one key, within a second. */
struct repeat {
    bool used, known, has_key;
    uint8_t key[KEY_SIZE];
    char name[NAME_LIMIT + 1], act[32], error[TEXT_LIMIT + 1];
    uint64_t since, count; /* the line about it; not told yet */
};

struct audit {
    char *path; /* owned; NULL: the daemon's log */
    int fd;
    bool torn;                        /* the last line was not written whole */
    struct repeat firsts[AUDIT_KEYS]; /* of each known key that which it was denied first */
    struct repeat repeats[AUDIT_REPEATS];
    struct repeat others; /* all that find no room there */
};

/* Without waiting for a reader, should it be a pipe. */
static int open_file(const char *path, struct tx_error *e)
{
    int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0600);
    struct stat st;

    if (fd < 0)
        return err_set(e, TX_EIO, "audit_log %s: %s", path, strerror(errno));
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode))
        return fd;
    close(fd);
    return err_set(e, TX_EINVAL, "audit_log %s: is not a file", path);
}

int audit_open(struct audit **out, const char *path, struct tx_error *e)
{
    struct audit *a = calloc(1, sizeof *a);
    int rc = TX_OK;

    if (a == NULL || (path != NULL && (a->path = strdup(path)) == NULL)) {
        free(a);
        return err_set(e, TX_ENOMEM, "out of memory");
    }
    a->fd = path != NULL ? open_file(path, e) : -1;
    if (path != NULL && a->fd < 0) {
        rc = a->fd;
        free(a->path);
        free(a);
        return rc;
    }
    *out = a;
    return TX_OK;
}

void audit_reopen(struct audit *a)
{
    struct tx_error e;
    int fd;

    if (a->path == NULL)
        return;
    fd = open_file(a->path, &e);
    if (fd < 0) {
        log_line(LOG_ERROR, "audit-failed", "error=\"%s\" text=\"the file that was open is written on\"",
                 e.msg);
        return;
    }
    close(a->fd);
    a->fd = fd;
    a->torn = false;
}

/* Writing */

static size_t put_time(char *out, size_t size)
{
    struct timespec now;
    struct tm utc;
    size_t n;

    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &utc);
    n = strftime(out, size, "%Y-%m-%dT%H:%M:%S", &utc);
    return n + (size_t)snprintf(out + n, size - n, ".%03ldZ ", now.tv_nsec / 1000000);
}

/* A line that follows a torn one begins where it can be told from it. */
static bool write_line(struct audit *a, const char *text)
{
    char line[AUDIT_LINE + 64];
    size_t n = 0;
    ssize_t written;

    if (a->torn)
        line[n++] = '\n';
    n += put_time(line + n, sizeof line - n);
    n += (size_t)snprintf(line + n, sizeof line - n, "%s\n", text);
    written = write(a->fd, line, n);
    if (written == (ssize_t)n) {
        a->torn = false;
        return true;
    }
    if (written >= 0)
        errno = ENOSPC;
    a->torn = a->torn || written > 0;
    return false;
}

static void emit(struct audit *a, const struct audit_entry *entry)
{
    char text[AUDIT_LINE];

    audit_format(entry, text);
    if (a->fd >= 0) {
        if (write_line(a, text))
            return;
        log_line(LOG_ERROR, "audit-failed", "file=%s error=\"%s\"", a->path, strerror(errno));
    }
    log_line(LOG_AUDIT, "audit", "%s", text);
}

/* Repeats */

static bool is_same(const struct repeat *r, const struct audit_entry *entry)
{
    return r->used && r->has_key == (entry->key != NULL) &&
           (entry->key == NULL || key_equal(r->key, entry->key)) &&
           strncmp(r->act, entry->act, sizeof r->act - 1) == 0;
}

static struct repeat *same_in(struct repeat *repeats, size_t n, const struct audit_entry *entry)
{
    for (size_t i = 0; i < n; i++) {
        if (is_same(&repeats[i], entry))
            return &repeats[i];
    }
    return NULL;
}

static struct repeat *room_in(struct repeat *repeats, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (!repeats[i].used)
            return &repeats[i];
    }
    return NULL;
}

/* Room among the firsts, where that is one: of a key with a name, which has nothing there yet. */
static struct repeat *first_room(struct audit *a, const struct audit_entry *entry)
{
    if (entry->name == NULL || entry->key == NULL)
        return NULL;
    for (size_t i = 0; i < AUDIT_KEYS; i++) {
        if (a->firsts[i].used && key_equal(a->firsts[i].key, entry->key))
            return NULL;
    }
    return room_in(a->firsts, AUDIT_KEYS);
}

static bool leaves_room(const struct audit *a, const struct audit_entry *entry)
{
    size_t unknown = 0;

    for (size_t i = 0; i < AUDIT_REPEATS; i++)
        unknown += a->repeats[i].used && !a->repeats[i].known;
    return entry->name != NULL || unknown < UNKNOWN_REPEATS;
}

/* Where such an entry is counted; NULL: among the others. */
static struct repeat *repeat_find(struct audit *a, const struct audit_entry *entry)
{
    struct repeat *r = same_in(a->firsts, AUDIT_KEYS, entry);

    if (r == NULL)
        r = same_in(a->repeats, AUDIT_REPEATS, entry);
    if (r == NULL)
        r = first_room(a, entry);
    if (r == NULL && leaves_room(a, entry))
        r = room_in(a->repeats, AUDIT_REPEATS);
    return r;
}

static void repeat_begin(struct repeat *r, uint64_t now, const struct audit_entry *entry)
{
    *r = (struct repeat){.used = true, .known = entry->name != NULL, .since = now};
    r->has_key = entry->key != NULL;
    if (r->has_key)
        memcpy(r->key, entry->key, KEY_SIZE);
    snprintf(r->name, sizeof r->name, "%s", r->known ? entry->name : "");
    snprintf(r->act, sizeof r->act, "%s", entry->act);
}

static void repeat_count(struct repeat *r, const struct audit_entry *entry)
{
    r->count++;
    snprintf(r->error, sizeof r->error, "%s", entry->error != NULL ? entry->error : "");
}

/* Tells what is counted. What comes on goes on being counted; what has ended makes room. */
static void repeat_tell(struct audit *a, struct repeat *r, uint64_t now)
{
    struct audit_entry entry = {.act = r->act, .outcome = AUDIT_DENIED, .count = r->count};

    if (r->count == 0) {
        r->used = false;
        return;
    }
    entry.name = r->known ? r->name : NULL;
    entry.key = r->has_key ? r->key : NULL;
    entry.error = *r->error != '\0' ? r->error : NULL;
    emit(a, &entry);
    r->count = 0;
    r->since = now;
}

static void denied(struct audit *a, uint64_t now, const struct audit_entry *entry)
{
    static const struct audit_entry others = {.act = "others"};
    struct repeat *r = repeat_find(a, entry);

    if (r == NULL) {
        if (!a->others.used)
            repeat_begin(&a->others, now, &others);
        repeat_count(&a->others, entry);
    } else if (r->used) {
        repeat_count(r, entry);
    } else {
        repeat_begin(r, now, entry);
        emit(a, entry);
    }
}

void audit_write(struct audit *a, uint64_t now, const struct audit_entry *entry)
{
    if (entry->outcome == AUDIT_DENIED)
        denied(a, now, entry);
    else
        emit(a, entry);
}

static void tick(struct audit *a, struct repeat *repeats, size_t n, uint64_t now)
{
    for (size_t i = 0; i < n; i++) {
        if (repeats[i].used && now - repeats[i].since >= AUDIT_WINDOW_MS)
            repeat_tell(a, &repeats[i], now);
    }
}

void audit_tick(struct audit *a, uint64_t now)
{
    tick(a, a->firsts, AUDIT_KEYS, now);
    tick(a, a->repeats, AUDIT_REPEATS, now);
    tick(a, &a->others, 1, now);
}

void audit_close(struct audit *a)
{
    if (a == NULL)
        return;
    audit_tick(a, UINT64_MAX);
    if (a->fd >= 0)
        close(a->fd);
    free(a->path);
    free(a);
}
