/* daemon/dhcp_config.h - what a network's dnsmasq is told, as its files have it
 *
 * Pure: text out of numbers and of names that were checked.
 */
#ifndef DAEMON_DHCP_CONFIG_H
#define DAEMON_DHCP_CONFIG_H

#include <stddef.h>

#include "api/network_spec.h"

enum { DHCP_CONFIG_SIZE = 2048, DHCP_HOSTS_SIZE = NETWORK_RESERVATIONS_MAX * 48 };

/* dnsmasq.conf: DNS and, where the network has it, DHCP, on the TAP alone. Each returns 0 or -ENOBUFS. */
int dhcp_config_write(const struct network_spec *spec, const char *tap, char *text, size_t size);

/* The hosts file: a line for each reservation. */
int dhcp_config_write_hosts(const struct network_spec *spec, char *text, size_t size);

#endif
