/* perf/flow.c - see flow.h */
#include "perf/flow.h"

#include <arpa/inet.h>
#include <err.h>
#include <stdlib.h>
#include <string.h>

enum { PACED_LATE_PER_S = 50 }; /* a paced sender may be 1/50 s late */
static const uint64_t stall_ns = 50 * 1000 * 1000;

void flow_init(struct flow *flow, uint32_t id, const struct frame_shape *shape, struct port *from,
               unsigned n_ports)
{
    uint32_t prefix = htonl((uint32_t)shape->size);

    *flow = (struct flow){.id = id, .shape = *shape, .from = from, .n_seen = n_ports};
    flow->burst.n_frames = shape->batch;
    flow->burst.frame_size = shape->size;
    flow->burst.bytes = malloc(shape->batch * (shape->size + 4));
    flow->seen = calloc(n_ports, sizeof(*flow->seen));
    if (flow->burst.bytes == NULL || flow->seen == NULL)
        err(1, "malloc");
    for (unsigned i = 0; i < shape->batch; i++) {
        uint8_t *frame = burst_frame(&flow->burst, i);

        memcpy(frame - 4, &prefix, 4);
        frame_build(frame, shape, id, i);
    }
}

void flow_deinit(struct flow *flow)
{
    free(flow->burst.bytes);
    free(flow->seen);
}

static uint64_t in_flight(const struct flow *flow)
{
    uint64_t slowest = UINT64_MAX;

    if (flow->shape.to != TO_ALL)
        slowest = flow->seen[flow->shape.to].next;
    else
        for (unsigned i = 0; i < flow->n_seen; i++)
            if (flow->seen[i].is_receiver && flow->seen[i].next < slowest)
                slowest = flow->seen[i].next;
    if (slowest < flow->base)
        slowest = flow->base;
    return slowest < flow->stamped ? flow->stamped - slowest : 0;
}

static bool fits(struct flow *flow, uint64_t now_ns)
{
    if (flow->window == 0 || in_flight(flow) + (flow->shape.batch + 1) / 2 <= flow->window)
        return true;
    if (now_ns < flow->progress_ns + stall_ns)
        return false;
    flow->base = flow->stamped;
    flow->progress_ns = now_ns;
    flow->reopened++;
    return true;
}

/* A sender that got no CPU for a while does not make up for it with a burst. */
static bool is_due(struct flow *flow, uint64_t now_ns)
{
    uint64_t due = (now_ns - flow->started_ns) / 1000 * flow->rate_hz / 1000000;

    if (due > flow->stamped + 1 + flow->rate_hz / PACED_LATE_PER_S)
        flow->started_ns += (due - flow->stamped - 1) * 1000000000u / flow->rate_hz;
    return due > flow->stamped;
}

bool flow_is_ready(struct flow *flow, uint64_t now_ns, bool is_stopped)
{
    if (flow->from->is_blocked || (flow->from->begun != NULL && flow->from->begun != &flow->burst))
        return false;
    if (flow->is_begun)
        return true;
    if (is_stopped)
        return false;
    switch (flow->pace) {
    case PACE_WINDOW:
        return fits(flow, now_ns);
    case PACE_RATE:
        return is_due(flow, now_ns);
    case PACE_TURN:
        return flow->turns > 0;
    }
    return false;
}

bool flow_send(struct flow *flow)
{
    struct burst *burst = &flow->burst;

    if (!flow->is_begun) {
        for (unsigned i = 0; i < burst->n_frames; i++)
            frame_stamp(burst_frame(burst, i), flow->stamped + i);
        flow->stamped += burst->n_frames;
        burst->n_sent = 0;
        burst->sent_bytes = 0;
        flow->is_begun = true;
        if (flow->pace == PACE_TURN)
            flow->turns--;
    }
    flow->is_begun = !port_send(flow->from, burst);
    return !flow->is_begun;
}

void flow_note(struct flow *flow, unsigned port, uint64_t seq, uint64_t now_ns)
{
    struct seen *seen = &flow->seen[port];

    seen->frames++;
    if (seq < seen->next)
        seen->reordered++;
    else
        seen->next = seq + 1;
    flow->progress_ns = now_ns;
}

uint64_t flow_sent(const struct flow *flow)
{
    return flow->stamped - (flow->is_begun ? flow->burst.n_frames - flow->burst.n_sent : 0);
}

uint64_t flow_received(const struct flow *flow)
{
    uint64_t sum = 0;

    for (unsigned i = 0; i < flow->n_seen; i++)
        sum += flow->seen[i].frames;
    return sum;
}

uint64_t flow_lost(const struct flow *flow)
{
    uint64_t sent = flow_sent(flow), sum = 0;

    for (unsigned i = 0; i < flow->n_seen; i++)
        if (flow->seen[i].is_receiver && flow->seen[i].frames < sent)
            sum += sent - flow->seen[i].frames;
    return sum;
}
