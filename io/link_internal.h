/* io/link_internal.h - what the kinds of links have in common; for the files of io/ alone
 *
 * A kind is a struct link_class: how to read, how to flush the queue, how to end. Everything else (the queue
 * and its drops, pushing back, the poll handle, closing on a turn of its own) is written once, in link.c.
 */
#ifndef IO_LINK_INTERNAL_H
#define IO_LINK_INTERNAL_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <uv.h>

#include "io/batch.h"
#include "io/io.h"
#include "io/link.h"
#include "io/list.h"
#include "io/log.h"
#include "io/resume.h"
#include "io/vnet.h"
#include "switch/pressure.h"

enum link_state {
    LINK_SERVING,  /* frames flow -> ENDING by link_fail() or link_close(), DRAINING by link_close() */
    LINK_ENDING,   /* on io->ending: its end comes on a turn of its own; frames for it are dropped */
    LINK_DRAINING, /* unplugged; reads and discards until its timer ends it */
    LINK_IDLE,     /* a datagram path that waits for a client -> SERVING */
    LINK_CLOSING,  /* waits for libuv to let go of its handles, then its memory goes */
};

struct link_class {
    enum link_kind kind;
    bool drains; /* LINK_CLOSE_DRAIN makes sense */
    /* Frames have come, or the socket has an error to tell. SERVING and IDLE only. */
    void (*on_readable)(struct link *link);
    /* Sends what the queue holds, as far as it goes. SERVING only; may link_fail(). */
    void (*flush)(struct link *link);
    /* Offers again what lan_receive() left untaken; NULL if it never waits. */
    void (*resume)(struct link *link, bool may_wait);
    /* Comes on a turn of its own after link_fail() or link_close(). NULL: link_end(). */
    void (*end)(struct link *link);
    /* Asks whether a silent client is still there; for links on io->probed. */
    void (*probe)(struct link *link);
    /* The last thing, instead of on_closed, which is then its to call: frees what the link is part of. May be
     * NULL. */
    void (*free)(struct link *link);
};

#define LINK_REASON_SIZE 128

struct link {
    /* Set at open, then constant. */
    const struct link_class *class;
    const struct port_ops *ops;
    struct io *io;
    struct port *port;
    int fd;                       /* what its frames leave by; a hub's clients share theirs */
    const struct sockaddr_un *to; /* NULL: connected */
    socklen_t to_len;
    uint32_t header_len; /* VNET_HEADER where each frame has one on the wire, else 0 */
    link_closed_fn *on_closed;
    void *ctx;

    enum link_state state;
    uint64_t ready_ms;     /* when it last had something to read */
    uint64_t ready_turn;   /* and in which turn of the loop, see io_goes_later() */
    struct resume *resume; /* carried bytes and the queue */
    bool has_big;          /* its last batch of datagrams had long ones; not its neighbours' */
    bool is_greeted;       /* something came in, so that no greeting can follow */
    uint32_t record_len;   /* of a stream's last whole record, prefix included; 0: none yet */
    bool is_garbled;       /* a stream's record had an impossible length: no record can follow */
    unsigned n_idle_reads; /* of a datagram socket, in a row: it was readable and there was nothing */

    /* Sending. */
    uint64_t took_at_us; /* when the kernel last took bytes, or the queue began */
    bool is_unwakeable;  /* the last refusal will not end with a wake-up: ENOBUFS, or an unconnected socket */
    unsigned retry_ms;   /* until the next try that no wake-up asks for */
    uint64_t asked_at_us; /* the last such try inside send */

    /* Waiting (stream sources). */
    struct pressure pressure;
    uint64_t waits_since_us;

    /* As a source: frames that it may add to a queue that is nearly full. */
    unsigned reserve_right;
    uint64_t reserve_at_ms; /* when that was worked out */

    /* In io's lists, or alone. */
    struct list of_io, of_ending, of_waiting, of_pushing, of_probed, of_later;

    uv_poll_t poll;
    int events; /* what it polls for */
    bool has_poll;
    uv_timer_t timer; /* SERVING: tries to send again. DRAINING: the end */
    unsigned n_handles;
    char reason[LINK_REASON_SIZE];
};

struct io {
    uv_loop_t *loop;
    struct lan *lan;
    struct io_settings settings; /* in their ranges */

    /* Everything below is used by one callback at a time. */
    struct batch batch;
    uint8_t *stream_bytes; /* STREAM_COPY_MAX for a carried partial record, then io_read_room() */
    struct frame frames[LAN_BATCH_MAX];
    struct vnet_room vnet;
    /* Of the rows that one stream has not taken whole: their frames by themselves. */
    struct frame singles[LAN_BATCH_MAX];
    const struct frame *single[LAN_BATCH_MAX];
    struct link *source; /* whose frames the lan is handing over; NULL: nobody's */

    struct list links;
    struct list ending;
    struct list waiting;
    struct list pushing;
    struct list probed;
    bool is_relieved; /* a port has stopped pushing back: try the waiting ones */

    struct log_limit length_log; /* of clients that announce too long a frame */

    /* Links that had something to read: in the millisecond 'ready_ms' so far, and in the one before that. */
    uint64_t ready_ms;
    unsigned n_ready, n_ready_before;
    bool is_turn_ready; /* one had, in this turn of the loop */
    uint64_t turn_no;   /* counts turns in which one had */
    struct list later;  /* those whose turn comes when the others of this one have been read */
    uv_prepare_t turn;
    uv_check_t after; /* they have */
    uv_idle_t busy;   /* active while the loop must not sleep: busy_poll_us */
    uint64_t busy_until_us;

    uv_idle_t chores;  /* active only while there is something to end or to resume */
    uv_timer_t waits;  /* the longest a source may wait */
    uv_timer_t keeper; /* active only while there is memory to give back */
    uv_timer_t prober; /* active only while a link is probed: one for all, so that many wake us no oftener */
    unsigned n_handles;
};

enum {
    STREAM_COPY_MAX = 16 * 1024, /* a longer carried part stays where it is and is read on behind */
    LINK_RETRY_MIN_MS = 1,       /* the loop's resolution; the bounded retry that ENOBUFS asks for */
    LINK_RETRY_MAX_MS = 50,  /* while nothing goes: costs a stuck port nothing, and 100 ms is the promise */
    LINK_DRAIN_MS = 100,     /* enough for QEMU 10.0.2, which was tried */
    LINK_RESERVE = 8,        /* an eighth of a queue: what a flood may not fill, see link_keep() */
    LINK_RESERVE_PER_MS = 4, /* frames of one source */
    LINK_RESERVE_MAX = 32,
    IO_KEEPER_MS = 5000,
    IO_SHARE_MS = 4, /* a link that had nothing for so long does not count among those that share a turn */
    IO_PROBE_MS = DGRAM_PATH_PROBE_MS,
    IO_DGRAM_BIG = 4096, /* bytes: from here on the price of a call no longer matters */
};

/* ---- io.c ---- */

static inline uint64_t io_now_us(void)
{
    return uv_hrtime() / 1000;
}

/* The link's class is asked to probe it every IO_PROBE_MS until link_unplug(). */
void io_probe(struct link *link);

/* The link has touched memory: gives it back when the burst is long over. */
void io_keep(struct link *link);

/* lan_receive() for frames in io->frames that have come in by 'link'. */
enum lan_verdict link_receive(struct link *link, size_t n_frames, bool may_wait);

/* Runs the chores (ended links, relieved sources) on the next turn. */
void io_chores_soon(struct io *io);

/* A link has something to read; 'link_ms' is its own ready_ms. */
void io_ready(struct io *io, uint64_t *link_ms);

/* Who has something to read in turn after turn goes behind those who have not: a transfer takes its whole
 * share of a turn, and what is short and seldom need not wait for it. True: on_readable comes at the end of
 * this turn. */
bool io_goes_later(struct link *link);

/* How much a link may take in this turn: its share, see settings.h. */
size_t io_read_size(const struct io *io);
/* 'has_big': the last batch of this socket had long ones. */
unsigned io_batch_size(const struct io *io, bool has_big);

/* Flushes the ports that push back, and takes the right to it from those that have taken nothing for too
 * long. Not inside send. */
void io_refresh_pushing(struct io *io);

/* ---- link.c ---- */

/* Fills a link whose memory is zero: no handles, no port. Returns 0 or UV_ENOMEM. */
int link_init(struct link *link, struct io *io, const struct link_class *class, const struct port_ops *ops);

/* Gives the link its timer and, if fd >= 0, its poll handle, without changing O_NONBLOCK of the description.
 * Returns 0 or a negative libuv code; on error no handle is left. */
int link_open_handles(struct link *link, int fd);

/* Frees what link_init() made; no handle was opened. */
void link_deinit(struct link *link);

/* Makes a link of its own memory on 'fd', plugs it in and starts to read. Returns 0 or a negative libuv code;
 * then the fd is still the caller's. */
int link_open(struct io *io, struct port *port, int fd, const struct link_class *class,
              const struct port_ops *ops, link_closed_fn *on_closed, void *ctx);

/* The same with memory of the caller's, zero, that class->free will free. */
int link_open_as(struct link *link, struct io *io, struct port *port, int fd, const struct link_class *class,
                 const struct port_ops *ops, link_closed_fn *on_closed, void *ctx);

/* Puts the link into 'port', which serves from now on. */
void link_plug(struct link *link, struct port *port);

/* Empties the queue into DROP_link_closed and unplugs; nothing if it is not in its port. */
void link_unplug(struct link *link);

/* Closes the handles; when libuv lets go the fd is closed, the memory freed and on_closed called. */
void link_release(struct link *link);

/* The close callback of each handle whose 'data' is the link and that n_handles counts; does the above. */
void link_on_handle_closed(uv_handle_t *handle);

/* link_unplug() and link_release(). */
void link_end(struct link *link);

/* The peer is gone or has broken the rules: the end follows on a turn of its own. Safe inside send. The first
 * reason counts. */
void link_fail(struct link *link, const char *reason);

/* link_fail() with the text of a negative errno. */
void link_fail_errno(struct link *link, const char *what, int error);

/* Polls for UV_READABLE, UV_WRITABLE, both or nothing (0). */
void link_want(struct link *link, int events);

/* The kernel took bytes. */
void link_took(struct link *link);

/* It no longer pushes back: sources that wait are tried again. */
void link_stop_pushing(struct link *link);

/* Counts n frames as sent, which were 'wire_bytes' long with their headers, without prefixes. */
void link_sent(struct link *link, size_t n, size_t wire_bytes);

/* Counts n frames for this port as dropped. */
void link_drop(struct link *link, enum drop_reason reason, size_t n);

/* The frames as the link has them on its wire: with headers, if there are any. */
const struct frame *const *link_wrap(struct link *link, const struct frame *const *frames, size_t n);

/* What the socket did not take at once: into the queue, or dropped (queue_full; link_closed if the link has
 * ended). Then sees to it that the queue is flushed later. */
void link_keep(struct link *link, const struct frame *const *frames, size_t n);

/* After a flush: keeps port->queued, pushing back, and the next wake-up right. */
void link_settle(struct link *link);

/* True if the source may be made to wait now: a port pushes back, and the allowance is not used up. */
bool link_may_wait(struct link *link);

/* The source of these frames has to wait: no reading until io resumes it. */
void link_wait(struct link *link);

/* ---- link_datagram.c, shared by all datagram kinds ---- */

void datagram_send(struct port *port, const struct frame *const *frames, size_t n);
void datagram_flush(struct link *link);

/* Hands slots [first, first + n) of io's batch to the lan as coming from the link's port. */
void datagram_deliver(struct link *link, size_t first, size_t n);

/* Offers n slots to the lan as coming from the link's port. LAN_WAIT only with 'may_wait': then nothing has
 * been counted, and the same slots may be offered again. */
enum lan_verdict datagram_offer(struct link *link, struct batch_slot *slots, size_t n, bool may_wait);

/* "VFKT": what vfkit and krunkit send first. */
bool datagram_is_greeting(const struct batch_slot *slot);

#endif
