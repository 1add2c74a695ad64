/* daemon/network_internal.h - shared by network.c, network_ports.c and network_snapshot.c alone */
#ifndef DAEMON_NETWORK_INTERNAL_H
#define DAEMON_NETWORK_INTERNAL_H

#include <sys/types.h>

#include "daemon/network.h"
#include "io/link.h"
#include "io/listener.h"
#include "io/log.h"
#include "switch/lan.h"

#define UPLINK_PORT_NAME "uplink"
/* Said of a datagram client's own socket. */
#define NETWORK_CLIENT_UNSEEN                                                                                \
    "a client's socket %s is not there for us: it has gone, or the service does not see its folder "         \
    "(datagram.conf)"

enum port_via { VIA_NONE, VIA_PATH, VIA_SHARED, VIA_FD, VIA_UPLINK };

struct network_port {
    struct network_port *next; /* in network->ports, or ->leaving */
    struct network *network;
    struct port port;
    bool is_named;
    bool has_link;   /* a link is open in it: on_closed will come */
    bool is_leaving; /* has left the lan; freed when its link and lease are closed */
    bool persist;
    enum port_via via;
    struct peer peer;
    ino_t inode;       /* of a passed socket, while it is plugged in; 0: none */
    uint64_t since_ms; /* uv_now() of the last change of state */
    char problem[SNAPSHOT_REASON_SIZE];
    struct log_limit client_log, refuse_log, denied_log; /* of a named port, and the uplink */

    struct listener *listener;     /* named: its stream path */
    struct dgram_path *dgram_path; /* named: its datagram path */
    struct lease *lease;           /* attached: ends it unless persist */
};

struct network {
    uv_loop_t *loop;
    struct network_spec spec;
    const struct network_env *env;
    void *env_ctx;

    struct lan *lan;
    struct io *io;
    struct network_port *ports, *leaving;
    uint32_t n_ports; /* without the uplink */
    uint32_t next_number;
    struct listener *listener;
    struct dgram_hub *hub;
    uint64_t clients_refused;
    struct log_limit refuse_log, denied_log;
    struct log_limit client_log; /* datagram clients come and go */
    uv_prepare_t turn;
    uv_timer_t tick; /* active only while there are learned addresses */

    struct network_port *uplink; /* NULL: none is wanted */
    enum uplink_kind uplink_kind;
    enum uplink_state uplink_state;
    char uplink_reason[UPLINK_REASON_SIZE];
    struct uplink_facts uplink_facts;
    struct uplink_retry uplink_retry;
    uint64_t uplink_up_since_ms;
    bool uplink_retries; /* the timer waits for the next try */
    uv_timer_t uplink_timer;

    bool is_closing;
    unsigned n_handles; /* of our own that are still to close */
    void (*on_closed)(void *ctx);
    void *on_closed_ctx;
};

/* network_ports.c */
struct network_port *network_find_port(struct network *network, const char *name);
/* Makes a port, joins the lan; NULL if the limit is reached or memory is short (counted as refused). */
struct network_port *network_add_port(struct network *network, const char *name, enum port_role role,
                                      enum port_offload offload);
/* Takes it out of the lan at once and frees it when its link is closed. 'how' as in link_close(). */
void network_drop_port(struct network_port *np, enum link_close how, const char *reason);
/* A generated name that no port has. */
void network_make_name(struct network *network, const char *kind, char name[PORT_NAME_SIZE]);
/* Opens a stream or datagram link in 'np'; 'fd' is taken in every case. Returns 0 or a negative code. */
int network_open_link(struct network_port *np, int fd, enum link_kind kind, enum port_via via);
/* A client without a port of its own: makes one, "<prefix>-<number>". 'fd' is taken. NULL if it was refused.
 */
struct network_port *network_add_client(struct network *network, const char *prefix, int fd,
                                        enum link_kind kind, enum port_via via, enum port_offload offload);
/* Counts and logs a client that gets no port. */
void network_refuse_client(struct network *network, const char *why);
/* The limit of lines about clients that come and go: a port's own, or, where the port goes with its client,
 * the network's. */
struct log_limit *network_client_log(struct network_port *np);
/* A client has come by 'via', or (VIA_NONE) gone. */
void network_set_client(struct network_port *np, enum port_via via);
/* Fills *done. */
void network_done(struct done *done, unsigned status, const char *why);
/* Clients of the network's own paths. */
void network_on_stream_client(void *ctx, int fd);
extern const struct dgram_hub_events network_hub_events;
/* Goes on with network_close() if nothing is left. */
void network_maybe_closed(struct network *network);

/* network.c: the uplink's link is gone. */
void network_uplink_lost(struct network *network, const char *reason);

/* lease.c: watches 'fd' (taken), which carries nothing; its end calls 'on_end' once. NULL if memory is short
 * (fd is closed). */
struct lease *lease_open(uv_loop_t *loop, int fd, void (*on_end)(void *ctx), void *ctx);
void lease_close(struct lease *lease); /* freed on a later turn; NULL is fine */

#endif
