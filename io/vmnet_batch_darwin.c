#include "io/vmnet_batch_darwin.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int vmnet_batch_init(struct vmnet_batch *batch, uint32_t max, uint32_t frame_max)
{
    *batch = (struct vmnet_batch){.max = max, .frame_max = frame_max};
    batch->packets = calloc(max, sizeof(*batch->packets));
    batch->iovs = calloc(max, sizeof(*batch->iovs));
    batch->memory = calloc(max, frame_max);
    if (!batch->packets || !batch->iovs || !batch->memory) {
        vmnet_batch_deinit(batch);
        return -ENOMEM;
    }
    for (uint32_t i = 0; i < max; i++) {
        batch->iovs[i].iov_base = batch->memory + (size_t)i * frame_max;
        batch->packets[i] = (struct vmpktdesc){.vm_pkt_iov = &batch->iovs[i], .vm_pkt_iovcnt = 1};
    }
    vmnet_batch_open(batch);
    return 0;
}

void vmnet_batch_deinit(struct vmnet_batch *batch)
{
    free(batch->packets);
    free(batch->iovs);
    free(batch->memory);
    *batch = (struct vmnet_batch){.max = 0};
}

void vmnet_batch_open(struct vmnet_batch *batch)
{
    batch->n = 0;
    for (uint32_t i = 0; i < batch->max; i++) {
        batch->packets[i].vm_pkt_size = batch->iovs[i].iov_len = batch->frame_max;
        batch->packets[i].vm_pkt_iovcnt = 1;
        batch->packets[i].vm_flags = 0;
    }
}

static void set_size(struct vmnet_batch *batch, uint32_t i, size_t len)
{
    /* vmnet wants both to say the same. */
    batch->packets[i].vm_pkt_size = batch->iovs[i].iov_len = len;
    batch->packets[i].vm_flags = 0;
}

void vmnet_batch_add(struct vmnet_batch *batch, const uint8_t *frame, size_t len)
{
    memcpy(batch->iovs[batch->n].iov_base, frame, len);
    set_size(batch, batch->n++, len);
}

void vmnet_batch_advance(struct vmnet_batch *batch, uint32_t n)
{
    for (uint32_t i = n; i < batch->n; i++) {
        struct iovec taken = batch->iovs[i - n];
        batch->iovs[i - n] = batch->iovs[i];
        batch->iovs[i] = taken; /* its memory is for a later frame */
        set_size(batch, i - n, batch->iovs[i - n].iov_len);
    }
    batch->n -= n;
}
