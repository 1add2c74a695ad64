/* daemon/activation.h - sockets that a service manager has bound for us
 *
 * One contract for systemd and launchd: a passed socket has a name, which says what it is for.
 *
 *   api                 the API's listener, a stream
 *   attach              attach.sock, a stream
 *   NETWORK.stream      a network's own listener
 *   NETWORK.dgram       a network's own datagram socket
 *
 * systemd passes all of them at the start, named by FileDescriptorName=; launchd is asked for one after the
 * other by the names in its property list. What is passed is used instead of binding a path of ours. It stays
 * here until the daemon ends, keeps its owner and mode, and is never unlinked: the next start gets it again,
 * with whoever waits in it.
 */
#ifndef DAEMON_ACTIVATION_H
#define DAEMON_ACTIVATION_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "api/network_spec.h"

enum {
    ACTIVATION_NAME_SIZE = NETWORK_NAME_SIZE + 8,
    ACTIVATION_MAX = 2 + 2 * NETWORKS_MAX,
};

struct activation {
    struct activation_socket {
        char name[ACTIVATION_NAME_SIZE];
        int fd;
        bool is_claimed;
    } sockets[ACTIVATION_MAX];
    unsigned n;
    bool may_ask; /* the service manager may have more, for who asks by name */
};

/* Takes what was passed at our start. Call it before environment_reset(), which closes what is not in
 * 'sockets'. A socket whose name means nothing here is closed with a warning. Returns 0, or a negative errno
 * with a sentence if one is not what its name says (-EINVAL: no name, twice, wrong type, not listening,
 * connected, without a path). */
int activation_take(struct activation *ret_activation, char *ret_why, size_t why_size);

/* The socket called 'name'. Returns a descriptor, which stays ours, -ENOENT if none was passed, or another
 * negative errno with a sentence. */
int activation_claim(struct activation *activation, const char *name, char *ret_why, size_t why_size);

/* True if the file 'file' ("api.sock", "lab.stream") of 'dir_fd' is the path of a passed socket. */
bool activation_has_file(struct activation *activation, int dir_fd, const char *file);

/* Looks at the mode that the service manager gave the socket's file; 'mode' is the one that we would have
 * given. Returns 0 (a group that may use it and should not is told of: the administrator chose it), or -EPERM
 * with a sentence if everybody may and should not, which is systemd's default. */
int activation_check_mode(int fd, const char *name, unsigned mode, char *ret_why, size_t why_size);

/* The group of the socket's file, or (gid_t)-1. */
gid_t activation_group(int fd);

/* Tells about those that nobody has claimed. */
void activation_report_unclaimed(const struct activation *activation);

/* For the platform's half: checks a socket and takes it into the table; closes it in every other case.
 * Returns as activation_take(). */
int activation_add(struct activation *activation, const char *name, int fd, char *ret_why, size_t why_size);

/* The platform's: asks the service manager for one socket. Returns the descriptor, -ENOENT, or another
 * negative errno with a sentence. */
int activation_ask(struct activation *activation, const char *name, char *ret_why, size_t why_size);

#endif
