/* tests/unit/switch/naive.h - the switch again, as simple as it can be
 *
 * The same rules as switch/lan.h and switch/fdb.h without any of their speed: one array of entries that is
 * searched from end to end, frames taken one after the other, every port asked for every frame. Where the
 * two disagree, one of them is wrong.
 */
#ifndef TESTS_UNIT_SWITCH_NAIVE_H
#define TESTS_UNIT_SWITCH_NAIVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "switch/lan.h"

enum {
    NAIVE_PORTS = 8, /* the first is the uplink */
    NAIVE_ENTRIES = 64,
    NAIVE_BATCH = 16,
};

struct naive_frame {
    uint64_t destination, source;
    uint32_t len;
    uint16_t ethertype;
};

struct naive_entry {
    bool is_used, is_static;
    uint64_t mac;
    int port;
    uint64_t used_ms;
    uint64_t order; /* of its last use; larger is later */
};

struct naive_port {
    bool is_joined, is_plugged, is_enabled, is_isolated, pushes_back;
    uint32_t frame_max;
    uint64_t order;           /* of the last change of its number of learned entries */
    struct counters counters; /* only what the switch counts itself */
    size_t n_received;
    size_t received[NAIVE_BATCH]; /* indices into the last batch */
};

struct naive {
    struct lan_options options;
    struct naive_port ports[NAIVE_PORTS];
    struct naive_entry entries[NAIVE_ENTRIES];
    uint64_t order;
    uint64_t n_moves, n_evictions, n_flaps;
    uint64_t flap_mac, flap_at_ms;
    int flap_port, flap_claimant;
};

/* 'naive' is all zero but for 'options' before its first use. A port that joins has zero counters. */
void naive_join(struct naive *naive, int port);
void naive_leave(struct naive *naive, int port);

/* As lan_receive(); n <= NAIVE_BATCH. */
enum lan_verdict naive_receive(struct naive *naive, int from, const struct naive_frame *frames, size_t n,
                               bool may_wait, uint64_t now_ms);

bool naive_add_static(struct naive *naive, uint64_t mac, int port);
void naive_remove_static(struct naive *naive, uint64_t mac);
void naive_age(struct naive *naive, uint64_t now_ms);
uint32_t naive_flush(struct naive *naive);

/* Returns NULL if there is none. */
const struct naive_entry *naive_find(const struct naive *naive, uint64_t mac);
uint32_t naive_n_learned(const struct naive *naive);

#endif
