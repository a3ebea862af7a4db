/* notify: tells a service manager how far the daemon is, by the protocol of sd_notify(3): a datagram of lines
 * «NAME=value» to the socket that NOTIFY_SOCKET names. Called by the mains of txcoordd and txagentd.
 */
#ifndef ASSENT_NOTIFY_H
#define ASSENT_NOTIFY_H

/* notify("READY=1\nSTATUS=leads"). Does nothing where nobody is to be told, or nobody listens. */
void notify(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
