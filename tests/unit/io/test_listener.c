/* Tests of io/listener.c. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "fixture.h"
#include "io/listener.h"

struct scene {
    struct fixture f;
    struct listener *listener;
    struct sockaddr_un at;
    int accepted[256];
    unsigned n;
};

static void on_accept(void *ctx, int fd)
{
    struct scene *s = ctx;

    assert_int_equal(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    assert_int_equal(fcntl(fd, F_GETFL) & O_NONBLOCK, 0);
    s->accepted[s->n++] = fd;
}

static void scene_open(struct scene *s)
{
    int fd;

    memset(s, 0, sizeof *s);
    fixture_open(&s->f, NULL);
    fd = socket(AF_UNIX, SOCK_STREAM, 0);
    s->at.sun_family = AF_UNIX;
    snprintf(s->at.sun_path, sizeof s->at.sun_path, "/tmp/vmsw-io-listen-%d", (int)getpid());
    unlink(s->at.sun_path);
    assert_int_equal(bind(fd, (struct sockaddr *)&s->at, sizeof s->at), 0);
    assert_int_equal(listen(fd, 128), 0);
    assert_int_equal(listener_open(&s->listener, &s->f.loop, fd, on_accept, s), 0);
}

static void scene_close(struct scene *s)
{
    listener_close(s->listener);
    while (s->n > 0)
        close(s->accepted[--s->n]);
    unlink(s->at.sun_path);
    fixture_close(&s->f);
}

static int dial(struct scene *s)
{
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&s->at, sizeof s->at), 0);
    return fixture_own(&s->f, fd);
}

static bool has_accepted(struct fixture *f, void *ctx)
{
    return ((struct scene *)(void *)f)->n >= *(unsigned *)ctx;
}

static void clients_are_accepted(void **state)
{
    struct scene s;
    unsigned wanted = 40;

    (void)state;
    scene_open(&s);
    for (unsigned i = 0; i < wanted; i++)
        dial(&s);
    assert_true(fixture_until(&s.f, has_accepted, &wanted));
    listener_close(NULL);
    scene_close(&s);
}

static void d12_without_descriptors_it_waits_without_spinning_and_recovers(void **state)
{
    struct scene s;
    struct rlimit old, low;
    unsigned wanted = 1, turns = 0;
    int hoard[1024], n = 0, fd;
    uint64_t end_ns;

    (void)state;
    scene_open(&s);
    fd = socket(AF_UNIX, SOCK_STREAM, 0);
    fixture_own(&s.f, fd);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
    low = old;
    low.rlim_cur = 64;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
    while ((hoard[n] = dup(fd)) >= 0)
        n++;
    assert_int_equal(connect(fd, (struct sockaddr *)&s.at, sizeof s.at), 0);
    uv_timer_stop(&s.f.tick);
    uv_timer_start(&s.f.tick, s.f.tick.timer_cb, 450, 450);
    end_ns = uv_hrtime() + UINT64_C(450) * 1000000;
    for (; uv_hrtime() < end_ns; turns++)
        uv_run(&s.f.loop, UV_RUN_ONCE);
    assert_int_equal(s.n, 0);
    assert_true(turns < 30);
    uv_timer_start(&s.f.tick, s.f.tick.timer_cb, 1, 1);
    while (n > 0)
        close(hoard[--n]);
    assert_true(fixture_until(&s.f, has_accepted, &wanted));
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
    scene_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(clients_are_accepted),
        cmocka_unit_test(d12_without_descriptors_it_waits_without_spinning_and_recovers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
