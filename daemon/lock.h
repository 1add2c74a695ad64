/* daemon/lock.h - one vmswitchd per runtime folder
 *
 * An flock() on vmswitchd.lock, held by the monitor alone and gone with it, however it ends. What the file
 * says (pid, since when) is for people: no pid is ever trusted or signalled. The file stays when the daemon
 * ends, emptied: unlinking it would let two daemons hold locks on two files of one name.
 */
#ifndef DAEMON_LOCK_H
#define DAEMON_LOCK_H

#include <stddef.h>

#define LOCK_NAME "vmswitchd.lock"

/* Takes the lock in 'dir_fd', whose path is 'dir'. Returns the descriptor (close-on-exec), -EWOULDBLOCK if
 * another daemon has it, or another negative errno; 'ret_why' is a sentence then. */
int lock_take(int dir_fd, const char *dir, char *ret_why, size_t why_size);

/* Empties the file and closes it. */
void lock_release(int lock_fd);

#endif
