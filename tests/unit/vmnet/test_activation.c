/* tests/unit/vmnet/test_activation.c - launchd's sockets, with a double of launchd */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <cmocka.h>

#include "daemon/activation.h"
#include "tests/fake-sdk/fake_launch.h"

static struct activation activation;
static char why[512];
static char path[sizeof(((struct sockaddr_un *)NULL)->sun_path)];
static int answer_error;
static size_t answer_n;
static unsigned n_questions;
static bool answers_dgram;

static int make_socket(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(path, sizeof(path), "/tmp/vmsw-launch-%ld", (long)getpid());
    memcpy(address.sun_path, path, sizeof(path));
    int fd = socket(AF_UNIX, answers_dgram ? SOCK_DGRAM : SOCK_STREAM, 0);
    unlink(path);
    assert_int_equal(bind(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
    if (!answers_dgram)
        assert_int_equal(listen(fd, 5), 0);
    return fd;
}

static int answer(const char *name, int ret_fds[FAKE_LAUNCH_FDS_MAX], size_t *ret_n)
{
    n_questions++;
    if (answer_error || strcmp(name, "missing.stream") == 0)
        return answer_error ? answer_error : ENOENT;
    *ret_n = answer_n;
    for (size_t i = 0; i < answer_n; i++)
        ret_fds[i] = make_socket();
    return 0;
}

static int set_up(void **state)
{
    (void)state;
    fake_launch_stand_behind(answer);
    answer_error = 0;
    answer_n = 1;
    n_questions = 0;
    answers_dgram = false;
    return activation_take(&activation, why, sizeof(why));
}

static int tear_down(void **state)
{
    (void)state;
    for (unsigned i = 0; i < activation.n; i++)
        close(activation.sockets[i].fd);
    unlink(path);
    return 0;
}

static void a_socket_is_asked_for_once_and_kept(void **state)
{
    (void)state;
    assert_int_equal(activation.n, 0);
    int fd = activation_claim(&activation, "lab.stream", why, sizeof(why));
    assert_true(fd >= 0);
    assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    assert_int_equal(activation_claim(&activation, "lab.stream", why, sizeof(why)), fd);
    assert_int_equal(n_questions, 1);
}

static void a_name_that_launchd_does_not_know_is_no_error(void **state)
{
    (void)state;
    assert_int_equal(activation_claim(&activation, "missing.stream", why, sizeof(why)), -ENOENT);
    assert_true(activation_claim(&activation, "api", why, sizeof(why)) >= 0);
}

static void a_process_that_launchd_has_not_started_asks_once(void **state)
{
    (void)state;
    answer_error = ESRCH;
    assert_int_equal(activation_claim(&activation, "api", why, sizeof(why)), -ENOENT);
    assert_int_equal(activation_claim(&activation, "attach", why, sizeof(why)), -ENOENT);
    assert_int_equal(n_questions, 1);
}

static void another_error_is_said(void **state)
{
    (void)state;
    answer_error = EPERM;
    assert_int_equal(activation_claim(&activation, "api", why, sizeof(why)), -EPERM);
    assert_non_null(strstr(why, "launchd does not give the socket 'api'"));
}

static void two_sockets_of_one_name_are_refused_and_closed(void **state)
{
    (void)state;
    int before = dup(0);
    answer_n = 2;
    assert_int_equal(activation_claim(&activation, "api", why, sizeof(why)), -EINVAL);
    assert_non_null(strstr(why, "launchd has 2 sockets called 'api'"));
    close(before);
    int after = dup(0);
    assert_int_equal(after, before);
    close(after);
}

/* A folder that is not there when the Mac starts: we make it, and bind the socket ourselves. */
static void a_socket_that_launchd_could_not_bind_is_ours_to_bind(void **state)
{
    (void)state;
    answer_n = 0;
    assert_int_equal(activation_claim(&activation, "api", why, sizeof(why)), -ENOENT);
}

/* What failed the check was closed, and launchd has no second one. */
static void a_wrong_socket_is_refused_again_and_again(void **state)
{
    (void)state;
    answers_dgram = true;
    assert_int_equal(activation_claim(&activation, "api", why, sizeof(why)), -EINVAL);
    assert_non_null(strstr(why, "must be a stream socket"));
    assert_int_equal(activation_claim(&activation, "api", why, sizeof(why)), -EALREADY);
    assert_non_null(strstr(why, "has given the socket 'api' away"));
}

static void a_file_is_known_as_launchds(void **state)
{
    (void)state;
    int dir_fd = open("/tmp", O_RDONLY | O_DIRECTORY);
    assert_true(activation_claim(&activation, "lab.dgram", why, sizeof(why)) < 0); /* a stream */
    fake_launch_stand_behind(answer);
    answers_dgram = true;
    assert_true(activation_claim(&activation, "lab.dgram", why, sizeof(why)) >= 0);
    /* Another file of that name, or a name that means nothing, is not. */
    assert_false(activation_has_file(&activation, dir_fd, "lab.dgram"));
    assert_false(activation_has_file(&activation, dir_fd, strrchr(path, '/') + 1));
    close(dir_fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_socket_is_asked_for_once_and_kept, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_name_that_launchd_does_not_know_is_no_error, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_process_that_launchd_has_not_started_asks_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(another_error_is_said, set_up, tear_down),
        cmocka_unit_test_setup_teardown(two_sockets_of_one_name_are_refused_and_closed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_socket_that_launchd_could_not_bind_is_ours_to_bind, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_wrong_socket_is_refused_again_and_again, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_file_is_known_as_launchds, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
