/* Tests of io/dgram_path.c and io/dgram_hub.c: clients with paths of their own. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "fixture.h"
#include "io/dgram_address.h"
#include "io/link_internal.h"
#include "io/vnet.h"

/* A fixture with a path (port 0) or a hub (ports 2 on), and a stream on port 1 that hears broadcasts. */
struct scene {
    struct fixture f;
    char dir[32];
    struct dgram_path *path;
    struct dgram_hub *hub;
    int stream;
    unsigned n_clients, n_gone, n_denied, n_unseen, hub_limit;
    bool refuses;
};

static struct sockaddr_un address(const struct scene *s, const char *name)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};

    snprintf(to.sun_path, sizeof to.sun_path, "%s/%s", s->dir, name);
    return to;
}

static int bound(struct scene *s, const char *name)
{
    struct sockaddr_un at = address(s, name);
    int fd = socket(AF_UNIX, SOCK_DGRAM, 0);

    assert_true(fd >= 0);
    unlink(at.sun_path);
    assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
    return fd;
}

static bool on_path_client(void *ctx, struct port *port, const char *peer_path)
{
    struct scene *s = ctx;

    (void)port;
    assert_int_equal(peer_path[0], '/');
    if (s->refuses)
        return false;
    s->n_clients++;
    return true;
}

static void on_gone(void *ctx, struct port *port, const char *reason)
{
    struct scene *s = ctx;

    (void)reason;
    assert_null(port->link);
    assert_int_equal(port->queued, 0);
    s->n_gone++;
}

static void on_path_denied(void *ctx, struct port *port, const char *peer_path, int error)
{
    struct scene *s = ctx;

    (void)port;
    (void)peer_path;
    s->n_denied += error == -EACCES;
    s->n_unseen += error == -ENOENT;
}

static struct port *on_hub_client(void *ctx, const char *peer_path)
{
    struct scene *s = ctx;

    (void)peer_path;
    if (s->n_clients >= s->hub_limit)
        return NULL;
    return fixture_join(&s->f, 2 + s->n_clients++);
}

static void on_hub_denied(void *ctx, const char *peer_path, int error)
{
    on_path_denied(ctx, NULL, peer_path, error);
}

static void scene_open(struct scene *s, bool is_hub, const struct io_limits *limits)
{
    static const struct dgram_path_events path_events = {on_path_client, on_gone, on_path_denied};
    static const struct dgram_hub_events hub_events = {on_hub_client, on_gone, on_hub_denied};

    memset(s, 0, sizeof *s);
    s->hub_limit = 4;
    strcpy(s->dir, "/tmp/vmsw-io-XXXXXX");
    assert_non_null(mkdtemp(s->dir));
    fixture_open(&s->f, limits);
    s->stream = fixture_stream(&s->f, 1);
    if (is_hub)
        assert_int_equal(dgram_hub_open(&s->hub, s->f.io, bound(s, "switch"), &hub_events, s), 0);
    else
        assert_int_equal(
            dgram_path_open(&s->path, s->f.io, fixture_join(&s->f, 0), bound(s, "switch"), &path_events, s),
            0);
}

static void scene_close(struct scene *s)
{
    char command[64];

    dgram_path_close(s->path);
    dgram_hub_close(s->hub);
    fixture_close(&s->f);
    snprintf(command, sizeof command, "rm -r %s", s->dir);
    assert_int_equal(system(command), 0);
}

/* A client with its own path, connected as vfkit and libkrun are. */
static int client(struct scene *s, const char *name)
{
    struct sockaddr_un to = address(s, "switch");
    int fd = fixture_own(&s->f, bound(s, name));

    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
    return fd;
}

static void put_frame(int fd, size_t len, int to, int from, uint32_t seq)
{
    uint8_t frame[2048];

    frame_make(frame, len, to, from, seq);
    assert_int_equal(send(fd, frame, len, MSG_DONTWAIT), (ssize_t)len);
}

static void hears(struct scene *s, size_t len, int to, int from, uint32_t seq)
{
    uint8_t frame[FRAME_LEN_MAX];

    assert_int_equal(stream_receive(&s->f, s->stream, frame, sizeof frame), (long)len);
    assert_true(frame_is(frame, len, to, from, seq));
}

static bool has_clients(struct fixture *f, void *ctx)
{
    struct scene *s = (struct scene *)(void *)f;

    return s->n_clients >= *(unsigned *)ctx;
}

static bool has_lost(struct fixture *f, void *ctx)
{
    struct scene *s = (struct scene *)(void *)f;

    return s->n_gone >= *(unsigned *)ctx;
}

static void wait_clients(struct scene *s, unsigned n)
{
    assert_true(fixture_until(&s->f, has_clients, &n));
}

static void wait_gone(struct scene *s, unsigned n)
{
    assert_true(fixture_until(&s->f, has_lost, &n));
}

static void talks(struct scene *s, int fd, int station)
{
    uint8_t frame[2048];

    put_frame(fd, 100, -1, station, 1);
    hears(s, 100, -1, station, 1);
    stream_send_frame(&s->f, s->stream, 101, station, 99, 2);
    assert_int_equal(datagram_receive(&s->f, fd, frame, sizeof frame), 101);
    assert_true(frame_is(frame, 101, station, 99, 2));
}

static void a_path_takes_a_greeting_and_answers_by_the_same_socket(void **state)
{
    struct scene s;
    int a;

    (void)state;
    scene_open(&s, false, NULL);
    a = client(&s, "vm");
    assert_int_equal(send(a, "VFKT", 4, 0), 4);
    wait_clients(&s, 1);
    talks(&s, a, 1);
    assert_int_equal(s.f.ports[0].counters.frames_in, 1);
    scene_close(&s);
}

static void a_path_takes_a_first_frame_as_a_frame(void **state)
{
    struct scene s;

    (void)state;
    scene_open(&s, false, NULL);
    talks(&s, client(&s, "vm"), 1);
    assert_int_equal(s.n_clients, 1);
    scene_close(&s);
}

static void t05_a_dead_client_is_found_and_a_new_path_adopted(void **state)
{
    struct scene s;
    int a;

    (void)state;
    scene_open(&s, false, NULL);
    a = client(&s, "vm1");
    talks(&s, a, 1);
    fixture_hang_up(&s.f, a); /* silence: nothing is sent to it either */
    wait_gone(&s, 1);
    talks(&s, client(&s, "vm2"), 2);
    assert_int_equal(s.n_clients, 2);
    scene_close(&s);
}

static void r12_a_new_client_of_the_same_path_gets_no_old_frame(void **state)
{
    struct io_limits limits = {512, 1024 * 1024};
    struct scene s;
    uint8_t frame[2048];
    int a;

    (void)state;
    scene_open(&s, false, &limits);
    a = client(&s, "vm");
    talks(&s, a, 1);
    for (uint32_t i = 0; i < 2000; i++) /* the kernel's queue and ours fill up */
        stream_send_frame(&s.f, s.stream, 1000, 1, 99, i);
    fixture_run_ms(&s.f, 20);
    assert_true(s.f.ports[0].queued > 0);
    fixture_hang_up(&s.f, a);
    wait_gone(&s, 1);
    a = client(&s, "vm"); /* the same name, another socket */
    assert_int_equal(send(a, "VFKT", 4, 0), 4);
    wait_clients(&s, 2);
    fixture_run_ms(&s.f, 20);
    assert_int_equal(recv(a, frame, sizeof frame, MSG_DONTWAIT), -1);
    talks(&s, a, 1);
    assert_true(fixture_drops(&s.f, 0, DROP_link_closed) > 0);
    scene_close(&s);
}

/* QEMU never connects: its new socket looks alive while we hold on to the old one. */
static void a_replaced_file_is_noticed_in_silence(void **state)
{
    struct scene s;
    struct sockaddr_un to;
    int a;

    (void)state;
    scene_open(&s, false, NULL);
    a = client(&s, "vm");
    talks(&s, a, 1);
    fixture_run_ms(&s.f, 20); /* a file's time has the resolution of the kernel's tick */
    fixture_hang_up(&s.f, a);
    a = fixture_own(&s.f, bound(&s, "vm"));
    wait_gone(&s, 1);
    to = address(&s, "switch");
    assert_int_equal(connect(a, (struct sockaddr *)&to, sizeof to), 0);
    talks(&s, a, 1);
    scene_close(&s);
}

static void an_unlinked_client_that_lives_is_kept(void **state)
{
    struct scene s;
    struct sockaddr_un at;
    int a;

    (void)state;
    scene_open(&s, false, NULL);
    a = client(&s, "vm");
    talks(&s, a, 1);
    at = address(&s, "vm");
    assert_int_equal(unlink(at.sun_path), 0);
    fixture_run_ms(&s.f, 1000);
    assert_int_equal(s.n_gone, 0);
    uint8_t asked[64];
    assert_int_equal(recv(a, asked, sizeof(asked), MSG_DONTWAIT), 60); /* once, by a frame for nobody */
    assert_int_equal(recv(a, asked, sizeof(asked), MSG_DONTWAIT), -1);
    talks(&s, a, 1);
    scene_close(&s);
}

/* A plain frame behind a header of zeroes, there and back; the stream hears the frame alone. */
static void talks_with_header(struct scene *s, int fd)
{
    static const uint8_t nothing[VNET_HEADER] = {[10] = 1}; /* one buffer */
    uint8_t wire[2048] = {0};

    frame_make(wire + VNET_HEADER, 100, -1, 1, 1);
    assert_int_equal(send(fd, wire, VNET_HEADER + 100, MSG_DONTWAIT), VNET_HEADER + 100);
    hears(s, 100, -1, 1, 1);
    stream_send_frame(&s->f, s->stream, 101, 1, 99, 2);
    assert_int_equal(datagram_receive(&s->f, fd, wire, sizeof wire), VNET_HEADER + 101);
    assert_memory_equal(wire, nothing, VNET_HEADER);
    assert_true(frame_is(wire + VNET_HEADER, 101, 1, 99, 2));
}

/* The question whether it lives is a frame like all others on its wire. */
static void a_client_with_headers_is_asked_with_a_header(void **state)
{
    static const uint8_t nothing[VNET_HEADER] = {[10] = 1};
    uint8_t asked[128];
    struct scene s;
    int a;

    (void)state;
    scene_open(&s, false, NULL);
    s.f.ports[0].offload = OFFLOAD_VIRTIO;
    a = client(&s, "vm");
    talks_with_header(&s, a);
    assert_int_equal(unlink(address(&s, "vm").sun_path), 0);
    assert_int_equal(datagram_receive(&s.f, a, asked, sizeof asked), VNET_HEADER + 60);
    assert_memory_equal(asked, nothing, VNET_HEADER);
    assert_int_equal(asked[VNET_HEADER + 12] << 8 | asked[VNET_HEADER + 13], 0x88B5);
    talks_with_header(&s, a);
    assert_int_equal(s.n_gone, 0);
    scene_close(&s);
}

/* Each has the kind that its port had when it came. */
static void hub_clients_with_headers_talk_to_those_without(void **state)
{
    struct scene s;
    uint8_t frame[2048];
    int a, b;

    (void)state;
    scene_open(&s, true, NULL);
    fixture_join(&s.f, 2)->offload = OFFLOAD_VIRTIO;
    a = client(&s, "vm1");
    assert_int_equal(send(a, "VFKT", 4, 0), 4);
    talks_with_header(&s, a);
    b = client(&s, "vm2");
    put_frame(b, 80, 1, 2, 7);
    assert_int_equal(datagram_receive(&s.f, a, frame, sizeof frame), VNET_HEADER + 80);
    assert_true(frame_is(frame + VNET_HEADER, 80, 1, 2, 7));
    assert_int_equal(s.f.ports[2].counters.bytes_out, 101 + 80);
    scene_close(&s);
}

static void an_unlinked_client_that_is_dead_is_found(void **state)
{
    struct scene s;
    struct sockaddr_un at;
    int a;

    (void)state;
    scene_open(&s, false, NULL);
    a = client(&s, "vm");
    talks(&s, a, 1);
    at = address(&s, "vm");
    unlink(at.sun_path); /* as vfkit does on its way out: its next life comes at once */
    fixture_hang_up(&s.f, a);
    uint64_t hung_up_ms = uv_hrtime() / 1000000;
    wait_gone(&s, 1);
    assert_in_range(uv_hrtime() / 1000000 - hung_up_ms, 0, 3000);
    talks(&s, client(&s, "vm"), 1);
    scene_close(&s);
}

static void a_second_greeting_is_a_new_life(void **state)
{
    struct scene s;
    int a;

    (void)state;
    scene_open(&s, false, NULL);
    a = client(&s, "vm");
    assert_int_equal(send(a, "VFKT", 4, 0), 4);
    wait_clients(&s, 1);
    assert_int_equal(send(a, "VFKT", 4, 0), 4);
    wait_clients(&s, 2);
    assert_int_equal(s.n_gone, 1);
    talks(&s, a, 1);
    scene_close(&s);
}

static void strangers_and_refused_clients_count_as_not_peer(void **state)
{
    struct scene s;
    struct sockaddr_un to;
    int a, b, c;

    (void)state;
    scene_open(&s, false, NULL);
    /* Both are in the socket's queue before anyone is adopted. */
    a = client(&s, "vm1");
    b = client(&s, "vm2");
    put_frame(a, 60, -1, 1, 1);
    put_frame(b, 60, -1, 2, 2);
    hears(&s, 60, -1, 1, 1);
    fixture_run_ms(&s.f, 5);
    assert_int_equal(s.n_clients, 1);
    assert_int_equal(fixture_drops(&s.f, 0, DROP_not_peer), 1);
    scene_close(&s);

    scene_open(&s, false, NULL);
    s.refuses = true;
    a = client(&s, "vm1");
    put_frame(a, 60, -1, 1, 1);
    c = fixture_own(&s.f, socket(AF_UNIX, SOCK_DGRAM, 0)); /* unbound: cannot be answered */
    to = address(&s, "switch");
    assert_int_equal(connect(c, (struct sockaddr *)&to, sizeof to), 0);
    put_frame(c, 60, -1, 1, 1);
    fixture_run_ms(&s.f, 5);
    assert_int_equal(fixture_drops(&s.f, 0, DROP_not_peer), 2);
    assert_null(s.f.ports[0].link);
    scene_close(&s);
}

static void link_close_frees_the_path_for_the_next(void **state)
{
    struct scene s;

    (void)state;
    scene_open(&s, false, NULL);
    talks(&s, client(&s, "vm1"), 1);
    link_close(&s.f.ports[0], LINK_CLOSE_DRAIN, "detached over the API");
    assert_null(s.f.ports[0].link);
    wait_gone(&s, 1);
    talks(&s, client(&s, "vm2"), 2);
    scene_close(&s);
}

static bool is_probing(const struct scene *s)
{
    return uv_is_active((const uv_handle_t *)&s->f.io->prober);
}

static void only_clients_that_are_there_are_probed(void **state)
{
    struct scene s;

    (void)state;
    scene_open(&s, false, NULL);
    fixture_run_ms(&s.f, 5);
    assert_false(is_probing(&s));
    talks(&s, client(&s, "vm1"), 1);
    assert_true(is_probing(&s));
    link_close(&s.f.ports[0], LINK_CLOSE_DRAIN, "detached over the API");
    wait_gone(&s, 1);
    s.f.io->prober.timer_cb(&s.f.io->prober);
    assert_false(is_probing(&s));
    talks(&s, client(&s, "vm2"), 2);
    assert_true(is_probing(&s));
    scene_close(&s);
}

static void hub_clients_are_ports_of_their_own(void **state)
{
    struct scene s;
    uint8_t frame[2048];
    int a, b;

    (void)state;
    scene_open(&s, true, NULL);
    a = client(&s, "vm1");
    b = client(&s, "vm2");
    assert_int_equal(send(a, "VFKT", 4, 0), 4);
    talks(&s, a, 1);
    put_frame(b, 80, 1, 2, 7);
    assert_int_equal(datagram_receive(&s.f, a, frame, sizeof frame), 80);
    assert_true(frame_is(frame, 80, 1, 2, 7));
    assert_int_equal(s.n_clients, 2);
    assert_int_equal(s.f.ports[2].counters.frames_in, 1);
    assert_int_equal(s.f.ports[3].counters.frames_in, 1);
    dgram_hub_detach(s.hub, &s.f.ports[2]);
    assert_null(s.f.ports[2].link);
    assert_int_equal(s.n_gone, 0);
    scene_close(&s);
}

static void hub_refuses_unbound_sources_and_those_over_the_limit(void **state)
{
    struct scene s;
    struct sockaddr_un to;
    int c;

    (void)state;
    scene_open(&s, true, NULL);
    s.hub_limit = 0;
    put_frame(client(&s, "vm1"), 60, -1, 1, 1);
    to = address(&s, "switch");
    c = fixture_own(&s.f, socket(AF_UNIX, SOCK_DGRAM, 0));
    assert_int_equal(connect(c, (struct sockaddr *)&to, sizeof to), 0);
    put_frame(c, 60, -1, 1, 1);
    fixture_run_ms(&s.f, 5);
    assert_int_equal(dgram_hub_refused(s.hub), 2);
    assert_int_equal(s.n_clients, 0);
    scene_close(&s);
}

static void hub_finds_a_client_that_is_gone_when_it_sends(void **state)
{
    struct scene s;
    int a;

    (void)state;
    scene_open(&s, true, NULL);
    a = client(&s, "vm1");
    talks(&s, a, 1);
    fixture_hang_up(&s.f, a);
    stream_send_frame(&s.f, s.stream, 60, -1, 99, 1);
    wait_gone(&s, 1);
    assert_null(s.f.ports[2].link);
    talks(&s, client(&s, "vm1"), 1);
    scene_close(&s);
}

static uint64_t cpu_us(void)
{
    struct rusage usage;

    getrusage(RUSAGE_SELF, &usage);
    return (uint64_t)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000 +
           (uint64_t)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

/* QEMU's kind of client: unconnected, so the kernel holds 11 datagrams and POLLOUT is always set. */
static void q02_a_stuck_hub_client_does_not_spin_and_recovers(void **state)
{
    struct io_limits limits = {64, 100 * 1024};
    struct scene s;
    struct sockaddr_un to;
    uint8_t frame[2048];
    uint64_t before, turns = 0, end_ns;
    int a;

    (void)state;
    scene_open(&s, true, &limits);
    a = fixture_own(&s.f, bound(&s, "qemu"));
    to = address(&s, "switch");
    frame_make(frame, 60, -1, 1, 1);
    assert_int_equal(sendto(a, frame, 60, 0, (struct sockaddr *)&to, sizeof to), 60);
    hears(&s, 60, -1, 1, 1);
    for (uint32_t i = 0; i < 500; i++)
        stream_send_frame(&s.f, s.stream, 500, 1, 99, i);
    fixture_run_ms(&s.f, 200);
    assert_int_equal(s.f.ports[2].queued, 64);
    assert_true(fixture_drops(&s.f, 2, DROP_queue_full) > 0);
    assert_false(s.f.ports[2].pushes_back);
    /* The fixture's own tick is 1000 turns a second: without it. */
    uv_timer_stop(&s.f.tick);
    uv_timer_start(&s.f.tick, s.f.tick.timer_cb, 500, 500);
    before = cpu_us();
    end_ns = uv_hrtime() + UINT64_C(500) * 1000000;
    for (; uv_hrtime() < end_ns; turns++)
        uv_run(&s.f.loop, UV_RUN_ONCE);
    assert_true(turns < 40); /* the retries: every 50 ms, and the tick */
    assert_true(cpu_us() - before < 10000);
    uv_timer_start(&s.f.tick, s.f.tick.timer_cb, 1, 1);
    end_ns = uv_hrtime() + UINT64_C(2000) * 1000000;
    while (s.f.ports[2].queued > 0 && uv_hrtime() < end_ns) {
        (void)recv(a, frame, sizeof frame, MSG_DONTWAIT);
        fixture_turn(&s.f);
    }
    assert_int_equal(s.f.ports[2].queued, 0);
    scene_close(&s);
}

/* It may be somewhere that only others see, or have gone: whoever runs it hears why nothing comes back. */
static void a_client_whose_socket_is_not_there_is_named_once(void **state)
{
    (void)state;
    for (int is_hub = 0; is_hub < 2; is_hub++) {
        struct scene s;
        int a;

        scene_open(&s, is_hub, NULL);
        s.hub_limit = 1;
        a = client(&s, "vm");
        unlink(address(&s, "vm").sun_path);
        for (int i = 0; i < 2; i++)
            put_frame(a, 60, -1, 1, 1);
        for (int i = 0; i < 20; i++)
            fixture_turn(&s.f);
        assert_int_equal(s.n_unseen, 1);
        assert_int_equal(s.n_denied + s.n_clients, 0);
        scene_close(&s);
    }
}

/* As root nothing is denied, so a child without privilege runs the scene against a socket it may not write.
 */
static void a_client_that_may_not_be_written_is_denied_once(void **state)
{
    struct scene s;
    struct sockaddr_un at, to;
    int a, status;
    pid_t child;

    (void)state;
    if (getuid() != 0)
        skip();
    scene_open(&s, false, NULL);
    a = client(&s, "vm");
    at = address(&s, "vm");
    to = address(&s, "switch");
    assert_int_equal(chmod(s.dir, 0755), 0);
    assert_int_equal(chmod(at.sun_path, 0600), 0);
    assert_int_equal(chmod(to.sun_path, 0666), 0);
    put_frame(a, 60, -1, 1, 1);
    put_frame(a, 60, -1, 1, 2);
    child = fork();
    if (child == 0) {
        if (setgid(65534) < 0 || setuid(65534) < 0)
            _exit(2);
        for (int i = 0; i < 20; i++)
            fixture_turn(&s.f);
        _exit(s.n_denied == 1 && s.n_clients == 0 && fixture_drops(&s.f, 0, DROP_not_peer) == 2 ? 0 : 1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    scene_close(&s);
}

/* The longest path there is: the kernel tells one byte more of it than struct sockaddr_un has. */
static void hub_answers_a_client_with_the_longest_path(void **state)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX}, to;
    char path[sizeof at.sun_path + 1] = {0};
    struct scene s;
    int a;

    (void)state;
    scene_open(&s, true, NULL);
    memset(path, 'x', sizeof at.sun_path);
    memcpy(path, s.dir, strlen(s.dir));
    path[strlen(s.dir)] = '/';
    memcpy(at.sun_path, path, sizeof at.sun_path);
    a = fixture_own(&s.f, socket(AF_UNIX, SOCK_DGRAM, 0));
    assert_int_equal(bind(a, (struct sockaddr *)&at, sizeof at), 0);
    to = address(&s, "switch");
    assert_int_equal(connect(a, (struct sockaddr *)&to, sizeof to), 0);
    talks(&s, a, 1);
    assert_int_equal(unlink(path), 0);
    scene_close(&s);
}

static struct batch_slot slot_of(const struct scene *s, unsigned i)
{
    struct batch_slot slot = {.from_len = sizeof slot.from};
    char name[16];

    snprintf(name, sizeof name, "vm%u", i);
    slot.from = address(s, name);
    return slot;
}

static void several_refused_sources_are_remembered(void **state)
{
    static struct dgram_refusals refusals;
    struct scene s = {.dir = "/nowhere"};
    struct dgram_address source;
    struct batch_slot slot;

    (void)state;
    slot = slot_of(&s, 0);
    assert_false(dgram_refusals_hold(&refusals, &slot, 0));
    for (unsigned round = 0; round < 2; round++)
        for (unsigned i = 0; i < DGRAM_REFUSALS; i++) {
            slot = slot_of(&s, i);
            assert_true(dgram_address_of(&source, &slot));
            assert_int_equal(dgram_refusals_note(&refusals, &source, true, 1000 * round), round == 0);
        }
    for (unsigned i = 0; i < DGRAM_REFUSALS; i++) {
        slot = slot_of(&s, i);
        assert_true(dgram_refusals_hold(&refusals, &slot, 1000 + DGRAM_REFUSAL_MS - 1));
        assert_false(dgram_refusals_hold(&refusals, &slot, 1000 + DGRAM_REFUSAL_MS));
    }
    /* One more takes the place of the first. */
    slot = slot_of(&s, DGRAM_REFUSALS);
    assert_true(dgram_address_of(&source, &slot));
    assert_true(dgram_refusals_note(&refusals, &source, true, 1000));
    assert_true(dgram_refusals_hold(&refusals, &slot, 1000));
    slot = slot_of(&s, 0);
    assert_false(dgram_refusals_hold(&refusals, &slot, 1000));
    slot = slot_of(&s, 1);
    assert_true(dgram_refusals_hold(&refusals, &slot, 1000));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_path_takes_a_greeting_and_answers_by_the_same_socket),
        cmocka_unit_test(a_path_takes_a_first_frame_as_a_frame),
        cmocka_unit_test(t05_a_dead_client_is_found_and_a_new_path_adopted),
        cmocka_unit_test(r12_a_new_client_of_the_same_path_gets_no_old_frame),
        cmocka_unit_test(a_replaced_file_is_noticed_in_silence),
        cmocka_unit_test(an_unlinked_client_that_lives_is_kept),
        cmocka_unit_test(a_client_with_headers_is_asked_with_a_header),
        cmocka_unit_test(an_unlinked_client_that_is_dead_is_found),
        cmocka_unit_test(hub_clients_with_headers_talk_to_those_without),
        cmocka_unit_test(a_second_greeting_is_a_new_life),
        cmocka_unit_test(strangers_and_refused_clients_count_as_not_peer),
        cmocka_unit_test(link_close_frees_the_path_for_the_next),
        cmocka_unit_test(only_clients_that_are_there_are_probed),
        cmocka_unit_test(hub_clients_are_ports_of_their_own),
        cmocka_unit_test(hub_refuses_unbound_sources_and_those_over_the_limit),
        cmocka_unit_test(hub_finds_a_client_that_is_gone_when_it_sends),
        cmocka_unit_test(q02_a_stuck_hub_client_does_not_spin_and_recovers),
        cmocka_unit_test(a_client_whose_socket_is_not_there_is_named_once),
        cmocka_unit_test(a_client_that_may_not_be_written_is_denied_once),
        cmocka_unit_test(hub_answers_a_client_with_the_longest_path),
        cmocka_unit_test(several_refused_sources_are_remembered),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
