/* daemon/options.h - the command line as plain data
 *
 * Parsing neither prints nor exits: main() does both.
 */
#ifndef DAEMON_OPTIONS_H
#define DAEMON_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/message.h"
#include "daemon/sandbox.h"
#include "io/log.h"

#define OPTIONS_USER_SIZE 33 /* useradd(8): a user's name has at most 32 bytes */

struct options {
    bool help, version;
    bool strict_paths;
    char config_path[MESSAGE_PATH_SIZE];    /* "": not given */
    char config_default[MESSAGE_PATH_SIZE]; /* where it is looked for if not given; paths_complete() fills it
                                             */
    char runtime_dir[MESSAGE_PATH_SIZE];    /* likewise */
    char state_dir[MESSAGE_PATH_SIZE];      /* likewise */
    char user[OPTIONS_USER_SIZE];           /* likewise */
    enum log_level log_level;
    bool has_log_format; /* else it depends on what stderr is */
    enum log_format log_format;
    enum sandbox_mode sandbox;
    bool is_broker;
    uint32_t broker_idle_s, broker_exit_timeout_s;

    /* Given by the monitor to the roles it starts, by nobody else. */
    enum role role; /* ROLE_MONITOR if not given */
    char name[NETWORK_NAME_SIZE];
    uint32_t uid, gid;
};

/* Reads 'argv' into 'ret_options': "--option value" or "--option=value", no abbreviations. Returns 0, or
 * -EINVAL with a sentence in 'ret_why'. */
int options_parse(struct options *ret_options, int argc, char **argv, char *ret_why, size_t why_size);

/* What --help prints. */
const char *options_help(void);

#endif
