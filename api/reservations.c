#include "api/reservations.h"

#include <stdio.h>

#include "api/address.h"
#include "api/spec_check.h"
#include "switch/mac.h"

static void read_reservation(struct fields *ipv4, const json_t *value, uint32_t i,
                             struct network_reservation *reservation)
{
    static const char *const known[] = {"mac", "address", NULL};
    static const char mac_rule[] = "must be a guest's MAC address such as \"52:54:00:12:34:56\"";
    static const char address_rule[] = "must be an IPv4 address such as \"192.168.105.9\"";
    char path[JSON_PATH_SIZE], shown[JSON_SHOWN_SIZE];
    struct fields fields;
    const char *mac, *address;

    snprintf(path, sizeof(path), "/ipv4/reservations/%u", i);
    fields_open(&fields, value, path, known, NULL, ipv4->error);
    mac = fields_string(&fields, "mac", mac_rule);
    if (!mac || !mac_parse(mac, &reservation->mac) || reservation->mac == 0 || mac_is_group(reservation->mac))
        fields_fail(&fields, "mac", "%s, not %s", mac_rule, json_shown(fields_get(&fields, "mac"), shown));
    address = fields_string(&fields, "address", address_rule);
    if (!address || !ipv4_parse(address, &reservation->address))
        fields_fail(&fields, "address", "%s, not %s", address_rule,
                    json_shown(fields_get(&fields, "address"), shown));
    fields_join(ipv4, &fields);
}

void reservations_read(struct fields *ipv4, struct network_spec *spec)
{
    const json_t *value = fields_get(ipv4, "reservations");
    char shown[JSON_SHOWN_SIZE];

    if (!value)
        return;
    if (!json_is_array(value) || json_array_size(value) > NETWORK_RESERVATIONS_MAX) {
        fields_fail(ipv4, "reservations", "must be a list of at most %d reservations, not %s",
                    NETWORK_RESERVATIONS_MAX, json_is_array(value) ? "more" : json_shown(value, shown));
        return;
    }
    for (uint32_t i = 0; i < json_array_size(value) && !ipv4->failed; i++)
        read_reservation(ipv4, json_array_get(value, i), i, &spec->ipv4.reservations[i]);
    spec->ipv4.n_reservations = (uint32_t)json_array_size(value);
}

json_t *reservations_write(const struct network_spec *spec)
{
    json_t *list = json_array();

    for (uint32_t i = 0; list && i < spec->ipv4.n_reservations; i++) {
        char mac[MAC_TEXT_SIZE], address[IPV4_TEXT_SIZE];
        mac_format(spec->ipv4.reservations[i].mac, mac);
        ipv4_format(spec->ipv4.reservations[i].address, address);
        json_array_append_new(list, json_pack("{s:s, s:s}", "mac", mac, "address", address));
    }
    return list;
}

int reservation_check(const struct network_spec *spec, uint32_t i, struct spec_error *error)
{
    const struct network_reservation *one = &spec->ipv4.reservations[i];
    const uint32_t hosts = ~spec->ipv4.netmask;
    char field[64];

    snprintf(field, sizeof(field), "/ipv4/reservations/%u/address", i);
    if ((one->address & ~hosts) != (spec->ipv4.gateway & ~hosts) || (one->address & hosts) == 0 ||
        (one->address & hosts) == hosts || one->address == spec->ipv4.gateway)
        return spec_refuse(error, field, "must be a guest's address in the network's subnet");
    for (uint32_t j = 0; j < i; j++) {
        const struct network_reservation *other = &spec->ipv4.reservations[j];
        if (other->address == one->address)
            return spec_refuse(error, field, "must differ from that of /ipv4/reservations/%u", j);
        if (other->mac == one->mac) {
            snprintf(field, sizeof(field), "/ipv4/reservations/%u/mac", i);
            return spec_refuse(error, field, "must differ from that of /ipv4/reservations/%u", j);
        }
    }
    return 0;
}
