#include "daemon/subnet_conflict.h"

#include <errno.h>
#include <net/if.h>
#include <net/route.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/sysctl.h>

#include "io/log.h"

enum {
    SPARE_BYTES = 4096,     /* for routes that come between the question how many there are and for them */
    VMNET_BRIDGE_MIN = 100, /* bridge100 and on are vmnet's; a user's begin at bridge0 */
};

#define HALF_MASK UINT32_C(0x80000000) /* of 0.0.0.0/1, which VPNs make of the default route */

struct route {
    uint32_t to, mask;
    unsigned index;
};

/* As sockaddrs lie in a routing message: each padded to 4 bytes, a masks's cut behind its last bits. */
static size_t padded(const struct sockaddr *address)
{
    const size_t len = address->sa_len;
    return len == 0 ? sizeof(uint32_t) : (len + sizeof(uint32_t) - 1) & ~(sizeof(uint32_t) - 1);
}

static uint32_t address_of(const struct sockaddr *address)
{
    struct sockaddr_in in = {.sin_port = 0};
    memcpy(&in, address, address->sa_len < sizeof(in) ? address->sa_len : sizeof(in));
    return ntohl(in.sin_addr.s_addr);
}

static bool read_route(const struct rt_msghdr *message, struct route *ret)
{
    const char *at = (const char *)(message + 1), *end = (const char *)message + message->rtm_msglen;
    *ret = (struct route){.index = message->rtm_index};
    if (!(message->rtm_flags & RTF_UP) ||
        message->rtm_flags & (RTF_WASCLONED | RTF_MULTICAST | RTF_BROADCAST | RTF_REJECT | RTF_BLACKHOLE))
        return false;
    if (message->rtm_flags & RTF_HOST)
        ret->mask = UINT32_MAX;
    for (int bit = RTA_DST; bit <= RTA_NETMASK && end - at >= (ptrdiff_t)sizeof(uint32_t); bit <<= 1) {
        const struct sockaddr *address = (const struct sockaddr *)(const void *)at;
        if (!(message->rtm_addrs & bit))
            continue;
        if ((ptrdiff_t)padded(address) > end - at)
            return false;
        if (bit == RTA_DST)
            ret->to = address_of(address);
        else if (bit == RTA_NETMASK)
            ret->mask = address_of(address);
        at += padded(address);
    }
    return ret->mask > HALF_MASK;
}

/* Interfaces of vmnet with the same subnet share its bridge: that is no conflict, be it ours or another's. */
static bool is_vmnets(const char *name, const struct route *route, uint32_t address, uint32_t netmask)
{
    return strncmp(name, "bridge", 6) == 0 && strtol(name + 6, NULL, 10) >= VMNET_BRIDGE_MIN &&
           route->mask == netmask && (route->to & netmask) == (address & netmask);
}

static unsigned prefix_of(uint32_t mask)
{
    unsigned prefix = 0;
    for (; mask & HALF_MASK; mask <<= 1)
        prefix++;
    return prefix;
}

static bool look_at(const struct route *route, uint32_t address, uint32_t netmask, const char *own_interface,
                    char *ret_with, size_t with_size)
{
    char name[IF_NAMESIZE] = "", shown[4 * IF_NAMESIZE];
    const uint32_t common = netmask & route->mask;
    if ((route->to & common) != (address & common))
        return false;
    if (!if_indextoname(route->index, name))
        name[0] = 0;
    if ((own_interface[0] && strcmp(name, own_interface) == 0) || is_vmnets(name, route, address, netmask))
        return false;
    snprintf(ret_with, with_size, "%u.%u.%u.%u/%u%s%s", route->to >> 24, route->to >> 16 & 0xFF,
             route->to >> 8 & 0xFF, route->to & 0xFF, prefix_of(route->mask), name[0] ? " via " : "",
             log_escape(name, shown, sizeof(shown)));
    return true;
}

/* The table of routes, to be freed, or NULL. */
static char *read_table(size_t *ret_len)
{
    int what[] = {CTL_NET, PF_ROUTE, 0, AF_INET, NET_RT_DUMP, 0};
    enum { N_WHAT = sizeof(what) / sizeof(what[0]) };
    if (sysctl(what, N_WHAT, NULL, ret_len, NULL, 0) < 0)
        return NULL;
    *ret_len += SPARE_BYTES;
    char *table = malloc(*ret_len);
    if (table && sysctl(what, N_WHAT, table, ret_len, NULL, 0) == 0)
        return table;
    free(table);
    return NULL;
}

int subnet_conflict_find(uint32_t address, uint32_t netmask, const char *own_interface, char *ret_with,
                         size_t with_size)
{
    size_t len = 0;
    char *table = read_table(&len);
    bool is_found = false;
    for (size_t at = 0; table && !is_found && at + sizeof(struct rt_msghdr) <= len;) {
        const struct rt_msghdr *message = (const struct rt_msghdr *)(const void *)(table + at);
        struct route route;
        if (message->rtm_msglen < sizeof(*message) || message->rtm_msglen > len - at)
            break;
        is_found = read_route(message, &route) &&
                   look_at(&route, address, netmask, own_interface, ret_with, with_size);
        at += message->rtm_msglen;
    }
    free(table);
    return is_found ? -EADDRINUSE : 0;
}
