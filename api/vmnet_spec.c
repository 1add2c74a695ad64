#include "api/vmnet_spec.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "api/address.h"
#include "api/offer.h"
#include "api/spec_check.h"
#include "api/uuid.h"

/* What is on unless it is switched off. */
static const struct flag {
    const char *key;
    size_t offset; /* of a bool in struct network_vmnet */
} flags[] = {
    {"nat44", offsetof(struct network_vmnet, nat44)},
    {"nat66", offsetof(struct network_vmnet, nat66)},
    {"dns_proxy", offsetof(struct network_vmnet, dns_proxy)},
    {"router_advertisement", offsetof(struct network_vmnet, router_advertisement)},
    {"tso", offsetof(struct network_vmnet, tso)},
    {"checksum_offload", offsetof(struct network_vmnet, checksum_offload)},
    {"virtio_header", offsetof(struct network_vmnet, virtio_header)},
};
enum { N_FLAGS = sizeof(flags) / sizeof(flags[0]) };

static bool *flag_in(struct network_vmnet *vmnet, int i)
{
    return (bool *)((char *)vmnet + flags[i].offset);
}

static bool flag_of(const struct network_vmnet *vmnet, int i)
{
    bool value;
    memcpy(&value, (const char *)vmnet + flags[i].offset, sizeof(value));
    return value;
}

void network_vmnet_init(struct network_vmnet *vmnet)
{
    for (int i = 0; i < N_FLAGS; i++)
        *flag_in(vmnet, i) = true;
}

/* Absent ids are zero. */
bool network_vmnet_is_same(const struct network_vmnet *a, const struct network_vmnet *b)
{
    for (int i = 0; i < N_FLAGS; i++) {
        if (flag_of(a, i) != flag_of(b, i))
            return false;
    }
    return a->has_interface_id == b->has_interface_id &&
           memcmp(a->interface_id, b->interface_id, sizeof(a->interface_id)) == 0 &&
           a->has_network_id == b->has_network_id &&
           memcmp(a->network_id, b->network_id, sizeof(a->network_id)) == 0 &&
           a->has_host_ipv6 == b->has_host_ipv6 &&
           memcmp(a->host_ipv6, b->host_ipv6, sizeof(a->host_ipv6)) == 0 &&
           a->isolation_is_set == b->isolation_is_set && a->isolation == b->isolation &&
           strcmp(a->external_interface, b->external_interface) == 0;
}

bool network_vmnet_is_default(const struct network_vmnet *vmnet)
{
    struct network_vmnet plain = {.nat44 = false};

    network_vmnet_init(&plain);
    return network_vmnet_is_same(vmnet, &plain);
}

/* ---- JSON ---- */

/* The text of a field that may be null, or NULL. */
static const char *text_in(struct fields *fields, const char *key, const char *rule)
{
    return json_is_null(fields_get(fields, key)) ? NULL : fields_string(fields, key, rule);
}

static void read_uuid(struct fields *fields, const char *key, bool *has, uint8_t *uuid)
{
    static const char rule[] = "must be null or a UUID such as \"8f14e45f-ceea-467f-a1d3-5f3c9b1d2e4a\"";
    const char *text = text_in(fields, key, rule);

    if (!text)
        return;
    *has = uuid_parse_text(text, uuid);
    if (!*has)
        fields_fail(fields, key, "%s, not \"%.40s\"", rule, text);
}

static void read_host_ipv6(struct fields *fields, struct network_vmnet *vmnet)
{
    static const char rule[] = "must be null or a unicast IPv6 address such as \"fd00:1:2:3::1\"";
    const char *text = text_in(fields, "host_ipv6", rule);

    if (!text)
        return;
    vmnet->has_host_ipv6 = ipv6_parse(text, vmnet->host_ipv6);
    if (!vmnet->has_host_ipv6)
        fields_fail(fields, "host_ipv6", "%s, not \"%.48s\"", rule, text);
}

static void read_external_interface(struct fields *fields, struct network_vmnet *vmnet)
{
    static const char rule[] = "must be null or the name of a host interface";
    const char *text = text_in(fields, "external_interface", rule);

    if (!text)
        return;
    if (fields_is_word(text, sizeof(vmnet->external_interface)))
        snprintf(vmnet->external_interface, sizeof(vmnet->external_interface), "%s", text);
    else
        fields_fail(fields, "external_interface", "%s, not \"%.40s\"", rule, text);
}

void network_vmnet_read(struct fields *network, struct network_vmnet *vmnet)
{
    static const char *const known[] = {"interface_id",
                                        "network_id",
                                        "host_ipv6",
                                        "isolation",
                                        "nat44",
                                        "nat66",
                                        "dns_proxy",
                                        "router_advertisement",
                                        "external_interface",
                                        "tso",
                                        "checksum_offload",
                                        "virtio_header",
                                        NULL};
    const json_t *value = fields_get(network, "vmnet");
    struct fields fields;

    if (!value || json_is_null(value))
        return;
    fields_open(&fields, value, "/vmnet", known, NULL, network->error);
    read_uuid(&fields, "interface_id", &vmnet->has_interface_id, vmnet->interface_id);
    read_uuid(&fields, "network_id", &vmnet->has_network_id, vmnet->network_id);
    read_host_ipv6(&fields, vmnet);
    if (fields_get(&fields, "isolation") && !json_is_null(fields_get(&fields, "isolation"))) {
        vmnet->isolation_is_set = true;
        fields_bool(&fields, "isolation", &vmnet->isolation);
    }
    read_external_interface(&fields, vmnet);
    for (int i = 0; i < N_FLAGS; i++)
        fields_bool(&fields, flags[i].key, flag_in(vmnet, i));
    fields_join(network, &fields);
}

static json_t *write_uuid(bool has, const uint8_t *uuid)
{
    char text[UUID_TEXT_SIZE];

    if (!has)
        return json_null();
    uuid_format_text(uuid, text);
    return json_string(text);
}

json_t *network_vmnet_write(const struct network_vmnet *vmnet)
{
    char host_ipv6[IPV6_TEXT_SIZE];
    json_t *object;

    if (network_vmnet_is_default(vmnet))
        return json_null();
    if (vmnet->has_host_ipv6)
        ipv6_format(vmnet->host_ipv6, host_ipv6);
    object = json_pack("{s:o, s:o, s:s?, s:o, s:s?}", "interface_id",
                       write_uuid(vmnet->has_interface_id, vmnet->interface_id), "network_id",
                       write_uuid(vmnet->has_network_id, vmnet->network_id), "host_ipv6",
                       vmnet->has_host_ipv6 ? host_ipv6 : NULL, "isolation",
                       vmnet->isolation_is_set ? json_boolean(vmnet->isolation) : json_null(),
                       "external_interface", vmnet->external_interface[0] ? vmnet->external_interface : NULL);
    for (int i = 0; object && i < N_FLAGS; i++)
        json_object_set_new(object, flags[i].key, json_boolean(flag_of(vmnet, i)));
    return object;
}

/* ---- what goes together ---- */

/* "auto" becomes vmnet in these modes, where there is one. */
static bool is_vmnet(const struct network_spec *spec)
{
    return spec->uplink == WANT_VMNET ||
           (spec->uplink == WANT_AUTO && (spec->mode == MODE_HOST || spec->mode == MODE_BRIDGED) &&
            !offer_refusal_of_uplink(WANT_VMNET));
}

static int check_system(const char *field, bool is_wanted, enum vmnet_feature feature,
                        struct spec_error *error)
{
    const char *system = is_wanted ? offer_system_of_vmnet(feature) : NULL;

    return system ? spec_refuse(error, field, "needs %s or later, which this system is not", system) : 0;
}

/* What a shared or host network of vmnet can be, and a bridged one can't. */
static int check_bridged(const struct network_vmnet *vmnet, struct spec_error *error)
{
    const struct {
        const char *key;
        bool is_wanted;
    } rows[] = {
        {"/vmnet/isolation", vmnet->isolation_is_set && vmnet->isolation},
        {"/vmnet/nat44", !vmnet->nat44},
        {"/vmnet/nat66", !vmnet->nat66},
        {"/vmnet/dns_proxy", !vmnet->dns_proxy},
        {"/vmnet/router_advertisement", !vmnet->router_advertisement},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        if (rows[i].is_wanted)
            return spec_refuse(error, rows[i].key,
                               "must be left out when \"mode\" is \"bridged\": the outside network serves "
                               "its guests, not this Mac");
    }
    return 0;
}

/* A host network without DHCP is one with an identifier of its own, where it is no network object. */
static int check_identified(const struct network_spec *spec, struct spec_error *error)
{
    const bool is_identified = spec->mode == MODE_HOST && spec->ipv4.gateway && !spec->ipv4.dhcp;
    const char *field = spec->vmnet.has_network_id  ? "/vmnet/network_id"
                        : spec->vmnet.has_host_ipv6 ? "/vmnet/host_ipv6"
                                                    : NULL;

    if (!field || is_identified)
        return 0;
    return spec_refuse(
        error, field,
        "must be null unless \"mode\" is \"host\" and \"ipv4.dhcp\" is false, which this is not");
}

static int check_systems(const struct network_spec *spec, struct spec_error *error)
{
    const struct network_vmnet *vmnet = &spec->vmnet;
    const bool has_no_dhcp = spec->mode == MODE_SHARED && spec->ipv4.gateway && !spec->ipv4.dhcp;
    const struct {
        const char *field;
        bool is_wanted;
        enum vmnet_feature feature;
    } rows[] = {
        {"/ipv4/dhcp", has_no_dhcp, VMNET_SHARED_WITHOUT_DHCP},
        {"/ipv4/reservations", spec->ipv4.n_reservations > 0, VMNET_RESERVATIONS},
        {"/vmnet/nat44", !vmnet->nat44, VMNET_WITHOUT_NAT44},
        {"/vmnet/nat66", !vmnet->nat66, VMNET_WITHOUT_NAT66},
        {"/vmnet/dns_proxy", !vmnet->dns_proxy, VMNET_WITHOUT_DNS_PROXY},
        {"/vmnet/router_advertisement", !vmnet->router_advertisement, VMNET_WITHOUT_ROUTER_ADVERTISEMENT},
        {"/vmnet/external_interface", vmnet->external_interface[0] != 0, VMNET_EXTERNAL_INTERFACE},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        if (check_system(rows[i].field, rows[i].is_wanted, rows[i].feature, error) < 0)
            return -1;
    }
    return 0;
}

int network_vmnet_check(const struct network_spec *spec, struct spec_error *error)
{
    if (!is_vmnet(spec)) {
        if (network_vmnet_is_default(&spec->vmnet))
            return 0;
        return spec_refuse(error, "/vmnet", "must be null unless the uplink is \"vmnet\", which this is not");
    }
    if (spec->mode == MODE_BRIDGED && check_bridged(&spec->vmnet, error) < 0)
        return -1;
    if (spec->mode != MODE_SHARED && spec->vmnet.external_interface[0])
        return spec_refuse(error, "/vmnet/external_interface",
                           "must be null unless \"mode\" is \"shared\", which this is not");
    if (check_identified(spec, error) < 0)
        return -1;
    return check_systems(spec, error);
}
