/* io/sockpath.h - unix sockets with a name in the file system, made without a moment of a wider mode
 *
 * A socket is bound in a private staging folder (0700) inside 'dir_fd', given its group and mode there, and
 * renamed into place: at first sight it is as configured. What lies at its place is replaced only if it is
 * a socket; a symlink, folder or file in the way is an error and stays untouched. Plain system calls, used by
 * the monitor.
 */
#ifndef IO_SOCKPATH_H
#define IO_SOCKPATH_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/stat.h>
#include <sys/types.h>

struct sockpath {
    int type; /* SOCK_STREAM (then listening) or SOCK_DGRAM */
    mode_t mode;
    uid_t uid; /* (uid_t)-1, (gid_t)-1: leave as created */
    gid_t gid;
};

struct sockpath_id { /* what we made, to remove only that */
    dev_t dev;
    ino_t ino;
};

/* Makes "<dir>/<name>". 'dir' is the absolute path of 'dir_fd' (for the length rule alone: the whole path
 * must fit sun_path). Returns the socket (close-on-exec), or a negative errno with *ret_why a sentence that
 * names the path and the next step; nothing is left behind then. */
int sockpath_make(int dir_fd, const char *dir, const char *name, const struct sockpath *want,
                  struct sockpath_id *ret_id, char *ret_why, size_t why_size);

/* Unlinks "<dir>/<name>" if it is still the socket of 'id'. */
void sockpath_remove(int dir_fd, const char *name, const struct sockpath_id *id);

/* True if somebody has the socket "<name>" open: one that nobody has refuses connections. */
bool sockpath_is_live(int dir_fd, const char *name);

/* What the staging folders' names begin with; the monitor removes those that a killed one left behind. */
#define SOCKPATH_STAGING ".new-"

/* Longest path a unix socket may have here, without the NUL: 107 on Linux, 103 on macOS. */
size_t sockpath_len_max(void);

#endif
