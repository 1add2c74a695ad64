/* daemon/control_ready.c - when what was there at the start, or after a reload, is up, or has said why not
 *
 * Looks at every network each READY_LOOK_MS, and stops when none is starting without a reason: then the
 * monitor hears it (MSG_READY) and tells the service manager. One that is still starting after READY_LIMIT_MS
 * holds up nobody. An uplink that tries again and again (vmnet while the Mac boots) has a reason, and is no
 * cause to wait.
 */
#include "daemon/control_internal.h"

#include <string.h>

enum { READY_LOOK_MS = 50, READY_LIMIT_MS = 30 * 1000 };

static void on_timer(uv_timer_t *timer);

static void close_look(struct control *control)
{
    if (--control->ready.n_open > 0 || control->ready.is_closing)
        return;
    const bool is_settled = control->ready.n_starting == 0 || uv_now(&control->loop) >= control->ready.end_ms;
    if (!is_settled || control->reloads) /* the end of a reload begins anew */
        uv_timer_start(&control->ready.timer, on_timer, READY_LOOK_MS, 0);
    else
        channel_uv_send(control->monitor, MSG_READY, 0, &control->ready.found, sizeof(control->ready.found),
                        -1);
}

static void on_looked(void *ctx, struct managed *m, const struct query_result *result)
{
    struct control *control = ctx;
    struct ready *found = &control->ready.found;
    struct network_status status = {.health = NULL};
    if (!m->is_gone) {
        control_fill_health(m, result, &status);
        found->n_networks++;
        if (strcmp(status.health, "up") == 0)
            found->n_up++;
        else if (!found->not_up[0] || strcmp(m->spec.name, found->not_up) < 0)
            memcpy(found->not_up, m->spec.name, sizeof(found->not_up));
        control->ready.n_starting += strcmp(status.health, "starting") == 0 && !status.reason;
    }
    close_look(control);
}

static void on_timer(uv_timer_t *timer)
{
    struct control *control = timer->data;
    struct managed *all[NETWORKS_MAX];
    unsigned n = 0;
    if (control->ready.n_open > 0) { /* begun anew while the last look waits for answers */
        uv_timer_start(timer, on_timer, READY_LOOK_MS, 0);
        return;
    }
    memset(&control->ready.found, 0, sizeof(control->ready.found));
    control->ready.n_starting = 0;
    control->ready.n_open = 1; /* ours: the look ends when everybody was asked */
    for (struct managed *m = control->networks; m && n < NETWORKS_MAX; m = m->next)
        all[n++] = m;
    for (unsigned i = 0; i < n; i++) {
        control->ready.n_open++;
        control_query(all[i], false, false, on_looked, control);
    }
    close_look(control);
}

void control_ready_open(struct control *control)
{
    uv_timer_init(&control->loop, &control->ready.timer);
    control->ready.timer.data = control;
}

void control_ready_begin(struct control *control)
{
    control->ready.end_ms = uv_now(&control->loop) + READY_LIMIT_MS;
    uv_timer_start(&control->ready.timer, on_timer, 0, 0);
}

void control_ready_close(struct control *control)
{
    control->ready.is_closing = true;
    uv_close((uv_handle_t *)&control->ready.timer, NULL);
}
