/* daemon/cli_network.c - the options of "create" and "port" as the JSON that the API takes
 *
 * Only shape is checked here (a number is a number, a forward has its parts); what a value may be is said by
 * the API, so that both always agree. --json-body gives what has no option.
 */
#include "daemon/cli.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FORWARD_TEXT_MAX = 128 };

/* The object 'key' in 'body', made if it is not there. Borrowed; NULL if something else is there. */
static json_t *object_in(json_t *body, const char *key)
{
    json_t *object = json_object_get(body, key);

    if (object)
        return json_is_object(object) ? object : NULL;
    object = json_object();
    return json_object_set_new(body, key, object) == 0 ? object : NULL;
}

static int set_text(const struct cli *cli, const char *option, json_t *object, const char *key)
{
    const char *value = cli_value(cli, option);

    if (!value)
        return CLI_OK;
    if (!object || json_object_set_new(object, key, json_string(value)) < 0)
        return cli_usage("--%s \"%s\" cannot be put into the body", option, value);
    return CLI_OK;
}

static int set_number(const struct cli *cli, const char *option, json_t *object, const char *key)
{
    const char *value = cli_value(cli, option);
    char *rest = NULL;

    if (!value)
        return CLI_OK;
    errno = 0;
    long long number = strtoll(value, &rest, 10);
    if (errno || !*value || *rest)
        return cli_usage("--%s must be a number, not \"%s\"", option, value);
    return json_object_set_new(object, key, json_integer(number)) == 0 ? CLI_OK : CLI_REFUSED;
}

static void set_flag(const struct cli *cli, const char *option, json_t *object, const char *key, bool is_on)
{
    if (cli_value(cli, option))
        json_object_set_new(object, key, json_boolean(is_on));
}

/* "tcp:127.0.0.1:8080:192.168.105.15:80" or "tcp:8080:192.168.105.15:80": the guest is what follows the last
 * colon but one. */
static json_t *forward_of(const char *value)
{
    char text[FORWARD_TEXT_MAX];
    int n = snprintf(text, sizeof text, "%s", value);
    char *host = strchr(text, ':'), *port = strrchr(text, ':'), *guest;

    if (n < 0 || (size_t)n >= sizeof text || !host || port == host)
        return NULL;
    *host++ = '\0';
    *port = '\0';
    guest = strrchr(host, ':');
    *port = ':';
    if (!guest)
        return NULL;
    *guest++ = '\0';
    return json_pack("{s:s, s:s, s:s}", "proto", text, "host", host, "guest", guest);
}

static int add_forwards(const struct cli *cli, json_t *body)
{
    const char *value;

    for (int at = 0; (value = cli_next_value(cli, "forward", &at));) {
        json_t *array = json_object_get(body, "forwards");
        if (!array) {
            array = json_array();
            json_object_set_new(body, "forwards", array);
        }
        json_t *forward = forward_of(value);
        if (!forward || json_array_append_new(array, forward) < 0)
            return cli_usage("--forward must be PROTO:[ADDRESS:]PORT:ADDRESS:PORT, not \"%s\"", value);
    }
    return CLI_OK;
}

/* A new object, or NULL after a complaint. */
static json_t *read_body(const char *file)
{
    json_error_t error;
    FILE *stream = !file || strcmp(file, "-") == 0 ? stdin : fopen(file, "r");

    if (!file)
        return json_object();
    if (!stream) {
        cli_complain("cannot open %s: %s", file, strerror(errno));
        return NULL;
    }
    json_t *body = json_loadf(stream, JSON_REJECT_DUPLICATES, &error);
    if (!body)
        cli_complain("%s:%d: %s", file, error.line, error.text);
    else if (!json_is_object(body))
        cli_complain("%s: must be a JSON object", file);
    if (stream != stdin)
        fclose(stream);
    if (json_is_object(body))
        return body;
    json_decref(body);
    return NULL;
}

static int set_addresses(const struct cli *cli, json_t *body)
{
    bool has_ipv4 = cli_value(cli, "gateway") || cli_value(cli, "netmask") || cli_value(cli, "dhcp-end") ||
                    cli_value(cli, "dhcp") || cli_value(cli, "no-dhcp");
    json_t *ipv4 = has_ipv4 ? object_in(body, "ipv4") : NULL;
    int r = CLI_OK;

    if (cli_value(cli, "dhcp") && cli_value(cli, "no-dhcp"))
        return cli_usage("--dhcp and --no-dhcp: one of them");
    if (has_ipv4 && !ipv4)
        return cli_usage("\"ipv4\" of the body must be an object");
    r = set_text(cli, "gateway", ipv4, "gateway");
    if (r == CLI_OK)
        r = set_text(cli, "netmask", ipv4, "netmask");
    if (r == CLI_OK)
        r = set_text(cli, "dhcp-end", ipv4, "dhcp_end");
    if (r == CLI_OK)
        set_flag(cli, "no-dhcp", ipv4, "dhcp", false);
    if (r == CLI_OK)
        set_flag(cli, "dhcp", ipv4, "dhcp", true);
    return r;
}

static int set_sockets(const struct cli *cli, json_t *body)
{
    bool has_sockets = cli_value(cli, "group") || cli_value(cli, "socket-mode");
    json_t *sockets = has_sockets ? object_in(body, "sockets") : NULL;

    if (has_sockets && !sockets)
        return cli_usage("\"sockets\" of the body must be an object");
    int r = set_text(cli, "group", sockets, "group");
    return r == CLI_OK ? set_text(cli, "socket-mode", sockets, "mode") : r;
}

int cli_network_body(const struct cli *cli, json_t **ret_body)
{
    static const char *const texts[] = {"mode", "uplink", "interface", "offload"};
    json_t *body = read_body(cli_value(cli, "json-body"));
    int r = CLI_OK;

    if (!body)
        return CLI_USAGE;
    if (json_object_set_new(body, "name", json_string(cli->arguments[0])) < 0)
        r = cli_usage("the name is no text");
    for (size_t i = 0; i < sizeof texts / sizeof texts[0] && r == CLI_OK; i++)
        r = set_text(cli, texts[i], body, texts[i]);
    if (r == CLI_OK)
        r = set_number(cli, "mtu", body, "mtu");
    if (r == CLI_OK)
        r = set_addresses(cli, body);
    if (r == CLI_OK)
        r = set_sockets(cli, body);
    if (r == CLI_OK)
        r = add_forwards(cli, body);
    set_flag(cli, "isolated", body, "isolated", true);
    if (r == CLI_OK)
        *ret_body = body;
    else
        json_decref(body);
    return r;
}

int cli_reload_body(const struct cli *cli, json_t **ret_body)
{
    json_t *names = json_array(), *body = json_object();
    const char *name;

    for (int at = 0; (name = cli_next_value(cli, "restart-network", &at));)
        json_array_append_new(names, json_string(name));
    if (cli_value(cli, "restart"))
        json_object_set_new(body, "restart", json_true());
    else if (json_array_size(names) > 0)
        json_object_set(body, "restart", names);
    json_decref(names);
    *ret_body = body;
    return CLI_OK;
}

int cli_port_body(const struct cli *cli, json_t **ret_body)
{
    json_t *body = json_object();
    const char *address;
    int r = set_text(cli, "link", body, "link");

    if (r == CLI_OK)
        r = set_text(cli, "offload", body, "offload");

    set_flag(cli, "isolated", body, "isolated", true);
    set_flag(cli, "not-isolated", body, "isolated", false);
    for (int at = 0; (address = cli_next_value(cli, "static-address", &at)) && r == CLI_OK;) {
        json_t *array = json_object_get(body, "static_addresses");
        if (!array) {
            array = json_array();
            json_object_set_new(body, "static_addresses", array);
        }
        if (json_array_append_new(array, json_string(address)) < 0)
            r = cli_usage("--static-address \"%s\" is no text", address);
    }
    if (r == CLI_OK)
        *ret_body = body;
    else
        json_decref(body);
    return r;
}
