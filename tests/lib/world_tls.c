/* world_tls: see world.h. Certificates by the openssl command, with authorities of the world's own. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/lib/world_impl.h"

const char *world_tls_file(const struct world *w, const char *name, const char *type, char out[WORLD_PATH_SIZE])
{
    snprintf(out, WORLD_PATH_SIZE, "%.*s/tls-%s.%s", WORLD_PATH_SIZE - WORLD_NAME_SIZE - 12, w->dir, name,
             type);
    return out;
}

/* openssl's own would add extensions. */
static const char *configuration(struct world *w, char out[WORLD_PATH_SIZE])
{
    FILE *f = fopen(world_tls_file(w, "openssl", "cnf", out), "w");

    if (f == NULL || fputs("[req]\ndistinguished_name = name\n[name]\n", f) < 0 || fclose(f) != 0)
        world_fail(w, "%s cannot be written", out);
    return out;
}

static void make(struct world *w, const char *name, const char *subject, const char *const *more)
{
    char config[WORLD_PATH_SIZE], certificate[WORLD_PATH_SIZE], key[WORLD_PATH_SIZE], subj[WORLD_NAME_SIZE + 8];
    const char *argv[WORLD_ARG_LIMIT + 1] = {
        "/usr/bin/env",
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-days",
        "2",
        "-config",
        configuration(w, config),
        "-subj",
        subj,
        "-keyout",
        world_tls_file(w, name, "key", key),
        "-out",
        world_tls_file(w, name, "crt", certificate),
    };
    struct world_output o;
    size_t n = 0;

    snprintf(subj, sizeof subj, "/CN=%s", subject);
    while (argv[n] != NULL)
        n++;
    for (; *more != NULL; more++)
        argv[n++] = *more;
    o = world_run(w, argv);
    if (o.code != 0)
        world_fail(w, "openssl: %s%s", o.text, o.error);
    world_output_release(&o);
}

void world_tls_authority(struct world *w, const char *name)
{
    make(w, name, name, WORLD_ARGS("-addext", "basicConstraints=critical,CA:TRUE"));
}

void world_tls_certificate(struct world *w, const char *authority, const char *name, const char *subject)
{
    char ca[WORLD_PATH_SIZE], ca_key[WORLD_PATH_SIZE], alternative[WORLD_NAME_SIZE + 32];

    snprintf(alternative, sizeof alternative, "subjectAltName=DNS:%s", subject);
    make(w, name, subject,
         WORLD_ARGS("-CA", world_tls_file(w, authority, "crt", ca), "-CAkey",
                    world_tls_file(w, authority, "key", ca_key), "-addext", "basicConstraints=CA:FALSE",
                    "-addext", alternative));
}

void world_tls_give_to_servers(struct world *w, const char *name)
{
    char key[WORLD_PATH_SIZE];

    world_server_give(w, world_tls_file(w, name, "key", key));
}
