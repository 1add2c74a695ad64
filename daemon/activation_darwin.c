/* daemon/activation_darwin.c - launchd: a socket of our property list, asked for by its name there */
#include "daemon/activation.h"

#include <errno.h>
#include <launch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "io/log.h"

int activation_take(struct activation *ret_activation, char *ret_why, size_t why_size)
{
    (void)ret_why;
    (void)why_size;
    memset(ret_activation, 0, sizeof(*ret_activation));
    ret_activation->may_ask = true;
    return 0;
}

/* What launchd has bound under one name: one path is one descriptor, none if it could not bind it. /var/run
 * is emptied when the Mac starts, and nobody promises that launchd makes the folders that lead to a socket.
 */
static int take_only(int *fds, size_t n, const char *name, char *why, size_t size)
{
    int fd = n == 1 ? fds[0] : -1;
    for (size_t i = 0; i < n && fd < 0; i++)
        close(fds[i]);
    free(fds);
    if (fd >= 0)
        return fd;
    if (n == 0) {
        log_warn("launchd could not bind the socket '%s' (no folder for it?): it is bound by us", name);
        return -ENOENT;
    }
    snprintf(why, size, "launchd has %zu sockets called '%s'; give each one path and a name of its own", n,
             name);
    return -EINVAL;
}

int activation_ask(struct activation *activation, const char *name, char *ret_why, size_t why_size)
{
    int *fds = NULL;
    size_t n = 0;
    int error = launch_activate_socket(name, &fds, &n);
    switch (error) {
    case 0:
        return take_only(fds, n, name, ret_why, why_size);
    case ESRCH: /* started by somebody else: there is no use in asking again */
        activation->may_ask = false;
        return -ENOENT;
    case ENOENT:
        return -ENOENT;
    case EALREADY: /* launchd gives a socket once in a process's life, and find() has not got it */
        snprintf(ret_why, why_size, "launchd has given the socket '%s' away; start the job again", name);
        return -EALREADY;
    default:
        snprintf(ret_why, why_size, "launchd does not give the socket '%s': %s", name, strerror(error));
        return -error;
    }
}
