/* switch/row.h - frames that lie one behind the other in a receive buffer and go the same way
 *
 * A transfer sends many frames in a row between the same two addresses, and a stream brings them as
 * neighbours. Such a row is one struct frame, its first, that counts those behind it: what is decided once is
 * also handled once, from the socket it came from to the socket it leaves by. Whoever wants the frames by
 * themselves, as a datagram socket does, gets them from row_spread().
 *
 * What always holds for a row of more than one
 *   Each frame lies in one piece behind its prefix, and the next begins where it ends.
 *   All have the same addresses and EtherType, and a descriptor of zero.
 */
#ifndef SWITCH_ROW_H
#define SWITCH_ROW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "switch/frame.h"

/* Addresses and EtherType, FRAME_LEN_MIN bytes, as two overlapping loads: only to be compared. */
struct row_flow {
    uint64_t low, high;
};

static inline struct row_flow row_flow_of(const uint8_t *head)
{
    struct row_flow flow;

    memcpy(&flow.low, head, sizeof flow.low);
    memcpy(&flow.high, head + FRAME_LEN_MIN - sizeof flow.high, sizeof flow.high);
    return flow;
}

static inline bool row_is_of_flow(const uint8_t *head, const struct row_flow *flow)
{
    const struct row_flow own = row_flow_of(head);

    return own.low == flow->low && own.high == flow->high;
}

/* How many frames it stands for. */
static inline uint32_t row_count(const struct frame *row)
{
    return 1 + row->n_more;
}

/* Bytes of all of them, without prefixes. */
static inline uint32_t row_bytes(const struct frame *row)
{
    return row->len + row->more_bytes;
}

/* Behind the last byte of its first piece; of a row of more than one, behind the whole. */
static inline const uint8_t *row_end(const struct frame *row)
{
    return row->head + row->head_len + (size_t)row->n_more * FRAME_PREFIX + row->more_bytes;
}

/* Makes a row of a frame that stands alone and lies, in one piece, in front of 'at': takes in the records
 * there that go the same way, 'max' at most, up to one that is not whole before 'end' or is no frame. Returns
 * where they end; *last_len: of the last one taken in. */
uint8_t *row_extend(struct frame *row, uint8_t *at, const uint8_t *end, size_t max, uint32_t *last_len);

/* Writes each frame of the n rows by itself, in order. Returns how many. 'ret_frames' has room for them. */
size_t row_spread(const struct frame *rows, size_t n, struct frame *ret_frames);

#endif
