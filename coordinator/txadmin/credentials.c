/* credentials: as whom txadmin speaks to coordinators, and which of them it believes. See txadmin.h. */
#include <stdio.h>

#include "coordinator/txadmin/txadmin.h"
#include "libtx/shared/channel.h"
#include "libtx/shared/security.h"

static struct security security;
static struct channel_security channel_security;
static bool is_open;

static bool is_coordinator(void *ctx, const uint8_t key[KEY_SIZE])
{
    const struct key_entry *k = keyring_find(&security.ring, key);

    (void)ctx;
    return k != NULL && (k->roles & ROLE_COORDINATOR) != 0;
}

/* Once: one run asks many questions. */
static int open_once(const struct arguments *a, struct tx_error *e)
{
    struct security_options options = {
        .identity = a->identity, .keys = a->keys, .insecure = a->insecure, .purpose = "txadmin"};
    int rc;

    if (is_open)
        return TX_OK;
    rc = security_environment(&options, e);
    if (rc == TX_OK)
        rc = security_open(&security, &options, e);
    if (rc != TX_OK)
        return rc;
    channel_security = (struct channel_security){.self = &security.self, .accept = is_coordinator};
    is_open = true;
    return TX_OK;
}

enum exit_status credentials_open(const struct arguments *a, const struct channel_security **out)
{
    struct tx_error e;
    int rc = open_once(a, &e);

    if (rc == TX_OK)
        rc = security_check_address(&security, "coordinators", a->coordinators, &e);
    if (rc != TX_OK) {
        complain("%s", e.msg);
        return EXIT_USAGE;
    }
    *out = security.insecure ? NULL : &channel_security;
    return EXIT_DONE;
}

void credentials_close(void)
{
    if (is_open)
        security_release(&security);
    is_open = false;
}
