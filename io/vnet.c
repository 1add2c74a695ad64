/* io/vnet.c - see vnet.h */
#include "io/vnet.h"

#include "io/framing.h"
#include "switch/offload.h"

static uint16_t get_le16(const uint8_t *bytes)
{
    return (uint16_t)(bytes[0] | bytes[1] << 8);
}

static void put_le16(uint8_t *bytes, uint16_t value)
{
    bytes[0] = (uint8_t)value;
    bytes[1] = (uint8_t)(value >> 8);
}

static void get_header(const uint8_t *bytes, struct frame_offload *ret_offload)
{
    *ret_offload = (struct frame_offload){
        .flags = bytes[0],
        .gso_type = bytes[1],
        .header_len = get_le16(bytes + 2),
        .gso_size = get_le16(bytes + 4),
        .csum_start = get_le16(bytes + 6),
        .csum_offset = get_le16(bytes + 8),
    };
}

static void put_header(uint8_t *bytes, const struct frame_offload *offload)
{
    bytes[0] = offload->flags;
    bytes[1] = offload->gso_type;
    put_le16(bytes + 2, offload->header_len);
    put_le16(bytes + 4, offload->gso_size);
    put_le16(bytes + 6, offload->csum_start);
    put_le16(bytes + 8, offload->csum_offset);
    put_le16(bytes + 10, 1); /* num_buffers */
}

/* Takes the header off. Its last bytes become the prefix that every frame has in front. */
static bool unwrap_virtio(struct frame *frame, struct vnet_refused *refused)
{
    struct frame_offload offload;

    if (frame->len < VNET_HEADER + FRAME_LEN_MIN) {
        refused->runts++;
        return false;
    }
    get_header(frame->head, &offload);
    *frame = (struct frame){.head = frame->head + VNET_HEADER,
                            .len = frame->len - VNET_HEADER,
                            .head_len = frame->len - VNET_HEADER,
                            .offload = offload};
    if (!offload_accept(frame)) {
        refused->bad_offload++;
        return false;
    }
    frame_put_len(frame->head - FRAME_PREFIX, frame->len);
    return true;
}

static bool unwrap_raw(struct frame *frame, uint32_t mtu, struct vnet_refused *refused)
{
    if (offload_infer(frame, mtu))
        return true;
    refused->cannot_cut++;
    return false;
}

size_t vnet_unwrap(enum port_offload offload, uint32_t mtu, struct frame *frames, size_t n,
                   struct vnet_refused *refused)
{
    size_t n_left = 0;

    if (offload == OFFLOAD_OFF)
        return n;
    for (size_t i = 0; i < n; i++) {
        struct frame frame = frames[i];

        if (offload == OFFLOAD_VIRTIO ? unwrap_virtio(&frame, refused) : unwrap_raw(&frame, mtu, refused))
            frames[n_left++] = frame;
        else
            refused->bytes += frame.len;
    }
    return n_left;
}

void vnet_undo(enum port_offload offload, const struct frame *frames, size_t n)
{
    if (offload != OFFLOAD_VIRTIO)
        return;
    for (size_t i = 0; i < n; i++)
        put_header(frames[i].head - VNET_HEADER, &frames[i].offload);
}

void vnet_count(struct port *port, const struct vnet_refused *refused)
{
    port->counters.frames_in +=
        refused->runts + refused->oversize + refused->bad_offload + refused->cannot_cut;
    port->counters.bytes_in += refused->bytes;
    port->counters.drops[DROP_runt] += refused->runts;
    port->counters.drops[DROP_oversize] += refused->oversize;
    port->counters.drops[DROP_bad_offload] += refused->bad_offload;
    port->counters.drops[DROP_cannot_cut] += refused->cannot_cut;
}

const struct frame *const *vnet_wrap(struct vnet_room *room, const struct frame *const *frames, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct vnet_wrapped *wrapped = &room->wrapped[i];
        const struct frame *frame = frames[i];

        frame_put_len(wrapped->bytes, VNET_HEADER + frame->len);
        put_header(wrapped->bytes + FRAME_PREFIX, &frame->offload);
        wrapped->rest[0] = (struct frame_segment){frame->head, frame->head_len};
        for (uint32_t k = 0; k < frame->n_rest; k++)
            wrapped->rest[1 + k] = frame->rest[k];
        wrapped->frame = (struct frame){.head = wrapped->bytes + FRAME_PREFIX,
                                        .len = VNET_HEADER + frame->len,
                                        .head_len = VNET_HEADER,
                                        .rest = wrapped->rest,
                                        .n_rest = 1 + frame->n_rest};
        room->frames[i] = &wrapped->frame;
    }
    return room->frames;
}
