/* daemon/network_snapshot.c - a running network as flat pages, all of one moment */
#include "daemon/network_internal.h"

#include <stdio.h>
#include <string.h>

static const char *const via_names[] = {
    [VIA_NONE] = "", [VIA_PATH] = "path", [VIA_SHARED] = "shared", [VIA_FD] = "fd", [VIA_UPLINK] = "uplink"};

/* A queue that has not moved for so long is worth a look; less is a busy moment. */
enum { STALLED_FROM_MS = 100 };

static void fill_lan(struct network *network, struct lan_snapshot *lan)
{
    const struct fdb *fdb = lan_fdb(network->lan);
    const struct fdb_flap *flap = fdb_last_flap(fdb);
    lan_totals(network->lan, &lan->totals, &lan->queued);
    lan->n_ports = network->n_ports;
    lan->n_fdb = fdb_n_entries(fdb);
    lan->n_learned = fdb_n_learned(fdb);
    lan->moves = fdb_n_moves(fdb);
    lan->evictions = fdb_n_evictions(fdb);
    lan->flaps = flap->count;
    lan->flap_mac = flap->mac;
    memcpy(lan->flap_port, flap->port, sizeof(lan->flap_port));
    memcpy(lan->flap_claimed, flap->claimed, sizeof(lan->flap_claimed));
    lan->flap_ms_ago = flap->count ? uv_now(network->loop) - flap->at_ms : 0;
    lan->datagrams_refused = network->hub ? dgram_hub_refused(network->hub) : 0;
    lan->clients_refused = network->clients_refused;
    lan->log_lost = log_lost();
}

static void fill_peer(const struct network_port *np, struct port_snapshot *out)
{
    out->has_peer = np->peer.is_known;
    out->uid = np->peer.uid;
    out->gid = np->peer.gid;
    out->pid = (uint32_t)np->peer.pid;
}

static void fill_port(const struct network_port *np, struct port_snapshot *out)
{
    const struct port *port = &np->port;
    const uint64_t now_ms = uv_now(np->network->loop);
    struct link_status status;
    link_status(port, &status);
    const uint64_t stalled_ms = status.stalled_since_ms ? now_ms - status.stalled_since_ms : 0;
    *out = (struct port_snapshot){
        .is_uplink = port->role == PORT_UPLINK,
        .is_named = np->is_named,
        .is_up = port_is_up(port),
        .has_client = np->via != VIA_NONE,
        .enabled = port->enabled,
        .isolated = port->isolated || (np->network->spec.isolated && port->role == PORT_VM),
        .persist = np->persist,
        .since_ms_ago = now_ms - np->since_ms,
        .is_stalled = stalled_ms >= STALLED_FROM_MS,
        .stalled_ms = stalled_ms,
        .queued = port->queued,
        .queued_bytes = status.queued_bytes,
        .frame_max = port->frame_max,
        .offload = port->offload,
        .n_addresses = port->fdb.n_learned,
        .counters = port->counters,
    };
    memcpy(out->name, port->name, sizeof(out->name));
    memcpy(out->problem, np->problem, sizeof(out->problem));
    fill_peer(np, out);
    if (!out->has_client)
        return;
    snprintf(out->via, sizeof(out->via), "%s", via_names[np->via]);
    snprintf(out->kind, sizeof(out->kind), "%s",
             np->via == VIA_UPLINK ? uplink_kind_name(np->network->uplink_kind)
                                   : link_kind_name(status.kind));
}

struct fdb_walk {
    struct fdb_page page;
    network_emit *emit;
    void *ctx;
};

static void visit_entry(const struct fdb_view *entry, void *ctx)
{
    struct fdb_walk *walk = ctx;
    struct fdb_snapshot *out = &walk->page.entries[walk->page.n++];
    *out = (struct fdb_snapshot){
        .mac = entry->mac, .is_static = entry->is_static, .age_s = (uint32_t)(entry->age_ms / 1000)};
    memcpy(out->port, entry->port->name, sizeof(out->port));
    if (walk->page.n == FDB_PER_PAGE) {
        walk->emit(walk->ctx, MSG_SNAPSHOT_FDB, &walk->page, sizeof(walk->page));
        walk->page.n = 0;
    }
}

static void emit_ports(struct network *network, network_emit *emit, void *ctx)
{
    static struct ports_page page; /* 40 KiB: too much for a stack; one loop, one thread */
    page.n = 0;
    for (const struct network_port *np = network->ports; np; np = np->next) {
        fill_port(np, &page.ports[page.n++]);
        if (page.n == PORTS_PER_PAGE || !np->next) {
            emit(ctx, MSG_SNAPSHOT_PORTS, &page, sizeof(page));
            page.n = 0;
        }
    }
}

static void emit_fdb(struct network *network, network_emit *emit, void *ctx)
{
    static struct fdb_walk walk; /* as above */
    walk.page.n = 0;
    walk.emit = emit;
    walk.ctx = ctx;
    fdb_visit(lan_fdb(network->lan), uv_now(network->loop), visit_entry, &walk);
    if (walk.page.n > 0)
        emit(ctx, MSG_SNAPSHOT_FDB, &walk.page, sizeof(walk.page));
}

void network_snapshot(struct network *network, const struct query *query, network_emit *emit, void *ctx)
{
    struct network_report report = {
        .uplink_kind = network->uplink_kind,
        .uplink_state = network->uplink_state,
        .uplink_is_plugged = network->uplink && network->uplink->has_link,
        .uplink_facts = network->uplink_facts,
    };
    fill_lan(network, &report.lan);
    memcpy(report.uplink_reason, network->uplink_reason, sizeof(report.uplink_reason));
    emit(ctx, MSG_SNAPSHOT, &report, sizeof(report));
    if (query->ports)
        emit_ports(network, emit, ctx);
    if (query->fdb)
        emit_fdb(network, emit, ctx);
}
