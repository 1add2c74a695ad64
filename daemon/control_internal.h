/* daemon/control_internal.h - shared by the files of the control role alone
 *
 *   control.c           start: what the monitor hands over, configuration, state; the end
 *   asks.c              questions to other roles that wait for an answer
 *   control_reload.c    the configuration file again: read, checked, and applied to what runs
 *   control_adopt.c     a network that runs since before this control did
 *   control_networks.c  one network: start, sockets, named ports, crash and restart, stop
 *   control_uplinks.c   its uplink: TAP or process
 *   control_nat.c       the process beside a TAP that does NAT, DHCP and DNS
 *   control_query.c     snapshots of networks
 *   control_api.c       the API's operations on networks
 *   control_ports.c     the API's operations on ports and addresses
 *   control_interfaces.c what can be bridged
 *   control_host.c      what the host has against a network
 *   control_ready.c     when all that was there at the start is up, or has said why not
 *   attach.c            passed descriptors
 */
#ifndef DAEMON_CONTROL_INTERNAL_H
#define DAEMON_CONTROL_INTERNAL_H

#include <uv.h>

#include "api/api.h"
#include "api/spec_json.h"
#include "api/views.h"
#include "daemon/channel_uv.h"
#include "daemon/config.h"
#include "daemon/message.h"
#include "daemon/sandbox.h"
#include "daemon/state.h"
#include "io/log.h"

/* ---- asks.c ---- */

/* 'answer' is NULL if none came in time or the other side is gone. A snapshot calls it for each page; after
 * any other answer, and after NULL, it is not called again. */
typedef void ask_fn(void *ctx, struct message *answer);

struct ask;
enum { ASK_BUCKETS = 256 };
struct asks {
    struct ask *buckets[ASK_BUCKETS];
    uint32_t next_id;
    uint64_t due_ms; /* when the timer goes off, if it is active */
    uv_timer_t timer;
    bool is_closing;
};

enum {
    BINDS_OPEN_MAX = 64,   /* bound sockets on their way: the kernel counts descriptors in flight */
    ASK_NETWORK_MS = 1000, /* a network that does not answer for so long shows as unresponsive */
    ASK_UPLINK_MS = 300,   /* its counters are left out then */
    ASK_MONITOR_MS = 5000,
};

void asks_open(struct asks *asks, uv_loop_t *loop);
void asks_close(struct asks *asks); /* every open question is answered with NULL */

/* Sends a question; 'fd' (-1: none) is taken. The answer, or NULL, always comes, on a later turn. Returns the
 * question's id (0 if memory is short: 'fn' was called with NULL already). */
uint32_t asks_send(struct asks *asks, struct channel_uv *to, uint16_t type, const void *payload, uint32_t len,
                   int fd, uint64_t timeout_ms, ask_fn *fn, void *ctx);

/* A message that carries an id: gives it to whoever asked 'from'. False: nobody waits for it (any more). */
bool asks_answer(struct asks *asks, const struct channel_uv *from, struct message *message);

/* The done of an answer, or NULL if there is none: no answer, or not that kind of message. */
const struct done *ask_done(const struct message *answer);

/* 'to' is gone: its questions are answered with NULL. */
void asks_lost(struct asks *asks, const struct channel_uv *to);

/* ---- one network ---- */

enum source { SOURCE_API, SOURCE_DEFAULT, SOURCE_CONFIG };

enum phase {
    PHASE_STOPPED,  /* no process: waits for its restart timer, or for good */
    PHASE_STARTING, /* asked for, or not all of its sockets are there */
    PHASE_RUNNING,
    PHASE_STOPPING, /* told to go; MSG_EXITED comes */
};

/* A network that was waited for runs, or is gone (status 0), or has failed (a status and a sentence). */
typedef void managed_settled(void *ctx, unsigned status, const char *why);

struct waiter {
    struct waiter *next;
    struct api_call *call; /* NULL: 'fn' waits */
    unsigned status;       /* of the success it waits for: 200, 201, 204 */
    managed_settled *fn;
    void *ctx;
};

/* What the configuration wants of a network that goes on with something else until it is started again. */
struct pending {
    enum source source;
    struct network_spec spec;
    uint32_t uid, gid;
    json_t *fields; /* JSON pointers: why */
    uint32_t n_ports;
    struct port_spec ports[NETWORK_PORTS_MAX];
};

struct managed {
    struct managed *next;
    struct control *control;
    unsigned refs; /* tasks and questions that point here; freed at 0 once is_gone */
    bool is_gone;

    struct network_spec spec;   /* as wanted; 'uplink' may be WANT_AUTO */
    enum network_uplink uplink; /* resolved */
    enum source source;
    uint32_t uid, gid; /* whom its processes run as */
    uint32_t n_ports;
    struct port_spec ports[NETWORK_PORTS_MAX]; /* the named ones */

    enum phase phase;
    int32_t pid;
    struct channel_uv *channel;
    char failure[MESSAGE_WHY_SIZE]; /* why it does not run, "" if it does */
    unsigned refusal;               /* the status that its waiters get once it has stopped; 0: none */
    bool is_refused; /* the failure is of its making (a path, a group): trying again is pointless */
    bool is_new;     /* has not run yet since it was asked for */
    bool has_before; /* was changed and has not run since: if that is refused, 'before' comes back */
    struct network_spec before;
    struct pending *pending; /* or NULL */
    bool restart_at_once, delete_when_stopped;
    bool is_adopted; /* and not yet compared with what is wanted */
    bool is_on_wifi; /* bridged to it, when it was started */
    uint64_t started_ms;
    struct uplink_retry retry;
    uv_timer_t restart_timer;
    struct waiter *waiters; /* calls to answer when it runs, has failed, or is gone */

    struct {
        int32_t pid;
        enum role role; /* of the process: ROLE_UPLINK, ROLE_VMNET or ROLE_NAT */
        struct channel_uv *channel;
        bool is_starting, is_ready; /* asked for; has said MSG_UPLINK_READY */
        bool is_wanted;             /* the network waits for it */
        bool has_data;              /* the network has an end of its data socket */
        uint64_t started_ms;
        struct uplink_facts facts;
        char reason[UPLINK_REASON_SIZE]; /* what its process said last */
        char tap[UPLINK_IFNAME_SIZE];    /* what the network was given last; "": nothing by this control */
        uv_timer_t nat_timer;            /* to start NAT again */
        struct uplink_retry nat_retry;
        bool has_holders; /* its network is the broker's: */
        struct broker_holders holders;
    } up;
};

struct orphan { /* runs since before this control did */
    struct orphan *next;
    struct child_running running;
    int fd;
};

struct attach_server;
struct reload;
struct step;

struct control {
    uv_loop_t loop;
    uv_signal_t sigterm;
    uv_timer_t renewal;
    struct channel_uv *monitor;
    struct asks asks;
    struct hello hello;
    bool has_begun;
    int api_fd, attach_fd, config_fd;
    struct orphan *orphans;
    struct config config;
    struct bridge_list bridges; /* what the monitor was told */
    struct sandbox_state sandbox;
    struct state *state;
    struct api_server *api;
    struct attach_server *attach;
    struct managed *networks;
    uint32_t n_networks;
    struct reload *reloads, **reloads_end; /* the first of them is at work */
    struct step *binds, **binds_end;       /* sockets still to ask the monitor for */
    unsigned n_binds_open;
    struct { /* control_ready.c */
        uv_timer_t timer;
        uint64_t end_ms;
        unsigned n_open,
            n_starting; /* of one look: questions without an answer, networks that are not there yet */
        bool is_closing;
        struct ready found;
    } ready;
    uint64_t started_ms;
    int exit_code;
};

/* control_networks.c */
struct managed *managed_find(struct control *control, const char *name);
/* Makes one that does not run yet; NULL if memory is short. */
struct managed *managed_add(struct control *control, const struct network_spec *spec, enum source source,
                            uint32_t uid, uint32_t gid);
void managed_ref(struct managed *m);
void managed_unref(struct managed *m);
void managed_start(struct managed *m);
void managed_adopt(struct managed *m, struct orphan *orphan); /* takes orphan->fd */
void managed_configure(struct managed *m);                    /* says all that is wanted of it, in one task */
/* control_adopt.c: as managed_configure(), once it is known what it runs with. */
void managed_adopt_running(struct managed *m, uint32_t uid, uint32_t gid);
void managed_stop(struct managed *m); /* then as delete_when_stopped, restart_at_once say */
void managed_delete(struct managed *m, struct api_call *call); /* answers 204 when it is gone */
/* Answers 'call' when the network runs or has failed. */
void managed_wait(struct managed *m, struct api_call *call, unsigned status);
/* Likewise: calls 'fn', at once if memory is short. 'is_end': waits until the network is gone. */
void managed_wait_settled(struct managed *m, bool is_end, managed_settled *fn, void *ctx);
/* Removes it as managed_delete() does. */
void managed_remove(struct managed *m, managed_settled *fn, void *ctx);
/* Its next start will be with what is pending. */
void managed_take_pending(struct managed *m);
void managed_drop_pending(struct managed *m);
/* An empty one in the place of that, the network's own; NULL, and none, if memory is short. */
struct pending *managed_new_pending(struct managed *m);
struct port_spec *managed_find_port(struct managed *m, const char *port); /* a named one, or NULL */
void managed_forget_port(struct managed *m, const char *port);            /* out of 'ports' */
void managed_exited(struct managed *m, const struct child_exited *exited);
void managed_send(struct managed *m, uint16_t type, const void *payload, uint32_t len, int fd);
/* Durable before it returns 0; a negative code else. */
int managed_save(struct managed *m);
int managed_forget_state(struct managed *m);
void managed_free_all(struct control *control);
/* A sentence for a status of waitpid(): "its process died (Killed)". */
void control_describe_exit(int status, char *why, size_t size);

/* What a put of a named port does in a running network: order, two sockets. 'on_done' gets 0 or a status and
 * a sentence. */
typedef void managed_port_done(void *ctx, unsigned status, const char *why);
void managed_put_port(struct managed *m, const struct port_spec *spec, managed_port_done *on_done, void *ctx);
void managed_unbind(struct managed *m, const char *port);

/* control.c: whom a network of the configuration runs as. Returns 0, or -1 and a sentence. */
int control_owner_of(const struct control *control, const struct network_config *nc, const char *file,
                     uint32_t *ret_uid, uint32_t *ret_gid, char *why, size_t size);
/* The configuration has changed, and calls are answered: if it names other bridges, a new control tells the
 * monitor, which believes only one that has heard nobody. Networks notice nothing. */
void control_renew_if_needed(struct control *control);
/* Logs at this level from now on, everywhere. */
void control_set_log_level(struct control *control, const struct config *config);

/* control_reload.c: reads the file and applies it, after the reloads before. 'call' NULL: SIGHUP. */
void control_reload(struct control *control, struct api_call *call, const struct api_reload *request);
void control_reload_op(void *ctx, struct api_call *call, const struct api_reload *request);
/* The daemon ends: calls that wait get their answer. */
void control_reload_end(struct control *control);

/* Resolves 'auto' and says whether this daemon can serve the pair. Returns 0 or -1 with *ret_error. */
int control_resolve_uplink(const struct control *control, const struct network_spec *spec,
                           enum network_uplink *ret_uplink, struct spec_error *ret_error);
/* Whether the configuration lets the API bridge to that interface. */
bool control_may_bridge(const struct control *control, const char *interface);
/* For a network that the API made: returns 0 or -1 with *ret_error. */
int control_check_bridge(const struct control *control, const struct network_spec *spec,
                         struct spec_error *ret_error);

/* control_host.c: true after a 409 or 422: the host has the subnet already, or has no such bridge. 'own' is
 * the interface that the network has now, "": none. */
bool control_refuse_host(const struct network_spec *spec, const char *own, struct api_call *call);
/* The part of it about the subnet, for an uplink that makes its interface itself. */
bool control_refuse_subnet(const struct network_spec *spec, const char *own, struct api_call *call);

/* Looks whether the network is bridged to Wi-Fi by vmnet, and says so in the log. */
void control_look_at_interface(struct managed *m);
/* What is to be said to who looks at the network, or NULL. */
const char *control_warning(const struct managed *m);

/* control_uplinks.c */
void uplink_wanted(struct managed *m);
void uplink_reconfigure(struct managed *m);
void uplink_start_process(struct managed *m);
void uplink_report(struct managed *m, enum uplink_state state, const char *reason);
void uplink_adopt(struct managed *m, struct orphan *orphan);
void uplink_stop(struct managed *m);
void uplink_exited(struct managed *m, const struct child_exited *exited);

/* control_ready.c: looks at the networks until each is up or has said why not, and tells the monitor. */
void control_ready_open(struct control *control);
void control_ready_begin(struct control *control);
void control_ready_close(struct control *control);

/* control_nat.c */
bool nat_is_wanted(const struct managed *m);
void nat_init(struct managed *m);
void nat_serve(struct managed *m);       /* its network has a TAP: starts it, or tells it */
void nat_send(struct managed *m);        /* tells it what should be */
void nat_retry_later(struct managed *m); /* it is gone */
void nat_adopt(struct managed *m);       /* the network runs: perhaps since before this control did */

/* control_query.c: 'result' is NULL if the network does not run or did not answer. Borrowed until it returns.
 */
struct query_result {
    struct network_report report;
    bool has_uplink; /* the uplink's process has answered too */
    struct uplink_counters uplink;
    struct port_snapshot *ports;
    uint32_t n_ports;
    struct fdb_snapshot *fdb;
    uint32_t n_fdb;
};
typedef void query_fn(void *ctx, struct managed *m, const struct query_result *result);
void control_query(struct managed *m, bool ports, bool fdb, query_fn *fn, void *ctx);

/* control_api.c, control_ports.c */
extern const struct api_ops control_api_ops;
/* "up", "starting"... and why it is not up. */
void control_fill_health(const struct managed *m, const struct query_result *result,
                         struct network_status *status);
void control_interfaces_op(void *ctx, struct api_call *call); /* control_interfaces.c */
void control_ports_op(void *ctx, struct api_call *call, const char *network);
void control_port_op(void *ctx, struct api_call *call, const char *network, const char *port);
void control_put_port_op(void *ctx, struct api_call *call, const char *network, const struct port_spec *spec);
void control_patch_port_op(void *ctx, struct api_call *call, const char *network, const char *port,
                           const struct port_change *change);
void control_delete_port_op(void *ctx, struct api_call *call, const char *network, const char *port);
void control_fdb_op(void *ctx, struct api_call *call, const char *network);
void control_flush_fdb_op(void *ctx, struct api_call *call, const char *network);
void control_reply_problem(struct api_call *call, unsigned status, const char *detail, const char *field,
                           const char *next_step);
/* The network, or NULL after a 404. */
struct managed *control_network_or_404(struct control *control, struct api_call *call, const char *name);
/* True after a 409: the network is the configuration file's. */
bool control_refuse_deleted(struct managed *m, struct api_call *call); /* likewise: it is on its way out */
bool control_refuse_configured(struct managed *m, struct api_call *call);
/* Answers with the network as it is. */
void control_reply_network(struct managed *m, struct api_call *call, unsigned status);

/* attach.c: takes 'fd', listening. */
int attach_open(struct attach_server **ret_server, struct control *control, int fd);
void attach_close(struct attach_server *server);

#endif
