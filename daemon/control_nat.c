/* daemon/control_nat.c - the helper of a network with a TAP: its NAT, DHCP and DNS
 *
 * The TAP is the network's and goes on without it, so its end is not the uplink's: it is reported, and
 * another is started here after a back-off. It is told what should be when it starts, when the network gets
 * another TAP, and when the forwards change.
 */
#include "daemon/control_internal.h"

#include <stdio.h>
#include <string.h>

bool nat_is_wanted(const struct managed *m)
{
    return network_spec_wants_nat(&m->spec, m->uplink);
}

void nat_send(struct managed *m)
{
    struct nat_order order = {.spec = m->spec};
    if (!m->up.channel || !m->up.tap[0])
        return;
    order.spec.uplink = m->uplink;
    memcpy(order.tap, m->up.tap, sizeof(order.tap));
    channel_uv_send(m->up.channel, MSG_NAT, 0, &order, sizeof(order), -1);
}

void nat_serve(struct managed *m)
{
    if (m->up.channel)
        nat_send(m);
    else if (!m->up.is_starting && m->phase != PHASE_STOPPING && !m->is_gone)
        uplink_start_process(m);
}

static void on_retry(uv_timer_t *timer)
{
    nat_serve(timer->data);
}

void nat_init(struct managed *m)
{
    uv_timer_init(&m->control->loop, &m->up.nat_timer);
    m->up.nat_timer.data = m;
}

void nat_retry_later(struct managed *m)
{
    const uint64_t up_ms = m->up.started_ms ? uv_now(&m->control->loop) - m->up.started_ms : 0;
    m->up.started_ms = 0;
    if (m->phase != PHASE_STOPPING && !m->is_gone)
        uv_timer_start(&m->up.nat_timer, on_retry, uplink_retry_next(&m->up.nat_retry, up_ms), 0);
}

static void on_network(void *ctx, struct managed *m, const struct query_result *result)
{
    (void)ctx;
    if (!result || m->up.tap[0] || !result->report.uplink_facts.ifname[0])
        return; /* it asks for a TAP, or has got one meanwhile */
    memcpy(m->up.tap, result->report.uplink_facts.ifname, sizeof(m->up.tap));
    nat_serve(m);
}

void nat_adopt(struct managed *m)
{
    if (nat_is_wanted(m) && !m->up.channel && !m->up.is_starting && !m->up.tap[0])
        control_query(m, false, false, on_network, NULL);
}
