/* io/link.h - a cable: something connected that carries the frames of one port
 *
 * Kinds
 *   stream          a connected AF_UNIX stream; 4-byte big-endian length + frame
 *   datagram        a connected AF_UNIX datagram socket; one frame each
 *   datagram path   a bound AF_UNIX datagram socket of one port: its first datagram names the peer, it is
 *                   connected back, and is free for the next client when that one is dead
 *   shared path     one bound datagram socket of a network: each source address is a port of its own
 *   tap             a TAP device (Linux)
 *
 * Life
 *   open -> serving -> closing -> closed
 *   link_*_open() plugs the link into its port. When the peer leaves or misbehaves the link unplugs itself
 *   on its own turn of the loop (never inside port_ops.send), empties its queue into DROP_link_closed, and
 *   calls 'on_closed' last: then its memory is gone and its fd closed, and the owner may lan_leave() the
 *   port. link_close() does the same on request.
 *   The owner of a port never frees the port before on_closed has run.
 *
 * Threads: one loop, one thread.
 */
#ifndef IO_LINK_H
#define IO_LINK_H

#include <stdbool.h>
#include <stdint.h>

#include "io/io.h"
#include "io/peer.h"
#include "switch/port.h"

struct link;

enum link_kind { LINK_STREAM, LINK_DATAGRAM, LINK_TAP, LINK_N_KINDS };

/* "stream", "datagram", "tap": what the API shows as a port's kind. */
const char *link_kind_name(enum link_kind kind);

/* 'reason': a short sentence without a full stop, for the log; valid during the call. */
typedef void link_closed_fn(struct port *port, void *ctx, const char *reason);

/* Each takes ownership of 'fd' on success (0) and leaves it with the caller on error (a negative libuv
 * code). 'fd' must have passed socket_check() where it came from outside. Sets SO_SNDBUF, but O_NONBLOCK
 * only where it has to (macOS): that flag belongs to an open file description the client may share. */
int link_stream_open(struct io *io, struct port *port, int fd, link_closed_fn *on_closed, void *ctx);
int link_datagram_open(struct io *io, struct port *port, int fd, link_closed_fn *on_closed, void *ctx);
int link_tap_open(struct io *io, struct port *port, int fd, link_closed_fn *on_closed, void *ctx);

enum link_close {
    LINK_CLOSE_NOW,   /* the peer is gone, or has broken the rules */
    LINK_CLOSE_DRAIN, /* we end it: send nothing more, read and discard for 100 ms, then close. QEMU loses its
                         transmit side for good if a stream is cut while it is blocked in a write */
};

/* Closes the link in 'port'; on_closed follows on a later turn. Unplugs at once: the port is down when
 * this returns. Nothing happens if no link is in it. 'reason' as in link_closed_fn; copied. */
void link_close(struct port *port, enum link_close how, const char *reason);

/* What a snapshot shows of the link in 'port'. Zeroes if there is none. */
struct link_status {
    enum link_kind kind;
    uint32_t queued_bytes;
    uint64_t stalled_since_ms; /* uv_now() when it last took a frame while its queue is not empty; 0: not
                                  stalled */
};
void link_status(const struct port *port, struct link_status *ret_status);

/* ---- a datagram path of one port ---- */

struct dgram_path;

struct dgram_path_events {
    /* A client has named itself; 'peer_path' is its address. The port is plugged when this returns true.
     * false: the port has another client (or is being removed): the datagram counts as DROP_not_peer. */
    bool (*on_client)(void *ctx, struct port *port, const char *peer_path);
    /* The client is gone; the port is unplugged, its queues are empty, and the path is free. */
    void (*on_client_gone)(void *ctx, struct port *port, const char *reason);
    /* The client's own socket may not be written by us (-EACCES), or is not there for us (-ENOENT): it is not
     * adopted. Once per address. */
    void (*on_denied)(void *ctx, struct port *port, const char *peer_path, int error);
};

enum {
    DGRAM_PATH_PROBE_MS = 250 /* a silent client is probed this often: a VM that starts again takes longer */
};

/* Takes ownership of 'fd', a bound unix datagram socket, as above. 'events' must outlive it. */
int dgram_path_open(struct dgram_path **ret_path, struct io *io, struct port *port, int fd,
                    const struct dgram_path_events *events, void *ctx);

/* Frees it on a later turn of the loop; no event is called once this has returned. Unplugs the port. */
void dgram_path_close(struct dgram_path *path);

/* ---- the shared datagram path of a network ---- */

struct dgram_hub;

struct dgram_hub_events {
    /* A new source address. Returns a port that has joined the lan, or NULL to refuse (limit reached):
     * its datagrams are dropped and counted in dgram_hub_refused(). */
    struct port *(*on_client)(void *ctx, const char *peer_path);
    /* The client is gone (its address refuses); the port is unplugged. */
    void (*on_client_gone)(void *ctx, struct port *port, const char *reason);
    void (*on_denied)(void *ctx, const char *peer_path, int error);
};

int dgram_hub_open(struct dgram_hub **ret_hub, struct io *io, int fd, const struct dgram_hub_events *events,
                   void *ctx);

/* Unplugs one client's port without calling on_client_gone. */
void dgram_hub_detach(struct dgram_hub *hub, struct port *port);

void dgram_hub_close(struct dgram_hub *hub);

/* Datagrams from unbound or refused senders, which no port can be charged with. */
uint64_t dgram_hub_refused(const struct dgram_hub *hub);

#endif
