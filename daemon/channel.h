/* daemon/channel.h - length-prefixed messages between two roles, on a stream socketpair
 *
 * How it works
 *   One header, a payload of at most CHANNEL_PAYLOAD_MAX bytes, at most one descriptor. Descriptors arrive in
 *   the order of the messages that announce one. What the socket does not take is kept in a bounded buffer; a
 *   peer that lets it fill is broken and the channel fails.
 *
 * What is always true
 *   Nothing here blocks. A malformed header, an unknown type, a payload of the wrong size for its type or an
 *   unannounced descriptor ends the channel, whoever sent it: after that every call fails.
 *
 * Plain system calls, no libuv: the monitor uses it too (daemon/channel_uv.h drives one on a loop).
 */
#ifndef DAEMON_CHANNEL_H
#define DAEMON_CHANNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    CHANNEL_PAYLOAD_MAX = 64 * 1024 - 16,
    CHANNEL_QUEUE_MAX = 4 * 1024 * 1024, /* a whole snapshot: 256 ports and 4,096 addresses are 300 KiB */
    CHANNEL_FDS_MAX = 512, /* descriptors waiting to be sent; a start with 256 named ports needs 513 messages,
                              flushed as they go */
};

struct channel;

struct message {
    uint16_t type; /* enum message_type, daemon/message.h */
    uint32_t id;   /* of a request, repeated in its answer; 0: none */
    uint32_t len;
    const void *payload; /* borrowed until the handler returns; aligned for any type */
    int fd; /* -1: none, or lost for want of descriptors. Set it to -1 to keep it, else it is closed after the
               handler */
};

/* Takes ownership of 'fd', which is made close-on-exec. Returns NULL if memory is short. */
struct channel *channel_create(int fd);
void channel_destroy(struct channel *channel); /* closes; NULL is fine */

int channel_fd(const struct channel *channel);

/* Queues one message and sends what the socket takes. Takes ownership of 'fd' (-1: none) in every case.
 * Returns 0, or a negative errno once the channel has failed. */
int channel_send(struct channel *channel, uint16_t type, uint32_t id, const void *payload, uint32_t len,
                 int fd);

/* How many descriptors the system would not take (too many are on their way already): their messages went
 * without. */
unsigned channel_lost_fds(const struct channel *channel);

/* True while something waits for the socket to take it. */
bool channel_wants_write(const struct channel *channel);
int channel_flush(struct channel *channel);

/* Returns 0 to go on, or negative to end the channel: the message is invalid. */
typedef int channel_handler(void *ctx, struct message *message);

/* Reads what is there, up to a bounded amount, and calls 'handler' for each whole message. 'handler' must not
 * destroy the channel. Returns 1 if the peer may have more, 0 when all was read, -ECONNRESET at the end of
 * the stream, or another negative errno. */
int channel_receive(struct channel *channel, channel_handler *handler, void *ctx);

/* A connected pair of close-on-exec stream sockets. Returns 0 or a negative errno. */
int channel_pair(int fds[2]);

#endif
