#include "daemon/monitor.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "daemon/accounts.h"
#include "daemon/channel.h"
#include "daemon/children.h"
#include "daemon/clock.h"
#include "daemon/config_file.h"
#include "daemon/dhcp_server.h"
#include "daemon/folders.h"
#include "daemon/lock.h"
#include "daemon/message.h"
#include "daemon/orders.h"
#include "daemon/privileges.h"
#include "daemon/roles.h"
#include "daemon/signal_pipe.h"
#include "daemon/sockets.h"
#include "daemon/spawn.h"
#include "daemon/strict_paths.h"
#include "daemon/tap.h"
#include "io/log.h"
#include "io/sockpath.h"

#define API_NAME "api.sock"
#define ATTACH_NAME "attach.sock"

enum { POLL_FAILED_MS = 100 };

struct listening { /* one of control's own sockets */
    int fd;
    bool is_passed; /* the activation's: not ours to close or remove */
    struct sockpath_id id;
};

struct monitor {
    const struct options *options;
    struct activation *activation;
    const struct notify *notify;
    bool has_said_ready;
    uint64_t watchdog_ms; /* when to say that we live; 0: never */
    struct hello hello;
    int dir_fd;    /* the runtime folder */
    int leases_fd; /* what DHCP servers keep; -1: there are none here */
    int lock_fd;
    int config_fd;      /* a copy of the configuration that holds; -1: there is none */
    int config_next;    /* of the one that control was given last, which may come to hold; -1: none */
    bool is_reload_due; /* SIGHUP came, and control has not asked for the file since */
    struct listening api, attach;
    struct sockets *sockets;
    struct children children;
    struct allowed_bridges bridges;
    uid_t dhcp_uid; /* whom DHCP servers run as; 0: nobody */
    gid_t dhcp_gid;

    struct {
        pid_t pid;               /* 0: none runs */
        struct channel *channel; /* NULL: closed */
        uint64_t started_ms;
        uint64_t restart_ms; /* when to start it again; 0: it runs */
        uint64_t kill_ms;    /* when to kill it; 0: not */
        uint32_t delay_ms;
        bool was_restarted;
    } control;

    bool is_ending;
    uint64_t end_ms; /* ending: when to kill, then when to give up */
    bool has_killed;
    int signal_fd;
    int exit_code;
};

static int catch_signals(struct monitor *monitor)
{
    static const int caught[] = {SIGCHLD, SIGTERM, SIGINT, SIGHUP};
    monitor->signal_fd = signal_pipe_open(caught, sizeof(caught) / sizeof(caught[0]));
    return monitor->signal_fd < 0 ? monitor->signal_fd : 0;
}

/* ---- start ---- */

static int complain(const char *why, int exit_code)
{
    log_error("%s", why);
    return exit_code;
}

static int copy_path(char to[MESSAGE_PATH_SIZE], const char *from)
{
    return snprintf(to, MESSAGE_PATH_SIZE, "%s", from);
}

/* Whom the others run as, and who may use the API. */
static int choose_users(struct monitor *monitor, char *why, size_t size)
{
    struct hello *hello = &monitor->hello;
    uid_t uid = geteuid();
    gid_t gid = getegid(), api_gid = 0;
    hello->is_root = privileges_can_switch_user();
    if (!hello->is_root && monitor->options->user[0]) {
        snprintf(why, size, "--user: only root can run as somebody else");
        return -EPERM;
    }
    int r = hello->is_root ? accounts_find_service(monitor->options->user, &uid, &gid, why, size) : 0;
    hello->service_uid = (uint32_t)uid;
    hello->service_gid = (uint32_t)gid;
    if (hello->is_root && !accounts_find_dhcp(&monitor->dhcp_uid, &monitor->dhcp_gid))
        monitor->dhcp_uid = 0;
    hello->has_api_group = hello->is_root && accounts_find_group(ACCOUNTS_API_GROUP, &api_gid);
    hello->api_gid = (uint32_t)api_gid;
    return r;
}

/* --strict-paths. The last part of a folder of ours is looked at when it is opened. */
static int check_paths(const struct options *options, char *why, size_t size)
{
    char executable[MESSAGE_PATH_SIZE];
    if (!options->strict_paths)
        return 0;
    int r = spawn_executable(executable, sizeof(executable));
    if (r < 0) {
        snprintf(why, size, "--strict-paths: cannot find the path of this program: %s", strerror(-r));
        return r;
    }
    r = strict_paths_check(executable, true, why, size);
    r = r < 0 || !options->config_path[0] ? r : strict_paths_check(options->config_path, true, why, size);
    r = r < 0 ? r : strict_paths_check(options->runtime_dir, false, why, size);
    return r < 0 ? r : strict_paths_check(options->state_dir, false, why, size);
}

static int open_config(struct monitor *monitor, char *why, size_t size)
{
    const char *path = monitor->options->config_path;
    if (path[0])
        monitor->config_fd = config_file_open(path, why, size);
    return !path[0] || monitor->config_fd >= 0 ? 0 : monitor->config_fd;
}

/* The runtime folder is ours now: from here on a change of the file is a reload or nothing. */
static int copy_config(struct monitor *monitor, char *why, size_t size)
{
    if (monitor->config_fd < 0)
        return 0;
    int copy = config_file_copy(monitor->config_fd, monitor->hello.config_path, monitor->dir_fd,
                                monitor->hello.runtime_dir, why, size);
    if (copy < 0)
        return copy;
    close(monitor->config_fd);
    monitor->config_fd = copy;
    return 0;
}

/* Uses what the service manager passed, or makes it. */
static int open_listening(struct monitor *monitor, const char *name, const char *file,
                          const struct sockpath *want, struct listening *ret, char *why, size_t size)
{
    int fd = activation_claim(monitor->activation, name, why, size);
    if (fd == -ENOENT) {
        ret->fd = sockpath_make(monitor->dir_fd, monitor->hello.runtime_dir, file, want, &ret->id, why, size);
        return ret->fd < 0 ? ret->fd : 0;
    }
    ret->is_passed = true;
    ret->fd = fd;
    return fd < 0 ? fd : 0;
}

/* Without root we cannot give the API to its group, but the service manager may have: then its members may
 * attach, too. */
static void find_passed_group(struct monitor *monitor)
{
    gid_t api_gid = 0;
    struct hello *hello = &monitor->hello;
    if (!monitor->api.is_passed || hello->has_api_group || !accounts_find_group(ACCOUNTS_API_GROUP, &api_gid))
        return;
    hello->has_api_group = activation_group(monitor->api.fd) == api_gid;
    hello->api_gid = (uint32_t)api_gid;
}

static int bind_control_sockets(struct monitor *monitor, char *why, size_t size)
{
    const struct hello *hello = &monitor->hello;
    struct sockpath api = {.type = SOCK_STREAM, .mode = 0600, .uid = (uid_t)-1, .gid = (gid_t)-1};
    struct sockpath attach = api;
    if (hello->has_api_group) {
        api.mode = 0660;
        api.gid = (gid_t)hello->api_gid;
    }
    if (hello->is_root)
        attach.mode = 0666; /* control looks at who connects: root, the API's group, or the network's group */
    int r = open_listening(monitor, "api", API_NAME, &api, &monitor->api, why, size);
    r = r < 0 ? r : open_listening(monitor, "attach", ATTACH_NAME, &attach, &monitor->attach, why, size);
    if (r < 0)
        return r;
    find_passed_group(monitor);
    /* Who may connect to attach.sock is looked at there, whatever its mode. */
    return monitor->api.is_passed
               ? activation_check_mode(monitor->api.fd, "api", hello->has_api_group ? 0660 : 0600, why, size)
               : 0;
}

static void unlink_sockets(struct monitor *monitor)
{
    if (monitor->api.fd >= 0 && !monitor->api.is_passed)
        sockpath_remove(monitor->dir_fd, API_NAME, &monitor->api.id);
    if (monitor->attach.fd >= 0 && !monitor->attach.is_passed)
        sockpath_remove(monitor->dir_fd, ATTACH_NAME, &monitor->attach.id);
    sockets_destroy(monitor->sockets);
    monitor->sockets = NULL;
}

static void fill_hello(struct monitor *monitor)
{
    struct hello *hello = &monitor->hello;
    const struct options *options = monitor->options;
    hello->protocol = MESSAGE_PROTOCOL;
    hello->log_level = (int)options->log_level;
    copy_path(hello->runtime_dir, options->runtime_dir);
    copy_path(hello->state_dir, options->state_dir);
    copy_path(hello->config_path, options->config_path);
}

/* What a daemon that was killed left with others. */
static void remove_stale(const struct monitor *monitor)
{
    tap_remove_stale();
    if (monitor->dhcp_uid)
        dhcp_server_end_stale(monitor->hello.runtime_dir, monitor->dhcp_uid);
}

/* All that can fail before the first process starts. Returns an exit code; on error the caller undoes it. */
static int set_up(struct monitor *monitor)
{
    char why[MESSAGE_WHY_SIZE + MESSAGE_PATH_SIZE];
    const struct options *options = monitor->options;
    /* First, so that who ends us while we start finds everything removed, and gets a 0. */
    if (catch_signals(monitor) < 0)
        return complain("cannot start: no descriptors", EXIT_FAILED);
    fill_hello(monitor);
    if (choose_users(monitor, why, sizeof(why)) < 0 || check_paths(options, why, sizeof(why)) < 0)
        return complain(why, EXIT_FAILED);
    if (open_config(monitor, why, sizeof(why)) < 0)
        return complain(why, EXIT_CONFIG);
    monitor->dir_fd = folders_open_runtime(options->runtime_dir, why, sizeof(why));
    if (monitor->dir_fd < 0)
        return complain(why, EXIT_FAILED);
    monitor->lock_fd = lock_take(monitor->dir_fd, options->runtime_dir, why, sizeof(why));
    if (monitor->lock_fd < 0)
        return complain(why, monitor->lock_fd == -EWOULDBLOCK ? EXIT_RUNNING : EXIT_FAILED);
    if (folders_remove_stale(monitor->dir_fd, options->runtime_dir, monitor->activation, why, sizeof(why)) <
            0 ||
        copy_config(monitor, why, sizeof(why)) < 0 ||
        folders_make_state(options->state_dir, (uid_t)monitor->hello.service_uid,
                           (gid_t)monitor->hello.service_gid, &monitor->leases_fd, why, sizeof(why)) < 0 ||
        bind_control_sockets(monitor, why, sizeof(why)) < 0)
        return complain(why, EXIT_FAILED);
    if (monitor->hello.is_root)
        remove_stale(monitor);
    monitor->sockets = sockets_create(monitor->dir_fd, monitor->hello.runtime_dir, monitor->activation);
    monitor->children.hello = monitor->hello;
    if (!monitor->sockets || spawn_init("vmswitchd") < 0)
        return complain("cannot start: no memory, or /proc is not mounted", EXIT_FAILED);
    return EXIT_OK;
}

static void close_if_open(int fd)
{
    if (fd >= 0)
        close(fd);
}

static void tear_down(struct monitor *monitor)
{
    if (monitor->lock_fd >= 0)
        folders_remove_dhcp(monitor->dir_fd, NULL);
    unlink_sockets(monitor);
    if (!monitor->api.is_passed)
        close_if_open(monitor->api.fd);
    if (!monitor->attach.is_passed)
        close_if_open(monitor->attach.fd);
    close_if_open(monitor->config_fd);
    close_if_open(monitor->config_next);
    close_if_open(monitor->leases_fd);
    if (monitor->lock_fd >= 0)
        lock_release(monitor->lock_fd);
    close_if_open(monitor->dir_fd);
}

/* ---- control ---- */

static void send_copy(struct channel *channel, uint16_t type, int fd)
{
    int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (copy >= 0)
        channel_send(channel, type, 0, NULL, 0, copy);
}

static void send_running(struct monitor *monitor, struct child *child)
{
    const struct child_running running = {
        .child = child->id, .pid = (int32_t)child->pid, .uid = child->uid, .gid = child->gid};
    int fd = child_connect_control(child);
    if (fd >= 0)
        channel_send(monitor->control.channel, MSG_CHILD_RUNNING, 0, &running, sizeof(running), fd);
}

static uint32_t next_delay(struct monitor *monitor, uint64_t was_up_ms)
{
    uint32_t delay_ms = monitor->control.delay_ms;
    if (delay_ms == 0 || was_up_ms >= MONITOR_STABLE_MS)
        delay_ms = MONITOR_RETRY_MIN_MS;
    monitor->control.delay_ms = delay_ms * 2 < MONITOR_RETRY_MAX_MS ? delay_ms * 2 : MONITOR_RETRY_MAX_MS;
    return delay_ms;
}

static bool has_network(void *ctx, const char *name)
{
    struct monitor *monitor = ctx;
    return children_find(&monitor->children, ROLE_NETWORK, name) != NULL;
}

static void start_control(struct monitor *monitor)
{
    struct channel *channel = NULL;
    monitor->hello.is_first = !monitor->control.was_restarted;
    monitor->bridges = (struct allowed_bridges){.is_final = false};
    sockets_keep(monitor->sockets, has_network, monitor);
    int r = child_spawn(ROLE_CONTROL, "", monitor->hello.service_uid, monitor->hello.service_gid,
                        &monitor->hello, &channel, &monitor->control.pid);
    if (r < 0) {
        uint32_t delay_ms = next_delay(monitor, 0);
        log_error("cannot start control: %s; trying again in %u ms", strerror(-r), delay_ms);
        monitor->control.pid = 0;
        monitor->control.restart_ms = clock_ms() + delay_ms;
        return;
    }
    monitor->control.channel = channel;
    monitor->control.started_ms = clock_ms();
    monitor->control.restart_ms = 0;
    send_copy(channel, MSG_API_LISTENER, monitor->api.fd);
    send_copy(channel, MSG_ATTACH_LISTENER, monitor->attach.fd);
    if (monitor->config_fd >= 0) {
        /* What holds, not what the file says by now: a crash is no reload. */
        lseek(monitor->config_fd, 0, SEEK_SET);
        send_copy(channel, MSG_CONFIG_FILE, monitor->config_fd);
    }
    for (size_t i = 0; i < CHILDREN_MAX; i++) {
        if (monitor->children.table[i].state == CHILD_RUNS)
            send_running(monitor, &monitor->children.table[i]);
    }
    channel_send(channel, MSG_BEGIN, 0, NULL, 0, -1);
    if (monitor->is_reload_due)
        channel_send(channel, MSG_RELOAD, 0, NULL, 0, -1);
}

/* The channel has ended. Control that closed it itself is about to end with a code of its own. */
static void drop_control(struct monitor *monitor, int error)
{
    const bool has_left = error == -ECONNRESET || error == -EPIPE;
    if (!has_left)
        log_error("control broke its channel (%s): it is started again", strerror(-error));
    channel_destroy(monitor->control.channel);
    monitor->control.channel = NULL;
    monitor->control.kill_ms = clock_ms() + (has_left ? CHILD_STOP_MS : 0);
}

static void begin_end(struct monitor *monitor, int exit_code);

static bool is_stopped_by_sandbox(int status)
{
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS;
}

static void log_end(const char *whose, const char *name, pid_t pid, int status)
{
    if (is_stopped_by_sandbox(status))
        log_error(
            "%s%s, pid %ld, was ended by SIGSYS: it made a system call that its sandbox does not allow; "
            "--sandbox=log finds out which",
            whose, name, (long)pid);
    else if (WIFSIGNALED(status))
        log_warn("%s%s, pid %ld, was ended by signal %d", whose, name, (long)pid, WTERMSIG(status));
    else if (WEXITSTATUS(status) != EXIT_OK)
        log_warn("%s%s, pid %ld, ended with code %d", whose, name, (long)pid, WEXITSTATUS(status));
    else
        log_info("%s%s, pid %ld, ended", whose, name, (long)pid);
}

static void on_control_gone(struct monitor *monitor, int status)
{
    uint64_t was_up_ms = clock_ms() - monitor->control.started_ms;
    pid_t pid = monitor->control.pid;
    channel_destroy(monitor->control.channel);
    monitor->control.channel = NULL;
    monitor->control.pid = 0;
    monitor->control.kill_ms = 0;
    if (!monitor->is_ending || is_stopped_by_sandbox(status))
        log_end("control", "", pid, status);
    if (monitor->is_ending)
        return;
    /* It gave up by itself, having told why, before it was of any use: so would the next. */
    if (!monitor->control.was_restarted && WIFEXITED(status) && WEXITSTATUS(status) != EXIT_OK &&
        was_up_ms < MONITOR_STABLE_MS) {
        begin_end(monitor, WEXITSTATUS(status) == EXIT_CONFIG ? EXIT_CONFIG : EXIT_FAILED);
        return;
    }
    monitor->control.was_restarted = true;
    monitor->control.restart_ms = clock_ms() + next_delay(monitor, was_up_ms);
}

/* Numbers and a name that is checked: what the service manager is told is not for control to write. */
static void on_ready(struct monitor *monitor, const struct ready *ready)
{
    char text[256];
    if (monitor->is_reload_due)
        return; /* of before: control says it again when it has reloaded */
    const bool is_named = message_text_ok(ready->not_up, sizeof(ready->not_up)) && ready->not_up[0] &&
                          port_name_is_valid(ready->not_up);
    snprintf(text, sizeof(text), "%sSTATUS=%u of %u networks up%s%s\n",
             monitor->has_said_ready ? "" : "READY=1\n", ready->n_up, ready->n_networks,
             is_named ? "; not up: " : "", is_named ? ready->not_up : "");
    notify_send(monitor->notify, text);
    if (!monitor->has_said_ready)
        activation_report_unclaimed(monitor->activation);
    monitor->has_said_ready = true;
}

/* Opens the file and copies it, as at the start. Where none was given the default may have appeared. */
static int read_config(struct monitor *monitor, struct config_read *answer)
{
    const struct options *options = monitor->options;
    const bool is_default = !options->config_path[0];
    copy_path(answer->path, is_default ? options->config_default : options->config_path);
    if (!answer->path[0])
        return -ENOENT;
    int r =
        options->strict_paths ? strict_paths_check(answer->path, true, answer->why, sizeof(answer->why)) : 0;
    if (r < 0 && r != -ENOENT)
        return r;
    int fd = config_file_open(answer->path, answer->why, sizeof(answer->why));
    if (fd == -ENOENT && is_default && monitor->config_fd < 0)
        answer->path[0] = '\0'; /* there was none before either */
    if (fd < 0)
        return fd;
    int copy = config_file_copy(fd, answer->path, monitor->dir_fd, monitor->hello.runtime_dir, answer->why,
                                sizeof(answer->why));
    close(fd);
    return copy;
}

static void on_read_config(struct monitor *monitor, const struct message *message)
{
    struct config_read answer = {.error = 0};
    int fd = read_config(monitor, &answer), copy = -1;
    monitor->is_reload_due = false;
    close_if_open(monitor->config_next);
    monitor->config_next = fd < 0 ? -1 : fd;
    if (fd >= 0)
        copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    answer.error = fd < 0 ? -fd : copy < 0 ? errno : 0;
    if (fd >= 0 && copy < 0)
        snprintf(answer.why, sizeof(answer.why), "the monitor has no more descriptors: %s", strerror(errno));
    channel_send(monitor->control.channel, MSG_CONFIG_READ, message->id, &answer, sizeof(answer), copy);
}

static void keep_config(struct monitor *monitor)
{
    const struct options *options = monitor->options;
    if (monitor->config_next < 0)
        return;
    close_if_open(monitor->config_fd);
    monitor->config_fd = monitor->config_next;
    monitor->config_next = -1;
    copy_path(monitor->hello.config_path,
              options->config_path[0] ? options->config_path : options->config_default);
}

/* For everybody, those included that are still to be started. */
static int set_log_level(struct monitor *monitor, const struct log_order *order)
{
    if (order->level < 0 || order->level >= LOG_N_LEVELS)
        return -EBADMSG;
    log_set_level((enum log_level)order->level);
    monitor->children.hello.log_level = order->level;
    for (size_t i = 0; i < CHILDREN_MAX; i++) {
        struct child *child = &monitor->children.table[i];
        if (child->state == CHILD_RUNS && child->channel)
            channel_send(child->channel, MSG_LOG_LEVEL, 0, order, sizeof(*order), -1);
    }
    return 0;
}

static int on_control_message(void *ctx, struct message *message)
{
    struct monitor *monitor = ctx;
    switch (message->type) {
    case MSG_READY:
        on_ready(monitor, message->payload);
        return 0;
    case MSG_READ_CONFIG:
        on_read_config(monitor, message);
        return 0;
    case MSG_KEEP_CONFIG:
        keep_config(monitor);
        return 0;
    case MSG_LOG_LEVEL:
        return set_log_level(monitor, message->payload);
    default:
        break;
    }
    const struct orders orders = {.nat = {.dir_fd = monitor->dir_fd,
                                          .leases_fd = monitor->leases_fd,
                                          .uid = monitor->dhcp_uid,
                                          .gid = monitor->dhcp_gid},
                                  .bridges = &monitor->bridges,
                                  .children = &monitor->children,
                                  .sockets = monitor->sockets,
                                  .is_root = monitor->hello.is_root};
    return orders_handle(&orders, monitor->control.channel, message, clock_ms());
}

/* ---- the others ---- */

/* They have nothing to say to us. */
static int on_child_message(void *ctx, struct message *message)
{
    (void)ctx;
    (void)message;
    return -EBADMSG;
}

static void on_child_readable(struct child *child)
{
    if (channel_receive(child->channel, on_child_message, NULL) >= 0)
        return;
    /* It ends, or has gone mad: what is left of it is killed. It stays known, as one that crashed. */
    channel_destroy(child->channel);
    child->channel = NULL;
    child->kill_at_ms = clock_ms() + CHILD_STOP_MS;
}

static void on_child_gone(struct monitor *monitor, pid_t pid, int status)
{
    struct child child = children_gone(&monitor->children, pid);
    if (child.state == CHILD_NONE)
        return;
    if ((child.state == CHILD_RUNS && !monitor->is_ending) || is_stopped_by_sandbox(status))
        log_end(child.id.role == ROLE_NETWORK ? "network "
                : child.id.role == ROLE_NAT   ? "NAT of "
                                              : "uplink ",
                child.id.name, pid, status);
    if (child.id.role == ROLE_NETWORK && monitor->hello.is_root)
        tap_remove_stale();
    if (child.id.role == ROLE_NAT && child.state == CHILD_ENDS &&
        !children_find(&monitor->children, ROLE_NAT, child.id.name))
        folders_remove_dhcp(monitor->dir_fd, child.id.name);
    const struct child_exited exited = {.child = child.id, .pid = (int32_t)pid, .status = (int32_t)status};
    if (monitor->control.channel)
        channel_send(monitor->control.channel, MSG_EXITED, 0, &exited, sizeof(exited), -1);
}

static void reap(struct monitor *monitor)
{
    int status;
    pid_t pid;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        if (pid == monitor->control.pid)
            on_control_gone(monitor, status);
        else
            on_child_gone(monitor, pid, status);
    }
}

/* ---- the end ---- */

static void kill_all(struct monitor *monitor)
{
    monitor->has_killed = true;
    monitor->end_ms = clock_ms() + MONITOR_END_KILLED_MS;
    if (monitor->control.pid)
        privileges_kill(monitor->control.pid, monitor->hello.service_uid);
    for (size_t i = 0; i < CHILDREN_MAX; i++) {
        const struct child *child = &monitor->children.table[i];
        if (child->state != CHILD_NONE && child->pid)
            privileges_kill(child->pid, child->uid);
    }
}

static void begin_end(struct monitor *monitor, int exit_code)
{
    monitor->is_ending = true;
    monitor->exit_code = exit_code;
    monitor->control.restart_ms = 0;
    notify_send(monitor->notify, "STOPPING=1\nSTATUS=ending\n");
    unlink_sockets(monitor); /* first, so that nobody comes who would only be cut off */
    channel_destroy(monitor->control.channel);
    monitor->control.channel = NULL;
    monitor->end_ms = clock_ms() + MONITOR_END_MS;
    for (size_t i = 0; i < CHILDREN_MAX; i++) {
        if (monitor->children.table[i].state != CHILD_NONE)
            child_stop(&monitor->children.table[i], monitor->end_ms);
    }
}

static void on_end_signal(struct monitor *monitor, int signal_number)
{
    if (!monitor->is_ending) {
        log_info("ending: signal %d", signal_number);
        begin_end(monitor, EXIT_OK);
    } else if (!monitor->has_killed) {
        kill_all(monitor);
    }
}

/* READY=1 comes again when control has done it. */
static void tell_reloading(struct monitor *monitor)
{
    char text[128];
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    snprintf(text, sizeof(text), "RELOADING=1\nMONOTONIC_USEC=%llu\nSTATUS=reading the configuration again\n",
             (unsigned long long)now.tv_sec * 1000000 + (unsigned long long)now.tv_nsec / 1000);
    notify_send(monitor->notify, text);
    monitor->has_said_ready = false;
}

/* Control may be between two lives: the next one is told, until one has asked for the file. */
static void on_hangup(struct monitor *monitor)
{
    if (monitor->is_ending)
        return;
    log_info("signal %d: the configuration is read again", SIGHUP);
    monitor->is_reload_due = true;
    tell_reloading(monitor);
    if (monitor->control.channel)
        channel_send(monitor->control.channel, MSG_RELOAD, 0, NULL, 0, -1);
}

static bool has_ended(const struct monitor *monitor)
{
    return monitor->is_ending && !monitor->control.pid && children_count(&monitor->children) == 0;
}

/* ---- the loop ---- */

static void take_signals(struct monitor *monitor)
{
    unsigned char numbers[64];
    const size_t n = signal_pipe_read(numbers, sizeof(numbers));
    for (size_t i = 0; i < n; i++) {
        if (numbers[i] == SIGHUP)
            on_hangup(monitor);
        else if (numbers[i] != SIGCHLD)
            on_end_signal(monitor, numbers[i]);
    }
    reap(monitor);
}

static void on_control_event(struct monitor *monitor, short events)
{
    struct channel *channel = monitor->control.channel;
    int r = 0;
    if (events & POLLOUT)
        r = channel_flush(channel);
    if (r == 0 && (events & (POLLIN | POLLHUP | POLLERR)))
        r = channel_receive(channel, on_control_message, monitor);
    if (r < 0)
        drop_control(monitor, r);
}

/* What the loop waits for in one turn: no entry for what is closed, because poll() refuses more entries than
 * RLIMIT_NOFILE allows descriptors, open or not. */
struct watched {
    struct pollfd fds[2 + CHILDREN_MAX];
    struct child *children[2 + CHILDREN_MAX]; /* whose it is; NULL: signals or control */
    nfds_t n;
};

static void watch(struct watched *watched, const struct channel *channel, struct child *child)
{
    if (!channel)
        return;
    watched->children[watched->n] = child;
    watched->fds[watched->n++] = (struct pollfd){
        .fd = channel_fd(channel), .events = (short)(POLLIN | (channel_wants_write(channel) ? POLLOUT : 0))};
}

/* The earlier of two times, of which 0 is none. */
static uint64_t earlier(uint64_t a, uint64_t b)
{
    return !b || (a && a < b) ? a : b;
}

static void tell_watchdog(struct monitor *monitor, uint64_t now)
{
    if (!monitor->watchdog_ms || monitor->watchdog_ms > now)
        return;
    notify_send(monitor->notify, "WATCHDOG=1\n");
    monitor->watchdog_ms = now + monitor->notify->watchdog_ms;
}

/* Does what is due. Returns how long poll() may wait, -1: for ever. */
static int do_due(struct monitor *monitor)
{
    uint64_t now = clock_ms();
    if (monitor->control.restart_ms && monitor->control.restart_ms <= now)
        start_control(monitor);
    if (monitor->control.kill_ms && monitor->control.kill_ms <= now) {
        /* Ours and not reaped yet: the pid is still its own. */
        privileges_kill(monitor->control.pid, monitor->hello.service_uid);
        monitor->control.kill_ms = 0;
    }
    tell_watchdog(monitor, now);
    uint64_t next = children_kill_due(&monitor->children, now);
    next = earlier(next, monitor->watchdog_ms);
    next = earlier(next, monitor->control.restart_ms);
    next = earlier(next, monitor->control.kill_ms);
    next = earlier(next, monitor->is_ending ? monitor->end_ms : 0);
    if (!next)
        return -1;
    return next > now ? (int)(next - now) : 0;
}

static void on_child_event(struct child *child, short events)
{
    if (events & POLLOUT)
        channel_flush(child->channel);
    if (events & (POLLIN | POLLHUP | POLLERR))
        on_child_readable(child);
}

static void turn(struct monitor *monitor)
{
    struct watched watched = {.fds = {{.fd = monitor->signal_fd, .events = POLLIN}}, .n = 1};
    int wait_ms = do_due(monitor);
    for (size_t i = 0; i < CHILDREN_MAX; i++)
        watch(&watched, monitor->children.table[i].channel, &monitor->children.table[i]);
    watch(&watched, monitor->control.channel, NULL);
    int n = poll(watched.fds, watched.n, wait_ms);
    if (n < 0 && errno != EINTR)
        poll(NULL, 0, POLL_FAILED_MS); /* out of kernel memory: not a reason to spin */
    if (n <= 0)
        return;
    /* Children, then control, then signals: what one does may put another channel into a place that comes
     * before it here, never into one that comes after. */
    for (nfds_t i = 1; i < watched.n; i++) {
        if (watched.fds[i].revents && watched.children[i])
            on_child_event(watched.children[i], watched.fds[i].revents);
        else if (watched.fds[i].revents)
            on_control_event(monitor, watched.fds[i].revents);
    }
    if (watched.fds[0].revents)
        take_signals(monitor);
}

static void run(struct monitor *monitor)
{
    monitor->watchdog_ms = monitor->notify->watchdog_ms ? clock_ms() : 0;
    start_control(monitor);
    while (!has_ended(monitor)) {
        turn(monitor);
        if (!monitor->is_ending || clock_ms() < monitor->end_ms)
            continue;
        if (monitor->has_killed)
            break; /* in the kernel for good: nothing more can be done about it */
        log_warn("some processes do not end by themselves: they are killed");
        kill_all(monitor);
    }
}

int monitor_main(const struct options *options, struct activation *activation, const struct notify *notify)
{
    log_open("monitor", options->log_level);
    struct monitor *monitor = calloc(1, sizeof(*monitor));
    if (!monitor)
        return complain("out of memory", EXIT_FAILED);
    monitor->options = options;
    monitor->activation = activation;
    monitor->notify = notify;
    monitor->dir_fd = monitor->lock_fd = monitor->api.fd = monitor->attach.fd = -1;
    monitor->config_fd = monitor->config_next = monitor->leases_fd = -1;
    monitor->exit_code = set_up(monitor);
    if (monitor->exit_code == EXIT_OK) {
        log_info("vmswitchd %s, pid %ld, sockets in %s", VMSWITCH_VERSION, (long)getpid(),
                 options->runtime_dir);
        run(monitor);
    }
    int exit_code = monitor->exit_code;
    tear_down(monitor);
    free(monitor);
    return exit_code;
}
