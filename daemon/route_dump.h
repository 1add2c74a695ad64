/* daemon/route_dump.h - macOS's table of IPv4 routes, as sysctl(NET_RT_DUMP) gives it, and what in it has a
 * subnet
 *
 * Pure: bytes in, a sentence out, so that it runs wherever its test does. That the bytes lie as written here
 * is asserted against the system's headers by subnet_conflict_darwin.c.
 */
#ifndef DAEMON_ROUTE_DUMP_H
#define DAEMON_ROUTE_DUMP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    /* struct rt_msghdr: where its fields begin, in the byte order of the machine. */
    ROUTE_DUMP_MSGLEN = 0,
    ROUTE_DUMP_INDEX = 4,
    ROUTE_DUMP_FLAGS = 8,
    ROUTE_DUMP_ADDRS = 12,
    ROUTE_DUMP_HEADER = 92,

    ROUTE_DUMP_UP = 0x1,
    ROUTE_DUMP_HOST = 0x4,
    /* RTF_REJECT, _BLACKHOLE, _WASCLONED, _BROADCAST, _MULTICAST: nobody is reached by these. */
    ROUTE_DUMP_NOT_REAL = 0x8 | 0x1000 | 0x20000 | 0x400000 | 0x800000,

    ROUTE_DUMP_DST = 0x1,
    ROUTE_DUMP_NETMASK = 0x4,

    ROUTE_DUMP_NAME_SIZE = 16, /* IF_NAMESIZE */
};

/* As if_indextoname(): puts the name into 'name', of ROUTE_DUMP_NAME_SIZE bytes, and returns it or NULL. */
typedef char *route_dump_name(unsigned index, char *name);

/* Looks for a route that has addresses of the subnet, as subnet_conflict_find() says; what vmnet itself has
 * for the same subnet is none. Returns true with "10.8.0.0/16 via utun4" in 'ret_with'. A message that is
 * damaged ends the search. */
bool route_dump_find(const uint8_t *dump, size_t len, uint32_t address, uint32_t netmask,
                     const char *own_interface, route_dump_name *name_of, char *ret_with, size_t with_size);

#endif
