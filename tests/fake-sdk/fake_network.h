/* tests/fake-sdk/fake_network.h - the double of macOS 26's network objects: what a test does to it
 *
 * How it works
 *   A network is a socket that its creator listens on, named after its subnet: a second one for a subnet that
 *   is held finds the name taken, in whichever process. Whoever starts an interface on it connects there, and
 * a thread of the creator passes each frame to all others. When the creator's last reference goes, or its
 *   process ends, every interface loses its network.
 *
 * What ends the program
 *   A call from a thread that is no queue's; a reference that is released twice; before macOS 26.2, an
 * interface on a network that another executable made.
 */
#ifndef TESTS_FAKE_SDK_FAKE_NETWORK_H
#define TESTS_FAKE_SDK_FAKE_NETWORK_H

#include <stdbool.h>
#include <stdint.h>
#include <vmnet/vmnet.h>

struct fake_network_script {
    int version; /* 2600: macOS 26.0; 0: what the system says. Before 26 there are no functions */
    vmnet_return_t create_status; /* vmnet_network_create() says so and makes none; 0: success */
    bool hangs;                   /* it returns only after fake_network_go_on() */
    unsigned slow_ms;             /* it takes so long */
    vmnet_return_t start_status;  /* of vmnet_interface_start_with_network()'s handler; 0: success */
    const char *hidden;           /* names that this macOS does not have, one beside the other; NULL: all */
};

/* Else FAKE_NETWORK_STATUS is create_status, FAKE_HIDDEN_NAMES is hidden, FAKE_NETWORK_SLOW_MS is slow_ms,
 * and FAKE_NETWORK_HANGS, if it is there, lets it hang. */
void fake_network_set(const struct fake_network_script *script);
void fake_network_go_on(void);
int fake_network_alive(void); /* configurations and networks that have not been released */

/* Network objects' functions by name; NULL: none of that name, or not on this macOS. Called by dlsym(). */
void *fake_network_find(const char *symbol);

/* ---- between the files of the double ---- */

struct fake_network_info {
    uint32_t mode, gateway, netmask, mtu; /* host byte order */
    bool has_dhcp, has_nat44, has_nat66, has_dns_proxy, has_ra;
    uint8_t prefix[16];
    uint8_t prefix_len;
    char external_interface[16];
    unsigned n_reservations, n_forwards;
    struct {
        uint8_t protocol;
        uint16_t external, internal;
        uint32_t address;
    } forward; /* the last one */
    struct {
        uint8_t mac[6];
        uint32_t address;
    } reservation; /* the last one */
};

/* What the last network that was created had been asked for. */
struct fake_network_info fake_network_last(void);

/* Called on the creator's thread when a network is made: somebody who answers for the host. He says what he
 * has to say with fake_network_inject(), and hears what the guests say by 'on_frame'. */
typedef void fake_network_frame(void *ctx, const uint8_t *frame, size_t len);
typedef fake_network_frame *fake_network_host(void *network, const struct fake_network_info *info,
                                              void **ret_ctx);
void fake_network_set_host(fake_network_host *host);
void fake_network_inject(void *network, const uint8_t *frame, size_t len);

#endif
