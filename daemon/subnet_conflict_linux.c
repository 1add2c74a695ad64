#include "daemon/subnet_conflict.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "daemon/netlink.h"
#include "io/log.h"

/* The macros of the kernel's headers cast const away, which clang says wherever they are used. */
#pragma GCC diagnostic ignored "-Wcast-qual"

enum { DEFAULT_PREFIX_MAX = 1 }; /* 0.0.0.0/0, and the two halves of it */

struct search {
    uint32_t address, netmask;
    unsigned own_index; /* 0: none */
    bool is_found;
    char *with;
    size_t with_size;
};

static uint32_t mask_of(unsigned prefix)
{
    return prefix == 0 ? 0 : UINT32_MAX << (32 - prefix);
}

static void describe(const struct search *search, uint32_t to, unsigned prefix, unsigned index)
{
    char name[IF_NAMESIZE] = "", shown[4 * IF_NAMESIZE];
    const char *via = index && if_indextoname(index, name) ? log_escape(name, shown, sizeof(shown)) : "";
    snprintf(search->with, search->with_size, "%u.%u.%u.%u/%u%s%s", to >> 24, to >> 16 & 0xFF, to >> 8 & 0xFF,
             to & 0xFF, prefix, via[0] ? " via " : "", via);
}

static bool on_route(void *ctx, struct nlmsghdr *entry)
{
    struct search *search = ctx;
    struct rtmsg *route = NLMSG_DATA(entry);
    unsigned left = (unsigned)RTM_PAYLOAD(entry), index = 0;
    uint32_t to = 0;
    if (entry->nlmsg_type != RTM_NEWROUTE || route->rtm_family != AF_INET ||
        route->rtm_dst_len <= DEFAULT_PREFIX_MAX || route->rtm_dst_len > 32 ||
        (route->rtm_flags & (RTNH_F_DEAD | RTM_F_CLONED)) || route->rtm_type == RTN_BROADCAST ||
        route->rtm_type == RTN_MULTICAST)
        return true;
    for (struct rtattr *a = RTM_RTA(route); RTA_OK(a, left); a = RTA_NEXT(a, left)) {
        if (RTA_PAYLOAD(a) != sizeof(uint32_t))
            continue;
        if (a->rta_type == RTA_DST)
            memcpy(&to, RTA_DATA(a), sizeof(to));
        else if (a->rta_type == RTA_OIF)
            memcpy(&index, RTA_DATA(a), sizeof(index));
    }
    to = ntohl(to);
    const uint32_t common = search->netmask & mask_of(route->rtm_dst_len);
    if ((to & common) != (search->address & common) || (index && index == search->own_index))
        return true;
    describe(search, to, route->rtm_dst_len, index);
    search->is_found = true;
    return false;
}

int subnet_conflict_find(uint32_t address, uint32_t netmask, const char *own_interface, char *ret_with,
                         size_t with_size)
{
    struct search search = {.address = address,
                            .netmask = netmask,
                            .own_index = own_interface[0] ? if_nametoindex(own_interface) : 0,
                            .with = ret_with,
                            .with_size = with_size};
    return netlink_dump(RTM_GETROUTE, AF_INET, on_route, &search) == 0 && search.is_found ? -EADDRINUSE : 0;
}
