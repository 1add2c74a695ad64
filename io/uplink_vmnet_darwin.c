/* io/uplink_vmnet_darwin.c - see uplink_vmnet.h
 *
 * The good path: open -> [work] vmnet_start_interface -> [answers] its handler -> [work] events are switched
 * on
 * -> the loop hears CROSSING_STARTED and makes its batches -> [events] packets -> the loop reads until there
 * are none. The work queue is serial, so what is done after the handler knows what vmnet_start_interface
 * returned.
 */
#include "io/uplink_vmnet.h"

#include <errno.h>
#include <gethostuuid.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <vmnet/vmnet.h>

#include "io/broker_client_darwin.h"
#include "io/vmnet_batch_darwin.h"
#include "io/vmnet_crossing_darwin.h"
#include "io/vmnet_desc_darwin.h"
#include "io/vmnet_network_darwin.h"
#include "io/vmnet_rule_calls_darwin.h"
#include "io/vmnet_status_darwin.h"
#include "switch/frame.h"

enum {
    /* What vmnet_start_interface() returns without a handle: how long its handler may still tell why. */
    NO_HANDLE_MS = 200,
};

/* Of the work queue alone, but for 'interface', which the loop uses from CROSSING_STARTED until it asks for
 * the stop. Freed with the crossing. */
struct work {
    struct crossing *crossing;
    struct vmnet_settings settings;
    struct broker_client *broker;   /* that holds our network; NULL: the classic interface */
    struct network_object *network; /* likewise, once it has answered */
    interface_ref interface;
    bool is_answered; /* the start, in whatever way */
    bool is_started;
    bool is_stopping;
};

struct vmnet_uplink {
    struct crossing *crossing;
    struct work *work;
    enum vmnet_state state;
    uint64_t deadline_ms; /* STARTING, STOPPING */
    struct vmnet_facts facts;
    struct vmnet_counters counters;
    struct broker_holders holders;
    bool has_holders;
    char reason[UPLINK_REASON_SIZE];
    bool may_pass, may_ask_less, is_unanswered;

    bool has_frames; /* not read to the end */
    struct vmnet_batch in, out;
    uint64_t full_until_ms; /* 0: there is room */
    unsigned full_tries;

    struct vmnet_rules rules;
    int64_t rules_wait_ms; /* of the last turn, from rules_at_ms on; -1: nothing is due */
    uint64_t rules_at_ms;
};

/* ---- what a network is to vmnet ---- */

static uint64_t hash(uint64_t value, const void *bytes, size_t len)
{
    for (const uint8_t *at = bytes; len > 0; len--, at++)
        value = (value ^ *at) * UINT64_C(0x100000001B3); /* FNV-1a */
    return value;
}

void vmnet_interface_id(const char *network, uint8_t ret_id[VMNET_ID_SIZE])
{
    /* Two Macs that bridge networks of one name into the same LAN must not have one address. */
    uint8_t host[VMNET_ID_SIZE] = {0};
    const struct timespec wait = {.tv_sec = 1};
    gethostuuid(host, &wait);
    for (unsigned half = 0; half < 2; half++) {
        uint64_t value = hash(UINT64_C(0xCBF29CE484222325) + half, host, sizeof(host));
        value = hash(value, network, strlen(network));
        memcpy(ret_id + 8 * half, &value, sizeof(value));
    }
    ret_id[6] = (uint8_t)((ret_id[6] & 0x0F) | 0x80); /* RFC 9562: version 8, */
    ret_id[8] = (uint8_t)((ret_id[8] & 0x3F) | 0x80); /* variant 10 */
}

int vmnet_list_interfaces(char ret_names[VMNET_INTERFACES_MAX][UPLINK_IFNAME_SIZE])
{
    xpc_object_t list = vmnet_copy_shared_interface_list();
    int n = 0;
    if (!list)
        return -EIO;
    for (size_t i = 0; i < xpc_array_get_count(list) && n < VMNET_INTERFACES_MAX; i++) {
        const char *name = xpc_array_get_string(list, i);
        if (name && name[0] && strlen(name) < UPLINK_IFNAME_SIZE)
            snprintf(ret_names[n++], UPLINK_IFNAME_SIZE, "%s", name);
    }
    xpc_release(list);
    return n;
}

/* ---- on the work queue ---- */

/* What was the broker's goes back. */
static void let_go(struct work *work)
{
    struct broker_client *broker = work->broker;
    network_object_release(work->network);
    work->network = NULL;
    work->broker = NULL;
    if (!broker)
        return;
    broker_client_close(broker);
    crossing_unref(work->crossing); /* it speaks no more */
}

static void stop(struct work *work)
{
    struct crossing *crossing = work->crossing;
    if (work->broker && !work->network && !work->is_answered) {
        work->is_answered = true; /* the broker's answer does not come any more */
        let_go(work);
    }
    if (!work->is_started || work->is_stopping) {
        if (work->is_answered && !work->is_stopping)
            crossing_tell_stopped(crossing); /* else its answer comes, and stops it */
        return;
    }
    work->is_stopping = true;
    vmnet_interface_set_event_callback(work->interface, VMNET_INTERFACE_PACKETS_AVAILABLE, NULL, NULL);
    crossing_ref(crossing);
    vmnet_return_t status =
        vmnet_stop_interface(work->interface, crossing_answers(crossing), ^(vmnet_return_t stopped) {
          (void)stopped; /* nothing that could be done about it */
          crossing_tell_stopped(crossing);
          dispatch_async(crossing_work(crossing), ^{
            let_go(work);
            /* Behind the last event, which has no reference of its own. */
            dispatch_async(crossing_events(crossing), ^{
              crossing_unref(crossing);
            });
          });
        });
    if (status == VMNET_SUCCESS)
        return;
    /* Its handler is not called then. The reference stays: events may still come. */
    crossing_tell_stopped(crossing);
}

static uint32_t switch_on_events(struct work *work)
{
    struct crossing *crossing = work->crossing;
    return vmnet_interface_set_event_callback(work->interface, VMNET_INTERFACE_PACKETS_AVAILABLE,
                                              crossing_events(crossing),
                                              ^(interface_event_t mask, xpc_object_t event) {
                                                (void)mask;
                                                (void)event; /* how many there are is a guess */
                                                crossing_tell_event(crossing);
                                              });
}

static void finish_start(struct work *work, uint32_t status, bool has_facts, const struct vmnet_facts *facts)
{
    if (work->is_answered)
        return; /* by a start without a handle: there is nothing to stop either */
    work->is_answered = true;
    work->is_started = status == VMNET_SUCCESS && work->interface;
    if (status == VMNET_SUCCESS && (!work->is_started || !has_facts))
        status = VMNET_FAILURE;
    if (status == VMNET_SUCCESS && !crossing_is_abandoned(work->crossing))
        status = switch_on_events(work);
    crossing_tell_started(work->crossing, status, facts);
    if (status != VMNET_SUCCESS || crossing_is_abandoned(work->crossing))
        stop(work);
    if (!work->is_started)
        let_go(work);
}

/* True if there is no need to ask vmnet, whose answer would be "invalid argument". */
static bool is_missing(const struct vmnet_settings *settings)
{
    char names[VMNET_INTERFACES_MAX][UPLINK_IFNAME_SIZE];
    if (settings->mode != VMNET_MODE_BRIDGED)
        return false;
    int n = vmnet_list_interfaces(names);
    for (int i = 0; i < n; i++)
        if (strcmp(names[i], settings->interface) == 0)
            return false;
    return n >= 0;
}

static void answer_without_handle(struct work *work)
{
    struct crossing *crossing = crossing_ref(work->crossing);
    dispatch_after(dispatch_time(DISPATCH_TIME_NOW, NO_HANDLE_MS * (int64_t)NSEC_PER_MSEC),
                   crossing_work(crossing), ^{
                     const struct vmnet_facts none = {.mac = 0};
                     finish_start(work, VMNET_STATUS_NO_HANDLE, false, &none);
                     crossing_unref(crossing);
                   });
}

static void fail_to_start(struct work *work, uint32_t status)
{
    const struct vmnet_facts none = {.mac = 0};
    finish_start(work, status, false, &none);
}

static void start_classic(struct work *work)
{
    struct crossing *crossing = work->crossing;
    if (is_missing(&work->settings)) {
        fail_to_start(work, VMNET_STATUS_NO_INTERFACE);
        return;
    }
    const struct vmnet_settings *settings = &work->settings; /* lives as long as the crossing */
    xpc_object_t desc = vmnet_desc_make(settings);
    if (!desc) {
        fail_to_start(work, VMNET_MEM_FAILURE);
        return;
    }
    crossing_ref(crossing); /* the handler's; kept if it never comes */
    work->interface =
        vmnet_start_interface(desc, crossing_answers(crossing), ^(vmnet_return_t status, xpc_object_t param) {
          struct vmnet_facts facts;
          const bool has_facts = vmnet_desc_read(param, settings, &facts);
          dispatch_async(crossing_work(crossing), ^{
            finish_start(work, status, has_facts, &facts);
            crossing_unref(crossing);
          });
        });
    xpc_release(desc);
    if (!work->interface)
        answer_without_handle(work);
}

/* Behind an interface that is being stopped, or was lost, there is nobody to ask. */
static void ask_about_rule(struct work *work, unsigned slot, bool is_add, const struct vmnet_rule *rule)
{
    struct crossing *crossing = work->crossing;
    vmnet_return_t status = VMNET_FAILURE;
    vmnet_rule_done done = ^(vmnet_return_t answer) {
      crossing_tell_rule(crossing, slot, answer);
      crossing_unref(crossing);
    };
    crossing_ref(crossing); /* the handler's; kept if it never comes */
    if (work->is_started && !work->is_stopping)
        status = is_add ? vmnet_rule_add(work->interface, rule, done)
                        : vmnet_rule_remove(work->interface, rule, done);
    if (status == VMNET_SUCCESS)
        return;
    crossing_tell_rule(crossing, slot, status);
    crossing_unref(crossing);
}

/* ---- on a network of the broker's: on the work queue ---- */

static void start_on_network(struct work *work)
{
    struct crossing *crossing = work->crossing;
    struct uplink_subnet subnet;
    uint8_t prefix[16];
    uint32_t status;
    const struct vmnet_settings *settings = &work->settings; /* lives as long as the crossing */
    xpc_object_t desc = vmnet_desc_make_member(settings);
    if (!desc) {
        fail_to_start(work, VMNET_MEM_FAILURE);
        return;
    }
    network_object_subnet(work->network, &subnet, prefix);
    crossing_ref(crossing); /* the handler's */
    work->interface = network_object_start(
        work->network, desc, crossing_answers(crossing),
        ^(vmnet_return_t said, xpc_object_t param) {
          struct vmnet_facts facts;
          const bool has_facts = vmnet_desc_read(param, settings, &facts);
          facts.subnet = subnet; /* which is the network's to tell */
          dispatch_async(crossing_work(crossing), ^{
            finish_start(work, said, has_facts, &facts);
            crossing_unref(crossing);
          });
        },
        &status);
    xpc_release(desc);
    if (status != VMNET_SUCCESS) {
        fail_to_start(work, status);
        crossing_unref(crossing); /* the handler's, which is not called */
    } else if (!work->interface) {
        answer_without_handle(work);
    }
}

/* There is no broker: as before macOS 26, where that is enough. */
static void go_without_broker(struct work *work)
{
    char why[UPLINK_REASON_SIZE];
    if (vmnet_desc_check(&work->settings, why) == 0) {
        start_classic(work);
        return;
    }
    crossing_set_why(work->crossing, why);
    fail_to_start(work, VMNET_STATUS_NO_BROKER);
}

static void on_broker_answer(void *ctx, xpc_object_t serialization, uint32_t status, const char *why)
{
    struct work *work = ctx;
    char sentence[UPLINK_REASON_SIZE] = "";
    if (status == VMNET_STATUS_NO_BROKER) {
        struct crossing *crossing = crossing_ref(work->crossing); /* let_go() gives one back */
        let_go(work);
        go_without_broker(work);
        crossing_unref(crossing);
        return;
    }
    if (serialization)
        work->network = network_object_open(serialization, &status, sentence);
    else if (why[0])
        snprintf(sentence, sizeof(sentence), "the network broker: %s", why);
    if (work->network) {
        start_on_network(work);
    } else {
        crossing_set_why(work->crossing, sentence);
        fail_to_start(work, status);
    }
}

static void on_broker_holders(void *ctx, const struct broker_holders *holders)
{
    struct work *work = ctx;
    crossing_tell_holders(work->crossing, holders);
}

static void on_broker_lost(void *ctx)
{
    struct work *work = ctx;
    crossing_tell_lost(work->crossing);
}

static void start(struct work *work)
{
    static const struct broker_client_ops ops = {on_broker_answer, on_broker_holders, on_broker_lost};
    const char *network = work->settings.broker_network;
    if (!network[0]) {
        start_classic(work);
        return;
    }
    work->broker = broker_client_open(network, crossing_work(work->crossing), &ops, work);
    if (work->broker)
        crossing_ref(work->crossing); /* until it is let go */
    else
        fail_to_start(work, VMNET_MEM_FAILURE);
}

/* ---- life, on the loop ---- */

int vmnet_uplink_open(struct vmnet_uplink **ret_uplink, const struct vmnet_settings *settings,
                      uint64_t now_ms, char why[UPLINK_REASON_SIZE])
{
    int r = settings->broker_network[0] ? 0 : vmnet_desc_check(settings, why);
    if (r < 0)
        return r;
    snprintf(why, UPLINK_REASON_SIZE, "out of memory or descriptors");
    struct vmnet_uplink *uplink = calloc(1, sizeof(*uplink));
    struct work *work = calloc(1, sizeof(*work));
    r = uplink && work ? crossing_create(&uplink->crossing, work) : -ENOMEM;
    if (r < 0) {
        free(uplink);
        free(work);
        return r;
    }
    work->crossing = uplink->crossing;
    work->settings = *settings;
    uplink->work = work;
    uplink->deadline_ms = now_ms + VMNET_START_MS;
    struct crossing *crossing = crossing_ref(uplink->crossing);
    dispatch_async(crossing_work(crossing), ^{
      start(work);
      crossing_unref(crossing);
    });
    *ret_uplink = uplink;
    return 0;
}

static void ask_for_stop(struct vmnet_uplink *uplink)
{
    struct work *work = uplink->work;
    struct crossing *crossing = crossing_ref(uplink->crossing);
    crossing_abandon(crossing);
    dispatch_async(crossing_work(crossing), ^{
      stop(work);
      crossing_unref(crossing);
    });
}

static uint32_t drop_batch(struct vmnet_uplink *uplink)
{
    uint32_t n = uplink->out.n;
    vmnet_batch_advance(&uplink->out, n);
    uplink->full_until_ms = 0;
    uplink->full_tries = 0;
    return n;
}

void vmnet_uplink_stop(struct vmnet_uplink *uplink, uint64_t now_ms)
{
    if (uplink->state == VMNET_STOPPING || uplink->state == VMNET_STOPPED)
        return;
    uplink->counters.drop_lost += drop_batch(uplink);
    uplink->has_frames = false;
    uplink->state = VMNET_STOPPING;
    uplink->deadline_ms = now_ms + VMNET_STOP_MS;
    ask_for_stop(uplink);
}

void vmnet_uplink_destroy(struct vmnet_uplink *uplink)
{
    if (!uplink)
        return;
    if (uplink->state != VMNET_STOPPING && uplink->state != VMNET_STOPPED)
        ask_for_stop(uplink);
    vmnet_batch_deinit(&uplink->in);
    vmnet_batch_deinit(&uplink->out);
    crossing_unref(uplink->crossing);
    free(uplink);
}

static void fail(struct vmnet_uplink *uplink, enum vmnet_state state, const char *what, uint32_t status)
{
    vmnet_status_describe(what, status, uplink->reason);
    uplink->may_pass = vmnet_status_may_pass(status);
    uplink->may_ask_less = vmnet_status_may_ask_less(status);
    uplink->is_unanswered = status == VMNET_STATUS_SILENT || status == VMNET_STATUS_NO_HANDLE;
    uplink->state = state;
    uplink->has_frames = false;
}

static void lose(struct vmnet_uplink *uplink, const char *what, uint32_t status)
{
    fail(uplink, VMNET_LOST, what, status);
    uplink->may_pass = true; /* it worked */
    uplink->counters.drop_lost += drop_batch(uplink);
}

/* Of a frame and its header. */
static uint32_t packet_max(const struct vmnet_uplink *uplink)
{
    return uplink->facts.frame_max + uplink->facts.header_len;
}

static bool is_frame(const struct vmnet_uplink *uplink, size_t len)
{
    return len >= FRAME_LEN_MIN + uplink->facts.header_len && len <= packet_max(uplink);
}

static void on_started(struct vmnet_uplink *uplink, const struct crossing_news *news)
{
    if (news->status != VMNET_SUCCESS) {
        fail(uplink, VMNET_FAILED, "vmnet did not start", news->status);
        if (news->why[0])
            snprintf(uplink->reason, sizeof(uplink->reason), "%s", news->why);
        return;
    }
    uplink->facts = news->facts;
    const uint32_t slot = packet_max(uplink);
    if (uplink->facts.read_max > VMNET_CALL_BYTES / slot) /* each may be as long as that */
        uplink->facts.read_max = VMNET_CALL_BYTES / slot;
    if (vmnet_batch_init_in(&uplink->in, uplink->facts.read_max, slot) < 0 ||
        vmnet_batch_init_out(&uplink->out, news->facts.write_max, VMNET_CALL_BYTES) < 0) {
        fail(uplink, VMNET_FAILED, "vmnet's packets", VMNET_MEM_FAILURE);
        return;
    }
    uplink->state = VMNET_UP;
    uplink->has_frames = true; /* whatever came before events were switched on */
}

/* ---- forwards, on the loop ---- */

static void ask_for_rule(void *ctx, unsigned slot, bool is_add, const struct vmnet_rule *rule)
{
    struct vmnet_uplink *uplink = ctx;
    struct work *work = uplink->work;
    struct crossing *crossing = crossing_ref(uplink->crossing);
    const struct vmnet_rule copy = *rule;
    dispatch_async(crossing_work(crossing), ^{
      ask_about_rule(work, slot, is_add, &copy);
      crossing_unref(crossing);
    });
}

static void turn_rules(struct vmnet_uplink *uplink, const struct crossing_news *news, uint64_t now_ms)
{
    for (unsigned i = 0; news->rules_answered && i < VMNET_RULE_SLOTS; i++)
        if (news->rules_answered >> i & 1)
            rules_answer(&uplink->rules, i, news->rule_status[i] == VMNET_SUCCESS, news->rule_status[i],
                         now_ms);
    uplink->rules_wait_ms = rules_turn(&uplink->rules, now_ms, ask_for_rule, uplink);
    uplink->rules_at_ms = now_ms;
}

void vmnet_uplink_forward(struct vmnet_uplink *uplink, const struct vmnet_rule *rules, uint32_t n)
{
    rules_want(&uplink->rules, rules, n);
    uplink->rules_wait_ms = 0;
}

bool vmnet_uplink_forward_failure(const struct vmnet_uplink *uplink, char reason[UPLINK_REASON_SIZE])
{
    const struct vmnet_rule *rule;
    uint32_t status;
    unsigned n_more;
    if (!rules_failure(&uplink->rules, &rule, &status, &n_more))
        return false;
    snprintf(reason, UPLINK_REASON_SIZE,
             "forward %s port %u: vmnet answered %u; is the port taken on this Mac? It is tried again",
             rule->is_udp ? "udp" : "tcp", (unsigned)rule->host_port, status);
    const size_t used = strlen(reason);
    if (n_more > 0)
        snprintf(reason + used, UPLINK_REASON_SIZE - used, "; %u more failed", n_more);
    return true;
}

enum vmnet_state vmnet_uplink_poll(struct vmnet_uplink *uplink, uint64_t now_ms)
{
    struct crossing_news news;
    crossing_hear(uplink->crossing, &news);
    uplink->counters.events += news.n_events;
    if (uplink->state == VMNET_STARTING && news.flags & CROSSING_STARTED)
        on_started(uplink, &news);
    if (uplink->state == VMNET_UP && news.flags & CROSSING_EVENT)
        uplink->has_frames = true;
    if (news.flags & CROSSING_HOLDERS) {
        uplink->holders = news.holders;
        uplink->has_holders = true;
    }
    if (uplink->state == VMNET_UP && news.flags & CROSSING_LOST)
        lose(uplink, "vmnet's network is gone", VMNET_STATUS_BROKER_GONE);
    if (uplink->state == VMNET_UP)
        turn_rules(uplink, &news, now_ms);
    if (uplink->state == VMNET_STOPPING && (news.flags & CROSSING_STOPPED || now_ms >= uplink->deadline_ms))
        uplink->state = VMNET_STOPPED;
    if (uplink->state == VMNET_STARTING && now_ms >= uplink->deadline_ms) {
        crossing_abandon(uplink->crossing); /* what comes of it later is stopped at once */
        fail(uplink, VMNET_FAILED, "vmnet did not start", VMNET_STATUS_SILENT);
    }
    return uplink->state;
}

static int until(uint64_t at_ms, uint64_t now_ms)
{
    return at_ms > now_ms ? (int)(at_ms - now_ms) : 0;
}

int vmnet_uplink_timeout(const struct vmnet_uplink *uplink, uint64_t now_ms)
{
    if (uplink->state == VMNET_STARTING || uplink->state == VMNET_STOPPING)
        return until(uplink->deadline_ms, now_ms);
    if (uplink->has_frames)
        return 0;
    const int room = uplink->full_until_ms ? until(uplink->full_until_ms, now_ms) : -1;
    if (uplink->state != VMNET_UP || uplink->rules_wait_ms < 0)
        return room;
    const int rules = until(uplink->rules_at_ms + (uint64_t)uplink->rules_wait_ms, now_ms);
    return room >= 0 && room < rules ? room : rules;
}

int vmnet_uplink_fd(const struct vmnet_uplink *uplink)
{
    return crossing_fd(uplink->crossing);
}

const char *vmnet_uplink_reason(const struct vmnet_uplink *uplink)
{
    return uplink->reason;
}

bool vmnet_uplink_may_pass(const struct vmnet_uplink *uplink)
{
    return uplink->may_pass;
}

bool vmnet_uplink_may_ask_less(const struct vmnet_uplink *uplink)
{
    return uplink->may_ask_less;
}

bool vmnet_uplink_is_unanswered(const struct vmnet_uplink *uplink)
{
    return uplink->is_unanswered;
}

const struct vmnet_facts *vmnet_uplink_facts(const struct vmnet_uplink *uplink)
{
    return &uplink->facts;
}

const struct broker_holders *vmnet_uplink_holders(const struct vmnet_uplink *uplink)
{
    return uplink->has_holders ? &uplink->holders : NULL;
}

const struct vmnet_counters *vmnet_uplink_counters(const struct vmnet_uplink *uplink)
{
    return &uplink->counters;
}

uint32_t vmnet_uplink_waiting(const struct vmnet_uplink *uplink)
{
    return uplink->out.n;
}

/* ---- frames from vmnet ---- */

bool vmnet_uplink_has_frames(const struct vmnet_uplink *uplink)
{
    return uplink->has_frames;
}

/* Returns how many packets there were, 0 also when the interface has been lost by this call. */
static unsigned read_batch(struct vmnet_uplink *uplink)
{
    uint32_t status;
    int n;
    do {
        n = (int)uplink->in.max;
        vmnet_batch_open(&uplink->in);
        uplink->counters.reads++;
        status = vmnet_read(uplink->work->interface, uplink->in.packets, &n);
    } while (status == VMNET_TOO_MANY_PACKETS && (uplink->in.max /= 2) > 0);
    if (status != VMNET_SUCCESS) {
        lose(uplink, "vmnet's interface is gone", status);
        return 0;
    }
    if (n < 0)
        return 0;
    return (unsigned)n < uplink->in.max ? (unsigned)n : uplink->in.max;
}

static void hand_over(struct vmnet_uplink *uplink, unsigned n, vmnet_frame *on_frame, void *ctx)
{
    for (unsigned i = 0; i < n; i++) {
        size_t len = uplink->in.packets[i].vm_pkt_size;
        if (!is_frame(uplink, len)) {
            uplink->counters.drop_in_bad++;
            continue;
        }
        uplink->counters.frames_in++;
        on_frame(ctx, uplink->in.iovs[i].iov_base, len);
    }
}

unsigned vmnet_uplink_receive(struct vmnet_uplink *uplink, vmnet_frame *on_frame, void *ctx)
{
    if (uplink->state != VMNET_UP)
        return 0;
    unsigned n = read_batch(uplink);
    if (n == 0 && uplink->state == VMNET_UP) {
        /* Events first, then one more look: what came between the two has nobody else to tell of it. */
        crossing_release_events(uplink->crossing);
        n = read_batch(uplink);
    }
    uplink->has_frames = n > 0;
    hand_over(uplink, n, on_frame, ctx);
    return n;
}

/* ---- frames to vmnet ---- */

/* Writes the first 'n' frames. Returns vmnet's answer and in 'ret_n' how many it took. */
static uint32_t write_some(struct vmnet_uplink *uplink, uint32_t n, uint32_t *ret_n)
{
    int count = (int)n;
    uplink->counters.writes++;
    uint32_t status = vmnet_write(uplink->work->interface, uplink->out.packets, &count);
    *ret_n = status == VMNET_SUCCESS && count > 0 ? (uint32_t)count : 0;
    if (*ret_n > n)
        *ret_n = n;
    uplink->counters.frames_out += *ret_n;
    vmnet_batch_advance(&uplink->out, *ret_n);
    return status;
}

/* vmnet took nothing of the batch for want of room. */
static void wait_for_room(struct vmnet_uplink *uplink, uint64_t now_ms)
{
    if (++uplink->full_tries >= VMNET_FULL_TRIES)
        uplink->counters.drop_full += drop_batch(uplink);
    else
        uplink->full_until_ms = now_ms + VMNET_FULL_MS;
}

/* vmnet refused the first frame, all by itself: it is dropped. Unless it is the interface that is gone, which
 * no frame may make us believe: the next read tells. */
static void drop_first(struct vmnet_uplink *uplink, uint32_t status)
{
    uplink->counters.drop_refused++;
    vmnet_batch_advance(&uplink->out, 1);
    if (status != VMNET_INVALID_ARGUMENT && status != VMNET_PACKET_TOO_BIG)
        uplink->has_frames = true;
}

void vmnet_uplink_flush(struct vmnet_uplink *uplink, uint64_t now_ms)
{
    uint32_t at_once = uplink->out.n; /* fewer after a refusal, down to each frame alone */
    if (uplink->state != VMNET_UP || now_ms < uplink->full_until_ms)
        return;
    uplink->full_until_ms = 0;
    while (uplink->out.n > 0) {
        uint32_t n_taken;
        if (at_once > uplink->out.n)
            at_once = uplink->out.n;
        uint32_t status = write_some(uplink, at_once, &n_taken);
        if (n_taken > 0) {
            uplink->full_tries = 0;
        } else if (status == VMNET_SUCCESS || status == VMNET_BUFFER_EXHAUSTED) {
            wait_for_room(uplink, now_ms);
            return;
        } else if (at_once > 1) {
            at_once = status == VMNET_TOO_MANY_PACKETS ? at_once / 2 : 1;
        } else {
            drop_first(uplink, status);
        }
    }
}

void vmnet_uplink_send(struct vmnet_uplink *uplink, const uint8_t *frame, size_t len, uint64_t now_ms)
{
    if (uplink->state != VMNET_UP) {
        uplink->counters.drop_lost++;
        return;
    }
    if (!is_frame(uplink, len)) {
        uplink->counters.drop_length++;
        return;
    }
    if (!vmnet_batch_has_room(&uplink->out, len))
        vmnet_uplink_flush(uplink, now_ms);
    if (vmnet_batch_has_room(&uplink->out, len))
        vmnet_batch_add(&uplink->out, frame, len);
    else
        uplink->counters.drop_full++;
}

bool vmnet_uplink_is_full(const struct vmnet_uplink *uplink)
{
    return uplink->full_until_ms != 0;
}
