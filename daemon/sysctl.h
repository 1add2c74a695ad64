/* daemon/sysctl.h - settings of the kernel's network, of interfaces of ours (Linux) */
#ifndef DAEMON_SYSCTL_H
#define DAEMON_SYSCTL_H

#include <stdbool.h>

/* Each sets one of an interface: that it forwards IPv4 (forwarding), that the host answers no ARP there
 * (arp_ignore), that it gets no IPv6 address by itself (addr_gen_mode). Needs CAP_NET_ADMIN. Returns 0 or a
 * negative errno. */
int sysctl_forward_ipv4(const char *interface);
int sysctl_ignore_arp(const char *interface);
int sysctl_have_no_ipv6(const char *interface);

/* Whether any interface of this host but those of ours (vmswN) forwards IPv4, as net.ipv4.ip_forward makes
 * all do. */
bool sysctl_forwards_ipv4(void);

#endif
