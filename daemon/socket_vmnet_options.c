#include "daemon/socket_vmnet_options.h"

#include <arpa/inet.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "daemon/front.h"
#include "io/log.h"
#include "io/sockpath.h"

enum option_id { /* those that have no letter */
                 OPT_GROUP = 256,
                 OPT_MODE,
                 OPT_INTERFACE,
                 OPT_GATEWAY,
                 OPT_DHCP_END,
                 OPT_MASK,
                 OPT_INTERFACE_ID,
                 OPT_NETWORK_ID,
                 OPT_NAT66,
                 OPT_NO_DHCP,
};

static const struct option long_options[] = {
    {"socket-group", required_argument, NULL, OPT_GROUP},
    {"vmnet-mode", required_argument, NULL, OPT_MODE},
    {"vmnet-interface", required_argument, NULL, OPT_INTERFACE},
    {"vmnet-gateway", required_argument, NULL, OPT_GATEWAY},
    {"vmnet-dhcp-end", required_argument, NULL, OPT_DHCP_END},
    {"vmnet-mask", required_argument, NULL, OPT_MASK},
    {"vmnet-interface-id", required_argument, NULL, OPT_INTERFACE_ID},
    {"vmnet-network-identifier", required_argument, NULL, OPT_NETWORK_ID},
    {"vmnet-nat66-prefix", required_argument, NULL, OPT_NAT66},
    {"vmnet-disable-dhcp", no_argument, NULL, OPT_NO_DHCP},
    {"pidfile", required_argument, NULL, 'p'},
    {"help", no_argument, NULL, 'h'},
    {"version", no_argument, NULL, 'v'},
    {NULL, 0, NULL, 0},
};

enum { N_VALUES = OPT_NO_DHCP - OPT_GROUP }; /* options with a value and no letter */

/* What was given, in the order of enum option_id. NULL: not, or nothing that means something. */
struct given {
    const char *values[N_VALUES];
};

static const char *value_of(const struct given *given, enum option_id id)
{
    return given->values[id - OPT_GROUP];
}

static const char usage_text[] =
    "Usage: socket_vmnet [OPTION]... SOCKET\n"
    "A network for virtual machines, on the unix socket SOCKET. Takes the place of lima-vm/socket_vmnet.\n"
    "\n"
    "  --socket-group=GROUP             who may connect (default: staff); the socket's mode is 0770\n"
    "  --vmnet-mode=MODE                shared (default), host or bridged\n"
    "  --vmnet-interface=INTERFACE      the host's interface; for bridged mode, which needs it\n"
    "  --vmnet-gateway=IP               the host's address, for shared and host mode\n"
    "  --vmnet-dhcp-end=IP              the last address that DHCP gives out (default: .254 of the "
    "gateway's)\n"
    "  --vmnet-mask=MASK                the subnet's mask (default: 255.255.255.0)\n"
    "  --vmnet-interface-id=UUID        of the vmnet interface (macOS)\n"
    "  --vmnet-network-identifier=UUID  of an isolated network, for host mode (macOS)\n"
    "  --vmnet-nat66-prefix=PREFIX      for shared mode: a /64 of IPv6 addresses, \"fd00:1::\"\n"
    "  --vmnet-disable-dhcp             guests have addresses of their own\n"
    "  -p, --pidfile=FILE               written when everything is ready, removed at the end\n"
    "  -h, --help                       print this and exit\n"
    "  -v, --version                    print the version and exit\n"
    "\n"
    "Environment: DEBUG (any value) logs more. VMSWITCH_UPLINK is what stands behind the network:\n"
    "auto (default: vmnet on macOS; on Linux user for shared mode, tap for the others), tap, user, none, "
    "vmnet.\n"
    "SIGTERM, SIGINT and SIGHUP end it with exit code 0; whatever could not be done ends it with 1.\n";

const char *socket_vmnet_usage(void)
{
    return usage_text;
}

static int bad(char *why, size_t size, const char *format, ...) __attribute__((format(printf, 3, 4)));
static int bad(char *why, size_t size, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(why, size, format, args);
    va_end(args);
    return -1;
}

/* ---- values ---- */

static int parse_mode(const char *text, enum network_mode *ret_mode, char *why, size_t size)
{
    static const char *const names[] = {
        [MODE_SHARED] = "shared", [MODE_HOST] = "host", [MODE_BRIDGED] = "bridged"};
    for (int i = MODE_SHARED; text && i <= MODE_BRIDGED; i++) {
        if (strcmp(text, names[i]) == 0) {
            *ret_mode = (enum network_mode)i;
            return 0;
        }
    }
    return text ? bad(why, size, "Unknown vmnet mode \"%s\"; choose host, shared or bridged", text) : 0;
}

/* Nothing given leaves what is there. */
static int parse_address(const char *text, const char *option, uint32_t *ret_address, char *why, size_t size)
{
    struct in_addr address;
    if (!text)
        return 0;
    if (inet_aton(text, &address) == 0)
        return bad(why, size, "%s: \"%s\" is not an IPv4 address", option, text);
    *ret_address = ntohl(address.s_addr);
    return 0;
}

static int hex_value(char c)
{
    const char *digits = "0123456789abcdef0123456789ABCDEF";
    const char *at = c ? strchr(digits, c) : NULL;
    return at ? (int)(at - digits) % 16 : -1;
}

static int parse_uuid(const char *text, const char *option, unsigned char uuid[UUID_SIZE], bool *ret_has,
                      char *why, size_t size)
{
    const char *at = text;
    *ret_has = text != NULL;
    for (int i = 0; text && i < UUID_SIZE; i++) {
        if ((i == 4 || i == 6 || i == 8 || i == 10) && *at++ != '-')
            return bad(why, size, "%s: \"%s\" is not a UUID", option, text);
        int high = hex_value(at[0]), low = high < 0 ? -1 : hex_value(at[1]);
        if (low < 0)
            return bad(why, size, "%s: \"%s\" is not a UUID", option, text);
        uuid[i] = (unsigned char)(high * 16 + low);
        at += 2;
    }
    return text && *at ? bad(why, size, "%s: \"%s\" is not a UUID", option, text) : 0;
}

static int parse_prefix(const char *text, struct network_spec *spec, char *why, size_t size)
{
    static const unsigned char no_host[8];
    if (!text)
        return 0;
    if (inet_pton(AF_INET6, text, spec->ipv6.prefix) != 1 || memcmp(spec->ipv6.prefix + 8, no_host, 8) != 0)
        return bad(why, size, "--vmnet-nat66-prefix: \"%s\" is not the prefix of a /64, as fd00:1:: is",
                   text);
    spec->ipv6.has_prefix = true;
    return 0;
}

/* ---- the whole ---- */

static int take_addresses(struct socket_vmnet_options *options, const struct given *given, char *why,
                          size_t size)
{
    const char *gateway = value_of(given, OPT_GATEWAY), *end = value_of(given, OPT_DHCP_END);
    const char *mask = value_of(given, OPT_MASK);
    struct network_spec *spec = &options->spec;
    options->has_gateway = gateway != NULL;
    if (gateway && options->mode == MODE_BRIDGED)
        return bad(why, size, "vmnet mode \"bridged\" conflicts with --vmnet-gateway");
    if (!gateway && (end || mask))
        return bad(why, size, "--vmnet-%s requires --vmnet-gateway=IP", end ? "dhcp-end=IP" : "mask=MASK");
    if (!gateway)
        return 0;
    if (parse_address(gateway, "--vmnet-gateway", &spec->ipv4.gateway, why, size) < 0 ||
        parse_address(mask, "--vmnet-mask", &spec->ipv4.netmask, why, size) < 0)
        return -1;
    /* .254, but in a subnet that does not have one. */
    const uint32_t last = (spec->ipv4.gateway | ~spec->ipv4.netmask) - 1,
                   usual = (spec->ipv4.gateway & ~0xFFU) | 254;
    spec->ipv4.dhcp_end = usual < last ? usual : last;
    return parse_address(end, "--vmnet-dhcp-end", &spec->ipv4.dhcp_end, why, size);
}

static int take(struct socket_vmnet_options *options, const struct given *given, char *why, size_t size)
{
    const char *interface = value_of(given, OPT_INTERFACE);
    if (parse_mode(value_of(given, OPT_MODE), &options->mode, why, size) < 0)
        return -1;
    network_spec_init(&options->spec, "front", options->mode);
    options->socket_group = value_of(given, OPT_GROUP);
    options->interface = interface;
    if (options->mode == MODE_BRIDGED && !interface)
        return bad(why, size, "vmnet mode \"bridged\" requires --vmnet-interface=INTERFACE");
    if (options->mode == MODE_BRIDGED && strlen(interface) >= sizeof(options->spec.interface))
        return bad(why, size, "--vmnet-interface: no interface has a name as long as \"%s\"", interface);
    if (options->mode == MODE_BRIDGED)
        memcpy(options->spec.interface, interface, strlen(interface) + 1);
    if (options->disable_dhcp)
        options->spec.ipv4.dhcp = false;
    if (take_addresses(options, given, why, size) < 0 ||
        parse_uuid(value_of(given, OPT_INTERFACE_ID), "--vmnet-interface-id", options->interface_id,
                   &options->has_interface_id, why, size) < 0 ||
        parse_uuid(value_of(given, OPT_NETWORK_ID), "--vmnet-network-identifier", options->network_id,
                   &options->has_network_id, why, size) < 0)
        return -1;
    return parse_prefix(value_of(given, OPT_NAT66), &options->spec, why, size);
}

static int take_path(struct socket_vmnet_options *options, int n_words, char **words, char *why, size_t size)
{
    if (n_words != 1)
        return bad(why, size, n_words ? "one SOCKET, not %d" : "no SOCKET was named (%d)", n_words);
    options->socket_path = words[0];
    if (strlen(words[0]) > sockpath_len_max())
        return bad(why, size, "the socket path is too long: %zu, at most %zu bytes", strlen(words[0]),
                   sockpath_len_max());
    if (!words[0][0])
        return bad(why, size, "the socket path is empty");
    if (options->pidfile && strlen(options->pidfile) >= MESSAGE_PATH_SIZE)
        return bad(why, size, "the path of the pidfile is too long: %zu", strlen(options->pidfile));
    return 0;
}

int socket_vmnet_options_parse(struct socket_vmnet_options *ret_options, int argc, char **argv, char *ret_why,
                               size_t why_size)
{
    struct given given = {.values = {NULL}};
    int id;
    ret_why[0] = '\0';
    *ret_options = (struct socket_vmnet_options){.mode = MODE_SHARED};
    while ((id = getopt_long(argc, argv, "p:hv", long_options, NULL)) !=
           -1) { /* NOLINT(concurrency-mt-unsafe) */
        if (id == 'h' || id == 'v') {
            ret_options->help = id == 'h';
            ret_options->version = id == 'v';
            return 0; /* whatever else there is */
        }
        if (id == 'p')
            ret_options->pidfile = front_is_set(optarg) ? optarg : NULL;
        else if (id == OPT_NO_DHCP)
            ret_options->disable_dhcp = true;
        else if (id >= OPT_GROUP)
            given.values[id - OPT_GROUP] = front_is_set(optarg) ? optarg : NULL;
        else
            return -1; /* '?' */
    }
    if (take_path(ret_options, argc - optind, argv + optind, ret_why, why_size) < 0)
        return -1;
    return take(ret_options, &given, ret_why, why_size);
}

bool socket_vmnet_options_have_dhcp(const struct socket_vmnet_options *options)
{
    const bool is_identified = options->has_network_id && options->mode == MODE_HOST;
    return options->mode != MODE_BRIDGED && !options->disable_dhcp && !is_identified;
}

void socket_vmnet_options_fill_vmnet(const struct socket_vmnet_options *options, struct network_spec *spec)
{
    const bool is_identified = options->has_network_id && spec->mode == MODE_HOST;
    spec->ipv4.dhcp = socket_vmnet_options_have_dhcp(options);
    if (!options->has_gateway && spec->ipv4.dhcp)
        spec->ipv4.gateway = spec->ipv4.netmask = spec->ipv4.dhcp_end = 0;
    spec->vmnet.has_interface_id = options->has_interface_id;
    memcpy(spec->vmnet.interface_id, options->interface_id, sizeof(spec->vmnet.interface_id));
    spec->vmnet.has_network_id = is_identified;
    if (is_identified)
        memcpy(spec->vmnet.network_id, options->network_id, sizeof(spec->vmnet.network_id));
}
