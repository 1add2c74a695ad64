#include "daemon/neighbours.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon/netlink.h"

/* The macros of the kernel's headers cast const away, which clang says wherever they are used. */
#pragma GCC diagnostic ignored "-Wcast-qual"

enum { DISCARD_PORT = 9 };

struct forget {
    struct nlmsghdr header;
    struct ndmsg neighbour;
    struct rtattr attribute;
    uint32_t address;
};

static void forget(int fd, unsigned index, uint32_t address)
{
    const struct forget request = {
        .header = {.nlmsg_len = sizeof(request), .nlmsg_type = RTM_DELNEIGH, .nlmsg_flags = NLM_F_REQUEST},
        .neighbour = {.ndm_family = AF_INET, .ndm_ifindex = (int)index},
        .attribute = {.rta_len = RTA_LENGTH(sizeof(address)), .rta_type = NDA_DST},
        .address = htonl(address),
    };
    /* No answer is asked for: one that is not known is as good as forgotten. */
    ssize_t n = send(fd, &request, sizeof(request), MSG_DONTWAIT);
    (void)n;
}

/* Any datagram has the kernel look for whom it is to. */
static void ask(int fd, uint32_t address)
{
    const struct sockaddr_in to = {
        .sin_family = AF_INET, .sin_port = htons(DISCARD_PORT), .sin_addr.s_addr = htonl(address)};
    ssize_t n = sendto(fd, "", 0, MSG_DONTWAIT, (const struct sockaddr *)&to, sizeof(to));
    (void)n;
}

int neighbours_ask(const char *interface, const uint32_t *addresses, unsigned n)
{
    const unsigned index = if_nametoindex(interface);
    int netlink = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    int inet = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    int r = netlink < 0 || inet < 0 || !index ? -errno : 0;
    if (r == 0 && setsockopt(inet, SOL_SOCKET, SO_BINDTODEVICE, interface, (socklen_t)strlen(interface)) < 0)
        r = -errno;
    for (unsigned i = 0; r == 0 && i < n; i++) {
        forget(netlink, index, addresses[i]);
        ask(inet, addresses[i]);
    }
    if (netlink >= 0)
        close(netlink);
    if (inet >= 0)
        close(inet);
    return r;
}

struct look {
    unsigned index, n;
    const uint32_t *addresses;
    bool *alive;
};

static bool on_neighbour(void *ctx, struct nlmsghdr *entry)
{
    const struct look *look = ctx;
    struct ndmsg *neighbour = NLMSG_DATA(entry);
    struct rtattr *a = (void *)((char *)neighbour + NLMSG_ALIGN(sizeof(*neighbour)));
    unsigned left = (unsigned)NLMSG_PAYLOAD(entry, sizeof(*neighbour));
    uint32_t address = 0;
    if (entry->nlmsg_type != RTM_NEWNEIGH || (unsigned)neighbour->ndm_ifindex != look->index ||
        !(neighbour->ndm_state & (NUD_REACHABLE | NUD_STALE | NUD_DELAY | NUD_PROBE | NUD_PERMANENT)))
        return true;
    for (; RTA_OK(a, left); a = RTA_NEXT(a, left))
        if (a->rta_type == NDA_DST && RTA_PAYLOAD(a) == sizeof(address))
            memcpy(&address, RTA_DATA(a), sizeof(address));
    for (unsigned i = 0; i < look->n; i++)
        if (look->addresses[i] == ntohl(address))
            look->alive[i] = true;
    return true;
}

int neighbours_look(const char *interface, const uint32_t *addresses, unsigned n, bool *ret_alive)
{
    struct look look = {
        .index = if_nametoindex(interface), .n = n, .addresses = addresses, .alive = ret_alive};
    memset(ret_alive, 0, n * sizeof(*ret_alive));
    return look.index ? netlink_dump(RTM_GETNEIGH, AF_INET, on_neighbour, &look) : -ENODEV;
}
