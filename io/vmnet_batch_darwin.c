#include "io/vmnet_batch_darwin.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int init(struct vmnet_batch *batch, uint32_t max, size_t bytes)
{
    *batch = (struct vmnet_batch){.max = max, .bytes = bytes};
    batch->packets = calloc(max, sizeof(*batch->packets));
    batch->iovs = calloc(max, sizeof(*batch->iovs));
    batch->memory = calloc(1, bytes);
    if (!batch->packets || !batch->iovs || !batch->memory) {
        vmnet_batch_deinit(batch);
        return -ENOMEM;
    }
    for (uint32_t i = 0; i < max; i++)
        batch->packets[i] = (struct vmpktdesc){.vm_pkt_iov = &batch->iovs[i], .vm_pkt_iovcnt = 1};
    return 0;
}

int vmnet_batch_init_in(struct vmnet_batch *batch, uint32_t max, uint32_t slot)
{
    int r = init(batch, max, (size_t)max * slot);
    batch->slot = slot;
    return r;
}

int vmnet_batch_init_out(struct vmnet_batch *batch, uint32_t max, size_t bytes)
{
    return init(batch, max, bytes);
}

void vmnet_batch_deinit(struct vmnet_batch *batch)
{
    free(batch->packets);
    free(batch->iovs);
    free(batch->memory);
    *batch = (struct vmnet_batch){.max = 0};
}

static void set_packet(struct vmnet_batch *batch, uint32_t i, uint8_t *at, size_t len)
{
    batch->iovs[i] = (struct iovec){.iov_base = at, .iov_len = len};
    batch->packets[i].vm_pkt_size = len; /* vmnet wants both to say the same */
    batch->packets[i].vm_pkt_iovcnt = 1;
    batch->packets[i].vm_flags = 0;
}

void vmnet_batch_open(struct vmnet_batch *batch)
{
    batch->n = 0;
    for (uint32_t i = 0; i < batch->max; i++)
        set_packet(batch, i, batch->memory + (size_t)i * batch->slot, batch->slot);
}

bool vmnet_batch_has_room(const struct vmnet_batch *batch, size_t len)
{
    return batch->n < batch->max && len <= batch->bytes - batch->used;
}

void vmnet_batch_add(struct vmnet_batch *batch, const uint8_t *frame, size_t len)
{
    uint8_t *at = batch->memory + batch->used;
    memcpy(at, frame, len);
    set_packet(batch, batch->n++, at, len);
    batch->used += len;
}

void vmnet_batch_advance(struct vmnet_batch *batch, uint32_t n)
{
    for (uint32_t i = n; i < batch->n; i++)
        set_packet(batch, i - n, batch->iovs[i].iov_base, batch->iovs[i].iov_len);
    batch->n -= n;
    if (batch->n == 0)
        batch->used = 0; /* else the room of those that went comes back with the last */
}
