/* io/vnet.h - between frames as the switch has them and as a port that offloads has them on its wire
 *
 * OFFLOAD_RAW     bare frames; what is left to do with one is worked out from its bytes
 * OFFLOAD_VIRTIO  in front of each frame a virtio_net_hdr_v1: 12 bytes, little endian (Virtio 1.2, 5.1.6)
 */
#ifndef IO_VNET_H
#define IO_VNET_H

#include <stddef.h>
#include <stdint.h>

#include "switch/lan.h"

enum { VNET_HEADER = 12 };

/* Frames that are not to be handed to the lan: none of them has been counted yet. */
struct vnet_refused {
    uint64_t runts, oversize, bad_offload, cannot_cut;
    uint64_t bytes; /* of all of them */
};

/* Takes n frames as they came from a port of this kind and leaves those that the lan may have, in order, with
 * true descriptors. Returns how many; adds the others to *refused. What it does to the bytes may be done
 * again if they are offered again later, but for OFFLOAD_VIRTIO only after vnet_undo(). */
size_t vnet_unwrap(enum port_offload offload, uint32_t mtu, struct frame *frames, size_t n,
                   struct vnet_refused *refused);

/* The n frames that vnet_unwrap() has left were not taken: puts the headers back. */
void vnet_undo(enum port_offload offload, const struct frame *frames, size_t n);

/* Counts the refused frames at the port they came from. */
void vnet_count(struct port *port, const struct vnet_refused *refused);

/* Room for the headers of one batch. */
struct vnet_room {
    struct vnet_wrapped {
        struct frame frame;
        struct frame_segment rest[1 + FRAME_REST_MAX];
        uint8_t bytes[FRAME_PREFIX + VNET_HEADER];
    } wrapped[LAN_BATCH_MAX];
    const struct frame *frames[LAN_BATCH_MAX];
};

/* Returns the n <= LAN_BATCH_MAX frames with their headers in front, as frames that are longer by as much;
 * valid until the next call and as long as 'frames' are. */
const struct frame *const *vnet_wrap(struct vnet_room *room, const struct frame *const *frames, size_t n);

#endif
