#include "daemon/sysctl.h"

#include <errno.h>
#include <linux/ip.h>
#include <linux/netconf.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <string.h>
#include <sys/socket.h>

#include "daemon/netlink.h"
#include "daemon/tap.h"

/* The macros of the kernel's headers cast const away, which clang says wherever they are used. */
#pragma GCC diagnostic ignored "-Wcast-qual"

/* IFLA_AF_SPEC { AF_INET { IFLA_INET_CONF { setting: value } } }, which is as good as writing to /proc/sys,
 * and works where that is hidden or read-only, as in a service's sandbox. */
struct set_request {
    struct nlmsghdr header;
    struct ifinfomsg link;
    struct rtattr spec, family, conf, setting;
    uint32_t value;
};

static struct rtattr attribute(uint16_t type, size_t len)
{
    return (struct rtattr){.rta_type = type, .rta_len = (uint16_t)len};
}

static int set(const char *interface, uint16_t setting, uint32_t value)
{
    const size_t head = sizeof(struct rtattr);
    const unsigned index = if_nametoindex(interface);
    const struct set_request request = {
        .header = {.nlmsg_len = sizeof(request),
                   .nlmsg_type = RTM_NEWLINK,
                   .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK},
        .link = {.ifi_family = AF_UNSPEC, .ifi_index = (int)index},
        .spec = attribute(IFLA_AF_SPEC, 4 * head + sizeof(value)),
        .family = attribute(AF_INET, 3 * head + sizeof(value)),
        .conf = attribute(IFLA_INET_CONF, 2 * head + sizeof(value)),
        .setting = attribute(setting, head + sizeof(value)),
        .value = value,
    };
    return index ? netlink_ask(&request.header) : -ENODEV;
}

int sysctl_forward_ipv4(const char *interface)
{
    return set(interface, IPV4_DEVCONF_FORWARDING, 1);
}

int sysctl_ignore_arp(const char *interface)
{
    return set(interface, IPV4_DEVCONF_ARP_IGNORE, 8); /* for all addresses of this host */
}

/* The same for IFLA_AF_SPEC { AF_INET6 { IFLA_INET6_ADDR_GEN_MODE: none } }. */
struct ipv6_request {
    struct nlmsghdr header;
    struct ifinfomsg link;
    struct rtattr spec, family, mode;
    uint8_t value[RTA_ALIGNTO];
};

int sysctl_have_no_ipv6(const char *interface)
{
    const size_t head = sizeof(struct rtattr);
    const unsigned index = if_nametoindex(interface);
    const struct ipv6_request request = {
        .header = {.nlmsg_len = sizeof(request),
                   .nlmsg_type = RTM_NEWLINK,
                   .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK},
        .link = {.ifi_family = AF_UNSPEC, .ifi_index = (int)index},
        .spec = attribute(IFLA_AF_SPEC, 3 * head + RTA_ALIGNTO),
        .family = attribute(AF_INET6, 2 * head + RTA_ALIGNTO),
        .mode = attribute(IFLA_INET6_ADDR_GEN_MODE, head + 1),
        .value = {IN6_ADDR_GEN_MODE_NONE},
    };
    return index ? netlink_ask(&request.header) : -ENODEV;
}

static bool is_ours(int index)
{
    char name[IF_NAMESIZE] = "";
    return index > 0 && if_indextoname((unsigned)index, name) &&
           strncmp(name, TAP_PREFIX, strlen(TAP_PREFIX)) == 0;
}

static bool is_loopback(int index)
{
    char name[IF_NAMESIZE] = "";
    return index > 0 && if_indextoname((unsigned)index, name) && strcmp(name, "lo") == 0;
}

static bool on_settings(void *ctx, struct nlmsghdr *entry)
{
    bool *forwards = ctx;
    int index = NETCONFA_IFINDEX_DEFAULT, is_on = 0;
    struct netconfmsg *settings = NLMSG_DATA(entry);
    struct rtattr *a = (void *)((char *)settings + NLMSG_ALIGN(sizeof(*settings)));
    unsigned left = (unsigned)NLMSG_PAYLOAD(entry, sizeof(*settings));
    if (entry->nlmsg_type != RTM_NEWNETCONF)
        return true;
    for (; RTA_OK(a, left); a = RTA_NEXT(a, left)) {
        if (RTA_PAYLOAD(a) != sizeof(int))
            continue;
        if (a->rta_type == NETCONFA_IFINDEX)
            memcpy(&index, RTA_DATA(a), sizeof(index));
        else if (a->rta_type == NETCONFA_FORWARDING)
            memcpy(&is_on, RTA_DATA(a), sizeof(is_on));
    }
    *forwards = is_on && index != NETCONFA_IFINDEX_DEFAULT && !is_ours(index) && !is_loopback(index);
    return !*forwards;
}

bool sysctl_forwards_ipv4(void)
{
    bool forwards = false;
    return netlink_dump(RTM_GETNETCONF, AF_INET, on_settings, &forwards) == 0 && forwards;
}
