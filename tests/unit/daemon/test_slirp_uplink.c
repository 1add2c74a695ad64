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
    static const int signals[] = {SIGALRM, SIGSEGV, SIGBUS, SIGFPE,
                                  SIGILL}; /* cmocka's handlers would go on testing */
    for (unsigned i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
        signal(signals[i], SIG_DFL);
    for (int other = STDERR_FILENO + 1; other < 64; other++)
        if (other != fd)
            close(other);
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
    assert_int_equal(send(rig->data, bytes, len, 0), (ssize_t)len);
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

/* ---- forwards ---- */

/* A port of 127.0.0.1 that was free a moment ago; 'keep' leaves the socket open in *keep. */
static uint16_t find_port(int type, int *keep)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(loopback)};
    socklen_t len = sizeof(address);
    int fd = socket(AF_INET, type, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &len), 0);
    if (keep)
        *keep = fd;
    else
        close(fd);
    return ntohs(address.sin_port);
}

static struct network_forward *add_forward(struct network_spec *spec, bool is_udp, uint16_t host_port)
{
    struct network_forward *forward = &spec->forwards[spec->n_forwards++];
    *forward = (struct network_forward){.is_udp = is_udp,
                                        .host_ip = loopback,
                                        .host_port = host_port,
                                        .guest_ip = gateway + 2,
                                        .guest_port = 80};
    return forward;
}

static int connect_host(int type, uint16_t port)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(loopback)};
    int fd = socket(AF_INET, type, 0);
    int r = connect(fd, (struct sockaddr *)&address, sizeof(address));
    if (r == 0)
        return fd;
    close(fd);
    return -errno;
}

static bool is_syn(const struct seen *seen, const void *wanted)
{
    const struct mini_guest *guest = wanted;
    return seen->tcp_flags == TCP_SYN && seen->ip_to == guest->ip && seen->port_to == 80;
}

static bool is_udp_to_80(const struct seen *seen, const void *wanted)
{
    const struct mini_guest *guest = wanted;
    return seen->protocol == 17 && seen->ip_to == guest->ip && seen->port_to == 80;
}

static void assert_forward_reaches(struct rig *rig, const struct mini_guest *guest, uint16_t port)
{
    struct seen seen;
    int fd = connect_host(SOCK_STREAM, port);
    assert_true(fd >= 0);
    assert_true(receive_until(rig, is_syn, guest, &seen, PATIENCE_MS));
    assert_int_equal(seen.mac_to, guest->mac);
    close(fd);
}

static void forwarded_ports_reach_the_guest(void **state)
{
    (void)state;
    struct rig rig;
    uint16_t tcp = find_port(SOCK_STREAM, NULL), udp = find_port(SOCK_DGRAM, NULL);
    start_with_control(&rig);
    add_forward(&rig.spec, false, tcp);
    add_forward(&rig.spec, true, udp);
    bring_up(&rig);
    struct mini_guest guest = guest_numbered(1);
    assert_true(get_address(&rig, &guest, PATIENCE_MS));
    assert_forward_reaches(&rig, &guest, tcp);

    struct seen seen;
    int fd = connect_host(SOCK_DGRAM, udp);
    assert_int_equal(send(fd, "hello", 5, 0), 5);
    assert_true(receive_until(&rig, is_udp_to_80, &guest, &seen, PATIENCE_MS));
    assert_int_equal(seen.payload_len, 5);
    assert_memory_equal(seen.payload, "hello", 5);
    close(fd);
    stop(&rig);
}

static void forwards_change_while_running(void **state)
{
    (void)state;
    struct rig rig;
    uint16_t first = find_port(SOCK_STREAM, NULL), second = find_port(SOCK_STREAM, NULL);
    start_with_control(&rig);
    add_forward(&rig.spec, false, first);
    bring_up(&rig);
    struct mini_guest guest = guest_numbered(1);
    assert_true(get_address(&rig, &guest, PATIENCE_MS));
    assert_int_equal(connect_host(SOCK_STREAM, second), -ECONNREFUSED);

    add_forward(&rig.spec, false, second);
    rig.n_reports = 0;
    configure(&rig);
    wait_for_state(&rig, UPLINK_UP, "");
    assert_forward_reaches(&rig, &guest, first);
    assert_forward_reaches(&rig, &guest, second);

    rig.spec.forwards[0] = rig.spec.forwards[1];
    rig.spec.n_forwards = 1;
    rig.n_reports = 0;
    configure(&rig);
    wait_for_state(&rig, UPLINK_UP, "");
    assert_int_equal(connect_host(SOCK_STREAM, first), -ECONNREFUSED);
    assert_forward_reaches(&rig, &guest, second);

    rig.spec.forwards[0].guest_port = 81; /* the same host port, elsewhere: it must be given up first */
    rig.n_reports = 0;
    configure(&rig);
    wait_for_state(&rig, UPLINK_UP, "");
    stop(&rig);
}

static void forward_in_use_degrades_until_it_is_free(void **state)
{
    (void)state;
    struct rig rig;
    char reason[UPLINK_REASON_SIZE];
    int holders[2];
    uint16_t tcp = find_port(SOCK_STREAM, &holders[0]), udp = find_port(SOCK_DGRAM, &holders[1]);
    assert_int_equal(listen(holders[0], 1), 0);
    start_with_control(&rig);
    add_forward(&rig.spec, false, tcp);
    configure(&rig);
    give_data(&rig);
    snprintf(reason, sizeof(reason), "forward tcp 127.0.0.1:%u: address already in use", (unsigned)tcp);
    wait_for_state(&rig, UPLINK_DEGRADED, reason);
    struct mini_guest guest = guest_numbered(1);
    assert_true(get_address(&rig, &guest, PATIENCE_MS)); /* the rest works */

    add_forward(&rig.spec, true, udp);
    configure(&rig);
    wait_for_state(&rig, UPLINK_DEGRADED, "1 more");
    close(holders[0]);
    snprintf(reason, sizeof(reason), "forward udp 127.0.0.1:%u: address already in use", (unsigned)udp);
    wait_for_state(&rig, UPLINK_DEGRADED, reason);
    close(holders[1]);
    wait_for_state(&rig, UPLINK_UP, "");
    assert_forward_reaches(&rig, &guest, tcp);
    stop(&rig);
}

/* ---- DHCP ---- */

static void seventeenth_client_gets_nothing_and_it_shows(void **state)
{
    (void)state;
    struct rig rig;
    start(&rig);
    for (unsigned i = 0; i < 16; i++) {
        struct mini_guest guest = guest_numbered(i);
        assert_true(get_address(&rig, &guest, PATIENCE_MS));
        assert_int_equal(guest.ip, gateway + 2 + i);
    }
    wait_for_state(&rig, UPLINK_UP, "");
    struct mini_guest late = guest_numbered(0x17), first = guest_numbered(0);
    assert_false(get_address(&rig, &late, SILENCE_MS));
    wait_for_state(&rig, UPLINK_DEGRADED,
                   "DHCP lease table full (16 leases): none left for 52:54:00:00:00:17");
    assert_true(get_address(&rig, &first, PATIENCE_MS)); /* a holder is still served */
    stop(&rig);
}

static void leases_stay_inside_dhcp_end(void **state)
{
    (void)state;
    struct rig rig;
    start_with_control(&rig);
    rig.spec.ipv4.dhcp_end = gateway + 3;
    bring_up(&rig);
    for (unsigned i = 0; i < 2; i++) {
        struct mini_guest guest = guest_numbered(i);
        assert_true(get_address(&rig, &guest, PATIENCE_MS));
        assert_true(guest.ip <= rig.spec.ipv4.dhcp_end);
    }
    struct mini_guest third = guest_numbered(3);
    assert_false(get_address(&rig, &third, SILENCE_MS));
    wait_for_state(&rig, UPLINK_DEGRADED, "DHCP lease table full (2 leases)");
    stop(&rig);
}

/* anylinuxfs: /30 networks, one guest each. */
static void subnet_with_one_address_gives_it(void **state)
{
    (void)state;
    struct rig rig;
    struct mini_guest guest = guest_numbered(1);
    start_with_control(&rig);
    rig.spec.ipv4.netmask = 0xFFFFFFFC;
    rig.spec.ipv4.dhcp_end = gateway + 1;
    bring_up(&rig);
    assert_true(get_address(&rig, &guest, PATIENCE_MS));
    assert_int_equal(guest.ip, gateway + 1);
    assert_gateway_answers(&rig, &guest);
    stop(&rig);
}

static void address_behind_dhcp_end_is_not_offered_even_on_request(void **state)
{
    (void)state;
    struct rig rig;
    start_with_control(&rig);
    rig.spec.ipv4.dhcp_end = gateway + 3;
    bring_up(&rig);
    struct mini_guest guest = guest_numbered(1);
    struct built frame;
    struct seen seen;
    guest_dhcp(&guest, DHCP_DISCOVER, gateway + 9, &frame);
    send_frame(&rig, &frame);
    assert_false(receive_until(&rig, is_dhcp, &guest, &seen, SILENCE_MS));
    stop(&rig);
}

static void dhcp_off_is_off(void **state)
{
    (void)state;
    struct rig rig;
    start_with_control(&rig);
    rig.spec.ipv4.dhcp = false;
    bring_up(&rig);
    struct mini_guest guest = guest_numbered(1);
    assert_false(get_address(&rig, &guest, SILENCE_MS));
    guest.ip = gateway + 7;
    struct built frame;
    struct seen seen;
    uint32_t wanted = gateway;
    guest_arp_request(&guest, wanted, &frame);
    send_frame(&rig, &frame);
    assert_true(receive_until(&rig, is_arp_reply, &wanted, &seen, PATIENCE_MS));
    assert_gateway_answers(&rig, &guest);
    hear_control(&rig, SILENCE_MS);
    assert_int_equal(rig.report.state, UPLINK_UP); /* not "full" */
    stop(&rig);
}

/* ---- the host's loopback ---- */

static bool is_tcp_answer(const struct seen *seen, const void *wanted)
{
    const struct mini_guest *guest = wanted;
    return seen->protocol == 6 && seen->ip_to == guest->ip && seen->port_to == 4000;
}

/* What comes back for a connection to 'to':'port': TCP flags, or 0 for silence. */
static unsigned knock(struct rig *rig, const struct mini_guest *guest, uint32_t to, uint16_t port)
{
    struct built frame;
    struct seen seen;
    guest_tcp_syn(guest, to, 4000, port, &frame);
    send_frame(rig, &frame);
    return receive_until(rig, is_tcp_answer, guest, &seen, SILENCE_MS) ? seen.tcp_flags : 0;
}

static void assert_nobody_knocked(int listener)
{
    struct pollfd fd = {.fd = listener, .events = POLLIN};
    assert_int_equal(poll(&fd, 1, 50), 0);
}

static void guest_cannot_reach_the_hosts_loopback(void **state)
{
    (void)state;
    struct rig rig;
    int listener;
    uint16_t port = find_port(SOCK_STREAM, &listener);
    assert_int_equal(listen(listener, 8), 0);
    start(&rig);
    struct mini_guest guest = guest_numbered(1);
    assert_true(get_address(&rig, &guest, PATIENCE_MS));
    const uint32_t ways[] = {gateway, loopback, 0x7F000002, 0, 0xFFFFFFFF};
    for (unsigned i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
        assert_int_equal(knock(&rig, &guest, ways[i], port) & TCP_SYN, 0);
        assert_nobody_knocked(listener);
    }
    assert_gateway_answers(&rig, &guest);
    close(listener);
    stop(&rig);
}

static void guest_reaches_the_hosts_loopback_by_the_gateway_if_allowed(void **state)
{
    (void)state;
    struct rig rig;
    int listener;
    uint16_t port = find_port(SOCK_STREAM, &listener);
    assert_int_equal(listen(listener, 8), 0);
    start_with_control(&rig);
    rig.spec.host_loopback = true;
    bring_up(&rig);
    struct mini_guest guest = guest_numbered(1);
    assert_true(get_address(&rig, &guest, PATIENCE_MS));
    assert_int_equal(knock(&rig, &guest, gateway, port), TCP_SYN | TCP_ACK);
    close(listener);
    stop(&rig);
}

static void many_flows_leave_room_for_the_channels(void **state) /* H08 */
{
    (void)state;
    enum { FLOWS = 3000 };
    struct rig rig;
    int sink;
    uint16_t port = find_port(SOCK_DGRAM, &sink);
    start_with_control(&rig);
    rig.spec.host_loopback = true;
    bring_up(&rig);
    struct mini_guest guest = guest_numbered(1);
    assert_true(get_address(&rig, &guest, PATIENCE_MS));
    struct built frame;
    for (unsigned i = 0; i < FLOWS; i++) {
        guest_udp(&guest, gateway, 10000 + i, port, "x", 1, &frame);
        send_frame(&rig, &frame);
    }
    assert_gateway_answers(&rig, &guest);
    struct channel *old_control = rig.control; /* its descriptor stays taken over there */
    rig.control = NULL;
    give_control(&rig);
    wait_for_state(&rig, UPLINK_UP, "");
    channel_destroy(old_control);
    give_data(&rig);
    assert_gateway_answers(&rig, &guest);
    close(sink);
    stop(&rig);
}

/* ---- the ends of the sockets ---- */

static void network_may_go_and_come_back(void **state)
{
    (void)state;
    struct rig rig;
    start(&rig);
    struct mini_guest guest = guest_numbered(1);
    assert_true(get_address(&rig, &guest, PATIENCE_MS));
    close(rig.data);
    rig.data = -1;
    wait_for_state(&rig, UPLINK_DEGRADED, "the link to the network ended");
    give_data(&rig);
    wait_for_state(&rig, UPLINK_UP, "");
    assert_gateway_answers(&rig, &guest);
    give_data(&rig); /* in place of one that works */
    assert_gateway_answers(&rig, &guest);
    stop(&rig);
}

static void new_control_hears_all_while_traffic_goes_on(void **state)
{
    (void)state;
    struct rig rig;
    start(&rig);
    struct mini_guest guest = guest_numbered(1);
    assert_true(get_address(&rig, &guest, PATIENCE_MS));
    channel_destroy(rig.control);
    rig.control = NULL;
    for (int i = 0; i < 20; i++)
        assert_gateway_answers(&rig, &guest);
    give_control(&rig);
    wait_for_state(&rig, UPLINK_UP, "");
    assert_int_equal(rig.n_ready, 1);
    give_control(&rig); /* while the old one lives */
    wait_for_state(&rig, UPLINK_UP, "");
    assert_gateway_answers(&rig, &guest);
    stop(&rig);
}

static void message_that_is_not_for_an_uplink_ends_only_that_control(void **state)
{
    (void)state;
    struct rig rig;
    start(&rig);
    struct mini_guest guest = guest_numbered(1);
    assert_int_equal(channel_send(rig.control, MSG_FLUSH_FDB, 0, NULL, 0, -1), 0);
    for (int64_t end = now_ms() + PATIENCE_MS; now_ms() < end && !rig.control_is_lost;)
        hear_control(&rig, 50);
    assert_true(rig.control_is_lost);
    assert_true(get_address(&rig, &guest, PATIENCE_MS));
    rig.control_is_lost = false;
    give_control(&rig);
    wait_for_state(&rig, UPLINK_UP, "");
    stop(&rig);
}

static void ends_with_its_monitor(void **state)
{
    (void)state;
    struct rig rig;
    start_process(&rig);
    channel_destroy(rig.monitor);
    assert_int_equal(wait_for_exit(&rig), EXIT_OK);
    start(&rig);
    stop(&rig);
}

static void another_protocol_is_refused(void **state)
{
    (void)state;
    struct rig rig;
    struct hello hello = {.protocol = MESSAGE_PROTOCOL + 1, .role = ROLE_UPLINK};
    start_process(&rig);
    assert_int_equal(channel_send(rig.monitor, MSG_HELLO, 0, &hello, sizeof(hello), -1), 0);
    assert_int_equal(wait_for_exit(&rig), EXIT_FAILED);
    channel_destroy(rig.monitor);
}

static void impossible_subnet_fails_with_its_rule(void **state)
{
    (void)state;
    struct rig rig;
    start_with_control(&rig);
    rig.spec.ipv4.dhcp_end = gateway + 1;
    configure(&rig);
    wait_for_state(&rig, UPLINK_FAILED, "no address left for DHCP");
    assert_int_equal(rig.n_ready, 0);
    rig.spec.ipv4.dhcp_end = gateway + 100;
    bring_up(&rig);
    stop(&rig);
}

/* ---- hostile frames ---- */

static void frames_of_every_short_length_do_no_harm(void **state)
{
    (void)state;
    struct rig rig;
    start_with_control(&rig);
    rig.spec.ipv6.has_prefix = true;
    memcpy(rig.spec.ipv6.prefix, "\xfd\x00\x12\x34", 4);
    bring_up(&rig);
    struct mini_guest guest = guest_numbered(1);
    assert_true(get_address(&rig, &guest, PATIENCE_MS));
    static const uint16_t types[] = {0x0800, 0x0806, 0x86DD, 0x88F8, 0x8100};
    for (unsigned t = 0; t < sizeof(types) / sizeof(types[0]); t++) {
        for (size_t len = 0; len <= 100; len++) {
            uint8_t frame[100] = {0};
            frame[12] = (uint8_t)(types[t] >> 8);
            frame[13] = (uint8_t)types[t];
            frame[14] = types[t] == 0x86DD ? 0x60 : 0x45;
            send_raw(&rig, frame, len);
            memset(frame + 15, 0xFF, sizeof(frame) - 15);
            send_raw(&rig, frame, len);
        }
    }
    assert_gateway_answers(&rig, &guest);
    stop(&rig);
}

static uint32_t seed = 4711;

static unsigned below(unsigned n)
{
    return guest_random(&seed) % n;
}

/* Packets that pass the first checks and are nonsense behind them, to the gateway only. */
static void make_nonsense(struct built *frame)
{
    static const uint8_t protocols[] = {1, 6, 17, 17, 2, 47};
    frame->len = 14 + 20 + below(200);
    for (size_t i = 14; i < frame->len; i++)
        frame->bytes[i] = (uint8_t)guest_random(&seed);
    uint8_t *ip = frame->bytes + 14;
    uint32_t to = htonl(gateway), from = htonl(gateway + 2);
    ip[0] = (uint8_t)(0x45 + (below(4) == 0 ? below(3) : 0));
    ip[2] = (uint8_t)((frame->len - 14) >> 8);
    ip[3] = (uint8_t)(frame->len - 14);
    ip[4] = 0; /* few identifications, so that fragments meet */
    ip[5] = (uint8_t)below(8);
    if (below(2))
        ip[6] = ip[7] = 0;
    ip[8] = 64;
    ip[9] = protocols[below(sizeof(protocols))];
    memcpy(ip + 12, &from, 4);
    memcpy(ip + 16, &to, 4);
    if (ip[9] == 17 && below(2)) { /* no checksum; a service of libslirp's */
        size_t udp = (size_t)(ip[0] & 0xF) * 4;
        ip[udp + 2] = 0;
        ip[udp + 3] = 67;
        ip[udp + 6] = ip[udp + 7] = 0;
    }
    guest_ipv4_checksum(frame->bytes);
}

static void nonsense_with_good_headers_does_no_harm(void **state) /* H05 */
{
    (void)state;
    struct rig rig;
    start(&rig);
    struct mini_guest guest = guest_numbered(1);
    assert_true(get_address(&rig, &guest, PATIENCE_MS));
    struct built frame = {0};
    memset(frame.bytes, 0xFF, 6);
    frame.bytes[12] = 8;
    for (unsigned i = 0; i < 20000; i++) {
        uint8_t away[4096];
        make_nonsense(&frame);
        send_frame(&rig, &frame);
        while (recv(rig.data, away, sizeof(away), MSG_DONTWAIT) == (ssize_t)sizeof(away))
            ;
    }
    give_data(&rig); /* the old one may stand inside a record */
    assert_gateway_answers(&rig, &guest);
    stop(&rig);
}

/* Cuts the IPv4 packet of 'whole' behind 'cut' bytes of payload (a multiple of 8) and sends the second part
 * first. */
static void send_in_two(struct rig *rig, const struct built *whole, size_t cut)
{
    enum { HEADERS = 14 + 20 };
    struct built first = *whole, second = *whole;
    first.len = HEADERS + cut;
    first.bytes[16] = (uint8_t)((20 + cut) >> 8);
    first.bytes[17] = (uint8_t)(20 + cut);
    first.bytes[20] = 0x20;
    guest_ipv4_checksum(first.bytes);
    second.len = whole->len - cut;
    memmove(second.bytes + HEADERS, whole->bytes + HEADERS + cut, second.len - HEADERS);
    second.bytes[16] = (uint8_t)((second.len - 14) >> 8);
    second.bytes[17] = (uint8_t)(second.len - 14);
    second.bytes[20] = (uint8_t)(cut / 8 >> 8);
    second.bytes[21] = (uint8_t)(cut / 8);
    guest_ipv4_checksum(second.bytes);
    send_frame(rig, &second);
    send_frame(rig, &first);
}

static void datagram_in_fragments_is_answered(void **state)
{
    (void)state;
    struct rig rig;
    struct seen seen;
    struct built frame;
    start(&rig);
    struct mini_guest guest = guest_numbered(1);
    assert_true(get_address(&rig, &guest, PATIENCE_MS));
    guest_ping(&guest, gateway, &frame);
    send_in_two(&rig, &frame, 16);
    assert_true(receive_until(&rig, is_ping_reply, &guest, &seen, PATIENCE_MS));
    stop(&rig);
}

static void length_that_no_frame_has_ends_the_link(void **state)
{
    (void)state;
    struct rig rig;
    start(&rig);
    send_bytes(&rig, "\x00\x01\x10\x01", 4); /* 69,633 */
    wait_for_state(&rig, UPLINK_DEGRADED, "the link to the network ended");
    give_data(&rig);
    wait_for_state(&rig, UPLINK_UP, "");
    stop(&rig);
}

static void records_may_come_in_any_pieces(void **state)
{
    (void)state;
    struct rig rig;
    start(&rig);
    struct mini_guest guest = guest_numbered(1);
    struct built frame;
    struct seen seen;
    guest_dhcp(&guest, DHCP_DISCOVER, 0, &frame);
    uint8_t record[4 + GUEST_FRAME_MAX] = {0, 0, (uint8_t)(frame.len >> 8), (uint8_t)frame.len};
    memcpy(record + 4, frame.bytes, frame.len);
    for (size_t i = 0; i < 4 + frame.len; i++)
        send_bytes(&rig, record + i, 1);
    assert_true(receive_until(&rig, is_dhcp, &guest, &seen, PATIENCE_MS));
    stop(&rig);
}

static void network_that_does_not_read_costs_only_frames(void **state)
{
    (void)state;
    struct rig rig;
    start(&rig);
    struct mini_guest guest = guest_numbered(1);
    assert_true(get_address(&rig, &guest, PATIENCE_MS));
    struct built frame;
    guest_ping(&guest, gateway, &frame);
    for (unsigned i = 0; i < 60000; i++) /* 5 MB of answers; socket and queue hold less */
        send_frame(&rig, &frame);
    give_control(&rig);
    wait_for_state(&rig, UPLINK_UP, "");
    give_data(&rig);
    assert_gateway_answers(&rig, &guest);
    stop(&rig);
}

static bool is_ipv6(const struct seen *seen, const void *wanted)
{
    (void)wanted;
    return seen->ether_type == 0x86DD;
}

static void ipv6_is_there_only_with_a_prefix(void **state)
{
    (void)state;
    for (int has_prefix = 0; has_prefix < 2; has_prefix++) {
        struct rig rig;
        struct seen seen;
        start_with_control(&rig);
        rig.spec.ipv6.has_prefix = has_prefix;
        memcpy(rig.spec.ipv6.prefix, "\xfd\x00\x12\x34", 4);
        bring_up(&rig);
        /* ff02::2 <- fe80::1, router solicitation; its checksum is that of these bytes */
        static const uint8_t solicitation[] = {
            0x33, 0x33, 0,    0, 0, 2, 0x52, 0x54, 0, 0, 0, 1, 0x86, 0xDD, 0x60, 0,    0, 0,    0,    8, 58,
            255,  0xFE, 0x80, 0, 0, 0, 0,    0,    0, 0, 0, 0, 0,    0,    0,    0,    1, 0xFF, 0x02, 0, 0,
            0,    0,    0,    0, 0, 0, 0,    0,    0, 0, 0, 2, 133,  0,    0x7D, 0x36, 0, 0,    0,    0};
        send_raw(&rig, solicitation, sizeof(solicitation));
        assert_int_equal(receive_until(&rig, is_ipv6, NULL, &seen, has_prefix ? PATIENCE_MS : SILENCE_MS),
                         has_prefix);
        stop(&rig);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(guest_gets_an_address_in_the_subnet),
        cmocka_unit_test(gateway_and_name_server_answer_arp),
        cmocka_unit_test(gateway_answers_ping),
        cmocka_unit_test(forwarded_ports_reach_the_guest),
        cmocka_unit_test(forwards_change_while_running),
        cmocka_unit_test(forward_in_use_degrades_until_it_is_free),
        cmocka_unit_test(seventeenth_client_gets_nothing_and_it_shows),
        cmocka_unit_test(leases_stay_inside_dhcp_end),
        cmocka_unit_test(subnet_with_one_address_gives_it),
        cmocka_unit_test(address_behind_dhcp_end_is_not_offered_even_on_request),
        cmocka_unit_test(dhcp_off_is_off),
        cmocka_unit_test(guest_cannot_reach_the_hosts_loopback),
        cmocka_unit_test(guest_reaches_the_hosts_loopback_by_the_gateway_if_allowed),
        cmocka_unit_test(many_flows_leave_room_for_the_channels),
        cmocka_unit_test(network_may_go_and_come_back),
        cmocka_unit_test(new_control_hears_all_while_traffic_goes_on),
        cmocka_unit_test(message_that_is_not_for_an_uplink_ends_only_that_control),
        cmocka_unit_test(ends_with_its_monitor),
        cmocka_unit_test(another_protocol_is_refused),
        cmocka_unit_test(impossible_subnet_fails_with_its_rule),
        cmocka_unit_test(frames_of_every_short_length_do_no_harm),
        cmocka_unit_test(nonsense_with_good_headers_does_no_harm),
        cmocka_unit_test(datagram_in_fragments_is_answered),
        cmocka_unit_test(length_that_no_frame_has_ends_the_link),
        cmocka_unit_test(records_may_come_in_any_pieces),
        cmocka_unit_test(network_that_does_not_read_costs_only_frames),
        cmocka_unit_test(ipv6_is_there_only_with_a_prefix),
    };
    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
