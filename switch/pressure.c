/* switch/pressure.c - how long a source may be made to wait
 *
 * How it works
 *   A ring of slots of 10 ms, each with the time waited that ended in it. The slots in the ring cover the
 *   100 ms before now and a little more, so what is left of the budget is never too much for any 100 ms
 *   that end with the wait now granted. What falls out of the ring is forgotten.
 *
 * When the source waited longer than it was granted
 *   (a late timer) all of it is booked, and the next grants are smaller by as much.
 */
#include "switch/pressure.h"

/* Moves the ring on to the slot of 'now_us'. A clock that went back stays in the slot it had. */
static void advance(struct pressure *pressure, uint64_t now_us)
{
    uint64_t slot = now_us / PRESSURE_SLOT_US;

    for (int i = 0; i < PRESSURE_SLOTS && pressure->slot_at < slot; i++) {
        pressure->slot_at++;
        pressure->waited_us[pressure->slot_at % PRESSURE_SLOTS] = 0;
    }
    /* After a long silence the whole ring is zero, wherever in it the slot lies. */
    if (pressure->slot_at < slot)
        pressure->slot_at = slot;
}

uint32_t pressure_allowance_us(struct pressure *pressure, uint64_t now_us)
{
    uint64_t waited_us = 0;

    advance(pressure, now_us);
    for (int i = 0; i < PRESSURE_SLOTS; i++)
        waited_us += pressure->waited_us[i];
    if (waited_us >= PRESSURE_BUDGET_US)
        return 0;

    uint32_t left_us = PRESSURE_BUDGET_US - (uint32_t)waited_us;
    return left_us < PRESSURE_PAUSE_MAX_US ? left_us : PRESSURE_PAUSE_MAX_US;
}

void pressure_spend(struct pressure *pressure, uint64_t now_us, uint32_t us)
{
    advance(pressure, now_us);
    uint32_t *waited_us = &pressure->waited_us[pressure->slot_at % PRESSURE_SLOTS];
    *waited_us = us > UINT32_MAX - *waited_us ? UINT32_MAX : *waited_us + us;
}
