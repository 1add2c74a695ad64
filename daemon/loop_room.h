/* daemon/loop_room.h - a loop with room for its descriptors, made beforehand */
#ifndef DAEMON_LOOP_ROOM_H
#define DAEMON_LOOP_ROOM_H

#include <uv.h>

/* More than a network has at its fullest: 256 ports of a link, a lease and two listening sockets. 32 KiB. */
enum { LOOP_ROOM_FDS = 4096 };

/* libuv ends the process when the table of what it watches cannot grow. This opens a loop whose table is
 * large enough for LOOP_ROOM_FDS, or for what the process may have open. 'fd' is any descriptor that can be
 * polled, and stays the caller's. Returns 0, or a negative libuv code and no loop. */
int loop_room_open(uv_loop_t *ret_loop, int fd);

#endif
