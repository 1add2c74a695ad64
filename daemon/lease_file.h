/* daemon/lease_file.h - the file in which a network's dnsmasq keeps its leases: "leases" in a folder of its
 * own
 *
 * dnsmasq writes it before it answers a guest, so that whoever dies, what was given stays given. It is
 * rewritten in place: one that dies in the middle of that, or a disk that fails, leaves a part of it.
 */
#ifndef DAEMON_LEASE_FILE_H
#define DAEMON_LEASE_FILE_H

#include <stdint.h>

#define LEASE_FILE "leases"
#define LEASE_FILE_DAMAGED "leases.damaged"

enum { LEASE_FILE_MAX = 8 * 1024 * 1024 };

/* Its text, to be freed; NULL: there is none, or it is longer than LEASE_FILE_MAX. */
char *lease_file_read(const char *folder);

/* Puts this in its place. dnsmasq must not run. Returns 0 or a negative errno. */
int lease_file_write(const char *folder, const char *text);

/* Looks it over before dnsmasq starts on a subnet, whose addresses alone are kept: others' leases would count
 * as if guests had them. One that is not what dnsmasq writes is set aside as "leases.damaged", which is
 * logged, and the leases in it that are whole are kept. Where there is none it makes one, 0600. */
void lease_file_mend(const char *folder, uint32_t address, uint32_t netmask);

#endif
