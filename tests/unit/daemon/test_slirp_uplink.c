/* tests/unit/daemon/test_slirp_uplink.c - a real uplink process, a guest on its data socket, us as monitor
 * and control
 *
 * Guests here talk to the gateway, to 127.0.0.1 of the host and to each other's addresses only: no test makes
 * libslirp send anything to another host.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
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
#include "io/log.h"
#include "tests/unit/daemon/mini_guest.h"

enum { PATIENCE_MS = 5000, SILENCE_MS = 300 };

static const uint32_t gateway = 0xC0A86901; /* 192.168.105.1 */
static const uint32_t loopback = 0x7F000001;
static const uint64_t gateway_mac = UINT64_C(0x5255C0A86901);

struct rig {
    pid_t pid;
    struct channel *monitor, *control;
    int data; /* blocking; -1: none */
    struct network_spec spec;
    struct uplink_facts facts;
    unsigned n_ready, n_reports;
    struct uplink_report report; /* the last one */
    bool control_is_lost;
};

static int64_t now_ms(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* ---- the uplink's monitor and control ---- */

static int on_message(void *ctx, struct message *message)
{
    struct rig *rig = ctx;
    if (message->type == MSG_UPLINK_READY) {
        memcpy(&rig->facts, message->payload, sizeof(rig->facts));
        rig->n_ready++;
    } else if (message->type == MSG_UPLINK_REPORT) {
        memcpy(&rig->report, message->payload, sizeof(rig->report));
        rig->n_reports++;
    } else {
        return -1;
    }
    return 0;
}

static void hear_control(struct rig *rig, int timeout_ms)
{
    struct pollfd fd = {.fd = channel_fd(rig->control), .events = POLLIN};
    if (poll(&fd, 1, timeout_ms) == 1 && channel_receive(rig->control, on_message, rig) < 0)
        rig->control_is_lost = true;
}

static void wait_for_state(struct rig *rig, enum uplink_state state, const char *reason)
{
    int64_t end = now_ms() + PATIENCE_MS;
    while (now_ms() < end && !rig->control_is_lost) {
        if (rig->n_reports > 0 && rig->report.state == state && strstr(rig->report.reason, reason))
            return;
        hear_control(rig, 50);
    }
    fail_msg("wanted state %s with \"%s\"; it is %s, \"%s\" after %u reports", uplink_state_name(state),
             reason, uplink_state_name(rig->report.state), rig->report.reason, rig->n_reports);
}

static void give_control(struct rig *rig)
{
    int fds[2];
    assert_int_equal(channel_pair(fds), 0);
    channel_destroy(rig->control);
    rig->control = channel_create(fds[0]);
    rig->n_ready = rig->n_reports = 0;
    assert_int_equal(channel_send(rig->monitor, MSG_CONTROL, 0, NULL, 0, fds[1]), 0);
}

static void configure(struct rig *rig)
{
    assert_int_equal(channel_send(rig->control, MSG_CONFIGURE, 0, &rig->spec, sizeof(rig->spec), -1), 0);
}

static void give_data(struct rig *rig)
{
    int fds[2];
    assert_int_equal(channel_pair(fds), 0);
    if (rig->data >= 0)
        close(rig->data);
    rig->data = fds[0];
    assert_int_equal(channel_send(rig->control, MSG_UPLINK_DATA, 0, NULL, 0, fds[1]), 0);
}

static void spec_init(struct network_spec *spec)
{
    memset(spec, 0, sizeof(*spec));
    snprintf(spec->name, sizeof(spec->name), "test");
    spec->mode = MODE_SHARED;
    spec->uplink = WANT_USER;
    spec->ipv4.gateway = gateway;
    spec->ipv4.netmask = 0xFFFFFF00;
    spec->ipv4.dhcp_end = gateway + 253;
    spec->ipv4.dhcp = true;
    spec->mtu = 1500;
}

static void run_uplink(int fd)
{
    signal(SIGALRM, SIG_DFL);
    alarm(60); /* none outlives a test that died */
    _exit(uplink_main(fd));
}

/* The process, with a monitor but nothing else. */
static void start_process(struct rig *rig)
{
    *rig = (struct rig){.data = -1};
    spec_init(&rig->spec);
    int fds[2];
    assert_int_equal(channel_pair(fds), 0);
    rig->pid = fork();
    assert_true(rig->pid >= 0);
    if (rig->pid == 0) {
        close(fds[0]);
        run_uplink(fds[1]);
    }
    close(fds[1]);
    rig->monitor = channel_create(fds[0]);
}

static void say_hello(struct rig *rig)
{
    static struct hello hello = {
        .protocol = MESSAGE_PROTOCOL, .role = ROLE_UPLINK, .name = "test", .log_level = LOG_ERROR};
    assert_int_equal(channel_send(rig->monitor, MSG_HELLO, 0, &hello, sizeof(hello), -1), 0);
}

static void start_with_control(struct rig *rig)
{
    start_process(rig);
    say_hello(rig);
    give_control(rig);
}

/* With 'spec' as it stands after start_with_control(). */
static void bring_up(struct rig *rig)
{
    configure(rig);
    give_data(rig);
    wait_for_state(rig, UPLINK_UP, "");
    assert_int_equal(rig->n_ready, 1);
}

static void start(struct rig *rig)
{
    start_with_control(rig);
    bring_up(rig);
}

/* Returns the exit code, or -signal, or fails if it does not end in time. */
static int wait_for_exit(struct rig *rig)
{
    int status = 0;
    for (int64_t end = now_ms() + 1000; now_ms() < end; usleep(2000))
        if (waitpid(rig->pid, &status, WNOHANG) == rig->pid) {
            rig->pid = 0;
            return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
        }
    fail_msg("the uplink still runs");
    return 0;
}

static void stop(struct rig *rig)
{
    channel_destroy(rig->monitor);
    assert_int_equal(wait_for_exit(rig), EXIT_OK);
    channel_destroy(rig->control);
    if (rig->data >= 0)
        close(rig->data);
}

/* ---- the guest's side of the data socket ---- */

static void send_bytes(struct rig *rig, const void *bytes, size_t len)
{
    assert_int_equal(send(rig->data, bytes, len, MSG_NOSIGNAL), (ssize_t)len);
}

static void send_raw(struct rig *rig, const uint8_t *frame, size_t len)
{
    uint8_t record[4 + GUEST_FRAME_MAX];
    record[0] = record[1] = 0;
    record[2] = (uint8_t)(len >> 8);
    record[3] = (uint8_t)len;
    memcpy(record + 4, frame, len);
    send_bytes(rig, record, 4 + len);
}

static void send_frame(struct rig *rig, const struct built *frame)
{
    send_raw(rig, frame->bytes, frame->len);
}

/* Returns false at the end of 'timeout_ms'. */
static bool receive_exactly(struct rig *rig, uint8_t *bytes, size_t len, int64_t end)
{
    while (len > 0) {
        struct pollfd fd = {.fd = rig->data, .events = POLLIN};
        int64_t left = end - now_ms();
        if (left < 0 || poll(&fd, 1, (int)left) != 1)
            return false;
        ssize_t n = recv(rig->data, bytes, len, MSG_DONTWAIT);
        if (n <= 0)
            return false;
        bytes += n;
        len -= (size_t)n;
    }
    return true;
}

typedef bool frame_test(const struct seen *seen, const void *wanted);

/* Reads frames until one passes 'test'. */
static bool receive_until(struct rig *rig, frame_test *test, const void *wanted, struct seen *ret,
                          int timeout_ms)
{
    static uint8_t frame[GUEST_FRAME_MAX];
    uint8_t prefix[4];
    int64_t end = now_ms() + timeout_ms;
    while (receive_exactly(rig, prefix, sizeof(prefix), end)) {
        size_t len = (size_t)prefix[2] << 8 | prefix[3];
        assert_int_equal(prefix[0] | prefix[1], 0);
        assert_in_range(len, 14, 1514);
        assert_true(receive_exactly(rig, frame, len, end + 1000));
        assert_true(guest_look(frame, len, ret));
        if (test(ret, wanted))
            return true;
    }
    return false;
}

static bool is_dhcp(const struct seen *seen, const void *wanted)
{
    const struct mini_guest *guest = wanted;
    return seen->dhcp_type != 0 && seen->dhcp_client == guest->mac;
}

static bool is_arp_reply(const struct seen *seen, const void *wanted)
{
    const uint32_t *ip = wanted;
    return seen->arp_op == 2 && seen->ip_from == *ip;
}

static bool is_ping_reply(const struct seen *seen, const void *wanted)
{
    const struct mini_guest *guest = wanted;
    return seen->protocol == 1 && seen->icmp_type == 0 && seen->ip_to == guest->ip;
}

static bool is_any(const struct seen *seen, const void *wanted)
{
    (void)seen;
    (void)wanted;
    return true;
}

static struct mini_guest guest_numbered(unsigned n)
{
    return (struct mini_guest){.mac = UINT64_C(0x525400000000) + n};
}

/* DISCOVER to ACK; returns false if nobody offers. */
static bool get_address(struct rig *rig, struct mini_guest *guest, int timeout_ms)
{
    struct built frame;
    struct seen seen;
    guest_dhcp(guest, DHCP_DISCOVER, 0, &frame);
    send_frame(rig, &frame);
    if (!receive_until(rig, is_dhcp, guest, &seen, timeout_ms))
        return false;
    assert_int_equal(seen.dhcp_type, DHCP_OFFER);
    uint32_t offered = seen.dhcp_ip;
    guest_dhcp(guest, DHCP_REQUEST, offered, &frame);
    send_frame(rig, &frame);
    assert_true(receive_until(rig, is_dhcp, guest, &seen, PATIENCE_MS));
    assert_int_equal(seen.dhcp_type, DHCP_ACK);
    assert_int_equal(seen.dhcp_ip, offered);
    guest->ip = offered;
    return true;
}

static void assert_gateway_answers(struct rig *rig, const struct mini_guest *guest)
{
    struct built frame;
    struct seen seen;
    guest_ping(guest, gateway, &frame);
    send_frame(rig, &frame);
    assert_true(receive_until(rig, is_ping_reply, guest, &seen, PATIENCE_MS));
    assert_int_equal(seen.ip_from, gateway);
    assert_int_equal(seen.mac_from, gateway_mac);
}

/* ---- tests ---- */

static void guest_gets_an_address_in_the_subnet(void **state)
{
    (void)state;
    struct rig rig;
    start(&rig);
    assert_int_equal(rig.facts.mac, gateway_mac);
    assert_int_equal(rig.facts.mtu, 1500);

    struct mini_guest guest = guest_numbered(1);
    struct built frame;
    struct seen seen;
    guest_dhcp(&guest, DHCP_DISCOVER, 0, &frame);
    send_frame(&rig, &frame);
    assert_true(receive_until(&rig, is_dhcp, &guest, &seen, PATIENCE_MS));
    assert_int_equal(seen.dhcp_ip, gateway + 2);
    assert_int_equal(seen.dhcp_mask, 0xFFFFFF00);
    assert_int_equal(seen.dhcp_router, gateway);
    assert_int_equal(seen.dhcp_dns, gateway + 1);
    assert_true(get_address(&rig, &guest, PATIENCE_MS));
    assert_int_equal(guest.ip, gateway + 2);
    stop(&rig);
}

static void gateway_and_name_server_answer_arp(void **state)
{
    (void)state;
    struct rig rig;
    start(&rig);
    struct mini_guest guest = {.mac = 0x525400000001, .ip = gateway + 2};
    struct built frame;
    struct seen seen;
    uint32_t wanted = gateway;
    guest_arp_request(&guest, wanted, &frame);
    send_frame(&rig, &frame);
    assert_true(receive_until(&rig, is_arp_reply, &wanted, &seen, PATIENCE_MS));
    assert_int_equal(seen.arp_mac_from, gateway_mac);
    assert_int_equal(seen.mac_to, guest.mac);
    wanted = gateway + 1;
    guest_arp_request(&guest, wanted, &frame);
    send_frame(&rig, &frame);
    assert_true(receive_until(&rig, is_arp_reply, &wanted, &seen, PATIENCE_MS));
    stop(&rig);
}

static void gateway_answers_ping(void **state)
{
    (void)state;
    struct rig rig;
    start(&rig);
    struct mini_guest guest = guest_numbered(1);
    assert_true(get_address(&rig, &guest, PATIENCE_MS));
    assert_gateway_answers(&rig, &guest);
    stop(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(guest_gets_an_address_in_the_subnet),
        cmocka_unit_test(gateway_and_name_server_answer_arp),
        cmocka_unit_test(gateway_answers_ping),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
