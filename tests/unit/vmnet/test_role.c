/* tests/unit/vmnet/test_role.c - the real process of a vmnet uplink, us as its monitor and control
 *
 * Each test says what the double does in that process, and looks at what control and the network see of it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "daemon/channel.h"
#include "daemon/message.h"
#include "daemon/roles.h"
#include "switch/frame.h"
#include "switch/port.h"
#include "tests/fake-sdk/fake_vmnet.h"

enum { PATIENCE_MS = 5000, FRAME_LEN = 60, OWNER = 65534 };

struct rig {
    pid_t pid;
    struct channel *monitor, *control;
    int data; /* -1: none */
    struct network_spec spec;
    unsigned n_ready, n_reports;
    struct uplink_facts facts;
    struct uplink_report report; /* the last one */
    char reasons[1024];          /* of all, in order */
    bool control_is_lost;
    struct uplink_counters counters;
    uint32_t answer_id; /* of the counters; 0: none came */
};

static struct rig rig;

static int64_t now_ms(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* ---- what the process says ---- */

static int on_message(void *ctx, struct message *message)
{
    (void)ctx;
    if (message->type == MSG_UPLINK_READY) {
        memcpy(&rig.facts, message->payload, sizeof(rig.facts));
        rig.n_ready++;
    } else if (message->type == MSG_UPLINK_COUNTERS) {
        memcpy(&rig.counters, message->payload, sizeof(rig.counters));
        rig.answer_id = message->id;
    } else if (message->type == MSG_UPLINK_REPORT) {
        memcpy(&rig.report, message->payload, sizeof(rig.report));
        rig.n_reports++;
        strncat(rig.reasons, rig.report.reason, sizeof(rig.reasons) - strlen(rig.reasons) - 1);
    } else {
        return -1;
    }
    return 0;
}

static void hear(int timeout_ms)
{
    struct pollfd fd = {.fd = channel_fd(rig.control), .events = POLLIN};
    if (!rig.control_is_lost && poll(&fd, 1, timeout_ms) == 1 &&
        channel_receive(rig.control, on_message, NULL) < 0)
        rig.control_is_lost = true;
}

static void wait_for_state(enum uplink_state state, const char *reason)
{
    int64_t end = now_ms() + PATIENCE_MS;
    while (now_ms() < end && !rig.control_is_lost) {
        if (rig.n_reports > 0 && rig.report.state == state && strstr(rig.report.reason, reason))
            return;
        hear(50);
    }
    fail_msg("wanted %s with \"%s\"; it is %s, \"%s\" after %u reports", uplink_state_name(state), reason,
             uplink_state_name(rig.report.state), rig.report.reason, rig.n_reports);
}

/* ---- in the process ---- */

static void echo(void *ctx, const uint8_t *frame, size_t len)
{
    (void)ctx;
    fake_vmnet_inject(frame, len);
}

static void *sleep_when_told(void *arg)
{
    sigset_t *set = arg;
    int number;
    if (sigwait(set, &number) == 0)
        fake_vmnet_lose(VMNET_FAILURE);
    return NULL;
}

static void run_role(int fd, const struct fake_script *script)
{
    static sigset_t set;
    pthread_t thread;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    fake_vmnet_reset(script);
    fake_vmnet_set_host(echo, NULL);
    if (pthread_create(&thread, NULL, sleep_when_told, &set) != 0)
        _exit(99);
    pthread_detach(thread);
    signal(SIGPIPE, SIG_IGN);
    _exit(vmnet_main(fd, OWNER, OWNER));
}

/* ---- the process ---- */

static void give_control(void)
{
    int fds[2];
    assert_int_equal(channel_pair(fds), 0);
    channel_destroy(rig.control);
    rig.control = channel_create(fds[0]);
    assert_int_equal(channel_send(rig.monitor, MSG_CONTROL, 0, NULL, 0, fds[1]), 0);
}

static void give_data(void)
{
    int fds[2];
    assert_int_equal(channel_pair(fds), 0);
    rig.data = fds[0];
    assert_int_equal(channel_send(rig.control, MSG_UPLINK_DATA, 0, NULL, 0, fds[1]), 0);
}

static void configure(void)
{
    assert_int_equal(channel_send(rig.control, MSG_CONFIGURE, 0, &rig.spec, sizeof(rig.spec), -1), 0);
}

static void start(const struct fake_script *script)
{
    int fds[2];
    struct hello hello = {.protocol = MESSAGE_PROTOCOL, .role = ROLE_VMNET, .name = "v", .log_level = 0};
    assert_int_equal(channel_pair(fds), 0);
    rig.pid = fork();
    assert_true(rig.pid >= 0);
    if (rig.pid == 0) {
        close(fds[0]);
        run_role(fds[1], script);
    }
    close(fds[1]);
    rig.monitor = channel_create(fds[0]);
    assert_int_equal(channel_send(rig.monitor, MSG_HELLO, 0, &hello, sizeof(hello), -1), 0);
    give_control();
    configure();
}

/* Returns its exit code, or minus the signal that ended it. */
static int wait_for_end(int timeout_ms)
{
    int status = 0;
    for (int64_t end = now_ms() + timeout_ms; now_ms() < end; hear(5)) {
        if (waitpid(rig.pid, &status, WNOHANG) != rig.pid) {
            if (rig.control_is_lost)
                poll(NULL, 0, 5);
            continue;
        }
        rig.pid = 0;
        return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
    }
    fail_msg("the process did not end within %d ms", timeout_ms);
    return 0;
}

static void end_as_a_monitor_does(void)
{
    channel_destroy(rig.monitor);
    rig.monitor = NULL;
    assert_int_equal(wait_for_end(2000), EXIT_OK);
}

/* ---- frames ---- */

static void send_frame(uint8_t number, uint16_t type)
{
    uint8_t record[4 + FRAME_LEN] = {0, 0, 0, FRAME_LEN};
    memset(record + 4, number, FRAME_LEN);
    record[16] = (uint8_t)(type >> 8);
    record[17] = (uint8_t)type;
    assert_int_equal(send(rig.data, record, sizeof(record), MSG_NOSIGNAL), sizeof(record));
}

/* True if a frame with that number came back. */
static bool comes_back(uint8_t number)
{
    uint8_t record[4 + FRAME_LEN];
    struct pollfd fd = {.fd = rig.data, .events = POLLIN};
    if (poll(&fd, 1, 1000) != 1 || recv(rig.data, record, sizeof(record), MSG_WAITALL) != sizeof(record))
        return false;
    return record[3] == FRAME_LEN && record[4] == number;
}

static int set_up(void **state)
{
    (void)state;
    rig = (struct rig){.data = -1};
    network_spec_init(&rig.spec, "v", MODE_SHARED);
    rig.spec.uplink = WANT_VMNET;
    rig.spec.vmnet.tso = rig.spec.vmnet.checksum_offload = rig.spec.vmnet.virtio_header = false;
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    if (rig.data >= 0)
        close(rig.data);
    channel_destroy(rig.control);
    channel_destroy(rig.monitor);
    rig.control = rig.monitor = NULL;
    rig.data = -1;
    if (rig.pid > 0) {
        kill(rig.pid, SIGKILL);
        waitpid(rig.pid, NULL, 0);
    }
    return 0;
}

/* ---- the tests ---- */

static void ask_for_offload(bool has_header)
{
    rig.spec.vmnet.tso = rig.spec.vmnet.checksum_offload = true;
    rig.spec.vmnet.virtio_header = has_header;
}

static void the_network_is_told_how_frames_lie(void **state)
{
    static const struct {
        bool tso, checksum_offload, virtio_header;
        bool has_header, has_raw;
        uint32_t whole_max;
    } rows[] = {
        {true, true, true, true, false, FRAME_OFFLOAD_MAX},
        {true, true, false, false, true, FRAME_OFFLOAD_MAX},
        {false, true, true, true, false, PORT_WHOLE_NONE},
        {false, true, false, false, true, PORT_WHOLE_NONE},
        {true, false, false, false, true, FRAME_OFFLOAD_MAX},
        {false, false, false, false, false, PORT_WHOLE_NONE},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        set_up(NULL);
        rig.spec.vmnet.tso = rows[i].tso;
        rig.spec.vmnet.checksum_offload = rows[i].checksum_offload;
        rig.spec.vmnet.virtio_header = rows[i].virtio_header;
        start(NULL);
        wait_for_state(UPLINK_UP, "");
        assert_int_equal(rig.facts.has_vnet_header, rows[i].has_header);
        assert_int_equal(rig.facts.has_raw_offload, rows[i].has_raw);
        assert_int_equal(rig.facts.whole_max, rows[i].whole_max);
        end_as_a_monitor_does();
        tear_down(NULL);
    }
}

/* A header in front: the sum at byte 12 of 'frame_len' is left to do, in pieces of 1000 bytes. */
static size_t make_long_record(uint8_t *record, size_t frame_len)
{
    const size_t len = 12 + frame_len;
    memset(record, 0x5A, 4 + len);
    memcpy(record, (const uint8_t[]){0, (uint8_t)(len >> 16), (uint8_t)(len >> 8), (uint8_t)len}, 4);
    memcpy(record + 4, (const uint8_t[]){1, 1, 54, 0, 0xE8, 3, 34, 0, 16, 0, 1, 0}, 12);
    record[4 + 12 + 12] = 0x08;
    record[4 + 12 + 13] = 0x00;
    return 4 + len;
}

static void a_frame_of_64_kib_passes_both_ways_with_its_header(void **state)
{
    static uint8_t record[4 + 12 + FRAME_OFFLOAD_MAX], back[sizeof(record)];
    (void)state;
    ask_for_offload(true);
    start(NULL);
    wait_for_state(UPLINK_UP, "");
    give_data();
    const size_t len = make_long_record(record, FRAME_OFFLOAD_MAX);
    for (int i = 0; i < 20; i++) {
        size_t n_sent = 0, n_back = 0;
        for (int64_t end = now_ms() + PATIENCE_MS; (n_sent < len || n_back < len) && now_ms() < end;) {
            struct pollfd fd = {.fd = rig.data, .events = (short)(POLLIN | (n_sent < len ? POLLOUT : 0))};
            poll(&fd, 1, 100);
            ssize_t n =
                n_sent < len ? send(rig.data, record + n_sent, len - n_sent, MSG_DONTWAIT | MSG_NOSIGNAL) : 0;
            n_sent += n > 0 ? (size_t)n : 0;
            n = recv(rig.data, back + n_back, len - n_back, MSG_DONTWAIT);
            n_back += n > 0 ? (size_t)n : 0;
        }
        assert_int_equal(n_back, len);
        assert_memory_equal(back, record, len);
    }
    end_as_a_monitor_does();
}

static void a_forward_that_fails_is_degraded_and_frames_pass_on(void **state)
{
    (void)state;
    rig.spec.n_forwards = 1;
    rig.spec.forwards[0] =
        (struct network_forward){.host_port = 99, .guest_ip = 0xC0A86905, .guest_port = 80};
    start(&(struct fake_script){.rule_refusal = VMNET_FAILURE});
    wait_for_state(UPLINK_DEGRADED, "forward tcp port 99: vmnet answered 1001");
    assert_int_equal(rig.n_ready, 1);
    give_data();
    send_frame(1, 0x88B5);
    assert_true(comes_back(1));
    rig.spec.forwards[0].host_port = 98; /* changeable while it runs */
    configure();
    wait_for_state(UPLINK_UP, "");
    send_frame(2, 0x88B5);
    assert_true(comes_back(2));
    end_as_a_monitor_does();
}

static void a_vmnet_without_offload_is_started_without(void **state)
{
    (void)state;
    ask_for_offload(true);
    start(&(struct fake_script){.has_no_offload = true});
    wait_for_state(UPLINK_UP, "");
    assert_false(rig.facts.has_vnet_header || rig.facts.has_raw_offload);
    assert_string_equal(rig.reasons, ""); /* that one try failed is nobody's concern */
    give_data();
    send_frame(1, 0x88B5);
    assert_true(comes_back(1));
    end_as_a_monitor_does();
}

static void a_start_that_fails_otherwise_asks_for_offload_again(void **state)
{
    (void)state;
    ask_for_offload(true);
    start(&(struct fake_script){.start = FAKE_START_FAILS, .start_status = VMNET_FAILURE, .n_bad_starts = 2});
    wait_for_state(UPLINK_STARTING, "failure (1001)");
    wait_for_state(UPLINK_UP, "");
    assert_true(rig.facts.has_vnet_header);
    end_as_a_monitor_does();
}

static void frames_pass_both_ways_once_it_is_ready(void **state)
{
    (void)state;
    start(NULL);
    wait_for_state(UPLINK_UP, "");
    assert_int_equal(rig.n_ready, 1);
    assert_int_equal(rig.facts.mtu, 1500);
    assert_int_equal(rig.facts.mac,
                     0); /* vmnet's address is meant for a guest: pinning it would cut that one off */
    give_data();
    for (uint8_t i = 0; i < 50; i++)
        send_frame(i, 0x88B5);
    for (uint8_t i = 0; i < 50; i++)
        assert_true(comes_back(i));
    end_as_a_monitor_does();
}

static void failures_at_boot_are_tried_again_while_it_says_starting(void **state)
{
    (void)state;
    start(&(struct fake_script){.start = FAKE_START_FAILS, .start_status = VMNET_FAILURE, .n_bad_starts = 2});
    wait_for_state(UPLINK_STARTING, "failure (1001)");
    assert_int_equal(rig.n_ready, 0);
    wait_for_state(UPLINK_UP, "");
    assert_int_equal(rig.n_ready, 1);
    end_as_a_monitor_does();
}

static void a_refusal_for_good_is_said_and_the_process_stays(void **state)
{
    (void)state;
    start(&(struct fake_script){.start = FAKE_START_FAILS, .start_status = VMNET_INVALID_ACCESS});
    wait_for_state(UPLINK_FAILED, "start vmswitchd as root");
    assert_int_equal(rig.n_ready, 0);
    end_as_a_monitor_does();
}

static void a_start_without_an_answer_is_for_a_new_process(void **state)
{
    (void)state;
    start(&(struct fake_script){.start = FAKE_START_NULL});
    assert_int_equal(wait_for_end(PATIENCE_MS), EXIT_FAILED);
    assert_non_null(strstr(rig.reasons, "no handle and no reason given"));
}

static void a_lost_interface_is_said_and_is_for_a_new_process(void **state)
{
    (void)state;
    start(NULL);
    wait_for_state(UPLINK_UP, "");
    give_data();
    send_frame(1, 0x88B5);
    assert_true(comes_back(1));
    kill(rig.pid, SIGUSR1);
    assert_int_equal(wait_for_end(PATIENCE_MS), EXIT_FAILED);
    assert_int_equal(rig.report.state, UPLINK_DEGRADED);
    assert_non_null(strstr(rig.report.reason, "vmnet's interface is gone: failure (1001)"));
}

static void a_frame_that_vmnet_refuses_costs_the_others_nothing(void **state)
{
    (void)state;
    start(&(struct fake_script){.refusal = VMNET_FAILURE});
    wait_for_state(UPLINK_UP, "");
    give_data();
    for (uint8_t i = 0; i < 30; i++)
        send_frame(i, i % 3 == 1 ? 0xBAD0 : 0x88B5);
    for (uint8_t i = 0; i < 30; i++)
        if (i % 3 != 1)
            assert_true(comes_back(i));
    assert_int_equal(rig.report.state, UPLINK_UP);
    end_as_a_monitor_does();
}

static void ask_for_counters(uint32_t id)
{
    assert_int_equal(channel_send(rig.control, MSG_UPLINK_ASK, id, NULL, 0, -1), 0);
    for (int64_t end = now_ms() + PATIENCE_MS; now_ms() < end && rig.answer_id != id;)
        hear(20);
    assert_int_equal(rig.answer_id, id);
    uint64_t dropped = 0;
    for (int i = 0; i < UPLINK_N_DROPS; i++)
        dropped += rig.counters.drops[i];
    assert_int_equal(rig.counters.from_network + rig.counters.from_host,
                     rig.counters.to_host + rig.counters.to_network + rig.counters.joined +
                         rig.counters.waiting + dropped);
}

static void every_frame_is_in_the_books_that_control_can_ask_for(void **state)
{
    const uint8_t runt[4 + 3] = {0, 0, 0, 3};
    (void)state;
    start(&(struct fake_script){.refusal = VMNET_FAILURE});
    wait_for_state(UPLINK_UP, "");
    give_data();
    assert_int_equal(send(rig.data, runt, sizeof(runt), MSG_NOSIGNAL), sizeof(runt));
    for (uint8_t i = 0; i < 30; i++)
        send_frame(i, i % 3 == 1 ? 0xBAD0 : 0x88B5);
    for (uint8_t i = 0; i < 30; i++)
        if (i % 3 != 1)
            assert_true(comes_back(i));
    ask_for_counters(7);
    assert_int_equal(rig.counters.from_network, 31);
    assert_int_equal(rig.counters.to_host, 20);
    assert_int_equal(rig.counters.from_host, 20);
    assert_int_equal(rig.counters.to_network, 20);
    assert_int_equal(rig.counters.drops[UPLINK_DROP_runt], 1);
    assert_int_equal(rig.counters.drops[UPLINK_DROP_refused], 10);
    end_as_a_monitor_does();
}

static void a_vmnet_without_room_for_a_moment_loses_nothing(void **state)
{
    (void)state;
    start(&(struct fake_script){.n_full = 2});
    wait_for_state(UPLINK_UP, "");
    give_data();
    for (uint8_t i = 0; i < 30; i++)
        send_frame(i, 0x88B5);
    for (uint8_t i = 0; i < 30; i++)
        assert_true(comes_back(i));
    end_as_a_monitor_does();
}

static void it_ends_in_time_even_if_vmnet_never_stops(void **state)
{
    (void)state;
    start(&(struct fake_script){.stop = FAKE_STOP_NEVER});
    wait_for_state(UPLINK_UP, "");
    int64_t begun = now_ms();
    end_as_a_monitor_does();
    assert_in_range(now_ms() - begun, 300, 900);
}

static void it_ends_in_time_even_if_vmnet_never_starts(void **state)
{
    (void)state;
    start(&(struct fake_script){.start = FAKE_START_HANGS});
    wait_for_state(UPLINK_STARTING, "");
    int64_t begun = now_ms();
    end_as_a_monitor_does();
    assert_in_range(now_ms() - begun, 0, 900);
}

static void a_new_control_and_a_new_network_find_it_as_it_is(void **state)
{
    (void)state;
    start(NULL);
    wait_for_state(UPLINK_UP, "");
    give_data();
    send_frame(1, 0x88B5);
    assert_true(comes_back(1));
    rig.n_ready = rig.n_reports = 0;
    give_control();
    wait_for_state(UPLINK_UP, "");
    assert_int_equal(rig.n_ready, 1);
    send_frame(2, 0x88B5);
    assert_true(comes_back(2));
    close(rig.data);
    give_data();
    send_frame(3, 0x88B5);
    assert_true(comes_back(3));
    end_as_a_monitor_does();
}

static void a_spec_that_is_none_is_not_followed(void **state)
{
    (void)state;
    rig.spec.mode = (enum network_mode)77;
    start(NULL);
    for (int64_t end = now_ms() + PATIENCE_MS; now_ms() < end && !rig.control_is_lost;)
        hear(50);
    assert_true(rig.control_is_lost);
    assert_int_equal(rig.n_ready, 0);
    end_as_a_monitor_does();
}

static void no_frame_is_taken_before_the_interface_is_up(void **state)
{
    (void)state;
    start(&(struct fake_script){.start = FAKE_START_HANGS});
    wait_for_state(UPLINK_STARTING, "");
    give_data(); /* which control never does */
    for (int64_t end = now_ms() + PATIENCE_MS; now_ms() < end && !rig.control_is_lost;)
        hear(50);
    assert_true(rig.control_is_lost);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(frames_pass_both_ways_once_it_is_ready),
        TEST(the_network_is_told_how_frames_lie),
        TEST(a_frame_of_64_kib_passes_both_ways_with_its_header),
        TEST(a_forward_that_fails_is_degraded_and_frames_pass_on),
        TEST(a_vmnet_without_offload_is_started_without),
        TEST(a_start_that_fails_otherwise_asks_for_offload_again),
        TEST(failures_at_boot_are_tried_again_while_it_says_starting),
        TEST(a_refusal_for_good_is_said_and_the_process_stays),
        TEST(a_start_without_an_answer_is_for_a_new_process),
        TEST(a_lost_interface_is_said_and_is_for_a_new_process),
        TEST(a_frame_that_vmnet_refuses_costs_the_others_nothing),
        TEST(every_frame_is_in_the_books_that_control_can_ask_for),
        TEST(a_vmnet_without_room_for_a_moment_loses_nothing),
        TEST(it_ends_in_time_even_if_vmnet_never_stops),
        TEST(it_ends_in_time_even_if_vmnet_never_starts),
        TEST(a_new_control_and_a_new_network_find_it_as_it_is),
        TEST(a_spec_that_is_none_is_not_followed),
        TEST(no_frame_is_taken_before_the_interface_is_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
