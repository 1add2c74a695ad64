/* tests/lib/endpoint.c - the sockets of pretend VMs */
#include "tests/lib/endpoint.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { IN_SIZE = 4 * (4 + TRAFFIC_FRAME_MAX), OUT_SIZE = 4 + TRAFFIC_FRAME_MAX, DATAGRAMS_A_TURN = 256 };

static int set_path(struct sockaddr_un *address, const char *path)
{
    *address = (struct sockaddr_un){.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof(address->sun_path))
        return -ENAMETOOLONG;
    memcpy(address->sun_path, path, strlen(path));
    return 0;
}

static int bind_local(struct endpoint *end, const char *dir, const char *name)
{
    struct sockaddr_un local;
    char path[256];
    int r;

    snprintf(path, sizeof(path), "%s/%s.client", dir, name);
    r = set_path(&local, path);
    if (r < 0)
        return r;
    unlink(path);
    if (bind(end->fd, (struct sockaddr *)&local, sizeof(local)) < 0)
        return -errno;
    memcpy(end->local, local.sun_path, sizeof(end->local));
    return 0;
}

static int open_path(struct endpoint *end, const char *local_dir, const char *name)
{
    int r = set_path(&end->remote, end->options.path);

    if (r < 0)
        return r;
    end->fd = socket(AF_UNIX, end->options.is_stream ? SOCK_STREAM : SOCK_DGRAM, 0);
    if (end->fd < 0)
        return -errno;
    if (!end->options.is_stream) {
        r = bind_local(end, local_dir, name);
        if (r < 0)
            return r;
        if (end->options.unconnected)
            return 0;
    }
    if (connect(end->fd, (struct sockaddr *)&end->remote, sizeof(end->remote)) < 0)
        return -errno;
    if (end->options.greets && send(end->fd, "VFKT", 4, MSG_NOSIGNAL) != 4)
        return -errno;
    return 0;
}

int endpoint_open(struct endpoint *end, const struct endpoint_options *options, const char *local_dir,
                  const char *name)
{
    int r = 0;

    *end = (struct endpoint){.options = *options, .fd = options->fd};
    if (options->path)
        r = open_path(end, local_dir, name);
    if (r < 0) {
        endpoint_close(end);
        return r;
    }
    if (options->rcvbuf)
        setsockopt(end->fd, SOL_SOCKET, SO_RCVBUF, &options->rcvbuf, sizeof(int));
    if (options->sndbuf)
        setsockopt(end->fd, SOL_SOCKET, SO_SNDBUF, &options->sndbuf, sizeof(int));
    end->in = malloc(IN_SIZE);
    end->out = malloc(OUT_SIZE);
    return end->in && end->out ? 0 : -ENOMEM;
}

void endpoint_close(struct endpoint *end)
{
    if (end->fd >= 0)
        close(end->fd);
    if (end->local[0])
        unlink(end->local);
    end->fd = -1;
    end->local[0] = '\0';
    free(end->in);
    free(end->out);
    end->in = end->out = NULL;
    end->in_len = end->out_len = end->out_at = 0;
}

static bool is_full(int error)
{
    return error == EAGAIN || error == EWOULDBLOCK || error == ENOBUFS || error == EINTR;
}

static bool send_datagram(struct endpoint *end, const uint8_t *frame, size_t len)
{
    ssize_t n;

    if (end->options.unconnected)
        n = sendto(end->fd, frame, len, MSG_DONTWAIT | MSG_NOSIGNAL, (struct sockaddr *)&end->remote,
                   sizeof(end->remote));
    else
        n = send(end->fd, frame, len, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n < 0 && !is_full(errno) && !end->options.unconnected)
        endpoint_close(end);
    return n >= 0;
}

void endpoint_flush(struct endpoint *end)
{
    while (end->fd >= 0 && end->out_at < end->out_len) {
        size_t piece = end->options.bytewise ? 1 : end->out_len - end->out_at;
        ssize_t n = send(end->fd, end->out + end->out_at, piece, MSG_DONTWAIT | MSG_NOSIGNAL);

        if (n < 0) {
            if (!is_full(errno))
                endpoint_close(end);
            return;
        }
        end->out_at += (size_t)n;
        if (end->options.bytewise)
            return;
    }
}

bool endpoint_send(struct endpoint *end, const uint8_t *frame, size_t len)
{
    uint32_t header = htonl((uint32_t)len);

    if (end->fd < 0)
        return false;
    if (!end->options.is_stream)
        return send_datagram(end, frame, len);
    if (end->out_at < end->out_len)
        return false;
    memcpy(end->out, &header, 4);
    memcpy(end->out + 4, frame, len);
    end->out_at = 0;
    end->out_len = 4 + len;
    endpoint_flush(end);
    return end->fd >= 0;
}

static void split_stream(struct endpoint *end, endpoint_frame_fn *on_frame, void *ctx)
{
    size_t at = 0;

    while (end->in_len - at >= 4) {
        uint32_t len;

        memcpy(&len, end->in + at, 4);
        len = ntohl(len);
        if (len > TRAFFIC_FRAME_MAX) { /* framing is lost: hand it on as a frame nobody made, and stop */
            on_frame(ctx, end->in + at, 4);
            endpoint_close(end);
            return;
        }
        if (end->in_len - at - 4 < len)
            break;
        on_frame(ctx, end->in + at + 4, len);
        at += 4 + len;
    }
    memmove(end->in, end->in + at, end->in_len - at);
    end->in_len -= at;
}

static void read_stream(struct endpoint *end, endpoint_frame_fn *on_frame, void *ctx)
{
    size_t space = IN_SIZE - end->in_len;

    if (end->options.read_limit && space > end->options.read_limit - end->bytes_read)
        space = (size_t)(end->options.read_limit - end->bytes_read);
    ssize_t n = recv(end->fd, end->in + end->in_len, space, MSG_DONTWAIT);
    if (n == 0 || (n < 0 && !is_full(errno))) {
        endpoint_close(end);
    } else if (n > 0) {
        end->bytes_read += (uint64_t)n;
        end->in_len += (size_t)n;
        split_stream(end, on_frame, ctx);
    }
}

void endpoint_read(struct endpoint *end, endpoint_frame_fn *on_frame, void *ctx)
{
    if (!endpoint_wants_read(end))
        return;
    if (end->options.is_stream) {
        read_stream(end, on_frame, ctx);
        return;
    }
    for (int i = 0; i < DATAGRAMS_A_TURN; i++) {
        ssize_t n = recv(end->fd, end->in, IN_SIZE, MSG_DONTWAIT);

        if (n < 0) {
            if (!is_full(errno) && !end->options.unconnected && errno != ECONNRESET)
                endpoint_close(end);
            return;
        }
        end->bytes_read += (uint64_t)n;
        on_frame(ctx, end->in, (size_t)n);
    }
}

bool endpoint_wants_read(const struct endpoint *end)
{
    bool is_done = end->options.read_limit && end->bytes_read >= end->options.read_limit;

    return end->fd >= 0 && !end->options.stall && !is_done;
}

bool endpoint_wants_write(const struct endpoint *end)
{
    return end->fd >= 0 && end->out_at < end->out_len && !end->options.bytewise;
}
