/* daemon/front_nat.c - NAT, DHCP and DNS beside the TAP of a front end, as daemon/control_nat.c is for
 * vmswitchd
 *
 * The TAP is the network's and goes on without the process nat, so its end is not the uplink's: another is
 * asked for here after a back-off. The program is ready when it is up.
 */
#include "daemon/front_internal.h"

#include <string.h>

bool front_nat_is_wanted(const struct front *front)
{
    return network_spec_wants_nat(&front->plan->spec, front->plan->spec.uplink);
}

void front_nat_send(struct front *front)
{
    struct nat_order order = {.spec = front->plan->spec};
    memcpy(order.tap, front->uplink.tap, sizeof(order.tap));
    channel_uv_send(front->uplink.channel, MSG_NAT, 0, &order, sizeof(order), -1);
}

void front_nat_serve(struct front *front)
{
    static const struct child_start start; /* the keeper knows which */
    struct front_uplink *up = &front->uplink;
    if (front->is_ending)
        return;
    if (up->channel) {
        front_nat_send(front);
    } else if (!up->is_asked) {
        up->is_asked = true;
        channel_uv_send(front->keeper, MSG_START, 0, &start, sizeof(start), -1);
    }
}

static void on_retry(uv_timer_t *timer)
{
    front_nat_serve(timer->data);
}

void front_nat_init(struct front *front)
{
    uv_timer_init(&front->loop, &front->uplink.nat_timer);
    front->uplink.nat_timer.data = front;
}

void front_nat_retry_later(struct front *front)
{
    struct front_uplink *up = &front->uplink;
    const uint64_t up_ms = up->started_ms ? uv_now(&front->loop) - up->started_ms : 0;
    up->started_ms = 0;
    if (!front->is_ending)
        uv_timer_start(&up->nat_timer, on_retry, uplink_retry_next(&up->nat_retry, up_ms), 0);
}
