/* switch/pressure.h - how long a source may be made to wait
 *
 * A full destination that is reading makes stream sources wait before anything is dropped. That delays the
 * source's other flows too, so it is rationed: at most 1 ms at a time, at most 10 % of any 100 ms, and a
 * destination that has taken nothing for 5 ms has no right to it. Pure: microseconds are arguments.
 */
#ifndef SWITCH_PRESSURE_H
#define SWITCH_PRESSURE_H

#include <stdbool.h>
#include <stdint.h>

enum {
    PRESSURE_PAUSE_MAX_US = 1000,
    PRESSURE_WINDOW_US = 100 * 1000,
    PRESSURE_BUDGET_US = 10 * 1000,
    PRESSURE_STALLED_US = 5000,
    PRESSURE_SLOT_US = 10 * 1000,
    PRESSURE_SLOTS = 11, /* one more than the window, so that any 100 ms lie inside */
};

/* What a source has waited lately. All zero is a fresh one. */
struct pressure {
    uint64_t slot_at;                   /* number of the slot that 'waited_us' ends in */
    uint32_t waited_us[PRESSURE_SLOTS]; /* ring, by slot number modulo PRESSURE_SLOTS */
};

/* How long the source may wait now, in us: 0 (it may not) to PRESSURE_PAUSE_MAX_US. */
uint32_t pressure_allowance_us(struct pressure *pressure, uint64_t now_us);

/* It has waited for 'us' until 'now_us'. */
void pressure_spend(struct pressure *pressure, uint64_t now_us, uint32_t us);

#endif
