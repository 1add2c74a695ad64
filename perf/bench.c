/* perf/bench.c - see bench.h
 *
 * One thread, one level-triggered epoll set. A turn: every flow that may send gets up to SEND_MAX frames
 * away, then every readable port gets one receive call. The loop sleeps only when no flow may send.
 */
#include "perf/bench.h"

#include <err.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#include "perf/cpu.h"
#include "perf/flow.h"
#include "perf/frame.h"
#include "perf/port.h"

enum {
    EVENTS_MAX = 256,
    SEND_MAX = 64, /* frames a flow sends in one turn, whatever its batch */
    RTTS_MAX = 4 * 1000 * 1000,
    BROADCAST_HZ = 2000,
    AIMED_HZ = 100, /* each */
    SETTLE_MS = 200,
    QUIET_MS = 150,
    MISSING_MS = 1000, /* so long a frame may be under way on a machine that is busy elsewhere */
    DRAIN_MAX_MS = 5000
};
static const uint64_t ms = 1000 * 1000;

struct bench {
    const struct plan *plan;
    int epoll;
    struct port *ports;
    unsigned n_ports;
    struct flow *flows;
    unsigned n_flows;
    bool is_stopped, is_counting;
    uint64_t now_ns, paced_ns, arrived_ns;
    uint64_t corrupt, foreign, alien;
    struct flow *ping, *pong;
    uint64_t ping_ns;
    uint32_t *rtts_ns;
    uint64_t n_rtts;
};

static uint64_t clock_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static unsigned n_bulk_ports(const struct plan *plan)
{
    return plan->flood > 0 ? plan->flood + 1 : 2 * plan->fan;
}

unsigned plan_ports(const struct plan *plan)
{
    return n_bulk_ports(plan) + (plan->has_latency ? 2 : 0) + (plan->aim > 0 ? 2 : 0) + plan->idle +
           plan->stuck;
}

static void port_watch(const struct bench *b, struct port *port, int op)
{
    struct epoll_event event = {.data.u32 = port->index};

    event.events = (port->is_read ? (uint32_t)EPOLLIN : 0) | (port->is_blocked ? (uint32_t)EPOLLOUT : 0);
    if (epoll_ctl(b->epoll, op, port->fd, &event) != 0)
        err(1, "epoll_ctl");
}

/* A flow of the bench; more traits are set by the caller. */
static struct flow *add_flow(struct bench *b, uint32_t from, uint32_t to, unsigned batch)
{
    struct frame_shape shape = {.size = b->plan->frame_size, .from = from, .to = to, .batch = batch};
    struct flow *flow = &b->flows[b->n_flows];

    flow_init(flow, b->n_flows, &shape, &b->ports[from], b->n_ports);
    for (unsigned i = 0; i < b->n_ports; i++)
        flow->seen[i].is_receiver = i != from && (to == TO_ALL || to == i);
    b->n_flows++;
    return flow;
}

static void add_bulk(struct bench *b, uint32_t from, uint32_t to)
{
    struct flow *flow = add_flow(b, from, to, b->plan->batch);

    flow->is_measured = true;
    flow->window = b->plan->window;
}

static void add_ping(struct bench *b, uint32_t first)
{
    b->ping = add_flow(b, first, first + 1, 1);
    b->pong = add_flow(b, first + 1, first, 1);
    b->ping->pace = b->pong->pace = PACE_TURN;
    b->ping->is_measured = b->pong->is_measured = b->plan->fan == 0;
    b->ping->turns = 1;
    b->rtts_ns = malloc(RTTS_MAX * sizeof(*b->rtts_ns));
    if (b->rtts_ns == NULL)
        err(1, "malloc");
}

static void add_aimed(struct bench *b, uint32_t aimer)
{
    unsigned first_stuck = b->n_ports - b->plan->stuck;
    struct flow *flow = add_flow(b, aimer, TO_ALL, 1);

    flow->pace = PACE_RATE;
    flow->rate_hz = BROADCAST_HZ;
    for (unsigned i = first_stuck; i < b->n_ports; i++)
        flow->seen[i].is_receiver = false;
    for (unsigned i = 0; i < b->plan->aim; i++) {
        bool is_stuck = i < b->plan->stuck;

        flow = add_flow(b, aimer, is_stuck ? first_stuck + i : aimer + 1, 1);
        flow->pace = PACE_RATE;
        flow->rate_hz = AIMED_HZ;
        flow->seen[flow->shape.to].is_receiver = !is_stuck;
    }
}

static void add_flows(struct bench *b)
{
    const struct plan *plan = b->plan;
    uint32_t at = n_bulk_ports(plan);

    b->flows = calloc(2 * plan->fan + plan->aim + 4, sizeof(*b->flows));
    if (b->flows == NULL)
        err(1, "calloc");
    if (plan->flood > 0)
        add_bulk(b, 0, TO_ALL);
    for (uint32_t i = 0; plan->flood == 0 && i < plan->fan; i++) {
        add_bulk(b, 2 * i, 2 * i + 1);
        if (plan->is_bidir)
            add_bulk(b, 2 * i + 1, 2 * i);
    }
    if (plan->flood > 0) /* whoever else is there hears the flood too, but only the receivers set the pace */
        for (uint32_t i = at; i < b->n_ports; i++)
            b->flows[0].seen[i].is_receiver = false;
    if (plan->has_latency) {
        add_ping(b, at);
        at += 2;
    }
    if (plan->aim > 0)
        add_aimed(b, at);
}

/* The ping came back, or arrived at the far side: the other half of the pair has its turn. */
static void pass_turn(struct bench *b, const struct flow *flow)
{
    if (flow == b->ping) {
        b->pong->turns = 1;
        return;
    }
    if (b->is_counting && b->n_rtts < RTTS_MAX) {
        uint64_t rtt_ns = clock_ns() - b->ping_ns;
        b->rtts_ns[b->n_rtts++] = rtt_ns < UINT32_MAX ? (uint32_t)rtt_ns : UINT32_MAX;
    }
    b->ping->turns = 1;
}

static void on_frame(void *arg, struct port *port, const uint8_t *frame, size_t len)
{
    struct bench *b = arg;
    struct frame_id id;
    enum frame_verdict verdict = frame_identify(frame, len, &id);
    struct flow *flow;

    b->arrived_ns = b->now_ns;
    if (verdict == FRAME_ALIEN) {
        b->alien++;
        return;
    }
    if (verdict == FRAME_GOOD && id.flow == FLOW_ANNOUNCE)
        return;
    if (verdict != FRAME_GOOD || id.flow >= b->n_flows) {
        b->corrupt++;
        return;
    }
    flow = &b->flows[id.flow];
    if (frame_check(frame, len, &flow->shape, id.seq) != FRAME_GOOD || id.seq >= flow->stamped) {
        b->corrupt++;
        return;
    }
    if (!flow->seen[port->index].is_receiver) {
        b->foreign++;
        return;
    }
    flow_note(flow, port->index, id.seq, b->now_ns);
    if (flow->pace == PACE_TURN)
        pass_turn(b, flow);
}

/* A lost ping would end the measurement: after 50 ms a new one leaves. */
static void revive_ping(struct bench *b)
{
    if (b->ping == NULL || b->is_stopped || b->now_ns < b->ping_ns + 50 * ms || b->ping->is_begun)
        return;
    if (b->ping->turns == 0)
        b->ping->reopened++;
    b->ping->turns = 1;
    b->pong->turns = 0;
}

/* Returns true if some flow could go on sending at once. */
static bool send_turn(struct bench *b)
{
    bool is_eager = false, is_paced_due = b->now_ns >= b->paced_ns;

    for (unsigned i = 0; i < b->n_flows; i++) {
        struct flow *flow = &b->flows[i];
        unsigned frames = 0;

        if (flow->pace == PACE_RATE && !is_paced_due && !flow->is_begun)
            continue;
        while (frames < SEND_MAX && flow_is_ready(flow, b->now_ns, b->is_stopped)) {
            if (flow == b->ping)
                b->ping_ns = clock_ns();
            frames += flow->burst.n_frames;
            if (!flow_send(flow)) {
                flow->from->is_blocked = true;
                port_watch(b, flow->from, EPOLL_CTL_MOD);
            }
        }
        is_eager = is_eager || frames >= SEND_MAX;
    }
    if (is_paced_due)
        b->paced_ns = b->now_ns + ms / 4;
    return is_eager;
}

static void receive_turn(struct bench *b, int timeout_ms)
{
    struct epoll_event events[EVENTS_MAX];
    int n = epoll_wait(b->epoll, events, EVENTS_MAX, timeout_ms);

    if (n < 0 && errno != EINTR)
        err(1, "epoll_wait");
    b->now_ns = clock_ns();
    for (int i = 0; i < n; i++) {
        struct port *port = &b->ports[events[i].data.u32];

        if ((events[i].events & (uint32_t)EPOLLOUT) != 0) {
            port->is_blocked = false;
            port_watch(b, port, EPOLL_CTL_MOD);
        }
        if (port->is_read && (events[i].events & ~(uint32_t)EPOLLOUT) != 0)
            port_receive(port, on_frame, b);
        else if ((events[i].events & (uint32_t)(EPOLLHUP | EPOLLERR)) != 0)
            errx(1, "port %u: the switch closed it", port->index);
    }
}

static void turn(struct bench *b)
{
    bool is_eager, is_spinning;

    revive_ping(b);
    is_eager = send_turn(b);
    is_spinning = b->ping != NULL && !b->plan->is_sleepy && !b->is_stopped;
    receive_turn(b, is_eager || is_spinning ? 0 : 1);
}

static void turn_for(struct bench *b, unsigned time_ms)
{
    uint64_t end_ns = b->now_ns + time_ms * ms;

    while (b->now_ns < end_ns)
        turn(b);
}

static void open_ports(struct bench *b)
{
    b->ports = calloc(b->n_ports, sizeof(*b->ports));
    if (b->ports == NULL)
        err(1, "calloc");
    b->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (b->epoll < 0)
        err(1, "epoll_create1");
    for (unsigned i = 0; i < b->n_ports; i++) {
        port_open(&b->ports[i], &b->plan->setup, i);
        port_watch(b, &b->ports[i], EPOLL_CTL_ADD);
    }
}

/* Every port broadcasts 60 bytes, so that a learning switch knows it. Then the stuck ones close their eyes.
 */
static void announce_ports(struct bench *b)
{
    uint8_t bytes[FRAME_MIN + 4] = {0, 0, 0, FRAME_MIN};

    b->now_ns = clock_ns();
    b->is_stopped = true;
    for (unsigned i = 0; i < b->n_ports; i++) {
        struct frame_shape shape = {.size = FRAME_MIN, .from = i, .to = TO_ALL, .batch = 1};
        struct burst burst = {.bytes = bytes, .n_frames = 1, .frame_size = FRAME_MIN};

        frame_build(bytes + 4, &shape, FLOW_ANNOUNCE, 0);
        while (!port_send(&b->ports[i], &burst))
            turn(b);
        turn(b);
    }
    b->arrived_ns = b->now_ns;
    while (b->now_ns < b->arrived_ns + SETTLE_MS * ms)
        turn(b);
    for (unsigned i = b->n_ports - b->plan->stuck; i < b->n_ports; i++) {
        b->ports[i].is_read = false;
        port_watch(b, &b->ports[i], EPOLL_CTL_MOD);
    }
    b->is_stopped = false;
}

struct sample {
    uint64_t at_ns, frames, switch_ns, own_ns, machine_ns;
};

static struct sample sample_take(const struct bench *b)
{
    struct sample sample = {.machine_ns = cpu_of_machine_ns(), .own_ns = cpu_of_process_ns((long)getpid())};

    for (unsigned i = 0; i < b->plan->n_watch; i++)
        sample.switch_ns += cpu_of_process_ns(b->plan->watch[i]);
    for (unsigned i = 0; i < b->n_flows; i++)
        if (b->flows[i].is_measured)
            sample.frames += flow_received(&b->flows[i]);
    sample.at_ns = clock_ns();
    return sample;
}

static void measure(struct bench *b, struct result *result)
{
    struct sample from, to;

    b->now_ns = clock_ns();
    for (unsigned i = 0; i < b->n_flows; i++)
        b->flows[i].started_ns = b->flows[i].progress_ns = b->now_ns;
    turn_for(b, b->plan->warm_ms);
    from = sample_take(b);
    b->is_counting = true;
    turn_for(b, b->plan->window_ms);
    b->is_counting = false;
    to = sample_take(b);
    result->seconds = (double)(to.at_ns - from.at_ns) / 1e9;
    result->frames = to.frames - from.frames;
    result->switch_ns = to.switch_ns - from.switch_ns;
    result->own_ns = to.own_ns - from.own_ns;
    result->machine_ns = to.machine_ns - from.machine_ns;
}

static bool is_missing(const struct bench *b)
{
    for (unsigned i = 0; i < b->n_flows; i++)
        if (b->flows[i].is_begun || flow_lost(&b->flows[i]) > 0)
            return true;
    return false;
}

/* Ends QUIET_MS after the last frame if none is missing, later if some are. */
static void drain(struct bench *b)
{
    uint64_t end_ns = b->now_ns + DRAIN_MAX_MS * ms, quiet_ms;

    b->is_stopped = true;
    b->arrived_ns = b->now_ns;
    do {
        turn(b);
        quiet_ms = (b->now_ns - b->arrived_ns) / ms;
    } while (b->now_ns < end_ns && (quiet_ms < QUIET_MS || (quiet_ms < MISSING_MS && is_missing(b))));
}

static int compare_u32(const void *a, const void *b)
{
    const uint32_t *x = a, *y = b;

    return (*x > *y) - (*x < *y);
}

/* Of the sorted times; 1000 is the longest. */
static double rtt_us(const struct bench *b, unsigned permille)
{
    uint64_t at = (b->n_rtts - 1) * permille / 1000;

    return b->rtts_ns[at] / 1e3;
}

static void sum_up(const struct bench *b, struct result *result)
{
    for (unsigned i = 0; i < b->n_flows; i++) {
        const struct flow *flow = &b->flows[i];

        result->reopened += flow->reopened;
        for (unsigned p = 0; p < flow->n_seen; p++)
            result->reordered += flow->seen[p].reordered;
        if (flow->pace == PACE_RATE) {
            result->aim_sent += flow_sent(flow);
            result->aim_lost += flow_lost(flow);
        } else {
            result->sent += flow_sent(flow);
            result->lost += flow_lost(flow);
        }
    }
    result->corrupt = b->corrupt;
    result->foreign = b->foreign;
    result->alien = b->alien;
    result->n_rtts = b->n_rtts;
    if (b->n_rtts > 0) {
        qsort(b->rtts_ns, b->n_rtts, sizeof(*b->rtts_ns), compare_u32);
        result->rtt_p50_us = rtt_us(b, 500);
        result->rtt_p99_us = rtt_us(b, 990);
        result->rtt_p999_us = rtt_us(b, 999);
        result->rtt_max_us = rtt_us(b, 1000);
    }
}

void bench_run(const struct plan *plan, struct result *result)
{
    struct bench b = {.plan = plan, .n_ports = plan_ports(plan)};

    *result = (struct result){0};
    frame_init();
    open_ports(&b);
    announce_ports(&b);
    add_flows(&b);
    measure(&b, result);
    drain(&b);
    sum_up(&b, result);
    for (unsigned i = 0; i < b.n_flows; i++)
        flow_deinit(&b.flows[i]);
    for (unsigned i = 0; i < b.n_ports; i++)
        port_close(&b.ports[i]);
    close(b.epoll);
    free(b.rtts_ns);
    free(b.flows);
    free(b.ports);
}
