#include "daemon/address_watch.h"

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <net/route.h>
#include <stddef.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MESSAGE_MAX = 2048 };

int address_watch_open(void)
{
    const int fd = socket(PF_ROUTE, SOCK_RAW, AF_UNSPEC);
    if (fd < 0)
        return -errno;
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    fcntl(fd, F_SETFL, O_NONBLOCK);
    return fd;
}

/* Most are about routes to single neighbours, which come and go all the time. */
static bool is_of_interest(const struct rt_msghdr *head, size_t n)
{
    return n >= offsetof(struct rt_msghdr, rtm_index) &&
           (head->rtm_type == RTM_DELADDR || head->rtm_type == RTM_IFINFO);
}

int address_watch_read(int fd)
{
    union {
        struct rt_msghdr head;
        char bytes[MESSAGE_MAX];
    } message;
    int found = 0;
    for (;;) {
        const ssize_t n = recv(fd, &message, sizeof(message), MSG_DONTWAIT);
        if (n > 0)
            found |= is_of_interest(&message.head, (size_t)n);
        else if (n < 0 && errno == ENOBUFS) /* some were lost */
            found = 1;
        else if (n < 0 && errno == EAGAIN)
            return found;
        else if (n == 0 || errno != EINTR)
            return n == 0 ? -EPIPE : -errno;
    }
}
