#include "tests/fake-sdk/fake_network.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/sysctl.h>
#include <time.h>
#include <unistd.h>

#include "tests/fake-sdk/blocks.h"
#include "tests/fake-sdk/fake_code_signing.h"
#include "tests/fake-sdk/fake_dispatch.h"
#include "tests/fake-sdk/fake_vmnet.h"
#include "tests/fake-sdk/fake_xpc.h"

enum {
    MEMBERS_MAX = 32, /* interfaces of one network, as Apple documents it for a host */
    FRAME_MAX = 66 * 1024,
    HEADER_MAX = 12,
    VERSION_FIRST = 2600,
    VERSION_ANY_EXECUTABLE = 2602,
    AUTO_MAX = 16,
};

struct serialized { /* what is in "networkSerialization" */
    struct fake_network_info info;
    uint8_t creator[FAKE_CDHASH_SIZE];
    char name[64]; /* of its socket */
};

enum kind { CONFIGURATION, NETWORK };
struct counted { /* what CFRelease() takes */
    enum kind kind;
    int refs;
};

struct configuration {
    struct counted counted;
    struct fake_network_info info;
};

struct hub { /* a network's life in its creator; of its thread, but for 'fds', 'is_gone' */
    struct serialized as;
    int listen_fd;
    int fds[MEMBERS_MAX];
    enum membership { JOINING, OPEN, PRIVATE } as_what[MEMBERS_MAX]; /* of 'fds'; the first packet says it */
    bool is_gone;
    int wake_fds[2];
    fake_network_frame *host;
    void *host_ctx;
};

struct network {
    struct counted counted;
    struct serialized as;
    struct hub *hub; /* NULL: a clone */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* of all of it */
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static struct fake_network_script script;
static bool may_go;
static int n_alive;
static struct fake_network_info last;
static fake_network_host *make_host;

static void misuse(const char *what)
{
    fprintf(stderr, "fake-sdk: network: %s\n", what);
    abort();
}

static void must_be_on_a_queue(const char *function)
{
    if (!fake_dispatch_is_on_any())
        misuse(function);
}

static int version(void)
{
    char text[16] = "";
    size_t size = sizeof(text);
    unsigned major = 0, minor = 0;
    if (script.version)
        return script.version;
    sysctlbyname("kern.osproductversion", text, &size, NULL, 0);
    sscanf(text, "%u.%u", &major, &minor);
    return (int)(major * 100 + minor);
}

/* ---- the hub ---- */

/* Locked. 'from' is a member's number, or -1: the host. What a private one says reaches the others alone. */
static void pass(struct hub *hub, int from, const uint8_t *frame, size_t len)
{
    const bool is_private = from >= 0 && hub->as_what[from] == PRIVATE;
    for (int i = 0; i < MEMBERS_MAX; i++)
        if (hub->fds[i] >= 0 && i != from && !(is_private && hub->as_what[i] == PRIVATE))
            send(hub->fds[i], frame, len, MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* Locked. */
static void take_member(struct hub *hub)
{
    const int fd = accept(hub->listen_fd, NULL, NULL);
    for (int i = 0; i < MEMBERS_MAX && fd >= 0; i++) {
        if (hub->fds[i] < 0) {
            hub->fds[i] = fd;
            hub->as_what[i] = JOINING;
            return;
        }
    }
    if (fd >= 0)
        close(fd);
}

static void serve_member(struct hub *hub, int i, uint8_t *frame)
{
    pthread_mutex_lock(&lock);
    const ssize_t n = recv(hub->fds[i], frame, FRAME_MAX, MSG_DONTWAIT);
    const bool joins = n > 0 && hub->as_what[i] == JOINING;
    fake_network_frame *host = n > 0 && !joins ? hub->host : NULL;
    void *ctx = hub->host_ctx;
    if (joins) {
        hub->as_what[i] = frame[0] == PRIVATE ? PRIVATE : OPEN;
    } else if (n > 0) {
        pass(hub, i, frame, (size_t)n);
    } else if (n == 0 || errno != EAGAIN) {
        close(hub->fds[i]);
        hub->fds[i] = -1;
    }
    pthread_mutex_unlock(&lock);
    if (host)
        host(ctx, frame, (size_t)n);
}

static void free_hub(struct hub *hub)
{
    for (int i = 0; i < MEMBERS_MAX; i++)
        if (hub->fds[i] >= 0)
            close(hub->fds[i]);
    close(hub->listen_fd);
    close(hub->wake_fds[0]);
    close(hub->wake_fds[1]);
    if (!hub->host) /* he may still speak: fake_network_inject() */
        free(hub);
}

static void *run_hub(void *arg)
{
    static _Thread_local uint8_t frame[FRAME_MAX];
    struct hub *hub = arg;
    for (;;) {
        struct pollfd set[MEMBERS_MAX + 2] = {{.fd = hub->wake_fds[0], .events = POLLIN},
                                              {.fd = hub->listen_fd, .events = POLLIN}};
        for (int i = 0; i < MEMBERS_MAX; i++)
            set[i + 2] = (struct pollfd){.fd = hub->fds[i], .events = POLLIN};
        poll(set, MEMBERS_MAX + 2, -1);
        pthread_mutex_lock(&lock);
        const bool is_gone = hub->is_gone;
        if (!is_gone && set[1].revents)
            take_member(hub);
        pthread_mutex_unlock(&lock);
        if (is_gone)
            break;
        for (int i = 0; i < MEMBERS_MAX; i++)
            if (set[i + 2].revents)
                serve_member(hub, i, frame);
    }
    free_hub(hub);
    return NULL;
}

void fake_network_inject(void *network, const uint8_t *frame, size_t len)
{
    struct hub *hub = network;
    pthread_mutex_lock(&lock);
    if (!hub->is_gone)
        pass(hub, -1, frame, len);
    pthread_mutex_unlock(&lock);
}

static void name_of(const struct fake_network_info *info, uint32_t mode, char *name, size_t size)
{
    snprintf(name, size, "network/%08x/%u", info->gateway & info->netmask, mode);
}

static int connect_to(const char *name)
{
    struct sockaddr_un address;
    const socklen_t len = fake_registry_address(name, &address);
    const int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&address, len) == 0)
        return fd;
    if (fd >= 0)
        close(fd);
    return -1;
}

/* Holds the subnet, if nobody does. */
static vmnet_return_t hold(const struct fake_network_info *info, char *name, size_t size, int *ret_fd)
{
    struct sockaddr_un address;
    name_of(info, info->mode == VMNET_HOST_MODE ? VMNET_SHARED_MODE : VMNET_HOST_MODE, name, size);
    const int other = connect_to(name);
    if (other >= 0) {
        close(other);
        return VMNET_SHARING_SERVICE_BUSY;
    }
    name_of(info, info->mode, name, size);
    const socklen_t len = fake_registry_address(name, &address);
    const int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (fd >= 0 && bind(fd, (struct sockaddr *)&address, len) == 0 && listen(fd, MEMBERS_MAX) == 0) {
        *ret_fd = fd;
        return VMNET_SUCCESS;
    }
    if (fd >= 0)
        close(fd);
    return VMNET_FAILURE;
}

static vmnet_return_t hold_any(struct fake_network_info *info, char *name, size_t size, int *ret_fd)
{
    const uint32_t first = info->mode == VMNET_HOST_MODE ? 0xC0A88001 : 0xC0A84001;
    if (info->gateway)
        return hold(info, name, size, ret_fd);
    for (uint32_t i = 0; i < AUTO_MAX; i++) {
        info->gateway = first + (i << 8);
        info->netmask = 0xFFFFFF00;
        if (hold(info, name, size, ret_fd) == VMNET_SUCCESS)
            return VMNET_SUCCESS;
    }
    return VMNET_FAILURE;
}

static struct hub *start_hub(const struct serialized *as, int listen_fd)
{
    pthread_t thread;
    struct hub *hub = calloc(1, sizeof(*hub));
    if (!hub || pipe(hub->wake_fds) < 0)
        abort();
    hub->as = *as;
    hub->listen_fd = listen_fd;
    for (int i = 0; i < MEMBERS_MAX; i++)
        hub->fds[i] = -1;
    if (make_host)
        hub->host = make_host(hub, &as->info, &hub->host_ctx);
    if (pthread_create(&thread, NULL, run_hub, hub) != 0)
        abort();
    pthread_detach(thread);
    return hub;
}

/* ---- references ---- */

static void *new_counted(enum kind kind, size_t size)
{
    struct counted *counted = calloc(1, size);
    if (!counted)
        abort();
    *counted = (struct counted){.kind = kind, .refs = 1};
    pthread_mutex_lock(&lock);
    n_alive++;
    pthread_mutex_unlock(&lock);
    return counted;
}

static void fake_retain(void *object)
{
    pthread_mutex_lock(&lock);
    ((struct counted *)object)->refs++;
    pthread_mutex_unlock(&lock);
}

static void fake_cf_release(const void *object)
{
    struct counted *counted;
    memcpy(&counted, &object, sizeof(object)); /* without its const */
    pthread_mutex_lock(&lock);
    if (counted->refs <= 0)
        misuse("released too often");
    const bool is_last = --counted->refs == 0;
    n_alive -= is_last;
    struct hub *hub = is_last && counted->kind == NETWORK ? ((struct network *)counted)->hub : NULL;
    if (hub) {
        hub->is_gone = true;
        shutdown(hub->listen_fd, SHUT_RDWR);
        if (write(hub->wake_fds[1], "", 1) != 1)
            abort();
    }
    pthread_mutex_unlock(&lock);
    if (is_last)
        free(counted);
}

/* ---- configurations ---- */

static struct fake_network_info *info_of(void *configuration)
{
    return &((struct configuration *)configuration)->info;
}

static void *fake_configuration_create(uint32_t mode, vmnet_return_t *status)
{
    const bool is_valid = mode == VMNET_HOST_MODE || mode == VMNET_SHARED_MODE;
    *status = is_valid ? VMNET_SUCCESS : VMNET_INVALID_ARGUMENT;
    if (!is_valid)
        return NULL;
    struct configuration *configuration = new_counted(CONFIGURATION, sizeof(*configuration));
    configuration->info = (struct fake_network_info){.mode = mode,
                                                     .mtu = 1500,
                                                     .has_dhcp = true,
                                                     .has_nat44 = true,
                                                     .has_nat66 = true,
                                                     .has_dns_proxy = true,
                                                     .has_ra = true,
                                                     .prefix = {0xFD, 0x42},
                                                     .prefix_len = 64};
    return configuration;
}

static void fake_disable_dhcp(void *configuration)
{
    info_of(configuration)->has_dhcp = false;
}

static void fake_disable_nat44(void *configuration)
{
    info_of(configuration)->has_nat44 = false;
}

static void fake_disable_nat66(void *configuration)
{
    info_of(configuration)->has_nat66 = false;
}

static void fake_disable_dns_proxy(void *configuration)
{
    info_of(configuration)->has_dns_proxy = false;
}

static void fake_disable_ra(void *configuration)
{
    info_of(configuration)->has_ra = false;
}

static vmnet_return_t fake_set_external(void *configuration, const char *interface)
{
    if (info_of(configuration)->mode != VMNET_SHARED_MODE)
        return VMNET_INVALID_ARGUMENT;
    snprintf(info_of(configuration)->external_interface, 16, "%s", interface);
    return VMNET_SUCCESS;
}

static vmnet_return_t fake_set_subnet(void *configuration, const struct in_addr *address,
                                      const struct in_addr *mask)
{
    info_of(configuration)->gateway = ntohl(address->s_addr); /* .0 too: the start is what fails then */
    info_of(configuration)->netmask = ntohl(mask->s_addr);
    return VMNET_SUCCESS;
}

static vmnet_return_t fake_set_prefix(void *configuration, const struct in6_addr *prefix, uint8_t len)
{
    if (len != 64 || prefix->s6_addr[0] != 0xFD)
        return VMNET_INVALID_ARGUMENT;
    memcpy(info_of(configuration)->prefix, prefix, 16);
    return VMNET_SUCCESS;
}

static vmnet_return_t fake_set_mtu(void *configuration, uint32_t mtu)
{
    info_of(configuration)->mtu = mtu;
    return VMNET_SUCCESS;
}

static vmnet_return_t fake_add_reservation(void *configuration, const uint8_t *mac,
                                           const struct in_addr *address)
{
    struct fake_network_info *info = info_of(configuration);
    info->n_reservations++;
    memcpy(info->reservation.mac, mac, 6);
    info->reservation.address = ntohl(address->s_addr);
    return VMNET_SUCCESS;
}

/* The internal port comes before the external one. */
static vmnet_return_t fake_add_forward(void *configuration, uint8_t protocol, sa_family_t family,
                                       uint16_t internal, uint16_t external, const void *address)
{
    struct fake_network_info *info = info_of(configuration);
    struct in_addr in;
    if (family != AF_INET || info->mode != VMNET_SHARED_MODE ||
        (protocol != IPPROTO_TCP && protocol != IPPROTO_UDP))
        return VMNET_INVALID_ARGUMENT;
    memcpy(&in, address, sizeof(in));
    info->n_forwards++;
    info->forward.protocol = protocol;
    info->forward.internal = internal;
    info->forward.external = external;
    info->forward.address = ntohl(in.s_addr);
    return VMNET_SUCCESS;
}

/* ---- networks ---- */

static bool is_private(uint32_t address)
{
    return !address || address >> 24 == 10 || address >> 20 == 0xAC1 || address >> 16 == 0xC0A8;
}

static vmnet_return_t wait_and_judge(void)
{
    pthread_mutex_lock(&lock);
    while (script.hangs && !may_go)
        pthread_cond_wait(&changed, &lock);
    const vmnet_return_t status = script.create_status;
    const struct timespec wait = {.tv_sec = script.slow_ms / 1000,
                                  .tv_nsec = script.slow_ms % 1000 * 1000000L};
    pthread_mutex_unlock(&lock);
    nanosleep(&wait, NULL);
    return status ? status : VMNET_SUCCESS;
}

static void *fake_create(void *configuration, vmnet_return_t *status)
{
    struct serialized as;
    int fd;
    must_be_on_a_queue("vmnet_network_create on the loop");
    memset(&as, 0, sizeof(as));
    as.info = *info_of(configuration);
    *status = wait_and_judge();
    if (fake_dispatch_is_on_concurrent() || !is_private(as.info.gateway))
        *status = VMNET_FAILURE;
    if (*status == VMNET_SUCCESS)
        *status = hold_any(&as.info, as.name, sizeof(as.name), &fd);
    if (*status != VMNET_SUCCESS)
        return NULL;
    fake_cdhash(getpid(), as.creator);
    struct network *network = new_counted(NETWORK, sizeof(*network));
    pthread_mutex_lock(&lock);
    last = as.info;
    pthread_mutex_unlock(&lock);
    network->as = as;
    network->hub = start_hub(&as, fd);
    return network;
}

static void *fake_copy_serialization(void *network, vmnet_return_t *status)
{
    xpc_object_t dictionary = xpc_dictionary_create(NULL, NULL, 0);
    xpc_dictionary_set_data(dictionary, "networkSerialization", &((struct network *)network)->as,
                            sizeof(struct serialized));
    *status = VMNET_SUCCESS;
    return dictionary;
}

static void *fake_create_with_serialization(void *serialization, vmnet_return_t *status)
{
    size_t len = 0;
    const void *data = xpc_dictionary_get_data(serialization, "networkSerialization", &len);
    must_be_on_a_queue("vmnet_network_create_with_serialization on the loop");
    *status = data && len == sizeof(struct serialized) ? VMNET_SUCCESS : VMNET_INVALID_ARGUMENT;
    if (*status != VMNET_SUCCESS)
        return NULL;
    struct network *network = new_counted(NETWORK, sizeof(*network));
    memcpy(&network->as, data, len);
    return network;
}

static void fake_get_subnet(void *network, struct in_addr *subnet, struct in_addr *mask)
{
    const struct fake_network_info *info = &((struct network *)network)->as.info;
    subnet->s_addr = htonl(info->gateway);
    mask->s_addr = htonl(info->netmask);
}

static void fake_get_prefix(void *network, struct in6_addr *prefix, uint8_t *len)
{
    const struct fake_network_info *info = &((struct network *)network)->as.info;
    memcpy(prefix, info->prefix, 16);
    *len = info->prefix_len;
}

/* ---- interfaces ---- */

struct member { /* stays as long as the process: fake_vmnet.c points to it */
    struct member *next;
    int fd;
    atomic_bool is_stopped;
    struct network *network;
};

static struct member *members;

static void to_network(void *ctx, const uint8_t *frame, size_t len)
{
    const struct member *member = ctx;
    const unsigned header_len = fake_vmnet_header_len(); /* an interface's own affair */
    if (len > header_len)
        send(member->fd, frame + header_len, len - header_len, MSG_NOSIGNAL);
}

static void *run_member(void *arg)
{
    static _Thread_local uint8_t frame[HEADER_MAX + FRAME_MAX]; /* a header of zeros: nothing is left to do */
    struct member *member = arg;
    ssize_t n;
    while ((n = recv(member->fd, frame + HEADER_MAX, FRAME_MAX, 0)) > 0) {
        const unsigned header_len = fake_vmnet_header_len();
        fake_vmnet_inject(frame + HEADER_MAX - header_len, header_len + (size_t)n);
    }
    if (!atomic_load(&member->is_stopped))
        fake_vmnet_lose(VMNET_FAILURE); /* the network has gone */
    return NULL;
}

static void end_member(void *ctx)
{
    struct member *member = ctx;
    atomic_store(&member->is_stopped, true);
    fake_cf_release(member->network); /* the stop does that */
    shutdown(member->fd, SHUT_RDWR);
}

static interface_ref refuse(dispatch_queue_t queue, vmnet_start_interface_completion_handler_t handler,
                            vmnet_return_t status)
{
    vmnet_start_interface_completion_handler_t copy = Block_copy(handler);
    dispatch_retain(queue);
    dispatch_async(queue, ^{
      copy(status, NULL);
      Block_release(copy);
      dispatch_release(queue);
    });
    return NULL;
}

static interface_ref fake_start_with_network(void *ref, xpc_object_t desc, dispatch_queue_t queue,
                                             vmnet_start_interface_completion_handler_t handler)
{
    struct network *network = ref;
    uint8_t own[FAKE_CDHASH_SIZE];
    pthread_t thread;
    must_be_on_a_queue("vmnet_interface_start_with_network on the loop");
    fake_cdhash(getpid(), own);
    if (version() < VERSION_ANY_EXECUTABLE && memcmp(own, network->as.creator, sizeof(own)) != 0)
        misuse("an interface on a network that another executable made, before macOS 26.2");
    if (!(network->as.info.gateway & ~network->as.info.netmask))
        return refuse(queue, handler, VMNET_FAILURE);
    if (script.start_status)
        return refuse(queue, handler, script.start_status);
    struct member *member = calloc(1, sizeof(*member));
    if (!member)
        abort();
    member->fd = connect_to(network->as.name);
    if (member->fd < 0) {
        free(member);
        return refuse(queue, handler, VMNET_FAILURE);
    }
    const uint8_t as_what = xpc_dictionary_get_bool(desc, vmnet_enable_isolation_key) ? PRIVATE : OPEN;
    send(member->fd, &as_what, sizeof(as_what), MSG_NOSIGNAL);
    fake_retain(network);
    member->network = network;
    pthread_mutex_lock(&lock);
    member->next = members;
    members = member;
    pthread_mutex_unlock(&lock);
    fake_vmnet_set_host(to_network, member);
    fake_vmnet_on_stop(end_member, member);
    if (pthread_create(&thread, NULL, run_member, member) != 0)
        abort();
    pthread_detach(thread);
    return fake_vmnet_start_on_network(desc, &network->as.info, queue, handler);
}

/* ---- by name ---- */

void *fake_network_find(const char *symbol)
{
    static const struct {
        const char *name;
        void *function;
    } names[] = {
        {"CFRelease", (void *)fake_cf_release},
        {"vmnet_network_configuration_create", (void *)fake_configuration_create},
        {"vmnet_network_configuration_disable_dhcp", (void *)fake_disable_dhcp},
        {"vmnet_network_configuration_disable_nat44", (void *)fake_disable_nat44},
        {"vmnet_network_configuration_disable_nat66", (void *)fake_disable_nat66},
        {"vmnet_network_configuration_disable_dns_proxy", (void *)fake_disable_dns_proxy},
        {"vmnet_network_configuration_disable_router_advertisement", (void *)fake_disable_ra},
        {"vmnet_network_configuration_set_external_interface", (void *)fake_set_external},
        {"vmnet_network_configuration_set_ipv4_subnet", (void *)fake_set_subnet},
        {"vmnet_network_configuration_set_ipv6_prefix", (void *)fake_set_prefix},
        {"vmnet_network_configuration_set_mtu", (void *)fake_set_mtu},
        {"vmnet_network_configuration_add_dhcp_reservation", (void *)fake_add_reservation},
        {"vmnet_network_configuration_add_port_forwarding_rule", (void *)fake_add_forward},
        {"vmnet_network_create", (void *)fake_create},
        {"vmnet_network_copy_serialization", (void *)fake_copy_serialization},
        {"vmnet_network_create_with_serialization", (void *)fake_create_with_serialization},
        {"vmnet_network_get_ipv4_subnet", (void *)fake_get_subnet},
        {"vmnet_network_get_ipv6_prefix", (void *)fake_get_prefix},
        {"vmnet_interface_start_with_network", (void *)fake_start_with_network},
        {"xpc_peer_requirement_create_lwcr", (void *)xpc_peer_requirement_create_lwcr},
        {"xpc_peer_requirement_match_received_message", (void *)xpc_peer_requirement_match_received_message},
        {"xpc_connection_set_peer_requirement", (void *)xpc_connection_set_peer_requirement},
    };
    if (script.hidden && strstr(script.hidden, symbol))
        return NULL;
    if (strcmp(symbol, "xpc_dictionary_get_audit_token") == 0) /* on every macOS */
        return (void *)xpc_dictionary_get_audit_token;
    if (version() < VERSION_FIRST && symbol[0] != 'C')
        return NULL;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (strcmp(symbol, names[i].name) == 0)
            return names[i].function;
    return NULL;
}

/* ---- what a test does ---- */

void fake_network_set(const struct fake_network_script *new_script)
{
    pthread_mutex_lock(&lock);
    script = *new_script;
    may_go = false;
    pthread_mutex_unlock(&lock);
}

/* A program that no test is linked with is told by its environment. */
__attribute__((constructor)) static void read_environment(void)
{
    const char *status = getenv("FAKE_NETWORK_STATUS");
    script.create_status = status ? (vmnet_return_t)strtoul(status, NULL, 10) : 0;
    script.hangs = getenv("FAKE_NETWORK_HANGS") != NULL;
    script.slow_ms =
        getenv("FAKE_NETWORK_SLOW_MS") ? (unsigned)strtoul(getenv("FAKE_NETWORK_SLOW_MS"), NULL, 10) : 0;
    script.hidden = getenv("FAKE_HIDDEN_NAMES") ? strdup(getenv("FAKE_HIDDEN_NAMES")) : NULL;
}

void fake_network_go_on(void)
{
    pthread_mutex_lock(&lock);
    may_go = true;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

int fake_network_alive(void)
{
    pthread_mutex_lock(&lock);
    const int n = n_alive;
    pthread_mutex_unlock(&lock);
    return n;
}

struct fake_network_info fake_network_last(void)
{
    pthread_mutex_lock(&lock);
    const struct fake_network_info copy = last;
    pthread_mutex_unlock(&lock);
    return copy;
}

void fake_network_set_host(fake_network_host *host)
{
    make_host = host;
}
