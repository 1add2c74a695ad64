/* daemon/lease.c - a connection whose end means that a client has gone
 *
 * Nothing is expected on it; what comes is read and thrown away, so that a client that writes cannot keep us
 * busy for ever without being seen to leave.
 */
#include "daemon/network_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

struct lease {
    uv_poll_t poll;
    int fd;
    void (*on_end)(void *ctx);
    void *ctx;
};

static void on_readable(uv_poll_t *poll, int status, int events)
{
    (void)events;
    struct lease *lease = poll->data;
    char ignored[256];
    ssize_t n = status < 0 ? 0 : recv(lease->fd, ignored, sizeof(ignored), MSG_DONTWAIT);
    if (n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR)))
        return;
    uv_poll_stop(poll);
    lease->on_end(lease->ctx);
}

struct lease *lease_open(uv_loop_t *loop, int fd, void (*on_end)(void *ctx), void *ctx)
{
    struct lease *lease = calloc(1, sizeof(*lease));
    if (!lease || uv_poll_init(loop, &lease->poll, fd) < 0) {
        free(lease);
        close(fd);
        return NULL;
    }
    lease->poll.data = lease;
    lease->fd = fd;
    lease->on_end = on_end;
    lease->ctx = ctx;
    uv_poll_start(&lease->poll, UV_READABLE | UV_DISCONNECT, on_readable);
    return lease;
}

static void on_closed(uv_handle_t *handle)
{
    struct lease *lease = handle->data;
    close(lease->fd);
    free(lease);
}

void lease_close(struct lease *lease)
{
    if (lease)
        uv_close((uv_handle_t *)&lease->poll, on_closed);
}
