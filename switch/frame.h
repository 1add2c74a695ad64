/* switch/frame.h - one Ethernet frame on its way through
 *
 * A frame is a view. Its bytes belong to the receive buffer of the link it came from and are valid until
 * the call that handed them over (lan_receive, port_ops.send) returns: whoever wants to keep a frame
 * copies it. There are no reference counts and there is no pool.
 *
 * What always holds
 *   The FRAME_PREFIX bytes in front of 'head' hold 'len', big-endian: the length a stream carries. Each
 *   source of frames provides them, so that a stream link sends prefix and frame as one piece, and
 *   neighbours in one receive buffer as one larger piece.
 *   head_len >= min(len, FRAME_HEAD_MIN): headers are read without walking segments.
 *   sum of head_len and the lengths in 'rest' == len; n_rest <= FRAME_REST_MAX.
 *   n_more > 0: it stands for a row, see switch/row.h.
 */
#ifndef SWITCH_FRAME_H
#define SWITCH_FRAME_H

#include <stdbool.h>
#include <stdint.h>

enum {
    FRAME_PREFIX = 4,
    FRAME_LEN_MIN = 14,        /* an Ethernet header; a shorter frame wedges QEMU's receive side for good */
    FRAME_LEN_MAX = 69632,     /* QEMU's NET_BUFSIZE (net/net.h): a longer record ends a QEMU stream */
    FRAME_OFFLOAD_MAX = 65550, /* what libkrun sends and takes with offloading; vmnet's limit too */
    FRAME_HEAD_MIN = 64,
    FRAME_REST_MAX = 1, /* segments behind head */
    FRAME_ETHER_HEADER = 14,
    FRAME_VLAN_TAG = 4,
};

struct frame_segment {
    const uint8_t *base;
    uint32_t len;
};

/* What is still to be done to a frame before a receiver without offload may have it; the fields of
 * virtio_net_hdr in host byte order. All zero: a plain, finished frame. */
struct frame_offload {
    uint8_t flags;
    uint8_t gso_type;
    uint16_t header_len;
    uint16_t gso_size;
    uint16_t csum_start;
    uint16_t csum_offset;
};

struct frame {
    uint8_t *head;                    /* the first head_len bytes; ours, so a checksum is finished in place */
    uint32_t len;                     /* the whole frame, without prefix and FCS */
    uint32_t head_len;                /* == len for a frame that lies in one piece */
    const struct frame_segment *rest; /* what follows head; NULL if n_rest is 0 */
    uint32_t n_rest;
    struct frame_offload offload;
    uint32_t n_more;     /* frames that follow this one in its row */
    uint32_t more_bytes; /* theirs, without prefixes */
    uint32_t more_max;   /* the longest of them */
};

static inline void frame_put_len(uint8_t prefix[FRAME_PREFIX], uint32_t len)
{
    prefix[0] = (uint8_t)(len >> 24);
    prefix[1] = (uint8_t)(len >> 16);
    prefix[2] = (uint8_t)(len >> 8);
    prefix[3] = (uint8_t)len;
}

static inline uint32_t frame_get_len(const uint8_t prefix[FRAME_PREFIX])
{
    return (uint32_t)prefix[0] << 24 | (uint32_t)prefix[1] << 16 | (uint32_t)prefix[2] << 8 | prefix[3];
}

/* 802.1Q or 802.1ad by its EtherType. 'frame' has at least FRAME_LEN_MIN bytes. */
static inline bool frame_is_tagged(const struct frame *frame)
{
    return (frame->head[12] == 0x81 && frame->head[13] == 0x00) ||
           (frame->head[12] == 0x88 && frame->head[13] == 0xA8);
}

#endif
