/* daemon/spawn.h - starts this executable again, as another role
 *
 * By posix_spawn, never a bare fork. The child gets 'channel_fd' as ROLE_CHANNEL_FD and stdin, stdout and
 * stderr; no other descriptor, default signals, an empty mask, the environment as environment_reset() left
 * it, and a process group of its own: Ctrl-C in a terminal reaches the monitor, which ends the roles in
 * order.
 */
#ifndef DAEMON_SPAWN_H
#define DAEMON_SPAWN_H

#include <stddef.h>
#include <sys/types.h>

/* Finds out which executable we are; call it first. 'program', a literal, is what it is called for ps and
 * pgrep. Returns 0 or a negative errno. */
int spawn_init(const char *program);

/* What spawn_init() was told. */
const char *spawn_program(void);

/* The path of our executable, NUL-terminated. Returns 0 or a negative errno. */
int spawn_executable(char *ret_path, size_t size);

/* Borrows 'channel_fd'. 'argv' as in execv(). Returns 0 and the pid, or a negative errno. */
int spawn_self(char *const argv[], int channel_fd, pid_t *ret_pid);

/* Called by a role that was started so: names the process where starting has lost the name. */
void spawn_restore_name(const char *program);

#endif
