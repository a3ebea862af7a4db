/* notify: see notify.h. */
#include "libtx/shared/daemon/notify.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { MESSAGE_SIZE = 512 };

/* A path, or with @ in front a name of the abstract namespace (unix(7)). 0: not to be used. */
static socklen_t find_socket(struct sockaddr_un *to)
{
    const char *path = getenv("NOTIFY_SOCKET");
    size_t n = path == NULL ? 0 : strlen(path);

    if (n < 2 || n >= sizeof to->sun_path || (*path != '/' && *path != '@'))
        return 0;
    *to = (struct sockaddr_un){.sun_family = AF_UNIX};
    memcpy(to->sun_path, path, n);
    if (*path == '@')
        to->sun_path[0] = '\0';
    return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n);
}

void notify(const char *format, ...)
{
    struct sockaddr_un to;
    socklen_t length = find_socket(&to);
    char message[MESSAGE_SIZE];
    va_list args;
    int n, fd;

    va_start(args, format);
    n = vsnprintf(message, sizeof message, format, args);
    va_end(args);
    fd = length == 0 || n < 0 ? -1 : socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return;
    /* It waits for a manager that is slow to read: a READY that is lost would never be sent again. */
    (void)sendto(fd, message, n < MESSAGE_SIZE ? (size_t)n : MESSAGE_SIZE - 1, MSG_NOSIGNAL,
                 (struct sockaddr *)&to, length);
    close(fd);
}
