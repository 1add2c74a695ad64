/* tests/lib/traffic.h - frames that tell on whoever loses, changes or misplaces them
 *
 * A test frame carries who sent it, its flow, its number in the flow, its length and when it was sent, under
 * a checksum; the rest is a pattern that depends on flow and number, so any byte that moved or changed shows.
 * Written without a line of the switch's own code: a bug there must not be mirrored here.
 */
#ifndef TESTS_LIB_TRAFFIC_H
#define TESTS_LIB_TRAFFIC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    TRAFFIC_HEADER = 14 + 36,    /* Ethernet and ours */
    TRAFFIC_FRAME_MAX = 69632,   /* what QEMU takes */
    TRAFFIC_FLOW_HELLO = 0xffff, /* "flow" of the greetings that teach the switch our addresses */
};

struct traffic_info {
    uint32_t run; /* one run of the program; two on one machine differ */
    uint16_t flow;
    uint16_t from; /* index of the sending VM */
    uint64_t number;
    uint64_t sent_ns;
};

enum traffic_verdict { TRAFFIC_GOOD, TRAFFIC_ALIEN, TRAFFIC_CORRUPT };

/* Addresses are 52:54:00:bb:hh:ll, 'base' and 'index' from 0. */
void traffic_mac(uint8_t mac[6], unsigned base, unsigned index);

/* Writes 'len' >= TRAFFIC_HEADER bytes of frame. */
void traffic_build(uint8_t *frame, size_t len, const uint8_t to[6], const uint8_t from[6],
                   const struct traffic_info *info);

/* Alien: not one of ours, or of another run. */
enum traffic_verdict traffic_check(const uint8_t *frame, size_t len, uint32_t run,
                                   struct traffic_info *ret_info);

uint64_t traffic_now_ns(void);

#endif
