/* tests/fuzz/fuzz_message.c - what a role that was taken over may send: bytes and descriptors in any pieces
 *
 * The first byte of each piece is its length, the second says whether a descriptor comes with it. Oracle:
 * each message that arrives has a valid type and size, nothing comes after an error, and no descriptor is
 * left open.
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon/channel.h"
#include "daemon/message.h"
#include "io/socket.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int see(void *ctx, struct message *message)
{
    const int *error = ctx;
    volatile uint8_t sum = 0;
    if (*error || !message_size_is_valid(message->type, message->len))
        abort();
    for (uint32_t i = 0; i < message->len; i++)
        sum = (uint8_t)(sum + ((const uint8_t *)message->payload)[i]);
    return message->id == 13 ? -1 : 0;
}

static int first_free_fd(void)
{
    int fd = dup(STDERR_FILENO);
    close(fd);
    return fd;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int fds[2], error = 0, free_before = first_free_fd();
    if (channel_pair(fds) < 0)
        return 0;
    struct channel *channel = channel_create(fds[0]);
    if (!channel)
        abort();
    while (size >= 2 && !error) {
        size_t len = data[0] + 1u;
        int fd = data[1] % 4 == 0 ? STDERR_FILENO : -1;
        data += 2;
        size -= 2;
        len = len < size ? len : size;
        if (len == 0 || socket_send_fd(fds[1], data, len, fd) < 0)
            break;
        data += len;
        size -= len;
        int r = channel_receive(channel, see, &error);
        error = r < 0 ? r : 0;
    }
    if (error && channel_send(channel, MSG_BEGIN, 0, NULL, 0, -1) >= 0)
        abort();
    channel_destroy(channel);
    close(fds[1]);
    if (first_free_fd() != free_before)
        abort();
    return 0;
}
