/* daemon/front_counters.c - what became of a front end's frames, in one line of the log */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "daemon/front.h"

enum { TEXT_SIZE = 480 }; /* a line of the log is not much longer */

static void take_page(void *ctx, uint16_t type, const void *payload, uint32_t len)
{
    (void)len;
    if (type == MSG_SNAPSHOT)
        memcpy(ctx, payload, sizeof(struct network_report));
}

/* Those that are not 0. */
static void list_drops(const struct counters *totals, char *text, size_t size)
{
    size_t at = 0;
    snprintf(text, size, "none");
    for (int i = 0; i < DROP_N_REASONS && at < size; i++) {
        if (!totals->drops[i])
            continue;
        int n = snprintf(text + at, size - at, "%s%s %" PRIu64, at ? ", " : "",
                         drop_reason_name((enum drop_reason)i), totals->drops[i]);
        at += n > 0 ? (size_t)n : 0;
    }
}

void front_log_counters(struct front *front)
{
    static const struct query query; /* neither ports nor addresses */
    struct network_report report;
    char drops[TEXT_SIZE - 160];
    if (!front_network(front))
        return;
    memset(&report, 0, sizeof(report));
    network_snapshot(front_network(front), &query, take_page, &report);
    const struct counters *totals = &report.lan.totals;
    list_drops(totals, drops, sizeof(drops));
    log_info("frames: in %" PRIu64 ", flood copies %" PRIu64 ", segment copies %" PRIu64 ", out %" PRIu64
             ", queued %" PRIu64 "; dropped: %s",
             totals->frames_in, totals->flood_copies, totals->segment_copies, totals->frames_out,
             report.lan.queued, drops);
}
