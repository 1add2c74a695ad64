#include "daemon/broker_switch.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "api/spec_json.h"
#include "io/socket.h"

enum {
    ANSWER_MAX = 256 * 1024, /* bytes; one network without its ports */
    LINE_MAX_LEN = 4096,
    SEND_BUFFER = 1024 * 1024, /* of the end that is handed out, as a VM's program would set it */
    RECEIVE_BUFFER = 4 * 1024 * 1024,
};

/* ---- a socket of vmswitchd's ---- */

static int connect_to(const char *runtime_dir, const char *name)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const struct timeval patience = {.tv_sec = BROKER_SWITCH_S};
    const int n = snprintf(address.sun_path, sizeof(address.sun_path), "%s/%s", runtime_dir, name);
    if (n < 0 || (size_t)n >= sizeof(address.sun_path))
        return -ENAMETOOLONG;
    const int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    if (fd < 0)
        return -errno;
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
    if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0)
        return fd;
    const int error = errno;
    close(fd);
    return -error;
}

/* Reads until 'end' is seen (NUL: until the other side closes). Returns the length, NUL behind it, or a
 * negative errno. */
static long receive_text(int fd, char *text, size_t size, char end)
{
    size_t len = 0;
    while (len < size - 1) {
        const ssize_t n = recv(fd, text + len, size - 1 - len, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (n == 0)
            return end ? -EPIPE : (long)len;
        len += (size_t)n;
        text[len] = '\0';
        if (end && memchr(text, end, len))
            return (long)len;
    }
    return -EMSGSIZE;
}

/* ---- the API ---- */

static enum uplink_kind kind_of(const json_t *uplink)
{
    const char *name = json_string_value(json_object_get(uplink, "kind"));
    for (int kind = UPLINK_NONE; name && kind < UPLINK_N_KINDS; kind++)
        if (strcmp(name, uplink_kind_name((enum uplink_kind)kind)) == 0)
            return (enum uplink_kind)kind;
    return UPLINK_NONE;
}

/* The answer says more than a spec has: those fields that a spec has, as they were set. */
static json_t *spec_part(const json_t *answer, const char *name)
{
    struct network_spec spec;
    const char *key;
    json_t *value;
    network_spec_init(&spec, name, MODE_INTERNAL);
    json_t *part = network_spec_to_json(&spec);
    json_object_foreach(part, key, value) if (json_object_get(answer, key))
        json_object_set(part, key, json_object_get(answer, key));
    json_object_set(part, "uplink", json_object_get(json_object_get(answer, "uplink"), "wanted"));
    json_t *sockets = json_object_get(part, "sockets");
    json_object_set_new(sockets, "stream", json_true()); /* paths stand there */
    json_object_set_new(sockets, "datagram", json_true());
    json_object_del(sockets, "attach");
    return part;
}

bool switch_network_from_json(const json_t *answer, const char *name, struct switch_network *ret_network)
{
    struct spec_error error;
    if (!json_is_object(answer) || !json_is_object(json_object_get(answer, "uplink")))
        return false;
    json_t *copy = json_deep_copy(answer);
    json_t *part = copy ? spec_part(copy, name) : NULL;
    const int r = part ? network_spec_from_json(part, name, &ret_network->spec, &error) : -1;
    ret_network->kind = kind_of(json_object_get(answer, "uplink"));
    ret_network->owner = (uint32_t)json_integer_value(json_object_get(answer, "owner"));
    ret_network->uplink_pid =
        (int)json_integer_value(json_object_get(json_object_get(answer, "uplink"), "pid"));
    json_decref(part);
    json_decref(copy);
    return r == 0;
}

/* Returns the status of HTTP and where the body begins, 0 if that is no answer. */
static long read_head(const char *text, const char **ret_body)
{
    const char *end = strstr(text, "\r\n\r\n");
    if (!end || strncmp(text, "HTTP/1.", 7) != 0 || strlen(text) < 12 || text[8] != ' ')
        return 0;
    *ret_body = end + 4;
    return strtol(text + 9, NULL, 10);
}

static enum switch_answer judge(const char *text, const char *name, struct switch_network *ret_network,
                                char why[MESSAGE_WHY_SIZE])
{
    const char *body = "";
    const long status = read_head(text, &body);
    snprintf(why, MESSAGE_WHY_SIZE,
             "vmswitchd has no network \"%s\"; make it (vmswitch create %s --uplink vmnet --mode ...)", name,
             name);
    if (status == 404)
        return SWITCH_KNOWS_NOT;
    json_t *answer = status == 200 ? json_loads(body, 0, NULL) : NULL;
    const bool is_good = answer && switch_network_from_json(answer, name, ret_network);
    json_decref(answer);
    snprintf(why, MESSAGE_WHY_SIZE, "vmswitchd answered with status %ld, and no network", status);
    return is_good ? SWITCH_KNOWS : SWITCH_UNREACHABLE;
}

enum switch_answer switch_find(const char *runtime_dir, const char *name, struct switch_network *ret_network,
                               char why[MESSAGE_WHY_SIZE])
{
    char request[256];
    char *text = calloc(1, ANSWER_MAX);
    const int fd = connect_to(runtime_dir, "api.sock");
    /* While vmswitchd runs its sockets are there, whatever its processes do. */
    enum switch_answer found = fd == -ENOENT || fd == -ECONNREFUSED ? SWITCH_ABSENT : SWITCH_UNREACHABLE;
    const int len =
        snprintf(request, sizeof(request),
                 "GET /v1/networks/%s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", name);
    long n = fd < 0 ? fd : -EPIPE;
    if (fd >= 0 && text && socket_send_fd(fd, request, (size_t)len, -1) == len)
        n = receive_text(fd, text, ANSWER_MAX, '\0');
    if (text && n > 0)
        found = judge(text, name, ret_network, why);
    else
        snprintf(why, MESSAGE_WHY_SIZE, "vmswitchd does not answer at %s/api.sock: %s", runtime_dir,
                 strerror((int)-n));
    if (fd >= 0)
        close(fd);
    free(text);
    return found;
}

/* ---- attach.sock ---- */

static void set_private(int fd)
{
    fcntl(fd, F_SETFD, FD_CLOEXEC);
}

static int make_pair(bool is_stream, int ends[2])
{
    const int send_buffer = SEND_BUFFER, receive_buffer = RECEIVE_BUFFER;
    if (socketpair(AF_UNIX, is_stream ? SOCK_STREAM : SOCK_DGRAM, 0, ends) < 0)
        return -errno;
    set_private(ends[0]);
    set_private(ends[1]);
    /* Options stay with the socket, whoever has it. Smaller ones are slower, not wrong. */
    setsockopt(ends[0], SOL_SOCKET, SO_SNDBUF, &send_buffer, sizeof(send_buffer));
    setsockopt(ends[0], SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof(receive_buffer));
    return 0;
}

static int ask_to_attach(int lease, const char *network, const struct switch_port *port, int end,
                         char why[MESSAGE_WHY_SIZE])
{
    char line[LINE_MAX_LEN];
    const char *offload = port->offload;
    int len = snprintf(line, sizeof(line), "{\"network\": \"%s\"%s%s%s%s}\n", network,
                       offload ? ", \"offload\": \"" : "", offload ? offload : "", offload ? "\"" : "",
                       port->is_isolated ? ", \"isolated\": true" : "");
    if (socket_send_fd(lease, line, (size_t)len, end) != len)
        return -EPIPE;
    const long n = receive_text(lease, line, sizeof(line), '\n');
    if (n < 0)
        return (int)n;
    json_t *answer = json_loads(line, 0, NULL);
    const char *detail = json_string_value(json_object_get(answer, "detail"));
    const int r = json_is_object(answer) && !json_object_get(answer, "status") ? 0 : -EACCES;
    if (r < 0)
        snprintf(why, MESSAGE_WHY_SIZE, "vmswitchd did not plug it in: %s",
                 detail ? detail : "no reason given");
    json_decref(answer);
    return r;
}

int switch_attach(const char *runtime_dir, const char *network, const struct switch_port *port, int *ret_fd,
                  int *ret_lease, char why[MESSAGE_WHY_SIZE])
{
    int ends[2];
    snprintf(why, MESSAGE_WHY_SIZE, "no descriptors left");
    int r = make_pair(port->is_stream, ends);
    if (r < 0)
        return r;
    const int lease = connect_to(runtime_dir, "attach.sock");
    why[0] = '\0';
    r = lease < 0 ? lease : ask_to_attach(lease, network, port, ends[1], why);
    close(ends[1]);
    if (r == 0) {
        *ret_fd = ends[0];
        *ret_lease = lease;
        return 0;
    }
    if (!why[0])
        snprintf(why, MESSAGE_WHY_SIZE, "vmswitchd does not answer at %s/attach.sock: %s", runtime_dir,
                 strerror(-r));
    close(ends[0]);
    if (lease >= 0)
        close(lease);
    return r;
}
