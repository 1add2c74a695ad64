/* daemon/front_internal.h - shared by front.c, front_uplink.c and front_nat.c alone */
#ifndef DAEMON_FRONT_INTERNAL_H
#define DAEMON_FRONT_INTERNAL_H

#include "daemon/channel_uv.h"
#include "daemon/front.h"

struct front_uplink {
    struct channel_uv *channel; /* to its process, beside a TAP to nat; NULL: none runs */
    int32_t pid;                /* 0: none */
    bool is_asked;              /* the keeper has not answered yet */
    bool is_wanted;             /* the network waits for it */
    bool is_ready;              /* the process has said MSG_UPLINK_READY */
    bool has_data;              /* a socket was given to it: the network sees its end by itself */
    uint64_t started_ms;
    struct uplink_facts facts;
    char reason[UPLINK_REASON_SIZE]; /* the last that it gave */
    char tap[UPLINK_IFNAME_SIZE];    /* what the network has; "": none yet */
    uv_timer_t nat_timer;            /* to start nat again */
    struct uplink_retry nat_retry;
};

struct front {
    const struct front_plan *plan;
    const struct front_events *events;
    void *ctx;

    uv_loop_t loop;
    uv_signal_t signals[4];
    uv_timer_t deadline; /* of the start, then of the end */
    int keeper_fd;       /* owned by 'keeper' once that is there */
    struct channel_uv *keeper;
    struct network *network;
    struct front_uplink uplink;
    int socket_fd; /* -1: none, or on_ready has it */

    bool is_published;           /* the pidfile was asked for */
    bool is_ready;               /* on_ready was called */
    bool is_ending, keeper_gone; /* the end has begun; its keeper has removed everything */
    int exit_code;
};

/* front_uplink.c: the uplink, as daemon/control_uplinks.c is for vmswitchd. */
void front_uplink_wanted(void *ctx); /* of struct network_env */
/* Takes what the keeper says of it; false if the message is about something else. */
bool front_uplink_message(struct front *front, struct message *message);
void front_uplink_close(struct front *front);

/* front_nat.c */
bool front_nat_is_wanted(const struct front *front);
void front_nat_init(struct front *front);
void front_nat_serve(struct front *front);       /* the network has a TAP: asks for a process, or tells it */
void front_nat_send(struct front *front);        /* tells it what should be */
void front_nat_retry_later(struct front *front); /* it is gone */

/* front.c: the uplink is in the network, or has failed for now ('why' not ""). */
void front_uplink_is_up(struct front *front);
void front_uplink_failed(struct front *front, const char *why);

#endif
