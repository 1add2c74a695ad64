/* tests/unit/vmnet/test_uplink.c - macOS's vmnet uplink against a vmnet that misbehaves
 *
 * After each test every queue, block and XPC object is gone and no interface runs.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "io/uplink_vmnet.h"
#include "io/vmnet_status_darwin.h"
#include "tests/fake-sdk/blocks.h"
#include "tests/fake-sdk/fake_dispatch.h"
#include "tests/fake-sdk/fake_vmnet.h"
#include "tests/fake-sdk/fake_xpc.h"

enum { PATIENCE_MS = 5000, FRAME_LEN = 100, BAD_TYPE = 0xBAD0, GOOD_TYPE = 0x88B5 };

struct rig {
    struct vmnet_uplink *uplink;
    uint64_t skipped_ms; /* the clock is this much ahead */
    unsigned n_got;
    uint32_t next; /* number of the frame that should come next */
    bool is_out_of_order;
    size_t last_len;
    unsigned n_wakes;
};

static struct rig rig;

static const struct vmnet_settings shared_settings = {.mode = VMNET_MODE_SHARED, .has_dhcp = true};

/* Linked with --wrap: what this thread asks for while it counts. */
static _Thread_local struct {
    bool is_on;
    unsigned n;
} allocations;

void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *old, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *old, size_t size);

void *__wrap_malloc(size_t size)
{
    allocations.n += allocations.is_on;
    return __real_malloc(size);
}

void *__wrap_calloc(size_t n, size_t size)
{
    allocations.n += allocations.is_on;
    return __real_calloc(n, size);
}

void *__wrap_realloc(void *old, size_t size)
{
    allocations.n += allocations.is_on;
    return __real_realloc(old, size);
}

static uint64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000 + rig.skipped_ms;
}

static void sleep_ms(int ms)
{
    poll(NULL, 0, ms);
}

/* ---- a loop ---- */

static void on_frame(void *ctx, const uint8_t *frame, size_t len)
{
    uint32_t number;
    (void)ctx;
    rig.n_got++;
    rig.last_len = len;
    if (len < FRAME_LEN)
        return;
    memcpy(&number, frame + 14, sizeof(number));
    rig.is_out_of_order |= number < rig.next;
    rig.next = number + 1;
}

static enum vmnet_state turn(void)
{
    struct pollfd fd = {.fd = vmnet_uplink_fd(rig.uplink), .events = POLLIN};
    int timeout = vmnet_uplink_timeout(rig.uplink, now_ms());
    if (poll(&fd, 1, timeout < 0 || timeout > 20 ? 20 : timeout) > 0)
        rig.n_wakes++;
    enum vmnet_state state = vmnet_uplink_poll(rig.uplink, now_ms());
    if (state == VMNET_UP && vmnet_uplink_has_frames(rig.uplink))
        vmnet_uplink_receive(rig.uplink, on_frame, NULL);
    vmnet_uplink_flush(rig.uplink, now_ms());
    return vmnet_uplink_poll(rig.uplink, now_ms());
}

static void wait_for(enum vmnet_state state)
{
    uint64_t end = now_ms() + PATIENCE_MS;
    while (turn() != state)
        if (now_ms() > end)
            fail_msg("state %d never came; it is %d: %s", state, vmnet_uplink_poll(rig.uplink, now_ms()),
                     vmnet_uplink_reason(rig.uplink));
}

static void wait_for_frames(unsigned n)
{
    uint64_t end = now_ms() + PATIENCE_MS;
    while (rig.n_got < n) {
        turn();
        if (now_ms() > end)
            fail_msg("%u frames never came: %u did", n, rig.n_got);
    }
}

static void run_for(int ms)
{
    uint64_t end = now_ms() + (uint64_t)ms;
    while (now_ms() < end)
        turn();
}

static void open_with(const struct vmnet_settings *settings)
{
    char why[UPLINK_REASON_SIZE];
    if (vmnet_uplink_open(&rig.uplink, settings, now_ms(), why) < 0)
        fail_msg("open: %s", why);
}

static void open_up(void)
{
    open_with(&shared_settings);
    wait_for(VMNET_UP);
}

static void make_frame(uint8_t frame[FRAME_LEN], uint32_t number, uint16_t type)
{
    memset(frame, 0x5A, FRAME_LEN);
    frame[12] = (uint8_t)(type >> 8);
    frame[13] = (uint8_t)type;
    memcpy(frame + 14, &number, sizeof(number));
}

static void inject(uint32_t first, unsigned n)
{
    uint8_t frame[FRAME_LEN];
    for (unsigned i = 0; i < n; i++) {
        make_frame(frame, first + i, GOOD_TYPE);
        fake_vmnet_inject(frame, sizeof(frame));
    }
}

static void send_frame(uint32_t number, uint16_t type)
{
    uint8_t frame[FRAME_LEN];
    make_frame(frame, number, type);
    vmnet_uplink_send(rig.uplink, frame, sizeof(frame), now_ms());
}

static void send_frames(unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        send_frame(i, GOOD_TYPE);
    vmnet_uplink_flush(rig.uplink, now_ms());
}

/* What the guests have sent arrived: numbers from 0 up, without 'missing'. */
static void expect_sent(unsigned n, uint32_t missing)
{
    uint8_t frame[FRAME_LEN];
    uint32_t expected = 0, number;
    for (unsigned i = 0; i < n; i++, expected++) {
        assert_int_equal(fake_vmnet_take(frame, sizeof(frame)), FRAME_LEN);
        memcpy(&number, frame + 14, sizeof(number));
        expected += expected == missing;
        assert_int_equal(number, expected);
    }
    assert_int_equal(fake_vmnet_take(frame, sizeof(frame)), 0);
}

static const struct vmnet_counters *counters(void)
{
    return vmnet_uplink_counters(rig.uplink);
}

static int set_up(void **state)
{
    (void)state;
    fake_vmnet_reset(NULL);
    rig = (struct rig){.uplink = NULL};
    return 0;
}

static void expect_all_gone(void)
{
    fake_vmnet_answer_start(VMNET_FAILURE);
    fake_vmnet_answer_stop();
    fake_vmnet_answer_rule(VMNET_FAILURE);
    for (int i = 0; i < 200 && (fake_dispatch_alive() || fake_vmnet_counts().n_running); i++)
        sleep_ms(10);
    assert_int_equal(fake_dispatch_alive(), 0);
    assert_int_equal(fake_vmnet_counts().n_running, 0);
    fake_vmnet_reset(NULL);
    assert_int_equal(fake_blocks_alive(), 0);
    assert_int_equal(fake_xpc_alive(), 0);
}

static int tear_down(void **state)
{
    (void)state;
    vmnet_uplink_destroy(rig.uplink);
    rig.uplink = NULL;
    expect_all_gone();
    return 0;
}

static void script_with(enum fake_start start, vmnet_return_t status)
{
    fake_vmnet_change(&(struct fake_script){.start = start, .start_status = status});
}

static void expect_failed(const char *reason, bool may_pass)
{
    wait_for(VMNET_FAILED);
    if (!strstr(vmnet_uplink_reason(rig.uplink), reason))
        fail_msg("'%s' is not in '%s'", reason, vmnet_uplink_reason(rig.uplink));
    assert_int_equal(vmnet_uplink_may_pass(rig.uplink), may_pass);
}

/* ---- start ---- */

static void a_start_brings_facts(void **state)
{
    (void)state;
    open_up();
    const struct vmnet_facts *facts = vmnet_uplink_facts(rig.uplink);
    assert_int_equal(facts->mtu, 1500);
    assert_int_equal(facts->frame_max, 1514);
    assert_int_equal(facts->subnet.gateway, 0xC0A84001); /* chosen by the system, since none was named */
    assert_int_equal(facts->subnet.netmask, 0xFFFFFF00);
    assert_int_equal(facts->subnet.dhcp_end, 0xC0A840FE);
    assert_int_equal(facts->mac >> 40, 0x5E);
    assert_int_equal(facts->read_max, 256 * 1024 / 1514); /* less than the 256 it takes: of bytes */
    assert_int_equal(facts->write_max, 256);
    assert_false(fake_xpc_has(fake_vmnet_desc(), vmnet_start_address_key));
    assert_false(fake_xpc_has(fake_vmnet_desc(), vmnet_mtu_key));
}

static void an_old_macos_that_names_no_limit_gets_the_documented_one(void **state)
{
    (void)state;
    fake_vmnet_change(&(struct fake_script){.is_old = true, .frame_max = 600});
    open_up();
    assert_int_equal(vmnet_uplink_facts(rig.uplink)->read_max, 200);
    assert_int_equal(vmnet_uplink_facts(rig.uplink)->write_max, 200);
}

static void what_the_network_says_is_what_vmnet_is_asked_for(void **state)
{
    (void)state;
    struct vmnet_settings settings = shared_settings;
    settings.gateway = 0x0A010001;
    settings.netmask = 0xFFFF0000;
    settings.dhcp_end = 0x0A0100C8;
    settings.mtu = 1400;
    settings.is_isolated = true;
    snprintf(settings.nat66_prefix, sizeof(settings.nat66_prefix), "fd00:1::");
    vmnet_interface_id("lab", settings.interface_id);
    open_with(&settings);
    wait_for(VMNET_UP);
    xpc_object_t desc = fake_vmnet_desc();
    assert_int_equal(xpc_dictionary_get_uint64(desc, vmnet_operation_mode_key), 1001);
    assert_string_equal(xpc_dictionary_get_string(desc, vmnet_start_address_key), "10.1.0.1");
    assert_string_equal(xpc_dictionary_get_string(desc, vmnet_end_address_key), "10.1.0.200");
    assert_string_equal(xpc_dictionary_get_string(desc, vmnet_subnet_mask_key), "255.255.0.0");
    assert_string_equal(xpc_dictionary_get_string(desc, vmnet_nat66_prefix_key), "fd00:1::");
    assert_int_equal(xpc_dictionary_get_uint64(desc, vmnet_mtu_key), 1400);
    assert_true(xpc_dictionary_get_bool(desc, vmnet_enable_isolation_key));
    assert_memory_equal(xpc_dictionary_get_uuid(desc, vmnet_interface_id_key), settings.interface_id, 16);
    assert_int_equal(vmnet_uplink_facts(rig.uplink)->subnet.gateway, 0x0A010001);
    assert_int_equal(vmnet_uplink_facts(rig.uplink)->mtu, 1400);
}

static void a_host_network_without_dhcp_is_one_with_an_identifier(void **state)
{
    (void)state;
    struct vmnet_settings settings = {
        .mode = VMNET_MODE_HOST, .gateway = 0x0A010001, .netmask = 0xFFFFFF00, .dhcp_end = 0x0A0100C8};
    settings.network_id[3] = 7;
    settings.has_host_ipv6 = true;
    settings.host_ipv6[0] = 0xFD;
    settings.host_ipv6[15] = 1;
    open_with(&settings);
    wait_for(VMNET_UP);
    assert_memory_equal(xpc_dictionary_get_uuid(fake_vmnet_desc(), vmnet_network_identifier_key),
                        settings.network_id, 16);
    assert_string_equal(xpc_dictionary_get_string(fake_vmnet_desc(), vmnet_host_ipv6_address_key), "fd00::1");
    assert_string_equal(xpc_dictionary_get_string(fake_vmnet_desc(), vmnet_host_ip_address_key), "10.1.0.1");
    assert_false(fake_xpc_has(fake_vmnet_desc(), vmnet_start_address_key));
}

static void a_bridged_network_names_its_interface_and_no_mtu(void **state)
{
    (void)state;
    struct vmnet_settings settings = {
        .mode = VMNET_MODE_BRIDGED, .has_dhcp = true, .mtu = 1400, .is_isolated = true, .interface = "en7"};
    open_with(&settings);
    wait_for(VMNET_UP);
    assert_string_equal(xpc_dictionary_get_string(fake_vmnet_desc(), vmnet_shared_interface_name_key), "en7");
    assert_false(fake_xpc_has(fake_vmnet_desc(), vmnet_mtu_key));
}

static void an_interface_that_is_not_there_is_named_as_the_reason(void **state)
{
    (void)state;
    struct vmnet_settings settings = {.mode = VMNET_MODE_BRIDGED, .has_dhcp = true, .interface = "en9"};
    open_with(&settings);
    expect_failed("no such interface", true); /* it may be plugged in */
    assert_int_equal(fake_vmnet_counts().starts, 0);
}

static void pairs_that_vmnet_does_not_have_are_refused_before_it_is_asked(void **state)
{
    (void)state;
    char why[UPLINK_REASON_SIZE];
    const struct vmnet_settings bad[] = {
        {.mode = VMNET_MODE_SHARED},                                          /* no DHCP */
        {.mode = VMNET_MODE_HOST},                                            /* nor an address */
        {.mode = VMNET_MODE_BRIDGED},                                         /* no interface */
        {.mode = VMNET_MODE_SHARED, .has_dhcp = true, .gateway = 0x0A010001}, /* a third of an address */
        {.mode = VMNET_MODE_SHARED, .has_dhcp = true, .n_reservations = 1},   /* of network objects, each: */
        {.mode = VMNET_MODE_SHARED, .has_dhcp = true, .has_no_nat44 = true},
        {.mode = VMNET_MODE_SHARED, .has_dhcp = true, .has_no_nat66 = true},
        {.mode = VMNET_MODE_SHARED, .has_dhcp = true, .has_no_dns_proxy = true},
        {.mode = VMNET_MODE_SHARED, .has_dhcp = true, .has_no_router_advertisement = true},
        {.mode = VMNET_MODE_SHARED, .has_dhcp = true, .external_interface = "en0"},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        why[0] = 0;
        assert_int_equal(vmnet_uplink_open(&rig.uplink, &bad[i], now_ms(), why), -EINVAL);
        assert_true(strlen(why) > 10);
    }
    assert_int_equal(fake_dispatch_alive(), 0);
}

static void the_id_of_an_interface_stays_and_is_its_networks_own(void **state)
{
    (void)state;
    uint8_t a[16], again[16], b[16];
    vmnet_interface_id("shared", a);
    vmnet_interface_id("shared", again);
    vmnet_interface_id("shared2", b);
    assert_memory_equal(a, again, 16);
    assert_memory_not_equal(a, b, 16);
    assert_int_equal(a[6] & 0xF0, 0x80);
    assert_int_equal(a[8] & 0xC0, 0x80);
}

static void every_answer_of_vmnet_is_a_sentence_with_a_next_step(void **state)
{
    (void)state;
    static const struct {
        vmnet_return_t status;
        const char *step;
        bool may_pass;
    } answers[] = {
        {VMNET_FAILURE, "tried again", true},
        {VMNET_MEM_FAILURE, "as root", true},
        {VMNET_INVALID_ARGUMENT, "change", false},
        {VMNET_SETUP_INCOMPLETE, "tried again", true},
        {VMNET_INVALID_ACCESS, "start vmswitchd as root", false},
        {VMNET_PACKET_TOO_BIG, "MTU", true},
        {VMNET_BUFFER_EXHAUSTED, "tried again", true},
        {VMNET_TOO_MANY_PACKETS, "tried again", true},
        {VMNET_SHARING_SERVICE_BUSY, "Internet Sharing", true},
        {1010, "as root", false},
        {4711, "code 4711", true},
    };
    for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
        char code[16];
        snprintf(code, sizeof(code), "%u", answers[i].status);
        script_with(FAKE_START_FAILS, answers[i].status);
        open_with(&shared_settings);
        expect_failed(answers[i].step, answers[i].may_pass);
        assert_non_null(strstr(vmnet_uplink_reason(rig.uplink), code));
        assert_true(strlen(vmnet_uplink_reason(rig.uplink)) < UPLINK_REASON_SIZE - 1); /* not cut */
        vmnet_uplink_destroy(rig.uplink);
        rig.uplink = NULL;
    }
}

static void a_start_without_a_handle_has_failed(void **state)
{
    (void)state;
    script_with(FAKE_START_NULL, 0);
    open_with(&shared_settings);
    expect_failed("(1001)", true);
    assert_true(vmnet_uplink_is_unanswered(rig.uplink));
}

static void a_start_without_a_handle_may_still_say_why(void **state)
{
    (void)state;
    script_with(FAKE_START_NULL_SAYS, VMNET_SHARING_SERVICE_BUSY);
    open_with(&shared_settings);
    expect_failed("(1009)", true);
    assert_false(vmnet_uplink_is_unanswered(rig.uplink));
}

static void a_success_without_a_dictionary_is_a_failure_and_is_stopped(void **state)
{
    (void)state;
    script_with(FAKE_START_EMPTY, 0);
    open_with(&shared_settings);
    expect_failed("(1001)", true);
    for (int i = 0; i < 200 && fake_vmnet_counts().stops == 0; i++)
        sleep_ms(10);
    assert_int_equal(fake_vmnet_counts().stops, 1);
}

static void an_interface_without_events_is_a_failure_and_is_stopped(void **state)
{
    (void)state;
    fake_vmnet_change(&(struct fake_script){.events_status = VMNET_FAILURE});
    open_with(&shared_settings);
    expect_failed("(1001)", true);
    for (int i = 0; i < 200 && fake_vmnet_counts().stops == 0; i++)
        sleep_ms(10);
    assert_int_equal(fake_vmnet_counts().stops, 1);
}

static void a_frame_size_that_nobody_can_have_is_a_failure(void **state)
{
    (void)state;
    fake_vmnet_change(&(struct fake_script){.frame_max = 10 * 1000 * 1000});
    open_with(&shared_settings);
    expect_failed("(1001)", true);
}

static void a_handler_that_never_comes_ends_at_the_deadline(void **state)
{
    (void)state;
    script_with(FAKE_START_NEVER, 0);
    open_with(&shared_settings);
    run_for(100);
    assert_int_equal(vmnet_uplink_poll(rig.uplink, now_ms()), VMNET_STARTING);
    assert_in_range(vmnet_uplink_timeout(rig.uplink, now_ms()), 5000, VMNET_START_MS);
    rig.skipped_ms = VMNET_START_MS;
    expect_failed("no answer in time", true);
}

static void a_start_that_succeeds_too_late_is_stopped(void **state)
{
    (void)state;
    script_with(FAKE_START_NEVER, 0);
    open_with(&shared_settings);
    run_for(50);
    rig.skipped_ms = VMNET_START_MS;
    expect_failed("no answer in time", true);
    fake_vmnet_answer_start(VMNET_SUCCESS);
    for (int i = 0; i < 200 && fake_vmnet_counts().stops == 0; i++)
        sleep_ms(10);
    assert_int_equal(fake_vmnet_counts().stops, 1);
    assert_int_equal(vmnet_uplink_poll(rig.uplink, now_ms()), VMNET_FAILED);
}

static void a_start_that_succeeds_after_the_uplink_is_gone_is_stopped(void **state)
{
    (void)state;
    script_with(FAKE_START_HANGS, 0);
    open_with(&shared_settings);
    run_for(50);
    vmnet_uplink_destroy(rig.uplink);
    rig.uplink = NULL;
    fake_vmnet_answer_start(VMNET_SUCCESS);
    for (int i = 0; i < 200 && fake_vmnet_counts().stops == 0; i++)
        sleep_ms(10);
    assert_int_equal(fake_vmnet_counts().stops, 1);
}

static void a_call_that_hangs_does_not_hold_up_the_loop(void **state)
{
    (void)state;
    script_with(FAKE_START_HANGS, 0);
    uint64_t begun = now_ms();
    open_with(&shared_settings);
    run_for(50);
    vmnet_uplink_stop(rig.uplink, now_ms());
    wait_for(VMNET_STOPPED);
    assert_in_range(now_ms() - begun, VMNET_STOP_MS, VMNET_STOP_MS + 1000);
    fake_vmnet_answer_start(VMNET_SUCCESS);
}

/* ---- stop ---- */

static void a_stop_ends_the_interface(void **state)
{
    (void)state;
    open_up();
    vmnet_uplink_stop(rig.uplink, now_ms());
    wait_for(VMNET_STOPPED);
    assert_int_equal(fake_vmnet_counts().stops, 1);
    send_frame(0, GOOD_TYPE);
    assert_int_equal(counters()->drop_lost, 1);
}

static void a_stop_that_never_answers_ends_at_the_deadline(void **state)
{
    (void)state;
    fake_vmnet_change(&(struct fake_script){.stop = FAKE_STOP_NEVER});
    open_up();
    uint64_t begun = now_ms();
    vmnet_uplink_stop(rig.uplink, now_ms());
    wait_for(VMNET_STOPPED);
    assert_in_range(now_ms() - begun, VMNET_STOP_MS, VMNET_STOP_MS + 500);
}

static void a_stop_amid_traffic_reads_nothing_more(void **state)
{
    (void)state;
    open_up();
    inject(0, 500);
    turn();
    vmnet_uplink_stop(rig.uplink, now_ms()); /* the double ends the program over a later read */
    wait_for(VMNET_STOPPED);
    inject(500, 1);
    run_for(30);
}

/* ---- frames from vmnet ---- */

static void an_event_is_drained_to_the_end_whatever_it_estimates(void **state)
{
    (void)state;
    for (int estimate = FAKE_ESTIMATE_ZERO; estimate <= FAKE_ESTIMATE_HUGE; estimate++) {
        fake_vmnet_change(&(struct fake_script){.estimate = (enum fake_estimate)estimate});
        open_up();
        inject(0, 1000); /* several batches */
        wait_for_frames(1000);
        assert_false(rig.is_out_of_order);
        assert_int_equal(counters()->frames_in, 1000);
        vmnet_uplink_destroy(rig.uplink);
        rig.uplink = NULL;
        rig.n_got = rig.next = 0;
    }
    assert_int_equal(fake_vmnet_counts().kernel_drops, 0);
}

static void frames_that_came_before_events_were_on_are_read(void **state)
{
    (void)state;
    inject(0, 3);
    open_up();
    wait_for_frames(3);
}

static void one_frame_at_a_time_never_goes_missing(void **state)
{
    (void)state;
    open_up();
    for (unsigned i = 0; i < 500; i++) {
        inject(i, 1);
        if (i % 3 == 0)
            wait_for_frames(i + 1);
    }
    wait_for_frames(500);
    assert_false(rig.is_out_of_order);
}

static void a_busy_loop_is_not_told_again_and_again(void **state)
{
    (void)state;
    open_up();
    inject(0, 100);
    sleep_ms(100);
    assert_in_range(fake_vmnet_counts().events, 1, 2); /* one is out, the next is held back */
    wait_for_frames(100);
}

static void an_event_with_nothing_behind_it_costs_a_look_and_no_spinning(void **state)
{
    (void)state;
    open_up();
    run_for(30);
    fake_vmnet_spurious_event();
    run_for(100);
    assert_int_equal(vmnet_uplink_timeout(rig.uplink, now_ms()), -1);
    assert_in_range(fake_vmnet_counts().reads, 1, 8);
    inject(0, 1);
    wait_for_frames(1);
}

static void a_packet_that_is_no_frame_is_counted_and_the_next_is_read(void **state)
{
    (void)state;
    const uint8_t runt[13] = {0};
    open_up();
    fake_vmnet_inject(runt, sizeof(runt));
    inject(0, 1);
    wait_for_frames(1);
    assert_int_equal(counters()->drop_in_bad, 1);
    assert_int_equal(counters()->frames_in, 1);
}

static void reading_asks_for_less_where_the_limit_is_lower_than_it_said(void **state)
{
    (void)state;
    open_up();
    fake_vmnet_change(&(struct fake_script){.packets_max = 50});
    inject(0, 200);
    wait_for_frames(200);
    assert_int_equal(vmnet_uplink_poll(rig.uplink, now_ms()), VMNET_UP);
}

/* ---- frames to vmnet ---- */

static void frames_are_sent_in_order_and_in_large_batches(void **state)
{
    (void)state;
    open_up();
    send_frames(400);
    expect_sent(400, UINT32_MAX);
    assert_int_equal(counters()->frames_out, 400);
    assert_int_equal(fake_vmnet_counts().batch_max, 256);
    assert_int_equal(fake_vmnet_counts().writes, 2);
}

static void the_frames_of_a_write_are_as_many_as_its_bytes_allow(void **state)
{
    (void)state;
    static const uint8_t frame[1514];
    open_up();
    for (int i = 0; i < 400; i++)
        vmnet_uplink_send(rig.uplink, frame, sizeof(frame), now_ms());
    vmnet_uplink_flush(rig.uplink, now_ms());
    assert_int_equal(counters()->frames_out, 400);
    assert_int_equal(fake_vmnet_counts().batch_max, 256 * 1024 / 1514); /* the double refuses more */
    assert_int_equal(fake_vmnet_counts().writes, 3);
}

static void frames_behind_a_partial_write_keep_their_bytes(void **state)
{
    (void)state;
    fake_vmnet_change(&(struct fake_script){.partial = 7, .n_full = 0});
    open_up();
    for (uint32_t i = 0; i < 2000; i++)
        send_frame(i, GOOD_TYPE); /* many more than one batch holds */
    vmnet_uplink_flush(rig.uplink, now_ms());
    fake_vmnet_change(&(struct fake_script){.partial = 0});
    uint8_t bytes[FRAME_LEN], good[FRAME_LEN];
    for (uint32_t i = 0; i < 1024; i++) { /* the double's kernel keeps so many */
        assert_int_equal(fake_vmnet_take(bytes, sizeof(bytes)), FRAME_LEN);
        make_frame(good, i, GOOD_TYPE);
        assert_memory_equal(bytes, good, FRAME_LEN);
    }
}

/* ---- offload ---- */

static struct vmnet_settings offload_settings(bool has_header)
{
    struct vmnet_settings settings = shared_settings;
    settings.wants_tso = settings.wants_checksum_offload = true;
    settings.wants_virtio_header = has_header;
    return settings;
}

static void a_header_takes_the_place_of_the_checksum_key(void **state)
{
    (void)state;
    const struct vmnet_settings settings = offload_settings(true);
    open_with(&settings);
    wait_for(VMNET_UP);
    const struct vmnet_facts *facts = vmnet_uplink_facts(rig.uplink);
    assert_int_equal(facts->header_len, 12);
    assert_int_equal(facts->frame_max, 65550);
    assert_true(facts->has_tso && facts->has_checksum_offload);
    assert_true(xpc_dictionary_get_bool(fake_vmnet_desc(), vmnet_enable_tso_key));
    assert_true(fake_xpc_has(fake_vmnet_desc(), "fake_enable_virtio_header"));
    assert_false(fake_xpc_has(fake_vmnet_desc(), "fake_enable_checksum_offload")); /* never both */
}

static void an_old_macos_gets_the_checksum_key_and_bare_frames(void **state)
{
    (void)state;
    const struct vmnet_settings settings = offload_settings(true);
    fake_vmnet_change(&(struct fake_script){.is_old = true});
    open_with(&settings);
    wait_for(VMNET_UP);
    const struct vmnet_facts *facts = vmnet_uplink_facts(rig.uplink);
    assert_int_equal(facts->header_len, 0);
    assert_true(facts->has_tso && facts->has_checksum_offload);
    assert_true(fake_xpc_has(fake_vmnet_desc(), "fake_enable_checksum_offload"));
    assert_false(fake_xpc_has(fake_vmnet_desc(), "fake_enable_virtio_header"));
}

static void what_is_not_wanted_is_not_asked_for(void **state)
{
    (void)state;
    open_up();
    assert_false(fake_xpc_has(fake_vmnet_desc(), vmnet_enable_tso_key));
    assert_false(fake_xpc_has(fake_vmnet_desc(), "fake_enable_checksum_offload"));
    assert_false(fake_xpc_has(fake_vmnet_desc(), "fake_enable_virtio_header"));
    assert_int_equal(vmnet_uplink_facts(rig.uplink)->header_len, 0);
}

static void frames_of_64_kib_are_read_and_written_as_the_call_takes_them(void **state)
{
    (void)state;
    static uint8_t frame[12 + 65550 + 1] = {1, 1, 54, 0, 0xE8, 3, 34, 0, 16, 0, 1, 0};
    const struct vmnet_settings settings = offload_settings(true);
    open_with(&settings);
    wait_for(VMNET_UP);
    for (int i = 0; i < 20; i++)
        fake_vmnet_inject(frame, 12 + 65550);
    wait_for_frames(20); /* the double refuses a read of more than 256 KiB, or with less room than a packet */
    assert_int_equal(rig.last_len, 12 + 65550);
    for (int i = 0; i < 20; i++)
        vmnet_uplink_send(rig.uplink, frame, 12 + 65550, now_ms());
    vmnet_uplink_send(rig.uplink, frame, 12 + 65551, now_ms());
    vmnet_uplink_send(rig.uplink, frame, 12 + 13, now_ms());
    vmnet_uplink_flush(rig.uplink, now_ms());
    assert_int_equal(counters()->frames_out, 20);
    assert_int_equal(counters()->drop_length, 2);
    assert_int_equal(fake_vmnet_counts().batch_max, 3);
}

static void a_header_that_lies_costs_its_frame_alone(void **state)
{
    (void)state;
    static uint8_t good[12 + 100], bad[12 + 100] = {1, 0, 0, 0, 0, 0, 200, 0, 16, 0, 1, 0};
    const struct vmnet_settings settings = offload_settings(true);
    open_with(&settings);
    wait_for(VMNET_UP);
    for (int i = 0; i < 9; i++)
        vmnet_uplink_send(rig.uplink, i == 4 ? bad : good, sizeof(good), now_ms());
    vmnet_uplink_flush(rig.uplink, now_ms());
    assert_int_equal(counters()->frames_out, 8);
    assert_int_equal(counters()->drop_refused, 1);
    assert_int_equal(vmnet_uplink_poll(rig.uplink, now_ms()), VMNET_UP);
}

static void a_start_that_offload_fails_says_that_less_may_do(void **state)
{
    (void)state;
    const struct vmnet_settings settings = offload_settings(true);
    fake_vmnet_change(&(struct fake_script){.has_no_offload = true});
    open_with(&settings);
    expect_failed("(1003)", false);
    assert_true(vmnet_uplink_may_ask_less(rig.uplink));
    vmnet_uplink_destroy(rig.uplink);
    script_with(FAKE_START_FAILS, VMNET_INVALID_ACCESS);
    open_with(&settings);
    expect_failed("(1005)", false);
    assert_false(vmnet_uplink_may_ask_less(rig.uplink));
}

static void a_partial_write_is_continued(void **state)
{
    (void)state;
    fake_vmnet_change(&(struct fake_script){.partial = 7});
    open_up();
    send_frames(100);
    expect_sent(100, UINT32_MAX);
    assert_int_equal(counters()->frames_out, 100);
}

static void a_refused_frame_is_dropped_alone_and_closes_nothing(void **state)
{
    (void)state;
    static const vmnet_return_t refusals[] = {VMNET_FAILURE, VMNET_INVALID_ARGUMENT, VMNET_PACKET_TOO_BIG,
                                              VMNET_INVALID_ACCESS, VMNET_MEM_FAILURE};
    open_up();
    for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++) {
        fake_vmnet_change(&(struct fake_script){.refusal = refusals[i]});
        for (uint32_t k = 0; k < 20; k++)
            send_frame(k, k == 11 ? BAD_TYPE : GOOD_TYPE);
        vmnet_uplink_flush(rig.uplink, now_ms());
        run_for(20);
        expect_sent(19, 11);
        assert_int_equal(counters()->drop_refused, i + 1);
        assert_int_equal(vmnet_uplink_poll(rig.uplink, now_ms()), VMNET_UP);
    }
}

static void frames_of_no_good_length_never_reach_vmnet(void **state)
{
    (void)state;
    uint8_t frame[1600] = {0};
    open_up();
    vmnet_uplink_send(rig.uplink, frame, 13, now_ms());
    vmnet_uplink_send(rig.uplink, frame, 1515, now_ms());
    vmnet_uplink_send(rig.uplink, frame, 14, now_ms());
    vmnet_uplink_send(rig.uplink, frame, 1514, now_ms());
    vmnet_uplink_flush(rig.uplink, now_ms());
    assert_int_equal(counters()->drop_length, 2);
    assert_int_equal(counters()->frames_out, 2);
}

static void a_vmnet_without_room_gets_the_frames_a_little_later(void **state)
{
    (void)state;
    fake_vmnet_change(&(struct fake_script){.n_full = 1});
    open_up();
    send_frames(10);
    assert_true(vmnet_uplink_is_full(rig.uplink));
    assert_in_range(vmnet_uplink_timeout(rig.uplink, now_ms()), 0, VMNET_FULL_MS);
    run_for(30);
    expect_sent(10, UINT32_MAX);
    assert_int_equal(counters()->drop_full, 0);
    assert_false(vmnet_uplink_is_full(rig.uplink));
}

static void a_vmnet_that_stays_without_room_costs_the_frames_and_not_the_loop(void **state)
{
    (void)state;
    fake_vmnet_change(&(struct fake_script){.n_full = 100000});
    open_up();
    send_frames(10);
    run_for(50);
    assert_int_equal(counters()->drop_full, 10);
    assert_int_equal(fake_vmnet_counts().writes, VMNET_FULL_TRIES);
    assert_int_equal(vmnet_uplink_timeout(rig.uplink, now_ms()), -1);
    fake_vmnet_change(&(struct fake_script){.n_full = 0});
    send_frames(5);
    expect_sent(5, UINT32_MAX);
    assert_int_equal(vmnet_uplink_poll(rig.uplink, now_ms()), VMNET_UP);
}

static void a_write_is_split_where_the_limit_is_lower_than_it_said(void **state)
{
    (void)state;
    open_up();
    fake_vmnet_change(&(struct fake_script){.packets_max = 20});
    send_frames(100);
    expect_sent(100, UINT32_MAX);
}

static void swallow(void *ctx, const uint8_t *frame, size_t len)
{
    (void)frame;
    (void)len;
    ++*(unsigned *)ctx;
}

static void frames_pass_both_ways_without_an_allocation(void **state)
{
    (void)state;
    unsigned n_swallowed = 0;
    open_up();
    fake_vmnet_set_host(swallow, &n_swallowed); /* the double itself would allocate for what it keeps */
    for (unsigned i = 0; i < 5; i++) {
        inject(i * 1000, 1000);
        allocations.is_on = true;
        for (uint64_t end = now_ms() + PATIENCE_MS; rig.n_got < 1000 * (i + 1) && now_ms() < end;)
            turn();
        send_frames(1000);
        turn();
        allocations.is_on = false;
    }
    assert_int_equal(rig.n_got, 5000);
    assert_int_equal(n_swallowed, 5000);
    assert_int_equal(allocations.n, 0);
    assert_int_equal(counters()->drop_full + counters()->drop_refused, 0);
}

/* ---- forwards ---- */

static void forward(uint16_t host_port, uint16_t guest_port)
{
    const struct vmnet_rule rule = {.host_port = host_port, .guest_port = guest_port, .guest = 0xC0A84005};
    vmnet_uplink_forward(rig.uplink, &rule, host_port ? 1 : 0);
}

static void wait_for_rules(unsigned n, uint16_t internal_port)
{
    struct fake_rule rules[FAKE_RULES_MAX];
    for (uint64_t end = now_ms() + PATIENCE_MS; now_ms() < end; turn()) {
        if (fake_vmnet_rules(rules) != n || (n > 0 && rules[0].internal_port != internal_port))
            continue;
        assert_true(n == 0 || (rules[0].protocol == 6 && rules[0].address == 0xC0A84005));
        return;
    }
    fail_msg("no %u rules to port %u", n, (unsigned)internal_port);
}

static void forwards_come_change_and_go_while_it_runs(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        fake_vmnet_change(&(struct fake_script){.rules_ipv4_only = i == 1});
        open_with(&shared_settings);
        forward(8080, 80); /* before it is up */
        wait_for(VMNET_UP);
        wait_for_rules(1, 80);
        forward(8080, 81);
        wait_for_rules(1, 81);
        forward(0, 0);
        wait_for_rules(0, 0);
        run_for(30);
        assert_int_equal(vmnet_uplink_timeout(rig.uplink, now_ms()), -1);
        vmnet_uplink_destroy(rig.uplink);
        rig.uplink = NULL;
    }
}

static void a_forward_that_fails_is_named_and_tried_again(void **state)
{
    (void)state;
    char reason[UPLINK_REASON_SIZE] = "";
    fake_vmnet_change(&(struct fake_script){.rule_refusal = VMNET_FAILURE});
    open_up();
    forward(99, 80);
    for (uint64_t end = now_ms() + PATIENCE_MS;
         now_ms() < end && !vmnet_uplink_forward_failure(rig.uplink, reason);)
        turn();
    assert_non_null(strstr(reason, "forward tcp port 99: vmnet answered 1001"));
    fake_vmnet_change(&(struct fake_script){.rule_refusal = 0});
    rig.skipped_ms = VMNET_RULE_RETRY_MS;
    wait_for_rules(1, 80);
    run_for(30);
    assert_false(vmnet_uplink_forward_failure(rig.uplink, reason));
}

static void a_forward_that_vmnet_never_answers_has_failed_and_holds_up_nothing(void **state)
{
    (void)state;
    char reason[UPLINK_REASON_SIZE] = "";
    fake_vmnet_change(&(struct fake_script){.rules_never = true});
    open_up();
    forward(8080, 80);
    run_for(30);
    assert_false(vmnet_uplink_forward_failure(rig.uplink, reason));
    inject(0, 1);
    wait_for_frames(1);
    rig.skipped_ms = VMNET_RULE_MS;
    run_for(30);
    assert_true(vmnet_uplink_forward_failure(rig.uplink, reason));
    vmnet_uplink_stop(rig.uplink, now_ms());
    wait_for(VMNET_STOPPED);
}

/* ---- the interface goes ---- */

static void an_interface_that_is_gone_is_lost_once_and_not_asked_again(void **state)
{
    (void)state;
    static const vmnet_return_t answers[] = {VMNET_FAILURE, VMNET_SETUP_INCOMPLETE, VMNET_INVALID_ACCESS};
    for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
        open_up();
        fake_vmnet_lose(answers[i]);
        wait_for(VMNET_LOST);
        assert_true(vmnet_uplink_may_pass(rig.uplink));
        assert_non_null(strstr(vmnet_uplink_reason(rig.uplink), "vmnet's interface is gone"));
        unsigned reads = fake_vmnet_counts().reads;
        run_for(50);
        assert_int_equal(fake_vmnet_counts().reads, reads);
        assert_int_equal(vmnet_uplink_timeout(rig.uplink, now_ms()), -1);
        vmnet_uplink_stop(rig.uplink, now_ms());
        wait_for(VMNET_STOPPED);
        vmnet_uplink_destroy(rig.uplink);
        rig.uplink = NULL;
        fake_vmnet_lose(0);
    }
}

static void a_write_that_finds_the_interface_gone_tells_without_an_event(void **state)
{
    (void)state;
    open_up();
    run_for(30);
    fake_vmnet_change(&(struct fake_script){.refusal = VMNET_FAILURE});
    fake_vmnet_lose(VMNET_FAILURE);
    send_frames(3);
    wait_for(VMNET_LOST);
    assert_int_equal(counters()->frames_out, 0);
    assert_int_equal(counters()->drop_refused + counters()->drop_lost, 3);
}

static void a_new_uplink_after_a_loss_has_the_same_id_and_address(void **state)
{
    (void)state;
    struct vmnet_settings settings = shared_settings;
    vmnet_interface_id("lab", settings.interface_id);
    open_with(&settings);
    wait_for(VMNET_UP);
    uint64_t mac = vmnet_uplink_facts(rig.uplink)->mac;
    fake_vmnet_lose(VMNET_FAILURE);
    wait_for(VMNET_LOST);
    vmnet_uplink_destroy(rig.uplink);
    fake_vmnet_lose(0);
    open_with(&settings);
    wait_for(VMNET_UP);
    assert_int_equal(vmnet_uplink_facts(rig.uplink)->mac, mac);
    inject(0, 1);
    wait_for_frames(1);
}

static void what_can_be_bridged_is_what_vmnet_says(void **state)
{
    (void)state;
    char names[VMNET_INTERFACES_MAX][UPLINK_IFNAME_SIZE];
    assert_int_equal(vmnet_list_interfaces(names), 2);
    assert_string_equal(names[0], "en0");
    assert_string_equal(names[1], "en7");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_start_brings_facts),
        TEST(an_old_macos_that_names_no_limit_gets_the_documented_one),
        TEST(what_the_network_says_is_what_vmnet_is_asked_for),
        TEST(a_host_network_without_dhcp_is_one_with_an_identifier),
        TEST(a_bridged_network_names_its_interface_and_no_mtu),
        TEST(an_interface_that_is_not_there_is_named_as_the_reason),
        TEST(pairs_that_vmnet_does_not_have_are_refused_before_it_is_asked),
        TEST(the_id_of_an_interface_stays_and_is_its_networks_own),
        TEST(every_answer_of_vmnet_is_a_sentence_with_a_next_step),
        TEST(a_start_without_a_handle_has_failed),
        TEST(a_start_without_a_handle_may_still_say_why),
        TEST(a_success_without_a_dictionary_is_a_failure_and_is_stopped),
        TEST(an_interface_without_events_is_a_failure_and_is_stopped),
        TEST(a_frame_size_that_nobody_can_have_is_a_failure),
        TEST(a_handler_that_never_comes_ends_at_the_deadline),
        TEST(a_start_that_succeeds_too_late_is_stopped),
        TEST(a_start_that_succeeds_after_the_uplink_is_gone_is_stopped),
        TEST(a_call_that_hangs_does_not_hold_up_the_loop),
        TEST(a_stop_ends_the_interface),
        TEST(a_stop_that_never_answers_ends_at_the_deadline),
        TEST(a_stop_amid_traffic_reads_nothing_more),
        TEST(an_event_is_drained_to_the_end_whatever_it_estimates),
        TEST(frames_that_came_before_events_were_on_are_read),
        TEST(one_frame_at_a_time_never_goes_missing),
        TEST(a_busy_loop_is_not_told_again_and_again),
        TEST(an_event_with_nothing_behind_it_costs_a_look_and_no_spinning),
        TEST(a_packet_that_is_no_frame_is_counted_and_the_next_is_read),
        TEST(reading_asks_for_less_where_the_limit_is_lower_than_it_said),
        TEST(frames_are_sent_in_order_and_in_large_batches),
        TEST(the_frames_of_a_write_are_as_many_as_its_bytes_allow),
        TEST(frames_behind_a_partial_write_keep_their_bytes),
        TEST(a_header_takes_the_place_of_the_checksum_key),
        TEST(an_old_macos_gets_the_checksum_key_and_bare_frames),
        TEST(what_is_not_wanted_is_not_asked_for),
        TEST(frames_of_64_kib_are_read_and_written_as_the_call_takes_them),
        TEST(a_header_that_lies_costs_its_frame_alone),
        TEST(a_start_that_offload_fails_says_that_less_may_do),
        TEST(frames_pass_both_ways_without_an_allocation),
        TEST(forwards_come_change_and_go_while_it_runs),
        TEST(a_forward_that_fails_is_named_and_tried_again),
        TEST(a_forward_that_vmnet_never_answers_has_failed_and_holds_up_nothing),
        TEST(a_partial_write_is_continued),
        TEST(a_refused_frame_is_dropped_alone_and_closes_nothing),
        TEST(frames_of_no_good_length_never_reach_vmnet),
        TEST(a_vmnet_without_room_gets_the_frames_a_little_later),
        TEST(a_vmnet_that_stays_without_room_costs_the_frames_and_not_the_loop),
        TEST(a_write_is_split_where_the_limit_is_lower_than_it_said),
        TEST(an_interface_that_is_gone_is_lost_once_and_not_asked_again),
        TEST(a_write_that_finds_the_interface_gone_tells_without_an_event),
        TEST(a_new_uplink_after_a_loss_has_the_same_id_and_address),
        TEST(what_can_be_bridged_is_what_vmnet_says),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
