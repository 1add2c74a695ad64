/* daemon/nat_rules.h - the packet filter of one network with a TAP, as text for nftables
 *
 * How it works
 *   A table of its own, "vmswitch-<network>", with the flag "owner": the kernel removes it when the process
 * that made it ends, however it ends, and lets nobody else change or flush it. Each text replaces the whole
 * table in one transaction. What it does in mode shared:
 * - guests leave with the host's address (masquerade); a source that is not of the subnet is dropped, and so
 * is IPv6, of which they have none of the host's;
 * - outside gets in by forwards and as an answer alone;
 * - forwards are DNAT, for what comes from outside, from guests and from the host itself;
 * - what the host sends to a forward of its loopback is given the gateway's address before the way is chosen,
 * and the answer 127.0.0.1 again when it has arrived. So no interface has to let loopback addresses through
 * (route_localnet), which guests could use.
 * In mode host: nothing passes between guests and anything behind the host.
 *
 * Pure: text out of numbers and of names that were checked. Nothing of it is a client's words.
 */
#ifndef DAEMON_NAT_RULES_H
#define DAEMON_NAT_RULES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "api/network_spec.h"

#define NAT_TABLE_PREFIX "vmswitch-"

enum { NAT_RULES_SIZE = 48 * 1024 };

struct nat_plan {
    const char *network; /* a valid name */
    const char *tap;     /* vmswN */
    bool is_host_only;   /* mode host: of the rest only 'network' and 'tap' count */
    uint32_t gateway, netmask;
    uint32_t n_forwards;
    const struct network_forward *forwards; /* those that are to work; a host address each */
};

/* Returns 0, or -ENOBUFS if 'size' is too short: NAT_RULES_SIZE does for NETWORK_FORWARDS_MAX. */
int nat_rules_write(const struct nat_plan *plan, char *text, size_t size);

#endif
