#include "tests/unit/daemon/rig.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

enum { HEAR_MS = 3000, NAP_MS = 2 };

int64_t rig_now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int64_t rig_real_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_BOOTTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void nap(void)
{
    poll(NULL, 0, NAP_MS);
}

/* ---- the daemon ---- */

void rig_init(struct rig *rig)
{
    *rig = (struct rig){.base = "/tmp/vmsw-test-XXXXXX"};
    assert_non_null(mkdtemp(rig->base));
    snprintf(rig->runtime, sizeof(rig->runtime), "%s/run", rig->base);
    snprintf(rig->state, sizeof(rig->state), "%s/state", rig->base);
}

void rig_configure(struct rig *rig, const char *text)
{
    snprintf(rig->config, sizeof(rig->config), "%s/conf", rig->base);
    FILE *file = fopen(rig->config, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

void rig_spawn(struct rig *rig, void (*prepare)(void))
{
    char log[96];
    snprintf(log, sizeof(log), "%s/log", rig->base);
    rig->pid = fork();
    assert_true(rig->pid >= 0);
    if (rig->pid > 0)
        return;
    int fd = open(log, O_WRONLY | O_CREAT | O_APPEND, 0600);
    dup2(fd, STDERR_FILENO);
    close(fd);
    if (prepare)
        prepare();
    if (rig->config[0])
        execl(FAKE_VMSWITCHD, "vmswitchd", "--runtime-dir", rig->runtime, "--state-dir", rig->state,
              "--log-level", "debug", "--config", rig->config, (char *)NULL);
    else
        execl(FAKE_VMSWITCHD, "vmswitchd", "--runtime-dir", rig->runtime, "--state-dir", rig->state,
              "--log-level", "debug", (char *)NULL);
    _exit(127);
}

static int connect_to(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0)
        return fd;
    close(fd);
    return -1;
}

void rig_start(struct rig *rig)
{
    struct stat st;
    rig_spawn(rig, NULL);
    for (int64_t end = rig_now_ms() + HEAR_MS; rig_now_ms() < end; nap()) {
        if (stat(rig_path(rig, "attach.sock"), &st) == 0)
            return;
    }
    fail_msg("the daemon does not start, see %s/log", rig->base);
}

int rig_wait(struct rig *rig, int limit_ms)
{
    int status = 0;
    for (int64_t end = rig_now_ms() + limit_ms; rig_now_ms() < end; nap()) {
        if (waitpid(rig->pid, &status, WNOHANG) != rig->pid)
            continue;
        rig->pid = 0;
        return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
    }
    kill(rig->pid, SIGKILL);
    waitpid(rig->pid, &status, 0);
    rig->pid = 0;
    return -1000;
}

void rig_signal(struct rig *rig, int signal_number)
{
    assert_int_equal(kill(rig->pid, signal_number), 0);
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
    (void)st;
    (void)flag;
    (void)ftw;
    return remove(path);
}

void rig_remove_folder(const char *path)
{
    nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

void rig_end(struct rig *rig)
{
    if (rig->pid) {
        rig_signal(rig, SIGTERM);
        assert_int_equal(rig_wait(rig, 2000), 0);
    }
    assert_false(rig_logged(rig, "Sanitizer")); /* of any role */
    rig_remove_folder(rig->base);
}

bool rig_logged(const struct rig *rig, const char *text)
{
    char path[96];
    static char log[1 << 20];
    snprintf(path, sizeof(path), "%s/log", rig->base);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = read(fd, log, sizeof(log) - 1);
    close(fd);
    log[n > 0 ? n : 0] = '\0';
    return strstr(log, text) != NULL;
}

const char *rig_path(const struct rig *rig, const char *name)
{
    static char paths[4][160];
    static unsigned at;
    char *path = paths[at++ % 4];
    snprintf(path, sizeof(paths[0]), "%s/%s", rig->runtime, name);
    return path;
}

/* ---- processes ---- */

bool rig_alive(pid_t pid)
{
    /* A zombie is not alive, whoever reaps it late; nor is one that is reaped between the two looks. */
    char state = kill(pid, 0) == 0 ? rig_status(pid, "State")[0] : '\0';
    return state != '\0' && state != 'Z';
}

bool rig_gone(pid_t pid, int limit_ms)
{
    int64_t end = rig_now_ms() + limit_ms;
    while (rig_alive(pid)) {
        if (rig_now_ms() >= end)
            return false;
        nap();
    }
    return true;
}

const char *rig_status(pid_t pid, const char *name)
{
    static char line[512];
    char path[64];
    size_t len = strlen(name);
    snprintf(path, sizeof(path), "/proc/%ld/status", (long)pid);
    FILE *file = fopen(path, "r");
    if (!file)
        return "";
    while (fgets(line, sizeof(line), file)) {
        if (strncmp(line, name, len) != 0 || line[len] != ':')
            continue;
        fclose(file);
        line[strcspn(line, "\n")] = '\0';
        return line + len + 1 + strspn(line + len + 1, "\t ");
    }
    fclose(file);
    return "";
}

pid_t rig_control_pid(const struct rig *rig)
{
    char path[64], text[4096], cmdline[256];
    snprintf(path, sizeof(path), "/proc/%ld/task/%ld/children", (long)rig->pid, (long)rig->pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, text, sizeof(text) - 1) : -1;
    if (fd >= 0)
        close(fd);
    text[n > 0 ? n : 0] = '\0';
    for (char *at = text, *end; *at; at = end) {
        long pid = strtol(at, &end, 10);
        if (end == at)
            break;
        snprintf(path, sizeof(path), "/proc/%ld/cmdline", pid);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        n = fd >= 0 ? read(fd, cmdline, sizeof(cmdline)) : -1;
        if (fd >= 0)
            close(fd);
        if (n > 0 && memmem(cmdline, (size_t)n, "--role=control", 14))
            return (pid_t)pid;
    }
    return 0;
}

/* ---- the place of control ---- */

void desk_open(struct desk *desk, const struct rig *rig)
{
    int fd = -1;
    for (int64_t end = rig_now_ms() + HEAR_MS; fd < 0 && rig_now_ms() < end; nap())
        fd = connect_to(rig_path(rig, "api.sock"));
    assert_true(fd >= 0);
    *desk = (struct desk){.channel = channel_create(fd), .next_id = 1};
}

void desk_drop(struct heard *heard)
{
    if (!heard)
        return;
    if (heard->fd >= 0)
        close(heard->fd);
    free(heard);
}

void desk_close(struct desk *desk)
{
    while (desk->first) {
        struct heard *heard = desk->first;
        desk->first = heard->next;
        desk_drop(heard);
    }
    channel_destroy(desk->channel);
    desk->channel = NULL;
}

uint32_t desk_send(struct desk *desk, uint16_t type, const void *payload, uint32_t len)
{
    uint32_t id = desk->next_id++;
    assert_int_equal(channel_send(desk->channel, type, id, payload, len, -1), 0);
    while (channel_wants_write(desk->channel)) {
        poll(&(struct pollfd){.fd = channel_fd(desk->channel), .events = POLLOUT}, 1, HEAR_MS);
        channel_flush(desk->channel);
    }
    return id;
}

static int hear_one(void *ctx, struct message *message)
{
    struct desk *desk = ctx;
    struct heard **last = &desk->first;
    struct heard *heard = malloc(sizeof(*heard) + message->len + 16);
    while (*last)
        last = &(*last)->next;
    *heard = (struct heard){.type = message->type, .id = message->id, .fd = message->fd};
    memcpy(heard->payload, message->payload, message->len);
    message->fd = -1;
    *last = heard;
    return 0;
}

struct heard *desk_hear(struct desk *desk, uint16_t type, uint32_t id)
{
    int64_t end = rig_now_ms() + HEAR_MS;
    for (;;) {
        for (struct heard **at = &desk->first; *at; at = &(*at)->next) {
            struct heard *heard = *at;
            if (heard->type != type || (id && heard->id != id))
                continue;
            *at = heard->next;
            return heard;
        }
        int64_t left = end - rig_now_ms();
        if (left <= 0)
            return NULL;
        /* In small pieces: no more of each is counted, however late the other side gets the processor. */
        poll(&(struct pollfd){.fd = channel_fd(desk->channel), .events = POLLIN}, 1,
             left < NAP_MS ? (int)left : NAP_MS);
        if (channel_receive(desk->channel, hear_one, desk) < 0)
            end = rig_now_ms(); /* only what has come can be heard */
    }
}

uint32_t desk_uid(void)
{
    return geteuid() == 0 ? 61234 : (uint32_t)getuid();
}

int desk_start(struct desk *desk, enum role role, const char *name, pid_t *ret_pid, int *ret_fd)
{
    struct child_start request = {.child.role = role, .uid = desk_uid(), .gid = desk_uid()};
    snprintf(request.child.name, sizeof(request.child.name), "%s", name);
    struct heard *heard = desk_hear(desk, MSG_STARTED, desk_send(desk, MSG_START, &request, sizeof(request)));
    assert_non_null(heard);
    const struct child_started *started = (const struct child_started *)heard->payload;
    int error = started->error;
    assert_true((error == 0) == (heard->fd >= 0));
    assert_true((error == 0) == (started->why[0] == '\0'));
    if (ret_pid)
        *ret_pid = started->pid;
    if (ret_fd) {
        *ret_fd = heard->fd;
        heard->fd = -1;
    }
    desk_drop(heard);
    return error;
}

int desk_bind(struct desk *desk, const char *network, const char *port, enum socket_kind kind, unsigned mode,
              int *ret_fd)
{
    struct bind_request request = {.kind = kind, .mode = mode, .uid = desk_uid()};
    snprintf(request.network, sizeof(request.network), "%s", network);
    snprintf(request.port, sizeof(request.port), "%s", port);
    struct heard *heard = desk_hear(desk, MSG_BOUND, desk_send(desk, MSG_BIND, &request, sizeof(request)));
    assert_non_null(heard);
    int error = ((const struct bound *)heard->payload)->error;
    assert_true((error == 0) == (heard->fd >= 0));
    if (ret_fd) {
        *ret_fd = heard->fd;
        heard->fd = -1;
    }
    desk_drop(heard);
    return error;
}

void desk_stop(struct desk *desk, enum role role, const char *name)
{
    struct child_id id = {.role = role};
    snprintf(id.name, sizeof(id.name), "%s", name);
    desk_send(desk, MSG_STOP, &id, sizeof(id));
}

int desk_exited(struct desk *desk, pid_t pid)
{
    for (;;) {
        struct heard *heard = desk_hear(desk, MSG_EXITED, 0);
        if (!heard)
            return -1;
        const struct child_exited exited = *(const struct child_exited *)heard->payload;
        desk_drop(heard);
        if (exited.pid == pid)
            return exited.status;
    }
}
