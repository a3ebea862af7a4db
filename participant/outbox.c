/* outbox: see outbox.h. */
#include "participant/outbox.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "libtx/shared/log.h"

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
    r->most = REPORT_LIMIT;
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

    if (r->most == 0 && r->trial == 0)
        r->trial = number;
    DL_FOREACH(r->list, h)
    {
        bytes += h->bytes;
        if (n == r->most || bytes > PULL_BYTES)
            break;
        if (h->pull == 0)
            h->pull = number;
        out[n++] = h->report;
    }
    return n;
}

/* Told once, though the coordinator may ask for it again and again. */
static void outbox_drop_refused(struct outbox *r, struct held_report *h)
{
    const struct wire_report *report = &h->report;
    char id[TXID_TEXT_SIZE];

    if (!txid_equal(&r->refused.id, &report->id) || r->refused.branch != report->branch ||
        r->refused.kind != report->kind) {
        txid_format(&report->id, id);
        log_line(
            LOG_ERROR, "report_refused",
            "transaction=%s branch=%u resource=%s report=%u error=\"the coordinator takes it for malformed; "
            "it is left out\"",
            id, (unsigned)report->branch, report->resource == NULL ? "" : report->resource,
            (unsigned)report->kind);
    }
    r->refused = (struct wire_report){.id = report->id, .branch = report->branch, .kind = report->kind};
    outbox_drop(r, h);
}

static void outbox_search(struct outbox *r, size_t most)
{
    r->most = most < REPORT_LIMIT ? most : REPORT_LIMIT;
    r->trial = 0;
}

void outbox_received(struct outbox *r, uint64_t number)
{
    size_t before = r->n;

    while (r->list != NULL && r->list->pull != 0 && r->list->pull <= number)
        outbox_drop(r, r->list);
    if (r->n < before)
        outbox_search(r, r->most * 2);
    if (r->trial == 0 || number < r->trial)
        return;
    if (r->list != NULL)
        outbox_drop_refused(r, r->list);
    outbox_search(r, REPORT_LIMIT);
}

bool outbox_refused(struct outbox *r, size_t n, const char *why)
{
    struct held_report *h;

    if (n == 0) {
        outbox_search(r, REPORT_LIMIT);
        return false;
    }
    log_line(LOG_DEBUG, "reports_refused", "reports=%zu error=\"%s\"", n, why);
    outbox_search(r, n / 2);
    DL_FOREACH(r->list, h)
    {
        h->pull = 0; /* what carried them was not taken in */
    }
    return true;
}

bool outbox_fresh(const struct outbox *r)
{
    const struct held_report *h;
    size_t n = 0;

    DL_FOREACH(r->list, h)
    {
        if (n++ == r->most)
            return false;
        if (h->pull == 0)
            return true;
    }
    return false;
}
