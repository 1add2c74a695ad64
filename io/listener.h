/* io/listener.h - accepts clients on a listening unix stream socket
 *
 * A descriptor is reserved before it accepts; when the process has none left it stops polling for 100 ms
 * instead of spinning, so a client waits in the backlog rather than being lost.
 */
#ifndef IO_LISTENER_H
#define IO_LISTENER_H

#include <uv.h>

struct listener;

/* 'fd' is the callee's: close-on-exec, blocking as accepted. */
typedef void listener_accept_fn(void *ctx, int fd);

/* Takes ownership of the listening 'fd' on success. Returns 0 or a negative libuv code. */
int listener_open(struct listener **ret_listener, uv_loop_t *loop, int fd, listener_accept_fn *on_accept,
                  void *ctx);

/* Freed on a later turn; on_accept is not called again. listener_close(NULL) is fine. */
void listener_close(struct listener *listener);

#endif
