/* tests/fake-sdk/fake_host.c - what stands behind the double of vmnet in vmswitchd: libslirp, as macOS would
 * answer
 *
 * DHCP, DNS and the way out, at the addresses that the interface has. On a thread of its own, as the kernel
 * is. SIGUSR1 takes the interface away, as a Mac that wakes up does.
 */
#include <arpa/inet.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/slirp_uplink.h"
#include "tests/fake-sdk/fake_vmnet.h"

enum { TURN_MS = 5 };

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
    (void)ctx;
    fake_vmnet_inject(frame, len);
}

static void on_guest_frame(void *ctx, const uint8_t *frame, size_t len)
{
    (void)ctx;
    pthread_mutex_lock(&lock);
    slirp_uplink_input(slirp, frame, len);
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

static void on_running(xpc_object_t param)
{
    char why[UPLINK_REASON_SIZE] = "";
    struct slirp_addresses addresses;
    struct network_spec spec;
    pthread_t thread;
    if (slirp)
        return;
    network_spec_init(&spec, "fake", MODE_SHARED);
    spec.ipv4.gateway = address(param, vmnet_start_address_key);
    spec.ipv4.netmask = address(param, vmnet_subnet_mask_key);
    spec.ipv4.dhcp_end = address(param, vmnet_end_address_key);
    if (!spec.ipv4.gateway)
        return; /* bridged: nobody is on the other side */
    if (slirp_addresses_choose(&spec, &addresses, why) < 0 ||
        slirp_uplink_create(&slirp, &spec, &addresses, on_host_frame, NULL, why) < 0 ||
        pthread_create(&thread, NULL, run, NULL) != 0) {
        fprintf(stderr, "fake-sdk: no host: %s\n", why);
        abort();
    }
    pthread_detach(thread);
    signal(SIGUSR1, on_signal);
    fake_vmnet_set_host(on_guest_frame, NULL);
}

__attribute__((constructor)) static void stand_by(void)
{
    fake_vmnet_on_running(on_running);
}
