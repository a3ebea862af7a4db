/* outbox: see outbox.h. */
#include "participant/outbox.h"

#include <stdlib.h>
#include <string.h>
#include <utlist.h>

enum {
    OUTBOX_LIMIT = 8192,
    OUTBOX_BYTES = 8 << 20,             /* answers to inquiries can be long */
    PULL_BYTES = MESSAGE_LIMIT - 65536, /* of reports in one message; the rest is for resources */
    REPORT_OVERHEAD = 96,               /* encoded, without its texts */
};

struct held_report {
    struct held_report *prev, *next;
    uint64_t serial, pull; /* pull: number of the first that carried it; 0: none has */
    size_t bytes;
    struct wire_report report; /* its strings are in text */
    char text[];
};

void outbox_init(struct outbox *r)
{
    memset(r, 0, sizeof *r);
}

static void outbox_drop(struct outbox *r, struct held_report *h)
{
    DL_DELETE(r->list, h);
    r->n--;
    r->bytes -= h->bytes;
    r->received = h->serial;
    free(h);
}

void outbox_release(struct outbox *r)
{
    while (r->list != NULL)
        outbox_drop(r, r->list);
}

static size_t outbox_size(const char *s)
{
    return s == NULL ? 0 : strlen(s) + 1;
}

static const char *outbox_copy(char **to, const char *s)
{
    char *at = *to;

    if (s == NULL)
        return NULL;
    *to = stpcpy(at, s) + 1;
    return at;
}

bool outbox_put(struct outbox *r, const struct wire_report *report)
{
    size_t strings = outbox_size(report->resource) + outbox_size(report->proof) + outbox_size(report->text);
    struct held_report *h;
    char *at;

    if (r->n == OUTBOX_LIMIT || r->bytes + strings > OUTBOX_BYTES)
        return false;
    h = calloc(1, sizeof *h + strings);
    if (h == NULL)
        return false;
    at = h->text;
    h->bytes = strings + REPORT_OVERHEAD;
    h->serial = ++r->last;
    h->report = *report;
    h->report.resource = outbox_copy(&at, report->resource);
    h->report.proof = outbox_copy(&at, report->proof);
    h->report.text = outbox_copy(&at, report->text);
    DL_APPEND(r->list, h);
    r->n++;
    r->bytes += h->bytes;
    return true;
}

size_t outbox_fill(struct outbox *r, uint64_t number, struct wire_report out[REPORT_LIMIT])
{
    struct held_report *h;
    size_t n = 0, bytes = 0;

    DL_FOREACH(r->list, h)
    {
        bytes += h->bytes;
        if (n == REPORT_LIMIT || bytes > PULL_BYTES)
            break;
        if (h->pull == 0)
            h->pull = number;
        out[n++] = h->report;
    }
    return n;
}

void outbox_received(struct outbox *r, uint64_t number)
{
    while (r->list != NULL && r->list->pull != 0 && r->list->pull <= number)
        outbox_drop(r, r->list);
}

bool outbox_fresh(const struct outbox *r)
{
    const struct held_report *h;
    size_t n = 0;

    DL_FOREACH(r->list, h)
    {
        if (n++ == REPORT_LIMIT)
            return false;
        if (h->pull == 0)
            return true;
    }
    return false;
}
