/* daemon/interface_kind.h - is a network interface a cable or Wi-Fi?
 *
 * Asked because an access point knows one hardware address of each station: guests with addresses of their
 * own behind one are not what it is made for.
 */
#ifndef DAEMON_INTERFACE_KIND_H
#define DAEMON_INTERFACE_KIND_H

enum interface_kind { INTERFACE_KIND_UNKNOWN, INTERFACE_KIND_WIRED, INTERFACE_KIND_WIFI };

/* To who bridges a network to Wi-Fi. */
#define INTERFACE_WIFI_WARNING                                                                               \
    "its interface is Wi-Fi, and an access point carries frames of the Mac's own hardware address alone: "   \
    "guests that need one of their own get no address or lose it. Take a wired interface, or mode shared "   \
    "with forwards for what is to be reached"

/* UNKNOWN also for one that is not there. Does not block, needs no privilege. */
enum interface_kind interface_kind(const char *name);

#endif
