/* perf/port_open.c - see port.h: the ways to plug in */
#include "perf/port.h"

#include <err.h>
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "perf/tap.h"

enum {
    IN_SIZE = 256 * 1024, /* = READ_SIZE of port.c */
    LINE_MAX_BYTES = 4096
};

/* vde_switch's datasock.c: struct request_v3, without the description that may follow. */
struct vde_request {
    uint32_t magic;
    uint32_t version;
    uint32_t type; /* 0: a new port, any number */
    struct sockaddr_un sock;
} __attribute__((packed));
static const uint32_t vde_magic = 0xfeedface;

static struct sockaddr_un address_of(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    if (strlen(path) >= sizeof(address.sun_path))
        errx(1, "%s: too long for a socket's path", path);
    memcpy(address.sun_path, path, strlen(path) + 1);
    return address;
}

static int socket_open(int type)
{
    int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);

    if (fd < 0)
        err(1, "socket");
    return fd;
}

static void socket_connect(int fd, const char *path)
{
    struct sockaddr_un address = address_of(path);

    if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) != 0)
        err(1, "connect to %s", path);
}

/* Binds the client's own path. The switch may run as another user, who must be able to answer: mode 0777. */
static struct sockaddr_un socket_bind(int fd, const char *dir, unsigned index)
{
    char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
    struct sockaddr_un address;
    mode_t mask;

    if (snprintf(path, sizeof(path), "%s/vm%u", dir, index) >= (int)sizeof(path))
        errx(1, "%s: too long for a socket's folder", dir);
    unlink(path);
    address = address_of(path);
    mask = umask(0);
    if (bind(fd, (const struct sockaddr *)&address, sizeof(address)) != 0)
        err(1, "bind %s", path);
    umask(mask);
    return address;
}

static void open_stream(struct port *port, const char *path)
{
    port->fd = socket_open(SOCK_STREAM);
    port->is_stream = true;
    socket_connect(port->fd, path);
}

static void open_datagram(struct port *port, const char *path, const char *dir, bool is_vfkt)
{
    port->fd = socket_open(SOCK_DGRAM);
    socket_bind(port->fd, dir, port->index);
    socket_connect(port->fd, path);
    if (is_vfkt && send(port->fd, "VFKT", 4, MSG_NOSIGNAL) != 4)
        err(1, "greet %s", path);
}

static void send_line_with_fd(int to, const char *line, int fd)
{
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(int))];
    } control = {.space = {0}};
    char copy[LINE_MAX_BYTES];
    int len = snprintf(copy, sizeof(copy), "%s\n", line);
    struct iovec part = {copy, (size_t)len};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};

    message.msg_control = control.space;
    message.msg_controllen = sizeof(control.space);
    control.header.cmsg_level = SOL_SOCKET;
    control.header.cmsg_type = SCM_RIGHTS;
    control.header.cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(&control.header), &fd, sizeof(int));
    if (sendmsg(to, &message, MSG_NOSIGNAL) != len)
        err(1, "attach: sendmsg");
}

/* Reads one line and returns it parsed; a refusal ends the program with the switch's words. */
static void read_answer(int from)
{
    char line[LINE_MAX_BYTES];
    size_t len = 0;
    json_t *answer;
    json_error_t error;

    while (len < sizeof(line) - 1) {
        ssize_t n = recv(from, line + len, 1, 0);

        if (n < 0)
            err(1, "attach: recv");
        if (n == 0 || line[len] == '\n')
            break;
        len += (size_t)n;
    }
    line[len] = '\0';
    answer = json_loads(line, 0, &error);
    if (answer == NULL || !json_is_object(answer))
        errx(1, "attach: not an answer: '%s'", line);
    if (json_object_get(answer, "error") != NULL || json_object_get(answer, "status") != NULL)
        errx(1, "attach refused: %s", line);
    json_decref(answer);
}

/* 'where' is SOCKET:NETWORK; it is cut in two. */
static void open_attached(struct port *port, char *where, bool is_stream, const char *offload)
{
    char *network = strrchr(where, ':');
    int pair[2];
    json_t *request;
    char *line;

    if (network == NULL)
        errx(1, "attach: '%s' is not SOCKET:NETWORK", where);
    *network++ = '\0';
    if (socketpair(AF_UNIX, (is_stream ? SOCK_STREAM : SOCK_DGRAM) | SOCK_CLOEXEC, 0, pair) != 0)
        err(1, "socketpair");
    port->lease_fd = socket_open(SOCK_STREAM);
    socket_connect(port->lease_fd, where);
    request = json_pack("{s:s, s:s}", "network", network, "kind", is_stream ? "stream" : "datagram");
    if (offload != NULL)
        json_object_set_new(request, "offload", json_string(offload));
    line = json_dumps(request, JSON_COMPACT | JSON_PRESERVE_ORDER);
    send_line_with_fd(port->lease_fd, line, pair[1]);
    free(line);
    json_decref(request);
    read_answer(port->lease_fd);
    close(pair[1]);
    port->fd = pair[0];
    port->is_stream = is_stream;
}

static void open_vde(struct port *port, const char *folder, const char *dir)
{
    struct vde_request request = {.magic = vde_magic, .version = 3};
    struct sockaddr_un answer;
    char path[sizeof(answer.sun_path)];

    if (snprintf(path, sizeof(path), "%s/ctl", folder) >= (int)sizeof(path))
        errx(1, "%s: too long for a socket's folder", folder);
    port->lease_fd = socket_open(SOCK_STREAM);
    socket_connect(port->lease_fd, path);
    port->fd = socket_open(SOCK_DGRAM);
    request.sock = socket_bind(port->fd, dir, port->index);
    if (send(port->lease_fd, &request, sizeof(request), MSG_NOSIGNAL) != (ssize_t)sizeof(request))
        err(1, "vde: request");
    if (recv(port->lease_fd, &answer, sizeof(answer), MSG_WAITALL) != (ssize_t)sizeof(answer))
        errx(1, "vde: no answer");
    if (connect(port->fd, (const struct sockaddr *)&answer, sizeof(answer)) != 0)
        err(1, "vde: connect to %s", answer.sun_path);
}

static void open_tap(struct port *port, const char *name)
{
    port->is_tap = true;
    port->fd = tap_open(name, false);
}

/* Returns the text with every %u replaced by the port's number; the caller frees it. */
static char *expand(const char *spec, unsigned index)
{
    size_t size = strlen(spec) + 64;
    char *text = malloc(size);
    size_t at = 0;

    if (text == NULL)
        err(1, "malloc");
    while (*spec != '\0' && at + 16 < size) {
        if (spec[0] == '%' && spec[1] == 'u') {
            at += (size_t)snprintf(text + at, size - at, "%u", index);
            spec += 2;
        } else {
            text[at++] = *spec++;
        }
    }
    text[at] = '\0';
    return text;
}

void port_open(struct port *port, const struct port_setup *setup, unsigned index)
{
    char *text = expand(setup->spec, index);
    char *where = strchr(text, ':');

    *port = (struct port){.fd = -1, .lease_fd = -1, .index = index, .is_read = true};
    if (where == NULL)
        errx(1, "'%s' is no port: KIND:PATH", setup->spec);
    *where++ = '\0';
    if (strcmp(text, "stream") == 0)
        open_stream(port, where);
    else if (strcmp(text, "dgram") == 0)
        open_datagram(port, where, setup->client_dir, false);
    else if (strcmp(text, "vfkt") == 0)
        open_datagram(port, where, setup->client_dir, true);
    else if (strcmp(text, "attach-stream") == 0)
        open_attached(port, where, true, setup->offload);
    else if (strcmp(text, "attach-dgram") == 0)
        open_attached(port, where, false, setup->offload);
    else if (strcmp(text, "vde") == 0)
        open_vde(port, where, setup->client_dir);
    else if (strcmp(text, "tap") == 0)
        open_tap(port, where);
    else
        errx(1, "'%s' is no kind of port", text);
    free(text);
    if (setup->sndbuf > 0 && !port->is_tap &&
        setsockopt(port->fd, SOL_SOCKET, SO_SNDBUF, &setup->sndbuf, sizeof(setup->sndbuf)) != 0)
        err(1, "SO_SNDBUF");
    port->in = port->is_stream ? malloc(IN_SIZE) : NULL;
    if (port->is_stream && port->in == NULL)
        err(1, "malloc");
}

void port_close(struct port *port)
{
    close(port->fd);
    if (port->lease_fd >= 0)
        close(port->lease_fd);
    free(port->in);
}
