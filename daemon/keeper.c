#include "daemon/keeper.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/accounts.h"
#include "daemon/channel.h"
#include "daemon/children.h"
#include "daemon/clock.h"
#include "daemon/folders.h"
#include "daemon/keeper_files.h"
#include "daemon/message.h"
#include "daemon/nat_place.h"
#include "daemon/roles.h"
#include "daemon/signal_pipe.h"
#include "daemon/spawn.h"
#include "daemon/tap.h"
#include "io/log.h"

#define NAT_DIR "/run/vmswitch-front"

struct keeper {
    struct channel *front; /* NULL: it has ended */
    pid_t front_pid;       /* for the pidfile */
    bool has_order, has_published;
    struct keep_order order;
    struct keeper_files files;
    struct children children; /* the uplink's process, and those of it that are ending */
    int nat_dir_fd;           /* the folder of folders for nat; -1: not needed yet */
    int signal_fd;
};

/* Who ends the front by its group or by the program's name means the front: the keeper goes after it. */
static int set_signals(struct keeper *keeper)
{
    static const int caught[] = {SIGCHLD};
    signal(SIGTERM, SIG_IGN);
    signal(SIGINT, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    keeper->signal_fd = signal_pipe_open(caught, 1);
    return keeper->signal_fd < 0 ? keeper->signal_fd : 0;
}

/* ---- what the front asks for ---- */

static bool order_is_valid(const struct keep_order *order)
{
    return message_text_ok(order->name, sizeof(order->name)) && port_name_is_valid(order->name) &&
           message_text_ok(order->socket_path, sizeof(order->socket_path)) &&
           message_text_ok(order->pidfile, sizeof(order->pidfile)) &&
           (order->kind == SOCKET_STREAM || order->kind == SOCKET_DGRAM) &&
           message_text_ok(order->tap.bridge, sizeof(order->tap.bridge)) &&
           (unsigned)order->uplink < WANT_N && order->log_level >= LOG_ERROR &&
           order->log_level < LOG_N_LEVELS;
}

static int take_order(struct keeper *keeper, const struct message *message)
{
    const struct keep_order *order = message->payload;
    struct bound answer = {.error = 0};
    int fd = -1;
    if (keeper->has_order || !order_is_valid(order))
        return -EBADMSG;
    keeper->order = *order;
    keeper->has_order = true;
    log_set_level((enum log_level)order->log_level);
    keeper->children.hello = (struct hello){
        .protocol = MESSAGE_PROTOCOL, .log_level = order->log_level, .is_root = geteuid() == 0};
    snprintf(keeper->children.hello.runtime_dir, sizeof(keeper->children.hello.runtime_dir), "%s", NAT_DIR);
    answer.error = -keeper_files_take(&keeper->files, order, &fd, answer.why, sizeof(answer.why));
    /* The paths were of that folder; it must not be kept from being unmounted. */
    if (chdir("/") < 0)
        return -errno;
    return channel_send(keeper->front, MSG_BOUND, message->id, &answer, sizeof(answer), fd);
}

static void name_child(const struct keeper *keeper, struct child_id *id)
{
    *id = (struct child_id){.role = keeper->order.uplink == WANT_VMNET ? ROLE_VMNET
                                    : keeper->order.uplink == WANT_TAP ? ROLE_NAT
                                                                       : ROLE_UPLINK};
    memcpy(id->name, keeper->order.name, sizeof(id->name));
}

/* Its files are in a folder of the system's, which no client's option names. */
static int prepare_nat(struct keeper *keeper, struct child_start *start, char *why, size_t size)
{
    struct nat_place place = {.leases_fd = -1};
    if (!accounts_find_dhcp(&place.uid, &place.gid))
        place.uid = 0;
    if (keeper->nat_dir_fd < 0 && geteuid() == 0)
        keeper->nat_dir_fd = folders_open_runtime(NAT_DIR, why, size);
    if (keeper->nat_dir_fd < 0 && geteuid() == 0)
        return keeper->nat_dir_fd;
    place.dir_fd = keeper->nat_dir_fd;
    return nat_place_prepare(&place, start, why, size);
}

static void remove_nat_folders(struct keeper *keeper)
{
    if (keeper->nat_dir_fd < 0)
        return;
    folders_remove_dhcp(keeper->nat_dir_fd, keeper->order.name);
    close(keeper->nat_dir_fd);
    keeper->nat_dir_fd = -1;
    rmdir(NAT_DIR); /* if ours was the last */
}

static int start_uplink(struct keeper *keeper, const struct message *message)
{
    struct child_start start = {.uid = keeper->order.run_uid, .gid = keeper->order.run_gid};
    struct child_started answer = {.error = 0};
    struct child *child = NULL;
    int fd = -1;
    name_child(keeper, &start.child);
    int r = start.child.role == ROLE_NAT ? prepare_nat(keeper, &start, answer.why, sizeof(answer.why)) : 0;
    r = r < 0 ? r : children_start(&keeper->children, &start, &child, answer.why, sizeof(answer.why));
    if (r == 0) {
        answer.pid = (int32_t)child->pid;
        r = fd = child_connect_control(child);
        if (r < 0)
            snprintf(answer.why, sizeof(answer.why), "the process does not take a channel: %s", strerror(-r));
    }
    answer.error = r < 0 ? -r : 0;
    return channel_send(keeper->front, MSG_STARTED, message->id, &answer, sizeof(answer), fd < 0 ? -1 : fd);
}

static void stop_uplink(struct keeper *keeper)
{
    struct child_id id;
    name_child(keeper, &id);
    struct child *child = keeper->has_order ? children_find(&keeper->children, id.role, id.name) : NULL;
    if (child)
        child_stop(child, clock_ms() + CHILD_STOP_MS);
}

static int open_tap(struct keeper *keeper, const struct message *message)
{
    struct tap_opened answer = {.error = 0};
    int fd = tap_open(&keeper->order.tap, &answer.facts, answer.why, sizeof(answer.why));
    if (fd < 0)
        answer.error = -fd;
    return channel_send(keeper->front, MSG_TAP, message->id, &answer, sizeof(answer), fd < 0 ? -1 : fd);
}

static int publish(struct keeper *keeper, const struct message *message)
{
    struct done answer = {.status = 0};
    if (keeper->has_published)
        return -EBADMSG;
    keeper->has_published = true;
    if (keeper_files_publish(&keeper->files, keeper->front_pid, answer.why, sizeof(answer.why)) < 0)
        answer.status = 1;
    return channel_send(keeper->front, MSG_DONE, message->id, &answer, sizeof(answer), -1);
}

static int on_front_message(void *ctx, struct message *message)
{
    struct keeper *keeper = ctx;
    const bool is_process = keeper->order.uplink == WANT_USER || keeper->order.uplink == WANT_VMNET ||
                            (keeper->order.uplink == WANT_TAP && keeper->order.has_nat);
    if (message->type == MSG_KEEP)
        return take_order(keeper, message);
    if (!keeper->has_order)
        return -EBADMSG;
    switch (message->type) {
    case MSG_START:
        return is_process ? start_uplink(keeper, message) : -EBADMSG;
    case MSG_STOP:
        stop_uplink(keeper);
        return 0;
    case MSG_OPEN_TAP:
        return keeper->order.uplink == WANT_TAP ? open_tap(keeper, message) : -EBADMSG;
    case MSG_PUBLISH:
        return publish(keeper, message);
    default:
        return -EBADMSG;
    }
}

/* ---- the loop ---- */

/* An uplink's process speaks to its own parent only by its end. */
static void reap(struct keeper *keeper)
{
    int status;
    pid_t pid;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        const struct child was = children_gone(&keeper->children, pid);
        const struct child_exited exited = {.child = was.id, .pid = (int32_t)pid, .status = status};
        if (was.state != CHILD_NONE && keeper->front)
            channel_send(keeper->front, MSG_EXITED, 0, &exited, sizeof(exited), -1);
    }
}

static void serve_front(struct keeper *keeper)
{
    int r = channel_flush(keeper->front);
    if (r == 0)
        r = channel_receive(keeper->front, on_front_message, keeper);
    if (r >= 0)
        return;
    if (r != -ECONNRESET && r != -EPIPE)
        log_error("the channel to the keeper failed: %s", strerror(-r));
    /* Nobody is to find the socket of one that has gone. The channel is the front's sign that all is removed.
     */
    keeper_files_remove_socket(&keeper->files);
    stop_uplink(keeper);
    keeper->front = NULL;
}

static void turn(struct keeper *keeper)
{
    const uint64_t now = clock_ms(), due = children_kill_due(&keeper->children, now);
    struct pollfd fds[2] = {{.fd = keeper->signal_fd, .events = POLLIN}, {.fd = -1}};
    unsigned char numbers[16];
    if (keeper->front)
        fds[1] =
            (struct pollfd){.fd = channel_fd(keeper->front),
                            .events = (short)(POLLIN | (channel_wants_write(keeper->front) ? POLLOUT : 0))};
    if (poll(fds, 2, due ? (int)(due - now) : -1) < 0)
        return;
    if (fds[0].revents)
        while (signal_pipe_read(numbers, sizeof(numbers)) > 0) {
        }
    reap(keeper);
    if (keeper->front && fds[1].revents)
        serve_front(keeper);
}

int keeper_main(const char *program, int channel_fd)
{
    struct keeper *keeper = calloc(1, sizeof(*keeper));
    struct channel *front = channel_create(channel_fd);
    log_open("", LOG_INFO);
    if (!keeper || !front || set_signals(keeper) < 0 || spawn_init(program) < 0) {
        log_error("cannot start: no memory or descriptors, or /proc is not mounted");
        channel_destroy(front);
        free(keeper);
        return EXIT_FAILED;
    }
    keeper->files = (struct keeper_files){.lock = {.dir_fd = -1, .fd = -1},
                                          .socket = {.dir_fd = -1, .fd = -1},
                                          .pidfile = {.dir_fd = -1, .fd = -1}};
    keeper->nat_dir_fd = -1;
    keeper->front = front;
    keeper->front_pid = getppid(); /* if it has gone already, nothing will be asked of us */
    while (keeper->front || children_count(&keeper->children) > 0)
        turn(keeper);
    if (keeper->order.tap.bridge[0])
        tap_remove_stale(); /* a TAP that is still there is seen to by the next start */
    remove_nat_folders(keeper);
    keeper_files_remove(&keeper->files);
    channel_destroy(front); /* last: the front goes when it sees this */
    free(keeper);
    return EXIT_OK;
}
