/* daemon/dhcp_server.h - one network's dnsmasq: started, watched, started again (Linux)
 *
 * How it works
 *   The program gets its files from the network's own folder, <runtime>/<network>.dhcp, keeps its leases in
 * another, <state>/leases/<network>, which outlives the daemon, and has of all privileges two capabilities.
 * It ends with us, however we end. One that ends by itself is started again after a back-off (io/uplink.h),
 * which is a failure until it has lived for DHCP_SETTLED_MS.
 */
#ifndef DAEMON_DHCP_SERVER_H
#define DAEMON_DHCP_SERVER_H

#include <stdbool.h>
#include <stdint.h>

#include "api/network_spec.h"
#include "daemon/dhcp_config.h"
#include "daemon/message.h"

enum {
    DHCP_FOLDER_SIZE = MESSAGE_PATH_SIZE + NETWORK_NAME_SIZE + 16,
    DHCP_SETTLED_MS = 250,
    DHCP_LINE_SIZE = 200,
    DHCP_LINES_MAX = 40,
    DHCP_LINES_MS = 10 * 1000,
    DHCP_STOP_MS = 300, /* to write its leases; then it is killed */
};

/* All zero but for the folders: not started. */
struct dhcp_server {
    char folder[DHCP_FOLDER_SIZE], lease_folder[DHCP_FOLDER_SIZE]; /* may be the same */
    bool is_wanted;
    uint32_t address, netmask; /* the host's on the network */
    char config[DHCP_CONFIG_SIZE], hosts[DHCP_HOSTS_SIZE];
    int pid; /* 0: does not run; then there are no descriptors */
    int pidfd;
    int log_fd; /* what it writes; -1: it has closed that */
    char line[DHCP_LINE_SIZE];
    unsigned line_len;
    char last_line[DHCP_LINE_SIZE]; /* whole ones, of this process */
    uint64_t lines_since_ms;
    unsigned n_lines, n_unsaid; /* since then */
    uint64_t started_ms;
    uint64_t due_ms; /* when to start it, or when it has settled; 0: nothing is due */
    struct uplink_retry retry;
    char failure[UPLINK_REASON_SIZE];
};

/* The path of the program, NULL if it is not installed. */
const char *dhcp_server_program(void);

/* Ends those of 'uid' that have their files in this runtime folder, which a daemon that was killed may have
 * left. Call it with the folder's lock and before the first is started; as root. */
void dhcp_server_end_stale(const char *runtime_dir, uint32_t uid);

/* Makes it serve 'spec' on 'tap': starts it, tells it what has changed, or starts it anew, as is needed; anew
 * in every case if 'is_new_tap'. */
void dhcp_server_configure(struct dhcp_server *server, const struct network_spec *spec, const char *tap,
                           bool is_new_tap, uint64_t now_ms);

/* To wait for with POLLIN; -1: it does not run. */
int dhcp_server_fd(const struct dhcp_server *server);

/* The same for what it writes: it is logged, escaped, at most DHCP_LINES_MAX lines in DHCP_LINES_MS. */
int dhcp_server_log_fd(const struct dhcp_server *server);
void dhcp_server_hear(struct dhcp_server *server, uint64_t now_ms);

/* It may have ended. */
void dhcp_server_reap(struct dhcp_server *server, uint64_t now_ms);

/* Does what is due. Returns how long until the next time, in ms, or -1. */
int64_t dhcp_server_work(struct dhcp_server *server, uint64_t now_ms);

/* UPLINK_UP, UPLINK_STARTING, or UPLINK_DEGRADED with a reason. */
enum uplink_state dhcp_server_state(const struct dhcp_server *server, char reason[UPLINK_REASON_SIZE]);

/* Starts it anew without the leases of these addresses. Returns how many there were. */
unsigned dhcp_server_drop_leases(struct dhcp_server *server, const uint32_t *addresses, unsigned n,
                                 uint64_t now_ms);

/* Ends it, and waits until it has. */
void dhcp_server_stop(struct dhcp_server *server);

#endif
