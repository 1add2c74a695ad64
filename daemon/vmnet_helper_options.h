/* daemon/vmnet_helper_options.h - the command line of vmnet-helper, as its clients write it
 *
 * Pure but for getopt's own state: nothing is opened or printed here.
 */
#ifndef DAEMON_VMNET_HELPER_OPTIONS_H
#define DAEMON_VMNET_HELPER_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "api/network_spec.h"
#include "daemon/interface_id.h"

enum {
    HELPER_SOCKET_LEN_MAX = 103, /* of macOS, and of the program this stands in for */
    HELPER_WHY_SIZE = 256,
};

enum helper_action { HELPER_RUN, HELPER_HELP, HELPER_VERSION, HELPER_LIST };

struct helper_options {
    enum helper_action action; /* what stands first; nothing behind it was looked at then */
    int fd;                    /* -1: 'socket' */
    const char *socket;        /* NULL: 'fd' */
    bool has_interface_id;
    uint8_t interface_id[INTERFACE_ID_SIZE];
    bool mode_is_set;
    enum network_mode mode;
    const char *shared_interface; /* NULL: none. Strings are borrowed from argv */
    uint32_t start, end, mask;    /* host byte order; all 0: not given */
    bool is_isolated, tso, checksum;
    const char *network;       /* of a vmswitchd; NULL: one of its own */
    uint32_t stats_interval_s; /* 0: none */
    int liveness_fd;           /* -1: none */
    bool is_verbose;
};

/* Returns 0, or -1 with a sentence in 'ret_why'. */
int helper_options_parse(struct helper_options *options, int argc, char **argv,
                         char ret_why[HELPER_WHY_SIZE]);

/* The text of --help. */
const char *helper_options_help(void);

#endif
