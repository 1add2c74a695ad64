/* io/vmnet_batch_darwin.h - the packets of one vmnet_read() or vmnet_write(), and the memory they lie in */
#ifndef IO_VMNET_BATCH_DARWIN_H
#define IO_VMNET_BATCH_DARWIN_H

#include <stdint.h>
#include <vmnet/vmnet.h>

struct vmnet_batch {
    uint32_t max, frame_max; /* slots; bytes of each */
    uint32_t n;              /* slots that hold a frame, from the first */
    struct vmpktdesc *packets;
    struct iovec *iovs; /* one for each packet: vmnet is known to mishandle more */
    uint8_t *memory;
};

/* Returns 0 or -ENOMEM. */
int vmnet_batch_init(struct vmnet_batch *batch, uint32_t max, uint32_t frame_max);
void vmnet_batch_deinit(struct vmnet_batch *batch); /* all zero is fine */

/* Sets every slot to the full size: before each read, which leaves the sizes of what it has read. */
void vmnet_batch_open(struct vmnet_batch *batch);

/* Puts a copy of the frame into the next slot; there is one, and it is large enough. */
void vmnet_batch_add(struct vmnet_batch *batch, const uint8_t *frame, size_t len);

/* Takes the first 'n' frames out; the others move up, without their bytes. */
void vmnet_batch_advance(struct vmnet_batch *batch, uint32_t n);

#endif
