/* io/batch.c - what all systems have in common, see batch.h */
#include "io/batch.h"

#include <errno.h>
#include <sys/mman.h>

#include "switch/frame.h"

enum { BATCH_STRIDE = (BATCH_ALIGN + FRAME_LEN_MAX + 1 + BATCH_ALIGN - 1) / BATCH_ALIGN * BATCH_ALIGN };

int batch_init(struct batch *batch)
{
    batch->memory_size = (size_t)IO_DGRAM_SLOTS * BATCH_STRIDE + BATCH_CALLS;
    /* Mapped, not allocated: short frames touch one page of each slot and the rest costs nothing. */
    batch->memory = mmap(NULL, batch->memory_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANON, -1, 0);
    if (batch->memory == MAP_FAILED) {
        batch->memory = NULL;
        return UV_ENOMEM;
    }
    for (size_t i = 0; i < IO_DGRAM_SLOTS; i++)
        batch->slots[i].bytes = batch->memory + i * BATCH_STRIDE + BATCH_ALIGN;
    batch->calls = batch->memory + (size_t)IO_DGRAM_SLOTS * BATCH_STRIDE;
    return 0;
}

void batch_deinit(struct batch *batch)
{
    if (batch->memory)
        munmap(batch->memory, batch->memory_size);
    batch->memory = NULL;
}

ssize_t batch_write(int fd, struct iovec *iov, unsigned n_iov)
{
    struct msghdr message = {.msg_iov = iov};
    ssize_t n;

    /* One piece, the usual case, is cheaper without a message header for the kernel to copy and check. */
    if (n_iov == 1) {
        n = send(fd, iov->iov_base, iov->iov_len, MSG_DONTWAIT | MSG_NOSIGNAL);
        return n < 0 ? -errno : n;
    }
    /* The member's type differs between systems. */
    message.msg_iovlen += n_iov;
    n = sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    return n < 0 ? -errno : n;
}
