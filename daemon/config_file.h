/* daemon/config_file.h - the configuration file as the monitor has it: opened, and copied
 *
 * Control reads a copy that is in no folder, so that an editor at work on the file changes nothing: what
 * control has checked is what the next control reads after a crash. No byte of it is looked at here.
 */
#ifndef DAEMON_CONFIG_FILE_H
#define DAEMON_CONFIG_FILE_H

#include <stddef.h>

/* Opens the regular file 'path' for reading, whoever may read it. Returns the descriptor, or a negative errno
 * and a sentence. */
int config_file_open(const char *path, char *ret_why, size_t why_size);

/* Copies 'fd' from its start (of a file that is too long: enough to show it) into a new file without a name,
 * made in the folder 'dir_fd', where nobody else may write. Returns its descriptor, at its start, or a
 * negative errno and a sentence; 'path' and 'dir' are names for it. 'fd' stays open. */
int config_file_copy(int fd, const char *path, int dir_fd, const char *dir, char *ret_why, size_t why_size);

#endif
