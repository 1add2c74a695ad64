/* tests/fuzz/fuzz_api.c - what a client of the API sends, into the real server over a socket pair
 *
 * Held: no crash, no 5xx but 503 and 505, one answer at most, and the client is rid of us when it has hung
 * up.
 */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "api/server.h"
#include "api/spec_json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uv_loop_t loop;
static struct api_server *server;
static struct api_call *held;
static bool hold;

static void must(bool holds, const char *what)
{
    if (holds)
        return;
    fprintf(stderr, "does not hold: %s\n", what);
    abort();
}

static void answer(struct api_call *call)
{
    if (hold)
        held = call;
    else
        api_reply_json(call, 200, json_object());
}

static void on_all(void *ctx, struct api_call *call)
{
    (void)ctx;
    answer(call);
}

static void on_network(void *ctx, struct api_call *call, const char *network)
{
    (void)ctx;
    must(port_name_is_valid(network), "an op sees a valid name");
    answer(call);
}

static void on_put_network(void *ctx, struct api_call *call, const struct network_spec *spec, bool is_create)
{
    struct spec_error error;

    (void)ctx;
    (void)is_create;
    must(port_name_is_valid(spec->name), "an op sees a valid name");
    must(network_spec_check(spec, &error) == 0, "an op sees a spec that makes sense");
    answer(call);
}

static void on_port(void *ctx, struct api_call *call, const char *network, const char *port)
{
    (void)ctx;
    must(port_name_is_valid(network) && port_name_is_valid(port), "an op sees valid names");
    answer(call);
}

static void on_put_port(void *ctx, struct api_call *call, const char *network, const struct port_spec *spec)
{
    on_port(ctx, call, network, spec->name);
}

static void on_patch_port(void *ctx, struct api_call *call, const char *network, const char *port,
                          const struct port_change *change)
{
    must(change->has_enabled || change->has_isolated, "a change changes something");
    on_port(ctx, call, network, port);
}

static void on_reload(void *ctx, struct api_call *call, const struct api_reload *request)
{
    (void)request;
    on_all(ctx, call);
}

static const struct api_ops ops = {
    .info = on_all,
    .health = on_all,
    .networks = on_all,
    .network = on_network,
    .put_network = on_put_network,
    .delete_network = on_network,
    .ports = on_network,
    .port = on_port,
    .put_port = on_put_port,
    .patch_port = on_patch_port,
    .delete_port = on_port,
    .fdb = on_network,
    .flush_fdb = on_network,
    .interfaces = on_all,
    .reload = on_reload,
};

static void start(void)
{
    must(uv_loop_init(&loop) == 0, "there is a loop");
    must(server_open(&server, &loop, -1, &ops, NULL, &api_limits_default) == 0, "there is a server");
    log_open("fuzz", LOG_ERROR);
}

/* Reads what there is. Returns false at the end. */
static bool drain(int fd, char *text, size_t size, size_t *len)
{
    ssize_t n = recv(fd, text + *len, size - 1 - *len, MSG_DONTWAIT);

    if (n > 0)
        *len += (size_t)n;
    return n > 0 || (n < 0 && errno == EAGAIN);
}

static void check_answer(const char *text)
{
    static const char interim[] = "HTTP/1.1 100 Continue\r\n\r\n";
    unsigned status = 0;

    if (strncmp(text, interim, sizeof(interim) - 1) == 0)
        text += sizeof(interim) - 1;
    if (!*text)
        return;
    must(sscanf(text, "HTTP/1.%*1[01] %u", &status) == 1, "an answer is HTTP");
    must((status >= 200 && status < 500) || status == 503 || status == 505, "no 5xx but 503 and 505");
    must(!strstr(text, "\nHTTP/1."), "one answer at most");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char text[64 * 1024];
    const struct peer peer = {.is_known = true, .uid = 1000, .gid = 1000};
    size_t len = 0;
    int fds[2];
    bool is_open = true;

    if (!server)
        start();
    hold = size % 2;
    must(socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0, "there is a socket pair");
    must(size == 0 || send(fds[0], data, size, MSG_DONTWAIT | MSG_NOSIGNAL) > 0, "the input fits");
    shutdown(fds[0], SHUT_WR);
    server_add(server, fds[1], &peer);
    for (int turn = 0; is_open && turn < 1000; turn++) {
        uv_run(&loop, UV_RUN_NOWAIT);
        if (held)
            api_reply_json(held, 200, json_object());
        held = NULL;
        is_open = drain(fds[0], text, sizeof(text), &len);
    }
    must(!is_open, "a client that has hung up is closed");
    text[len] = '\0';
    check_answer(text);
    close(fds[0]);
    uv_run(&loop, UV_RUN_NOWAIT);
    return 0;
}
