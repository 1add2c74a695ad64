/* io/vmnet_batch_darwin.h - the packets of one vmnet_read() or vmnet_write(), and the memory they lie in
 *
 * A batch to read into has slots of one size, for nobody knows what comes. In one to write frames lie one
 * behind the other: as many as the call takes, by their number and by their bytes.
 */
#ifndef IO_VMNET_BATCH_DARWIN_H
#define IO_VMNET_BATCH_DARWIN_H

#include <stdbool.h>
#include <stdint.h>
#include <vmnet/vmnet.h>

struct vmnet_batch {
    uint32_t max;       /* packets */
    uint32_t slot;      /* bytes of each, to read into */
    uint32_t n;         /* frames in it, from the first packet on */
    size_t bytes, used; /* of memory, in all and up to its last frame */
    struct vmpktdesc *packets;
    struct iovec *iovs; /* one for each packet: vmnet is known to mishandle more */
    uint8_t *memory;
};

/* Each returns 0 or -ENOMEM. 'bytes' holds at least one frame of the largest size. */
int vmnet_batch_init_in(struct vmnet_batch *batch, uint32_t max, uint32_t slot);
int vmnet_batch_init_out(struct vmnet_batch *batch, uint32_t max, size_t bytes);
void vmnet_batch_deinit(struct vmnet_batch *batch); /* all zero is fine */

/* Sets every packet to the full size: before each read, which leaves the sizes of what it has read. */
void vmnet_batch_open(struct vmnet_batch *batch);

bool vmnet_batch_has_room(const struct vmnet_batch *batch, size_t len);
/* Puts a copy of the frame behind the others; there is room. */
void vmnet_batch_add(struct vmnet_batch *batch, const uint8_t *frame, size_t len);

/* Takes the first 'n' frames out; the others move up, without their bytes. */
void vmnet_batch_advance(struct vmnet_batch *batch, uint32_t n);

#endif
