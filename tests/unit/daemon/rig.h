/* tests/unit/daemon/rig.h - a real monitor with fake roles, in a folder of its own */
#ifndef TESTS_UNIT_DAEMON_RIG_H
#define TESTS_UNIT_DAEMON_RIG_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "daemon/channel.h"
#include "daemon/message.h"

struct rig {
    char base[64];    /* everything is in it */
    char runtime[80]; /* <base>/run */
    char state[80];   /* <base>/state */
    char config[80];  /* <base>/conf, "" unless rig_configure() */
    pid_t pid;        /* 0: none */
};

struct heard { /* a message that control has heard */
    struct heard *next;
    uint16_t type;
    uint32_t id;
    int fd; /* the test's: set it to -1 to keep it */
    _Alignas(16) unsigned char payload[];
};

/* The place of control: what it is told, and what it says. */
struct desk {
    struct channel *channel;
    struct heard *first;
    uint32_t next_id;
};

/* Of a clock that stands still while others have the processor, where the test has tests/lib/own_time.c; and
 * of the wall's. */
int64_t rig_now_ms(void);
int64_t rig_real_ms(void);

void rig_init(struct rig *rig);
void rig_configure(struct rig *rig, const char *text);
/* Starts the daemon without waiting for it. 'prepare' (may be NULL) runs in the new process first. */
void rig_spawn(struct rig *rig, void (*prepare)(void));
/* Starts it and waits until its API answers. */
void rig_start(struct rig *rig);
/* Waits for its end. Returns its exit code, -signal, or -1000 after 'limit_ms' (it is killed then). */
int rig_wait(struct rig *rig, int limit_ms);
/* Sends a signal. */
void rig_signal(struct rig *rig, int signal_number);
/* SIGTERM, checks that it ends well, and removes the folder. */
void rig_end(struct rig *rig);
/* True if the log has 'text'. */
bool rig_logged(const struct rig *rig, const char *text);
/* "<runtime>/<name>", in a buffer of few turns. */
const char *rig_path(const struct rig *rig, const char *name);
void rig_remove_folder(const char *path);
bool rig_alive(pid_t pid);
/* Waits until the process is gone. */
bool rig_gone(pid_t pid, int limit_ms);
/* The value of a line of /proc/PID/status, "" if there is none. */
const char *rig_status(pid_t pid, const char *name);
/* The pid of the daemon's control, by /proc. 0: none. */
pid_t rig_control_pid(const struct rig *rig);

/* Connects; retries for 3 s. */
void desk_open(struct desk *desk, const struct rig *rig);
void desk_close(struct desk *desk);
uint32_t desk_send(struct desk *desk, uint16_t type, const void *payload, uint32_t len);
/* Waits for the next message of 'type' (and 'id', unless 0), dropping none of the others. NULL after 3 s.
 * Give it to desk_drop() afterwards. */
struct heard *desk_hear(struct desk *desk, uint16_t type, uint32_t id);
void desk_drop(struct heard *heard);

/* Shorthands; each returns the error of the answer. */
int desk_start(struct desk *desk, enum role role, const char *name, pid_t *ret_pid, int *ret_fd);
int desk_bind(struct desk *desk, const char *network, const char *port, enum socket_kind kind, unsigned mode,
              int *ret_fd);
void desk_stop(struct desk *desk, enum role role, const char *name);
/* Waits for MSG_EXITED of 'pid'. Returns its status, -1 if it does not come. */
int desk_exited(struct desk *desk, pid_t pid);
/* Whom networks run as in these tests. */
uint32_t desk_uid(void);

#endif
