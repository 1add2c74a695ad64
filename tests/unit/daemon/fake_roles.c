/* tests/unit/daemon/fake_roles.c - roles of a vmswitchd whose monitor is the real one
 *
 * Control relays between the monitor and whoever connects to api.sock: that one hears what control hears, and
 * what it sends is sent by control, byte for byte. A configuration "exit N" makes it end at once with that
 * code. Networks and uplinks do as their names say: "stubborn..." never ends by itself, "brief..." ends with
 * code 5 when it has its channel to control, "chatty..." talks to the monitor, which no role may. Each says
 * MSG_DONE on a new channel to control, with its pid as the status.
 */
#include "daemon/roles.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon/channel.h"
#include "daemon/message.h"
#include "io/socket.h"

enum { BACKLOG_MAX = 512 };

struct kept {
    struct message message;
    void *bytes;
};

struct fake_control {
    struct channel *monitor, *client;
    int listener;
    struct kept backlog[BACKLOG_MAX]; /* said before anybody was there to hear it */
    size_t n_backlog;
    int exit_code; /* -1: go on */
};

static void read_config(struct fake_control *control, int fd)
{
    char text[64] = "";
    ssize_t n = read(fd, text, sizeof(text) - 1);
    if (n > 5 && strncmp(text, "exit ", 5) == 0)
        control->exit_code = (int)strtol(text + 5, NULL, 10);
    lseek(fd, 0, SEEK_SET);
}

static int from_monitor(void *ctx, struct message *message)
{
    struct fake_control *control = ctx;
    if (message->type == MSG_API_LISTENER)
        control->listener = dup(message->fd);
    if (message->type == MSG_CONFIG_FILE)
        read_config(control, message->fd);
    if (control->client) {
        channel_send(control->client, message->type, message->id, message->payload, message->len,
                     message->fd);
    } else if (control->n_backlog < BACKLOG_MAX) {
        struct kept *kept = &control->backlog[control->n_backlog++];
        kept->message = *message;
        kept->bytes = malloc(message->len + 1);
        memcpy(kept->bytes, message->payload, message->len);
    }
    message->fd = -1;
    return 0;
}

static void accept_client(struct fake_control *control)
{
    int fd = accept(control->listener, NULL, NULL);
    control->client = fd >= 0 ? channel_create(fd) : NULL;
    for (size_t i = 0; i < control->n_backlog && control->client; i++) {
        struct kept *kept = &control->backlog[i];
        channel_send(control->client, kept->message.type, kept->message.id, kept->bytes, kept->message.len,
                     kept->message.fd);
        free(kept->bytes);
    }
    control->n_backlog = 0;
}

/* False when the client has gone. */
static bool relay(struct fake_control *control)
{
    static unsigned char bytes[65536];
    int fd = -1, to = channel_fd(control->monitor);
    unsigned extra = 0;
    long n = socket_receive_fd(channel_fd(control->client), bytes, sizeof(bytes), &fd, &extra);
    for (long at = 0; at < n;) {
        long sent = socket_send_fd(to, bytes + at, (size_t)(n - at), fd);
        if (sent < 0 && poll(&(struct pollfd){.fd = to, .events = POLLOUT}, 1, 1000) <= 0)
            break;
        if (sent < 0)
            continue;
        at += sent;
        if (fd >= 0)
            close(fd);
        fd = -1;
    }
    return n > 0;
}

int control_main(int channel)
{
    static struct fake_control control = {.listener = -1, .exit_code = -1};
    control.monitor = channel_create(channel);
    for (;;) {
        struct pollfd fds[2] = {
            {.fd = channel, .events = POLLIN},
            {.fd = control.client ? channel_fd(control.client) : control.listener, .events = POLLIN}};
        poll(fds, 2, -1);
        if (fds[0].revents && channel_receive(control.monitor, from_monitor, &control) < 0)
            break;
        if (control.exit_code >= 0)
            break;
        if (fds[1].revents && !control.client) {
            accept_client(&control);
        } else if (fds[1].revents && !relay(&control)) {
            channel_destroy(control.client);
            control.client = NULL;
        }
    }
    for (size_t i = 0; i < control.n_backlog; i++)
        free(control.backlog[i].bytes);
    channel_destroy(control.client);
    channel_destroy(control.monitor);
    return control.exit_code >= 0 ? control.exit_code : EXIT_OK;
}

/* ---- networks and uplinks ---- */

struct fake_network {
    struct channel *monitor, *control;
    char name[NETWORK_NAME_SIZE];
};

static bool is_called(const struct fake_network *network, const char *start)
{
    return strncmp(network->name, start, strlen(start)) == 0;
}

static int network_message(void *ctx, struct message *message)
{
    struct fake_network *network = ctx;
    if (message->type == MSG_HELLO) {
        const struct hello *hello = message->payload;
        memcpy(network->name, hello->name, sizeof(network->name));
    } else if (message->type == MSG_CONTROL) {
        struct done done = {.status = (unsigned)getpid()};
        channel_destroy(network->control);
        network->control = channel_create(message->fd);
        message->fd = -1;
        memcpy(done.port, network->name, sizeof(network->name));
        channel_send(network->control, MSG_DONE, 0, &done, sizeof(done), -1);
        if (is_called(network, "brief"))
            exit(5);
        if (is_called(network, "chatty"))
            channel_send(network->monitor, MSG_BEGIN, 0, NULL, 0, -1);
    }
    return 0;
}

int network_main(int channel)
{
    struct fake_network network = {.monitor = channel_create(channel)};
    signal(SIGTERM, SIG_IGN);
    for (;;) {
        struct pollfd fd = {.fd = channel, .events = POLLIN};
        poll(&fd, 1, -1);
        if (channel_receive(network.monitor, network_message, &network) < 0)
            break;
    }
    /* For 5 s: what a failed test leaves behind is gone soon. */
    if (is_called(&network, "stubborn"))
        sleep(5);
    channel_destroy(network.control);
    channel_destroy(network.monitor);
    return EXIT_OK;
}

int uplink_main(int channel)
{
    return network_main(channel);
}

/* As on a Linux of its own. */
bool vmnet_role_exists(void)
{
    return false;
}

int vmnet_main(int channel, uint32_t uid, uint32_t gid)
{
    (void)uid;
    (void)gid;
    return network_main(channel);
}

bool nat_role_exists(void)
{
    return true;
}

int nat_main(int channel, uint32_t uid, uint32_t gid)
{
    (void)uid;
    (void)gid;
    return network_main(channel);
}
