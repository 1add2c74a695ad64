/* tests/fake-sdk/fake_address_watch.c - daemon/address_watch.h by what Linux has in the place of a route
 * socket
 *
 * With FAKE_NO_ADDRESS_WATCH in the environment there is none.
 */
#include <errno.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon/address_watch.h"

enum { MESSAGES_MAX = 16384 };

static bool is_missing;

__attribute__((constructor)) static void read_environment(void)
{
    is_missing = getenv("FAKE_NO_ADDRESS_WATCH") != NULL;
}

int address_watch_open(void)
{
    const struct sockaddr_nl address = {.nl_family = AF_NETLINK, .nl_groups = RTMGRP_IPV4_IFADDR};
    if (is_missing)
        return -ENOSYS;
    const int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);
    if (fd >= 0 && bind(fd, (const struct sockaddr *)&address, sizeof(address)) == 0)
        return fd;
    const int error = errno;
    if (fd >= 0)
        close(fd);
    return -error;
}

int address_watch_read(int fd)
{
    union {
        struct nlmsghdr head;
        char bytes[MESSAGES_MAX];
    } message;
    int found = 0;
    for (;;) {
        const ssize_t n = recv(fd, &message, sizeof(message), MSG_DONTWAIT);
        if (n >= (ssize_t)sizeof(message.head))
            found |= message.head.nlmsg_type == RTM_DELADDR;
        else if (n < 0 && errno == ENOBUFS)
            found = 1;
        else if (n < 0 && errno == EAGAIN)
            return found;
        else if (n >= 0 || errno != EINTR)
            return -EPIPE;
    }
}
