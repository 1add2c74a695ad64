/* perf/port.h - one pretend VM's socket: how it is plugged in, and its two calls, send and receive
 *
 * A port is described by a text, in which %u stands for the port's number:
 *   stream:PATH                    connect; 4-byte big-endian length before every frame
 *   dgram:PATH                     bind a path of its own, connect; one frame each
 *   vfkt:PATH                      the same, greeting first with the four bytes vfkit sends
 *   attach-stream:SOCKET:NETWORK   make a socket pair, hand one end to attach.sock as SCM_RIGHTS
 *   attach-dgram:SOCKET:NETWORK
 *   vde:FOLDER                     vde_switch's control socket (request version 3)
 *   tap:NAME                       the user's side of a TAP that is there already; one frame per call
 * Whatever fails while plugging in ends the program with a message: there is nothing to measure then.
 */
#ifndef PERF_PORT_H
#define PERF_PORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct burst;

struct port {
    int fd;
    int lease_fd; /* the attach connection or VDE's control connection; open as long as the port lives */
    unsigned index;
    bool is_stream;
    bool is_tap;
    bool is_read;              /* false: a hung VM */
    bool is_blocked;           /* waits for writability */
    const struct burst *begun; /* whose burst is half sent: nothing else may be sent before its end */
    uint8_t *in;               /* stream: bytes of a frame that is not whole yet */
    size_t in_len;
};

/* Frames that leave in one send call: one after the other in memory, each behind its 4-byte length, which
 * datagrams skip. */
struct burst {
    uint8_t *bytes;
    unsigned n_frames;
    size_t frame_size;
    size_t n_sent;     /* frames the kernel has whole */
    size_t sent_bytes; /* stream: of the burst */
};

typedef void port_frame_fn(void *arg, struct port *port, const uint8_t *frame, size_t len);

/* How all ports of a run are plugged in. */
struct port_setup {
    const char *spec;       /* the text above */
    const char *client_dir; /* where datagram clients bind their own paths */
    const char *offload;    /* what the line to attach.sock asks for; NULL: nothing */
    int sndbuf;             /* 0: the kernel's default */
};

void port_open(struct port *port, const struct port_setup *setup, unsigned index);

void port_close(struct port *port);

/* One send call for what is left of the burst. False when the kernel did not take everything. */
bool port_send(struct port *port, struct burst *burst);

/* One receive call; 'on_frame' for each whole frame, borrowed until it returns. A closed or broken connection
 * ends the program: no switch may drop a live client. */
void port_receive(struct port *port, port_frame_fn *on_frame, void *arg);

/* Bytes of frame 'i' of the burst, behind its length prefix. */
static inline uint8_t *burst_frame(const struct burst *burst, size_t i)
{
    return burst->bytes + i * (burst->frame_size + 4) + 4;
}

#endif
