/* daemon/keeper_files.h - the lock, the socket and the pidfile of a stand-alone front end
 *
 * What is always true
 *   Nothing is touched before the locks are held: one on "<socket>.lock", one on the pidfile itself, both by
 *   flock() and gone with the process, however it ends. Only what was made here is removed, known by inode.
 *   Only a socket that nobody listens on gives way to a new one, only a file that holds a pid to a new
 * pidfile. The pidfile is never seen empty: it is written under another name and linked into place.
 *
 * The folders may belong to somebody who does not wish root well: nothing here follows a symbolic link in
 * them.
 */
#ifndef DAEMON_KEEPER_FILES_H
#define DAEMON_KEEPER_FILES_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "daemon/message.h"
#include "io/sockpath.h"

enum { KEEPER_LOCK_WAIT_MS = 800 }; /* for one that is just ending, which may have to kill its uplink first */

struct kept_file {
    char name[MESSAGE_PATH_SIZE]; /* in its folder; "": there is none */
    int dir_fd;
    int fd; /* holds the lock; -1: none */
    struct sockpath_id id;
};

struct keeper_files {
    struct kept_file lock, socket, pidfile; /* lock and socket share a folder */
    bool has_socket;
};

/* Takes the locks and makes the socket, which is the caller's: -1 if the order names none. Returns 0, or a
 * negative errno and a sentence; keeper_files_remove() is to be called in either case. */
int keeper_files_take(struct keeper_files *files, const struct keep_order *order, int *ret_fd, char *ret_why,
                      size_t why_size);

/* Publishes 'pid' in the pidfile, if there is to be one; once. Returns 0, or a negative errno and a sentence.
 */
int keeper_files_publish(struct keeper_files *files, pid_t pid, char *ret_why, size_t why_size);

/* Takes the socket out of sight: no client comes any more. */
void keeper_files_remove_socket(struct keeper_files *files);

/* Removes what is left and lets the locks go. */
void keeper_files_remove(struct keeper_files *files);

#endif
