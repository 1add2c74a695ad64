/* daemon/subnet_conflict.h - would a network's IPv4 subnet take addresses away from something this host
 * reaches?
 *
 * Asked before an interface with the subnet is made: afterwards the host would no longer reach what had it (a
 * VPN, an office network, another hypervisor's guests).
 */
#ifndef DAEMON_SUBNET_CONFLICT_H
#define DAEMON_SUBNET_CONFLICT_H

#include <stddef.h>
#include <stdint.h>

/* Host byte order. Default routes, and the halves that VPNs make of them (0.0.0.0/1, 128.0.0.0/1), are no
 * conflict; nor is what goes through 'own_interface' ("": there is none yet). Returns 0 if the subnet is free
 * or the system does not say, -EADDRINUSE with what has it in 'ret_with' ("10.8.0.0/16 via tun0"). Does not
 * block, needs no privilege. */
int subnet_conflict_find(uint32_t address, uint32_t netmask, const char *own_interface, char *ret_with,
                         size_t with_size);

#endif
