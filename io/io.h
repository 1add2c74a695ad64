/* io/io.h - what all links of one network share: the loop, the lan, the receive buffers
 *
 * Frames are borrowed from these buffers only during one callback, so one set serves every link; an idle
 * port costs no buffer. Also here: the list of sources that wait (switch/pressure.h) and the close list,
 * because a link may find its peer dead in the middle of a batch but must not leave the lan there.
 */
#ifndef IO_IO_H
#define IO_IO_H

#include <uv.h>

#include "io/settings.h"
#include "switch/lan.h"

struct io;

/* 'loop' and 'lan' stay the caller's and must outlive it. Returns 0 or UV_ENOMEM. */
int io_create(struct io **ret_io, uv_loop_t *loop, struct lan *lan, const struct io_settings *settings);

/* All links must be closed. Its handles finish on the loop: run it once more before uv_loop_close(). */
void io_destroy(struct io *io);

#endif
