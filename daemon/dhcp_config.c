#include "daemon/dhcp_config.h"

#include <errno.h>
#include <stdio.h>

#include "api/address.h"
#include "switch/mac.h"

/* No address is pinged before it is given: that took 3 s a guest, and the right to open raw sockets. */
static const char always[] = "# Made by vmswitchd for the network %s; changes are lost.\n"
                             "interface=%s\n"
                             "except-interface=lo\n"
                             "bind-interfaces\n"
                             "no-hosts\n"
                             "no-ping\n"
                             "dhcp-authoritative\n"
                             "quiet-dhcp\n"
                             "dhcp-name-match=set:no-name,wpad\n" /* CERT VU#598349 */
                             "dhcp-ignore-names=tag:no-name\n";

/* No way out: no default route, and of names only the guests' own. What else is asked for is REFUSED, so that
 * a guest with another network as well asks there. */
static const char host_only[] = "no-resolv\n"
                                "dhcp-option=option:router";

int dhcp_config_write(const struct network_spec *spec, const char *tap, char *text, size_t size)
{
    const bool is_host = spec->mode == MODE_HOST;
    char first[IPV4_TEXT_SIZE], last[IPV4_TEXT_SIZE], netmask[IPV4_TEXT_SIZE], gateway[IPV4_TEXT_SIZE];
    ipv4_format(spec->ipv4.gateway + 1, first);
    ipv4_format(spec->ipv4.dhcp_end, last);
    ipv4_format(spec->ipv4.netmask, netmask);
    ipv4_format(spec->ipv4.gateway, gateway);
    int n = snprintf(text, size, always, spec->name, tap);
    if (n < 0 || (size_t)n >= size)
        return -ENOBUFS;
    if (!spec->ipv4.dhcp)
        return 0;
    const size_t left = size - (size_t)n;
    n = snprintf(text + n, left,
                 "dhcp-range=%s,%s,%s,1h\n"
                 "dhcp-lease-max=%u\n"
                 "%s%s\n"
                 "dhcp-option=option:dns-server,%s\n"
                 "dhcp-option=option:mtu,%u\n",
                 first, last, netmask, spec->ipv4.dhcp_end - spec->ipv4.gateway,
                 is_host ? host_only : "dhcp-option=option:router,", is_host ? "" : gateway, gateway,
                 spec->mtu);
    return n < 0 || (size_t)n >= left ? -ENOBUFS : 0;
}

int dhcp_config_write_hosts(const struct network_spec *spec, char *text, size_t size)
{
    size_t len = 0;
    text[0] = '\0';
    for (uint32_t i = 0; i < spec->ipv4.n_reservations; i++) {
        char mac[MAC_TEXT_SIZE], address[IPV4_TEXT_SIZE];
        mac_format(spec->ipv4.reservations[i].mac, mac);
        ipv4_format(spec->ipv4.reservations[i].address, address);
        const int n = snprintf(text + len, size - len, "%s,%s\n", mac, address);
        if (n < 0 || (size_t)n >= size - len)
            return -ENOBUFS;
        len += (size_t)n;
    }
    return 0;
}
