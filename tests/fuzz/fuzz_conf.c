/* fuzz_conf: configuration files (conf.h). Input: one. Checked: numbers are in their bounds, and what is
 * refused says in which line. */
#include <stdlib.h>
#include <string.h>

#include "libtx/shared/conf.h"
#include "tests/fuzz/targets.h"

static struct {
    char *text;
    unsigned number, ms;
    size_t bytes;
    bool flag;
} settings;

static int take_each(void *target, const char *rest, const char *value, struct tx_error *e)
{
    (void)target;
    fuzz_check(*rest != '\0');
    return strcmp(value, "wrong") == 0 ? err_set(e, TX_EINVAL, "«%s» is wrong", value) : TX_OK;
}

static const struct conf_key keys[] = {
    {.name = "data_dir", .type = CONF_STRING, .target = &settings.text, .initial = "/var/lib"},
    {.name = "node_id", .type = CONF_UINT, .target = &settings.number, .initial = "1", .min = 1, .max = 99},
    {.name = "timeout",
     .type = CONF_DURATION,
     .target = &settings.ms,
     .initial = "30s",
     .min = 10,
     .max = 86400000},
    {.name = "segment", .type = CONF_SIZE, .target = &settings.bytes, .initial = "64k"},
    {.name = "insecure", .type = CONF_BOOL, .target = &settings.flag, .initial = "off"},
    {.name = "resource.", .type = CONF_EACH, .each = take_each},
    {.name = NULL},
};

void fuzz_conf_run(const uint8_t *data, size_t len)
{
    char *argv[] = {(char *)(uintptr_t) "fuzz", (char *)(uintptr_t) "--config", NULL, NULL};
    const char *path = fuzz_file(data, len);
    struct tx_error e = {0};
    int rc;

    argv[2] = (char *)(uintptr_t)path;
    rc = conf_load(keys, "fuzz", "", NULL, 3, argv, &e);
    if (rc != TX_OK)
        fuzz_check(rc == TX_EINVAL && e.code == rc && strncmp(e.msg, path, strlen(path)) == 0);
    fuzz_check(settings.number >= 1 && settings.number <= 99 && settings.ms >= 10 && settings.ms <= 86400000);
    fuzz_check(settings.text != NULL);
    conf_release(keys);
}

void fuzz_conf_seed(struct fuzz_sink *to)
{
    fuzz_put_text(to,
                  "# all of them\ndata_dir = /srv/assent\nnode_id = 3\ntimeout=5min\nsegment = 16M\n"
                  "insecure = on\nresource.bank_a = postgresql host=h dbname=a\nresource.bank_b= mariadb\n");
    fuzz_put_text(to, "node_idd = 3\n");
    fuzz_put_text(to, "timeout = 99999999999999999999d\n");
    fuzz_put_text(to, "node_id = 1\nnode_id = 1\n");
    fuzz_put_text(to, "resource.a = wrong\r\n");
}
