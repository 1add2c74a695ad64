#include "daemon/channel.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon/message.h"
#include "io/socket.h"

struct header {
    uint32_t len;
    uint32_t id;
    uint16_t type;
    uint16_t has_fd;
    uint32_t magic;
};

static const uint32_t header_magic = 0x766d7377; /* "vmsw" */

enum {
    MESSAGE_BYTES_MAX = sizeof(struct header) + CHANNEL_PAYLOAD_MAX,
    SHORTAGE_REST_MS = 1,
    RECEIVED_FDS_MAX = 64,
    READS_PER_TURN = 16,
};

/* A descriptor that goes out with the byte at 'at' of the stream. */
struct waiting_fd {
    uint64_t at;
    int fd;
};

struct channel {
    int fd;
    int error; /* negative errno once it has failed */

    uint8_t *
        out; /* bytes the socket has not taken: room for a message, grown on demand up to CHANNEL_QUEUE_MAX */
    size_t out_len, out_size;
    uint64_t out_at; /* position in the stream of out[0] */
    struct waiting_fd out_fds[CHANNEL_FDS_MAX];
    unsigned n_out_fds, n_lost_fds;

    size_t in_len;
    int in_fds[RECEIVED_FDS_MAX];
    unsigned n_in_fds;
    _Alignas(16) uint8_t in[MESSAGE_BYTES_MAX];
    _Alignas(16) uint8_t payload[CHANNEL_PAYLOAD_MAX];
};

int channel_pair(int fds[2])
{
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, fds) < 0)
        return -errno;
    for (int i = 0; i < 2; i++)
        fcntl(fds[i], F_SETFD, FD_CLOEXEC);
    return 0;
}

static bool reserve(struct channel *channel, size_t len)
{
    size_t need = channel->out_len + len;
    if (need > CHANNEL_QUEUE_MAX)
        return false;
    if (need <= channel->out_size)
        return true;
    size_t size = channel->out_size ? channel->out_size : 4096;
    while (size < need)
        size *= 2;
    uint8_t *grown = realloc(channel->out, size);
    if (!grown)
        return false;
    channel->out = grown;
    channel->out_size = size;
    return true;
}

struct channel *channel_create(int fd)
{
    struct channel *channel = calloc(1, sizeof(*channel));
    if (!channel || !reserve(channel, MESSAGE_BYTES_MAX)) {
        free(channel);
        return NULL;
    }
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    socket_set_buffers(fd, IO_SOCKET_BUFFER);
    channel->fd = fd;
    return channel;
}

void channel_destroy(struct channel *channel)
{
    if (!channel)
        return;
    for (unsigned i = 0; i < channel->n_out_fds; i++)
        close(channel->out_fds[i].fd);
    for (unsigned i = 0; i < channel->n_in_fds; i++)
        if (channel->in_fds[i] >= 0)
            close(channel->in_fds[i]);
    close(channel->fd);
    free(channel->out);
    free(channel);
}

int channel_fd(const struct channel *channel)
{
    return channel->fd;
}

bool channel_wants_write(const struct channel *channel)
{
    return !channel->error && channel->out_len > 0;
}

static int fail(struct channel *channel, int error)
{
    if (!channel->error)
        channel->error = error;
    return channel->error;
}

/* The bytes that may go out in one call: up to the next descriptor that is not at the very front. */
static size_t next_piece(const struct channel *channel, int *ret_fd)
{
    unsigned next = 0;
    *ret_fd = -1;
    if (channel->n_out_fds > 0 && channel->out_fds[0].at == channel->out_at) {
        *ret_fd = channel->out_fds[0].fd;
        next = 1;
    }
    if (channel->n_out_fds > next)
        return (size_t)(channel->out_fds[next].at - channel->out_at);
    return channel->out_len;
}

static void drop_first_fd(struct channel *channel)
{
    close(channel->out_fds[0].fd);
    channel->n_out_fds--;
    memmove(channel->out_fds, channel->out_fds + 1, channel->n_out_fds * sizeof(channel->out_fds[0]));
}

/* The system has none to spare for the moment, and a poll would say "go on" at once. */
static bool is_shortage(long error)
{
    return error == -ENOBUFS || error == -ENOMEM;
}

static void rest(void)
{
    poll(NULL, 0, SHORTAGE_REST_MS);
}

/* Too many descriptors are on their way between processes: the message, which is at 'at', goes without its
 * own, and its reader refuses what it was for. */
static void lose_first_fd(struct channel *channel, uint8_t *at)
{
    struct header header;
    memcpy(&header, at, sizeof(header));
    header.has_fd = 0;
    memcpy(at, &header, sizeof(header));
    drop_first_fd(channel);
    channel->n_lost_fds++;
}

int channel_flush(struct channel *channel)
{
    size_t sent = 0; /* bytes of out[] already gone; moved down once at the end */
    while (!channel->error && sent < channel->out_len) {
        int fd = -1;
        size_t len = next_piece(channel, &fd);
        if (len > channel->out_len - sent)
            len = channel->out_len - sent;
        long n = socket_send_fd(channel->fd, channel->out + sent, len, fd);
        if (n == -EINTR)
            continue;
        if (n == -ETOOMANYREFS && fd >= 0) {
            lose_first_fd(channel, channel->out + sent);
            continue;
        }
        if (n < 0) {
            if (is_shortage(n))
                rest();
            else if (n != -EAGAIN && n != -EWOULDBLOCK)
                fail(channel, (int)n);
            break;
        }
        if (fd >= 0)
            drop_first_fd(channel);
        channel->out_at += (uint64_t)n;
        sent += (size_t)n;
    }
    if (sent > 0) {
        channel->out_len -= sent;
        memmove(channel->out, channel->out + sent, channel->out_len);
    }
    return channel->error;
}

unsigned channel_lost_fds(const struct channel *channel)
{
    return channel->n_lost_fds;
}

int channel_send(struct channel *channel, uint16_t type, uint32_t id, const void *payload, uint32_t len,
                 int fd)
{
    const struct header header = {
        .len = len, .id = id, .type = type, .has_fd = fd >= 0, .magic = header_magic};
    if (!channel->error && (len > CHANNEL_PAYLOAD_MAX || !reserve(channel, sizeof(header) + len) ||
                            (fd >= 0 && channel->n_out_fds == CHANNEL_FDS_MAX)))
        fail(channel, -ENOBUFS);
    if (channel->error) {
        if (fd >= 0)
            close(fd);
        return channel->error;
    }
    if (fd >= 0)
        channel->out_fds[channel->n_out_fds++] =
            (struct waiting_fd){.at = channel->out_at + channel->out_len, .fd = fd};
    memcpy(channel->out + channel->out_len, &header, sizeof(header));
    if (len > 0)
        memcpy(channel->out + channel->out_len + sizeof(header), payload, len);
    channel->out_len += sizeof(header) + len;
    return channel_flush(channel);
}

static int take_fd(struct channel *channel)
{
    int fd = channel->in_fds[0];
    channel->n_in_fds--;
    memmove(channel->in_fds, channel->in_fds + 1, channel->n_in_fds * sizeof(channel->in_fds[0]));
    return fd;
}

/* Hands one whole message over. 'bytes' is not aligned, the copy is. */
static int deliver(struct channel *channel, const struct header *header, const uint8_t *bytes,
                   channel_handler *handler, void *ctx)
{
    if (!message_size_is_valid(header->type, header->len) || (header->has_fd && channel->n_in_fds == 0))
        return fail(channel, -EBADMSG);
    memcpy(channel->payload, bytes, header->len);
    struct message message = {.type = header->type,
                              .id = header->id,
                              .len = header->len,
                              .payload = channel->payload,
                              .fd = header->has_fd ? take_fd(channel) : -1};
    int r = handler(ctx, &message);
    if (message.fd >= 0)
        close(message.fd);
    return r < 0 ? fail(channel, -EBADMSG) : 0;
}

static int deliver_all(struct channel *channel, channel_handler *handler, void *ctx)
{
    size_t at = 0;
    while (!channel->error && channel->in_len - at >= sizeof(struct header)) {
        struct header header;
        memcpy(&header, channel->in + at, sizeof(header));
        if (header.magic != header_magic || header.len > CHANNEL_PAYLOAD_MAX || header.has_fd > 1)
            return fail(channel, -EBADMSG);
        if (channel->in_len - at - sizeof(header) < header.len)
            break;
        deliver(channel, &header, channel->in + at + sizeof(header), handler, ctx);
        at += sizeof(header) + header.len;
    }
    channel->in_len -= at;
    memmove(channel->in, channel->in + at, channel->in_len);
    /* A descriptor comes with the first byte of its message: what is left must belong to a message begun. */
    if (!channel->error && channel->n_in_fds > (channel->in_len > 0 ? 1u : 0u))
        return fail(channel, -EBADMSG);
    return channel->error;
}

/* A process without free descriptors gets the message and loses what it carried: its handler sees fd -1 and
 * refuses, and the channel goes on. More than one at a time is nobody's right. */
static bool take_fds(struct channel *channel, int fd, unsigned extra)
{
    const bool is_one = fd >= 0 ? extra == 0 : extra <= 1;
    if (fd < 0 && extra == 0)
        return true;
    if (is_one && channel->n_in_fds < RECEIVED_FDS_MAX) {
        channel->in_fds[channel->n_in_fds++] = fd;
        return true;
    }
    if (fd >= 0)
        close(fd);
    return false;
}

int channel_receive(struct channel *channel, channel_handler *handler, void *ctx)
{
    for (int i = 0; i < READS_PER_TURN; i++) {
        if (channel->error)
            return channel->error;
        int fd = -1;
        unsigned extra = 0;
        long n = socket_receive_fd(channel->fd, channel->in + channel->in_len,
                                   sizeof(channel->in) - channel->in_len, &fd, &extra);
        if (n == -EAGAIN || n == -EWOULDBLOCK || n == -EINTR)
            return 0;
        if (is_shortage(n)) {
            rest();
            return 0;
        }
        if (n == 0)
            return fail(channel, -ECONNRESET);
        if (n < 0)
            return fail(channel, (int)n);
        if (!take_fds(channel, fd, extra))
            return fail(channel, -EBADMSG);
        channel->in_len += (size_t)n;
        if (deliver_all(channel, handler, ctx) < 0)
            return channel->error;
    }
    return 1;
}
