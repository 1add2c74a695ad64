/* switch/offload.h - finishing what a sender left to its network card: checksums and segmentation
 *
 * Into the switch, a link calls one of
 *   offload_accept()        the client sends a virtio_net_hdr, which the link has put into frame->offload
 *   offload_infer()         the client offloads but sends no header (libkrun with offloading=on)
 * and drops the frame if that says false. From there on a descriptor is true: it describes the bytes.
 *
 * Out of the switch, by what the receiver takes
 *   the descriptor          nothing to do
 *   finished frames         offload_finish(), or offload_cut_*() if offload_is_gso()
 *   finished frames of any length, whose pieces need not fit an MTU
 *                           offload_finish(), or offload_finish_whole() if offload_is_gso()
 *
 * What always holds behind offload_accept() and offload_infer()
 *   A finished frame has an all-zero descriptor. Any other has NEEDS_CSUM, and its checksum field is that of
 *   TCP or UDP or lies behind all headers: to finish it changes nothing that anyone has decided by.
 *   A GSO frame is a whole IP packet with nothing behind it, has at most OFFLOAD_HEADERS_MAX bytes of
 * headers, more payload than gso_size, and makes at most OFFLOAD_SEGMENTS_MAX segments.
 *
 * All functions need a frame that lies in one piece (head_len == len >= FRAME_LEN_MIN).
 */
#ifndef SWITCH_OFFLOAD_H
#define SWITCH_OFFLOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "switch/frame.h"
#include "switch/packet.h"

enum {
    /* Of virtio_net_hdr (Virtio 1.2, section 5.1.6). */
    OFFLOAD_NEEDS_CSUM = 1, /* in 'flags' */
    OFFLOAD_DATA_VALID = 2,
    OFFLOAD_GSO_NONE = 0, /* in 'gso_type' */
    OFFLOAD_GSO_TCPV4 = 1,
    OFFLOAD_GSO_TCPV6 = 4,
    OFFLOAD_GSO_UDP_L4 = 5,
    OFFLOAD_GSO_ECN = 0x80, /* with the types for TCP */

    OFFLOAD_TCP_GSO_SIZE_MIN = 48, /* Linux, TCP_MIN_GSO_SIZE (include/net/tcp.h): senders go no lower */
    OFFLOAD_SEGMENTS_MAX = 1365,   /* what that makes of the longest packet; UDP may not make more of one */
    OFFLOAD_HEADERS_MAX = PACKET_HEADERS_MAX,
    OFFLOAD_PACKET_MAX =
        65535, /* of IPv4, and of what IPv6 carries: a frame has at most 65,589 bytes and tags */
};

/* A frame made here: its headers in memory of its own, its payload still where it was. Do not copy one: it
 * points into itself. Valid as long as the frame it was made from. */
struct offload_piece {
    struct frame frame;
    struct frame_segment payload; /* what does not lie in 'bytes' */
    uint8_t bytes[FRAME_PREFIX + OFFLOAD_HEADERS_MAX];
};

/* A GSO frame being cut. */
struct offload_cut {
    const struct frame *frame;
    struct packet packet;
    uint32_t at;      /* the first byte of payload not yet given out */
    uint32_t n_given; /* segments */
};

static inline bool offload_is_plain(const struct frame *frame)
{
    return frame->offload.flags == 0 && frame->offload.gso_type == OFFLOAD_GSO_NONE;
}

static inline bool offload_is_gso(const struct frame *frame)
{
    return frame->offload.gso_type != OFFLOAD_GSO_NONE;
}

/* Checks the descriptor against the bytes and makes it say no more than there is to do: what is ignored or
 * known better (DATA_VALID, hdr_len) is replaced, and GSO on a frame that is one segment is taken away.
 * Returns false if the frame cannot be what the descriptor says. Nothing but the descriptor is changed. */
bool offload_accept(struct frame *frame);

/* Makes a descriptor for a frame whose TCP or UDP checksum may be a partial one and which may be longer than
 * 'mtu' allows. A checksum that was complete is completed to the same value later, so the bytes may change
 * but doing it twice makes no difference. Returns false for a frame that is too long and cannot be cut. */
bool offload_infer(struct frame *frame, uint32_t mtu);

/* Completes the checksum, in place, of a frame that is not a GSO frame. Plain frames stay as they are. */
void offload_finish(struct frame *frame);

/* Makes one finished frame of a GSO frame, as long as that. Returns false for UDP, where a long frame is not
 * one datagram but many: that has to be cut. */
bool offload_finish_whole(const struct frame *frame, struct offload_piece *ret_piece);

/* Begins to cut a GSO frame, which is not changed. */
void offload_cut_begin(struct offload_cut *cut, const struct frame *frame);

/* Makes the next segments, finished, at most 'max'. Returns how many; 0: there are no more. */
size_t offload_cut_next(struct offload_cut *cut, struct offload_piece *pieces, size_t max);

/* Returns how many segments a GSO frame makes, and how long the longest of them is. */
uint32_t offload_cut_count(const struct frame *frame);
uint32_t offload_cut_len(const struct frame *frame);

#endif
