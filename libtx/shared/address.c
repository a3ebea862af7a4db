/* address: see address.h. */
#include "libtx/shared/address.h"

#include <stdbool.h>
#include <string.h>

#include "libtx/shared/words.h"

const char *address_told(const struct address *a)
{
    return a->listen == NULL || a->advertise == NULL ? a->listen : a->advertise;
}

/* One end of a connection can listen everywhere, but the other cannot call everywhere. */
static bool address_is_everywhere(const char *address)
{
    static const char *const hosts[] = {"//*:", "//0.0.0.0:", "//[::]:"};

    for (size_t i = 0; i < sizeof hosts / sizeof *hosts; i++) {
        if (strstr(address, hosts[i]) != NULL)
            return true;
    }
    return false;
}

int address_check(const struct address *a, struct tx_error *e)
{
    const char *told = address_told(a);

    if (a->listen != NULL && *a->listen == '\0')
        return err_set(e, TX_EINVAL, "%s: is empty; write tcp://host:port or ipc:///path", a->listen_key);
    if (told == NULL || (*told != '\0' && strlen(told) <= ADDRESS_LIMIT && !address_is_everywhere(told)))
        return TX_OK;
    return err_set(e, TX_EINVAL, "%s: others cannot reach «%s»; write tcp://host:port as they see it%s%s",
                   a->advertise != NULL ? a->advertise_key : a->listen_key, told,
                   a->advertise != NULL ? "" : ", into ", a->advertise != NULL ? "" : a->advertise_key);
}
