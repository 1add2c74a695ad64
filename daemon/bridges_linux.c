#include "daemon/bridges.h"

#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "daemon/interface_kind.h"
#include "daemon/netlink.h"

/* The macros of the kernel's headers cast const away, which clang says wherever they are used. */
#pragma GCC diagnostic ignored "-Wcast-qual"

struct listing {
    struct bridge *bridges;
    int n;
};

/* The text of an attribute, "" if it is none. */
static void copy_text(char *to, size_t size, const struct rtattr *a)
{
    const size_t len = strnlen(RTA_DATA(a), RTA_PAYLOAD(a));
    snprintf(to, size, "%.*s", (int)(len < size ? len : size - 1), (const char *)RTA_DATA(a));
}

static void read_kind(struct bridge *bridge, const struct rtattr *info)
{
    unsigned left = (unsigned)RTA_PAYLOAD(info);
    for (const struct rtattr *a = RTA_DATA(info); RTA_OK(a, left); a = RTA_NEXT(a, left))
        if (a->rta_type == IFLA_INFO_KIND)
            copy_text(bridge->type, sizeof(bridge->type), a);
    if (strcmp(bridge->type, "openvswitch") == 0)
        snprintf(bridge->type, sizeof(bridge->type), "ovs");
    else if (strcmp(bridge->type, "tun") == 0)
        snprintf(bridge->type, sizeof(bridge->type), "tap");
}

static bool on_link(void *ctx, struct nlmsghdr *entry)
{
    struct listing *listing = ctx;
    const struct ifinfomsg *link = NLMSG_DATA(entry);
    unsigned left = (unsigned)IFLA_PAYLOAD(entry);
    struct bridge bridge = {.type = "ethernet"}; /* what has no kind is a card */
    if (entry->nlmsg_type != RTM_NEWLINK || link->ifi_type != ARPHRD_ETHER ||
        (link->ifi_flags & IFF_LOOPBACK))
        return true;
    for (const struct rtattr *a = IFLA_RTA(link); RTA_OK(a, left); a = RTA_NEXT(a, left)) {
        if (a->rta_type == IFLA_IFNAME)
            copy_text(bridge.name, sizeof(bridge.name), a);
        else if ((a->rta_type & NLA_TYPE_MASK) == IFLA_LINKINFO)
            read_kind(&bridge, a);
    }
    if (interface_kind(bridge.name) == INTERFACE_KIND_WIFI)
        snprintf(bridge.type, sizeof(bridge.type), "wifi");
    if (bridge.name[0])
        listing->bridges[listing->n++] = bridge;
    return listing->n < BRIDGES_MAX;
}

int bridges_list(struct bridge ret_bridges[BRIDGES_MAX])
{
    struct listing listing = {.bridges = ret_bridges};
    int r = netlink_dump(RTM_GETLINK, AF_UNSPEC, on_link, &listing);
    return r < 0 ? r : listing.n;
}
