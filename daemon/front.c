/* daemon/front.c - see front.h
 *
 * The good path: keeper started -> privileges gone -> MSG_KEEP, MSG_BOUND: the socket -> the network asks for
 * its uplink -> it is up -> MSG_PUBLISH, MSG_DONE: the pidfile -> on_ready -> frames until a signal -> the
 * keeper's channel is shut, the network closed, the keeper ends -> exit.
 */
#include "daemon/front_internal.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon/environment.h"
#include "daemon/privileges.h"
#include "daemon/roles.h"
#include "daemon/sandbox.h"
#include "daemon/spawn.h"

enum {
    START_MS = 25 * 1000, /* the most patient client waits 30 s */
    END_MS = 900,
};

struct network *front_network(struct front *front)
{
    return front->network;
}

uv_loop_t *front_loop(struct front *front)
{
    return &front->loop;
}

/* ---- the end ---- */

static void maybe_stop(struct front *front)
{
    if (front->is_ending && front->keeper_gone && !front->network)
        uv_stop(&front->loop);
}

static void on_network_closed(void *ctx)
{
    struct front *front = ctx;
    front->network = NULL;
    maybe_stop(front);
}

static void on_end_deadline(uv_timer_t *timer)
{
    log_warn("not everything ended in time");
    uv_stop(timer->loop);
}

void front_end(struct front *front, int exit_code)
{
    if (front->is_ending)
        return;
    front->is_ending = true;
    front->exit_code = exit_code;
    uv_timer_start(&front->deadline, on_end_deadline, END_MS, 0);
    front_log_counters(front);
    if (front->is_ready && front->events->on_end)
        front->events->on_end(front->ctx);
    /* The keeper removes everything and closes its end then. */
    shutdown(front->keeper_fd, SHUT_WR);
    front_uplink_close(front);
    if (front->network)
        network_close(front->network, on_network_closed, front);
    maybe_stop(front);
}

void front_fail(struct front *front, const char *why)
{
    if (!front->is_ending)
        log_error("%s", why);
    front_end(front, EXIT_FAILED);
}

static void on_signal(uv_signal_t *handle, int signum)
{
    if (signum == SIGUSR1) {
        front_log_counters(handle->data);
        return;
    }
    log_info("Received signal: %s", strsignal(signum)); /* NOLINT(concurrency-mt-unsafe): one thread */
    front_end(handle->data, EXIT_OK);
}

/* ---- the start ---- */

static void on_start_deadline(uv_timer_t *timer)
{
    front_fail(timer->data, "the uplink did not start in time");
}

static void publish(struct front *front)
{
    if (front->is_published || front->is_ending)
        return;
    front->is_published = true;
    channel_uv_send(front->keeper, MSG_PUBLISH, 0, NULL, 0, -1);
}

void front_uplink_is_up(struct front *front)
{
    publish(front);
}

void front_uplink_failed(struct front *front, const char *why)
{
    char text[UPLINK_REASON_SIZE + 64];
    if (front->is_ready) /* the network says so and tries again */
        return;
    snprintf(text, sizeof(text), "the uplink (%s) did not start: %s",
             uplink_kind_name(front->plan->spec.uplink == WANT_TAP     ? UPLINK_TAP
                              : front->plan->spec.uplink == WANT_VMNET ? UPLINK_VMNET
                                                                       : UPLINK_USER),
             why);
    front_fail(front, text);
}

static const struct network_env front_env = {.uplink_wanted = front_uplink_wanted};

static void on_bound(struct front *front, struct message *message)
{
    const struct bound *bound = message->payload;
    if (bound->error) {
        front_fail(front, bound->why);
        return;
    }
    if (front->plan->socket_path[0] && message->fd < 0) {
        front_fail(front, "no descriptors left");
        return;
    }
    front->socket_fd = message->fd;
    message->fd = -1;
    int r = network_create(&front->network, &front->loop, &front->plan->spec, &front_env, front);
    if (r < 0)
        front_fail(front, uv_strerror(r));
    else if (front->plan->spec.uplink == WANT_NONE)
        publish(front);
}

static void on_published(struct front *front, const struct done *done)
{
    char why[MESSAGE_WHY_SIZE];
    const int fd = front->socket_fd;
    if (done->status) {
        front_fail(front, done->why);
        return;
    }
    uv_timer_stop(&front->deadline);
    front->is_ready = true;
    front->socket_fd = -1;
    if (front->events->on_ready(front->ctx, front, fd, &front->uplink.facts, why, sizeof(why)) < 0)
        front_fail(front, why);
}

static void on_keeper_message(void *ctx, struct message *message)
{
    struct front *front = ctx;
    if (front->is_ending || front_uplink_message(front, message))
        return;
    if (message->type == MSG_BOUND)
        on_bound(front, message);
    else if (message->type == MSG_DONE)
        on_published(front, message->payload);
}

static void on_keeper_lost(void *ctx, int error)
{
    struct front *front = ctx;
    (void)error;
    front->keeper_gone = true;
    /* Without it no uplink can be opened again, and what was made stays behind: whoever watches us starts
     * anew. */
    if (!front->is_ending)
        front_fail(front, "the process that keeps the privileges is gone");
    maybe_stop(front);
}

static void fill_order(const struct front_plan *plan, struct keep_order *order)
{
    const struct network_spec *spec = &plan->spec;
    memset(order, 0, sizeof(*order)); /* padding too: it travels as it lies */
    memcpy(order->name, spec->name, sizeof(order->name));
    memcpy(order->socket_path, plan->socket_path, sizeof(order->socket_path));
    memcpy(order->pidfile, plan->pidfile, sizeof(order->pidfile));
    order->kind = plan->is_datagram ? SOCKET_DGRAM : SOCKET_STREAM;
    order->mode = plan->socket_mode;
    order->uid = plan->socket_uid;
    order->gid = plan->socket_gid;
    order->run_uid = plan->uid;
    order->run_gid = plan->gid;
    order->uplink = spec->uplink;
    order->has_nat = network_spec_wants_nat(spec, spec->uplink);
    order->log_level = (int)plan->log_level;
    memcpy(order->tap.network, spec->name, sizeof(order->tap.network));
    memcpy(order->tap.bridge, spec->interface, sizeof(order->tap.bridge));
    order->tap.address = spec->ipv4.gateway;
    order->tap.netmask = spec->ipv4.netmask;
    order->tap.mtu = spec->mtu;
    order->tap.uid = plan->uid;
}

/* Starts the keeper, which stays what we are now. Returns our end of its channel, or a negative errno. */
static int start_keeper(const struct front_plan *plan, const char *program)
{
    char name[32], role[] = "--role=keeper", network[sizeof("--name=") + NETWORK_NAME_SIZE], sandbox[32];
    char *argv[] = {name, role, network, sandbox, NULL};
    int fds[2];
    pid_t pid;
    int r = spawn_init(program);
    if (r < 0)
        return r;
    r = channel_pair(fds);
    if (r < 0)
        return r;
    snprintf(name, sizeof(name), "%s", program);
    snprintf(network, sizeof(network), "--name=%s", plan->spec.name);
    snprintf(sandbox, sizeof(sandbox), "--sandbox=%s", sandbox_mode_name(sandbox_mode()));
    r = spawn_self(argv, fds[1], &pid);
    close(fds[1]);
    if (r < 0)
        close(fds[0]);
    return r < 0 ? r : fds[0];
}

static int start_loop(struct front *front)
{
    static const int caught[] = {SIGTERM, SIGINT, SIGHUP, SIGUSR1};
    int r = uv_loop_init(&front->loop);
    if (r < 0)
        return r;
    uv_timer_init(&front->loop, &front->deadline);
    front->deadline.data = front;
    front_nat_init(front);
    uv_timer_start(&front->deadline, on_start_deadline, START_MS, 0);
    for (size_t i = 0; i < sizeof(caught) / sizeof(caught[0]); i++) {
        uv_signal_init(&front->loop, &front->signals[i]);
        front->signals[i].data = front;
        uv_signal_start(&front->signals[i], on_signal, caught[i]);
    }
    return 0;
}

/* The keeper first, then the privileges. Returns 0, or -1 with a sentence. */
static int open_keeper(struct front *front, const char *program, char *why, size_t size)
{
    int fd = start_keeper(front->plan, program);
    if (fd < 0) {
        snprintf(why, size, "cannot start a process: %s", strerror(-fd));
        return -1;
    }
    front->keeper_fd = fd;
    int r = channel_uv_open(&front->keeper, &front->loop, fd, on_keeper_message, on_keeper_lost, front);
    if (r < 0) {
        close(fd);
        snprintf(why, size, "no channel to the keeper: %s", uv_strerror(r));
        return -1;
    }
    if (chdir("/") < 0 || privileges_drop(front->plan->uid, front->plan->gid, why, size) < 0)
        return -1;
    struct sandbox_state sandbox;
    if (front->plan->opens_no_file)
        sandbox_enter(SANDBOX_FRONT, NULL, &sandbox);
    return 0;
}

static void close_loop(struct front *front)
{
    if (front->socket_fd >= 0)
        close(front->socket_fd);
    channel_uv_close(front->keeper);
    uv_close((uv_handle_t *)&front->deadline, NULL);
    uv_close((uv_handle_t *)&front->uplink.nat_timer, NULL);
    for (size_t i = 0; i < sizeof(front->signals) / sizeof(front->signals[0]); i++)
        uv_close((uv_handle_t *)&front->signals[i], NULL);
    if (front->network) /* it did not close in time; the process ends all the same */
        return;
    uv_run(&front->loop, UV_RUN_DEFAULT);
    uv_loop_close(&front->loop);
    free(front);
}

/* For a diagnosis, as vmswitchd's --sandbox. Who calls a setuid program has no say in its walls. */
static void choose_sandbox(void)
{
    enum sandbox_mode mode;
    const char *wanted = getenv("VMSWITCH_SANDBOX"); /* NOLINT(concurrency-mt-unsafe): one thread */
    if (wanted && getuid() == geteuid() && sandbox_mode_parse(wanted, &mode))
        sandbox_set_mode(mode);
}

/* Of a program that is setuid: all processes are the file's owner, who called is of no account any more. */
static int be_one_user(void)
{
    if (getgid() != getegid() && setregid(getegid(), getegid()) < 0)
        return -errno;
    return getuid() != geteuid() && setreuid(geteuid(), geteuid()) < 0 ? -errno : 0;
}

int front_run(const char *program, const struct front_plan *plan, const struct front_events *events,
              void *ctx)
{
    struct front *front = calloc(1, sizeof(*front));
    struct keep_order order;
    char why[MESSAGE_WHY_SIZE];
    log_open("", plan->log_level);
    if (front)
        *front = (struct front){.plan = plan, .events = events, .ctx = ctx, .socket_fd = -1, .keeper_fd = -1};
    choose_sandbox();
    int r = front ? be_one_user() : -ENOMEM;
    r = r < 0 ? r : environment_isolate(plan->kept_fds, plan->n_kept_fds);
    r = r < 0 ? r : start_loop(front);
    if (r < 0) {
        log_error("cannot start: %s", strerror(-r));
        free(front);
        return EXIT_FAILED;
    }
    int exit_code = EXIT_FAILED;
    if (open_keeper(front, program, why, sizeof(why)) < 0) {
        log_error("%s", why);
    } else {
        fill_order(plan, &order);
        channel_uv_send(front->keeper, MSG_KEEP, 0, &order, sizeof(order), -1);
        uv_run(&front->loop, UV_RUN_DEFAULT);
        exit_code = front->exit_code;
    }
    close_loop(front);
    return exit_code;
}
