/* fuzz_vnet - a stream of a port that offloads, through the switch to ports of every kind
 *
 * The first byte chooses the port's kind and the network's MTU, the rest is its stream. As io/link_stream.c
 * does, whole records are taken, refused or handed to the lan, each batch once in vain before it counts. The
 * judge knows what no receiver may ever see, and that no frame gets lost uncounted.
 */
#include <stdlib.h>
#include <string.h>

#include "io/framing.h"
#include "io/vnet.h"
#include "switch/mac.h"
#include "switch/offload.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { PORTS = 5, FRAMES = 16 };

static struct port ports[PORTS];
static uint32_t mtu;

static void demand(bool is_true)
{
    if (!is_true)
        abort();
}

static void demand_is_for(const struct port *port, const struct frame *frame)
{
    uint32_t len = frame->head_len;

    for (uint32_t i = 0; i < frame->n_rest; i++)
        len += frame->rest[i].len;
    demand(len == frame->len && frame->len >= FRAME_LEN_MIN);
    demand(frame_get_len(frame->head - FRAME_PREFIX) == frame->len);
    demand(frame->head_len >= (len < FRAME_HEAD_MIN ? len : FRAME_HEAD_MIN));
    if (port->offload == OFFLOAD_OFF)
        demand(len <= port->frame_max + FRAME_VLAN_TAG);
    if (port->offload == OFFLOAD_RAW)
        demand(len <= FRAME_OFFLOAD_MAX);
    if (port->offload != OFFLOAD_VIRTIO)
        demand(offload_is_plain(frame));
    if (!port->takes_udp_gso)
        demand(frame->offload.gso_type != OFFLOAD_GSO_UDP_L4);
    /* What is said of it is true, still: as a receiver would check it. */
    if (frame->n_rest == 0) {
        struct frame copy = *frame;
        demand(offload_accept(&copy));
        demand(memcmp(&copy.offload, &frame->offload, sizeof(copy.offload)) == 0);
    }
}

static void send_frames(struct port *port, const struct frame *const *frames, size_t n)
{
    static struct vnet_room room;

    demand(n > 0 && n <= LAN_BATCH_MAX);
    for (size_t i = 0; i < n; i++)
        demand_is_for(port, frames[i]);
    if (port->offload == OFFLOAD_VIRTIO)
        demand(vnet_wrap(&room, frames, n)[n - 1]->len == frames[n - 1]->len + VNET_HEADER);
    port->counters.frames_out += n;
}

static struct lan *open_lan(uint8_t choice)
{
    static const struct port_ops ops = {.send = send_frames};
    static const enum port_offload kinds[PORTS] = {OFFLOAD_VIRTIO, OFFLOAD_OFF, OFFLOAD_RAW, OFFLOAD_VIRTIO,
                                                   OFFLOAD_VIRTIO};
    static const uint32_t mtus[] = {1500, 576, 9000, 60000};
    mtu = mtus[choice / 2 % 4];
    const struct lan_options options = {
        .fdb = {.capacity = 16, .port_limit = 16, .uplink_limit = 16, .age_ms = 1000, .hold_ms = 10},
        .mtu = mtu};
    struct lan *lan = lan_create(&options);

    demand(lan != NULL);
    memset(ports, 0, sizeof(ports));
    for (int i = 0; i < PORTS; i++) {
        int at = choice & 8 ? PORTS - 1 - i : i; /* in the other order */
        struct port *port = &ports[at];
        port->name[0] = (char)('a' + at);
        port->enabled = true;
        port->offload = at == 0 && choice % 2 ? OFFLOAD_RAW : kinds[at];
        port->frame_max = port->offload == OFFLOAD_RAW ? FRAME_OFFLOAD_MAX : mtu + FRAME_ETHER_HEADER;
        port->takes_udp_gso = at == 4;
        port_plug(port, &ops, port);
        lan_join(lan, port);
    }
    return lan;
}

static void close_lan(struct lan *lan)
{
    struct counters totals;
    uint64_t queued;

    lan_totals(lan, &totals, &queued);
    demand(totals.frames_in + totals.flood_copies + totals.segment_copies ==
           totals.frames_out + counters_dropped(&totals) + queued);
    for (int i = 0; i < PORTS; i++) {
        port_unplug(&ports[i]);
        lan_leave(lan, &ports[i]);
    }
    lan_destroy(lan);
}

/* Not taken at first: the same frames must come of it again. Returns how many. */
static size_t unwrap_twice(struct frame *frames, size_t n, struct vnet_refused *refused)
{
    struct frame offered[FRAMES], once[FRAMES];
    struct vnet_refused first = {.runts = 0};
    enum port_offload kind = ports[0].offload;

    memcpy(offered, frames, n * sizeof(*frames));
    size_t n_once = vnet_unwrap(kind, mtu, frames, n, &first);
    memcpy(once, frames, n_once * sizeof(*frames));
    vnet_undo(kind, frames, n_once);
    for (size_t i = 0; i < n; i++)
        demand(frame_get_len(offered[i].head - FRAME_PREFIX) == offered[i].len);
    memcpy(frames, offered, n * sizeof(*frames));
    size_t n_again = vnet_unwrap(kind, mtu, frames, n, refused);
    demand(n_again == n_once && memcmp(&first, refused, sizeof(first)) == 0);
    for (size_t i = 0; i < n_once; i++)
        demand(once[i].head == frames[i].head && once[i].len == frames[i].len &&
               memcmp(&once[i].offload, &frames[i].offload, sizeof(once[i].offload)) == 0);
    return n_once;
}

static void take(struct lan *lan, uint8_t *bytes, size_t len)
{
    struct frame frames[FRAMES];
    struct framing_result split;
    size_t done = 0;

    do {
        struct vnet_refused refused = {.runts = 0};

        framing_split(bytes + done, len - done, false, frames, FRAMES, &split);
        size_t n = unwrap_twice(frames, split.n_frames, &refused);
        if (n > 0)
            demand(lan_receive(lan, &ports[0], frames, n, false, 1) == LAN_TAKEN);
        vnet_count(&ports[0], &refused);
        done += split.consumed;
    } while (split.n_frames == FRAMES && !split.is_bad);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    struct lan *lan = open_lan(data[0]);
    uint8_t *bytes = malloc(size);

    demand(bytes != NULL);
    memcpy(bytes, data + 1, size - 1);
    take(lan, bytes, size - 1);
    free(bytes);
    close_lan(lan);
    return 0;
}
