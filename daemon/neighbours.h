/* daemon/neighbours.h - who answers on an interface: the kernel's ARP, asked (Linux) */
#ifndef DAEMON_NEIGHBOURS_H
#define DAEMON_NEIGHBOURS_H

#include <stdbool.h>
#include <stdint.h>

enum { NEIGHBOURS_MAX = 256, NEIGHBOURS_ANSWER_MS = 3500 /* three questions, a second apart */ };

/* Makes the kernel forget what it knows of the addresses (host byte order, at most NEIGHBOURS_MAX) and ask
 * for them anew. Needs CAP_NET_ADMIN. Returns 0 or a negative errno. */
int neighbours_ask(const char *interface, const uint32_t *addresses, unsigned n);

/* NEIGHBOURS_ANSWER_MS later: sets ret_alive[i] if addresses[i] has answered. Returns 0 or a negative errno.
 */
int neighbours_look(const char *interface, const uint32_t *addresses, unsigned n, bool *ret_alive);

#endif
