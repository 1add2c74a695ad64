/* daemon/channel_uv.c - drives a channel on a uv loop
 *
 * How it works
 *   A poll handle reads when the socket has something and writes only while the channel holds bytes back. A
 *   channel that fails in channel_uv_send() is reported from an idle handle on a later turn, so that no
 * caller meets its own on_lost inside a send.
 *
 * What is always true
 *   on_lost comes at most once and nothing comes after it; nothing at all comes after channel_uv_close(). The
 *   descriptor is closed only when libuv has let go of it.
 */
#include "daemon/channel_uv.h"

#include <stdbool.h>
#include <stdlib.h>

struct channel_uv {
    struct channel *channel;
    channel_uv_message *on_message;
    channel_uv_lost *on_lost;
    void *ctx;

    uv_poll_t poll;
    uv_idle_t later; /* runs while a failure waits to be reported */
    unsigned n_open; /* handles that libuv still holds */
    int error;       /* what on_lost will be told */
    bool is_over;    /* lost and reported, or closed: no callback any more */
};

static void on_handle_closed(uv_handle_t *handle)
{
    struct channel_uv *c = handle->data;
    if (--c->n_open > 0)
        return;
    channel_destroy(c->channel);
    free(c);
}

static void close_handles(struct channel_uv *c)
{
    c->is_over = true;
    uv_close((uv_handle_t *)&c->poll, on_handle_closed);
    uv_close((uv_handle_t *)&c->later, on_handle_closed);
}

static void report_lost(struct channel_uv *c)
{
    c->is_over = true;
    uv_poll_stop(&c->poll);
    uv_idle_stop(&c->later);
    c->on_lost(c->ctx, c->error);
}

static void on_later(uv_idle_t *later)
{
    report_lost(later->data);
}

static void lose_later(struct channel_uv *c, int error)
{
    c->error = error;
    uv_poll_stop(&c->poll);
    uv_idle_start(&c->later, on_later);
}

static int on_channel_message(void *ctx, struct message *message)
{
    struct channel_uv *c = ctx;
    if (!c->is_over)
        c->on_message(c->ctx, message);
    return c->is_over ? -1 : 0; /* closed in there: no further message */
}

static void on_poll(uv_poll_t *poll, int status, int events);

static int watch(struct channel_uv *c)
{
    int events = UV_READABLE | (channel_wants_write(c->channel) ? UV_WRITABLE : 0);
    return uv_poll_start(&c->poll, events, on_poll);
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    struct channel_uv *c = poll->data;
    int r = 0;
    if (events & UV_WRITABLE)
        r = channel_flush(c->channel);
    /* A status means that the socket is in error; what the peer said before is still there to be read. */
    while (r == 0 && (events & UV_READABLE || status < 0)) {
        r = channel_receive(c->channel, on_channel_message, c);
        if (r != 1 || status == 0)
            break;
        r = 0;
    }
    if (c->is_over)
        return;
    if (r >= 0 && status < 0)
        r = UV_ECONNRESET;
    if (r < 0) {
        c->error = r;
        report_lost(c);
    } else {
        watch(c);
    }
}

int channel_uv_open(struct channel_uv **ret_channel, uv_loop_t *loop, int fd, channel_uv_message *on_message,
                    channel_uv_lost *on_lost, void *ctx)
{
    struct channel_uv *c = calloc(1, sizeof(*c));
    if (!c)
        return UV_ENOMEM;
    *c = (struct channel_uv){.on_message = on_message, .on_lost = on_lost, .ctx = ctx, .n_open = 2};
    int r = uv_poll_init(loop, &c->poll, fd);
    if (r < 0) {
        free(c);
        return r;
    }
    uv_idle_init(loop, &c->later);
    c->poll.data = c;
    c->later.data = c;
    c->channel = channel_create(fd);
    r = c->channel ? watch(c) : UV_ENOMEM;
    if (r < 0) { /* uv_poll_start() fails only on a closing handle: then the channel is not there either */
        close_handles(c);
        return r;
    }
    *ret_channel = c;
    return 0;
}

int channel_uv_send(struct channel_uv *c, uint16_t type, uint32_t id, const void *payload, uint32_t len,
                    int fd)
{
    int r = channel_send(c->channel, type, id, payload, len, fd);
    if (c->is_over)
        return r;
    if (r < 0)
        lose_later(c, r);
    else
        watch(c);
    return r;
}

void channel_uv_close(struct channel_uv *c)
{
    if (c)
        close_handles(c);
}
