/* tests/lib/endpoint.h - one pretend VM's socket: a stream, a datagram socket, or a descriptor it was given
 *
 * Sending never blocks: a frame is taken whole (a stream keeps what the kernel did not take and sends nothing
 * else before it) or refused. A stalled endpoint reads nothing until it is resumed.
 */
#ifndef TESTS_LIB_ENDPOINT_H
#define TESTS_LIB_ENDPOINT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/un.h>

#include "tests/lib/traffic.h"

struct endpoint_options {
    const char *path; /* the switch's socket; NULL: 'fd' */
    int fd;
    bool is_stream;
    bool greets;         /* datagram: says VFKT first, as vfkit does */
    bool unconnected;    /* datagram: sendto() each time, as QEMU does */
    bool bytewise;       /* stream: one byte per call and millisecond */
    bool stall;          /* reads nothing until endpoint_resume() */
    uint64_t read_limit; /* reads so many bytes, then nothing more; 0: no limit */
    int rcvbuf, sndbuf;  /* 0: as they are */
};

struct endpoint {
    struct endpoint_options options;
    int fd;          /* -1: closed */
    char local[108]; /* the path we bound, "" if none */
    struct sockaddr_un remote;
    uint64_t bytes_read;
    size_t in_len, out_len, out_at;
    uint8_t *in;  /* stream: bytes of a frame that is not whole yet */
    uint8_t *out; /* stream: bytes the kernel did not take */
};

typedef void endpoint_frame_fn(void *ctx, const uint8_t *frame, size_t len);

/* 'local_dir' is where a datagram socket is bound, under 'name'. Returns 0 or a negative errno. */
int endpoint_open(struct endpoint *end, const struct endpoint_options *options, const char *local_dir,
                  const char *name);
void endpoint_close(struct endpoint *end);

/* False: not now. */
bool endpoint_send(struct endpoint *end, const uint8_t *frame, size_t len);

/* Writes what is left of a frame. */
void endpoint_flush(struct endpoint *end);

/* Reads what is there, up to a bound, and hands each whole frame to 'on_frame'. Closes at end of file. */
void endpoint_read(struct endpoint *end, endpoint_frame_fn *on_frame, void *ctx);

bool endpoint_wants_read(const struct endpoint *end);
bool endpoint_wants_write(const struct endpoint *end);

#endif
