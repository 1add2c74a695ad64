/* daemon/message.h - what the roles say to each other
 *
 * One table: type, payload, who says it to whom. Payloads are flat structs of one executable, so they are
 * sent as they lie; MESSAGE_PROTOCOL in the first message refuses a peer of another build. The receiver
 * checks what it gets: sizes here (message_size_is_valid), strings and values where it uses them
 * (message_text_ok).
 *
 * Control says what should be, again and again if it must; monitor, network and uplink do it only where it is
 * not so already. Adopting running processes after a crash of control is therefore no special case.
 */
#ifndef DAEMON_MESSAGE_H
#define DAEMON_MESSAGE_H

#include <stdbool.h>
#include <stdint.h>

#include "api/network_spec.h"
#include "io/broker_client.h"
#include "io/peer.h"
#include "io/uplink.h"
#include "switch/snapshot.h"

enum { MESSAGE_PROTOCOL = 1, MESSAGE_WHY_SIZE = 256, MESSAGE_PATH_SIZE = 512 };

enum role {
    ROLE_MONITOR,
    ROLE_CONTROL,
    ROLE_NETWORK,
    ROLE_UPLINK,
    ROLE_VMNET,
    ROLE_NAT,
    ROLE_KEEPER,
    ROLE_N
};

enum socket_kind { SOCKET_STREAM, SOCKET_DGRAM }; /* <network>[.<port>].stream, .dgram */

/* ---- monitor -> every role ---- */

struct hello { /* first of all; to control followed by its descriptors, its running children and MSG_BEGIN */
    uint32_t protocol;
    enum role role;
    char name[NETWORK_NAME_SIZE]; /* of the network; "" for control */
    int log_level;                /* enum log_level */
    char runtime_dir[MESSAGE_PATH_SIZE];
    char state_dir[MESSAGE_PATH_SIZE];
    char config_path[MESSAGE_PATH_SIZE]; /* "": none; the open file follows as MSG_CONFIG_FILE */
    bool is_first;                       /* control: no other was there before it */
    bool is_root;                        /* the monitor is: TAPs and other users' networks are possible */
    uint32_t service_uid, service_gid;
    bool has_api_group;
    uint32_t api_gid;
};

/* ---- control -> monitor, and its answers (same id) ---- */

struct child_id {
    enum role role; /* any but ROLE_MONITOR and ROLE_CONTROL */
    char name[NETWORK_NAME_SIZE];
};
struct child_start {
    struct child_id child;
    uint32_t uid, gid; /* never 0; ignored where the monitor is not root, and of ROLE_NAT, whose user is the
                          monitor's choice */
};
struct child_started { /* carries the control end of the child's channel if error is 0 */
    int error;         /* errno */
    int32_t pid;
    char why[MESSAGE_WHY_SIZE];
};
struct child_running { /* to a new control: one that was there already; carries the channel */
    struct child_id child;
    int32_t pid;
    uint32_t uid, gid; /* as which it was started */
};
struct ready { /* every network that was there at the start is up or has said why not */
    uint32_t n_networks, n_up;
    char not_up[NETWORK_NAME_SIZE]; /* the first that is not; "": none */
};
struct child_exited {
    struct child_id child;
    int32_t pid;
    int32_t status; /* as waitpid() gives it */
};
struct bind_request {
    char network[NETWORK_NAME_SIZE];
    char port[PORT_NAME_SIZE]; /* "": the network's own */
    enum socket_kind kind;
    uint32_t mode;
    uint32_t uid;                   /* owner of the socket file: the network's owner */
    char group[NETWORK_GROUP_SIZE]; /* "": none */
};
struct config_read { /* answers MSG_READ_CONFIG; carries a copy of the file if error is 0 */
    int error;       /* errno; ENOENT with an empty path: there is no configuration, nor was there one */
    char path[MESSAGE_PATH_SIZE];
    char why[MESSAGE_WHY_SIZE];
};
struct log_order { /* control -> monitor -> every other role */
    int level;     /* enum log_level */
};
struct unbind_request { /* port "": every socket of the network */
    char network[NETWORK_NAME_SIZE];
    char port[PORT_NAME_SIZE];
};
struct bound { /* carries the socket if error is 0; the same socket again if it was bound already */
    int error;
    uint32_t gid; /* of the group, or (gid_t)-1 */
    char why[MESSAGE_WHY_SIZE];
};
struct network_name {
    char network[NETWORK_NAME_SIZE];
};
struct network_names {
    uint32_t n;
    char names[NETWORKS_MAX][NETWORK_NAME_SIZE];
};
struct tap_request {
    char network[NETWORK_NAME_SIZE];
    uint32_t address, netmask;        /* of the host on it; 0: none */
    char bridge[NETWORK_IFNAME_SIZE]; /* to put it into, one of MSG_BRIDGES; "": none. Then there is no
                                         address */
    uint32_t mtu;
    uint32_t uid; /* unused by the kernel while we hold it; recorded for ip tuntap show */
};
/* Control's first words: what the configuration lets it bridge to. Later ones are refused, because from then
 * on it reads what strangers send. */
enum { BRIDGED_MAX = 32 + NETWORKS_MAX }; /* bridged_interfaces, and those of the configured networks */
struct bridge_list {
    uint32_t n;
    char names[BRIDGED_MAX][NETWORK_IFNAME_SIZE];
};
struct tap_opened { /* carries the TAP if error is 0 */
    int error;
    struct uplink_facts facts;
    char why[MESSAGE_WHY_SIZE];
};

/* ---- control -> network ---- */

struct listen_order { /* carries a socket of MSG_BOUND; one it has already is closed again */
    enum socket_kind kind;
    char port[PORT_NAME_SIZE];
};
struct port_order {
    struct port_spec spec;
};
struct port_change_order {
    char port[PORT_NAME_SIZE];
    struct port_change change;
};
struct port_name_order {
    char port[PORT_NAME_SIZE];
};
struct query { /* MSG_SNAPSHOT comes always */
    bool ports, fdb;
};
struct attach_order { /* carries the data socket; MSG_LEASE with the same id follows at once with the lease */
    char port[PORT_NAME_SIZE]; /* "": make a name */
    bool persist;
    bool isolated;    /* the new port is; a named one has to be so already */
    bool has_offload; /* else the port's or the network's */
    enum port_offload offload;
    struct peer peer;
};
struct uplink_order { /* carries the fd */
    enum uplink_kind kind;
    struct uplink_facts facts;
};
struct uplink_report { /* control -> network, uplink -> control: what is known of it */
    enum uplink_state state;
    char reason[UPLINK_REASON_SIZE];
};

/* ---- front end -> its keeper, see daemon/keeper.h ---- */

struct keep_order { /* first of all, before a client is heard; answered by MSG_BOUND */
    char name[NETWORK_NAME_SIZE];
    char socket_path[MESSAGE_PATH_SIZE]; /* "": none */
    enum socket_kind kind;
    uint32_t mode;
    uint32_t uid, gid;               /* of the socket file; UINT32_MAX: as it was made */
    char pidfile[MESSAGE_PATH_SIZE]; /* "": none */
    uint32_t run_uid, run_gid;       /* of the front and the uplink's process, where the keeper is root */
    enum network_uplink uplink;
    bool has_nat;           /* uplink tap: it may start the process nat */
    struct tap_request tap; /* for uplink tap */
    int log_level;
};

/* ---- control -> nat ---- */

struct nat_order {
    struct network_spec spec;
    char tap[NETWORK_IFNAME_SIZE]; /* the TAP with the gateway's address */
};

/* ---- network, uplink, nat -> control ---- */

enum { DONE_RESTART = 1 }; /* a status of done: only a new process can be so */
struct done {              /* answers an order */
    unsigned status;       /* 0: done; DONE_RESTART; else the HTTP status that fits */
    uint32_t count;
    char port[PORT_NAME_SIZE];
    char why[MESSAGE_WHY_SIZE];
};
struct network_report { /* first page of a snapshot; ports and addresses follow, then MSG_SNAPSHOT_END */
    struct lan_snapshot lan;
    enum uplink_kind uplink_kind;
    enum uplink_state uplink_state;
    bool uplink_is_plugged;
    struct uplink_facts uplink_facts;
    char uplink_reason[UPLINK_REASON_SIZE];
};
enum {
    PORTS_PER_PAGE = 64,
    FDB_PER_PAGE = 1024,
};
struct ports_page {
    uint32_t n;
    struct port_snapshot ports[PORTS_PER_PAGE];
};
struct fdb_page {
    uint32_t n;
    struct fdb_snapshot entries[FDB_PER_PAGE];
};

/* X(identifier, payload size in bytes) */
#define MESSAGES(X)                                                                                          \
    X(HELLO, sizeof(struct hello))                                                                           \
    X(API_LISTENER, 0)    /* + fd */                                                                         \
    X(ATTACH_LISTENER, 0) /* + fd */                                                                         \
    X(CONFIG_FILE, 0)     /* + fd: a copy that nobody changes */                                             \
    X(CONTROL, 0)         /* + fd: monitor -> network, uplink: the channel to (a new) control */             \
    X(CHILD_RUNNING, sizeof(struct child_running))                                                           \
    X(BEGIN, 0)                                                                                              \
    X(RELOAD, 0)      /* monitor -> control: SIGHUP came; the file is asked for as for an API call */        \
    X(READ_CONFIG, 0) /* control -> monitor: open the configuration's path again */                          \
    X(CONFIG_READ, sizeof(struct config_read))                                                               \
    X(KEEP_CONFIG, 0) /* control -> monitor: what was read last is what holds, also for the next control */  \
    X(LOG_LEVEL, sizeof(struct log_order))                                                                   \
    X(START, sizeof(struct child_start))                                                                     \
    X(STARTED, sizeof(struct child_started))                                                                 \
    X(STOP, sizeof(struct child_id))                                                                         \
    X(FORGET, sizeof(struct network_name)) /* control -> monitor: it is deleted, and so are its leases */    \
    X(NETWORKS,                                                                                              \
      sizeof(struct network_names)) /* control -> monitor: all there are; what is left of others goes */     \
    X(EXITED, sizeof(struct child_exited))                                                                   \
    X(BIND, sizeof(struct bind_request))                                                                     \
    X(BOUND, sizeof(struct bound))                                                                           \
    X(UNBIND, sizeof(struct unbind_request))                                                                 \
    X(BRIDGES, sizeof(struct bridge_list))                                                                   \
    X(READY, sizeof(struct ready)) /* control -> monitor */                                                  \
    X(OPEN_TAP, sizeof(struct tap_request))                                                                  \
    X(TAP, sizeof(struct tap_opened))                                                                        \
    X(CONFIGURE, sizeof(struct network_spec)) /* control -> network, uplink */                               \
    X(LISTEN, sizeof(struct listen_order))                                                                   \
    X(PORT_PUT, sizeof(struct port_order))                                                                   \
    X(PORT_CHANGE, sizeof(struct port_change_order))                                                         \
    X(PORT_REMOVE, sizeof(struct port_name_order))                                                           \
    X(ATTACH, sizeof(struct attach_order))                                                                   \
    X(LEASE, 0) /* + fd */                                                                                   \
    X(FLUSH_FDB, 0)                                                                                          \
    X(QUERY, sizeof(struct query))                                                                           \
    X(ASK_SPEC, 0)                       /* control -> network it adopts: what do you run with? */           \
    X(SPEC, sizeof(struct network_spec)) /* 'uplink' is resolved */                                          \
    X(UPLINK, sizeof(struct uplink_order))                                                                   \
    X(UPLINK_REPORT, sizeof(struct uplink_report))                                                           \
    X(UPLINK_WANTED, 0)              /* network -> control: open it, or open it again */                     \
    X(UPLINK_DATA, 0)                /* control -> uplink: + fd, the other end of the network's */           \
    X(NAT, sizeof(struct nat_order)) /* control, front -> nat: what should be; MSG_UPLINK_REPORT answers */  \
    X(UPLINK_ASK, 0) /* control -> uplink: its counters, which it answers with the same id */                \
    X(UPLINK_COUNTERS, sizeof(struct uplink_counters))                                                       \
    X(UPLINK_READY, sizeof(struct uplink_facts))                                                             \
    X(UPLINK_HOLDERS, sizeof(struct broker_holders)) /* vmnet -> control: of its network, by the broker */   \
    X(KEEP, sizeof(struct keep_order))               /* front -> keeper */                                   \
    X(PUBLISH, 0) /* front -> keeper: write the pidfile; answered by MSG_DONE */                             \
    X(DONE, sizeof(struct done))                                                                             \
    X(SNAPSHOT, sizeof(struct network_report))                                                               \
    X(SNAPSHOT_PORTS, sizeof(struct ports_page))                                                             \
    X(SNAPSHOT_FDB, sizeof(struct fdb_page))                                                                 \
    X(SNAPSHOT_END, 0)

enum message_type {
    MSG_NONE,
#define X(id, size) MSG_##id,
    MESSAGES(X)
#undef X
        MSG_N
};

/* True if 'type' exists and its payload has 'len' bytes. */
bool message_size_is_valid(uint16_t type, uint32_t len);

const char *message_name(uint16_t type);

/* True if 'text' of 'size' bytes ends in a NUL. */
bool message_text_ok(const char *text, uint32_t size);

#endif
