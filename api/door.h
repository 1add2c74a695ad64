/* api/door.h - who comes in: the way of a client from accept to libmicrohttpd */
#ifndef API_DOOR_H
#define API_DOOR_H

#include <stdbool.h>

#include "api/connection.h"

/* Takes 'fd', a fresh client of the server 'ctx'. */
void door_on_accept(void *ctx, int fd);

/* Looks at the head that lies in the socket: hands the connection on, turns it away, or looks again later.
 * 'is_over': nothing more will come. */
void door_look(struct connection *conn, bool is_over);

/* Closes a connection that is still in HEAD, without a word. */
void door_close(struct connection *conn);

#endif
