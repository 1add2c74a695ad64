/* perf/tap.h - the user's side of a TAP interface of the namespace one runs in */
#ifndef PERF_TAP_H
#define PERF_TAP_H

#include <stdbool.h>

/* Opens the TAP 'name', and makes it if it is not there. With offload every frame is behind a
 * virtio_net_hdr_v1 (vnet_header.h), and the kernel leaves checksums and the cutting of TCP segments to the
 * other end. Ends the program with a message where it cannot. The descriptor does not block. */
int tap_open(const char *name, bool has_offload);

#endif
