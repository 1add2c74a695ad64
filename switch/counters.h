/* switch/counters.h - what is counted, and every reason for which a frame is dropped
 *
 * The one table of drop reasons feeds the enum, the API's names and the documentation. For a whole
 * network, over its ports and those that have left:
 *
 *   frames_in + flood_copies + segment_copies == frames_out + sum of drops + queued
 *
 * exactly and at any time between two turns of the loop. "in" is into the switch, "out" is out of it.
 */
#ifndef SWITCH_COUNTERS_H
#define SWITCH_COUNTERS_H

#include <stdint.h>

/* X(identifier, sentence). 'in' reasons are counted at the port a frame came from, 'out' reasons at the
 * port it was for. */
#define DROP_REASONS(X)                                                                                      \
    X(runt, "in: shorter than an Ethernet header (14 bytes)")                                                \
    X(oversize, "in: longer than the network's MTU allows (MTU + 14, with a VLAN tag + 18)")                 \
    X(bad_length, "in: a stream announced a length over 69632; its connection was closed")                   \
    X(bad_offload, "in: its virtio-net header and its bytes do not agree")                                   \
    X(cannot_cut, "in: longer than the MTU allows, and nothing that can be cut into segments")               \
    X(cut_short, "in: the client left before the rest of the frame had come")                                \
    X(bad_source, "in: the source address is a group address or zero")                                       \
    X(uplink_source, "in: the source address is the uplink's own")                                           \
    X(reserved, "in: for 01:80:C2:00:00:00 to 0F, which a bridge does not forward")                          \
    X(same_port, "in: the destination is on the port the frame came from")                                   \
    X(no_port, "in: nobody else is on the network")                                                          \
    X(isolated, "in: the destination is behind an isolated port")                                            \
    X(port_disabled, "in: the port's link was set down over the API")                                        \
    X(not_peer, "in: a datagram from another client while the port has one")                                 \
    X(link_down, "out: the port has no client or its link is set down")                                      \
    X(too_big, "out: longer than the receiver takes")                                                        \
    X(queue_full, "out: the port's queue is full; its reader is slow")                                       \
    X(link_closed, "out: the client left with the frame still queued")                                       \
    X(send_failed, "out: the socket refused the frame")

enum drop_reason {
#define X(id, sentence) DROP_##id,
    DROP_REASONS(X)
#undef X
        DROP_N_REASONS
};

struct counters {
    uint64_t frames_in;
    uint64_t bytes_in;
    uint64_t frames_out;
    uint64_t bytes_out;
    uint64_t flood_copies;   /* copies beyond the first, counted at the port the frame came from */
    uint64_t segment_copies; /* segments beyond the first that a frame was cut into, at the port it was for */
    uint64_t drops[DROP_N_REASONS];
};

/* The name and the sentence of a reason; static strings. */
const char *drop_reason_name(enum drop_reason reason);
const char *drop_reason_sentence(enum drop_reason reason);

/* Adds 'from' to 'to'. */
void counters_add(struct counters *to, const struct counters *from);

/* Sum over all reasons. */
uint64_t counters_dropped(const struct counters *counters);

#endif
