/* tests/fake-sdk/fake_xpc_connection.c - connections to Mach services, between processes
 *
 * A service is an abstract unix socket, a message a packet: its id, whether it is a reply, the value, its
 * descriptors. A thread for each end reads, and gives what it has read to the connection's queue in order.
 * Where launchd's double (fake_launch.h) has a job for the service, it is started; without one a connection
 * is invalid, at the first message.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/fake-sdk/blocks.h"
#include "tests/fake-sdk/fake_code_signing.h"
#include "tests/fake-sdk/fake_launch.h"
#include "tests/fake-sdk/fake_xpc.h"
#include "tests/fake-sdk/fake_xpc_internal.h"

enum role { CLIENT, LISTENER, PEER };

struct pending { /* waits for a reply: by a handler on a queue, or by a thread */
    struct pending *next;
    uint32_t id;
    dispatch_queue_t queue; /* NULL: a thread */
    xpc_handler_t handler;
    xpc_object_t *ret_reply;
};

struct _xpc_connection_s {
    struct fake_object object;
    enum role role;
    char name[64];
    dispatch_queue_t queue;
    xpc_handler_t handler;
    bool is_resumed, is_cancelled, is_reading;
    bool is_over; /* it has been told that it is invalid, which is the last it hears */
    int fd;       /* -1: none */
    struct pending *pending;
    uint32_t next_id;
    struct ucred peer;
    void *requirement;              /* NULL: any executable may speak */
    struct _xpc_connection_s *next; /* of all clients */
};

struct head {
    uint32_t id; /* 0: wants no reply */
    uint32_t is_reply;
    uint32_t lives; /* added to the version of the sender's pid */
};

/* Of everything here. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t replied = PTHREAD_COND_INITIALIZER;
static struct _xpc_connection_s *clients;
static int n_transactions;
static enum fake_xpc_voice voice;

socklen_t fake_registry_address(const char *name, struct sockaddr_un *ret_address)
{
    const char *home = getenv("HOME");
    uint64_t hash = UINT64_C(0xCBF29CE484222325);
    for (const char *at = home ? home : ""; *at; at++)
        hash = (hash ^ (unsigned char)*at) * UINT64_C(0x100000001B3);
    memset(ret_address, 0, sizeof(*ret_address));
    ret_address->sun_family = AF_UNIX;
    int n = snprintf(ret_address->sun_path + 1, sizeof(ret_address->sun_path) - 1, "fake-macos/%016llx/%s",
                     (unsigned long long)hash, name);
    return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)n);
}

/* ---- life ---- */

static void destroy(void *object)
{
    struct _xpc_connection_s *connection = object;
    if (!connection->is_resumed && !connection->is_cancelled)
        fake_xpc_misuse("a connection is released that was never resumed");
    pthread_mutex_lock(&lock);
    for (struct _xpc_connection_s **at = &clients; *at; at = &(*at)->next) {
        if (*at == connection) {
            *at = connection->next;
            break;
        }
    }
    pthread_mutex_unlock(&lock);
    if (connection->fd >= 0)
        close(connection->fd);
    if (connection->queue)
        dispatch_release(connection->queue);
    if (connection->requirement)
        xpc_release(connection->requirement);
    Block_release(connection->handler);
    free(connection);
}

static struct _xpc_connection_s *create(enum role role, const char *name, dispatch_queue_t queue)
{
    struct _xpc_connection_s *connection = calloc(1, sizeof(*connection));
    if (!connection)
        abort();
    fake_object_init(&connection->object, XPC_TYPE_CONNECTION, destroy);
    connection->role = role;
    connection->fd = -1;
    snprintf(connection->name, sizeof(connection->name), "%s", name);
    if (queue)
        dispatch_retain(queue);
    connection->queue = queue ? queue : dispatch_queue_create(name, DISPATCH_QUEUE_SERIAL);
    return connection;
}

xpc_connection_t xpc_connection_create_mach_service(const char *name, dispatch_queue_t queue, uint64_t flags)
{
    struct _xpc_connection_s *connection =
        create(flags & XPC_CONNECTION_MACH_SERVICE_LISTENER ? LISTENER : CLIENT, name, queue);
    if (connection->role == CLIENT) {
        pthread_mutex_lock(&lock);
        connection->next = clients;
        clients = connection;
        pthread_mutex_unlock(&lock);
    }
    return connection;
}

void xpc_connection_set_event_handler(xpc_connection_t connection, xpc_handler_t handler)
{
    pthread_mutex_lock(&lock);
    Block_release(connection->handler);
    connection->handler = Block_copy(handler);
    pthread_mutex_unlock(&lock);
}

void xpc_connection_set_target_queue(xpc_connection_t connection, dispatch_queue_t queue)
{
    if (connection->is_resumed)
        fake_xpc_misuse("a connection's queue is changed while it runs");
    dispatch_retain(queue);
    dispatch_release(connection->queue);
    connection->queue = queue;
}

/* ---- events ---- */

/* Takes the event's reference. */
static void deliver(struct _xpc_connection_s *connection, xpc_object_t event)
{
    const bool is_last = event == XPC_ERROR_CONNECTION_INVALID;
    xpc_retain(connection);
    dispatch_async(connection->queue, ^{
      pthread_mutex_lock(&lock);
      const bool is_heard = !connection->is_over && (is_last || !connection->is_cancelled);
      connection->is_over = connection->is_over || is_last;
      xpc_handler_t handler = connection->handler;
      pthread_mutex_unlock(&lock);
      if (is_heard)
          handler(event);
      xpc_release(event);
      xpc_release(connection);
    });
}

/* Takes both references. Called with the lock held. */
static void answer(struct pending *pending, xpc_object_t reply)
{
    if (pending->queue) {
        xpc_handler_t handler = pending->handler;
        dispatch_queue_t queue = pending->queue;
        dispatch_async(queue, ^{
          handler(reply);
          xpc_release(reply);
          Block_release(handler);
        });
        dispatch_release(queue);
    } else {
        *pending->ret_reply = reply;
        pthread_cond_broadcast(&replied);
    }
    free(pending);
}

/* Locked. */
static struct pending *take_pending(struct _xpc_connection_s *connection, uint32_t id)
{
    for (struct pending **at = &connection->pending; *at; at = &(*at)->next) {
        struct pending *found = *at;
        if (found->id == id) {
            *at = found->next;
            return found;
        }
    }
    return NULL;
}

/* Locked. */
static void answer_all(struct _xpc_connection_s *connection, xpc_object_t error)
{
    while (connection->pending)
        answer(take_pending(connection, connection->pending->id), error);
}

/* ---- reading ---- */

/* When the process began, in ticks: what tells two of one pid apart. */
static uint32_t life_of(pid_t pid)
{
    char path[64], text[1024];
    unsigned long long begun = 0;
    snprintf(path, sizeof(path), "/proc/%ld/stat", (long)pid);
    FILE *file = fopen(path, "r");
    const size_t n = file ? fread(text, 1, sizeof(text) - 1, file) : 0;
    if (file)
        fclose(file);
    text[n] = 0;
    const char *at = strrchr(text, ')'); /* the name may have spaces */
    if (at)
        sscanf(at + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %llu",
               &begun);
    return (uint32_t)begun;
}

static void take_sender(const struct cmsghdr *at, struct fake_sender *ret_sender)
{
    struct ucred cred;
    memcpy(&cred, CMSG_DATA(at), sizeof(cred));
    *ret_sender =
        (struct fake_sender){.pid = cred.pid, .uid = cred.uid, .gid = cred.gid, .version = life_of(cred.pid)};
}

static void take_control(struct msghdr *message, struct fake_wire *wire, struct fake_sender *ret_sender)
{
    for (struct cmsghdr *at = CMSG_FIRSTHDR(message); at; at = CMSG_NXTHDR(message, at)) {
        if (at->cmsg_level == SOL_SOCKET && at->cmsg_type == SCM_CREDENTIALS)
            take_sender(at, ret_sender);
        if (at->cmsg_level != SOL_SOCKET || at->cmsg_type != SCM_RIGHTS)
            continue;
        wire->n_fds = (unsigned)((at->cmsg_len - CMSG_LEN(0)) / sizeof(int));
        memcpy(wire->fds, CMSG_DATA(at), wire->n_fds * sizeof(int));
    }
}

static bool receive(int fd, struct head *head, struct fake_wire *wire, struct fake_sender *ret_sender)
{
    _Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(wire->fds)) + CMSG_SPACE(sizeof(struct ucred))];
    struct iovec iovs[] = {{head, sizeof(*head)}, {wire->bytes, sizeof(wire->bytes)}};
    struct msghdr message = {
        .msg_iov = iovs, .msg_iovlen = 2, .msg_control = control, .msg_controllen = sizeof(control)};
    wire->len = wire->at = 0;
    wire->n_fds = wire->fds_at = 0;
    ssize_t n = recvmsg(fd, &message, MSG_CMSG_CLOEXEC);
    if (n < (ssize_t)sizeof(*head))
        return false;
    wire->len = (size_t)n - sizeof(*head);
    take_control(&message, wire, ret_sender);
    ret_sender->version += head->lives;
    return true;
}

/* Takes the message if its sender is none that the connection listens to. */
static bool is_refused(struct _xpc_connection_s *connection, const struct head *head, xpc_object_t message)
{
    if (!connection->requirement ||
        xpc_peer_requirement_match_received_message(connection->requirement, message, NULL))
        return false;
    xpc_release(message);
    pthread_mutex_lock(&lock);
    struct pending *pending = head->is_reply ? take_pending(connection, head->id) : NULL;
    if (pending)
        answer(pending, XPC_ERROR_PEER_CODE_SIGNING_REQUIREMENT);
    pthread_mutex_unlock(&lock);
    return true;
}

static void take_message(struct _xpc_connection_s *connection, const struct head *head,
                         struct fake_wire *wire, const struct fake_sender *sender)
{
    struct _xpc_dictionary_s *message = fake_wire_decode(wire);
    message->remote = xpc_retain(connection);
    message->sender = *sender;
    if (is_refused(connection, head, message))
        return;
    if (!head->is_reply) {
        message->reply_id = head->id;
        deliver(connection, message);
        return;
    }
    pthread_mutex_lock(&lock);
    struct pending *pending = take_pending(connection, head->id);
    if (pending)
        answer(pending, message);
    pthread_mutex_unlock(&lock);
    if (!pending)
        xpc_release(message);
}

static void end_reading(struct _xpc_connection_s *connection, int fd)
{
    pthread_mutex_lock(&lock);
    const bool is_interrupted = connection->role == CLIENT && !connection->is_cancelled;
    xpc_object_t error = is_interrupted ? XPC_ERROR_CONNECTION_INTERRUPTED : XPC_ERROR_CONNECTION_INVALID;
    connection->fd = -1;
    connection->is_reading = false;
    answer_all(connection, error);
    pthread_mutex_unlock(&lock);
    close(fd);
    deliver(connection, error);
}

static void *run_reader(void *arg)
{
    struct _xpc_connection_s *connection = arg;
    pthread_mutex_lock(&lock);
    const int fd = connection->fd;
    pthread_mutex_unlock(&lock);
    struct fake_wire *wire = malloc(sizeof(*wire));
    struct head head;
    struct fake_sender sender = {0};
    while (wire && receive(fd, &head, wire, &sender))
        take_message(connection, &head, wire, &sender);
    free(wire);
    end_reading(connection, fd);
    xpc_release(connection);
    return NULL;
}

static void *run_listener(void *arg)
{
    struct _xpc_connection_s *listener = arg;
    for (;;) {
        const int fd = accept(listener->fd, NULL, NULL);
        if (fd < 0)
            break;
        struct _xpc_connection_s *peer = create(PEER, listener->name, NULL);
        socklen_t len = sizeof(peer->peer);
        getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer->peer, &len);
        peer->fd = fd;
        deliver(listener, peer); /* which its reader keeps alive once it was resumed */
    }
    pthread_mutex_lock(&lock);
    close(listener->fd);
    listener->fd = -1;
    pthread_mutex_unlock(&lock);
    deliver(listener, XPC_ERROR_CONNECTION_INVALID);
    xpc_release(listener);
    return NULL;
}

static void start_thread(struct _xpc_connection_s *connection, void *(*run)(void *))
{
    pthread_t thread;
    connection->is_reading = true;
    xpc_retain(connection);
    if (pthread_create(&thread, NULL, run, connection) != 0)
        abort();
    pthread_detach(thread);
}

/* ---- connecting ---- */

/* Each message is to say who sent it; what a listener accepts inherits that. */
static int new_socket(void)
{
    const int yes = 1;
    const int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (fd >= 0)
        setsockopt(fd, SOL_SOCKET, SO_PASSCRED, &yes, sizeof(yes));
    return fd;
}

/* Locked. */
static void listen_to(struct _xpc_connection_s *listener)
{
    struct sockaddr_un address;
    const socklen_t len = fake_registry_address(listener->name, &address);
    listener->fd = new_socket();
    if (listener->fd < 0 || bind(listener->fd, (struct sockaddr *)&address, len) < 0 ||
        listen(listener->fd, SOMAXCONN) < 0) {
        fprintf(stderr, "fake-sdk: xpc: %s: %s\n", listener->name, strerror(errno));
        deliver(listener, XPC_ERROR_CONNECTION_INVALID);
        return;
    }
    start_thread(listener, run_listener);
}

/* Locked. */
static bool connect_to(struct _xpc_connection_s *client)
{
    struct sockaddr_un address;
    const socklen_t len = fake_registry_address(client->name, &address);
    const int fd = new_socket();
    const bool is_there =
        fd >= 0 &&
        (connect(fd, (struct sockaddr *)&address, len) == 0 ||
         (fake_launch_look_up(client->name) && connect(fd, (struct sockaddr *)&address, len) == 0));
    if (!is_there) {
        if (fd >= 0)
            close(fd);
        return false;
    }
    socklen_t size = sizeof(client->peer);
    getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &client->peer, &size);
    client->fd = fd;
    start_thread(client, run_reader);
    return true;
}

void xpc_connection_resume(xpc_connection_t connection)
{
    pthread_mutex_lock(&lock);
    if (!connection->handler)
        fake_xpc_misuse("a connection without a handler is resumed");
    if (connection->is_resumed)
        fake_xpc_misuse("a connection is resumed twice");
    connection->is_resumed = true;
    if (connection->role == LISTENER)
        listen_to(connection);
    else if (connection->role == PEER && !connection->is_cancelled)
        start_thread(connection, run_reader);
    pthread_mutex_unlock(&lock);
}

void xpc_connection_cancel(xpc_connection_t connection)
{
    pthread_mutex_lock(&lock);
    const bool is_first = !connection->is_cancelled;
    const bool is_idle = !connection->is_reading;
    connection->is_cancelled = true;
    if (is_first && connection->fd >= 0)
        shutdown(connection->fd, SHUT_RDWR);
    pthread_mutex_unlock(&lock);
    if (is_first && is_idle && connection->is_resumed)
        deliver(connection, XPC_ERROR_CONNECTION_INVALID);
}

void fake_xpc_interrupt(void)
{
    pthread_mutex_lock(&lock);
    for (struct _xpc_connection_s *client = clients; client; client = client->next)
        if (client->fd >= 0)
            shutdown(client->fd, SHUT_RDWR);
    pthread_mutex_unlock(&lock);
}

/* ---- sending ---- */

static bool send_by_child(int fd, const struct msghdr *packet)
{
    int status = 0;
    const pid_t child = fork();
    if (child == 0)
        _exit(sendmsg(fd, packet, MSG_NOSIGNAL) < 0);
    return child > 0 && waitpid(child, &status, 0) == child && status == 0;
}

/* Locked, but for the wait: who makes room may need the lock to do so. */
static bool send_when_room(struct _xpc_connection_s *connection, const struct msghdr *packet)
{
    enum { LOOK_MS = 10 }; /* the descriptor may be another's by then */
    while (connection->fd >= 0 && sendmsg(connection->fd, packet, MSG_NOSIGNAL | MSG_DONTWAIT) < 0) {
        struct pollfd room = {.fd = connection->fd, .events = POLLOUT};
        if (errno != EAGAIN)
            return false;
        pthread_mutex_unlock(&lock);
        poll(&room, 1, LOOK_MS);
        pthread_mutex_lock(&lock);
    }
    return connection->fd >= 0;
}

/* Locked. Returns false if there is nobody. */
static bool send_packet(struct _xpc_connection_s *connection, const struct head *head, xpc_object_t message)
{
    char control[CMSG_SPACE(sizeof(int) * FAKE_WIRE_FDS)];
    struct fake_wire *wire = calloc(1, sizeof(*wire));
    if (!wire)
        abort();
    fake_wire_encode(wire, message);
    struct head said = *head;
    said.lives = voice == FAKE_VOICE_REUSED_PID;
    struct iovec iovs[] = {{&said, sizeof(said)}, {wire->bytes, wire->len}};
    struct msghdr packet = {.msg_iov = iovs, .msg_iovlen = 2};
    if (wire->n_fds > 0) {
        memset(control, 0, sizeof(control));
        packet.msg_control = control;
        packet.msg_controllen = CMSG_SPACE(sizeof(int) * wire->n_fds);
        struct cmsghdr *header = CMSG_FIRSTHDR(&packet);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(sizeof(int) * wire->n_fds);
        memcpy(CMSG_DATA(header), wire->fds, sizeof(int) * wire->n_fds);
    }
    const bool is_sent = voice == FAKE_VOICE_CHILD ? send_by_child(connection->fd, &packet)
                                                   : send_when_room(connection, &packet);
    free(wire);
    return is_sent;
}

/* Locked. */
static bool send_message(struct _xpc_connection_s *connection, const struct head *head, xpc_object_t message)
{
    if (!connection->is_resumed)
        fake_xpc_misuse("a message is sent before the connection was resumed");
    if (connection->is_cancelled)
        return false;
    if (connection->fd < 0 && (connection->role != CLIENT || !connect_to(connection)))
        return false;
    return send_packet(connection, head, message);
}

void xpc_connection_send_message(xpc_connection_t connection, xpc_object_t message)
{
    const struct _xpc_dictionary_s *value = message;
    const struct head head = {.id = value->reply_id, .is_reply = value->reply_id != 0};
    pthread_mutex_lock(&lock);
    const bool is_sent = send_message(connection, &head, message);
    const bool is_invalid = !is_sent && connection->role == CLIENT && !connection->is_cancelled;
    pthread_mutex_unlock(&lock);
    if (is_invalid)
        deliver(connection, XPC_ERROR_CONNECTION_INVALID);
}

static void ask(struct _xpc_connection_s *connection, xpc_object_t message, struct pending *pending)
{
    struct head head = {.id = ++connection->next_id};
    pending->id = head.id;
    pending->next = connection->pending;
    connection->pending = pending;
    if (send_message(connection, &head, message))
        return;
    pending = take_pending(connection, head.id); /* unless the end of a reader was faster */
    if (pending)
        answer(pending, XPC_ERROR_CONNECTION_INVALID);
    if (connection->role == CLIENT && !connection->is_cancelled)
        deliver(connection, XPC_ERROR_CONNECTION_INVALID);
}

void xpc_connection_send_message_with_reply(xpc_connection_t connection, xpc_object_t message,
                                            dispatch_queue_t queue, xpc_handler_t handler)
{
    struct pending *pending = calloc(1, sizeof(*pending));
    if (!pending)
        abort();
    pthread_mutex_lock(&lock);
    pending->queue = queue ? queue : connection->queue;
    dispatch_retain(pending->queue);
    pending->handler = Block_copy(handler);
    ask(connection, message, pending);
    pthread_mutex_unlock(&lock);
}

xpc_object_t xpc_connection_send_message_with_reply_sync(xpc_connection_t connection, xpc_object_t message)
{
    xpc_object_t reply = NULL;
    struct pending *pending = calloc(1, sizeof(*pending));
    if (!pending)
        abort();
    pthread_mutex_lock(&lock);
    pending->ret_reply = &reply;
    ask(connection, message, pending);
    while (!reply)
        pthread_cond_wait(&replied, &lock);
    pthread_mutex_unlock(&lock);
    return reply;
}

/* ---- who it is ---- */

pid_t xpc_connection_get_pid(xpc_connection_t connection)
{
    return connection->peer.pid;
}

uid_t xpc_connection_get_euid(xpc_connection_t connection)
{
    return connection->peer.uid;
}

gid_t xpc_connection_get_egid(xpc_connection_t connection)
{
    return connection->peer.gid;
}

void xpc_dictionary_get_audit_token(xpc_object_t message, uint32_t *token)
{
    const struct fake_sender *sender = &((const struct _xpc_dictionary_s *)message)->sender;
    const uint32_t values[] = {sender->uid, sender->uid,           sender->gid, sender->uid,
                               sender->gid, (uint32_t)sender->pid, 0,           sender->version};
    if (!xpc_dictionary_get_remote_connection(message))
        fake_xpc_misuse("the sender is asked for of what is no received message");
    memcpy(token, values, sizeof(values));
}

void xpc_connection_set_peer_requirement(xpc_connection_t connection, void *requirement)
{
    if (connection->is_resumed || connection->requirement)
        fake_xpc_misuse("a requirement is set twice, or on a connection that runs");
    connection->requirement = xpc_retain(requirement);
}

void fake_xpc_speak_as(enum fake_xpc_voice new_voice)
{
    pthread_mutex_lock(&lock);
    voice = new_voice;
    pthread_mutex_unlock(&lock);
}

void xpc_transaction_begin(void)
{
    pthread_mutex_lock(&lock);
    n_transactions++;
    pthread_mutex_unlock(&lock);
}

void xpc_transaction_end(void)
{
    pthread_mutex_lock(&lock);
    if (--n_transactions < 0)
        fake_xpc_misuse("a transaction ends that did not begin");
    pthread_mutex_unlock(&lock);
}

int fake_xpc_transactions(void)
{
    pthread_mutex_lock(&lock);
    const int n = n_transactions;
    pthread_mutex_unlock(&lock);
    return n;
}
