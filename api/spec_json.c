/* api/spec_json.c - JSON <-> specs
 *
 * How it works
 *   One function per object, a line or two per field, over the strict reader of json_fields. Absent fields
 * keep what network_spec_init() gave: mode "internal"; uplink "auto"; mtu 1500; not isolated; no forwards;
 * offload "off"; both sockets, group null; sockets.mode "0600", with a group "0660"; ipv4 of shared
 * 192.168.105.1/24 with DHCP, of host 192.168.106.1/24 without, of others null; ipv4.dhcp_end the last
 * address a guest can have, no reservations; limits null; tuning that of io/settings.h; vmnet null.
 *
 * What is always true
 *   from_json(to_json(spec)) == spec for every spec that from_json made.
 */
#include "api/spec_json.h"

#include <stdio.h>
#include <string.h>

#include "api/address.h"
#include "api/json_fields.h"
#include "api/reservations.h"
#include "api/vmnet_spec.h"
#include "io/settings.h"
#include "switch/mac.h"

#define NAME_RULE "must be 1 to 32 of a-z, 0-9, _ and -, beginning with a letter or a digit"

enum {
    MTU_MIN = 576,                /* what every IPv4 host must take (RFC 791) */
    MTU_MAX = 65535,              /* the length field of IPv4 */
    QUEUE_BYTES_MIN = 128 * 1024, /* room for one frame of the largest size */
    QUEUE_BYTES_MAX = 64 * 1024 * 1024,
    NUMBERS_MAX = 8, /* of one object */
};

/* An object of whole numbers that the network's process has a default for: a row a field. */
struct number {
    const char *key;
    int64_t min, max;
    size_t offset; /* of a uint32_t in struct network_spec */
};

static const struct number limits[] = {
    {"fdb_entries", 16, 65536, offsetof(struct network_spec, limits.fdb_entries)},
    {"fdb_per_port", 1, 65536, offsetof(struct network_spec, limits.fdb_per_port)},
    {"fdb_uplink", 1, 65536, offsetof(struct network_spec, limits.fdb_uplink)},
    {"queue_frames", 16, 65536, offsetof(struct network_spec, limits.queue_frames)},
    {"queue_bytes", QUEUE_BYTES_MIN, QUEUE_BYTES_MAX, offsetof(struct network_spec, limits.queue_bytes)},
};
enum { N_LIMITS = sizeof(limits) / sizeof(limits[0]) };

static const struct number tuning[] = {
    {"read_bytes", IO_STREAM_READ_MIN, IO_STREAM_READ_MAX, offsetof(struct network_spec, tuning.read_bytes)},
    {"batch_frames", 1, IO_DGRAM_SLOTS, offsetof(struct network_spec, tuning.batch_frames)},
    {"socket_bytes", IO_SOCKET_BUFFER_MIN, IO_SOCKET_BUFFER_MAX,
     offsetof(struct network_spec, tuning.socket_bytes)},
    {"busy_poll_us", 0, IO_BUSY_POLL_MAX_US, offsetof(struct network_spec, tuning.busy_poll_us)},
};
enum { N_TUNING = sizeof(tuning) / sizeof(tuning[0]) };

_Static_assert((int)N_LIMITS <= (int)NUMBERS_MAX && (int)N_TUNING <= (int)NUMBERS_MAX,
               "room for their names");

/* The name from the URL, else the field; if both, they agree. */
static void read_name(struct fields *fields, const char *name, char ret_name[PORT_NAME_SIZE])
{
    const char *found = fields_string(fields, "name", NAME_RULE);
    char shown[JSON_SHOWN_SIZE];

    if (found && !port_name_is_valid(found))
        fields_fail(fields, "name", NAME_RULE ", not %s", json_shown(fields_get(fields, "name"), shown));
    else if (found && name && strcmp(found, name) != 0)
        fields_fail(fields, "name", "must be the name in the URL (%.32s) or absent", name);
    else if (!found && !name)
        fields_fail(fields, "name", "must be given: " NAME_RULE);
    else if (!found && !port_name_is_valid(name))
        fields_fail(fields, "name", NAME_RULE);
    if (!fields->failed)
        snprintf(ret_name, PORT_NAME_SIZE, "%s", found ? found : name);
}

static void read_ip(struct fields *fields, const char *key, uint32_t *ip)
{
    const char *text = fields_string(fields, key, "must be an IPv4 address such as \"192.168.105.1\"");

    if (text && !ipv4_parse(text, ip))
        fields_fail(fields, key, "must be an IPv4 address such as \"192.168.105.1\", not \"%.40s\"", text);
}

static void read_ipv4(struct fields *fields, struct network_spec *spec)
{
    static const char *const known[] = {"gateway", "netmask", "dhcp_end", "dhcp", "reservations", NULL};
    const json_t *value = fields_get(fields, "ipv4");
    struct fields ipv4;

    if (!value)
        return;
    if (json_is_null(value)) {
        memset(&spec->ipv4, 0, sizeof(spec->ipv4));
        return;
    }
    fields_open(&ipv4, value, "/ipv4", known, NULL, fields->error);
    if (!spec->ipv4.gateway && !fields_get(&ipv4, "gateway"))
        fields_fail(&ipv4, "gateway", "must be given");
    spec->ipv4.netmask = 0xFFFFFF00;
    read_ip(&ipv4, "gateway", &spec->ipv4.gateway);
    read_ip(&ipv4, "netmask", &spec->ipv4.netmask);
    if (!spec->ipv4.gateway)
        fields_fail(&ipv4, "gateway", "must not be 0.0.0.0");
    if (!netmask_is_valid(spec->ipv4.netmask))
        fields_fail(&ipv4, "netmask", "must be a netmask from 255.0.0.0 to 255.255.255.248");
    spec->ipv4.dhcp_end = (spec->ipv4.gateway | ~spec->ipv4.netmask) - 1;
    read_ip(&ipv4, "dhcp_end", &spec->ipv4.dhcp_end);
    spec->ipv4.dhcp_is_set = fields_get(&ipv4, "dhcp") != NULL;
    fields_bool(&ipv4, "dhcp", &spec->ipv4.dhcp);
    reservations_read(&ipv4, spec);
    fields_join(fields, &ipv4);
}

static void read_ipv6(struct fields *fields, struct network_spec *spec)
{
    static const char *const known[] = {"prefix", NULL};
    static const char rule[] = "must be null or a unicast /64 such as \"fd00:1:2:3::/64\"";
    const json_t *value = fields_get(fields, "ipv6");
    struct fields ipv6;
    const char *text;

    if (!value || json_is_null(value))
        return;
    fields_open(&ipv6, value, "/ipv6", known, NULL, fields->error);
    if (!json_is_null(fields_get(&ipv6, "prefix"))) {
        text = fields_string(&ipv6, "prefix", rule);
        spec->ipv6.has_prefix = text && prefix_parse(text, spec->ipv6.prefix);
        if (text && !spec->ipv6.has_prefix)
            fields_fail(&ipv6, "prefix", "%s, not \"%.48s\"", rule, text);
    }
    fields_join(fields, &ipv6);
}

/* "127.0.0.1:8080", "8080" or 8080. The loopback is written out, so that no reader of 0 listens to the world.
 */
static void read_forward_host(struct fields *fields, struct network_forward *forward)
{
    static const char rule[] =
        "must be \"ADDRESS:PORT\" with an address of this host (0.0.0.0: any), or a port from 1 to 65535";
    const json_t *value = fields_get(fields, "host");
    char shown[JSON_SHOWN_SIZE];

    forward->host_ip = 0x7F000001;
    if (json_is_integer(value) && json_integer_value(value) > 0 && json_integer_value(value) <= UINT16_MAX) {
        forward->host_port = (uint16_t)json_integer_value(value);
        return;
    }
    if (json_is_string(value) && port_number_parse(json_string_value(value), &forward->host_port))
        return;
    if (json_is_string(value) &&
        endpoint_parse(json_string_value(value), &forward->host_ip, &forward->host_port))
        return;
    if (value)
        fields_fail(fields, "host", "%s, not %s", rule, json_shown(value, shown));
    else
        fields_fail(fields, "host", "must be given: %s", rule);
}

static void read_forward(struct fields *fields, const json_t *value, uint32_t i,
                         struct network_forward *forward)
{
    static const char *const known[] = {"proto", "host", "guest", NULL};
    static const char *const protos[] = {"tcp", "udp"};
    static const char rule[] = "must be \"ADDRESS:PORT\" of a guest such as \"192.168.105.5:80\"";
    char path[JSON_PATH_SIZE], shown[JSON_SHOWN_SIZE];
    struct fields inner;
    const char *guest;
    int proto = 0;

    snprintf(path, sizeof(path), "/forwards/%u", i);
    fields_open(&inner, value, path, known, NULL, fields->error);
    if (fields_choice(&inner, "proto", protos, 2, &proto))
        forward->is_udp = proto == 1;
    else
        fields_fail(&inner, "proto", "must be given: \"tcp\" or \"udp\"");
    read_forward_host(&inner, forward);
    guest = fields_string(&inner, "guest", rule);
    if (!guest)
        fields_fail(&inner, "guest", "must be given: %s", rule);
    else if (!endpoint_parse(guest, &forward->guest_ip, &forward->guest_port))
        fields_fail(&inner, "guest", "%s, not %s", rule, json_shown(fields_get(&inner, "guest"), shown));
    fields_join(fields, &inner);
}

static void read_forwards(struct fields *fields, struct network_spec *spec)
{
    const json_t *value = fields_get(fields, "forwards");
    char shown[JSON_SHOWN_SIZE];

    if (!value)
        return;
    if (!json_is_array(value) || json_array_size(value) > NETWORK_FORWARDS_MAX) {
        fields_fail(fields, "forwards", "must be a list of at most %d forwards, not %s", NETWORK_FORWARDS_MAX,
                    json_is_array(value) ? "more" : json_shown(value, shown));
        return;
    }
    for (uint32_t i = 0; i < json_array_size(value) && !fields->failed; i++)
        read_forward(fields, json_array_get(value, i), i, &spec->forwards[i]);
    spec->n_forwards = (uint32_t)json_array_size(value);
}

/* "0660": permissions of a socket; its owner can always use it, and execution means nothing. */
static bool socket_mode_parse(const char *text, uint32_t *ret_mode)
{
    uint32_t mode = 0;

    if (strlen(text) != 4 || text[0] != '0' || strspn(text, "0246") != 4)
        return false;
    for (; *text; text++)
        mode = mode << 3 | (uint32_t)(*text - '0');
    *ret_mode = mode;
    return (mode & 0600) == 0600;
}

static void read_sockets(struct fields *fields, struct network_spec *spec)
{
    static const char *const known[] = {"stream", "datagram", "group", "mode", NULL};
    static const char mode_rule[] = "must be octal from \"0600\" to \"0666\", such as \"0660\"";
    const json_t *value = fields_get(fields, "sockets");
    struct fields sockets;
    const char *text;

    if (!value)
        return;
    fields_open(&sockets, value, "/sockets", known, NULL, fields->error);
    fields_bool(&sockets, "stream", &spec->sockets.stream);
    fields_bool(&sockets, "datagram", &spec->sockets.datagram);
    if (!json_is_null(fields_get(&sockets, "group"))) {
        text = fields_string(&sockets, "group", "must be null or the name of a group");
        if (text && !fields_is_word(text, NETWORK_GROUP_SIZE))
            fields_fail(&sockets, "group", "must be null or the name of a group, not \"%.40s\"", text);
        if (text)
            snprintf(spec->sockets.group, sizeof(spec->sockets.group), "%.32s", text);
    }
    spec->sockets.mode = spec->sockets.group[0] ? 0660 : 0600;
    text = fields_string(&sockets, "mode", mode_rule);
    if (text && !socket_mode_parse(text, &spec->sockets.mode))
        fields_fail(&sockets, "mode", "%s, not \"%.40s\"", mode_rule, text);
    fields_join(fields, &sockets);
}

/* Null, for one or for all, is what 'spec' has already: the default. */
static void read_numbers(struct fields *fields, const char *key, const struct number *rows, int n,
                         struct network_spec *spec)
{
    const char *known[NUMBERS_MAX + 1] = {NULL};
    const json_t *value = fields_get(fields, key);
    char path[JSON_PATH_SIZE];
    struct fields inner;
    int64_t number;

    if (!value || json_is_null(value))
        return;
    for (int i = 0; i < n; i++)
        known[i] = rows[i].key;
    snprintf(path, sizeof(path), "/%s", key);
    fields_open(&inner, value, path, known, NULL, fields->error);
    for (int i = 0; i < n; i++) {
        if (json_is_null(fields_get(&inner, rows[i].key)))
            continue;
        if (fields_integer(&inner, rows[i].key, rows[i].min, rows[i].max, false, &number)) {
            uint32_t row = (uint32_t)number;
            memcpy((char *)spec + rows[i].offset, &row, sizeof(row));
        }
    }
    fields_join(fields, &inner);
}

/* Returns true if it was set. */
static bool read_offload(struct fields *fields, enum port_offload *offload)
{
    const char *names[OFFLOAD_N];
    int choice = OFFLOAD_OFF;

    for (int i = 0; i < OFFLOAD_N; i++)
        names[i] = port_offload_name((enum port_offload)i);
    if (!fields_choice(fields, "offload", names, OFFLOAD_N, &choice))
        return false;
    *offload = (enum port_offload)choice;
    return true;
}

static void read_interface(struct fields *fields, struct network_spec *spec)
{
    static const char rule[] = "must be null or the name of a host interface";
    const json_t *value = fields_get(fields, "interface");
    const char *text;

    if (!value || json_is_null(value))
        return;
    text = fields_string(fields, "interface", rule);
    if (!text)
        return;
    if (!fields_is_word(text, sizeof(spec->interface)))
        fields_fail(fields, "interface", "%s, not \"%.40s\"", rule, text);
    else
        snprintf(spec->interface, sizeof(spec->interface), "%s", text);
}

static void read_uplink(struct fields *fields, struct network_spec *spec)
{
    const char *names[WANT_N];
    int uplink = WANT_AUTO;

    for (int i = 0; i < WANT_N; i++)
        names[i] = network_uplink_name((enum network_uplink)i);
    if (json_is_object(fields_get(fields, "uplink")))
        fields_fail(fields, "uplink",
                    "must be a string such as \"auto\": the object shown is read only, its "
                    "\"wanted\" is what was set");
    if (fields_choice(fields, "uplink", names, WANT_N, &uplink))
        spec->uplink = (enum network_uplink)uplink;
}

int network_spec_from_json(const json_t *object, const char *name, struct network_spec *ret_spec,
                           struct spec_error *ret_error)
{
    static const char *const known[] = {
        "name",          "mode",     "uplink",  "interface", "ipv4",    "ipv6",   "mtu",   "isolated",
        "host_loopback", "forwards", "sockets", "limits",    "offload", "tuning", "vmnet", NULL};
    static const char *const read_only[] = {"pid",   "owner",  "source",   "file", "needs_restart",
                                            "state", "reason", "counters", "fdb",  NULL};
    const char *modes[MODE_N];
    struct fields fields;
    char its_name[NETWORK_NAME_SIZE] = "";
    int mode = MODE_INTERNAL;
    int64_t mtu;

    for (int i = 0; i < MODE_N; i++)
        modes[i] = network_mode_name((enum network_mode)i);
    fields_open(&fields, object, "", known, read_only, ret_error);
    read_name(&fields, name, its_name);
    fields_choice(&fields, "mode", modes, MODE_N, &mode);
    network_spec_init(ret_spec, its_name, (enum network_mode)mode);
    read_uplink(&fields, ret_spec);
    read_interface(&fields, ret_spec);
    read_ipv4(&fields, ret_spec);
    read_ipv6(&fields, ret_spec);
    if (fields_integer(&fields, "mtu", MTU_MIN, MTU_MAX, false, &mtu))
        ret_spec->mtu = (uint32_t)mtu;
    fields_bool(&fields, "isolated", &ret_spec->isolated);
    fields_bool(&fields, "host_loopback", &ret_spec->host_loopback);
    read_forwards(&fields, ret_spec);
    read_sockets(&fields, ret_spec);
    read_numbers(&fields, "limits", limits, N_LIMITS, ret_spec);
    read_numbers(&fields, "tuning", tuning, N_TUNING, ret_spec);
    read_offload(&fields, &ret_spec->offload);
    network_vmnet_read(&fields, &ret_spec->vmnet);
    return fields.failed ? -1 : 0;
}

/* "up" is true, "down" is false. Returns true if it was set. */
static bool read_link(struct fields *fields, bool *enabled)
{
    static const char *const names[] = {"down", "up"};
    int link = 0;

    if (!fields_choice(fields, "link", names, 2, &link))
        return false;
    *enabled = link == 1;
    return true;
}

static void read_statics(struct fields *fields, struct port_spec *spec)
{
    const json_t *value = fields_get(fields, "static_addresses");
    char key[JSON_PATH_SIZE], shown[JSON_SHOWN_SIZE];
    uint64_t mac = 0;

    if (!value)
        return;
    if (!json_is_array(value) || json_array_size(value) > PORT_STATICS_MAX) {
        fields_fail(fields, "static_addresses", "must be a list of at most %d MAC addresses, not %s",
                    PORT_STATICS_MAX, json_is_array(value) ? "more" : json_shown(value, shown));
        return;
    }
    for (uint32_t i = 0; i < json_array_size(value) && !fields->failed; i++) {
        const json_t *item = json_array_get(value, i);
        snprintf(key, sizeof(key), "static_addresses/%u", i);
        if (!json_is_string(item) || !mac_parse(json_string_value(item), &mac) || mac == 0 ||
            mac_is_group(mac))
            fields_fail(fields, key, "must be a unicast MAC address such as \"52:54:00:12:34:56\", not %s",
                        json_shown(item, shown));
        for (uint32_t j = 0; j < i && !fields->failed; j++) {
            if (spec->statics[j] == mac)
                fields_fail(fields, key, "must be given once only");
        }
        if (!fields->failed)
            spec->statics[spec->n_statics++] = mac;
    }
}

int port_spec_from_json(const json_t *object, const char *name, struct port_spec *ret_spec,
                        struct spec_error *ret_error)
{
    static const char *const known[] = {"name", "link", "isolated", "static_addresses", "offload", NULL};
    static const char *const read_only[] = {
        "kind",       "via",       "state",     "since",          "uid",
        "gid",        "pid",       "addresses", "frames_in",      "bytes_in",
        "frames_out", "bytes_out", "queued",    "queued_bytes",   "flood_copies",
        "drops",      "role",      "named",     "stalled_since",  "frame_max",
        "persist",    "problem",   "sockets",   "segment_copies", NULL};
    struct fields fields;

    memset(ret_spec, 0, sizeof(*ret_spec));
    ret_spec->enabled = true;
    fields_open(&fields, object, "", known, read_only, ret_error);
    read_name(&fields, name, ret_spec->name);
    read_link(&fields, &ret_spec->enabled);
    fields_bool(&fields, "isolated", &ret_spec->isolated);
    read_statics(&fields, ret_spec);
    ret_spec->offload_is_set = read_offload(&fields, &ret_spec->offload);
    return fields.failed ? -1 : 0;
}

int port_change_from_json(const json_t *object, struct port_change *ret_change, struct spec_error *ret_error)
{
    static const char *const known[] = {"link", "isolated", NULL};
    struct fields fields = {.object = object, .error = ret_error};

    memset(ret_change, 0, sizeof(*ret_change));
    if (fields_get(&fields, "offload")) { /* known to exist, so "unknown" would mislead */
        fields_fail(&fields, "offload",
                    "must be left out: it is constant while a port lives; PUT the port while "
                    "no client is plugged in");
        return -1;
    }
    fields_open(&fields, object, "", known, NULL, ret_error);
    ret_change->has_enabled = read_link(&fields, &ret_change->enabled);
    ret_change->has_isolated = fields_get(&fields, "isolated") != NULL;
    fields_bool(&fields, "isolated", &ret_change->isolated);
    if (!ret_change->has_enabled && !ret_change->has_isolated)
        fields_fail(&fields, NULL, "must have \"link\" or \"isolated\"");
    return fields.failed ? -1 : 0;
}

static json_t *write_ipv4(const struct network_spec *spec)
{
    char gateway[IPV4_TEXT_SIZE], netmask[IPV4_TEXT_SIZE], end[IPV4_TEXT_SIZE];
    json_t *ipv4;

    if (!spec->ipv4.gateway)
        return json_null();
    ipv4_format(spec->ipv4.gateway, gateway);
    ipv4_format(spec->ipv4.netmask, netmask);
    ipv4_format(spec->ipv4.dhcp_end, end);
    ipv4 = json_pack("{s:s, s:s, s:s}", "gateway", gateway, "netmask", netmask, "dhcp_end", end);
    if (ipv4 && spec->ipv4.dhcp_is_set)
        json_object_set_new(ipv4, "dhcp", json_boolean(spec->ipv4.dhcp));
    json_object_set_new(ipv4, "reservations", reservations_write(spec));
    return ipv4;
}

static json_t *write_ipv6(const struct network_spec *spec)
{
    char prefix[PREFIX_TEXT_SIZE];

    if (spec->ipv6.has_prefix)
        prefix_format(spec->ipv6.prefix, prefix);
    return json_pack("{s:s?}", "prefix", spec->ipv6.has_prefix ? prefix : NULL);
}

static json_t *write_forwards(const struct network_spec *spec)
{
    json_t *list = json_array();

    for (uint32_t i = 0; list && i < spec->n_forwards; i++) {
        const struct network_forward *forward = &spec->forwards[i];
        char host[ENDPOINT_TEXT_SIZE], guest[ENDPOINT_TEXT_SIZE];
        endpoint_format(forward->host_ip, forward->host_port, host);
        endpoint_format(forward->guest_ip, forward->guest_port, guest);
        json_array_append_new(list, json_pack("{s:s, s:s, s:s}", "proto", forward->is_udp ? "udp" : "tcp",
                                              "host", host, "guest", guest));
    }
    return list;
}

static json_t *write_sockets(const struct network_spec *spec)
{
    char mode[8];

    snprintf(mode, sizeof(mode), "%04o", spec->sockets.mode & 0777);
    return json_pack("{s:b, s:b, s:s?, s:s}", "stream", spec->sockets.stream, "datagram",
                     spec->sockets.datagram, "group", spec->sockets.group[0] ? spec->sockets.group : NULL,
                     "mode", mode);
}

/* A number below what its row allows is no number that was set: null. */
static json_t *write_numbers(const struct network_spec *spec, const struct number *rows, int n)
{
    json_t *object = json_object();

    for (int i = 0; i < n; i++) {
        uint32_t row;
        memcpy(&row, (const char *)spec + rows[i].offset, sizeof(row));
        json_object_set_new(object, rows[i].key, row >= rows[i].min ? json_integer(row) : json_null());
    }
    return object;
}

json_t *network_spec_to_json(const struct network_spec *spec)
{
    return json_pack(
        "{s:s, s:s, s:s, s:s?, s:o, s:o, s:i, s:b, s:b, s:o, s:o, s:o, s:s, s:o, s:o}", "name", spec->name,
        "mode", network_mode_name(spec->mode), "uplink", network_uplink_name(spec->uplink), "interface",
        spec->interface[0] ? spec->interface : NULL, "ipv4", write_ipv4(spec), "ipv6", write_ipv6(spec),
        "mtu", (int)spec->mtu, "isolated", spec->isolated, "host_loopback", spec->host_loopback, "forwards",
        write_forwards(spec), "sockets", write_sockets(spec), "limits", write_numbers(spec, limits, N_LIMITS),
        "offload", port_offload_name(spec->offload), "tuning", write_numbers(spec, tuning, N_TUNING), "vmnet",
        network_vmnet_write(&spec->vmnet));
}

json_t *port_spec_to_json(const struct port_spec *spec)
{
    json_t *statics = json_array();

    for (uint32_t i = 0; statics && i < spec->n_statics; i++) {
        char mac[MAC_TEXT_SIZE];
        mac_format(spec->statics[i], mac);
        json_array_append_new(statics, json_string(mac));
    }
    return json_pack("{s:s, s:s, s:b, s:o, s:s*}", "name", spec->name, "link", spec->enabled ? "up" : "down",
                     "isolated", spec->isolated, "static_addresses", statics, "offload",
                     spec->offload_is_set ? port_offload_name(spec->offload) : NULL);
}
