#include "fixture.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "api/spec_json.h"

static void note(struct fixture *f, struct api_call *call, const char *op, const char *network,
                 const char *port)
{
    f->n_calls++;
    snprintf(f->op, sizeof(f->op), "%s", op);
    snprintf(f->names.network, sizeof(f->names.network), "%s", network ? network : "");
    snprintf(f->names.port, sizeof(f->names.port), "%s", port ? port : "");
    f->peer = *api_call_peer(call);
    if (f->hold) {
        assert_true(f->n_held < API_CONNECTIONS_MAX);
        f->held[f->n_held++] = call;
    } else if (f->padding) {
        char *text = calloc(1, f->padding + 1);
        memset(text, 'x', f->padding);
        api_reply_json(call, 200, json_pack("{s:s, s:s}", "op", op, "padding", text));
        free(text);
    } else {
        api_reply_json(call, 200, json_pack("{s:s}", "op", op));
    }
}

static void op_info(void *ctx, struct api_call *call)
{
    note(ctx, call, "info", NULL, NULL);
}

static void op_health(void *ctx, struct api_call *call)
{
    note(ctx, call, "health", NULL, NULL);
}

static void op_networks(void *ctx, struct api_call *call)
{
    note(ctx, call, "networks", NULL, NULL);
}

static void op_network(void *ctx, struct api_call *call, const char *name)
{
    note(ctx, call, "network", name, NULL);
}

static void op_put_network(void *ctx, struct api_call *call, const struct network_spec *spec, bool is_create)
{
    struct fixture *f = ctx;

    f->network = *spec;
    f->is_create = is_create;
    note(f, call, "put_network", spec->name, NULL);
}

static void op_delete_network(void *ctx, struct api_call *call, const char *name)
{
    struct fixture *f = ctx;

    f->n_calls++;
    snprintf(f->op, sizeof(f->op), "delete_network");
    snprintf(f->names.network, sizeof(f->names.network), "%s", name);
    api_reply_json(call, 204, NULL);
}

static void op_ports(void *ctx, struct api_call *call, const char *network)
{
    note(ctx, call, "ports", network, NULL);
}

static void op_port(void *ctx, struct api_call *call, const char *network, const char *port)
{
    note(ctx, call, "port", network, port);
}

static void op_put_port(void *ctx, struct api_call *call, const char *network, const struct port_spec *spec)
{
    struct fixture *f = ctx;

    f->port = *spec;
    note(f, call, "put_port", network, spec->name);
}

static void op_patch_port(void *ctx, struct api_call *call, const char *network, const char *port,
                          const struct port_change *change)
{
    struct fixture *f = ctx;

    f->change = *change;
    note(f, call, "patch_port", network, port);
}

static void op_delete_port(void *ctx, struct api_call *call, const char *network, const char *port)
{
    note(ctx, call, "delete_port", network, port);
}

static void op_fdb(void *ctx, struct api_call *call, const char *network)
{
    note(ctx, call, "fdb", network, NULL);
}

static void op_flush_fdb(void *ctx, struct api_call *call, const char *network)
{
    note(ctx, call, "flush_fdb", network, NULL);
}

static void op_interfaces(void *ctx, struct api_call *call)
{
    note(ctx, call, "interfaces", NULL, NULL);
}

static void op_reload(void *ctx, struct api_call *call, const struct api_reload *request)
{
    struct fixture *f = ctx;

    f->reload = *request;
    note(ctx, call, "reload", NULL, NULL);
}

static const struct api_ops fake_ops = {
    .info = op_info,
    .health = op_health,
    .networks = op_networks,
    .network = op_network,
    .put_network = op_put_network,
    .delete_network = op_delete_network,
    .ports = op_ports,
    .port = op_port,
    .put_port = op_put_port,
    .patch_port = op_patch_port,
    .delete_port = op_delete_port,
    .fdb = op_fdb,
    .flush_fdb = op_flush_fdb,
    .interfaces = op_interfaces,
    .reload = op_reload,
};

static int listen_at(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    assert_true(fd >= 0);
    assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(fd, 128), 0);
    return fd;
}

void fixture_open(struct fixture *f, const struct api_limits *limits)
{
    memset(f, 0, sizeof(*f));
    strcpy(f->dir, "/tmp/vmswitch-api-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    snprintf(f->path, sizeof(f->path), "%s/api.sock", f->dir);
    assert_int_equal(uv_loop_init(&f->loop), 0);
    assert_int_equal(server_open(&f->server, &f->loop, listen_at(f->path), &fake_ops, f,
                                 limits ? limits : &api_limits_default),
                     0);
}

void fixture_close(struct fixture *f)
{
    api_server_close(f->server);
    uv_run(&f->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&f->loop), 0);
    unlink(f->path);
    assert_int_equal(rmdir(f->dir), 0);
}

static void on_turn_over(uv_timer_t *timer)
{
    *(bool *)timer->data = true;
}

void fixture_turn(struct fixture *f, unsigned ms)
{
    uv_timer_t timer;
    bool is_over = false;

    uv_timer_init(&f->loop, &timer);
    timer.data = &is_over;
    uv_update_time(&f->loop);
    /* Again and again: one that is due when uv_run() begins fires before it waits, for whatever comes next.
     */
    uv_timer_start(&timer, on_turn_over, ms, 1);
    while (!is_over)
        uv_run(&f->loop, UV_RUN_ONCE);
    uv_close((uv_handle_t *)&timer, NULL);
    uv_run(&f->loop, UV_RUN_NOWAIT);
}

int fixture_connect(struct fixture *f)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    snprintf(address.sun_path, sizeof(address.sun_path), "%s", f->path);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
    return fd;
}

void client_send(int fd, const void *bytes, size_t len)
{
    /* A server that has closed already is part of some tests. */
    ssize_t sent = send(fd, bytes, len, MSG_NOSIGNAL);
    (void)sent;
}

bool fixture_receive(struct fixture *f, int fd, unsigned ms)
{
    uint64_t end_ms = uv_hrtime() / 1000000 + ms;
    bool is_over = false;

    f->answer_len = 0;
    while (!is_over && uv_hrtime() / 1000000 < end_ms) {
        ssize_t n = recv(fd, f->answer + f->answer_len, ANSWER_SIZE - 1 - f->answer_len, MSG_DONTWAIT);
        if (n > 0)
            f->answer_len += (size_t)n;
        is_over = n == 0 || (n < 0 && errno != EAGAIN);
        if (n < 0 && errno == EAGAIN) {
            if (uv_run(&f->loop, UV_RUN_NOWAIT) >= 0)
                usleep(10);
        }
    }
    f->answer[f->answer_len] = '\0';
    f->status = 0;
    sscanf(f->answer, "HTTP/1.%*1[01] %u", &f->status);
    f->body = strstr(f->answer, "\r\n\r\n");
    f->body = f->body ? f->body + 4 : "";
    return is_over;
}

unsigned fixture_send_raw(struct fixture *f, const void *bytes, size_t len)
{
    int fd = fixture_connect(f);

    client_send(fd, bytes, len);
    assert_true(fixture_receive(f, fd, 10000));
    close(fd);
    return f->status;
}

unsigned fixture_ask(struct fixture *f, const char *method, const char *path, const char *body)
{
    size_t size = strlen(path) + (body ? strlen(body) : 0) + 256;
    char *text = malloc(size);
    unsigned status;

    if (body)
        snprintf(text, size, "%s %s HTTP/1.1\r\nHost: x\r\nContent-Length: %zu\r\n\r\n%s", method, path,
                 strlen(body), body);
    else
        snprintf(text, size, "%s %s HTTP/1.1\r\nHost: x\r\n\r\n", method, path);
    status = fixture_send_raw(f, text, strlen(text));
    free(text);
    return status;
}

void assert_answer_has(const struct fixture *f, const char *text)
{
    if (!strstr(f->answer, text))
        fail_msg("no \"%s\" in: %s", text, f->answer);
}

void assert_problem(const struct fixture *f, unsigned status, const char *field)
{
    json_t *problem = json_loads(f->body, 0, NULL);
    const char *its_field = json_string_value(json_object_get(problem, "field"));

    if (f->status != status || !problem)
        fail_msg("wanted a problem of %u, got: %s", status, f->answer);
    assert_answer_has(f, "Content-Type: application/problem+json\r\n");
    assert_answer_has(f, "Connection: close\r\n");
    assert_int_equal(json_integer_value(json_object_get(problem, "status")), status);
    assert_string_equal(json_string_value(json_object_get(problem, "type")), "about:blank");
    assert_non_null(json_string_value(json_object_get(problem, "title")));
    assert_non_null(json_string_value(json_object_get(problem, "detail")));
    assert_non_null(json_string_value(json_object_get(problem, "next_step")));
    if (field && (!its_field || strcmp(field, its_field) != 0))
        fail_msg("wanted the field %s: %s", field, f->body);
    json_decref(problem);
}

void fixture_answer_held(struct fixture *f)
{
    while (f->n_held > 0)
        api_reply_json(f->held[--f->n_held], 200, json_pack("{s:s}", "op", "held"));
}

int count_fds(void)
{
    DIR *dir = opendir("/dev/fd");
    int n = 0;

    assert_non_null(dir);
    while (readdir(dir))
        n++;
    closedir(dir);
    return n;
}
