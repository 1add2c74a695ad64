/* daemon/dgram_client.h - the one client of a bound datagram socket: waited for, connected, watched
 *
 * For a program that serves one VM in its life. The first datagram names the client, whose own socket may lie
 * in any folder; the socket is connected to it. A datagram shorter than 64 bytes is a greeting and thrown
 * away
 * ("VFKT" of vfkit, one byte of renode); a longer one is the client's first frame and stays in the socket.
 *
 * Linux does not tell that the other end of a connected datagram socket has gone. So it is asked for every
 * DGRAM_CLIENT_PROBE_MS, as io/dgram_path.c does for a port's path and for the same reasons.
 */
#ifndef DAEMON_DGRAM_CLIENT_H
#define DAEMON_DGRAM_CLIENT_H

#include <stdbool.h>
#include <uv.h>

enum { DGRAM_CLIENT_PROBE_MS = 250 };

struct dgram_client;

struct dgram_client_events {
    /* It is there: 'fd' is the connected socket, now the callee's. Once. */
    void (*on_client)(void *ctx, int fd, const char *peer_path);
    /* It has gone. Once, after on_client. */
    void (*on_gone)(void *ctx);
};

/* Takes 'fd', a bound unix datagram socket, on success. Returns 0 or a negative libuv code. */
int dgram_client_open(struct dgram_client **ret_client, uv_loop_t *loop, int fd,
                      const struct dgram_client_events *events, void *ctx);

/* Asks the kernel whether the other end of a connected datagram socket has gone, by sending a frame that a
 * guest drops (io/dgram_address.h). */
bool dgram_client_has_gone(int fd);

/* No event is called any more; freed on a later turn of the loop. NULL is fine. */
void dgram_client_close(struct dgram_client *client);

#endif
