/* perf/bench.h - one run: the ports, the flows between them, the loop, the result
 *
 * Ports, in this order (what a plan does not ask for is left out):
 *   2 x fan          pairs: 0 -> 1, 2 -> 3, ...      or, in a flood, port 0 and its receivers
 *   2                one frame bounces between these two: latency
 *   2                the aimer, and its sink          (aim)
 *   idle             announced, read, silent
 *   stuck            announced, then never read
 * The aimer sends 2,000 broadcasts a second, and 'aim' paced unicast flows: flow i to stuck port i, or to the
 * sink (which is read) where there is no stuck port i. So the same plan without stuck ports is the fair
 * comparison.
 */
#ifndef PERF_BENCH_H
#define PERF_BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "perf/port.h"

enum { WATCH_MAX = 16 };

struct plan {
    struct port_setup setup;
    size_t frame_size;
    unsigned batch;
    uint64_t window; /* 0: open loop */
    unsigned fan, flood, aim, idle, stuck;
    bool is_bidir, has_latency, is_sleepy;
    unsigned warm_ms, window_ms;
    long watch[WATCH_MAX]; /* processes of the switch */
    unsigned n_watch;
};

struct result {
    double seconds;
    uint64_t frames; /* received in the window, of the measured flows; two per round trip */
    uint64_t sent, lost, reordered, corrupt, foreign, alien, reopened; /* whole run, measured flows */
    uint64_t aim_sent, aim_lost; /* the aimer's broadcasts at the live ports, its unicasts at the sink */
    uint64_t switch_ns, own_ns, machine_ns; /* CPU in the window */
    uint64_t n_rtts;
    double rtt_p50_us, rtt_p99_us, rtt_p999_us, rtt_max_us;
};

unsigned plan_ports(const struct plan *plan);

/* Plugs in, runs, and fills 'result'. Ends the program with a message on anything that makes a figure
 * worthless. */
void bench_run(const struct plan *plan, struct result *result);

#endif
