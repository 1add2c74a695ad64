/* daemon/channel_uv.h - drives a channel on a uv loop */
#ifndef DAEMON_CHANNEL_UV_H
#define DAEMON_CHANNEL_UV_H

#include <uv.h>

#include "daemon/channel.h"

struct channel_uv;

/* As channel_handler; the link may be closed inside by channel_uv_close(). */
typedef void channel_uv_message(void *ctx, struct message *message);
/* The other side is gone or broke the rules; called once, then only channel_uv_close() is left to do. */
typedef void channel_uv_lost(void *ctx, int error);

/* Takes ownership of 'fd' on success. Returns 0 or a negative libuv code. */
int channel_uv_open(struct channel_uv **ret_channel, uv_loop_t *loop, int fd, channel_uv_message *on_message,
                    channel_uv_lost *on_lost, void *ctx);

/* As channel_send(); failure is also reported by on_lost on a later turn. */
int channel_uv_send(struct channel_uv *channel, uint16_t type, uint32_t id, const void *payload, uint32_t len,
                    int fd);

/* Freed on a later turn of the loop; no callback comes after this. NULL is fine. */
void channel_uv_close(struct channel_uv *channel);

#endif
