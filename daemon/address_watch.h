/* daemon/address_watch.h - word that the host has lost an address, or that an interface has changed
 *
 * A hint to look at once what would be looked at later anyway: it may come without reason, and where the
 * system has no such word it never comes.
 */
#ifndef DAEMON_ADDRESS_WATCH_H
#define DAEMON_ADDRESS_WATCH_H

#include <stdbool.h>

/* Returns a descriptor that is readable when there is word, close-on-exec and for the caller to close; or a
 * negative errno. */
int address_watch_open(void);

/* Reads all that waits. Returns 1 if an address may have gone, 0 if not, or a negative errno: there will be
 * no more word. */
int address_watch_read(int fd);

#endif
