/* io/piece.h - bytes to send, as the socket calls want them described */
#ifndef IO_PIECE_H
#define IO_PIECE_H

#include <stddef.h>
#include <sys/uio.h>

/* struct iovec and struct msghdr have no const form, because receiving fills what they point at; sending only
 * reads. This is the one place where a const is taken off. */
static inline void *piece_base(const void *base)
{
    union {
        const void *in;
        void *out;
    } pointer = {.in = base};

    return pointer.out;
}

static inline struct iovec piece_of(const void *base, size_t len)
{
    return (struct iovec){.iov_base = piece_base(base), .iov_len = len};
}

#endif
