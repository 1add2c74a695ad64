/* daemon/subnet_conflict_darwin.c - the table of routes is asked for here, and read by route_dump.c
 *
 * Compile-only where there is no Mac: what is here is one call, and the proof that the table lies as
 * route_dump.h says.
 */
#include "daemon/subnet_conflict.h"

#include <assert.h>
#include <errno.h>
#include <net/if.h>
#include <net/route.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/sysctl.h>

#include "daemon/route_dump.h"

enum { SPARE_BYTES = 4096 /* for routes that come between the question how many there are and for them */ };

static_assert(ROUTE_DUMP_MSGLEN == offsetof(struct rt_msghdr, rtm_msglen), "as the kernel lays it out");
static_assert(ROUTE_DUMP_INDEX == offsetof(struct rt_msghdr, rtm_index), "likewise");
static_assert(ROUTE_DUMP_FLAGS == offsetof(struct rt_msghdr, rtm_flags), "likewise");
static_assert(ROUTE_DUMP_ADDRS == offsetof(struct rt_msghdr, rtm_addrs), "likewise");
static_assert(ROUTE_DUMP_HEADER == sizeof(struct rt_msghdr), "likewise");
static_assert(ROUTE_DUMP_UP == RTF_UP && ROUTE_DUMP_HOST == RTF_HOST, "likewise");
static_assert(ROUTE_DUMP_NOT_REAL ==
                  (RTF_REJECT | RTF_BLACKHOLE | RTF_WASCLONED | RTF_BROADCAST | RTF_MULTICAST),
              "likewise");
static_assert(ROUTE_DUMP_DST == RTA_DST && ROUTE_DUMP_NETMASK == RTA_NETMASK, "likewise");
static_assert(ROUTE_DUMP_NAME_SIZE == IF_NAMESIZE, "if_indextoname() fills it");

/* To be freed, or NULL. */
static uint8_t *read_table(size_t *ret_len)
{
    int what[] = {CTL_NET, PF_ROUTE, 0, AF_INET, NET_RT_DUMP, 0};
    enum { N_WHAT = sizeof(what) / sizeof(what[0]) };
    if (sysctl(what, N_WHAT, NULL, ret_len, NULL, 0) < 0)
        return NULL;
    *ret_len += SPARE_BYTES;
    uint8_t *table = malloc(*ret_len);
    if (table && sysctl(what, N_WHAT, table, ret_len, NULL, 0) == 0)
        return table;
    free(table);
    return NULL;
}

int subnet_conflict_find(uint32_t address, uint32_t netmask, const char *own_interface, char *ret_with,
                         size_t with_size)
{
    size_t len = 0;
    uint8_t *table = read_table(&len);
    const bool is_found = table && route_dump_find(table, len, address, netmask, own_interface,
                                                   if_indextoname, ret_with, with_size);
    free(table);
    return is_found ? -EADDRINUSE : 0;
}
