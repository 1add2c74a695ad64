#include "daemon/notify.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

#include "io/log.h"

/* Returns 0 if there is no such variable or it is no number. */
static uint64_t number_of(const char *variable)
{
    const char *text = getenv(variable);
    char *end = NULL;
    if (!text || *text < '0' || *text > '9')
        return 0;
    errno = 0;
    unsigned long long number = strtoull(text, &end, 10);
    return errno || *end ? 0 : number;
}

void notify_take(struct notify *ret_notify)
{
    const char *path = getenv("NOTIFY_SOCKET");
    const uint64_t watchdog_us = number_of("WATCHDOG_USEC");
    *ret_notify = (struct notify){.address.sun_family = AF_UNIX};
    if (!path || !path[0])
        return;
    const size_t len = strlen(path);
    if ((path[0] != '/' && path[0] != '@') || len >= sizeof(ret_notify->address.sun_path)) {
        log_warn("NOTIFY_SOCKET names no unix socket: the service manager is not told how we are");
        return;
    }
    memcpy(ret_notify->address.sun_path, path, len);
    if (path[0] == '@') /* of the abstract name space; its name is not NUL-terminated */
        ret_notify->address.sun_path[0] = '\0';
    ret_notify->address_len =
        (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len + (path[0] == '/' ? 1 : 0));
    /* Twice as often as asked: one that comes late is none that hangs. */
    if (!getenv("WATCHDOG_PID") || number_of("WATCHDOG_PID") == (uint64_t)getpid())
        ret_notify->watchdog_ms = watchdog_us / 2000;
}

void notify_send(const struct notify *notify, const char *assignments)
{
    const struct timeval limit = {.tv_usec = NOTIFY_WAIT_MS * 1000};
    if (!notify->address_len)
        return;
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)) < 0 ||
        sendto(fd, assignments, strlen(assignments), MSG_NOSIGNAL, (const struct sockaddr *)&notify->address,
               notify->address_len) < 0)
        log_warn("the service manager could not be told: %s", strerror(errno));
    if (fd >= 0)
        close(fd);
}
