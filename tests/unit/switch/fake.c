/* tests/unit/switch/fake.c - a port without a socket, and frames to send through it */
#include "tests/unit/switch/fake.h"

#include <stdlib.h>
#include <string.h>

#include "switch/mac.h"
#include "switch/row.h"

static void take_frame(struct fake *fake, const struct frame *frame, const struct frame *row)
{
    struct port *port = &fake->port;

    if (fake->n_frames < FAKE_RECORDS_MAX) {
        fake->frames[fake->n_frames] = row;
        fake->heads[fake->n_frames] = frame->head;
    }
    fake->n_frames++;
    memcpy(fake->last, frame->head, frame->head_len < FAKE_FRAME_SIZE ? frame->head_len : FAKE_FRAME_SIZE);
    if (fake->queue_limit == 0) {
        port->counters.frames_out++;
        port->counters.bytes_out += frame->len;
    } else if (port->queued < fake->queue_limit) {
        port->queued++;
    } else {
        port->counters.drops[DROP_queue_full]++;
    }
}

static void fake_send(struct port *port, const struct frame *const *rows, size_t n)
{
    struct fake *fake = (struct fake *)port;
    static struct frame frames[LAN_BATCH_MAX];
    size_t n_frames = 0;

    fake->n_sends++;
    for (size_t i = 0; i < n; i++) {
        n_frames += row_count(rows[i]);
        if (n_frames > LAN_BATCH_MAX || (row_count(rows[i]) > 1 && !port->ops->takes_rows))
            abort();
        for (size_t k = 0, of_row = row_spread(rows[i], 1, frames); k < of_row; k++)
            take_frame(fake, &frames[k], rows[i]);
    }
}

static const struct port_ops fake_ops = {.send = fake_send};
static const struct port_ops fake_row_ops = {.send = fake_send, .takes_rows = true};

void fake_init(struct fake *fake, struct lan *lan, const char *name, enum port_role role)
{
    memset(fake, 0, sizeof(*fake));
    strncpy(fake->port.name, name, sizeof(fake->port.name) - 1);
    fake->port.role = role;
    fake->port.enabled = true;
    fake->port.frame_max = LAN_MTU_DEFAULT + FRAME_ETHER_HEADER;
    fake_plug(fake);
    if (lan)
        lan_join(lan, &fake->port);
}

void fake_plug(struct fake *fake)
{
    port_plug(&fake->port, fake->takes_rows ? &fake_row_ops : &fake_ops, fake);
}

void fake_unplug(struct fake *fake)
{
    fake->port.counters.drops[DROP_link_closed] += fake->port.queued;
    fake->port.queued = 0;
    port_unplug(&fake->port);
}

void fake_drain(struct fake *fake)
{
    fake->port.counters.frames_out += fake->port.queued;
    fake->port.queued = 0;
    fake->port.pushes_back = false;
}

void fake_clear(struct fake *fake)
{
    fake->n_sends = 0;
    fake->n_frames = 0;
}

void fake_frame_fill(struct fake_frame *frame, uint64_t destination, uint64_t source, uint16_t ethertype,
                     uint32_t len)
{
    uint8_t *head = frame->bytes + FRAME_PREFIX;

    memset(&frame->frame, 0, sizeof(frame->frame));
    for (int i = 0; i < FRAME_PREFIX; i++)
        frame->bytes[i] = (uint8_t)(len >> (24 - 8 * i));
    mac_store(head, destination);
    mac_store(head + MAC_LEN, source);
    head[12] = (uint8_t)(ethertype >> 8);
    head[13] = (uint8_t)ethertype;
    for (uint32_t i = FRAME_LEN_MIN; i < len; i++)
        head[i] = (uint8_t)(i * 7);
    frame->frame.head = head;
    frame->frame.head_len = len;
    frame->frame.len = len;
}

bool fake_sum_holds(const struct lan *lan)
{
    struct counters totals;
    uint64_t queued = 0;

    lan_totals(lan, &totals, &queued);
    return totals.frames_in + totals.flood_copies + totals.segment_copies ==
           totals.frames_out + counters_dropped(&totals) + queued;
}
