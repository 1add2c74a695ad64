/* daemon/cli_run.c - "vmswitch run": plugs a command into a network
 *
 * The good path: socketpair -> one end goes to attach.sock (cli_attach.c) -> the other end becomes the
 * command's descriptor -> exec. The connection to attach.sock is the lease: the command inherits it without
 * knowing, so the port goes when the command does, however it ends, and this program need not stay.
 *
 * Which descriptor: 3 for a stream, as socket_vmnet_client (client/main.c) leaves it by being the lowest free
 * one; 4 for datagrams, as vmnet-run (vmnet-helper's run.c) does. Buffers of the command's end as vfkit,
 * vmnet-helper and Lima set them: 1 MiB out, 4 MiB in.
 *
 * What can go wrong: nothing listens (3), refused (1, with the daemon's reason), no such command (127), one
 * that cannot be executed (126). Silent otherwise: minikube takes any "error:" on stderr for a failure.
 */
#include "daemon/cli.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    FD_STREAM = 3,
    FD_DATAGRAM = 4,
    LEASE_FD_MIN = 10, /* out of the way of the command's own conventions: a shell's scripts use up to 9 */
    SEND_BUFFER = 1024 * 1024,
    RECEIVE_BUFFER = 4 * 1024 * 1024,
};

struct plug {
    int type;    /* SOCK_STREAM or SOCK_DGRAM */
    int target;  /* the command's descriptor */
    int ends[2]; /* ours (the command's), the switch's */
    int lease;
};

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

/* ---- what is asked ---- */

static int read_options(const struct cli *cli, struct plug *plug)
{
    const char *kind = cli_value(cli, "kind"), *fd = cli_value(cli, "fd");
    char *rest = NULL;

    if (kind && strcmp(kind, "stream") != 0 && strcmp(kind, "datagram") != 0)
        return cli_usage("--kind must be stream or datagram, not \"%s\"", kind);
    plug->type = kind && strcmp(kind, "datagram") == 0 ? SOCK_DGRAM : SOCK_STREAM;
    plug->target = plug->type == SOCK_DGRAM ? FD_DATAGRAM : FD_STREAM;
    if (!fd)
        return CLI_OK;
    errno = 0;
    long number = strtol(fd, &rest, 10);
    if (errno || !*fd || *rest || number < 0 || number >= sysconf(_SC_OPEN_MAX))
        return cli_usage("--fd must be a number from 0 to %ld, not \"%s\"", sysconf(_SC_OPEN_MAX) - 1, fd);
    plug->target = (int)number;
    return CLI_OK;
}

/* A new reference; NULL if an option is no text. */
static json_t *request_of(const struct cli *cli, const struct plug *plug)
{
    const char *port = cli_value(cli, "port"), *offload = cli_value(cli, "offload");
    json_t *request = json_pack("{s:s, s:s, s:b}", "network", cli->arguments[0], "kind",
                                plug->type == SOCK_DGRAM ? "datagram" : "stream", "persist",
                                cli_value(cli, "persist") != NULL);

    if (request && ((port && json_object_set_new(request, "port", json_string(port)) < 0) ||
                    (offload && json_object_set_new(request, "offload", json_string(offload)) < 0))) {
        json_decref(request);
        return NULL;
    }
    return request;
}

/* ---- the sockets ---- */

/* Close-on-exec until the command is about to run. */
static void make_private(int fd)
{
    fcntl(fd, F_SETFD, FD_CLOEXEC);
}

static int make_pair(struct plug *plug)
{
    int send_buffer = SEND_BUFFER, receive_buffer = RECEIVE_BUFFER;

    if (socketpair(AF_UNIX, plug->type, 0, plug->ends) < 0) {
        cli_complain("cannot make a socket: %s", strerror(errno));
        return CLI_REFUSED;
    }
    make_private(plug->ends[0]);
    make_private(plug->ends[1]);
    /* Smaller ones are slower, not wrong. */
    setsockopt(plug->ends[0], SOL_SOCKET, SO_SNDBUF, &send_buffer, sizeof send_buffer);
    setsockopt(plug->ends[0], SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof receive_buffer);
    return CLI_OK;
}

static int attach(const struct cli *cli, struct plug *plug)
{
    json_t *request = request_of(cli, plug), *answer = NULL;
    if (!request)
        return cli_usage("a name is no text");
    int r = make_pair(plug);
    if (r == CLI_OK)
        r = cli_attach(cli, request, plug->ends[1], &plug->lease, &answer);
    json_decref(request);
    json_decref(answer);
    return r;
}

/* ---- the command ---- */

/* Puts the command's end at its number, with the lease out of the way and both inherited. */
static int place(struct plug *plug)
{
    int lease_min = plug->target >= LEASE_FD_MIN ? plug->target + 1 : LEASE_FD_MIN;
    int lease = fcntl(plug->lease, F_DUPFD, lease_min);

    if (lease < 0) /* a high --fd has no room above: then below */
        lease = fcntl(plug->lease, F_DUPFD, LEASE_FD_MIN);
    if (lease < 0)
        return -errno;
    close_fd(&plug->lease);
    plug->lease = lease;
    if (plug->ends[0] == plug->target)
        return fcntl(plug->ends[0], F_SETFD, 0) < 0 ? -errno : 0;
    if (dup2(plug->ends[0], plug->target) < 0)
        return -errno;
    close_fd(&plug->ends[0]);
    return 0;
}

int cli_run(const struct cli *cli)
{
    struct plug plug = {.ends = {-1, -1}, .lease = -1};

    int r = read_options(cli, &plug);
    if (r == CLI_OK)
        r = attach(cli, &plug);
    close_fd(&plug.ends[1]); /* the daemon has its own now */
    if (r == CLI_OK) {
        int error = place(&plug);
        if (error < 0) {
            cli_complain("cannot use descriptor %d: %s", plug.target, strerror(-error));
            r = CLI_REFUSED;
        } else {
            execvp(cli->run[0], cli->run);
            r = errno == ENOENT ? CLI_NOT_FOUND : CLI_CANNOT_RUN;
            cli_complain("cannot run %s: %s", cli->run[0], strerror(errno));
        }
    }
    close_fd(&plug.ends[0]);
    close_fd(&plug.lease);
    return r;
}
