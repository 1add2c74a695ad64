/* daemon/dhcp_leases.h - dnsmasq's file of leases: "EXPIRY MAC ADDRESS NAME ID", a line a lease
 *
 * Pure. Names and ids are guests' words, so a line that is not understood is nobody's lease, and stays.
 */
#ifndef DAEMON_DHCP_LEASES_H
#define DAEMON_DHCP_LEASES_H

#include <stdint.h>

struct dhcp_lease {
    uint64_t expiry;  /* in s */
    uint32_t address; /* host byte order */
};

/* Fills 'leases' with those that run out first, in that order, at most 'max'. Returns how many there are in
 * all. */
unsigned dhcp_leases_oldest(const char *text, struct dhcp_lease *leases, unsigned max);

/* Takes the lines of the 'n' addresses out of 'text'. Returns how many lines those were. */
unsigned dhcp_leases_remove(char *text, const uint32_t *addresses, unsigned n);

/* Takes out the leases of addresses outside a subnet. Returns how many those were. */
unsigned dhcp_leases_keep_subnet(char *text, uint32_t address, uint32_t netmask);

/* Takes out every line that is no lease as dnsmasq writes them: five printable words, of which the first
 * three are a number, a hardware address and an IPv4 address. An unfinished last line is none. Returns how
 * many those were. */
unsigned dhcp_leases_keep_valid(char *text);

#endif
