/* daemon/front.h - a stand-alone program with one network of its own, in place of another program
 *
 * socket_vmnet and vmnet-helper are each a main file with options; what they have in common is here. They run
 * struct network (daemon/network.h) by direct calls on one uv loop.
 *
 * Processes
 *   front    the program itself: its pid is in the pidfile, signals reach it, clients' bytes are read by it.
 *            Before it reads the first it has given up every privilege for good.
 *   keeper   (daemon/keeper.h) the same executable, which keeps the privilege: makes the socket and the
 *            pidfile, opens TAPs, starts the uplink's process; and removes what it made when the front is
 * gone. uplink   the role of vmswitchd (daemon/roles.h), where the uplink needs a process, or nat beside a
 * TAP. The front is its control.
 *
 * Order: lock, socket (bound, listening), uplink, pidfile, on_ready. Whoever connects earlier waits in the
 * backlog. What fails before on_ready ends the program with 1 and its reason, and nothing is left behind.
 * SIGTERM, SIGINT and SIGHUP end it with 0, once the keeper has removed everything. SIGUSR1 logs the
 * counters.
 */
#ifndef DAEMON_FRONT_H
#define DAEMON_FRONT_H

#include <uv.h>

#include "daemon/message.h"
#include "daemon/network.h"
#include "io/log.h"

struct front;

struct front_plan {
    struct network_spec spec;            /* 'uplink' as front_choose_uplink() left it */
    uint32_t uid, gid;                   /* what it becomes where it was started as root: never 0 */
    char socket_path[MESSAGE_PATH_SIZE]; /* "": none. Relative to the folder we were started in */
    bool is_datagram;
    uint32_t socket_mode;
    uint32_t socket_uid, socket_gid; /* UINT32_MAX: as it was made */
    char pidfile[MESSAGE_PATH_SIZE]; /* "": none */
    enum log_level log_level;
    bool opens_no_file;  /* from then on: it goes into a sandbox */
    const int *kept_fds; /* inherited descriptors that are still needed; all others above 2 are closed */
    size_t n_kept_fds;
};

struct front_events {
    /* The network runs, its uplink is up (or it has none), the pidfile is there, privileges are gone; no
     * client was accepted. 'fd' is the bound socket of the plan, now the callee's, or -1. Returns 0, or -1
     * with a sentence in 'why': the program ends with 1. */
    int (*on_ready)(void *ctx, struct front *front, int fd, const struct uplink_facts *facts, char *why,
                    size_t why_size);
    /* The end begins: close what you have on the loop. May be NULL. */
    void (*on_end)(void *ctx);
};

/* Runs the program until its end. Call it once, before anything has been opened but 'kept_fds'. Returns the
 * exit code. 'program' is the name for ps and messages. */
int front_run(const char *program, const struct front_plan *plan, const struct front_events *events,
              void *ctx);

/* For on_ready and what it sets up. */
struct network *front_network(struct front *front);
uv_loop_t *front_loop(struct front *front);

/* Begins the end; the first exit code counts. */
void front_end(struct front *front, int exit_code);

/* Logs 'why' as an error and ends with 1. */
void front_fail(struct front *front, const char *why);

/* Logs how many frames came, went and were dropped, and why: at the end, and for SIGUSR1. */
void front_log_counters(struct front *front);

/* True if this process was started by one of ours, as the keeper or an uplink: then main() does nothing but
 * return front_role(). */
bool front_is_role(int argc, char **argv);
int front_role(const char *program, int argc, char **argv);

/* Sets spec->uplink to what carries its mode: 'wanted' is the value of VMSWITCH_UPLINK ("auto", "tap",
 * "user", "none", "vmnet"; NULL or "": auto). Then checks the whole. Returns 0, or -1 with a sentence. */
int front_choose_uplink(struct network_spec *spec, const char *wanted, char *why, size_t why_size);

/* Takes out of a spec, whose uplink was chosen, what a TAP has not, which is logged: an IPv6 prefix, and DHCP
 * of a host network where dnsmasq is not installed. Of other uplinks it changes nothing. */
void front_fit_to_tap(struct network_spec *spec);

/* That check alone, for a spec that was changed since. Returns 0, or -1 with a sentence. */
int front_check(const struct network_spec *spec, char *why, size_t why_size);

/* True if 'value' of an option was given and means something: clients write "" and "<nil>" for "not set". */
bool front_is_set(const char *value);

/* A valid network's name that is always the same for 'path', which may be relative to the current folder,
 * with 'prefix' in front: "sv-1f2e3d4c". */
void front_make_name(const char *prefix, const char *path, char name[NETWORK_NAME_SIZE]);

#endif
