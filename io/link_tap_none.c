/* io/link_tap_none.c - a system without TAP interfaces */
#include "io/link.h"

int link_tap_open(struct io *io, struct port *port, int fd, link_closed_fn *on_closed, void *ctx)
{
    (void)io;
    (void)port;
    (void)fd;
    (void)on_closed;
    (void)ctx;
    return UV_ENOTSUP;
}
