/* io/vmnet_crossing_darwin.h - the one place where vmnet's dispatch queues and the loop meet
 *
 * Whoever is on a queue says something with crossing_tell(), the loop hears it with crossing_hear(): flags
 * under a lock, and a pipe that makes the loop look. It belongs to every block that may still run, besides
 * the loop, so that what vmnet says too late finds memory, a queue and nobody who listens.
 *
 * What is always true
 *   Events are held back at most once (events_held): held by a block on the events queue, let go by the loop,
 *   and let go before the interface is stopped, because a suspended queue can't be released.
 */
#ifndef IO_VMNET_CROSSING_DARWIN_H
#define IO_VMNET_CROSSING_DARWIN_H

#include <dispatch/dispatch.h>
#include <stdbool.h>
#include <stdint.h>

#include "io/broker_client.h"
#include "io/uplink_vmnet.h"
#include "io/vmnet_rules.h"

enum {
    CROSSING_STARTED = 1 << 0, /* 'status' and, if it is a success, 'facts' are set */
    CROSSING_EVENT = 1 << 1,
    CROSSING_STOPPED = 1 << 2,
    CROSSING_RULES = 1 << 3,   /* 'rules_answered' is set, and of each of those its status */
    CROSSING_HOLDERS = 1 << 4, /* 'holders' is set */
    CROSSING_LOST = 1 << 5,    /* the network of the broker's has gone */
};

struct crossing;

struct crossing_news {
    unsigned flags;
    uint64_t n_events;
    uint32_t status;
    struct vmnet_facts facts;
    uint64_t rules_answered; /* bit i: the question about slot i */
    uint32_t rule_status[VMNET_RULE_SLOTS];
    struct broker_holders holders;
    char why[UPLINK_REASON_SIZE]; /* of a start that failed, in the broker's words; "": none */
};

/* Returns 0 or a negative errno. The caller has one reference. 'owned' is given to free() with the last one.
 */
int crossing_create(struct crossing **ret_crossing, void *owned);
struct crossing *crossing_ref(struct crossing *crossing);
void crossing_unref(struct crossing *crossing); /* from any thread; the last one frees it */

/* Serial: what may block (start, stop), what vmnet answers, and its events. */
dispatch_queue_t crossing_work(const struct crossing *crossing);
dispatch_queue_t crossing_answers(const struct crossing *crossing);
dispatch_queue_t crossing_events(const struct crossing *crossing);

/* ---- on a queue ---- */

/* False if a start was told before: the first answer counts. 'facts' may be NULL. */
bool crossing_tell_started(struct crossing *crossing, uint32_t status, const struct vmnet_facts *facts);
void crossing_tell_event(struct crossing *crossing); /* on the events queue, which it holds back */
void crossing_tell_stopped(struct crossing *crossing);
void crossing_tell_rule(struct crossing *crossing, unsigned slot, uint32_t status);
void crossing_tell_holders(struct crossing *crossing, const struct broker_holders *holders);
void crossing_tell_lost(struct crossing *crossing);
void crossing_set_why(struct crossing *crossing, const char *why); /* before the start is told */
/* The loop does not wait for the start any more. */
bool crossing_is_abandoned(struct crossing *crossing);

/* ---- on the loop ---- */

int crossing_fd(const struct crossing *crossing);
void crossing_hear(struct crossing *crossing, struct crossing_news *ret_news); /* once each */
void crossing_release_events(struct crossing *crossing);
void crossing_abandon(struct crossing *crossing); /* and no event is held back from here on */

#endif
