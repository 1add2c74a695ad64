#include "daemon/uplink_process.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "daemon/clock.h"
#include "daemon/roles.h"
#include "io/log.h"

enum { ROLE_NAME_SIZE = 16 + NETWORK_NAME_SIZE };

void uplink_process_open(struct uplink_process *process, enum role role, int channel_fd,
                         const struct uplink_process_ops *ops, void *ctx)
{
    process->ops = ops;
    process->ctx = ctx;
    process->role = role;
    process->now_ms = clock_ms();
    process->monitor = channel_create(channel_fd);
    process->data = data_port_create();
    if (!process->monitor || !process->data)
        uplink_process_end(process, EXIT_FAILED);
}

void uplink_process_close(struct uplink_process *process)
{
    data_port_destroy(process->data);
    channel_destroy(process->control);
    channel_destroy(process->monitor);
}

void uplink_process_end(struct uplink_process *process, int exit_code)
{
    if (!process->is_ending)
        process->exit_code = exit_code;
    process->is_ending = true;
    if (process->ops->stop)
        process->ops->stop(process->ctx);
    else
        process->is_over = true;
}

/* ---- what control hears ---- */

static void lose_control(struct uplink_process *process)
{
    channel_destroy(process->control);
    process->control = NULL;
}

void uplink_process_tell(struct uplink_process *process, uint16_t type, const void *payload, uint32_t len)
{
    /* A failure shows again where the channel is read, which is also where it is closed. */
    if (process->control)
        channel_send(process->control, type, 0, payload, len, -1);
}

void uplink_process_report(struct uplink_process *process, const struct uplink_report *report, bool is_wanted)
{
    const struct uplink_report *said = &process->said;
    const bool is_new = report->state != said->state || strcmp(report->reason, said->reason) != 0;
    if (is_new && report->state == UPLINK_UP)
        log_info("uplink is up");
    else if (is_new && report->reason[0])
        log_warn("uplink is %s: %s", uplink_state_name(report->state), report->reason);
    process->said = *report;
    if (is_new || is_wanted)
        uplink_process_tell(process, MSG_UPLINK_REPORT, report, sizeof(*report));
}

/* ---- what the monitor and control say ---- */

static void answer_counters(struct uplink_process *process, uint32_t id)
{
    const struct data_port_counters *data = data_port_counters(process->data);
    struct uplink_counters counters = {.from_network = data->frames_in + data->runts,
                                       .to_network = data->frames_out,
                                       .waiting = data->queued};
    counters.drops[UPLINK_DROP_runt] = data->runts;
    counters.drops[UPLINK_DROP_network_full] = data->drop_full;
    counters.drops[UPLINK_DROP_network_gone] = data->drop_gone;
    process->ops->count(process->ctx, &counters);
    channel_send(process->control, MSG_UPLINK_COUNTERS, id, &counters, sizeof(counters), -1);
}

static int on_control_message(void *ctx, struct message *message)
{
    struct uplink_process *process = ctx;
    const struct uplink_process_ops *ops = process->ops;
    if (message->type == MSG_CONFIGURE)
        return ops->configure(process->ctx, message->payload);
    if (message->type == MSG_UPLINK_ASK) {
        answer_counters(process, message->id);
        return 0;
    }
    if (message->type != MSG_UPLINK_DATA || message->fd < 0 || !ops->may_attach(process->ctx))
        return -EBADMSG;
    data_port_attach(process->data, message->fd);
    message->fd = -1;
    if (ops->attached)
        ops->attached(process->ctx);
    return 0;
}

static int hear_hello(struct uplink_process *process, const struct hello *hello)
{
    char name[ROLE_NAME_SIZE];
    if (process->has_hello || hello->protocol != MESSAGE_PROTOCOL || hello->role != process->role ||
        !message_text_ok(hello->name, sizeof(hello->name)) || hello->log_level < LOG_ERROR ||
        hello->log_level >= LOG_N_LEVELS)
        return -EBADMSG;
    process->has_hello = true;
    snprintf(name, sizeof(name), "uplink %s", hello->name);
    log_open(name, (enum log_level)hello->log_level);
    return 0;
}

static int on_monitor_message(void *ctx, struct message *message)
{
    struct uplink_process *process = ctx;
    if (message->type == MSG_HELLO)
        return hear_hello(process, message->payload);
    if (message->type == MSG_LOG_LEVEL) {
        log_set_level((enum log_level)((const struct log_order *)message->payload)->level);
        return 0;
    }
    if (message->type != MSG_CONTROL || !process->has_hello || message->fd < 0)
        return -EBADMSG;
    lose_control(process);
    process->control = channel_create(message->fd);
    if (!process->control)
        return -ENOMEM;
    message->fd = -1;
    process->ops->tell_all(process->ctx);
    return 0;
}

static void serve_channels(struct uplink_process *process, int monitor_seen, int control_seen)
{
    if (control_seen) { /* before the monitor, which may replace it */
        channel_flush(process->control);
        if (channel_receive(process->control, on_control_message, process) < 0) {
            log_info("control is gone: traffic goes on");
            lose_control(process);
        }
    }
    if (monitor_seen) {
        channel_flush(process->monitor);
        int r = channel_receive(process->monitor, on_monitor_message, process);
        if (r < 0 && r != -ECONNRESET)
            log_error("the channel to the monitor failed: %s", strerror(-r));
        if (r < 0)
            uplink_process_end(process, r == -ECONNRESET ? EXIT_OK : EXIT_FAILED);
    }
}

/* ---- the loop ---- */

int uplink_process_sooner(int timeout_ms, int64_t wait_ms)
{
    if (wait_ms < 0 || (timeout_ms >= 0 && timeout_ms <= wait_ms))
        return timeout_ms;
    return wait_ms > INT_MAX ? INT_MAX : (int)wait_ms;
}

static int watch_channel(struct uplink_process *process, const struct channel *channel)
{
    if (!channel || process->is_ending)
        return -1;
    return poll_set_add(&process->set, channel_fd(channel),
                        POLLIN | (channel_wants_write(channel) ? POLLOUT : 0));
}

static int watch_data(struct uplink_process *process)
{
    const int events = data_port_fd(process->data) < 0 ? 0 : process->ops->data_events(process->ctx);
    return events ? poll_set_add(&process->set, data_port_fd(process->data), events) : -1;
}

static void turn(struct uplink_process *process)
{
    struct poll_set *set = &process->set;
    int timeout_ms = process->ops->run_timers(process->ctx);
    set->n = 0;
    const int monitor = watch_channel(process, process->monitor);
    const int control = watch_channel(process, process->control);
    const int data = watch_data(process);
    process->ops->watch(process->ctx, &timeout_ms);

    const bool poll_failed = poll(set->fds, set->n, timeout_ms) < 0;
    for (unsigned i = 0; poll_failed && i < set->n; i++)
        set->fds[i].revents = 0; /* interrupted: undefined */
    process->now_ms = clock_ms();

    process->ops->work(process->ctx, poll_failed, poll_set_seen(set, data));
    if (!process->is_ending)
        serve_channels(process, poll_set_seen(set, monitor), poll_set_seen(set, control));
}

int uplink_process_run(struct uplink_process *process)
{
    while (!process->is_over)
        turn(process);
    return process->exit_code;
}
