/* harden: see harden.h. */
#include "libtx/shared/daemon/harden.h"

#include <errno.h>
#include <linux/capability.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "libtx/shared/log.h"

enum { LOW_PORTS = 1024 };

struct capabilities {
    uint64_t effective, permitted, inheritable;
};

/* glibc has no function for the two system calls. */
static int capabilities_get(struct capabilities *c)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct half[_LINUX_CAPABILITY_U32S_3];

    if (syscall(SYS_capget, &header, half) != 0)
        return -1;
    c->effective = half[0].effective | (uint64_t)half[1].effective << 32;
    c->permitted = half[0].permitted | (uint64_t)half[1].permitted << 32;
    c->inheritable = half[0].inheritable | (uint64_t)half[1].inheritable << 32;
    return 0;
}

/* Effective and permitted; nothing can be inherited. */
static int capabilities_keep(uint64_t kept)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct half[_LINUX_CAPABILITY_U32S_3];

    for (unsigned i = 0; i < _LINUX_CAPABILITY_U32S_3; i++) {
        uint32_t bits = (uint32_t)(kept >> 32 * i);

        half[i] = (struct __user_cap_data_struct){.effective = bits, .permitted = bits};
    }
    return (int)syscall(SYS_capset, &header, half);
}

/* Without CAP_SETPCAP the bounding set stays as it is, and is of no use to anybody: nothing is gained by exec.
 */
static int bounding_drop(uint64_t kept)
{
    for (unsigned long cap = 0; prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; cap++) {
        if ((kept >> cap & 1) == 0 && prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) != 0)
            return -1;
    }
    return 0;
}

/* A process that has none makes no call for it: a system call filter may forbid these. */
static int capabilities_drop(bool low_ports)
{
    struct capabilities c;
    uint64_t kept;

    if (capabilities_get(&c) != 0)
        return -1;
    kept = low_ports ? c.permitted & UINT64_C(1) << CAP_NET_BIND_SERVICE : 0;
    if ((c.effective & UINT64_C(1) << CAP_SETPCAP) != 0 && bounding_drop(kept) != 0)
        return -1;
    if (c.effective == kept && c.permitted == kept && c.inheritable == 0)
        return 0;
    return capabilities_keep(kept); /* and with them goes what was ambient */
}

int harden(bool low_ports, struct tx_error *e)
{
    const struct rlimit none = {0, 0};

    umask(077);
    if (setrlimit(RLIMIT_CORE, &none) != 0)
        return err_set(e, TX_EIO, "cannot switch core dumps off: %s", strerror(errno));
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        return err_set(e, TX_EIO, "cannot set no_new_privs: %s", strerror(errno));
    if (capabilities_drop(low_ports) != 0)
        return err_set(e, TX_EIO, "cannot drop capabilities: %s", strerror(errno));
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0)
        return err_set(e, TX_EIO, "cannot close its memory to others: %s", strerror(errno));
    return TX_OK;
}

void harden_warn(const char *program)
{
    if (geteuid() != 0)
        return;
    log_line(LOG_WARN, "privileged",
             "user=root text=\"it has no need of root: give it a user of its own, as its systemd unit does "
             "(systemctl enable --now %s)\"",
             program);
}

bool harden_has_low_port(const char *addresses)
{
    while (addresses != NULL && *addresses != '\0') {
        size_t n = strcspn(addresses, ",");
        const char *colon = memrchr(addresses, ':', n);
        unsigned long port = colon == NULL ? 0 : strtoul(colon + 1, NULL, 10);

        if (port > 0 && port < LOW_PORTS)
            return true;
        addresses += n + (addresses[n] == ',' ? 1 : 0);
    }
    return false;
}
