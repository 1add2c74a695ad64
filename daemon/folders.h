/* daemon/folders.h - the runtime folder and the state folder, made and checked
 *
 * A folder in the wrong hands (a symbolic link, another owner, writable by others) is refused, not repaired.
 */
#ifndef DAEMON_FOLDERS_H
#define DAEMON_FOLDERS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "daemon/activation.h"
#include "daemon/message.h"

/* Opens the folder of the sockets; makes it where it is not there: 0755 for root, so that clients reach their
 * sockets, else 0700. Returns the descriptor (close-on-exec), or a negative errno and a sentence. */
int folders_open_runtime(const char *path, char *ret_why, size_t why_size);

/* Removes the sockets and staging folders that a killed daemon left in 'dir_fd'; whoever calls it holds the
 * lock. A socket that somebody still listens on is waited for up to 2 s: roles of the killed daemon are about
 * to end. One of the service manager ('activation') stays. Returns 0, or a negative errno and a sentence if
 * something else has the name of one of our sockets: it is left alone. */
int folders_remove_stale(int dir_fd, const char *path, struct activation *activation, char *ret_why,
                         size_t why_size);

/* Makes the state folder, and what leads to it. Where we are root it is root's; "networks" in it, and what of
 * its contents is root's, are given to 'uid' and 'gid', but "leases", which is root's: its descriptor
 * (close-on-exec) is in *ret_leases_fd, -1 where we are not root or serve no DHCP. Returns 0, or a negative
 * errno and a sentence. */
int folders_make_state(const char *path, uid_t uid, gid_t gid, int *ret_leases_fd, char *ret_why,
                       size_t why_size);

/* Makes "<network>.dhcp" for a DHCP server that runs as another user: its own, closed to others. One that is
 * there is kept. Returns 0, or a negative errno and a sentence. */
int folders_make_dhcp(int dir_fd, const char *network, uid_t uid, gid_t gid, char *ret_why, size_t why_size);

/* Removes it with what is in it; of all networks with NULL. */
void folders_remove_dhcp(int dir_fd, const char *network);

/* The same for the network's folder in "leases", which outlives us. */
int folders_make_leases(int leases_fd, const char *network, uid_t uid, gid_t gid, char *ret_why,
                        size_t why_size);
void folders_remove_leases(int leases_fd, const char *network);

/* Removes those of all networks but these. */
void folders_remove_other_leases(int leases_fd, const struct network_names *keep);

#endif
