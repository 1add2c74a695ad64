/* daemon/notify.h - tells the service manager how we are: systemd's sd_notify(3), without its library
 *
 * What it hears: READY=1 once every network that was there at the start is up or has said why not; STATUS=
 * with how many are; RELOADING=1, and READY=1 again; STOPPING=1; and WATCHDOG=1 in time, where it asked for
 * that. Where nobody asked to be told (NOTIFY_SOCKET is not set; launchd), nothing is sent.
 */
#ifndef DAEMON_NOTIFY_H
#define DAEMON_NOTIFY_H

#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

struct notify {
    struct sockaddr_un address;
    socklen_t address_len; /* 0: nobody listens */
    uint64_t watchdog_ms;  /* how often to say WATCHDOG=1; 0: never */
};

/* Reads the environment; call it before environment_reset(). */
void notify_take(struct notify *ret_notify);

/* Sends assignments, one a line. Nothing in them may come from a client or another role. Waits at most
 * NOTIFY_WAIT_MS for a service manager that is busy; after that it is not told. */
enum { NOTIFY_WAIT_MS = 100 };
void notify_send(const struct notify *notify, const char *assignments);

#endif
