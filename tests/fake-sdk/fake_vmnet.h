/* tests/fake-sdk/fake_vmnet.h - the double of vmnet: what a test, or a pretend host, does to it
 *
 * How it works
 *   vmnet's functions as frameworks/vmnet/vmnet.h declares them, with the real numbers, on the double's own
 *   queues. A script says what goes wrong. Frames for the guests lie in a bounded queue, as in the kernel;
 *   while it is not empty and the callback is on, one event is on its way at a time, and another after it.
 *
 * What ends the program
 *   A call that may block (all but read and write) from a thread that is no queue's; a packet with flags;
 *   stopping twice; a handler or a queue that macOS would trap for.
 */
#ifndef TESTS_FAKE_SDK_FAKE_VMNET_H
#define TESTS_FAKE_SDK_FAKE_VMNET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <vmnet/vmnet.h>

enum fake_start {
    FAKE_START_SUCCEEDS,
    FAKE_START_FAILS,     /* the handler says start_status, without a dictionary */
    FAKE_START_NULL,      /* no handle, no handler until fake_vmnet_answer_start() */
    FAKE_START_NULL_SAYS, /* no handle, but the handler says start_status */
    FAKE_START_NEVER,     /* no handler until fake_vmnet_answer_start() */
    FAKE_START_HANGS,     /* the call itself returns only after fake_vmnet_answer_start() */
    FAKE_START_EMPTY,     /* a success without a dictionary */
};

enum fake_stop {
    FAKE_STOP_SUCCEEDS,
    FAKE_STOP_FAILS, /* returns VMNET_FAILURE, no handler */
    FAKE_STOP_NEVER, /* no handler until fake_vmnet_answer_stop() */
};

enum fake_estimate { FAKE_ESTIMATE_ZERO, FAKE_ESTIMATE_LOW, FAKE_ESTIMATE_HUGE };

struct fake_script {
    enum fake_start start;
    vmnet_return_t start_status;
    unsigned n_bad_starts;        /* so many starts are as 'start' says, then they succeed; 0: all are */
    vmnet_return_t events_status; /* of switching events on; 0: success */
    bool is_old;          /* before macOS 15: an interface does not say how many packets a call takes */
    unsigned packets_max; /* it takes so many; 0: 256, old: 200 */
    unsigned frame_max;   /* 0: 1514, with TSO 65550 */
    bool has_no_offload;  /* a start that asks for any is an invalid argument */
    enum fake_estimate estimate;
    enum fake_stop stop;
    unsigned start_delay_ms; /* until its handler is called */
    vmnet_return_t gone;     /* 0: not; else every read, write and start fails with it: the Mac sleeps */
    bool is_unplugged;       /* en7 */
    unsigned n_spurious;     /* events with nothing behind them: one each time this changes */
    unsigned n_runts;        /* so many packets of 13 bytes come; 0 again when they have */
    unsigned n_lies;         /* so many packets say that they are longer than the room they were read into */
    unsigned n_full;         /* so many writes find no room */
    unsigned partial;        /* a write takes so many at most; 0: all */
    bool rules_ipv4_only;    /* before macOS 12: the calls for any address are not there */
    bool rules_never;        /* rules are not answered until fake_vmnet_answer_rule() */
    vmnet_return_t rule_refusal; /* 0: none; else the answer to adding one for external port 99 */
    vmnet_return_t refusal;      /* 0: none; else the answer to a write with a frame of EtherType 0xBAD0 */
};

enum { FAKE_RULES_MAX = 64 };
struct fake_rule { /* host byte order */
    uint8_t protocol;
    uint16_t external_port, internal_port;
    uint32_t address;
};

struct fake_counts {
    unsigned starts, stops, events, reads, empty_reads, writes;
    int n_running; /* interfaces */
    unsigned kernel_drops;
    unsigned batch_max; /* the most frames that one write had */
    int n_rules;        /* forwards that are there */
};

/* A fresh one, without interfaces or frames; nothing may run. */
void fake_vmnet_reset(const struct fake_script *script);
void fake_vmnet_change(const struct fake_script *script); /* from here on */
struct fake_counts fake_vmnet_counts(void);

void fake_vmnet_answer_start(vmnet_return_t status);
void fake_vmnet_answer_stop(void);
void fake_vmnet_answer_rule(vmnet_return_t status);

/* The host or the outside sends a frame to the guests. */
void fake_vmnet_inject(const uint8_t *frame, size_t len);
/* An event with nothing behind it. */
void fake_vmnet_spurious_event(void);
/* The interface is gone: every read and write fails with this from now on. */
void fake_vmnet_lose(vmnet_return_t status);

/* Takes what the guests have sent, oldest first. Returns its length, 0: nothing. */
size_t fake_vmnet_take(uint8_t *frame, size_t size);
/* Somebody answers instead: called on the writer's thread for every frame. */
typedef void fake_host(void *ctx, const uint8_t *frame, size_t len);
void fake_vmnet_set_host(fake_host *host, void *ctx);

/* How frames lie on the interface that was started last: bytes of a virtio-net header; is TCP of 64 KiB among
 * them? */
unsigned fake_vmnet_header_len(void);
bool fake_vmnet_has_tso(void);

/* Called on a queue when an interface is up, with what its handler gets. */
typedef void fake_running(xpc_object_t param);
void fake_vmnet_on_running(fake_running *on_running);

/* fake_network.c: as vmnet_start_interface(), on that network; and what the next stop is told to. */
struct fake_network_info;
interface_ref fake_vmnet_start_on_network(xpc_object_t desc, const struct fake_network_info *network,
                                          dispatch_queue_t queue,
                                          vmnet_start_interface_completion_handler_t handler);
typedef void fake_stopped(void *ctx);
void fake_vmnet_on_stop(fake_stopped *on_stopped, void *ctx);

/* The port forwards that are there. Returns how many. */
unsigned fake_vmnet_rules(struct fake_rule rules[FAKE_RULES_MAX]);
/* Called, on a queue, for each that comes and goes. */
typedef void fake_rule_changed(const struct fake_rule *rule, bool is_there);
void fake_vmnet_on_rule(fake_rule_changed *on_rule);

/* The last start's dictionary, borrowed until the next; NULL: none. */
xpc_object_t fake_vmnet_desc(void);

#endif
