/* tests/unit/io/fixture.h - a real loop, a real lan and real sockets for the tests of links
 *
 * fixture_close() asserts what must hold after every test: the sum rule, as many descriptors as before, and
 * a loop that can be closed.
 */
#ifndef TESTS_UNIT_IO_FIXTURE_H
#define TESTS_UNIT_IO_FIXTURE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "io/io.h"
#include "io/link.h"
#include "switch/lan.h"

enum { FIXTURE_PORTS = 8, FIXTURE_WAIT_MS = 10000 };

struct fixture {
    uv_loop_t loop;
    uv_timer_t tick;
    struct lan *lan;
    struct io *io;
    struct port ports[FIXTURE_PORTS];
    bool is_joined[FIXTURE_PORTS];
    unsigned n_closed[FIXTURE_PORTS]; /* on_closed calls */
    unsigned n_opened;                /* links that will call fixture_on_closed() */
    char reason[128];                 /* of the last one */
    unsigned fds_before;
    int clients[64]; /* ends that the tests hold; closed by fixture_close() */
    unsigned n_clients;
};

/* 'limits' may be NULL: the defaults. */
void fixture_open(struct fixture *fixture, const struct io_limits *limits);
void fixture_open_tuned(struct fixture *fixture, const struct io_settings *settings);
void fixture_open_mtu(struct fixture *fixture, uint32_t mtu);
void fixture_close(struct fixture *fixture);

/* Joins port i. */
struct port *fixture_join(struct fixture *fixture, unsigned i);

/* Joins port i if need be and plugs a link in; returns the client's end. */
int fixture_stream(struct fixture *fixture, unsigned i);
int fixture_datagram(struct fixture *fixture, unsigned i);

/* Hands a descriptor to fixture_close(), and closes one before. */
int fixture_own(struct fixture *fixture, int fd);
void fixture_hang_up(struct fixture *fixture, int fd);

/* For links a test opens itself; ctx is the fixture. */
void fixture_on_closed(struct port *port, void *ctx, const char *reason);

/* One turn of the loop, at most about a millisecond. */
void fixture_turn(struct fixture *fixture);

/* Turns until 'is_done' says so; false after FIXTURE_WAIT_MS. */
bool fixture_until(struct fixture *fixture, bool (*is_done)(struct fixture *, void *), void *ctx);

/* Turns until port i's link has been closed once more than 'before'. */
bool fixture_until_closed(struct fixture *fixture, unsigned i, unsigned before);

/* Turns for so long. */
void fixture_run_ms(struct fixture *fixture, uint64_t ms);

uint64_t fixture_drops(const struct fixture *fixture, unsigned i, enum drop_reason reason);
void fixture_assert_sum(struct fixture *fixture);
unsigned fixture_count_fds(void);

/* A frame of 'len' bytes from station 'from' to station 'to' (to < 0: broadcast); its bytes behind the header
 * depend on 'seq' alone. */
void frame_make(uint8_t *frame, size_t len, int to, int from, uint32_t seq);
bool frame_is(const uint8_t *frame, size_t len, int to, int from, uint32_t seq);

/* Writes prefix and frame to a client's stream, blocking at most FIXTURE_WAIT_MS while the loop turns. */
void stream_put(struct fixture *fixture, int fd, const uint8_t *bytes, size_t len);
void stream_send_frame(struct fixture *fixture, int fd, size_t len, int to, int from, uint32_t seq);

/* Reads exactly 'len' bytes while the loop turns; false if they do not come. */
bool stream_get(struct fixture *fixture, int fd, uint8_t *bytes, size_t len);
/* The next record; returns its length or -1. */
long stream_receive(struct fixture *fixture, int fd, uint8_t *frame, size_t size);
/* The next datagram; returns its length or -1. */
long datagram_receive(struct fixture *fixture, int fd, uint8_t *frame, size_t size);

#endif
