#include "daemon/vmnet_helper_vm.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "daemon/dgram_client.h"
#include "daemon/roles.h"
#include "io/log.h"

enum { ASK_MS = 5000 };

/* Waits for the end of a descriptor that says nothing. */
struct watch {
    uv_poll_t poll;
    int fd; /* -1: none */
};

struct helper_vm {
    const struct helper_options *options;
    const struct helper_vm_ops *ops;
    void *ctx;
    struct dgram_client *client; /* NULL: --fd */
    struct watch lease, parent;
    uv_timer_t stats;
    uv_timer_t ask;     /* --fd: a pair has no path to look at */
    int asked_fd;       /* a copy of it; -1: none */
    unsigned n_handles; /* that are still to close */
    bool is_over;
};

static void over(struct helper_vm *vm, int exit_code)
{
    if (vm->is_over)
        return;
    vm->is_over = true;
    vm->ops->end(vm->ctx, exit_code);
}

/* ---- the line ---- */

/* A client reads one line and goes: what would come after it is a signal for nobody. */
static void silence_stdout(void)
{
    int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    if (null < 0)
        return;
    dup2(null, STDOUT_FILENO);
    close(null);
}

static void announce(const struct helper_facts *facts)
{
    char *line = helper_json(facts);
    if (!line || printf("%s\n", line) < 0 || fflush(stdout) != 0)
        log_warn("the network's description could not be printed: %s", line ? strerror(errno) : "no memory");
    else
        log_debug("network: %s", line);
    free(line);
    silence_stdout();
}

/* ---- descriptors whose end is an event ---- */

/* A pipe's writer may write; a lease says nothing. */
static bool is_at_end(int fd)
{
    char ignored[256];
    ssize_t n = read(fd, ignored, sizeof(ignored));
    return n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR);
}

static void on_lease(uv_poll_t *poll, int status, int events)
{
    struct helper_vm *vm = poll->data;
    (void)events;
    if (status == 0 && !is_at_end(vm->lease.fd))
        return;
    uv_poll_stop(poll);
    log_info("the port has gone");
    over(vm, EXIT_OK);
}

static void on_parent(uv_poll_t *poll, int status, int events)
{
    struct helper_vm *vm = poll->data;
    (void)events;
    if (status == 0 && !is_at_end(vm->parent.fd))
        return;
    uv_poll_stop(poll);
    log_info("the parent has gone");
    over(vm, EXIT_OK);
}

static int watch_open(struct helper_vm *vm, struct watch *watch, uv_loop_t *loop, int fd, uv_poll_cb on_event)
{
    int r = uv_poll_init(loop, &watch->poll, fd); /* makes it non-blocking */
    if (r < 0)
        return r;
    watch->fd = fd;
    watch->poll.data = vm;
    vm->n_handles++;
    return uv_poll_start(&watch->poll, UV_READABLE | UV_DISCONNECT, on_event);
}

/* ---- the VM ---- */

/* Returns 0, or -1 with a sentence; 'fd' is taken. */
static int plug_in(struct helper_vm *vm, int fd, char *why, size_t size)
{
    int lease = vm->ops->attach(vm->ctx, fd, why, size);
    if (lease < 0)
        return -1;
    int r = watch_open(vm, &vm->lease, vm->stats.loop, lease, on_lease);
    if (r < 0) {
        close(lease);
        snprintf(why, size, "cannot watch the port: %s", uv_strerror(r));
        return -1;
    }
    return 0;
}

static void on_client(void *ctx, int fd, const char *peer_path)
{
    struct helper_vm *vm = ctx;
    char why[256];
    log_info("connected to client \"%s\"", peer_path);
    if (plug_in(vm, fd, why, sizeof(why)) == 0)
        return;
    log_error("%s", why);
    over(vm, EXIT_FAILED);
}

static void on_client_gone(void *ctx)
{
    log_info("the client has gone");
    over(ctx, EXIT_OK);
}

static void on_ask(uv_timer_t *timer)
{
    const struct helper_vm *vm = timer->data;
    if (dgram_client_has_gone(vm->asked_fd))
        on_client_gone(timer->data);
}

/* Where nothing is sent to a VM that has died, nobody else would notice. Without a copy it goes as well. */
static void watch_pair(struct helper_vm *vm)
{
    vm->asked_fd = fcntl(vm->options->fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    if (vm->asked_fd >= 0)
        uv_timer_start(&vm->ask, on_ask, ASK_MS, ASK_MS);
}

static const struct dgram_client_events client_events = {.on_client = on_client, .on_gone = on_client_gone};

/* ---- counters ---- */

/* As vmnet-helper writes them. It counts what it sent at once and what it tried again; here nothing is. */
static json_t *counted(uint64_t frames, uint64_t bytes, uint64_t drops)
{
    return json_pack("{s:I, s:I, s:I, s:I, s:I}", "packets", (json_int_t)frames, "bytes", (json_int_t)bytes,
                     "drops", (json_int_t)drops, "fast", (json_int_t)frames, "slow", (json_int_t)0);
}

static void on_stats(uv_timer_t *timer)
{
    const struct helper_vm *vm = timer->data;
    struct helper_counters counters;
    struct timespec now;
    if (vm->is_over || !vm->ops->count(vm->ctx, &counters))
        return;
    clock_gettime(CLOCK_REALTIME, &now);
    json_t *stats = json_pack("{s:f, s:o, s:o}", "time", (double)now.tv_sec + (double)now.tv_nsec / 1e9,
                              "host", counted(counters.frames_out, counters.bytes_out, counters.drops_out),
                              "vm", counted(counters.frames_in, counters.bytes_in, counters.drops_in));
    char *text = json_dumps(stats, JSON_COMPACT | JSON_REAL_PRECISION(14));
    const enum log_level level = vm->options->is_verbose ? LOG_DEBUG : LOG_INFO;
    if (text) {
        log_open("stats", level);
        log_info("%s", text);
        log_open("", level);
    }
    free(text);
    json_decref(stats);
}

/* ---- life ---- */

static void on_handle_closed(uv_handle_t *handle)
{
    struct helper_vm *vm = handle->data;
    if (--vm->n_handles > 0)
        return;
    if (vm->lease.fd >= 0)
        close(vm->lease.fd);
    if (vm->asked_fd >= 0)
        close(vm->asked_fd);
    free(vm);
}

void helper_vm_close(struct helper_vm *vm)
{
    if (!vm)
        return;
    vm->is_over = true;
    dgram_client_close(vm->client);
    if (vm->lease.fd >= 0)
        uv_close((uv_handle_t *)&vm->lease.poll, on_handle_closed);
    if (vm->parent.fd >= 0)
        uv_close((uv_handle_t *)&vm->parent.poll, on_handle_closed);
    uv_close((uv_handle_t *)&vm->stats, on_handle_closed);
    uv_close((uv_handle_t *)&vm->ask, on_handle_closed);
}

static int begin(struct helper_vm *vm, uv_loop_t *loop, int fd, char *why, size_t size)
{
    const struct helper_options *options = vm->options;
    int r = 0;
    if (options->liveness_fd >= 0)
        r = watch_open(vm, &vm->parent, loop, options->liveness_fd, on_parent);
    if (r < 0) {
        snprintf(why, size, "parent-liveness-fd %d cannot be watched: %s", options->liveness_fd,
                 uv_strerror(r));
        return -1;
    }
    if (options->stats_interval_s)
        uv_timer_start(&vm->stats, on_stats, options->stats_interval_s * 1000ULL,
                       options->stats_interval_s * 1000ULL);
    if (options->fd >= 0) {
        watch_pair(vm);
        return plug_in(vm, options->fd, why, size);
    }
    r = dgram_client_open(&vm->client, loop, fd, &client_events, vm);
    if (r < 0) {
        snprintf(why, size, "cannot wait on \"%s\": %s", options->socket, uv_strerror(r));
        return -1;
    }
    log_info("waiting for client on \"%s\"", options->socket);
    return 0;
}

int helper_vm_open(struct helper_vm **ret_vm, uv_loop_t *loop, const struct helper_options *options,
                   const struct helper_facts *facts, int fd, const struct helper_vm_ops *ops, void *ctx,
                   char *why, size_t why_size)
{
    struct helper_vm *vm = calloc(1, sizeof(*vm));
    if (!vm) {
        snprintf(why, why_size, "out of memory");
        return -1;
    }
    vm->options = options;
    vm->ops = ops;
    vm->ctx = ctx;
    vm->lease.fd = vm->parent.fd = vm->asked_fd = -1;
    uv_timer_init(loop, &vm->stats);
    uv_timer_init(loop, &vm->ask);
    vm->stats.data = vm->ask.data = vm;
    vm->n_handles = 2;
    announce(facts);
    if (begin(vm, loop, fd, why, why_size) < 0) {
        helper_vm_close(vm);
        return -1;
    }
    *ret_vm = vm;
    return 0;
}
