/* perf/vnet_header.h - the header that tells how far a frame is finished: checksum, and cutting into segments
 *
 * A virtio_net_hdr_v1 (Virtual I/O Device 1.x, section 5.1.6), 12 bytes, little endian. A VM whose header is
 * taken off before the wire (krunkit's offloading=on) gets frames whose state can only be told from their
 * bytes.
 */
#ifndef PERF_VNET_HEADER_H
#define PERF_VNET_HEADER_H

#include <stddef.h>
#include <stdint.h>

enum {
    VNET_HEADER_SIZE = 12,
    VNET_NEEDS_CSUM = 1, /* flags */
    VNET_GSO_NONE = 0,
    VNET_GSO_TCPV4 = 1,
    VNET_GSO_TCPV6 = 4
};

/* Writes the header that fits 'frame' on a link with this MTU. TCP and UDP over IPv4 and IPv6: where the
 * checksum starts and lies; TCP longer than the MTU allows: the kind, the headers' length, the segments'
 * size. Fragments, IPv6 with extension headers, tagged frames, all else, and what is cut short: zeroes, "a
 * finished frame". */
void vnet_header_rebuild(uint8_t header[VNET_HEADER_SIZE], const uint8_t *frame, size_t len, size_t mtu);

#endif
