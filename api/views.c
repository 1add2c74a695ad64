/* api/views.c - flat snapshots -> JSON
 *
 * Strings in a snapshot come from another process and may hold anything: json_text() takes them all.
 */
#include "api/views.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "api/address.h"
#include "api/json_fields.h"
#include "api/spec_json.h"

/* RFC 3339, in UTC, of the moment 'ms_ago': snapshots carry no clock of their own. */
static json_t *moment(uint64_t ms_ago)
{
    struct timespec now;
    char text[32];
    struct tm tm;
    time_t then;

    clock_gettime(CLOCK_REALTIME, &now);
    then = now.tv_sec - (time_t)(ms_ago / 1000) - (now.tv_nsec / 1000000 < (long)(ms_ago % 1000));
    if (!gmtime_r(&then, &tm) || strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
        return json_null();
    return json_string(text);
}

static json_t *count(uint64_t n)
{
    return json_integer((json_int_t)n);
}

/* Null while it is empty. */
static json_t *text_or_null(const char *text)
{
    return json_text(text[0] ? text : NULL);
}

static json_t *mac_text(uint64_t mac)
{
    char text[MAC_TEXT_SIZE];

    mac_format(mac, text);
    return json_string(text);
}

json_t *view_counters(const struct counters *counters)
{
    json_t *drops = json_object();

    for (int i = 0; i < DROP_N_REASONS; i++)
        json_object_set_new(drops, drop_reason_name((enum drop_reason)i), count(counters->drops[i]));
    return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "frames_in", count(counters->frames_in),
                     "bytes_in", count(counters->bytes_in), "frames_out", count(counters->frames_out),
                     "bytes_out", count(counters->bytes_out), "flood_copies", count(counters->flood_copies),
                     "segment_copies", count(counters->segment_copies), "drops", drops);
}

static json_t *view_subnet(const struct uplink_subnet *subnet)
{
    char gateway[IPV4_TEXT_SIZE], netmask[IPV4_TEXT_SIZE], dhcp_end[IPV4_TEXT_SIZE];
    if (!subnet->gateway)
        return json_null();
    ipv4_format(subnet->gateway, gateway);
    ipv4_format(subnet->netmask, netmask);
    ipv4_format(subnet->dhcp_end, dhcp_end);
    return json_pack("{s:s, s:s, s:s}", "gateway", gateway, "netmask", netmask, "dhcp_end", dhcp_end);
}

static json_t *view_uplink_counters(const struct uplink_counters *counters)
{
    json_t *drops;
    if (!counters)
        return json_null();
    drops = json_object();
    for (int i = 0; i < UPLINK_N_DROPS; i++)
        json_object_set_new(drops, uplink_drop_name((enum uplink_drop)i), count(counters->drops[i]));
    return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "from_network", count(counters->from_network),
                     "to_host", count(counters->to_host), "from_host", count(counters->from_host),
                     "to_network", count(counters->to_network), "joined", count(counters->joined), "waiting",
                     count(counters->waiting), "drops", drops);
}

static json_t *view_broker(const struct broker_holders *holders)
{
    json_t *peers = holders ? json_array() : NULL;
    if (!holders)
        return json_null();
    for (uint32_t i = 0; i < holders->n && i < BROKER_HOLDERS_MAX; i++)
        json_array_append_new(peers, json_pack("{s:i, s:I}", "pid", (int)holders->list[i].pid, "uid",
                                               (json_int_t)holders->list[i].uid));
    return json_pack("{s:I, s:o}", "count", (json_int_t)holders->n, "peers", peers);
}

static json_t *view_uplink(const struct network_spec *spec, const struct network_status *status)
{
    return json_pack("{s:s*, s:s, s:s, s:o, s:o, s:o, s:o, s:o, s:o}", "wanted",
                     spec ? network_uplink_name(spec->uplink) : NULL, "kind",
                     uplink_kind_name(status->uplink_kind), "state", uplink_state_name(status->uplink_state),
                     "reason", json_text(status->uplink_reason), "pid",
                     status->uplink_pid ? json_integer(status->uplink_pid) : json_null(), "interface",
                     json_text(status->ifname), "ipv4", view_subnet(&status->subnet), "counters",
                     view_uplink_counters(status->uplink_counters), "broker", view_broker(status->holders));
}

static json_t *view_flaps(const struct lan_snapshot *lan)
{
    json_t *last = lan->flaps
                       ? json_pack("{s:o, s:o, s:o, s:o}", "mac", mac_text(lan->flap_mac), "port",
                                   text_or_null(lan->flap_port), "claimed_by",
                                   text_or_null(lan->flap_claimed), "age_s", count(lan->flap_ms_ago / 1000))
                       : json_null();

    return json_pack("{s:o, s:o}", "count", count(lan->flaps), "last", last);
}

static json_t *view_lan_fdb(const struct lan_snapshot *lan)
{
    return json_pack("{s:i, s:i, s:o, s:o, s:o}", "entries", (int)lan->n_fdb, "learned", (int)lan->n_learned,
                     "moves", count(lan->moves), "evictions", count(lan->evictions), "flaps",
                     view_flaps(lan));
}

/* What was set, with paths in the place of "stream": true. */
static void show_sockets(json_t *network, const struct network_status *status)
{
    json_t *sockets = json_object_get(network, "sockets");

    json_object_set_new(sockets, "stream", json_text(status->stream_path));
    json_object_set_new(sockets, "datagram", json_text(status->datagram_path));
    json_object_set_new(sockets, "attach", json_text(status->attach_path));
}

static void show_lan(json_t *network, const struct lan_snapshot *lan)
{
    json_t *counters = lan ? view_counters(&lan->totals) : json_null();

    if (lan) {
        json_object_set_new(counters, "queued", count(lan->queued));
        json_object_set_new(counters, "datagrams_refused", count(lan->datagrams_refused));
        json_object_set_new(counters, "clients_refused", count(lan->clients_refused));
        json_object_set_new(counters, "log_lost", count(lan->log_lost));
    }
    json_object_set_new(network, "ports", lan ? json_integer(lan->n_ports) : json_null());
    json_object_set_new(network, "counters", counters);
    json_object_set_new(network, "fdb", lan ? view_lan_fdb(lan) : json_null());
}

json_t *view_network(const struct network_spec *spec, const struct network_status *status)
{
    json_t *network = network_spec_to_json(spec);
    json_t *ipv4 = json_object_get(network, "ipv4");

    if (!network)
        return NULL;
    if (json_is_object(ipv4))
        json_object_set_new(ipv4, "dhcp", json_boolean(spec->ipv4.dhcp));
    json_object_set_new(network, "state", json_text(status->health));
    json_object_set_new(network, "reason", json_text(status->reason));
    json_object_set_new(network, "warning", json_text(status->warning));
    json_object_set_new(network, "uplink", view_uplink(spec, status));
    json_object_set_new(network, "pid", status->pid ? json_integer(status->pid) : json_null());
    json_object_set_new(network, "owner", json_integer(status->owner_uid));
    json_object_set_new(network, "source", json_text(status->source));
    json_object_set_new(network, "file", json_text(status->file));
    json_object_set_new(network, "needs_restart",
                        status->needs_restart ? json_deep_copy(status->needs_restart) : json_array());
    show_sockets(network, status);
    show_lan(network, status->lan);
    return network;
}

json_t *view_health_entry(const char *name, const struct network_status *status)
{
    return json_pack("{s:o, s:o, s:o, s:o, s:o}", "name", json_text(name), "state", json_text(status->health),
                     "reason", json_text(status->reason), "warning", json_text(status->warning), "uplink",
                     view_uplink(NULL, status));
}

static json_t *addresses_of(const char *port, const struct fdb_snapshot *fdb, uint32_t n_fdb)
{
    json_t *addresses = json_array();

    for (uint32_t i = 0; i < n_fdb; i++) {
        if (strcmp(fdb[i].port, port) == 0)
            json_array_append_new(addresses, mac_text(fdb[i].mac));
    }
    return addresses;
}

/* Who plugged in, null where the kernel did not tell. */
static void show_peer(json_t *view, const struct port_snapshot *port)
{
    json_object_set_new(view, "uid", port->has_peer ? json_integer(port->uid) : json_null());
    json_object_set_new(view, "gid", port->has_peer ? json_integer(port->gid) : json_null());
    json_object_set_new(view, "pid", port->has_peer && port->pid ? json_integer(port->pid) : json_null());
}

json_t *view_port(const struct port_snapshot *port, const struct fdb_snapshot *fdb, uint32_t n_fdb,
                  const char *stream_path, const char *datagram_path)
{
    json_t *counters = view_counters(&port->counters);
    json_t *view = json_pack(
        "{s:o, s:s, s:b, s:o, s:o, s:s, s:s, s:o, s:b, s:b}", "name", json_text(port->name), "role",
        port->is_uplink ? "uplink" : "vm", "named", port->is_named, "kind", text_or_null(port->kind), "via",
        text_or_null(port->via), "state", port->is_up ? "up" : "down", "link", port->enabled ? "up" : "down",
        "since", moment(port->since_ms_ago), "isolated", port->isolated, "persist", port->persist);

    if (!view || !counters) {
        json_decref(counters);
        json_decref(view);
        return NULL;
    }
    show_peer(view, port);
    json_object_set_new(view, "addresses", addresses_of(port->name, fdb, n_fdb));
    json_object_update(view, counters);
    json_decref(counters);
    json_object_set_new(view, "queued", json_integer(port->queued));
    json_object_set_new(view, "queued_bytes", json_integer(port->queued_bytes));
    json_object_set_new(view, "offload", json_string(port_offload_name(port->offload)));
    json_object_set_new(view, "frame_max", json_integer(port->frame_max));
    json_object_set_new(view, "stalled_since", port->is_stalled ? moment(port->stalled_ms) : json_null());
    json_object_set_new(view, "problem", text_or_null(port->problem));
    json_object_set_new(
        view, "sockets",
        json_pack("{s:o, s:o}", "stream", json_text(stream_path), "datagram", json_text(datagram_path)));
    return view;
}

json_t *view_fdb_entry(const struct fdb_snapshot *entry)
{
    return json_pack("{s:o, s:o, s:i, s:b}", "mac", mac_text(entry->mac), "port", json_text(entry->port),
                     "age_s", (int)entry->age_s, "static", entry->is_static);
}
