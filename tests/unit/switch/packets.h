/* tests/unit/switch/packets.h - TCP and UDP packets of any shape, and what they are cut into, done naively
 *
 * Nothing here is shared with switch/: one byte or 16-bit word at a time, and offsets that the maker of a
 * packet knows instead of finding them.
 */
#ifndef TESTS_UNIT_SWITCH_PACKETS_H
#define TESTS_UNIT_SWITCH_PACKETS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "switch/frame.h"

enum {
    PACKETS_SIZE = 66000,
    PACKETS_TCP = 6,
    PACKETS_UDP = 17,
};

struct packets_shape {
    int version;           /* 4 or 6 */
    uint8_t protocol;      /* PACKETS_TCP or PACKETS_UDP */
    uint32_t n_tags;       /* 802.1Q; of two, the first is 802.1ad */
    uint32_t network_more; /* bytes of IPv4 options (in fours) or of an IPv6 hop-by-hop header (in eights) */
    uint32_t tcp_more;     /* bytes of options, in fours */
    uint32_t payload_len;
    uint32_t sequence;
    uint16_t id;
    uint8_t tcp_flags;
};

struct packets_packet {
    struct frame frame;
    uint32_t network, transport, payload; /* offsets */
    struct packets_shape shape;
    uint8_t room[FRAME_PREFIX + PACKETS_SIZE];
};

/* Makes a packet with a partial checksum and an all-zero descriptor; the payload comes from 'seed'. */
void packets_make(struct packets_packet *packet, const struct packets_shape *shape, uint32_t seed);

/* Gives the frame the descriptor of a sender that leaves segmentation (gso_size > 0) or the checksum to us.
 */
void packets_describe(struct packets_packet *packet, uint16_t gso_size);

/* Writes segment 'index' of the packet, finished. Returns its length; 0: there is no such segment. */
uint32_t packets_segment(const struct packets_packet *packet, uint32_t gso_size, uint32_t index,
                         uint8_t *ret_bytes);

/* Returns the value of the 16-bit words' ones' complement sum, added to 'sum'. */
uint32_t packets_sum(uint32_t sum, const uint8_t *bytes, uint32_t len);

/* True if the checksum of the TCP or UDP packet from 'transport' on is right, and that of its IPv4 header. */
bool packets_is_right(const uint8_t *bytes, uint32_t len, uint32_t network, uint32_t transport,
                      uint8_t protocol);

/* Writes the bytes of a frame in pieces. Returns their number. */
uint32_t packets_flatten(const struct frame *frame, uint8_t *ret_bytes);

#endif
