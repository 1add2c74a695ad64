/* tests/unit/switch/model.h - the switch and its naive double under the same operations
 *
 * Bytes become operations: join, leave, plug, unplug, enable, isolate, frames, ticks, static entries, jumps
 * of the clock, fake ports that take, queue or push back. After each one the two must agree on who got which
 * frame in which order, on every counter, and on the table, and the sum rule must hold. Any bytes will do:
 * random ones in test_model.c, a fuzzer's.
 */
#ifndef TESTS_UNIT_SWITCH_MODEL_H
#define TESTS_UNIT_SWITCH_MODEL_H

#include <stddef.h>
#include <stdint.h>

#include "switch/counters.h"

/* Runs 'data' against a fresh switch. Returns 0, or -1 if the two disagree: see switch_ops_mismatch(). */
int switch_ops_run(const uint8_t *data, size_t size);

/* Says where the last run failed and in what; "" if it did not. */
const char *switch_ops_mismatch(void);

/* What all runs so far have seen, so that a test can tell that they saw everything. */
struct switch_ops_tally {
    uint64_t n_ops;
    uint64_t n_waits;
    uint64_t n_rows; /* frames that came behind the first of a row */
    uint64_t n_moves, n_evictions, n_flaps, n_aged;
    struct counters totals;
};
const struct switch_ops_tally *switch_ops_tally(void);

#endif
