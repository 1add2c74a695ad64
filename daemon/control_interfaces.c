/* daemon/control_interfaces.c - GET /v1/interfaces: what a network can be bridged to
 *
 * Where there is vmnet it is asked, on a thread of libuv's pool, because it may take its time: an answer that
 * has not come after LIST_MS is a 503, and what comes later is thrown away.
 */
#include "daemon/control_internal.h"

#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/bridges.h"
#include "daemon/roles.h"

enum { LIST_MS = 2000 };

struct listing {
    uv_work_t work;
    uv_timer_t timer;
    const struct control *control;
    struct api_call *call; /* NULL: answered */
    unsigned n_open;       /* work, timer */
    int n;                 /* as bridges_list() returns it */
    char names[BRIDGES_MAX][UPLINK_IFNAME_SIZE];
};

static bool is_listed(json_t *list, const char *name)
{
    size_t i;
    json_t *entry;
    json_array_foreach(list, i, entry) if (strcmp(json_string_value(json_object_get(entry, "name")), name) ==
                                           0) return true;
    return false;
}

static void add(const struct control *control, json_t *list, const char *name, bool is_up)
{
    if (!is_listed(list, name))
        json_array_append_new(list, json_pack("{s:s, s:b, s:b}", "name", name, "up", is_up, "allowed",
                                              control_may_bridge(control, name)));
}

/* Those that the system named, or all of them but the loopback. */
static json_t *make_list(const struct listing *listing, const struct ifaddrs *all)
{
    json_t *list = json_array();
    for (const struct ifaddrs *one = all; listing->n < 0 && one; one = one->ifa_next)
        if (!(one->ifa_flags & IFF_LOOPBACK))
            add(listing->control, list, one->ifa_name, (one->ifa_flags & IFF_UP) != 0);
    for (int i = 0; i < listing->n; i++) {
        const struct ifaddrs *one = all;
        while (one && strcmp(one->ifa_name, listing->names[i]) != 0)
            one = one->ifa_next;
        add(listing->control, list, listing->names[i], one && (one->ifa_flags & IFF_UP) != 0);
    }
    return list;
}

static void answer(struct listing *listing)
{
    struct ifaddrs *all = NULL;
    struct api_call *call = listing->call;
    listing->call = NULL;
    if (!call)
        return;
    if (listing->n < 0 && listing->n != -ENOTSUP) {
        control_reply_problem(call, 503, "the system does not say what can be bridged", NULL,
                              "try again; if it stays so, restart the system's networking");
        return;
    }
    if (getifaddrs(&all) < 0)
        all = NULL;
    api_reply_json(call, 200, json_pack("{s:o}", "interfaces", make_list(listing, all)));
    if (all)
        freeifaddrs(all);
}

static void unref(struct listing *listing)
{
    if (--listing->n_open == 0)
        free(listing);
}

static void on_timer_closed(uv_handle_t *handle)
{
    unref(handle->data);
}

static void on_work(uv_work_t *work)
{
    struct listing *listing = work->data;
    listing->n = bridges_list(listing->names);
}

static void on_listed(uv_work_t *work, int status)
{
    struct listing *listing = work->data;
    if (status < 0)
        listing->n = -EIO;
    answer(listing);
    if (!uv_is_closing((uv_handle_t *)&listing->timer))
        uv_close((uv_handle_t *)&listing->timer, on_timer_closed);
    unref(listing);
}

static void on_time(uv_timer_t *timer)
{
    /* Not answer(): the pool's thread may be writing the names. */
    struct listing *listing = timer->data;
    struct api_call *call = listing->call;
    listing->call = NULL;
    uv_close((uv_handle_t *)timer, on_timer_closed);
    control_reply_problem(call, 503, "the system did not say in time what can be bridged", NULL,
                          "try again; if it stays so, restart the system's networking");
}

void control_interfaces_op(void *ctx, struct api_call *call)
{
    struct control *control = ctx;
    struct listing *listing = calloc(1, sizeof(*listing));
    if (!listing) {
        control_reply_problem(call, 503, "out of memory", NULL, NULL);
        return;
    }
    listing->control = control;
    listing->call = call;
    if (!vmnet_role_exists()) {
        listing->n = -ENOTSUP; /* nobody to wait for, and no thread to have */
        answer(listing);
        free(listing);
        return;
    }
    listing->work.data = listing->timer.data = listing;
    listing->n_open = 2;
    uv_timer_init(&control->loop, &listing->timer);
    uv_timer_start(&listing->timer, on_time, LIST_MS, 0);
    uv_queue_work(&control->loop, &listing->work, on_work, on_listed);
}
