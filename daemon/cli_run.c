/* daemon/cli_run.c - "vmswitch run": plugs a command into a network
 *
 * The good path: socketpair -> attach.sock: one JSON line with one end of the pair -> one line back -> the
 * other end becomes the command's descriptor -> exec. The connection to attach.sock is the lease: the command
 * inherits it without knowing, so the port goes when the command does, however it ends, and this program need
 * not stay.
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
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

enum {
    FD_STREAM = 3,
    FD_DATAGRAM = 4,
    LEASE_FD_MIN = 10, /* out of the way of the command's own conventions: a shell's scripts use up to 9 */
    SEND_BUFFER = 1024 * 1024,
    RECEIVE_BUFFER = 4 * 1024 * 1024,
    ANSWER_SIZE = 4096,
    ANSWER_S = 15,
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

/* The line with its newline, to be freed; NULL if an option is no text. */
static char *request_line(const struct cli *cli, const struct plug *plug)
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
    char *line = request ? json_dumps(request, JSON_COMPACT) : NULL;
    json_decref(request);
    size_t len = line ? strlen(line) : 0;
    char *longer = line ? realloc(line, len + 2) : NULL;
    if (!longer) {
        free(line);
        return NULL;
    }
    memcpy(longer + len, "\n", 2);
    return longer;
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

static int connect_lease(struct plug *plug, const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct timeval patience = {.tv_sec = ANSWER_S};

    if (strlen(path) >= sizeof address.sun_path)
        return cli_complain_unreachable(path, ENAMETOOLONG);
    memcpy(address.sun_path, path, strlen(path) + 1);
    plug->lease = socket(AF_UNIX, SOCK_STREAM, 0);
    if (plug->lease < 0)
        return cli_complain_unreachable(path, errno);
    make_private(plug->lease);
#ifdef SO_NOSIGPIPE /* macOS: its older kernels do not know MSG_NOSIGNAL */
    int on = 1;
    setsockopt(plug->lease, SOL_SOCKET, SO_NOSIGPIPE, &on, sizeof on);
#endif
    setsockopt(plug->lease, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    setsockopt(plug->lease, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    if (connect(plug->lease, (struct sockaddr *)&address, sizeof address) < 0)
        return cli_complain_unreachable(path, errno);
    return CLI_OK;
}

/* The first byte carries the switch's end; the rest follows as the socket takes it. */
static int send_request(struct plug *plug, char *line)
{
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(int))];
    } control = {.space = {0}};
    struct iovec iov = {.iov_base = line, .iov_len = strlen(line)};
    struct msghdr message = {.msg_iov = &iov,
                             .msg_iovlen = 1,
                             .msg_control = control.space,
                             .msg_controllen = sizeof control.space};
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);

    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(header), &plug->ends[1], sizeof(int));
    while (iov.iov_len > 0) {
        ssize_t n = sendmsg(plug->lease, &message, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        iov.iov_base = (char *)iov.iov_base + n;
        iov.iov_len -= (size_t)n;
        message.msg_control = NULL;
        message.msg_controllen = 0;
    }
    return 0;
}

/* One line into 'line', without its newline. Returns 0, -EPIPE if the daemon closed before it ended. */
static int read_line(int fd, char line[ANSWER_SIZE])
{
    size_t len = 0;

    while (len < ANSWER_SIZE - 1) {
        ssize_t n = recv(fd, line + len, ANSWER_SIZE - 1 - len, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -errno : -EPIPE;
        len += (size_t)n;
        line[len] = '\0';
        char *newline = strchr(line, '\n');
        if (newline) {
            *newline = '\0';
            return 0;
        }
    }
    return -EMSGSIZE;
}

static int judge(const struct cli *cli, const char *line)
{
    json_t *answer = json_loads(line, 0, NULL);
    int r = CLI_OK;

    if (!json_is_object(answer)) {
        cli_complain("vmswitchd answered with no JSON object");
        r = CLI_UNREACHABLE;
    } else if (json_object_get(answer, "status")) {
        if (cli->json)
            fprintf(stderr, "%s\n", line);
        else
            cli_print_problem(answer);
        r = CLI_REFUSED;
    }
    json_decref(answer);
    return r;
}

static int attach(const struct cli *cli, struct plug *plug)
{
    char path[CLI_PATH_SIZE], answer[ANSWER_SIZE] = "";
    char *line = request_line(cli, plug);
    int r, error;

    if (!line)
        return cli_usage("a name is no text");
    if (!cli_socket_beside(cli, "attach.sock", path, sizeof path)) {
        free(line);
        return cli_usage("the path of the socket is too long");
    }
    r = make_pair(plug);
    if (r == CLI_OK)
        r = connect_lease(plug, path);
    if (r == CLI_OK) {
        error = send_request(plug, line);
        if (error == 0 || error == -EPIPE) /* it may have refused us before it read a byte */
            error = read_line(plug->lease, answer);
        if (error < 0) {
            cli_complain("no answer from vmswitchd at %s: %s", path,
                         error == -EPIPE ? "it closed the connection" : strerror(-error));
            r = CLI_UNREACHABLE;
        }
    }
    free(line);
    return r == CLI_OK ? judge(cli, answer) : r;
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
