/* daemon/children.h - the monitor's table of the processes it has started
 *
 * A network is known from its start until MSG_STOP: one that crashed keeps its place (and its sockets, see
 * daemon/sockets.h) for the next start. One that was told to stop is no longer found by its name, so that a
 * new one of that name may start at once; it is killed if it still runs CHILD_STOP_MS later.
 */
#ifndef DAEMON_CHILDREN_H
#define DAEMON_CHILDREN_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "daemon/channel.h"
#include "daemon/message.h"

enum {
    CHILD_STOP_MS = 500,
    CHILDREN_MAX = 3 * NETWORKS_MAX, /* a network and an uplink each, and as many that are just ending */
};

enum child_state {
    CHILD_NONE,    /* a free place */
    CHILD_RUNS,    /* -> ENDS by MSG_STOP or misbehaviour, -> CRASHED by its own end */
    CHILD_ENDS,    /* its channel is closed -> NONE when it is gone */
    CHILD_CRASHED, /* no process; known -> RUNS by MSG_START, -> NONE by MSG_STOP */
};

struct child {
    enum child_state state;
    struct child_id id;
    uint32_t uid, gid;
    pid_t pid;               /* 0: none */
    struct channel *channel; /* NULL: closed */
    uint64_t kill_at_ms;     /* 0: not due */
};

struct children {
    struct hello hello; /* what each is told first, but for role and name */
    struct child table[CHILDREN_MAX];
};

/* Starts a process of 'role', called 'name' ("" for control), that becomes 'uid' and 'gid' before it reads
 * anything (0: stays who we are, if we are not root). Returns 0 and our end of its channel, MSG_HELLO sent,
 * or a negative errno. */
int child_spawn(enum role role, const char *name, uint32_t uid, uint32_t gid, const struct hello *hello,
                struct channel **ret_channel, pid_t *ret_pid);

/* The known child of that role and name, or NULL. */
struct child *children_find(struct children *children, enum role role, const char *name);

/* Starts one, or finds that it runs. 'order' has been checked. Returns 0 and the child, or a negative errno
 * and a sentence. */
int children_start(struct children *children, const struct child_start *order, struct child **ret_child,
                   char *ret_why, size_t why_size);

/* Gives the child one end of a new channel. Returns the other, for control, or a negative errno. */
int child_connect_control(struct child *child);

/* Tells it to go by closing its channel; what is left of it at 'kill_at_ms' is killed. */
void child_stop(struct child *child, uint64_t kill_at_ms);

/* The process 'pid' is gone. Returns its place as it was, CHILD_NONE if it was none of these. */
struct child children_gone(struct children *children, pid_t pid);

/* Kills those that are due. Returns when the next one is, 0: none. */
uint64_t children_kill_due(struct children *children, uint64_t now_ms);

/* How many processes there are. */
unsigned children_count(const struct children *children);

#endif
