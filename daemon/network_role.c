/* daemon/network_role.c - the network role: messages in, one struct network, messages out
 *
 * Two channels. The monitor's lives as long as the process may: its end means "close and go". Control's
 * carries orders; when control dies the ports go on, and the monitor hands over a channel to the next one.
 */
#include "daemon/roles.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon/channel_uv.h"
#include "daemon/loop_room.h"
#include "daemon/message.h"
#include "daemon/network.h"
#include "daemon/sandbox.h"
#include "io/log.h"

enum { CLOSE_DEADLINE_MS = 400 }; /* the monitor kills after 500 */

struct network_role {
    uv_loop_t loop;
    uv_signal_t sigterm;
    uv_timer_t deadline;
    struct channel_uv *monitor, *control;
    struct network *network;
    bool is_ending;

    /* An attach order waits for the lease that follows it. */
    bool has_attach;
    uint32_t attach_id;
    struct attach_order attach;
    int attach_fd;
};

static void send_control(struct network_role *role, uint16_t type, uint32_t id, const void *payload,
                         uint32_t len)
{
    if (role->control)
        channel_uv_send(role->control, type, id, payload, len, -1);
}

/* ---- the end ---- */

static void on_network_closed(void *ctx)
{
    struct network_role *role = ctx;
    role->network = NULL;
    uv_stop(&role->loop);
}

static void on_deadline(uv_timer_t *timer)
{
    uv_stop(timer->loop);
}

static void end(struct network_role *role)
{
    if (role->is_ending)
        return;
    role->is_ending = true;
    if (!role->network) {
        uv_stop(&role->loop);
        return;
    }
    uv_timer_start(&role->deadline, on_deadline, CLOSE_DEADLINE_MS, 0);
    network_close(role->network, on_network_closed, role);
}

static void on_sigterm(uv_signal_t *handle, int signum)
{
    (void)signum;
    end(handle->data);
}

/* ---- orders ---- */

static void on_uplink_wanted(void *ctx)
{
    send_control(ctx, MSG_UPLINK_WANTED, 0, NULL, 0);
}

static const struct network_env role_env = {.uplink_wanted = on_uplink_wanted};

static void configure(struct network_role *role, const struct message *message)
{
    const struct network_spec *spec = message->payload;
    struct done done = {.status = 0};
    if (role->network) {
        if (!network_configure(role->network, spec))
            done.status = DONE_RESTART;
    } else {
        int r = network_create(&role->network, &role->loop, spec, &role_env, role);
        if (r < 0) {
            done.status = 503;
            snprintf(done.why, sizeof(done.why), "the network could not start: %s", uv_strerror(r));
        }
    }
    send_control(role, MSG_DONE, message->id, &done, sizeof(done));
}

static void listen_on(struct network_role *role, struct message *message)
{
    const struct listen_order *order = message->payload;
    struct done done = {.status = 0};
    int r = message->fd < 0 ? UV_EBADF : network_listen(role->network, order->kind, order->port, message->fd);
    if (r < 0) {
        done.status = 503;
        snprintf(done.why, sizeof(done.why), "could not listen: %s", uv_strerror(r));
    } else {
        message->fd = -1; /* the network's now */
    }
    send_control(role, MSG_DONE, message->id, &done, sizeof(done));
}

static void begin_attach(struct network_role *role, struct message *message)
{
    if (role->has_attach && role->attach_fd >= 0)
        close(role->attach_fd); /* its lease never came: control died in between */
    role->has_attach = true;
    role->attach_id = message->id;
    role->attach = *(const struct attach_order *)message->payload;
    role->attach_fd = message->fd;
    message->fd = -1;
}

static void finish_attach(struct network_role *role, struct message *message)
{
    struct done done = {.status = 503};
    if (!role->has_attach || role->attach_id != message->id)
        return;
    role->has_attach = false;
    if (role->attach_fd < 0 || message->fd < 0) {
        snprintf(done.why, sizeof(done.why), "the network has no descriptors left");
        if (role->attach_fd >= 0)
            close(role->attach_fd);
        send_control(role, MSG_DONE, message->id, &done, sizeof(done));
        return;
    }
    network_attach(role->network, &role->attach, role->attach_fd, message->fd, &done);
    message->fd = -1;
    send_control(role, MSG_DONE, message->id, &done, sizeof(done));
}

struct snapshot_answer {
    struct network_role *role;
    uint32_t id;
};

static void emit_page(void *ctx, uint16_t type, const void *payload, uint32_t len)
{
    const struct snapshot_answer *answer = ctx;
    send_control(answer->role, type, answer->id, payload, len);
}

static void answer_query(struct network_role *role, const struct message *message)
{
    struct snapshot_answer answer = {.role = role, .id = message->id};
    network_snapshot(role->network, message->payload, emit_page, &answer);
    send_control(role, MSG_SNAPSHOT_END, message->id, NULL, 0);
}

/* Orders about ports, which are answered by what the network says. */
static void order_port(struct network_role *role, const struct message *message)
{
    struct done done = {.status = 0};
    if (message->type == MSG_PORT_PUT) {
        network_put_port(role->network, &((const struct port_order *)message->payload)->spec, &done);
    } else if (message->type == MSG_PORT_CHANGE) {
        const struct port_change_order *order = message->payload;
        network_change_port(role->network, order->port, &order->change, &done);
    } else if (message->type == MSG_PORT_REMOVE) {
        network_remove_port(role->network, ((const struct port_name_order *)message->payload)->port, &done);
    } else {
        network_flush(role->network, &done);
    }
    send_control(role, MSG_DONE, message->id, &done, sizeof(done));
}

static bool offload_is_ok(enum port_offload offload)
{
    return (unsigned)offload < OFFLOAD_N;
}

/* Values of control are checked like anybody's. */
static bool values_are_ok(const struct message *message)
{
    switch (message->type) {
    case MSG_CONFIGURE:
        return port_name_is_valid(((const struct network_spec *)message->payload)->name) &&
               offload_is_ok(((const struct network_spec *)message->payload)->offload);
    case MSG_LISTEN:
        return message_text_ok(((const struct listen_order *)message->payload)->port, PORT_NAME_SIZE);
    case MSG_PORT_PUT: {
        const struct port_spec *spec = &((const struct port_order *)message->payload)->spec;
        return message_text_ok(spec->name, PORT_NAME_SIZE) && port_name_is_valid(spec->name) &&
               spec->n_statics <= PORT_STATICS_MAX && offload_is_ok(spec->offload);
    }
    case MSG_PORT_CHANGE:
        return message_text_ok(((const struct port_change_order *)message->payload)->port, PORT_NAME_SIZE);
    case MSG_PORT_REMOVE:
        return message_text_ok(((const struct port_name_order *)message->payload)->port, PORT_NAME_SIZE);
    case MSG_ATTACH:
        return message_text_ok(((const struct attach_order *)message->payload)->port, PORT_NAME_SIZE) &&
               offload_is_ok(((const struct attach_order *)message->payload)->offload);
    case MSG_UPLINK_REPORT:
        return message_text_ok(((const struct uplink_report *)message->payload)->reason, UPLINK_REASON_SIZE);
    default:
        return true;
    }
}

static void on_control_message(void *ctx, struct message *message)
{
    struct network_role *role = ctx;
    if (role->is_ending)
        return;
    if (!values_are_ok(message) || (!role->network && message->type != MSG_CONFIGURE)) {
        log_error("message %s from control refused", message_name(message->type));
        return;
    }
    switch (message->type) {
    case MSG_CONFIGURE:
        configure(role, message);
        break;
    case MSG_LISTEN:
        listen_on(role, message);
        break;
    case MSG_PORT_PUT:
    case MSG_PORT_CHANGE:
    case MSG_PORT_REMOVE:
    case MSG_FLUSH_FDB:
        order_port(role, message);
        break;
    case MSG_ATTACH:
        begin_attach(role, message);
        break;
    case MSG_LEASE:
        finish_attach(role, message);
        break;
    case MSG_QUERY:
        answer_query(role, message);
        break;
    case MSG_ASK_SPEC:
        send_control(role, MSG_SPEC, message->id, network_spec_of(role->network),
                     sizeof(struct network_spec));
        break;
    case MSG_UPLINK:
        network_plug_uplink(role->network, message->payload, message->fd);
        message->fd = -1;
        break;
    case MSG_UPLINK_REPORT:
        network_report_uplink(role->network, message->payload);
        break;
    default:
        log_error("message %s from control is not for a network", message_name(message->type));
    }
}

static void on_control_lost(void *ctx, int error)
{
    struct network_role *role = ctx;
    log_info("control has gone (%s); ports go on", uv_strerror(error));
    channel_uv_close(role->control);
    role->control = NULL;
}

/* ---- the monitor ---- */

static void take_control(struct network_role *role, struct message *message)
{
    channel_uv_close(role->control);
    role->control = NULL;
    if (channel_uv_open(&role->control, &role->loop, message->fd, on_control_message, on_control_lost,
                        role) == 0)
        message->fd = -1;
    if (role->network && network_wants_uplink(role->network))
        on_uplink_wanted(role);
}

static void on_monitor_message(void *ctx, struct message *message)
{
    struct network_role *role = ctx;
    if (message->type == MSG_HELLO) {
        const struct hello *hello = message->payload;
        char title[64];
        if (hello->protocol != MESSAGE_PROTOCOL || !message_text_ok(hello->name, sizeof(hello->name))) {
            log_error("the monitor speaks protocol %u, this is %u", hello->protocol, MESSAGE_PROTOCOL);
            end(role);
            return;
        }
        snprintf(title, sizeof(title), "network %s", hello->name);
        log_open(title, (enum log_level)hello->log_level);
    } else if (message->type == MSG_CONTROL && message->fd >= 0) {
        take_control(role, message);
    } else if (message->type == MSG_LOG_LEVEL) {
        log_set_level((enum log_level)((const struct log_order *)message->payload)->level);
    }
}

static void on_monitor_lost(void *ctx, int error)
{
    (void)error;
    end(ctx);
}

int network_main(int channel_fd)
{
    struct network_role *role = calloc(1, sizeof(*role));
    log_open("network", LOG_INFO);
    if (!role || loop_room_open(&role->loop, channel_fd) < 0) {
        log_error("cannot start: out of memory");
        free(role);
        return EXIT_FAILED;
    }
    signal(SIGPIPE, SIG_IGN);
    signal(SIGINT, SIG_IGN); /* a terminal's Ctrl-C is the monitor's to handle */
    uv_signal_init(&role->loop, &role->sigterm);
    uv_timer_init(&role->loop, &role->deadline);
    role->sigterm.data = role;
    uv_signal_start(&role->sigterm, on_sigterm, SIGTERM);
    int r =
        channel_uv_open(&role->monitor, &role->loop, channel_fd, on_monitor_message, on_monitor_lost, role);
    if (r < 0) {
        log_error("no channel to the monitor: %s", uv_strerror(r));
        return EXIT_FAILED;
    }
    struct sandbox_state sandbox;
    sandbox_enter(SANDBOX_NETWORK, NULL, &sandbox);
    uv_run(&role->loop, UV_RUN_DEFAULT);

    if (role->has_attach && role->attach_fd >= 0)
        close(role->attach_fd);
    channel_uv_close(role->monitor);
    channel_uv_close(role->control);
    uv_close((uv_handle_t *)&role->sigterm, NULL);
    uv_close((uv_handle_t *)&role->deadline, NULL);
    const bool is_clean = !role->network;
    if (is_clean) {
        uv_run(&role->loop, UV_RUN_DEFAULT);
        uv_loop_close(&role->loop);
        free(role);
    }
    return EXIT_OK;
}
