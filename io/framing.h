/* io/framing.h - bytes of a stream into frames, in place
 *
 * The wire: a 4-byte big-endian length, then the frame; no handshake. The splitter is pure and keeps no
 * state: the caller offers everything it has from a record's first byte on, and offers again what was not
 * consumed when more has come. Frames point into the caller's bytes, with their prefix in front (frame.h).
 *
 * Lengths
 *   0 to 13          a runt: skipped and counted, the stream goes on behind it
 *   14 to 69632      a frame; whether the network's MTU allows it is for lan_receive() to say
 *   more             the stream cannot be trusted any longer: the caller closes it
 */
#ifndef IO_FRAMING_H
#define IO_FRAMING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "switch/frame.h"

struct framing_result {
    size_t n_rows;       /* written to 'rows' */
    size_t n_frames;     /* in them */
    uint32_t last_len;   /* of the last of these */
    size_t consumed;     /* bytes of whole records, runts included; the rest is the start of a record */
    uint64_t n_runts;    /* skipped */
    uint64_t runt_bytes; /* their bytes without prefixes */
    bool is_bad;         /* the record behind 'consumed' announces more than FRAME_LEN_MAX */
    uint32_t bad_len;    /* what it announces */
};

/* Splits 'len' bytes, which start at a record, into at most 'max_frames' frames: as rows (switch/row.h), or,
 * without 'in_rows', each by itself. Stops early at a bad length. */
void framing_split(uint8_t *bytes, size_t len, bool in_rows, struct frame *rows, size_t max_frames,
                   struct framing_result *ret);

#endif
