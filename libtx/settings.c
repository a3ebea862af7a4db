/* settings: see settings.h. */
#include "libtx/settings.h"

#include <stdlib.h>

#define DEFAULT_COORDINATORS "tcp://127.0.0.1:7401"

const char *settings_coordinators(const char *option)
{
    const char *known = option != NULL && *option != '\0' ? option : secure_getenv("ASSENT_COORDINATORS");

    return known != NULL && *known != '\0' ? known : DEFAULT_COORDINATORS;
}

int settings_security(const struct settings *s, struct security *out, struct tx_error *e)
{
    struct security_options o = {
        .identity = s->identity, .keys = s->keys, .insecure = s->insecure != 0, .purpose = "this program"};
    int rc = security_environment(&o, e);

    if (rc == TX_OK && o.identity == NULL && !o.insecure)
        rc = err_set(e, TX_EINVAL,
                     "identity: this program needs a key of its own: txadmin keygen FILE makes one, and the "
                     "option, or ASSENT_IDENTITY, names it; on a laptop ASSENT_INSECURE=1 will do");
    if (rc == TX_OK)
        rc = security_open(out, &o, e);
    if (rc == TX_OK)
        rc = security_check_address(out, "coordinators", settings_coordinators(s->coordinators), e);
    return rc;
}
