/* daemon/cli_tables.c - the API's answers as tables for people
 *
 * How it works
 *   Cells are collected, then printed as wide as the widest of their column. A field that is not there or
 * null is "-". A list is the answer itself or its one member of that name.
 *
 * What is always true
 *   Only printable ASCII reaches the terminal. Counters are exact, bytes are rounded (1.2M is 1.2 * 2^20).
 */
#include "daemon/cli.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { CELL_SIZE = 256, COLUMNS_MAX = 12, ADDRESSES_SHOWN = 3 };

static void make_printable(char *text)
{
    for (; *text; text++)
        if (*text < ' ' || *text > '~')
            *text = '?';
}

/* ---- a table ---- */

struct table {
    const char *const *headers; /* ends with NULL; ">NAME" is a column of numbers */
    size_t n_columns;
    char (*cells)[CELL_SIZE]; /* row by row */
    size_t n_cells;
};

static void table_init(struct table *table, const char *const *headers)
{
    memset(table, 0, sizeof *table);
    table->headers = headers;
    while (headers[table->n_columns])
        table->n_columns++;
}

__attribute__((format(printf, 2, 3))) static void table_add(struct table *table, const char *format, ...)
{
    va_list args;
    void *cells = realloc(table->cells, (table->n_cells + 1) * sizeof *table->cells);

    if (!cells) {
        cli_complain("memory is short");
        exit(CLI_REFUSED);
    }
    table->cells = cells;
    char *cell = table->cells[table->n_cells++];
    va_start(args, format);
    vsnprintf(cell, CELL_SIZE, format, args);
    va_end(args);
    make_printable(cell);
    if (!*cell)
        snprintf(cell, CELL_SIZE, "-");
}

static void print_cell(const char *text, int width, bool is_right, bool is_last)
{
    if (is_last && !is_right)
        puts(text); /* no spaces at the end of a line */
    else
        printf("%*s%s", is_right ? width : -width, text, is_last ? "\n" : "  ");
}

static bool is_number(const struct table *table, size_t column)
{
    return table->headers[column][0] == '>';
}

static const char *title(const struct table *table, size_t column)
{
    return table->headers[column] + is_number(table, column);
}

static int width_of(const struct table *table, size_t column)
{
    size_t width = strlen(title(table, column));

    for (size_t i = column; i < table->n_cells; i += table->n_columns)
        if (strlen(table->cells[i]) > width)
            width = strlen(table->cells[i]);
    return (int)width;
}

/* Prints and frees it. */
static void table_print(struct table *table)
{
    int widths[COLUMNS_MAX];

    for (size_t i = 0; i < table->n_columns; i++)
        widths[i] = width_of(table, i);
    for (size_t i = 0; i < table->n_columns; i++)
        print_cell(title(table, i), widths[i], is_number(table, i), i + 1 == table->n_columns);
    for (size_t row = 0; row < table->n_cells; row += table->n_columns)
        for (size_t i = 0; i < table->n_columns; i++)
            print_cell(table->cells[row + i], widths[i], is_number(table, i), i + 1 == table->n_columns);
    free(table->cells);
}

/* ---- fields ---- */

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));

    return text ? text : "-";
}

static void add_text(struct table *table, const json_t *object, const char *key)
{
    table_add(table, "%s", text_of(object, key));
}

static void add_count(struct table *table, const json_t *object, const char *key)
{
    const json_t *count = json_object_get(object, key);

    if (json_is_integer(count))
        table_add(table, "%" JSON_INTEGER_FORMAT, json_integer_value(count));
    else
        table_add(table, "-");
}

static void add_bytes(struct table *table, const json_t *object, const char *key)
{
    static const char units[] = "KMGTPE";
    double bytes = (double)json_integer_value(json_object_get(object, key));
    int unit = -1;

    if (!json_is_integer(json_object_get(object, key))) {
        table_add(table, "-");
        return;
    }
    for (; bytes >= 1023.95 && unit < 5; unit++) /* 1023.96 would be rounded to 1024.0 */
        bytes /= 1024;
    if (unit < 0)
        table_add(table, "%.0f", bytes);
    else
        table_add(table, "%.1f%c", bytes, units[unit]);
}

/* "7s", "12m", "3h05m", "4d02h". */
static void add_age(struct table *table, int64_t seconds)
{
    if (seconds < 60)
        table_add(table, "%" PRId64 "s", seconds < 0 ? 0 : seconds);
    else if (seconds < 3600)
        table_add(table, "%" PRId64 "m", seconds / 60);
    else if (seconds < 86400)
        table_add(table, "%" PRId64 "h%02" PRId64 "m", seconds / 3600, seconds / 60 % 60);
    else
        table_add(table, "%" PRId64 "d%02" PRId64 "h", seconds / 86400, seconds / 3600 % 24);
}

/* Days since 1970-01-01 of a date of the Gregorian calendar: timegm() is in no standard. */
static int64_t days_of(int64_t year, int64_t month, int64_t day)
{
    year -= month <= 2;
    month += month <= 2 ? 9 : -3; /* years begin in March, so that the leap day is the last */
    return 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1 - 719468;
}

static int64_t seconds_of(const struct tm *tm)
{
    const int64_t days = days_of(tm->tm_year + 1900, tm->tm_mon + 1, tm->tm_mday);

    return ((days * 24 + tm->tm_hour) * 60 + tm->tm_min) * 60 + tm->tm_sec;
}

/* Since an RFC 3339 time in UTC. */
static void add_since(struct table *table, const json_t *object, const char *key)
{
    struct tm tm = {.tm_sec = 0};
    const char *rest = strptime(text_of(object, key), "%Y-%m-%dT%H:%M:%S", &tm);

    if (!rest)
        table_add(table, "-");
    else
        add_age(table, (int64_t)time(NULL) - seconds_of(&tm));
}

static const json_t *list_of(const json_t *answer, const char *key)
{
    return json_is_array(answer) ? answer : json_object_get(answer, key);
}

/* Sentences do not fit a column: "lab: reason" below the table. */
static void print_sentence(const json_t *object, const char *key)
{
    char line[CELL_SIZE * 2];

    if (!json_is_string(json_object_get(object, key)))
        return;
    snprintf(line, sizeof line, "%s: %s", text_of(object, "name"), text_of(object, key));
    make_printable(line);
    puts(line);
}

static void print_sentences(const json_t *list, const char *key)
{
    for (size_t i = 0; i < json_array_size(list); i++)
        print_sentence(json_array_get(list, i), key);
}

/* ---- networks ---- */

/* "192.168.105.1/24" */
static void add_subnet(struct table *table, const json_t *ipv4)
{
    struct in_addr netmask;
    unsigned bits = 0;

    if (inet_pton(AF_INET, text_of(ipv4, "netmask"), &netmask) != 1) {
        table_add(table, "-");
        return;
    }
    for (uint32_t mask = netmask.s_addr; mask; mask &= mask - 1)
        bits++;
    table_add(table, "%s/%u", text_of(ipv4, "gateway"), bits);
}

void cli_print_networks(const json_t *answer)
{
    static const char *const headers[] = {"NAME", "MODE",   "STATE", "UPLINK", "SUBNET",
                                          ">MTU", ">PORTS", ">PID",  NULL};
    const json_t *list = list_of(answer, "networks");
    struct table table;

    table_init(&table, headers);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *network = json_array_get(list, i), *uplink = json_object_get(network, "uplink");
        add_text(&table, network, "name");
        add_text(&table, network, "mode");
        add_text(&table, network, "state");
        table_add(&table, "%s %s", text_of(uplink, "kind"), text_of(uplink, "state"));
        add_subnet(&table, json_object_get(network, "ipv4"));
        add_count(&table, network, "mtu");
        add_count(&table, network, "ports");
        add_count(&table, network, "pid");
    }
    table_print(&table);
    print_sentences(list, "reason");
    print_sentences(list, "warning");
}

/* Where a VM plugs in. */
static void print_sockets(const json_t *sockets)
{
    static const char *const keys[] = {"stream", "datagram"};

    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
        if (json_is_string(json_object_get(sockets, keys[i])))
            printf("  %-9s %s\n", keys[i], text_of(sockets, keys[i]));
}

void cli_print_network_made(const json_t *network, unsigned status)
{
    printf("network %s %s\n", text_of(network, "name"), status == 201 ? "created" : "changed");
    print_sockets(json_object_get(network, "sockets"));
    print_sentence(network, "warning");
}

void cli_print_health(const json_t *answer)
{
    static const char *const headers[] = {"NAME", "STATE", "UPLINK", NULL};
    const json_t *list = list_of(answer, "networks");
    struct table table;

    table_init(&table, headers);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *network = json_array_get(list, i), *uplink = json_object_get(network, "uplink");
        add_text(&table, network, "name");
        add_text(&table, network, "state");
        table_add(&table, "%s %s", text_of(uplink, "kind"), text_of(uplink, "state"));
    }
    table_print(&table);
    print_sentences(list, "reason");
    print_sentences(list, "warning");
}

/* ---- ports ---- */

static void add_addresses(struct table *table, const json_t *addresses)
{
    char text[CELL_SIZE] = "";
    size_t n = json_array_size(addresses), len = 0;

    for (size_t i = 0; i < n && i < ADDRESSES_SHOWN; i++)
        len += (size_t)snprintf(text + len, sizeof text - len, "%s%.45s", i ? "," : "",
                                json_is_string(json_array_get(addresses, i))
                                    ? json_string_value(json_array_get(addresses, i))
                                    : "-");
    if (n > ADDRESSES_SHOWN)
        snprintf(text + len, sizeof text - len, ",+%zu", n - ADDRESSES_SHOWN);
    table_add(table, "%s", text);
}

static void add_drops(struct table *table, json_t *drops)
{
    json_int_t sum = 0;
    const char *reason;
    json_t *count;

    json_object_foreach(drops, reason, count)
    {
        sum += json_integer_value(count);
    }
    table_add(table, "%" JSON_INTEGER_FORMAT, sum);
}

void cli_print_ports(const json_t *answer)
{
    static const char *const headers[] = {"NAME",   "KIND",       "STATE",     ">SINCE",      ">UID",
                                          ">PID",   ">FRAMES IN", ">BYTES IN", ">FRAMES OUT", ">BYTES OUT",
                                          ">DROPS", "ADDRESSES",  NULL};
    const json_t *list = list_of(answer, "ports");
    struct table table;

    table_init(&table, headers);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *port = json_array_get(list, i);
        add_text(&table, port, "name");
        add_text(&table, port, "kind");
        add_text(&table, port, "state");
        add_since(&table, port, "since");
        add_count(&table, port, "uid");
        add_count(&table, port, "pid");
        add_count(&table, port, "frames_in");
        add_bytes(&table, port, "bytes_in");
        add_count(&table, port, "frames_out");
        add_bytes(&table, port, "bytes_out");
        add_drops(&table, json_object_get(port, "drops"));
        add_addresses(&table, json_object_get(port, "addresses"));
    }
    table_print(&table);
    print_sentences(list, "problem");
}

void cli_print_port_made(const json_t *port, unsigned status)
{
    printf("port %s %s\n", text_of(port, "name"), status == 201 ? "created" : "changed");
    print_sockets(json_object_get(port, "sockets"));
}

void cli_print_fdb(const json_t *answer)
{
    static const char *const headers[] = {"MAC", "PORT", ">AGE", "TYPE", NULL};
    const json_t *list = list_of(answer, "fdb");
    struct table table;

    table_init(&table, headers);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *entry = json_array_get(list, i);
        bool is_static = json_is_true(json_object_get(entry, "static"));
        add_text(&table, entry, "mac");
        add_text(&table, entry, "port");
        if (is_static)
            table_add(&table, "-");
        else
            add_age(&table, json_integer_value(json_object_get(entry, "age_s")));
        table_add(&table, "%s", is_static ? "static" : "learned");
    }
    table_print(&table);
}

static void add_choice(struct table *table, const json_t *object, const char *key, const char *yes,
                       const char *no)
{
    const json_t *choice = json_object_get(object, key);

    table_add(table, "%s", json_is_true(choice) ? yes : json_is_false(choice) ? no : "-");
}

void cli_print_interfaces(const json_t *answer)
{
    static const char *const headers[] = {"NAME", "TYPE", "STATE", "BRIDGING", "ADDRESSES", NULL};
    const json_t *list = list_of(answer, "interfaces");
    struct table table;

    table_init(&table, headers);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *interface = json_array_get(list, i);
        add_text(&table, interface, "name");
        add_text(&table, interface, "type");
        add_choice(&table, interface, "up", "up", "down");
        add_choice(&table, interface, "allowed", "allowed", "not allowed");
        add_addresses(&table, json_object_get(interface, "addresses"));
    }
    table_print(&table);
}

/* ---- reload ---- */

static void add_list(struct table *table, const json_t *list)
{
    char text[CELL_SIZE] = "";
    size_t len = 0;

    for (size_t i = 0; i < json_array_size(list) && len < sizeof text; i++)
        len += (size_t)snprintf(
            text + len, sizeof text - len, "%s%s", i ? "," : "",
            json_is_string(json_array_get(list, i)) ? json_string_value(json_array_get(list, i)) : "-");
    table_add(table, "%s", text[0] ? text : "-");
}

void cli_print_reload(const json_t *answer)
{
    static const char *const headers[] = {"NAME", "RESULT", "CHANGED", "NEEDS RESTART FOR", NULL};
    const json_t *list = list_of(answer, "networks");
    bool is_left = false;
    struct table table;

    table_init(&table, headers);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *network = json_array_get(list, i), *left = json_object_get(network, "needs_restart");
        add_text(&table, network, "name");
        add_text(&table, network, "result");
        add_list(&table, json_object_get(network, "changed"));
        add_list(&table, left);
        is_left |= json_array_size(left) > 0;
    }
    table_print(&table);
    print_sentences(list, "reason");
    print_sentences(list, "warning");
    if (is_left)
        puts("\"vmswitch reload --restart\" restarts them; their VMs are cut off and connect again.");
}
