#include "daemon/route_dump.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/log.h"

enum {
    VMNET_BRIDGE_MIN = 100, /* bridge100 and on are vmnet's; a user's begin at bridge0 */
    ALIGN = 4,              /* of the addresses behind a message */
    SOCKADDR_ADDRESS = 4,   /* where struct sockaddr_in has its address */
    SOCKADDR_END = SOCKADDR_ADDRESS + 4,
};

#define HALF_MASK UINT32_C(0x80000000) /* of 0.0.0.0/1, which VPNs make of the default route */

struct route {
    uint32_t to, mask;
    unsigned index;
};

static unsigned get16(const uint8_t *at)
{
    uint16_t value;
    memcpy(&value, at, sizeof(value));
    return value;
}

static uint32_t get32(const uint8_t *at)
{
    uint32_t value;
    memcpy(&value, at, sizeof(value));
    return value;
}

/* Its first byte is its length; a mask's ends behind its last bits, and one of length 0 is all zero. */
static size_t padded(const uint8_t *address)
{
    const size_t len = address[0];
    return len == 0 ? ALIGN : (len + ALIGN - 1) / ALIGN * ALIGN;
}

/* In host byte order; bytes that are not there are 0. */
static uint32_t address_of(const uint8_t *address)
{
    uint32_t value = 0;
    for (unsigned i = SOCKADDR_ADDRESS; i < SOCKADDR_END; i++)
        value = value << 8 | (i < address[0] ? address[i] : 0);
    return value;
}

/* False for what is no route to somebody, and for the default route and its halves. */
static bool read_route(const uint8_t *message, size_t len, struct route *ret)
{
    const uint32_t flags = get32(message + ROUTE_DUMP_FLAGS), addrs = get32(message + ROUTE_DUMP_ADDRS);
    size_t at = ROUTE_DUMP_HEADER;
    *ret = (struct route){.index = get16(message + ROUTE_DUMP_INDEX)};
    if (!(flags & ROUTE_DUMP_UP) || flags & ROUTE_DUMP_NOT_REAL)
        return false;
    if (flags & ROUTE_DUMP_HOST)
        ret->mask = UINT32_MAX;
    for (uint32_t bit = ROUTE_DUMP_DST; bit <= ROUTE_DUMP_NETMASK && at + ALIGN <= len; bit <<= 1) {
        if (!(addrs & bit))
            continue;
        if (padded(message + at) > len - at)
            return false;
        if (bit == ROUTE_DUMP_DST)
            ret->to = address_of(message + at);
        else if (bit == ROUTE_DUMP_NETMASK)
            ret->mask = address_of(message + at);
        at += padded(message + at);
    }
    return ret->mask > HALF_MASK;
}

/* Interfaces of vmnet with the same subnet share its bridge: that is no conflict, be it ours or another's.
 * Nor is a single address behind it, which is the bridge's own or a guest's. */
static bool is_vmnets(const char *name, const struct route *route, uint32_t address, uint32_t netmask)
{
    return strncmp(name, "bridge", 6) == 0 && strtol(name + 6, NULL, 10) >= VMNET_BRIDGE_MIN &&
           (route->mask == netmask || route->mask == UINT32_MAX) &&
           (route->to & netmask) == (address & netmask);
}

static unsigned prefix_of(uint32_t mask)
{
    unsigned prefix = 0;
    for (; mask & HALF_MASK; mask <<= 1)
        prefix++;
    return prefix;
}

static void describe(const struct route *route, const char *name, char *ret_with, size_t with_size)
{
    char shown[4 * ROUTE_DUMP_NAME_SIZE];
    snprintf(ret_with, with_size, "%u.%u.%u.%u/%u%s%s", (unsigned)(route->to >> 24),
             (unsigned)(route->to >> 16 & 0xFF), (unsigned)(route->to >> 8 & 0xFF),
             (unsigned)(route->to & 0xFF), prefix_of(route->mask), name[0] ? " via " : "",
             log_escape(name, shown, sizeof(shown)));
}

bool route_dump_find(const uint8_t *dump, size_t len, uint32_t address, uint32_t netmask,
                     const char *own_interface, route_dump_name *name_of, char *ret_with, size_t with_size)
{
    size_t message_len;
    for (size_t at = 0; len - at >= ROUTE_DUMP_HEADER; at += message_len) {
        char name[ROUTE_DUMP_NAME_SIZE] = "";
        struct route route;
        message_len = get16(dump + at + ROUTE_DUMP_MSGLEN);
        if (message_len < ROUTE_DUMP_HEADER || message_len > len - at)
            return false;
        if (!read_route(dump + at, message_len, &route) ||
            (route.to & netmask & route.mask) != (address & netmask & route.mask))
            continue;
        if (!name_of(route.index, name))
            name[0] = 0;
        if ((own_interface[0] && strcmp(name, own_interface) == 0) ||
            is_vmnets(name, &route, address, netmask))
            continue;
        describe(&route, name, ret_with, with_size);
        return true;
    }
    return false;
}
