#include "daemon/dgram_client.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "io/dgram_address.h"
#include "io/log.h"

enum {
    GREETING_LEN_MAX = 63, /* an Ethernet frame on a wire is longer */
    SKIPPED_MAX = 64,      /* datagrams of others that are looked through in one turn */
    UNLINKED_ASK_MS = 5000,
};

struct dgram_client {
    uv_poll_t readable;
    uv_timer_t probe;
    unsigned n_handles; /* that are still to close */
    int fd;
    const struct dgram_client_events *events;
    void *ctx;
    struct dgram_address address;
    bool has_file; /* at the last probe */
    uint64_t asked_at_ms;
    struct log_limit denied_log;
};

/* ---- waiting ---- */

/* Looks at the first datagram without taking it. Returns its length, up to sizeof bytes, or a negative errno;
 * 'slot' gets its source. */
static ssize_t peek(const struct dgram_client *client, struct batch_slot *slot)
{
    uint8_t bytes[GREETING_LEN_MAX + 1];
    slot->from_len = sizeof(slot->from);
    ssize_t n = recvfrom(client->fd, bytes, sizeof(bytes), MSG_PEEK | MSG_DONTWAIT,
                         (struct sockaddr *)&slot->from, &slot->from_len);
    return n < 0 ? -errno : n;
}

/* Takes the first datagram and forgets it. */
static void skip(const struct dgram_client *client)
{
    uint8_t byte;
    if (recv(client->fd, &byte, 1, MSG_DONTWAIT) < 0)
        log_debug("a datagram could not be thrown away: %s", strerror(errno));
}

static void say_refused(struct dgram_client *client, const char *path, int error)
{
    char escaped[160];
    uint32_t suppressed;
    if (!log_allowed(&client->denied_log, uv_now(client->probe.loop), &suppressed))
        return;
    log_escape(path, escaped, sizeof(escaped));
    if (error == EACCES || error == EPERM)
        log_error("client_path_denied: the client's socket \"%s\" may not be written by uid %u: make it that "
                  "user's, or pass a descriptor with --fd",
                  escaped, (unsigned)geteuid());
    else
        log_warn("a client at \"%s\" cannot be connected to: %s", escaped, strerror(error));
}

static int connect_to(const struct dgram_client *client, const struct dgram_address *address)
{
    return connect(client->fd, (const struct sockaddr *)&address->name, address->len) < 0 ? errno : 0;
}

static void on_probe(uv_timer_t *timer);

/* From now on the socket's frames are the owner's to read. */
static void adopt(struct dgram_client *client)
{
    char escaped[160];
    int fd = fcntl(client->fd, F_DUPFD_CLOEXEC, 3);
    if (fd < 0) {
        log_error("no descriptors left for the client");
        return;
    }
    uv_poll_stop(&client->readable);
    dgram_address_note_file(&client->address);
    client->has_file = true;
    client->asked_at_ms = uv_now(client->probe.loop);
    uv_timer_start(&client->probe, on_probe, DGRAM_CLIENT_PROBE_MS, DGRAM_CLIENT_PROBE_MS);
    client->events->on_client(client->ctx, fd, log_escape(client->address.path, escaped, sizeof(escaped)));
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
    struct dgram_client *client = poll->data;
    struct batch_slot slot;
    (void)events;
    (void)status;
    for (unsigned i = 0; i < SKIPPED_MAX; i++) {
        ssize_t n = peek(client, &slot);
        if (n < 0)
            return;
        if (!dgram_address_of(&client->address, &slot)) {
            skip(client); /* of a socket without a name, which nobody can answer */
            continue;
        }
        int error = connect_to(client, &client->address);
        if (n <= GREETING_LEN_MAX || error)
            skip(client);
        if (!error) {
            adopt(client);
            return;
        }
        say_refused(client, client->address.path, error);
    }
}

/* ---- watching ---- */

bool dgram_client_has_gone(int fd)
{
    uint8_t frame[DGRAM_QUESTION_LEN];
    dgram_address_make_question(frame);
    return send(fd, frame, sizeof(frame), MSG_DONTWAIT | MSG_NOSIGNAL) < 0 &&
           (errno == ECONNREFUSED || errno == ENOTCONN || errno == ECONNRESET);
}

static void on_probe(uv_timer_t *timer)
{
    struct dgram_client *client = timer->data;
    const uint64_t now_ms = uv_now(timer->loop);
    int r = dgram_address_probe(&client->address);
    bool is_gone = r == -ECONNREFUSED || dgram_address_is_replaced(&client->address);
    /* Clients may unlink theirs, so a path that has gone says nothing by itself. */
    if (r == -ENOENT && (client->has_file || now_ms - client->asked_at_ms >= UNLINKED_ASK_MS)) {
        client->has_file = false;
        client->asked_at_ms = now_ms;
        is_gone = dgram_client_has_gone(client->fd);
    }
    if (!is_gone)
        return;
    uv_timer_stop(timer);
    client->events->on_gone(client->ctx);
}

/* ---- life ---- */

static void on_handle_closed(uv_handle_t *handle)
{
    struct dgram_client *client = handle->data;
    if (--client->n_handles > 0)
        return;
    close(client->fd);
    free(client);
}

int dgram_client_open(struct dgram_client **ret_client, uv_loop_t *loop, int fd,
                      const struct dgram_client_events *events, void *ctx)
{
    struct dgram_client *client = calloc(1, sizeof(*client));
    if (!client)
        return UV_ENOMEM;
    int r = uv_poll_init(loop, &client->readable, fd);
    if (r < 0) {
        free(client);
        return r;
    }
    uv_timer_init(loop, &client->probe);
    client->readable.data = client->probe.data = client;
    client->n_handles = 2;
    client->fd = fd;
    client->events = events;
    client->ctx = ctx;
    uv_poll_start(&client->readable, UV_READABLE, on_readable);
    *ret_client = client;
    return 0;
}

void dgram_client_close(struct dgram_client *client)
{
    if (!client)
        return;
    uv_close((uv_handle_t *)&client->readable, on_handle_closed);
    uv_close((uv_handle_t *)&client->probe, on_handle_closed);
}
