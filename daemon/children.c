#include "daemon/children.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "daemon/privileges.h"
#include "daemon/sandbox.h"
#include "daemon/spawn.h"
#include "io/log.h"

static const char *const role_names[ROLE_N] = {"monitor", "control", "network", "uplink",
                                               "vmnet",   "nat",     "keeper"};

int child_spawn(enum role role, const char *name, uint32_t uid, uint32_t gid, const struct hello *hello,
                struct channel **ret_channel, pid_t *ret_pid)
{
    char program[32], role_arg[32], name_arg[64], uid_arg[32], gid_arg[32], level_arg[32], format_arg[32],
        sandbox_arg[32];
    struct hello said = *hello;
    int fds[2];
    int r = channel_pair(fds);
    if (r < 0)
        return r;
    snprintf(program, sizeof(program), "%s", spawn_program());
    snprintf(role_arg, sizeof(role_arg), "--role=%s", role_names[role]);
    snprintf(uid_arg, sizeof(uid_arg), "--uid=%u", uid);
    snprintf(gid_arg, sizeof(gid_arg), "--gid=%u", gid);
    snprintf(level_arg, sizeof(level_arg), "--log-level=%s",
             log_level_name((enum log_level)hello->log_level));
    snprintf(format_arg, sizeof(format_arg), "--log-format=%s", log_format_name(log_format()));
    snprintf(sandbox_arg, sizeof(sandbox_arg), "--sandbox=%s", sandbox_mode_name(sandbox_mode()));
    snprintf(name_arg, sizeof(name_arg), "--name=%s", name);
    char *argv[] = {program,   role_arg,   uid_arg,     gid_arg,
                    level_arg, format_arg, sandbox_arg, name[0] ? name_arg : NULL,
                    NULL};
    r = spawn_self(argv, fds[1], ret_pid);
    close(fds[1]);
    *ret_channel = r == 0 ? channel_create(fds[0]) : NULL;
    if (!*ret_channel) {
        close(fds[0]); /* a process that was started after all sees its end, and goes */
        return r < 0 ? r : -ENOMEM;
    }
    said.role = role;
    snprintf(said.name, sizeof(said.name), "%s", name);
    channel_send(*ret_channel, MSG_HELLO, 0, &said, sizeof(said), -1);
    return 0;
}

static bool is_known(const struct child *child)
{
    return child->state == CHILD_RUNS || child->state == CHILD_CRASHED;
}

struct child *children_find(struct children *children, enum role role, const char *name)
{
    for (size_t i = 0; i < CHILDREN_MAX; i++) {
        struct child *child = &children->table[i];
        if (is_known(child) && child->id.role == role && strcmp(child->id.name, name) == 0)
            return child;
    }
    return NULL;
}

/* A place for a new child, or NULL if there are as many of its role as may be. */
static struct child *find_place(struct children *children, enum role role)
{
    struct child *place = NULL;
    unsigned n_known = 0;
    for (size_t i = 0; i < CHILDREN_MAX; i++) {
        struct child *child = &children->table[i];
        if (child->state == CHILD_NONE)
            place = child;
        n_known += is_known(child) && child->id.role == role;
    }
    return n_known < NETWORKS_MAX ? place : NULL;
}

int children_start(struct children *children, const struct child_start *order, struct child **ret_child,
                   char *ret_why, size_t why_size)
{
    struct child *child = children_find(children, order->child.role, order->child.name);
    struct child new_child = {.state = CHILD_RUNS, .id = order->child, .uid = order->uid, .gid = order->gid};
    *ret_child = child;
    if (child && child->state == CHILD_RUNS)
        return 0;
    if (!child)
        child = find_place(children, order->child.role);
    if (!child) {
        snprintf(ret_why, why_size, "there are %d networks already, or others are still ending",
                 NETWORKS_MAX);
        return -EAGAIN;
    }
    int r = child_spawn(order->child.role, order->child.name, order->uid, order->gid, &children->hello,
                        &new_child.channel, &new_child.pid);
    if (r < 0) {
        snprintf(ret_why, why_size, "cannot start a process: %s", strerror(-r));
        return r;
    }
    *child = new_child;
    *ret_child = child;
    log_debug("%s %s started, pid %ld", role_names[child->id.role], child->id.name, (long)child->pid);
    return 0;
}

int child_connect_control(struct child *child)
{
    int fds[2];
    int r = child->channel ? channel_pair(fds) : -ENOTCONN;
    if (r < 0)
        return r;
    const unsigned n_lost = channel_lost_fds(child->channel);
    r = channel_send(child->channel, MSG_CONTROL, 0, NULL, 0, fds[1]);
    if (r == 0 && channel_lost_fds(child->channel) != n_lost)
        r = -ETOOMANYREFS;
    if (r == 0)
        return fds[0];
    close(fds[0]);
    return r;
}

void child_stop(struct child *child, uint64_t kill_at_ms)
{
    channel_destroy(child->channel); /* the end of it is what tells the process to go */
    child->channel = NULL;
    child->kill_at_ms = kill_at_ms;
    child->state = child->pid ? CHILD_ENDS : CHILD_NONE;
}

struct child children_gone(struct children *children, pid_t pid)
{
    for (size_t i = 0; i < CHILDREN_MAX; i++) {
        struct child *child = &children->table[i];
        if (child->state == CHILD_NONE || child->pid != pid)
            continue;
        struct child was = *child;
        channel_destroy(child->channel);
        child->channel = NULL;
        child->pid = 0;
        child->kill_at_ms = 0;
        child->state = was.state == CHILD_ENDS ? CHILD_NONE : CHILD_CRASHED;
        return was;
    }
    return (struct child){.state = CHILD_NONE};
}

uint64_t children_kill_due(struct children *children, uint64_t now_ms)
{
    uint64_t next_ms = 0;
    for (size_t i = 0; i < CHILDREN_MAX; i++) {
        struct child *child = &children->table[i];
        if (child->state == CHILD_NONE || !child->pid || !child->kill_at_ms)
            continue;
        if (child->kill_at_ms <= now_ms) {
            privileges_kill(child->pid, child->uid); /* ours and not reaped yet: the pid is still its own */
            child->kill_at_ms = 0;
        } else if (!next_ms || child->kill_at_ms < next_ms) {
            next_ms = child->kill_at_ms;
        }
    }
    return next_ms;
}

unsigned children_count(const struct children *children)
{
    unsigned n = 0;
    for (size_t i = 0; i < CHILDREN_MAX; i++)
        n += children->table[i].state != CHILD_NONE && children->table[i].pid != 0;
    return n;
}
