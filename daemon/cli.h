/* daemon/cli.h - vmswitch: what its files share; vmnet-helper has cli_http.c, cli_attach.c and cli_socket.c
 * too
 *
 * cli.c            finds the command and its options in one table that --help prints too
 * cli_commands.c   one function a command: a request, an answer, a table
 * cli_network.c    the options of "create" and "port" as the API's JSON
 * cli_http.c       one request to the API, and how its problems are said
 * cli_tables.c     tables for people
 * cli_run.c        "run": plugs a command in
 * cli_attach.c     attach.sock, for it
 * cli_complete.c   "complete": what can come next, for the shells
 * cli_socket.c     where the daemon's sockets are
 */
#ifndef DAEMON_CLI_H
#define DAEMON_CLI_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

enum {
    CLI_OK = 0,
    CLI_REFUSED = 1,      /* the API said no, or something here failed */
    CLI_USAGE = 2,        /* wrong options */
    CLI_UNREACHABLE = 3,  /* no vmswitchd there, or it did not answer */
    CLI_CANNOT_RUN = 126, /* run: the command is there but cannot be executed */
    CLI_NOT_FOUND = 127,  /* run: there is no such command */
};

enum { CLI_PATH_SIZE = 512, CLI_GIVEN_MAX = 64, CLI_ARGUMENTS_MAX = 2 };

struct cli_option {
    const char *name;     /* without the two dashes */
    const char *argument; /* "MODE", or NULL: a flag */
    const char *sentence; /* for --help and the manual page */
};

struct cli;

struct cli_command {
    const char *name;                 /* "port add" */
    const char *arguments;            /* "NETWORK PORT" */
    int n_arguments;                  /* all required */
    bool takes_command;               /* "-- COMMAND ..." follows */
    const struct cli_option *options; /* ends with a NULL name; NULL: none of its own */
    const char *sentence;
    int (*run)(const struct cli *cli);
};

/* A command line that was understood. Strings are borrowed from argv. */
struct cli {
    const struct cli_command *command;
    const char *arguments[CLI_ARGUMENTS_MAX];
    struct {
        const char *name, *value; /* "" for a flag */
    } given[CLI_GIVEN_MAX];
    int n_given;
    char *const *run; /* behind "--", ends with NULL */
    bool json;
    char socket[CLI_PATH_SIZE]; /* of the API */
};

/* The value of an option: the last one given, or NULL. "" for a flag. */
const char *cli_value(const struct cli *cli, const char *name);

/* The values of an option that can be repeated, in order: begin with *at = 0, until NULL. */
const char *cli_next_value(const struct cli *cli, const char *name, int *at);

/* "vmswitch: ..." on stderr. */
void cli_complain(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* As cli_complain(), for a wrong command line; returns CLI_USAGE. */
int cli_usage(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* ---- cli_commands.c ---- */

extern const struct cli_command cli_commands[]; /* ends with a NULL name */
extern const struct cli_option cli_global_options[];

/* ---- cli_socket.c ---- */

/* Fills cli->socket from 'given' (may be NULL), VMSWITCH_SOCKET, or the daemon's own default. Returns an exit
 * code. */
int cli_socket_find(struct cli *cli, const char *given);

/* The socket 'name' in the folder of the API's. Returns false if it does not fit. */
bool cli_socket_beside(const struct cli *cli, const char *name, char *path, size_t size);

/* ---- cli_http.c ---- */

struct cli_answer {
    unsigned status;
    char *text; /* as received, NUL at the end; "" for 204 */
    size_t len;
    json_t *json; /* NULL for 204 */
};

/* Asks the API and prints what went wrong. 'path' is behind /v1; its parts are the caller's to escape
 * (cli_path()). 'body' is borrowed and may be NULL. Returns CLI_OK with *ret_answer to be freed, else an exit
 * code. */
int cli_request(const struct cli *cli, const char *method, const char *path, const json_t *body,
                struct cli_answer *ret_answer);
void cli_answer_free(struct cli_answer *answer);

/* "/networks/<network>" or "/networks/<network>/ports/<port>" and 'tail', with the names percent-encoded.
 * Returns false if it does not fit. */
bool cli_path(char *path, size_t size, const char *network, const char *port, const char *tail);

/* Prints a problem+json's detail, field and next step. */
void cli_print_problem(const json_t *problem);

/* Says that nothing answers at 'path', and what to do about it; returns CLI_UNREACHABLE. */
int cli_complain_unreachable(const char *path, int error);

/* ---- cli_attach.c ---- */

/* Plugs the connected socket 'fd', which stays the caller's, in as 'request' says (daemon/attach_line.h).
 * Returns CLI_OK with the lease, close-on-exec, and the answer as a new reference; or complains and returns
 * another code. Waits up to 15 s. */
int cli_attach(const struct cli *cli, const json_t *request, int fd, int *ret_lease, json_t **ret_answer);

/* ---- cli_network.c: each returns an exit code, with a new reference in *ret_body on CLI_OK ---- */

int cli_network_body(const struct cli *cli, json_t **ret_body);
int cli_port_body(const struct cli *cli, json_t **ret_body);
int cli_reload_body(const struct cli *cli, json_t **ret_body);

/* ---- cli_tables.c: print what the API answered ---- */

void cli_print_networks(const json_t *answer);
void cli_print_network_made(const json_t *network, unsigned status);
void cli_print_ports(const json_t *answer);
void cli_print_port_made(const json_t *port, unsigned status);
void cli_print_fdb(const json_t *answer);
void cli_print_health(const json_t *answer);
void cli_print_interfaces(const json_t *answer);
void cli_print_reload(const json_t *answer);

/* ---- cli_run.c ---- */

int cli_run(const struct cli *cli);

/* ---- cli_complete.c ---- */

int cli_complete(const struct cli *cli);

#endif
