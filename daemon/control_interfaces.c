/* daemon/control_interfaces.c - GET /v1/interfaces: what a network can be bridged to
 *
 * Where there is vmnet it is asked, on a thread of libuv's pool, because it may take its time: an answer that
 * has not come after LIST_MS is a 503, and what comes later is thrown away. Linux is asked at once.
 */
#include "daemon/control_internal.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
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
    struct bridge bridges[BRIDGES_MAX];
};

/* The length of a netmask, whatever the family. */
static unsigned prefix_length(const uint8_t *mask, size_t size)
{
    unsigned n = 0;
    while (n < size * 8 && (mask[n / 8] & (0x80 >> n % 8)))
        n++;
    return n;
}

/* "192.168.1.5/24". Returns false if it is no address of IP. */
static bool format_address(const struct ifaddrs *one, char *text, size_t size)
{
    char address[INET6_ADDRSTRLEN];
    const int family = one->ifa_addr && one->ifa_netmask ? one->ifa_addr->sa_family : AF_UNSPEC;
    struct sockaddr_in v4[2];
    struct sockaddr_in6 v6[2];
    if (family == AF_INET) {
        memcpy(&v4[0], one->ifa_addr, sizeof(v4[0]));
        memcpy(&v4[1], one->ifa_netmask, sizeof(v4[1]));
        inet_ntop(AF_INET, &v4[0].sin_addr, address, sizeof(address));
        snprintf(text, size, "%s/%u", address, prefix_length((uint8_t *)&v4[1].sin_addr, 4));
    } else if (family == AF_INET6) {
        memcpy(&v6[0], one->ifa_addr, sizeof(v6[0]));
        memcpy(&v6[1], one->ifa_netmask, sizeof(v6[1]));
        inet_ntop(AF_INET6, &v6[0].sin6_addr, address, sizeof(address));
        snprintf(text, size, "%s/%u", address, prefix_length(v6[1].sin6_addr.s6_addr, 16));
    }
    return family == AF_INET || family == AF_INET6;
}

static json_t *show(const struct control *control, const struct bridge *bridge, const struct ifaddrs *all)
{
    char text[INET6_ADDRSTRLEN + 8];
    json_t *addresses = json_array();
    bool is_up = false;
    for (const struct ifaddrs *one = all; one; one = one->ifa_next) {
        if (strcmp(one->ifa_name, bridge->name) != 0)
            continue;
        is_up = (one->ifa_flags & IFF_UP) != 0;
        if (format_address(one, text, sizeof(text)))
            json_array_append_new(addresses, json_string(text));
    }
    return json_pack("{s:s, s:s?, s:b, s:b, s:o}", "name", bridge->name, "type",
                     bridge->type[0] ? bridge->type : NULL, "up", is_up, "allowed",
                     control_may_bridge(control, bridge->name), "addresses", addresses);
}

static json_t *make_list(const struct listing *listing, const struct ifaddrs *all)
{
    json_t *list = json_array();
    for (int i = 0; i < listing->n; i++)
        json_array_append_new(list, show(listing->control, &listing->bridges[i], all));
    return list;
}

static void answer(struct listing *listing)
{
    struct ifaddrs *all = NULL;
    struct api_call *call = listing->call;
    listing->call = NULL;
    if (!call)
        return;
    if (listing->n < 0) {
        control_reply_problem(call, 503, "the system does not say what can be bridged", NULL,
                              "try again; if it stays so, restart the system's networking");
        return;
    }
    if (getifaddrs(&all) < 0) {
        control_reply_problem(call, 503, "the system does not say which addresses its interfaces have", NULL,
                              "try again");
        return;
    }
    api_reply_json(call, 200, json_pack("{s:o}", "interfaces", make_list(listing, all)));
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
    listing->n = bridges_list(listing->bridges);
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
    /* Not answer(): the pool's thread may be writing the list. */
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
        listing->n = bridges_list(listing->bridges); /* nobody to wait for, and no thread to have */
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
