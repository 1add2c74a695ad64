/* daemon/cli_attach.c - plugs a socket into a network of vmswitchd: attach.sock, both ways
 *
 * One JSON line with the socket, one line back. The connection is the lease: the port goes when the last copy
 * of its descriptor does.
 */
#include "daemon/cli.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

enum { ANSWER_SIZE = 4096, ANSWER_S = 15 };

static int connect_to(const char *path, int *ret_fd)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct timeval patience = {.tv_sec = ANSWER_S};

    if (strlen(path) >= sizeof address.sun_path)
        return cli_complain_unreachable(path, ENAMETOOLONG);
    memcpy(address.sun_path, path, strlen(path) + 1);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    if (fd < 0)
        return cli_complain_unreachable(path, errno);
    fcntl(fd, F_SETFD, FD_CLOEXEC);
#ifdef SO_NOSIGPIPE /* macOS: its older kernels do not know MSG_NOSIGNAL */
    int on = 1;
    setsockopt(fd, SOL_SOCKET, SO_NOSIGPIPE, &on, sizeof on);
#endif
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) < 0) {
        int error = errno;
        close(fd);
        return cli_complain_unreachable(path, error);
    }
    *ret_fd = fd;
    return CLI_OK;
}

/* Sends line and newline; the first byte carries 'fd', the rest follows as the socket takes it. */
static int send_request(int lease, char *line, int fd)
{
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(int))];
    } control = {.space = {0}};
    size_t len = strlen(line) + 1;
    struct iovec iov = {.iov_base = line, .iov_len = len};
    struct msghdr message = {.msg_iov = &iov,
                             .msg_iovlen = 1,
                             .msg_control = control.space,
                             .msg_controllen = sizeof control.space};
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);

    line[len - 1] = '\n'; /* it ends by its length from here on */
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(header), &fd, sizeof(int));
    while (iov.iov_len > 0) {
        ssize_t n = sendmsg(lease, &message, MSG_NOSIGNAL);
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

/* CLI_OK, and *ret_answer a new reference, if it is no problem. */
static int judge(const struct cli *cli, const char *line, json_t **ret_answer)
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
    if (r == CLI_OK)
        *ret_answer = answer;
    else
        json_decref(answer);
    return r;
}

int cli_attach(const struct cli *cli, const json_t *request, int fd, int *ret_lease, json_t **ret_answer)
{
    char path[CLI_PATH_SIZE], text[ANSWER_SIZE] = "";
    char *line = json_dumps(request, JSON_COMPACT);
    int lease = -1;

    int r = CLI_REFUSED;
    if (!line)
        cli_complain("memory is short");
    else if (!cli_socket_beside(cli, "attach.sock", path, sizeof path))
        r = cli_usage("the path of the socket is too long");
    else
        r = connect_to(path, &lease);
    if (r == CLI_OK) {
        int error = send_request(lease, line, fd);
        if (error == 0 || error == -EPIPE) /* it may have refused us before it read a byte */
            error = read_line(lease, text);
        if (error < 0) {
            cli_complain("no answer from vmswitchd at %s: %s", path,
                         error == -EPIPE ? "it closed the connection" : strerror(-error));
            r = CLI_UNREACHABLE;
        }
    }
    free(line);
    if (r == CLI_OK)
        r = judge(cli, text, ret_answer);
    if (r == CLI_OK)
        *ret_lease = lease;
    else if (lease >= 0)
        close(lease);
    return r;
}
