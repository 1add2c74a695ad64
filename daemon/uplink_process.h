/* daemon/uplink_process.h - what the process of any uplink is: two channels, the network's frames, one
 * poll(2) loop
 *
 * The good path: MSG_HELLO and MSG_CONTROL from the monitor, MSG_CONFIGURE and MSG_UPLINK_DATA from control;
 * then turns: what is due, poll, frames, channels. What an uplink adds is in struct uplink_process_ops. It
 * polls rather than having a uv loop, because libslirp opens and closes its sockets as it likes: a handle
 * could outlive its descriptor.
 *
 * What can go wrong
 *   The monitor is gone: the end. Control is gone: traffic goes on, and the next control is told everything.
 * A message that is none of ours, or has a payload that is none: the channel it came by is closed.
 */
#ifndef DAEMON_UPLINK_PROCESS_H
#define DAEMON_UPLINK_PROCESS_H

#include <stdbool.h>
#include <stdint.h>

#include "daemon/channel.h"
#include "daemon/data_port.h"
#include "daemon/message.h"
#include "daemon/poll_set.h"

struct uplink_process;

struct uplink_process_ops {
    /* The network as wanted, checked as far as its sizes go. Returns 0, or -EBADMSG: it is none. */
    int (*configure)(void *ctx, const struct network_spec *spec);
    /* A socket for the network's frames has come; false: it may not come yet. */
    bool (*may_attach)(void *ctx);
    void (*attached)(void *ctx); /* it is in the data port; NULL: nothing to do */
    /* To a control that may know nothing: facts and state. */
    void (*tell_all)(void *ctx);
    /* Does what is due. Returns how long the next turn may sleep, in ms, or -1. */
    int (*run_timers)(void *ctx);
    /* What the data port is watched for, of POLLIN and POLLOUT; 0: nothing now. */
    int (*data_events)(void *ctx);
    /* Adds what else is watched to process->set; may shorten the sleep. */
    void (*watch)(void *ctx, int *timeout_ms);
    /* After poll(): frames. 'data_seen': at the data port. */
    void (*work)(void *ctx, bool poll_failed, int data_seen);
    /* Adds what it has done with frames; the data port's part is there. */
    void (*count)(void *ctx, struct uplink_counters *counters);
    /* The end was asked for: sets process->is_over now, or in a later turn. NULL: now. */
    void (*stop)(void *ctx);
};

struct uplink_process {
    const struct uplink_process_ops *ops;
    void *ctx;
    enum role role;
    struct channel *monitor;
    struct channel *control; /* NULL: none at present */
    struct data_port *data;
    bool has_hello;
    bool is_ending, is_over; /* no channel is served any more; the loop ends */
    int exit_code;
    uint64_t now_ms; /* of this turn */
    struct uplink_report said;
    struct poll_set set;
};

/* Takes 'channel_fd'. If memory is short the process is over before it has begun. */
void uplink_process_open(struct uplink_process *process, enum role role, int channel_fd,
                         const struct uplink_process_ops *ops, void *ctx);
void uplink_process_close(struct uplink_process *process);

/* Turns, until it is over. Returns the exit code. */
int uplink_process_run(struct uplink_process *process);

/* Ends it; the first exit code counts. */
void uplink_process_end(struct uplink_process *process, int exit_code);

/* To control, if there is one. */
void uplink_process_tell(struct uplink_process *process, uint16_t type, const void *payload, uint32_t len);

/* Logs and tells control the state if it is a new one, or 'is_wanted'. */
void uplink_process_report(struct uplink_process *process, const struct uplink_report *report,
                           bool is_wanted);

/* The sooner of two times to sleep, of which -1 is never. */
int uplink_process_sooner(int timeout_ms, int64_t wait_ms);

#endif
