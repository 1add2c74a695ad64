#include "daemon/vmnet_helper_options.h"

#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/address.h"

enum helper_option {
    OPTION_FD = 'f',
    OPTION_SOCKET = 's',
    OPTION_INTERFACE_ID = 'i',
    OPTION_VERBOSE = 'v',
    OPTION_HELP = 'h',
    OPTION_MODE = 256,
    OPTION_SHARED_INTERFACE,
    OPTION_START,
    OPTION_END,
    OPTION_MASK,
    OPTION_ISOLATION,
    OPTION_TSO,
    OPTION_CHECKSUM,
    OPTION_NETWORK,
    OPTION_LIST,
    OPTION_STATS,
    OPTION_LIVENESS,
    OPTION_VERSION,
};

static const struct option long_options[] = {
    {"fd", required_argument, NULL, OPTION_FD},
    {"socket", required_argument, NULL, OPTION_SOCKET},
    {"interface-id", required_argument, NULL, OPTION_INTERFACE_ID},
    {"operation-mode", required_argument, NULL, OPTION_MODE},
    {"shared-interface", required_argument, NULL, OPTION_SHARED_INTERFACE},
    {"start-address", required_argument, NULL, OPTION_START},
    {"end-address", required_argument, NULL, OPTION_END},
    {"subnet-mask", required_argument, NULL, OPTION_MASK},
    {"enable-isolation", no_argument, NULL, OPTION_ISOLATION},
    {"enable-tso", no_argument, NULL, OPTION_TSO},
    {"enable-checksum-offload", no_argument, NULL, OPTION_CHECKSUM},
    {"network", required_argument, NULL, OPTION_NETWORK},
    {"list-shared-interfaces", no_argument, NULL, OPTION_LIST},
    {"stats-interval", required_argument, NULL, OPTION_STATS},
    {"parent-liveness-fd", required_argument, NULL, OPTION_LIVENESS},
    {"verbose", no_argument, NULL, OPTION_VERBOSE},
    {"version", no_argument, NULL, OPTION_VERSION},
    {"help", no_argument, NULL, OPTION_HELP},
    {NULL, 0, NULL, 0},
};

const char *helper_options_help(void)
{
    return "usage: vmnet-helper (--fd FD | --socket PATH) [OPTIONS]\n\n"
           "The network of one VM on a datagram socket. Prints one line of JSON about it.\n\n"
           "  --fd FD                    the network's end of a connected datagram socket (-f)\n"
           "  --socket PATH              make a socket here and wait for the VM (-s)\n"
           "  --interface-id UUID        the same id gets the same MAC address (-i)\n"
           "  --operation-mode MODE      shared (the default), host or bridged\n"
           "  --shared-interface NAME    with bridged: the host's interface\n"
           "  --start-address IP         the host's address; the three go together\n"
           "  --end-address IP           the last address that is given out\n"
           "  --subnet-mask MASK\n"
           "  --enable-isolation         the VM reaches nothing but the host side\n"
           "  --enable-tso               frames of up to 65550 bytes, to be cut here\n"
           "  --enable-checksum-offload  unfinished checksums\n"
           "  --network NAME             join this network of a running vmswitchd\n"
           "  --list-shared-interfaces   what --shared-interface can name\n"
           "  --stats-interval SECONDS   log counters so often\n"
           "  --parent-liveness-fd FD    end when this descriptor does\n"
           "  --verbose                  log more (-v)\n"
           "  --version\n"
           "  --help                     (-h)\n\n"
           "VMSWITCH_JOIN=NAME is as --network NAME. VMSWITCH_UPLINK: auto, tap, user, none.\n"
           "See vmnet-helper(8).\n";
}

static int refuse(char *why, const char *format, ...) __attribute__((format(printf, 2, 3)));
static int refuse(char *why, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(why, HELPER_WHY_SIZE, format, args);
    va_end(args);
    return -1;
}

static int take_number(const char *name, const char *text, long min, long max, long *ret_number, char *why)
{
    char *rest;
    errno = 0;
    *ret_number = strtol(text, &rest, 10);
    if (!*text || *rest || errno || *ret_number < min || *ret_number > max)
        return refuse(why, "Invalid %s: \"%.64s\": a number from %ld to %ld", name, text, min, max);
    return 0;
}

static int take_descriptor(const char *name, const char *text, int *ret_fd, char *why)
{
    long number;
    if (take_number(name, text, 0, INT_MAX, &number, why) < 0)
        return -1;
    *ret_fd = (int)number;
    return 0;
}

static int take_address(const char *name, const char *text, uint32_t *ret_ip, char *why)
{
    if (ipv4_parse(text, ret_ip) && *ret_ip)
        return 0;
    return refuse(why, "Invalid %s: \"%.64s\": an IPv4 address, as 192.168.105.1", name, text);
}

static int take_mode(struct helper_options *options, const char *text, char *why)
{
    options->mode_is_set = true;
    if (strcmp(text, "shared") == 0)
        options->mode = MODE_SHARED;
    else if (strcmp(text, "host") == 0)
        options->mode = MODE_HOST;
    else if (strcmp(text, "bridged") == 0)
        options->mode = MODE_BRIDGED;
    else
        return refuse(why, "Invalid operation-mode: \"%.64s\": choose shared, host or bridged", text);
    return 0;
}

static int take_interface_id(struct helper_options *options, const char *text, char *why)
{
    options->has_interface_id = interface_id_parse(text, options->interface_id);
    return options->has_interface_id ? 0 : refuse(why, "Invalid interface-id: \"%.64s\": a UUID", text);
}

static int take_socket(struct helper_options *options, const char *text, char *why)
{
    if (!*text)
        return refuse(why, "Invalid socket: the path is empty");
    if (strlen(text) > HELPER_SOCKET_LEN_MAX)
        return refuse(why, "The socket path is too long: %zu bytes, %d fit: \"%.110s\"", strlen(text),
                      HELPER_SOCKET_LEN_MAX, text);
    options->socket = text;
    return 0;
}

static int take_stats(struct helper_options *options, const char *text, char *why)
{
    long number;
    if (take_number("stats-interval", text, 1, INT_MAX / 1000, &number, why) < 0)
        return -1;
    options->stats_interval_s = (uint32_t)number;
    return 0;
}

/* Options without a value. */
static void take_flag(struct helper_options *options, int option)
{
    switch (option) {
    case OPTION_ISOLATION:
        options->is_isolated = true;
        break;
    case OPTION_TSO:
        options->tso = true;
        break;
    case OPTION_CHECKSUM:
        options->checksum = true;
        break;
    case OPTION_VERBOSE:
        options->is_verbose = true;
        break;
    case OPTION_LIST:
        options->action = HELPER_LIST;
        break;
    case OPTION_VERSION:
        options->action = HELPER_VERSION;
        break;
    default:
        options->action = HELPER_HELP;
    }
}

static int take(struct helper_options *options, int option, const char *text, char *why)
{
    switch (option) {
    case OPTION_FD:
        return take_descriptor("fd", text, &options->fd, why);
    case OPTION_SOCKET:
        return take_socket(options, text, why);
    case OPTION_INTERFACE_ID:
        return take_interface_id(options, text, why);
    case OPTION_MODE:
        return take_mode(options, text, why);
    case OPTION_SHARED_INTERFACE:
        options->shared_interface = text;
        return 0;
    case OPTION_START:
        return take_address("start-address", text, &options->start, why);
    case OPTION_END:
        return take_address("end-address", text, &options->end, why);
    case OPTION_MASK:
        return take_address("subnet-mask", text, &options->mask, why);
    case OPTION_NETWORK:
        options->network = text;
        return 0;
    case OPTION_STATS:
        return take_stats(options, text, why);
    case OPTION_LIVENESS:
        return take_descriptor("parent-liveness-fd", text, &options->liveness_fd, why);
    default:
        take_flag(options, option);
        return 0;
    }
}

static int check_addresses(const struct helper_options *options, char *why)
{
    const bool any = options->start || options->end || options->mask;
    const uint32_t hosts = ~options->mask;
    if (!any)
        return 0;
    if (!options->start || !options->end || !options->mask)
        return refuse(why,
                      "Options start-address, end-address and subnet-mask go together: give all three or "
                      "none");
    if (hosts & (hosts + 1) || hosts < 3)
        return refuse(why, "Invalid subnet-mask: one bits, then at least two zero bits");
    return 0;
}

static int check_network(const struct helper_options *options, char *why)
{
    if (!options->network)
        return 0;
    if (!port_name_is_valid(options->network))
        return refuse(why, "Invalid network: \"%.64s\": a name, [a-z0-9][a-z0-9_-]{0,31}", options->network);
    if (options->mode_is_set || options->shared_interface || options->start)
        return refuse(why,
                      "Option network conflicts with operation-mode, shared-interface and the addresses: "
                      "the network has its own");
    return 0;
}

static int check(const struct helper_options *options, char *why)
{
    if (options->fd < 0 && !options->socket)
        return refuse(why, "One of fd and socket is required");
    if (options->fd >= 0 && options->socket)
        return refuse(why, "Options fd and socket conflict: give one of them");
    if (options->fd >= 0 && options->fd == options->liveness_fd)
        return refuse(why, "Options fd and parent-liveness-fd name the same descriptor");
    if (options->mode == MODE_BRIDGED && !options->shared_interface)
        return refuse(why, "Option shared-interface is required with operation-mode bridged");
    if (options->mode == MODE_BRIDGED && options->is_isolated)
        return refuse(why, "Option enable-isolation conflicts with operation-mode bridged");
    if (options->shared_interface && strlen(options->shared_interface) >= NETWORK_IFNAME_SIZE)
        return refuse(why, "Invalid shared-interface: \"%.64s\": the name is too long",
                      options->shared_interface);
    if (check_addresses(options, why) < 0)
        return -1;
    return check_network(options, why);
}

int helper_options_parse(struct helper_options *options, int argc, char **argv, char ret_why[HELPER_WHY_SIZE])
{
    int option;
    *options = (struct helper_options){.fd = -1, .liveness_fd = -1, .mode = MODE_SHARED};
    optind = 1;
    opterr = 0;
    /* One thread, and the one place that parses. NOLINTNEXTLINE(concurrency-mt-unsafe) */
    while ((option = getopt_long(argc, argv, ":f:s:i:vh", long_options, NULL)) >= 0) {
        if (option == ':')
            return refuse(ret_why, "Option %.64s needs a value", argv[optind - 1]);
        if (option == '?')
            return refuse(ret_why, "Invalid option: %.64s", argv[optind - 1]);
        if (take(options, option, optarg, ret_why) < 0)
            return -1;
        if (options->action != HELPER_RUN)
            return 0;
    }
    if (optind < argc)
        return refuse(ret_why, "Unexpected argument: %.64s", argv[optind]);
    return check(options, ret_why);
}
