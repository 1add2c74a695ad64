/* daemon/cli_commands.c - the commands: a request, an answer, a table */
#include "daemon/cli.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef void print_fn(const json_t *answer);

/* With --json the API's answer as it came, else 'print', where there is something to print. */
static void show(const struct cli *cli, const struct cli_answer *answer, print_fn *print)
{
    if (answer->len == 0)
        return;
    if (!cli->json)
        print(answer->json);
    else
        printf("%s%s", answer->text, answer->text[answer->len - 1] == '\n' ? "" : "\n");
}

static int get(const struct cli *cli, const char *path, print_fn *print)
{
    struct cli_answer answer;

    int r = cli_request(cli, "GET", path, NULL, &answer);
    if (r == CLI_OK) {
        show(cli, &answer, print);
        cli_answer_free(&answer);
    }
    return r;
}

/* The path of this command's network or port, with 'tail' behind it. */
static int path_of(const struct cli *cli, char path[CLI_PATH_SIZE], const char *tail)
{
    return cli_path(path, CLI_PATH_SIZE, cli->arguments[0], cli->arguments[1], tail)
               ? CLI_OK
               : cli_usage("a name is too long");
}

static void print_nothing(const json_t *answer)
{
    (void)answer;
}

/* A DELETE of what 'tail' names. */
static int forget(const struct cli *cli, const char *tail, print_fn *print)
{
    char path[CLI_PATH_SIZE];
    struct cli_answer answer;

    int r = path_of(cli, path, tail);
    if (r == CLI_OK)
        r = cli_request(cli, "DELETE", path, NULL, &answer);
    if (r == CLI_OK) {
        show(cli, &answer, print);
        cli_answer_free(&answer);
    }
    return r;
}

static int networks(const struct cli *cli)
{
    return get(cli, "/networks", cli_print_networks);
}

static int create(const struct cli *cli)
{
    struct cli_answer answer;
    json_t *body;

    int r = cli_network_body(cli, &body);
    if (r != CLI_OK)
        return r;
    r = cli_request(cli, "POST", "/networks", body, &answer);
    json_decref(body);
    if (r != CLI_OK)
        return r;
    if (cli->json)
        show(cli, &answer, print_nothing);
    else
        cli_print_network_made(answer.json, answer.status);
    cli_answer_free(&answer);
    return CLI_OK;
}

static int delete_network(const struct cli *cli)
{
    return forget(cli, "", print_nothing);
}

static int ports(const struct cli *cli)
{
    char path[CLI_PATH_SIZE];
    int r = path_of(cli, path, "/ports");

    return r == CLI_OK ? get(cli, path, cli_print_ports) : r;
}

static int send_port(const struct cli *cli, const char *method)
{
    char path[CLI_PATH_SIZE];
    struct cli_answer answer;
    json_t *body;

    int r = cli_port_body(cli, &body);
    if (r != CLI_OK)
        return r;
    r = path_of(cli, path, "");
    if (r == CLI_OK)
        r = cli_request(cli, method, path, body, &answer);
    json_decref(body);
    if (r != CLI_OK)
        return r;
    if (cli->json)
        show(cli, &answer, print_nothing);
    else
        cli_print_port_made(answer.json, answer.status);
    cli_answer_free(&answer);
    return CLI_OK;
}

static int port_add(const struct cli *cli)
{
    return send_port(cli, "PUT");
}

static int port_set(const struct cli *cli)
{
    if (!cli_value(cli, "link") && !cli_value(cli, "isolated") && !cli_value(cli, "not-isolated"))
        return cli_usage("port set needs --link, --isolated or --not-isolated");
    return send_port(cli, "PATCH");
}

static int detach(const struct cli *cli)
{
    return forget(cli, "", print_nothing);
}

static void print_flushed(const json_t *answer)
{
    const json_t *n = json_object_get(answer, "flushed");

    if (json_is_integer(n))
        printf("%" JSON_INTEGER_FORMAT " addresses forgotten\n", json_integer_value(n));
}

static int fdb(const struct cli *cli)
{
    char path[CLI_PATH_SIZE];

    if (cli_value(cli, "flush"))
        return forget(cli, "/fdb", print_flushed);
    int r = path_of(cli, path, "/fdb");
    return r == CLI_OK ? get(cli, path, cli_print_fdb) : r;
}

static int health(const struct cli *cli)
{
    return get(cli, "/health", cli_print_health);
}

static int interfaces(const struct cli *cli)
{
    return get(cli, "/interfaces", cli_print_interfaces);
}

static int reload(const struct cli *cli)
{
    struct cli_answer answer;
    json_t *body;

    int r = cli_reload_body(cli, &body);
    if (r != CLI_OK)
        return r;
    r = cli_request(cli, "POST", "/reload", body, &answer);
    json_decref(body);
    if (r == CLI_OK) {
        show(cli, &answer, cli_print_reload);
        cli_answer_free(&answer);
    }
    return r;
}

static void print_version(const json_t *answer)
{
    const char *text = json_string_value(json_object_get(answer, "version"));

    printf("vmswitchd %s\n", text ? text : "of unknown version");
}

static int version(const struct cli *cli)
{
    if (!cli->json)
        puts("vmswitch " VMSWITCH_VERSION);
    fflush(stdout); /* before a complaint about the daemon */
    return get(cli, "", print_version);
}

/* ---- what there is ---- */

const struct cli_option cli_global_options[] = {
    {"json", NULL, "print the API's JSON unchanged; a problem goes to stderr"},
    {"socket", "PATH", "the API's socket (else VMSWITCH_SOCKET, else the daemon's default)"},
    {"help", NULL, "print this"},
    {"version", NULL, "print the version of this program"},
    {NULL, NULL, NULL},
};

static const struct cli_option create_options[] = {
    {"mode", "MODE", "shared, host, bridged or internal (the default)"},
    {"uplink", "UPLINK", "auto (the default), none, user, tap or vmnet"},
    {"interface", "NAME", "what a bridged network is bridged to"},
    {"mtu", "N", "the longest packet, in bytes; 1500 by default"},
    {"offload", "OFFLOAD", "of ports that do not say: off (the default), raw or virtio"},
    {"isolated", NULL, "ports reach the uplink and not each other"},
    {"gateway", "ADDRESS", "the host's address on the network"},
    {"netmask", "MASK", "its netmask; 255.255.255.0 by default"},
    {"dhcp-end", "ADDRESS", "the last address that guests get"},
    {"dhcp", NULL, "guests get addresses, in mode host, too"},
    {"no-dhcp", NULL, "guests get no address"},
    {"group", "GROUP", "who may use the sockets beside their owner"},
    {"socket-mode", "MODE", "the permissions of the sockets, such as 0660"},
    {"forward", "FORWARD", "PROTO:[ADDRESS:]PORT:ADDRESS:PORT, host then guest; repeatable"},
    {"json-body", "FILE", "begin with the JSON of FILE, or - for the standard input"},
    {NULL, NULL, NULL},
};
static const struct cli_option port_add_options[] = {
    {"link", "STATE", "up (the default) or down"},
    {"isolated", NULL, "the port reaches the uplink and no other port"},
    {"offload", "OFFLOAD", "off, raw or virtio; by default the network's"},
    {"static-address", "MAC", "an address that stays at this port; repeatable"},
    {NULL, NULL, NULL},
};
static const struct cli_option port_set_options[] = {
    {"link", "STATE", "up or down"},
    {"isolated", NULL, "the port reaches the uplink and no other port"},
    {"not-isolated", NULL, "the port reaches every other port"},
    {NULL, NULL, NULL},
};
static const struct cli_option fdb_options[] = {
    {"flush", NULL, "forget what was learned instead of printing it"},
    {NULL, NULL, NULL},
};
static const struct cli_option reload_options[] = {
    {"restart", NULL, "restart the networks that cannot be changed otherwise; their VMs are cut off"},
    {"restart-network", "NAME", "this network only; repeatable"},
    {NULL, NULL, NULL},
};
static const struct cli_option run_options[] = {
    {"kind", "KIND", "stream (the default) or datagram"},
    {"fd", "N", "the descriptor the command gets; by default 3 for a stream, 4 for datagrams"},
    {"port", "NAME", "plug into this named port instead of a new one"},
    {"offload", "OFFLOAD", "off, raw or virtio; by default the port's or the network's"},
    {"persist", NULL, "the port stays when the command ends but its socket is still open elsewhere"},
    {NULL, NULL, NULL},
};

const struct cli_command cli_commands[] = {
    {"networks", "", 0, false, NULL, "list the networks", networks},
    {"create", "NAME", 1, false, create_options, "make a network", create},
    {"delete", "NAME", 1, false, NULL, "remove a network and unplug its VMs", delete_network},
    {"ports", "NETWORK", 1, false, NULL, "list the ports of a network", ports},
    {"port add", "NETWORK PORT", 2, false, port_add_options, "make a named port, or set it anew", port_add},
    {"port set", "NETWORK PORT", 2, false, port_set_options, "change a port", port_set},
    {"detach", "NETWORK PORT", 2, false, NULL, "unplug a port's VM and remove the port", detach},
    {"fdb", "NETWORK", 1, false, fdb_options, "list the addresses a network knows", fdb},
    {"health", "", 0, false, NULL, "say of each network how it is, and why", health},
    {"interfaces", "", 0, false, NULL, "list what a network can be bridged to", interfaces},
    {"reload", "", 0, false, reload_options, "read the configuration file again and apply it", reload},
    {"run", "NETWORK", 1, true, run_options, "run a command that is plugged into a network", cli_run},
    {"complete", "", 0, true, NULL, "print what can come next on a command line, for the shells",
     cli_complete},
    {"version", "", 0, false, NULL, "print the versions of this program and of the daemon", version},
    {NULL, NULL, 0, false, NULL, NULL, NULL},
};
