/* daemon/reassembly.h - puts the IPv4 fragments of guests together before libslirp sees them
 *
 * Why: libslirp's own reassembly (ip_reass, seen with 4.7.0) ends in wild pointers on fragments that a guest
 * is free to send. It gets whole datagrams only.
 *
 * How it works
 *   REASSEMBLY_MAX datagrams at a time, each in a buffer of its own; a map of 8-byte blocks says what has
 *   come. Fragments that overlap, contradict each other or carry options end their datagram.
 *
 * When it is full, or a fragment never comes
 *   The oldest datagram gives way; one that waits for REASSEMBLY_MS is the first to.
 *
 * Pure. Frames passed guest_frame_check().
 */
#ifndef DAEMON_REASSEMBLY_H
#define DAEMON_REASSEMBLY_H

#include <stddef.h>
#include <stdint.h>

enum {
    REASSEMBLY_MAX = 8,
    REASSEMBLY_MS = 30 * 1000,       /* as Linux (net.ipv4.ipfrag_time) */
    REASSEMBLY_PAYLOAD = 65535 - 20, /* of a datagram without options */
    REASSEMBLY_HEADER = 14 + 20,
};

struct reassembly_slot {
    uint64_t key[2];   /* addresses; protocol and identification */
    uint64_t since_ms; /* when its first fragment came; meaningless if 'received' is 0 */
    uint32_t received; /* bytes of payload; 0: the slot is free */
    uint32_t high;     /* end of the payload known so far */
    uint32_t total;    /* of the payload; 0: the last fragment has not come */
    uint8_t blocks[REASSEMBLY_PAYLOAD / 64 + 1];
    uint8_t frame[REASSEMBLY_HEADER + REASSEMBLY_PAYLOAD];
};

/* All zero is an empty one. */
struct reassembly {
    struct reassembly_slot slots[REASSEMBLY_MAX];
    uint64_t
        drop_bad; /* fragments that contradict themselves or others, with what was there of the datagram */
    uint64_t drop_stale; /* datagrams that gave way */
};

/* Returns the frame to go on with: 'frame' itself if it is no fragment, or the whole datagram that it
 * completes, valid until the next call; NULL if there is none for now. */
const uint8_t *reassembly_add(struct reassembly *reassembly, const uint8_t *frame, size_t len,
                              uint64_t now_ms, size_t *ret_len);

#endif
