#include "daemon/network_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { TICK_MIN_MS = 1000, UPLINK_ASK_MS = 5000 };

/* A network that has nothing to forget sleeps: the tick is due when the oldest address may be. */
static void on_tick(uv_timer_t *timer)
{
    struct network *network = timer->data;
    const uint64_t left_ms = lan_tick(network->lan, uv_now(network->loop));
    if (left_ms > 0)
        uv_timer_start(timer, on_tick, left_ms > TICK_MIN_MS ? left_ms : TICK_MIN_MS, 0);
}

static void on_turn(uv_prepare_t *turn)
{
    struct network *network = turn->data;
    if (!uv_is_active((const uv_handle_t *)&network->tick) && fdb_n_learned(lan_fdb(network->lan)) > 0)
        uv_timer_start(&network->tick, on_tick, FDB_AGE_MS, 0);
}

static uint32_t or_default(uint32_t value, uint32_t otherwise)
{
    return value ? value : otherwise;
}

static int open_lan(struct network *network)
{
    const struct network_spec *spec = &network->spec;
    struct lan_options options = {
        .fdb = {.capacity = or_default(spec->limits.fdb_entries, FDB_CAPACITY),
                .port_limit = or_default(spec->limits.fdb_per_port, FDB_PORT_LIMIT),
                .uplink_limit = or_default(spec->limits.fdb_uplink, FDB_UPLINK_LIMIT),
                .age_ms = FDB_AGE_MS,
                .hold_ms = FDB_HOLD_MS},
        .mtu = spec->mtu,
        .isolated = spec->isolated,
    };
    int r = uv_random(NULL, NULL, options.fdb.seed, sizeof(options.fdb.seed), 0, NULL);
    if (r < 0)
        return r;
    network->lan = lan_create(&options);
    if (!network->lan)
        return UV_ENOMEM;
    const struct io_settings settings = {
        .limits = {.queue_frames = or_default(spec->limits.queue_frames, IO_QUEUE_FRAMES),
                   .queue_bytes = spec->limits.queue_bytes},
        .read_bytes = spec->tuning.read_bytes,
        .batch_frames = spec->tuning.batch_frames,
        .socket_bytes = spec->tuning.socket_bytes,
        .busy_poll_us = spec->tuning.busy_poll_us,
    };
    r = io_create(&network->io, network->loop, network->lan, &settings);
    if (r < 0)
        lan_destroy(network->lan);
    return r;
}

static void ask_for_uplink(uv_timer_t *timer)
{
    struct network *network = timer->data;
    network->uplink_retries = false;
    if (!network_wants_uplink(network))
        return;
    /* Asked again if nobody answers: control may have died with the question. */
    uv_timer_start(&network->uplink_timer, ask_for_uplink, UPLINK_ASK_MS, 0);
    network->env->uplink_wanted(network->env_ctx);
}

static void set_uplink_state(struct network *network, enum uplink_state state, const char *reason)
{
    if (network->uplink_state != state || strcmp(network->uplink_reason, reason) != 0)
        log_info("uplink %s: %s%s%s", uplink_kind_name(network->uplink_kind), uplink_state_name(state),
                 reason[0] ? ": " : "", reason);
    network->uplink_state = state;
    snprintf(network->uplink_reason, sizeof(network->uplink_reason), "%s", reason);
}

static void add_uplink(struct network *network)
{
    const enum network_uplink want = network->spec.uplink;
    network->uplink_kind = want == WANT_USER    ? UPLINK_USER
                           : want == WANT_TAP   ? UPLINK_TAP
                           : want == WANT_VMNET ? UPLINK_VMNET
                                                : UPLINK_NONE;
    network->uplink_state = UPLINK_UP;
    if (network->uplink_kind == UPLINK_NONE)
        return;
    network->uplink = network_add_port(network, UPLINK_PORT_NAME, PORT_UPLINK, OFFLOAD_OFF);
    if (!network->uplink) {
        set_uplink_state(network, UPLINK_FAILED, "out of memory");
        return;
    }
    network->uplink_state = UPLINK_STARTING;
    uv_timer_start(&network->uplink_timer, ask_for_uplink, 0, 0);
}

int network_create(struct network **ret_network, uv_loop_t *loop, const struct network_spec *spec,
                   const struct network_env *env, void *ctx)
{
    struct network *network = calloc(1, sizeof(*network));
    if (!network)
        return UV_ENOMEM;
    network->loop = loop;
    network->spec = *spec;
    network->env = env;
    network->env_ctx = ctx;
    int r = open_lan(network);
    if (r < 0) {
        free(network);
        return r;
    }
    uv_timer_init(loop, &network->tick);
    uv_timer_init(loop, &network->uplink_timer);
    network->tick.data = network->uplink_timer.data = network;
    uv_prepare_init(loop, &network->turn);
    network->turn.data = network;
    network->n_handles = 3;
    uv_prepare_start(&network->turn, on_turn);
    uv_unref((uv_handle_t *)&network->turn); /* it alone must not keep a loop running */
    add_uplink(network);
    *ret_network = network;
    return 0;
}

bool network_configure(struct network *network, const struct network_spec *spec)
{
    if (!network_spec_differs_live_only(&network->spec, spec))
        return false;
    network->spec = *spec;
    lan_set_isolated(network->lan, spec->isolated);
    return true;
}

const struct network_spec *network_spec_of(const struct network *network)
{
    return &network->spec;
}

void network_flush(struct network *network, struct done *ret_done)
{
    *ret_done = (struct done){.status = 0, .count = fdb_flush(lan_fdb(network->lan))};
}

/* ---- the uplink ---- */

bool network_wants_uplink(const struct network *network)
{
    return network->uplink && !network->uplink->has_link && network->uplink_state != UPLINK_FAILED &&
           !network->is_closing;
}

/* What control, the uplink's process and its link tell of one end is one failure. */
static void retry_uplink(struct network *network)
{
    if (network->uplink_retries)
        return;
    network->uplink_retries = true;
    uint64_t was_up = network->uplink_up_since_ms ? uv_now(network->loop) - network->uplink_up_since_ms : 0;
    network->uplink_up_since_ms = 0;
    uv_timer_start(&network->uplink_timer, ask_for_uplink, uplink_retry_next(&network->uplink_retry, was_up),
                   0);
}

void network_uplink_lost(struct network *network, const char *reason)
{
    char why[UPLINK_REASON_SIZE];
    snprintf(why, sizeof(why), "%s; opening it again", reason);
    set_uplink_state(network, UPLINK_DEGRADED, why);
    retry_uplink(network);
}

static void pin_address(struct network *network, uint64_t mac)
{
    struct fdb *fdb = lan_fdb(network->lan);
    fdb_remove_statics(fdb, &network->uplink->port);
    if (mac)
        fdb_add_static(fdb, mac, &network->uplink->port);
}

void network_plug_uplink(struct network *network, const struct uplink_order *order, int fd)
{
    struct network_port *np = network->uplink;
    if (!np || np->has_link || network->is_closing) {
        if (fd >= 0)
            close(fd); /* one is in it already: the older one goes on */
        return;
    }
    if (fd < 0) {
        network_uplink_lost(network, "no descriptors left");
        return;
    }
    network->uplink_facts = order->facts;
    pin_address(network, order->facts.mac);
    np->port.frame_max = network->spec.mtu + FRAME_ETHER_HEADER;
    if (order->facts.mtu && order->facts.mtu < network->spec.mtu)
        np->port.frame_max = order->facts.mtu + FRAME_ETHER_HEADER;
    np->port.offload = order->facts.has_vnet_header   ? OFFLOAD_VIRTIO
                       : order->facts.has_raw_offload ? OFFLOAD_RAW
                                                      : OFFLOAD_OFF;
    np->port.takes_udp_gso = order->facts.takes_udp_gso;
    np->port.whole_max = order->facts.whole_max;
    int r = network_open_link(np, fd, order->kind == UPLINK_TAP ? LINK_TAP : LINK_STREAM, VIA_UPLINK);
    if (r < 0) {
        network_uplink_lost(network, uv_strerror(r));
        return;
    }
    uv_timer_stop(&network->uplink_timer); /* the question is answered */
    network->uplink_up_since_ms = uv_now(network->loop);
    set_uplink_state(network, UPLINK_UP, "");
}

void network_report_uplink(struct network *network, const struct uplink_report *report)
{
    if (!network->uplink)
        return;
    set_uplink_state(network, report->state, report->reason);
    /* A process that is starting it needs no asking: its end would be told. */
    if (network_wants_uplink(network) && report->state != UPLINK_STARTING)
        retry_uplink(network);
}

/* ---- the end ---- */

static void on_handle_closed(uv_handle_t *handle)
{
    struct network *network = handle->data;
    network->n_handles--;
    network_maybe_closed(network);
}

void network_maybe_closed(struct network *network)
{
    if (!network->is_closing || network->ports || network->leaving || network->n_handles > 0)
        return;
    void (*on_closed)(void *ctx) = network->on_closed;
    void *ctx = network->on_closed_ctx;
    log_limit_end(&network->client_log, "clients");
    log_limit_end(&network->refuse_log, "clients refused");
    log_limit_end(&network->denied_log, "clients denied");
    io_destroy(network->io);
    lan_destroy(network->lan);
    free(network);
    on_closed(ctx);
}

void network_close(struct network *network, void (*on_closed)(void *ctx), void *ctx)
{
    if (network->is_closing)
        return;
    network->is_closing = true;
    network->on_closed = on_closed;
    network->on_closed_ctx = ctx;
    listener_close(network->listener);
    /* Ports first: those of the shared path are still the hub's. */
    for (struct network_port *np = network->ports, *next; np; np = next) {
        next = np->next;
        network_drop_port(np, LINK_CLOSE_DRAIN, "the network ends");
    }
    if (network->hub)
        dgram_hub_close(network->hub);
    uv_close((uv_handle_t *)&network->tick, on_handle_closed);
    uv_close((uv_handle_t *)&network->turn, on_handle_closed);
    uv_close((uv_handle_t *)&network->uplink_timer, on_handle_closed);
}
