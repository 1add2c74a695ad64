#include "tests/fake-sdk/fake_vmnet.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/fake-sdk/blocks.h"
#include "tests/fake-sdk/fake_dispatch.h"
#include "tests/fake-sdk/fake_network.h"
#include "tests/fake-sdk/fake_panel.h"
#include "tests/fake-sdk/fake_system.h"
#include "tests/fake-sdk/fake_vmnet_internal.h"
#include "tests/fake-sdk/fake_xpc.h"

enum {
    KERNEL_QUEUE = 1024,
    CALL_BYTES = 256 * 1024,
    INTERFACES_MAX = 64,
    PLAIN_MAX = 1514,
    TSO_MAX = 65550,
    HEADER = 12, /* of virtio-net */
    NEEDS_CSUM = 1,
};

/* The values are not public; these are not theirs, so that nobody can rely on them. */
#define KEY(name) const char *vmnet_##name##_key = "fake_" #name
KEY(operation_mode);
KEY(interface_id);
KEY(mac_address);
KEY(mtu);
KEY(max_packet_size);
KEY(start_address);
KEY(end_address);
KEY(subnet_mask);
KEY(shared_interface_name);
KEY(nat66_prefix);
KEY(network_identifier);
KEY(host_ip_address);
KEY(host_subnet_mask);
KEY(host_ipv6_address);
KEY(enable_isolation);
KEY(enable_tso);
/* Found by name alone. */
extern const char *vmnet_read_max_packets_key, *vmnet_write_max_packets_key;
extern const char *vmnet_enable_checksum_offload_key, *vmnet_enable_virtio_header_key;
KEY(read_max_packets);
KEY(write_max_packets);
static const char network_mtu_key[] = "fake_network_mtu"; /* of a start on a network object */
static const char network_shared_key[] = "fake_network_shared";
KEY(enable_checksum_offload);
KEY(enable_virtio_header);
static const char estimated_key[] = "fake_estimated_packets_available";

struct packet {
    size_t len;
    uint8_t *bytes;
};

struct ring {
    struct packet packets[KERNEL_QUEUE];
    unsigned first, n;
};

struct vmnet_interface {
    bool is_up, is_stopping, is_stopped;
    bool has_tso, is_shared;
    unsigned header_len;
    dispatch_queue_t event_queue;
    vmnet_interface_event_callback_t callback;
    bool event_is_out;
    bool is_due; /* another one, for what happened since the one that is out was told */
};

/* All of it under the lock. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static struct vmnet_interface *interfaces[INTERFACES_MAX];
static unsigned n_interfaces;
static struct ring to_guests, from_guests;
static vmnet_return_t lost; /* 0: not */
static fake_host *host;
static void *host_ctx;
static fake_running *running;
static fake_stopped *stopped;
static void *stopped_ctx;
static xpc_object_t last_desc;
static struct {
    dispatch_queue_t queue;
    vmnet_start_interface_completion_handler_t handler;
    interface_ref interface;
    xpc_object_t desc;
    bool hangs, may_go;
} late_start;
static struct {
    dispatch_queue_t queue;
    vmnet_interface_completion_handler_t handler;
    interface_ref interface;
} late_stop;

_Noreturn static void misuse(const char *what)
{
    fprintf(stderr, "fake-sdk: vmnet: %s\n", what);
    abort();
}

static void must_be_on_a_queue(const char *function)
{
    if (!fake_dispatch_is_on_any())
        misuse(function);
}

/* ---- for the double's other files ---- */

void fake_vmnet_lock(void)
{
    pthread_mutex_lock(&lock);
}

void fake_vmnet_unlock(void)
{
    pthread_mutex_unlock(&lock);
}

void fake_vmnet_misuse(const char *what)
{
    misuse(what);
}

const struct fake_script *fake_vmnet_script(void)
{
    return &fake_panel()->script;
}

vmnet_return_t fake_vmnet_rules_refusal(interface_ref interface)
{
    if (interface->is_stopping)
        misuse("a forward of an interface that was stopped");
    if (!interface->is_up)
        return VMNET_SETUP_INCOMPLETE;
    return interface->is_shared ? VMNET_SUCCESS : VMNET_INVALID_ARGUMENT;
}

/* An older macOS does not have the newer names. */
static void *find_key(const char *symbol)
{
    pthread_mutex_lock(&lock);
    const bool is_old = fake_panel()->script.is_old || fake_system_version() < 1500;
    void *rule_call = fake_rules_find(symbol);
    pthread_mutex_unlock(&lock);
    if (rule_call)
        return rule_call;
    if (strcmp(symbol, "vmnet_enable_checksum_offload_key") == 0)
        return &vmnet_enable_checksum_offload_key;
    if (!is_old && fake_system_version() >= 1504 && strcmp(symbol, "vmnet_enable_virtio_header_key") == 0)
        return &vmnet_enable_virtio_header_key;
    if (!is_old && strcmp(symbol, "vmnet_read_max_packets_key") == 0)
        return &vmnet_read_max_packets_key;
    if (!is_old && strcmp(symbol, "vmnet_write_max_packets_key") == 0)
        return &vmnet_write_max_packets_key;
    return fake_network_find(symbol);
}

/* Linked with --wrap=dlsym. The sanitizers' runtimes call it too, before they are ready for anything. */
void *__real_dlsym(void *handle, const char *symbol);
void *__wrap_dlsym(void *handle, const char *symbol);
__attribute__((disable_sanitizer_instrumentation, no_sanitize("address", "undefined", "thread"))) void *
__wrap_dlsym(void *handle, const char *symbol)
{
    const bool is_vmnet = symbol[0] == 'v' && symbol[1] == 'm' && symbol[2] == 'n' && symbol[3] == 'e';
    const bool is_xpc = symbol[0] == 'x' && symbol[1] == 'p' && symbol[2] == 'c' && symbol[3] == '_';
    const bool is_cf = symbol[0] == 'C' && symbol[1] == 'F' && symbol[2] == 'R' && symbol[3] == 'e';
    return is_vmnet || is_xpc || is_cf ? find_key(symbol) : __real_dlsym(handle, symbol);
}

/* ---- frames ---- */

static bool push(struct ring *ring, const uint8_t *bytes, size_t len)
{
    if (ring->n == KERNEL_QUEUE)
        return false;
    struct packet *packet = &ring->packets[(ring->first + ring->n++) % KERNEL_QUEUE];
    packet->bytes = malloc(len ? len : 1);
    if (!packet->bytes)
        abort();
    memcpy(packet->bytes, bytes, len);
    packet->len = len;
    return true;
}

static size_t pop(struct ring *ring, uint8_t *bytes, size_t size)
{
    if (ring->n == 0)
        return 0;
    struct packet *packet = &ring->packets[ring->first];
    size_t len = packet->len < size ? packet->len : size;
    memcpy(bytes, packet->bytes, len);
    free(packet->bytes);
    ring->first = (ring->first + 1) % KERNEL_QUEUE;
    ring->n--;
    return len;
}

static void clear(struct ring *ring)
{
    uint8_t nothing[1];
    while (ring->n > 0)
        pop(ring, nothing, 0);
}

static unsigned frame_max(bool has_tso)
{
    return fake_panel()->script.frame_max ? fake_panel()->script.frame_max : has_tso ? TSO_MAX : PLAIN_MAX;
}

static unsigned packet_max(interface_ref interface)
{
    return frame_max(interface->has_tso) + interface->header_len;
}

static unsigned packets_max(void)
{
    return fake_panel()->script.packets_max ? fake_panel()->script.packets_max
           : fake_panel()->script.is_old    ? 200
                                            : 256;
}

/* ---- events: locked ---- */

static uint64_t estimate(void)
{
    switch (fake_panel()->script.estimate) {
    case FAKE_ESTIMATE_ZERO:
        return 0;
    case FAKE_ESTIMATE_LOW:
        return 1;
    default:
        return 1000 * 1000;
    }
}

static void fire(interface_ref interface)
{
    if (!interface->callback || interface->event_is_out)
        return;
    interface->event_is_out = true;
    interface->is_due = false;
    vmnet_interface_event_callback_t callback = Block_copy(interface->callback);
    const uint64_t n = estimate();
    fake_panel()->counts.events++;
    dispatch_async(interface->event_queue, ^{
      xpc_object_t event = xpc_dictionary_create(NULL, NULL, 0);
      xpc_dictionary_set_uint64(event, estimated_key, n);
      callback(VMNET_INTERFACE_PACKETS_AVAILABLE, event);
      xpc_release(event);
      Block_release(callback);
      pthread_mutex_lock(&lock);
      interface->event_is_out = false;
      if (to_guests.n > 0 || interface->is_due)
          fire(interface);
      pthread_mutex_unlock(&lock);
    });
}

static void fire_all(void)
{
    for (unsigned i = 0; i < n_interfaces; i++)
        fire(interfaces[i]);
}

vmnet_return_t vmnet_interface_set_event_callback(interface_ref interface, interface_event_t mask,
                                                  dispatch_queue_t queue,
                                                  vmnet_interface_event_callback_t callback)
{
    must_be_on_a_queue("vmnet_interface_set_event_callback on the loop");
    if (!queue != !callback || mask != VMNET_INTERFACE_PACKETS_AVAILABLE)
        return VMNET_INVALID_ARGUMENT;
    pthread_mutex_lock(&lock);
    vmnet_return_t status =
        fake_panel()->script.events_status && callback ? fake_panel()->script.events_status : VMNET_SUCCESS;
    if (!interface->is_up || interface->is_stopping)
        status = VMNET_SETUP_INCOMPLETE;
    if (status == VMNET_SUCCESS) {
        Block_release(interface->callback);
        interface->callback = callback ? Block_copy(callback) : NULL;
        interface->event_queue = queue;
        if (to_guests.n > 0)
            fire(interface);
    }
    pthread_mutex_unlock(&lock);
    return status;
}

/* ---- start: locked ---- */

static bool has_offload(xpc_object_t desc)
{
    return fake_xpc_has(desc, vmnet_enable_tso_key) ||
           fake_xpc_has(desc, vmnet_enable_checksum_offload_key) ||
           fake_xpc_has(desc, vmnet_enable_virtio_header_key);
}

static bool is_valid(xpc_object_t desc)
{
    const uint64_t mode = xpc_dictionary_get_uint64(desc, vmnet_operation_mode_key);
    const char *nic = xpc_dictionary_get_string(desc, vmnet_shared_interface_name_key);
    const int n_addresses = fake_xpc_has(desc, vmnet_start_address_key) +
                            fake_xpc_has(desc, vmnet_end_address_key) +
                            fake_xpc_has(desc, vmnet_subnet_mask_key);
    const bool has_identifier = fake_xpc_has(desc, vmnet_network_identifier_key);
    if (has_offload(desc) &&
        (fake_panel()->script.has_no_offload || (fake_xpc_has(desc, vmnet_enable_checksum_offload_key) &&
                                                 fake_xpc_has(desc, vmnet_enable_virtio_header_key))))
        return false;
    if (fake_xpc_has(desc, network_mtu_key)) /* addresses, mode and MTU are the network's */
        return mode == 0 && n_addresses == 0 && !nic && !has_identifier && !fake_xpc_has(desc, vmnet_mtu_key);
    if (mode < VMNET_HOST_MODE || mode > VMNET_BRIDGED_MODE || (n_addresses != 0 && n_addresses != 3))
        return false;
    if (mode == VMNET_BRIDGED_MODE)
        return nic && fake_interfaces_have(nic) && n_addresses == 0 && !fake_xpc_has(desc, vmnet_mtu_key) &&
               !fake_xpc_has(desc, vmnet_enable_isolation_key) && !has_identifier;
    if (nic || (has_identifier && (mode != VMNET_HOST_MODE || n_addresses != 0)))
        return false;
    if ((fake_xpc_has(desc, vmnet_host_ip_address_key) || fake_xpc_has(desc, vmnet_host_ipv6_address_key)) &&
        !has_identifier)
        return false;
    return mode == VMNET_SHARED_MODE || !fake_xpc_has(desc, vmnet_nat66_prefix_key);
}

static void copy_string(xpc_object_t to, xpc_object_t from, const char *key, const char *otherwise)
{
    const char *value = xpc_dictionary_get_string(from, key);
    xpc_dictionary_set_string(to, key, value ? value : otherwise);
}

static xpc_object_t make_param(xpc_object_t desc)
{
    xpc_object_t param = xpc_dictionary_create(NULL, NULL, 0);
    const uint64_t mode = xpc_dictionary_get_uint64(desc, vmnet_operation_mode_key);
    const bool has_network = fake_xpc_has(desc, network_mtu_key);
    const uint64_t mtu = xpc_dictionary_get_uint64(desc, has_network ? network_mtu_key : vmnet_mtu_key);
    const unsigned char *id = xpc_dictionary_get_uuid(desc, vmnet_interface_id_key);
    char mac[32];
    snprintf(mac, sizeof(mac), "5e:%02x:%02x:%02x:%02x:%02x", id ? id[0] : 0, id ? id[1] : 0, id ? id[2] : 0,
             id ? id[3] : 0, id ? id[4] : 0);
    xpc_dictionary_set_string(param, vmnet_mac_address_key, mac);
    xpc_dictionary_set_uint64(param, vmnet_mtu_key, mtu ? mtu : 1500);
    xpc_dictionary_set_uint64(param, vmnet_max_packet_size_key,
                              frame_max(fake_xpc_has(desc, vmnet_enable_tso_key)));
    if (!fake_panel()->script.is_old) {
        xpc_dictionary_set_uint64(param, vmnet_read_max_packets_key, packets_max());
        xpc_dictionary_set_uint64(param, vmnet_write_max_packets_key, packets_max());
    }
    if (has_network || mode == VMNET_BRIDGED_MODE || fake_xpc_has(desc, vmnet_network_identifier_key))
        return param;
    const bool is_shared = mode == VMNET_SHARED_MODE;
    copy_string(param, desc, vmnet_start_address_key, is_shared ? "192.168.64.1" : "192.168.128.1");
    copy_string(param, desc, vmnet_end_address_key, is_shared ? "192.168.64.254" : "192.168.128.254");
    copy_string(param, desc, vmnet_subnet_mask_key, "255.255.255.0");
    return param;
}

/* Calls the handler on its queue. Takes both. */
static void answer(dispatch_queue_t queue, vmnet_start_interface_completion_handler_t handler,
                   interface_ref interface, vmnet_return_t status, xpc_object_t param)
{
    const int64_t delay_ms = fake_panel()->script.start_delay_ms;
    dispatch_block_t tell = ^{
      pthread_mutex_lock(&lock);
      interface->is_up = status == VMNET_SUCCESS;
      fake_panel()->counts.n_running += interface->is_up;
      fake_running *told = param && interface->is_up ? running : NULL;
      pthread_mutex_unlock(&lock);
      if (told)
          told(param);
      handler(status, param);
      if (param)
          xpc_release(param);
      Block_release(handler);
      dispatch_release(queue);
    };
    if (delay_ms)
        dispatch_after(dispatch_time(DISPATCH_TIME_NOW, delay_ms * (int64_t)NSEC_PER_MSEC), queue, tell);
    else
        dispatch_async(queue, tell);
}

static void keep_desc(xpc_object_t desc)
{
    if (last_desc)
        xpc_release(last_desc);
    last_desc = xpc_retain(desc);
}

static enum fake_start next_start(void)
{
    enum fake_start start = fake_panel()->script.start;
    if (fake_panel()->script.n_bad_starts > 0 && --fake_panel()->script.n_bad_starts == 0)
        fake_panel()->script.start = FAKE_START_SUCCEEDS;
    return start;
}

static void keep_for_later(interface_ref interface, xpc_object_t desc, dispatch_queue_t queue,
                           vmnet_start_interface_completion_handler_t handler, bool hangs)
{
    late_start.interface = interface;
    late_start.desc = xpc_retain(desc);
    late_start.queue = queue;
    late_start.handler = handler;
    late_start.hangs = hangs;
    late_start.may_go = false;
    while (hangs && !late_start.may_go)
        pthread_cond_wait(&changed, &lock);
}

static interface_ref begin(xpc_object_t desc, dispatch_queue_t queue,
                           vmnet_start_interface_completion_handler_t handler)
{
    interface_ref interface = calloc(1, sizeof(*interface));
    if (!interface || n_interfaces == INTERFACES_MAX)
        abort();
    interfaces[n_interfaces++] = interface;
    interface->is_shared = xpc_dictionary_get_uint64(desc, vmnet_operation_mode_key) == VMNET_SHARED_MODE ||
                           xpc_dictionary_get_bool(desc, network_shared_key);
    interface->has_tso = fake_xpc_has(desc, vmnet_enable_tso_key);
    interface->header_len = fake_xpc_has(desc, vmnet_enable_virtio_header_key) ? HEADER : 0;
    const enum fake_start start = next_start();
    dispatch_retain(queue);
    if (fake_panel()->script.gone) {
        answer(queue, handler, interface, fake_panel()->script.gone, NULL);
        return interface;
    }
    switch (start) {
    case FAKE_START_NULL:
    case FAKE_START_NEVER:
    case FAKE_START_HANGS:
        keep_for_later(interface, desc, queue, handler, start == FAKE_START_HANGS);
        return start == FAKE_START_NULL ? NULL : interface;
    case FAKE_START_FAILS:
    case FAKE_START_NULL_SAYS:
        answer(queue, handler, interface, fake_panel()->script.start_status, NULL);
        return start == FAKE_START_FAILS ? interface : NULL;
    default:
        break;
    }
    if (!is_valid(desc)) {
        answer(queue, handler, interface, VMNET_INVALID_ARGUMENT, NULL);
    } else {
        xpc_object_t param = start == FAKE_START_EMPTY ? NULL : make_param(desc);
        answer(queue, handler, interface, VMNET_SUCCESS, param);
    }
    return interface;
}

interface_ref fake_vmnet_start_on_network(xpc_object_t desc, const struct fake_network_info *network,
                                          dispatch_queue_t queue,
                                          vmnet_start_interface_completion_handler_t handler)
{
    xpc_object_t all = xpc_dictionary_create(NULL, NULL, 0);
    xpc_dictionary_apply(desc, ^bool(const char *key, xpc_object_t value) {
      xpc_dictionary_set_value(all, key, value);
      return true;
    });
    xpc_dictionary_set_uint64(all, network_mtu_key, network->mtu);
    xpc_dictionary_set_bool(all, network_shared_key, network->mode == VMNET_SHARED_MODE);
    interface_ref interface = vmnet_start_interface(all, queue, handler);
    xpc_release(all);
    return interface;
}

interface_ref vmnet_start_interface(xpc_object_t desc, dispatch_queue_t queue,
                                    vmnet_start_interface_completion_handler_t handler)
{
    must_be_on_a_queue("vmnet_start_interface on the loop");
    pthread_mutex_lock(&lock);
    fake_panel()->counts.starts++;
    keep_desc(desc);
    interface_ref interface = begin(desc, queue, Block_copy(handler));
    pthread_mutex_unlock(&lock);
    fake_watch_panel();
    return interface;
}

void fake_vmnet_answer_start(vmnet_return_t status)
{
    pthread_mutex_lock(&lock);
    if (late_start.handler) {
        xpc_object_t param = status == VMNET_SUCCESS ? make_param(late_start.desc) : NULL;
        answer(late_start.queue, late_start.handler, late_start.interface, status, param);
        xpc_release(late_start.desc);
        late_start.handler = NULL;
        late_start.may_go = true;
        pthread_cond_broadcast(&changed);
    }
    pthread_mutex_unlock(&lock);
}

/* ---- stop ---- */

static void answer_stop(dispatch_queue_t queue, vmnet_interface_completion_handler_t handler,
                        interface_ref interface)
{
    dispatch_async(queue, ^{
      pthread_mutex_lock(&lock);
      interface->is_stopped = true;
      fake_panel()->counts.n_running--;
      fake_panel()->counts.stops++;
      Block_release(interface->callback);
      interface->callback = NULL;
      fake_stopped *told = stopped;
      void *ctx = stopped_ctx;
      stopped = NULL;
      pthread_mutex_unlock(&lock);
      if (told)
          told(ctx);
      handler(VMNET_SUCCESS);
      Block_release(handler);
      dispatch_release(queue);
    });
}

vmnet_return_t vmnet_stop_interface(interface_ref interface, dispatch_queue_t queue,
                                    vmnet_interface_completion_handler_t handler)
{
    must_be_on_a_queue("vmnet_stop_interface on the loop");
    pthread_mutex_lock(&lock);
    vmnet_return_t status = VMNET_SUCCESS;
    if (interface->is_stopping)
        misuse("stopped twice");
    if (!interface->is_up)
        misuse("stopped before it was up");
    if (fake_panel()->script.stop == FAKE_STOP_FAILS)
        status = VMNET_FAILURE;
    else
        interface->is_stopping = true;
    if (fake_panel()->script.stop == FAKE_STOP_SUCCEEDS) {
        dispatch_retain(queue);
        answer_stop(queue, Block_copy(handler), interface);
    } else if (fake_panel()->script.stop == FAKE_STOP_NEVER) {
        dispatch_retain(queue);
        late_stop.queue = queue;
        late_stop.handler = Block_copy(handler);
        late_stop.interface = interface;
    }
    pthread_mutex_unlock(&lock);
    return status;
}

void fake_vmnet_answer_stop(void)
{
    pthread_mutex_lock(&lock);
    if (late_stop.handler)
        answer_stop(late_stop.queue, late_stop.handler, late_stop.interface);
    late_stop.handler = NULL;
    pthread_mutex_unlock(&lock);
}

/* ---- read and write: locked ---- */

static vmnet_return_t check_call(interface_ref interface, int n)
{
    if (!interface->is_up)
        return VMNET_SETUP_INCOMPLETE;
    if (interface->is_stopping)
        misuse("read or written after it was stopped");
    if (lost || fake_panel()->script.gone)
        return lost ? lost : fake_panel()->script.gone;
    if (n <= 0)
        return VMNET_INVALID_ARGUMENT;
    return (unsigned)n > packets_max() ? VMNET_TOO_MANY_PACKETS : VMNET_SUCCESS;
}

static vmnet_return_t read_all(interface_ref interface, struct vmpktdesc *packets, int *n)
{
    size_t bytes = 0;
    for (int i = 0; i < *n; i++)
        bytes += packets[i].vm_pkt_size;
    if (bytes > CALL_BYTES)
        return VMNET_TOO_MANY_PACKETS;
    for (int i = 0; i < *n; i++)
        if (packets[i].vm_pkt_size < packet_max(interface) ||
            packets[i].vm_pkt_iov->iov_len < packet_max(interface) || packets[i].vm_pkt_iovcnt != 1 ||
            packets[i].vm_flags != 0)
            return VMNET_PACKET_TOO_BIG;
    int i = 0;
    for (; i < *n && to_guests.n > 0; i++)
        packets[i].vm_pkt_size =
            pop(&to_guests, packets[i].vm_pkt_iov->iov_base, packets[i].vm_pkt_iov->iov_len);
    for (int k = 0; k < i && fake_panel()->script.n_lies > 0; k++, fake_panel()->script.n_lies--)
        packets[k].vm_pkt_size = packets[k].vm_pkt_iov->iov_len + 1;
    *n = i;
    fake_panel()->counts.empty_reads += i == 0;
    return VMNET_SUCCESS;
}

vmnet_return_t vmnet_read(interface_ref interface, struct vmpktdesc *packets, int *pktcnt)
{
    pthread_mutex_lock(&lock);
    fake_panel()->counts.reads++;
    vmnet_return_t status = check_call(interface, *pktcnt);
    if (status == VMNET_SUCCESS)
        status = read_all(interface, packets, pktcnt);
    pthread_mutex_unlock(&lock);
    return status;
}

/* What the header says must be so, as far as a network card would trip over it. */
static bool header_is_true(const uint8_t *header, size_t frame_len, bool has_tso)
{
    const unsigned flags = header[0], gso_type = header[1];
    const size_t gso_size = header[4] | (size_t)header[5] << 8;
    const size_t csum_end = (header[6] | (size_t)header[7] << 8) + (header[8] | (size_t)header[9] << 8) + 2;
    if (flags & NEEDS_CSUM && csum_end > frame_len)
        return false;
    if (gso_type == 0)
        return frame_len <= PLAIN_MAX + 4;
    return has_tso && flags & NEEDS_CSUM && gso_size > 0 && gso_size < frame_len;
}

static vmnet_return_t check_packet(interface_ref interface, const struct vmpktdesc *packet)
{
    const size_t header_len = interface->header_len;
    const uint8_t *bytes = packet->vm_pkt_iov->iov_base;
    if (packet->vm_flags != 0)
        misuse("a packet has flags");
    if (packet->vm_pkt_iovcnt != 1 || packet->vm_pkt_size != packet->vm_pkt_iov->iov_len ||
        packet->vm_pkt_size < 14 + header_len)
        return VMNET_INVALID_ARGUMENT;
    if (packet->vm_pkt_size > packet_max(interface))
        return VMNET_PACKET_TOO_BIG;
    if (header_len && !header_is_true(bytes, packet->vm_pkt_size - header_len, interface->has_tso))
        return VMNET_INVALID_ARGUMENT;
    if (fake_panel()->script.refusal && bytes[header_len + 12] == 0xBA && bytes[header_len + 13] == 0xD0)
        return fake_panel()->script.refusal;
    return VMNET_SUCCESS;
}

static vmnet_return_t check_write(interface_ref interface, const struct vmpktdesc *packets, int n)
{
    size_t bytes = 0;
    for (int i = 0; i < n; i++) {
        vmnet_return_t status = check_packet(interface, &packets[i]);
        if (status != VMNET_SUCCESS)
            return status;
        bytes += packets[i].vm_pkt_size;
    }
    if (bytes > CALL_BYTES)
        return VMNET_TOO_MANY_PACKETS;
    if (fake_panel()->script.n_full == 0)
        return VMNET_SUCCESS;
    fake_panel()->script.n_full--;
    return VMNET_BUFFER_EXHAUSTED;
}

vmnet_return_t vmnet_write(interface_ref interface, struct vmpktdesc *packets, int *pktcnt)
{
    int n = *pktcnt;
    pthread_mutex_lock(&lock);
    fake_panel()->counts.writes++;
    vmnet_return_t status = check_call(interface, n);
    if (status == VMNET_SUCCESS)
        status = check_write(interface, packets, n);
    if (status == VMNET_SUCCESS && fake_panel()->script.partial && (unsigned)n > fake_panel()->script.partial)
        n = (int)fake_panel()->script.partial;
    if (status != VMNET_SUCCESS)
        n = 0;
    if ((unsigned)n > fake_panel()->counts.batch_max)
        fake_panel()->counts.batch_max = (unsigned)n;
    fake_host *to = host;
    for (int i = 0; i < n && !to; i++)
        push(&from_guests, packets[i].vm_pkt_iov->iov_base, packets[i].vm_pkt_size);
    pthread_mutex_unlock(&lock);
    for (int i = 0; i < n && to; i++)
        to(host_ctx, packets[i].vm_pkt_iov->iov_base, packets[i].vm_pkt_size);
    *pktcnt = n;
    return status;
}

/* ---- what a test does ---- */

void fake_vmnet_reset(const struct fake_script *new_script)
{
    pthread_mutex_lock(&lock);
    for (unsigned i = 0; i < n_interfaces; i++) {
        Block_release(interfaces[i]->callback);
        free(interfaces[i]);
    }
    n_interfaces = 0;
    fake_rules_forget();
    clear(&to_guests);
    clear(&from_guests);
    if (last_desc)
        xpc_release(last_desc);
    last_desc = NULL;
    lost = 0;
    host = NULL;
    fake_panel()->counts = (struct fake_counts){.starts = 0};
    fake_panel()->script = new_script ? *new_script : (struct fake_script){.start = FAKE_START_SUCCEEDS};
    pthread_mutex_unlock(&lock);
}

void fake_vmnet_change(const struct fake_script *new_script)
{
    pthread_mutex_lock(&lock);
    fake_panel()->script = *new_script;
    pthread_mutex_unlock(&lock);
}

struct fake_counts fake_vmnet_counts(void)
{
    pthread_mutex_lock(&lock);
    struct fake_counts copy = fake_panel()->counts;
    pthread_mutex_unlock(&lock);
    return copy;
}

void fake_vmnet_inject(const uint8_t *frame, size_t len)
{
    pthread_mutex_lock(&lock);
    if (!push(&to_guests, frame, len))
        fake_panel()->counts.kernel_drops++;
    fire_all();
    pthread_mutex_unlock(&lock);
}

void fake_vmnet_spurious_event(void)
{
    pthread_mutex_lock(&lock);
    fire_all();
    pthread_mutex_unlock(&lock);
}

void fake_vmnet_lose(vmnet_return_t status)
{
    pthread_mutex_lock(&lock);
    lost = status;
    pthread_mutex_unlock(&lock);
    fake_vmnet_notice();
}

void fake_vmnet_notice(void)
{
    pthread_mutex_lock(&lock);
    for (unsigned i = 0; i < n_interfaces; i++)
        interfaces[i]->is_due = interfaces[i]->event_is_out;
    fire_all();
    pthread_mutex_unlock(&lock);
}

size_t fake_vmnet_take(uint8_t *frame, size_t size)
{
    pthread_mutex_lock(&lock);
    size_t len = pop(&from_guests, frame, size);
    pthread_mutex_unlock(&lock);
    return len;
}

void fake_vmnet_set_host(fake_host *new_host, void *ctx)
{
    pthread_mutex_lock(&lock);
    host = new_host;
    host_ctx = ctx;
    pthread_mutex_unlock(&lock);
}

void fake_vmnet_on_running(fake_running *on_running)
{
    pthread_mutex_lock(&lock);
    running = on_running;
    pthread_mutex_unlock(&lock);
}

void fake_vmnet_on_stop(fake_stopped *on_stopped, void *ctx)
{
    pthread_mutex_lock(&lock);
    stopped = on_stopped;
    stopped_ctx = ctx;
    pthread_mutex_unlock(&lock);
}

xpc_object_t fake_vmnet_desc(void)
{
    return last_desc;
}

unsigned fake_vmnet_header_len(void)
{
    pthread_mutex_lock(&lock);
    const unsigned len = n_interfaces ? interfaces[n_interfaces - 1]->header_len : 0;
    pthread_mutex_unlock(&lock);
    return len;
}

bool fake_vmnet_has_tso(void)
{
    pthread_mutex_lock(&lock);
    const bool has_tso = n_interfaces && interfaces[n_interfaces - 1]->has_tso;
    pthread_mutex_unlock(&lock);
    return has_tso;
}
