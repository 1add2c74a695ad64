/* daemon/data_port.h - an uplink process's end of the stream that carries frames to its network
 *
 * How it works
 *   The wire of io/framing.h. What libslirp sends during one turn of the loop is queued and goes out in one
 *   write at its end; what the socket does not take waits. Reading takes one large piece per turn.
 *
 * When it is full, or nobody is there
 *   The new frame is dropped and counted; the sender behind libslirp's TCP retransmits.
 */
#ifndef DAEMON_DATA_PORT_H
#define DAEMON_DATA_PORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct data_port;

struct data_port_counters {
    uint64_t frames_in, frames_out;
    uint64_t runts;     /* in: shorter than an Ethernet header */
    uint64_t drop_full; /* out: the queue took no more */
    uint64_t queued;    /* out: waits for the socket, now */
    uint64_t drop_gone; /* out: no network is attached, or its link ended with these in the queue */
};

typedef void data_port_frame(void *ctx, const uint8_t *frame, size_t len);

/* Nothing is attached. Returns NULL if memory is short. */
struct data_port *data_port_create(void);
void data_port_destroy(struct data_port *port); /* NULL is fine */

/* Takes ownership of the stream socket 'fd' and closes the one before. */
void data_port_attach(struct data_port *port, int fd);
void data_port_detach(struct data_port *port);

int data_port_fd(const struct data_port *port); /* -1: none */
bool data_port_wants_write(const struct data_port *port);

/* Reads once and hands over the whole frames; they are borrowed. Returns 0, -ECONNRESET at the end of the
 * stream, -EBADMSG on a length that no frame has, or another negative errno; after those only attach and
 * detach are left. */
int data_port_receive(struct data_port *port, data_port_frame *on_frame, void *ctx);

void data_port_queue(struct data_port *port, const uint8_t *frame, size_t len);
/* Returns as data_port_receive(). */
int data_port_flush(struct data_port *port);

const struct data_port_counters *data_port_counters(struct data_port *port);

#endif
