/* daemon/vmnet_helper_join.c - vmnet-helper in a network of a running vmswitchd
 *
 * The good path: privileges gone -> GET the network -> the socket, locked and bound -> the line of JSON ->
 * the VM's first datagram -> the connected socket goes to the network over attach.sock (cli_attach.c); we
 * keep the lease, and end when the port has gone, the client has, or a signal comes.
 *
 * Privileges go first: to be root by a sudoers line for this program must open no network that its caller may
 * not use.
 */
#include "daemon/vmnet_helper.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <uv.h>

#include "api/address.h"
#include "api/spec_json.h"
#include "daemon/cli.h"
#include "daemon/environment.h"
#include "daemon/privileges.h"
#include "daemon/roles.h"
#include "daemon/vmnet_helper_vm.h"
#include "io/log.h"

struct join {
    const struct helper_options *options;
    const char *network;
    struct cli cli;
    struct helper_facts facts;
    char port[PORT_NAME_SIZE]; /* "": not plugged in yet */
    struct helper_socket socket;
    uv_loop_t loop;
    uv_signal_t signals[2];
    struct helper_vm *vm;
    int exit_code;
};

/* ---- what the CLI's files say, in our log ---- */

void cli_complain(const char *format, ...)
{
    char text[HELPER_SAY_SIZE];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    log_error("%s", text);
}

int cli_usage(const char *format, ...)
{
    char text[HELPER_SAY_SIZE];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    log_error("%s", text);
    return CLI_USAGE;
}

/* ---- the network ---- */

static bool address_in(const json_t *object, const char *key, uint32_t *ret_ip)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text && ipv4_parse(text, ret_ip);
}

static void read_addresses(struct helper_facts *facts, const json_t *ipv4)
{
    if (!address_in(ipv4, "gateway", &facts->start) || !address_in(ipv4, "netmask", &facts->mask) ||
        !address_in(ipv4, "dhcp_end", &facts->end))
        facts->start = facts->mask = facts->end = 0;
}

static void read_network(struct join *join, const json_t *network)
{
    struct helper_facts *facts = &join->facts;
    const json_t *own = json_object_get(json_object_get(network, "uplink"), "ipv4"); /* vmnet's choice */
    const char *mode = json_string_value(json_object_get(network, "mode"));
    const char *prefix = json_string_value(json_object_get(json_object_get(network, "ipv6"), "prefix"));
    facts->is_joined = true;
    facts->mode = MODE_INTERNAL;
    for (int i = 0; mode && i < MODE_N; i++)
        if (strcmp(mode, network_mode_name((enum network_mode)i)) == 0)
            facts->mode = (enum network_mode)i;
    facts->mtu = (uint32_t)json_integer_value(json_object_get(network, "mtu"));
    read_addresses(facts, json_is_object(own) ? own : json_object_get(network, "ipv4"));
    if (prefix && !prefix_parse(prefix, facts->prefix))
        log_debug("the network's IPv6 prefix cannot be read");
}

static int ask_network(struct join *join)
{
    char path[CLI_PATH_SIZE];
    struct cli_answer answer;
    if (cli_socket_find(&join->cli, NULL) != CLI_OK ||
        !cli_path(path, sizeof(path), join->network, NULL, "") ||
        cli_request(&join->cli, "GET", path, NULL, &answer) != CLI_OK)
        return -1;
    read_network(join, answer.json);
    cli_answer_free(&answer);
    return 0;
}

/* ---- the VM ---- */

static int attach(void *ctx, int fd, char *why, size_t size)
{
    struct join *join = ctx;
    const bool is_big = join->options->tso || join->options->checksum;
    json_t *request = json_pack("{s:s, s:s, s:s}", "network", join->network, "kind", "datagram", "offload",
                                is_big ? "raw" : "off");
    if (join->options->is_isolated)
        json_object_set_new(request, "isolated", json_true());
    json_t *answer = NULL;
    int lease = -1;
    int r = cli_attach(&join->cli, request, fd, &lease, &answer);
    json_decref(request);
    close(fd);
    if (r != CLI_OK) {
        snprintf(why, size, "network %s did not take the VM", join->network);
        return -1;
    }
    const char *port = json_string_value(json_object_get(answer, "port"));
    snprintf(join->port, sizeof(join->port), "%s", port ? port : "");
    json_decref(answer);
    log_info("joined network %s of vmswitchd as port %s", join->network, join->port);
    return lease;
}

static uint64_t number_in(const json_t *object, const char *key)
{
    return (uint64_t)json_integer_value(json_object_get(object, key));
}

static bool count(void *ctx, struct helper_counters *ret)
{
    const struct join *join = ctx;
    char path[CLI_PATH_SIZE];
    struct cli_answer answer;
    memset(ret, 0, sizeof(*ret));
    if (!join->port[0])
        return true;
    if (!cli_path(path, sizeof(path), join->network, join->port, "") ||
        cli_request(&join->cli, "GET", path, NULL, &answer) != CLI_OK)
        return false;
    const json_t *drops = json_object_get(answer.json, "drops");
    ret->frames_in = number_in(answer.json, "frames_in");
    ret->bytes_in = number_in(answer.json, "bytes_in");
    ret->frames_out = number_in(answer.json, "frames_out");
    ret->bytes_out = number_in(answer.json, "bytes_out");
    for (int i = 0; i < DROP_N_REASONS; i++)
        *(i < DROP_link_down ? &ret->drops_in : &ret->drops_out) +=
            number_in(drops, drop_reason_name((enum drop_reason)i));
    cli_answer_free(&answer);
    return true;
}

static void end(void *ctx, int exit_code)
{
    struct join *join = ctx;
    join->exit_code = exit_code;
    uv_stop(&join->loop);
}

static const struct helper_vm_ops vm_ops = {.attach = attach, .count = count, .end = end};

/* ---- life ---- */

static void on_signal(uv_signal_t *handle, int signum)
{
    (void)signum;
    end(handle->data, EXIT_OK);
}

static void start_loop(struct join *join)
{
    static const int caught[] = {SIGTERM, SIGINT};
    uv_loop_init(&join->loop);
    for (size_t i = 0; i < sizeof(caught) / sizeof(caught[0]); i++) {
        uv_signal_init(&join->loop, &join->signals[i]);
        join->signals[i].data = join;
        uv_signal_start(&join->signals[i], on_signal, caught[i]);
    }
}

static void close_loop(struct join *join)
{
    helper_vm_close(join->vm);
    for (size_t i = 0; i < sizeof(join->signals) / sizeof(join->signals[0]); i++)
        uv_close((uv_handle_t *)&join->signals[i], NULL);
    uv_run(&join->loop, UV_RUN_DEFAULT);
    uv_loop_close(&join->loop);
    helper_socket_remove(&join->socket);
}

static int begin(struct join *join, char *why, size_t size)
{
    int fd = -1;
    if (join->options->socket) {
        fd = helper_socket_make(&join->socket, join->options->socket, why, size);
        if (fd < 0)
            return -1;
    }
    if (helper_vm_open(&join->vm, &join->loop, join->options, &join->facts, fd, &vm_ops, join, why, size) ==
        0)
        return 0;
    if (fd >= 0)
        close(fd);
    return -1;
}

/* Gives up everything but what this VM needs, and the way to vmswitchd (daemon/cli_socket.c). */
static int isolate_process(const struct helper_options *options, char *why, size_t size)
{
    static const char *const names[] = {"VMSWITCH_SOCKET", "XDG_RUNTIME_DIR"};
    enum { N_NAMES = sizeof(names) / sizeof(names[0]) };
    const int kept[] = {options->fd, options->liveness_fd};
    const char *values[N_NAMES];
    uint32_t uid, gid;
    for (size_t i = 0; i < N_NAMES; i++)
        values[i] = getenv(names[i]); /* NOLINT(concurrency-mt-unsafe): one thread */
    const bool is_called = helper_find_caller(&uid, &gid);
    int r = environment_isolate(kept, sizeof(kept) / sizeof(kept[0]));
    for (size_t i = 0; i < N_NAMES && r == 0; i++)
        if (values[i] && setenv(names[i], values[i], 1) < 0) /* NOLINT(concurrency-mt-unsafe) */
            r = -errno;
    if (r < 0) {
        snprintf(why, size, "cannot start: %s", strerror(-r));
        return -1;
    }
    /* Root itself stays so: it may join what it likes, and the VM's frames are read by the network's process.
     */
    return is_called ? privileges_drop(uid, gid, why, size) : 0;
}

int helper_run_joined(const struct helper_options *options, const char *network)
{
    static struct join join; /* it holds paths: too much for a stack */
    char why[HELPER_SAY_SIZE] = "";
    join = (struct join){.options = options, .network = network, .exit_code = EXIT_FAILED};
    if (!port_name_is_valid(network)) {
        log_error("VMSWITCH_JOIN is no name of a network: [a-z0-9][a-z0-9_-]{0,31}");
        return EXIT_FAILED;
    }
    if (helper_facts_begin(&join.facts, options, why, sizeof(why)) < 0 ||
        isolate_process(options, why, sizeof(why)) < 0) {
        log_error("%s", why);
        return EXIT_FAILED;
    }
    if (ask_network(&join) < 0) {
        log_error("Network %s was not joined", network);
        return EXIT_FAILED;
    }
    start_loop(&join);
    if (begin(&join, why, sizeof(why)) == 0)
        uv_run(&join.loop, UV_RUN_DEFAULT);
    else
        log_error("%s", why);
    close_loop(&join);
    return join.exit_code;
}
