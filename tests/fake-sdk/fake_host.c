/* tests/fake-sdk/fake_host.c - what stands behind the double of vmnet in vmswitchd: libslirp, as macOS would
 * answer
 *
 * DHCP, DNS and the way out, at the addresses that the interface has. On a thread of its own, as the kernel
 * is. SIGUSR1 takes the interface away, as a Mac that wakes up does.
 *
 * What guests leave undone of their frames is done here, as macOS's own stack would. A frame to ECHO comes
 * back from there, as it is but for its addresses, to all: so a test sees a frame of the outside's that is
 * still to be cut.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/slirp_uplink.h"
#include "io/vnet.h"
#include "switch/mac.h"
#include "switch/offload.h"
#include "tests/fake-sdk/fake_network.h"
#include "tests/fake-sdk/fake_vmnet.h"

enum { TURN_MS = 5, MTU = 1500, PIECES = 16, WIRE_MAX = VNET_HEADER + FRAME_OFFLOAD_MAX };
#define ECHO UINT64_C(0x5E00000000EC)
#define EVERYBODY UINT64_C(0xFFFFFFFFFFFF)

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct slirp_uplink *slirp;
static atomic_bool is_asleep;

static void on_signal(int number)
{
    (void)number;
    atomic_store(&is_asleep, true);
}

static void on_host_frame(void *ctx, const uint8_t *frame, size_t len)
{
    uint8_t wire[VNET_HEADER + 2048] = {0}; /* nothing is left to do */
    const unsigned header_len = fake_vmnet_header_len();
    (void)ctx;
    if (len > sizeof(wire) - header_len)
        return;
    memcpy(wire + header_len, frame, len);
    fake_vmnet_inject(wire, header_len + len);
}

static void to_slirp(const struct frame *frame)
{
    static uint8_t whole[FRAME_LEN_MAX];
    size_t len = frame->head_len;
    memcpy(whole, frame->head, len);
    for (uint32_t i = 0; i < frame->n_rest; i++) {
        memcpy(whole + len, frame->rest[i].base, frame->rest[i].len);
        len += frame->rest[i].len;
    }
    slirp_uplink_input(slirp, whole, len);
}

static void finish(struct frame *frame)
{
    static struct offload_piece pieces[PIECES];
    struct offload_cut cut;
    size_t n;
    if (!offload_is_gso(frame)) {
        offload_finish(frame);
        to_slirp(frame);
        return;
    }
    offload_cut_begin(&cut, frame);
    while ((n = offload_cut_next(&cut, pieces, PIECES)) > 0)
        for (size_t i = 0; i < n; i++)
            to_slirp(&pieces[i].frame);
}

static void echo(uint8_t *wire, size_t len, unsigned header_len)
{
    mac_store(wire + header_len, EVERYBODY);
    mac_store(wire + header_len + MAC_LEN, ECHO);
    fake_vmnet_inject(wire, len);
}

static void on_guest_frame(void *ctx, const uint8_t *bytes, size_t len)
{
    static uint8_t copy[FRAME_PREFIX + WIRE_MAX];
    const unsigned header_len = fake_vmnet_header_len();
    struct vnet_refused refused = {.runts = 0};
    (void)ctx;
    if (len > WIRE_MAX || len < header_len + FRAME_LEN_MIN)
        return;
    pthread_mutex_lock(&lock);
    uint8_t *wire = copy + FRAME_PREFIX;
    struct frame frame = {.head = wire, .len = (uint32_t)len, .head_len = (uint32_t)len};
    memcpy(wire, bytes, len);
    if (mac_load(wire + header_len) == ECHO)
        echo(wire, len, header_len);
    else if (vnet_unwrap(header_len ? OFFLOAD_VIRTIO : OFFLOAD_RAW, MTU, &frame, 1, &refused) == 1)
        finish(&frame);
    pthread_mutex_unlock(&lock);
}

static void *run(void *arg)
{
    static struct poll_set set;
    (void)arg;
    for (;;) {
        int timeout_ms = TURN_MS;
        pthread_mutex_lock(&lock);
        set.n = 0;
        slirp_uplink_prepare(slirp, &set, &timeout_ms);
        pthread_mutex_unlock(&lock);
        const bool has_failed = poll(set.fds, set.n, timeout_ms < TURN_MS ? timeout_ms : TURN_MS) < 0;
        pthread_mutex_lock(&lock);
        slirp_uplink_finish(slirp, &set, has_failed);
        pthread_mutex_unlock(&lock);
        if (atomic_exchange(&is_asleep, false))
            fake_vmnet_lose(VMNET_FAILURE);
    }
    return NULL;
}

static uint32_t address(xpc_object_t param, const char *key)
{
    struct in_addr in = {0};
    const char *text = xpc_dictionary_get_string(param, key);
    if (text)
        inet_pton(AF_INET, text, &in);
    return ntohl(in.s_addr);
}

/* macOS forwards what comes from outside; here, in a namespace of its own, all there is counts as that. */
static void on_rule(const struct fake_rule *rule, bool is_there)
{
    const struct network_forward forward = {.is_udp = rule->protocol == IPPROTO_UDP,
                                            .host_ip = 0x7F000001,
                                            .host_port = rule->external_port,
                                            .guest_ip = rule->address,
                                            .guest_port = rule->internal_port};
    pthread_mutex_lock(&lock);
    if (is_there)
        slirp_uplink_add_forward(slirp, &forward);
    else
        slirp_uplink_remove_forward(slirp, &forward);
    pthread_mutex_unlock(&lock);
}

static void start_slirp(struct network_spec *spec, fake_network_frame *on_frame)
{
    char why[UPLINK_REASON_SIZE] = "";
    struct slirp_addresses addresses;
    pthread_t thread;
    if (slirp_addresses_choose(spec, &addresses, why) < 0 ||
        slirp_uplink_create(&slirp, spec, &addresses, on_frame, NULL, why) < 0 ||
        pthread_create(&thread, NULL, run, NULL) != 0) {
        fprintf(stderr, "fake-sdk: no host: %s\n", why);
        abort();
    }
    pthread_detach(thread);
}

static void on_running(xpc_object_t param)
{
    struct network_spec spec;
    if (slirp)
        return;
    network_spec_init(&spec, "fake", MODE_SHARED);
    spec.ipv4.gateway = address(param, vmnet_start_address_key);
    spec.ipv4.netmask = address(param, vmnet_subnet_mask_key);
    spec.ipv4.dhcp_end = address(param, vmnet_end_address_key);
    if (!spec.ipv4.gateway)
        return; /* bridged: nobody is on the other side; a network object: whoever is, is with its creator */
    start_slirp(&spec, on_host_frame);
    signal(SIGUSR1, on_signal);
    fake_vmnet_set_host(on_guest_frame, NULL);
    fake_vmnet_on_rule(on_rule);
}

/* ---- behind a network object, in the process that made it: the first has a host ---- */

static void *network;

static void on_host_frame_of_network(void *ctx, const uint8_t *frame, size_t len)
{
    (void)ctx;
    fake_network_inject(network, frame, len);
}

static void on_guest_frame_of_network(void *ctx, const uint8_t *frame, size_t len)
{
    (void)ctx;
    pthread_mutex_lock(&lock);
    slirp_uplink_input(slirp, frame, len);
    pthread_mutex_unlock(&lock);
}

static fake_network_frame *on_network(void *made, const struct fake_network_info *info, void **ret_ctx)
{
    struct network_spec spec;
    if (slirp)
        return NULL;
    network_spec_init(&spec, "fake", MODE_SHARED);
    spec.ipv4.gateway = info->gateway;
    spec.ipv4.netmask = info->netmask;
    spec.ipv4.dhcp_end = (info->gateway | ~info->netmask) - 1;
    network = made;
    *ret_ctx = NULL;
    start_slirp(&spec, on_host_frame_of_network);
    return on_guest_frame_of_network;
}

__attribute__((constructor)) static void stand_by(void)
{
    fake_vmnet_on_running(on_running);
    fake_network_set_host(on_network);
}
