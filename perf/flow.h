/* perf/flow.h - one sender and its receivers: pacing, and what arrived
 *
 * A flow sends bursts of equal frames from one port to one port or to all. Three ways to pace it:
 *   PACE_WINDOW  closed window: frames in flight = sent minus what the slowest receiver has seen; a burst
 * starts when at least half of it fits. Window 0: open loop. After 50 ms without progress the window is
 * opened again; what is missing by then counts as lost. PACE_RATE    so many frames a second, whether they
 * arrive or not PACE_TURN    one frame for each turn it is given: the two halves of a ping-pong A burst that
 * has begun is finished before anything else leaves the port; a blocked sender waits, never drops.
 */
#ifndef PERF_FLOW_H
#define PERF_FLOW_H

#include <stdbool.h>
#include <stdint.h>

#include "perf/frame.h"
#include "perf/port.h"

enum flow_pace { PACE_WINDOW, PACE_RATE, PACE_TURN };

/* What one port has seen of a flow. */
struct seen {
    bool is_receiver;
    uint64_t next; /* highest sequence number seen + 1 */
    uint64_t frames;
    uint64_t reordered; /* late or twice */
};

struct flow {
    uint32_t id;
    struct frame_shape shape;
    enum flow_pace pace;
    bool is_measured;
    uint64_t window;
    uint64_t rate_hz;
    uint64_t turns;
    struct port *from;
    struct burst burst;
    bool is_begun;
    uint64_t stamped; /* frames given a number; those before the begun burst are all sent */
    uint64_t base;    /* the window counts from here if no receiver has come further */
    uint64_t reopened;
    uint64_t started_ns, progress_ns;
    struct seen *seen; /* [n_seen], by port */
    unsigned n_seen;
};

/* The flow borrows 'from'. */
void flow_init(struct flow *flow, uint32_t id, const struct frame_shape *shape, struct port *from,
               unsigned n_ports);

void flow_deinit(struct flow *flow);

/* True if a send call would make sense now. 'is_stopped': only a begun burst counts. */
bool flow_is_ready(struct flow *flow, uint64_t now_ns, bool is_stopped);

/* Starts a burst or goes on with the begun one. False if the port is blocked now. */
bool flow_send(struct flow *flow);

/* Notes that 'port' received frame 'seq'. */
void flow_note(struct flow *flow, unsigned port, uint64_t seq, uint64_t now_ns);

/* Frames the kernel has taken whole; frames received, over all receivers; those that never came. */
uint64_t flow_sent(const struct flow *flow);
uint64_t flow_received(const struct flow *flow);
uint64_t flow_lost(const struct flow *flow);

#endif
