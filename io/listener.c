/* io/listener.c - see listener.h
 *
 * The good path: the listening socket is readable -> accept -> on_accept.
 * What can go wrong: the process has no descriptor left. Some systems take a connection out of the backlog
 * before they find that out, and lose it; so a place is reserved first, and without one the backlog waits.
 */
#include "io/listener.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "io/socket_platform.h"

enum {
    LISTENER_PAUSE_MS = 100,
    LISTENER_ACCEPTS = 16, /* of one turn; the frames of other ports come in between */
};

struct listener {
    int fd;
    listener_accept_fn *on_accept; /* NULL: closing */
    void *ctx;
    uv_poll_t poll;
    uv_timer_t timer;
    unsigned n_handles;
};

static void on_connection(uv_poll_t *poll, int status, int events);

static void on_paused(uv_timer_t *timer)
{
    struct listener *listener = timer->data;

    uv_poll_start(&listener->poll, UV_READABLE, on_connection);
}

static void pause_for_a_while(struct listener *listener)
{
    uv_poll_stop(&listener->poll);
    uv_timer_start(&listener->timer, on_paused, LISTENER_PAUSE_MS, 0);
}

static void on_connection(uv_poll_t *poll, int status, int events)
{
    struct listener *listener = poll->data;

    (void)events;
    if (status < 0) {
        pause_for_a_while(listener);
        return;
    }
    for (int i = 0; i < LISTENER_ACCEPTS && listener->on_accept; i++) {
        int reserved = fcntl(listener->fd, F_DUPFD_CLOEXEC, 0);
        int fd;

        if (reserved < 0) {
            pause_for_a_while(listener);
            return;
        }
        close(reserved);
        fd = socket_accept_cloexec(listener->fd);
        if (fd == -EINTR || fd == -ECONNABORTED)
            continue;
        if (fd == -EAGAIN || fd == -EWOULDBLOCK)
            return;
        if (fd < 0) { /* ENFILE, ENOMEM: the system's shortage */
            pause_for_a_while(listener);
            return;
        }
        listener->on_accept(listener->ctx, fd);
    }
}

int listener_open(struct listener **ret_listener, uv_loop_t *loop, int fd, listener_accept_fn *on_accept,
                  void *ctx)
{
    struct listener *listener = calloc(1, sizeof *listener);
    int r;

    if (!listener)
        return UV_ENOMEM;
    *listener = (struct listener){.fd = fd, .on_accept = on_accept, .ctx = ctx};
    /* This makes it non-blocking, as accept() has no flag of its own for that. */
    r = uv_poll_init(loop, &listener->poll, fd);
    if (r < 0) {
        free(listener);
        return r;
    }
    uv_timer_init(loop, &listener->timer);
    listener->poll.data = listener;
    listener->timer.data = listener;
    listener->n_handles = 2;
    uv_poll_start(&listener->poll, UV_READABLE, on_connection);
    *ret_listener = listener;
    return 0;
}

static void on_handle_closed(uv_handle_t *handle)
{
    struct listener *listener = handle->data;

    if (--listener->n_handles > 0)
        return;
    close(listener->fd);
    free(listener);
}

void listener_close(struct listener *listener)
{
    if (!listener || !listener->on_accept)
        return;
    listener->on_accept = NULL;
    uv_close((uv_handle_t *)&listener->poll, on_handle_closed);
    uv_close((uv_handle_t *)&listener->timer, on_handle_closed);
}
