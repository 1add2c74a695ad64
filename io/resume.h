/* io/resume.h - everything about a link that a successor of this process would need to carry on
 *
 * One flat piece of memory per link without a pointer in it: who it is, the bytes of a begun record that
 * have come in, and the bytes that are still to go out. Today it is private memory; a later version shares
 * it with the monitor. Its pages are untouched until a frame is cut in two or has to queue: an idle port
 * costs one page.
 */
#ifndef IO_RESUME_H
#define IO_RESUME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "io/io.h"
#include "io/queue.h"
#include "switch/port.h"

struct resume {
    uint32_t size; /* of the whole piece */
    uint32_t kind; /* enum link_kind */
    char port[PORT_NAME_SIZE];
    uint8_t is_peer_known;
    uint32_t peer_uid, peer_gid;
    int32_t peer_pid;
    uint32_t in_at;      /* the room for incoming bytes lies so far behind the struct */
    uint32_t in_size;    /* of the room */
    uint32_t in_from;    /* in it, the bytes that have come: they start at a record */
    uint32_t in_len;     /* so many */
    uint32_t in_touched; /* as in struct queue */
    struct queue out;
};

/* 'settings' are in their ranges. Returns NULL if memory is short. */
struct resume *resume_create(const struct io_settings *settings);
void resume_destroy(struct resume *resume);

static inline uint8_t *resume_in(struct resume *resume)
{
    return (uint8_t *)resume + resume->in_at;
}

/* It has touched so much that resume_trim() will have something to do, now or when it is no longer in use. */
bool resume_is_touched(const struct resume *resume);

/* Gives memory that is not in use back to the system. */
void resume_trim(struct resume *resume);

/* The whole pages of [start, start + len) read as zero afterwards and cost nothing. */
void resume_forget(uint8_t *start, size_t len);

#endif
