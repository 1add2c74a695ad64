/* daemon/sysctl.h - settings of the kernel's network for one interface of ours (Linux) */
#ifndef DAEMON_SYSCTL_H
#define DAEMON_SYSCTL_H

#include <stdbool.h>

/* Sets net.<version>.conf.<interface>.<name>, with version "ipv4" or "ipv6". Needs CAP_NET_ADMIN. Returns 0
 * or a negative errno; -ENOENT where the kernel has no such thing. */
int sysctl_set(const char *version, const char *interface, const char *name, const char *value);

/* Whether this host forwards IPv4 (net.ipv4.ip_forward). */
bool sysctl_forwards_ipv4(void);

#endif
