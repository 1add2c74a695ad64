/* tests/unit/switch/fake.h - a port without a socket, and frames to send through it
 *
 * A fake port stands in for a link: it counts as port_ops.send asks, and keeps what it was handed.
 */
#ifndef TESTS_UNIT_SWITCH_FAKE_H
#define TESTS_UNIT_SWITCH_FAKE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "switch/lan.h"

enum {
    FAKE_RECORDS_MAX = 1024, /* further frames are counted, not kept */
    FAKE_FRAME_SIZE = 2048,
};

struct fake {
    struct port port;     /* first: the fake is found by its port */
    bool takes_rows;      /* before it is plugged */
    uint32_t queue_limit; /* 0: takes every frame at once; else queues so many and drops the rest */

    size_t n_sends;
    size_t n_frames;
    const struct frame *frames[FAKE_RECORDS_MAX]; /* as handed over, or the row: only to be compared */
    const uint8_t *heads[FAKE_RECORDS_MAX];       /* of each frame: likewise */
    uint8_t last[FAKE_FRAME_SIZE];                /* the bytes of the last one, as far as they fit */
};

/* A finished frame and its bytes. */
struct fake_frame {
    uint8_t bytes[FRAME_PREFIX + FAKE_FRAME_SIZE];
    struct frame frame;
};

/* An enabled port with a link, for frames of LAN_MTU_DEFAULT; it joins 'lan' unless that is NULL. */
void fake_init(struct fake *fake, struct lan *lan, const char *name, enum port_role role);

/* Plugs the fake into its port again. */
void fake_plug(struct fake *fake);

/* Drops what is queued and unplugs, as a link does whose client leaves. */
void fake_unplug(struct fake *fake);

/* Sends what is queued. */
void fake_drain(struct fake *fake);

/* Forgets what was handed over; counters stay. */
void fake_clear(struct fake *fake);

/* Fills 'frame' with 'len' <= FAKE_FRAME_SIZE bytes: the addresses, 'ethertype', then a pattern. */
void fake_frame_fill(struct fake_frame *frame, uint64_t destination, uint64_t source, uint16_t ethertype,
                     uint32_t len);

/* frames_in + flood_copies + segment_copies == frames_out + sum of drops + queued. */
bool fake_sum_holds(const struct lan *lan);

#endif
