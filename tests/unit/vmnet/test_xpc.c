/* tests/unit/vmnet/test_xpc.c - the double of XPC keeps the promises that the broker and its clients rely on
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/fake-sdk/blocks.h"
#include "tests/fake-sdk/fake_code_signing.h"
#include "tests/fake-sdk/fake_dispatch.h"
#include "tests/fake-sdk/fake_xpc.h"

#define SERVICE "test.service"

enum { PATIENCE_MS = 5000, EVENTS_MAX = 512 };

static struct {
    atomic_int n_events, n_interrupted, n_invalid, n_peers, n_peers_gone;
    atomic_llong numbers[EVENTS_MAX];
} seen;

static xpc_connection_t listener;
static dispatch_queue_t queue;

static void wait_for(atomic_int *counter, int wanted)
{
    for (int waited_ms = 0; waited_ms < PATIENCE_MS && atomic_load(counter) < wanted; waited_ms++)
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    assert_int_equal(atomic_load(counter), wanted);
}

/* ---- a service that answers with the same, or keeps silent ---- */

static void on_request(xpc_connection_t peer, xpc_object_t event)
{
    if (xpc_get_type(event) == XPC_TYPE_ERROR) {
        assert_ptr_equal(event, XPC_ERROR_CONNECTION_INVALID);
        atomic_fetch_add(&seen.n_peers_gone, 1);
        return;
    }
    const int n = atomic_load(&seen.n_events);
    atomic_store(&seen.numbers[n % EVENTS_MAX], xpc_dictionary_get_int64(event, "number"));
    atomic_fetch_add(&seen.n_events, 1);
    assert_true(fake_dispatch_is_on(queue));
    assert_ptr_equal(xpc_dictionary_get_remote_connection(event), peer);
    xpc_object_t reply = xpc_dictionary_create_reply(event);
    if (!reply)
        return;
    if (!xpc_dictionary_get_bool(event, "silent")) {
        const int fd = xpc_dictionary_dup_fd(event, "fd");
        xpc_dictionary_set_int64(reply, "number", xpc_dictionary_get_int64(event, "number"));
        xpc_dictionary_set_int64(reply, "pid", xpc_connection_get_pid(peer));
        if (xpc_dictionary_get_value(event, "nested"))
            xpc_dictionary_set_value(reply, "nested", xpc_dictionary_get_value(event, "nested"));
        if (fd >= 0) {
            assert_int_equal(write(fd, "hello", 5), 5);
            close(fd);
        }
        xpc_connection_send_message(peer, reply);
    }
    xpc_release(reply);
}

static void serve(void)
{
    queue = dispatch_queue_create("service", DISPATCH_QUEUE_SERIAL);
    listener = xpc_connection_create_mach_service(SERVICE, queue, XPC_CONNECTION_MACH_SERVICE_LISTENER);
    xpc_connection_set_event_handler(listener, ^(xpc_object_t peer) {
      if (xpc_get_type(peer) != XPC_TYPE_CONNECTION)
          return;
      atomic_fetch_add(&seen.n_peers, 1);
      xpc_connection_set_target_queue(peer, queue);
      xpc_connection_set_event_handler(peer, ^(xpc_object_t event) {
        on_request(peer, event);
      });
      xpc_connection_resume(peer);
    });
    xpc_connection_resume(listener);
}

static void stop_serving(void)
{
    xpc_connection_cancel(listener);
    xpc_release(listener);
    dispatch_release(queue);
}

static xpc_connection_t connect_to(const char *name)
{
    xpc_connection_t client = xpc_connection_create_mach_service(name, NULL, 0);
    xpc_connection_set_event_handler(client, ^(xpc_object_t event) {
      if (event == XPC_ERROR_CONNECTION_INTERRUPTED)
          atomic_fetch_add(&seen.n_interrupted, 1);
      if (event == XPC_ERROR_CONNECTION_INVALID)
          atomic_fetch_add(&seen.n_invalid, 1);
    });
    xpc_connection_resume(client);
    return client;
}

static xpc_object_t message(int64_t number)
{
    xpc_object_t message = xpc_dictionary_create(NULL, NULL, 0);
    xpc_dictionary_set_int64(message, "number", number);
    return message;
}

static void let_go(xpc_connection_t client)
{
    xpc_connection_cancel(client);
    xpc_release(client);
}

static int set_up(void **state)
{
    char home[64];
    (void)state;
    snprintf(home, sizeof(home), "/nowhere/%ld", (long)getpid());
    setenv("HOME", home, 1);
    memset(&seen, 0, sizeof(seen));
    serve();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    stop_serving();
    for (int waited_ms = 0;
         waited_ms < PATIENCE_MS && (fake_xpc_alive() || fake_dispatch_alive() || fake_blocks_alive());
         waited_ms++)
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    assert_int_equal(fake_xpc_alive(), 0);
    assert_int_equal(fake_dispatch_alive(), 0);
    assert_int_equal(fake_blocks_alive(), 0);
    return 0;
}

/* ---- the tests ---- */

static void test_a_reply_comes_back_with_every_kind_of_value(void **state)
{
    (void)state;
    int fds[2];
    char text[8] = "";
    assert_int_equal(pipe(fds), 0);
    xpc_connection_t client = connect_to(SERVICE);
    xpc_object_t request = message(-7), nested = xpc_dictionary_create(NULL, NULL, 0);
    xpc_object_t array = xpc_array_create(NULL, 0), array_element = message(5);
    xpc_array_set_string(array, XPC_ARRAY_APPEND, "one");
    xpc_array_append_value(array, array_element);
    xpc_dictionary_set_value(nested, "array", array);
    xpc_dictionary_set_data(nested, "data", "\0x", 2);
    xpc_dictionary_set_string(nested, "string", "text");
    xpc_dictionary_set_bool(nested, "bool", true);
    xpc_dictionary_set_uint64(nested, "uint64", UINT64_MAX);
    xpc_dictionary_set_value(request, "nested", nested);
    xpc_dictionary_set_fd(request, "fd", fds[1]);
    close(fds[1]);
    xpc_object_t reply = xpc_connection_send_message_with_reply_sync(client, request);
    assert_ptr_equal(xpc_get_type(reply), XPC_TYPE_DICTIONARY);
    assert_int_equal(xpc_dictionary_get_int64(reply, "number"), -7);
    assert_int_equal(xpc_dictionary_get_int64(reply, "pid"), getpid());
    xpc_object_t back = xpc_dictionary_get_value(reply, "nested");
    size_t len = 0;
    assert_memory_equal(xpc_dictionary_get_data(back, "data", &len), "\0x", 2);
    assert_int_equal(len, 2);
    assert_string_equal(xpc_dictionary_get_string(back, "string"), "text");
    assert_true(xpc_dictionary_get_bool(back, "bool"));
    assert_true(xpc_dictionary_get_uint64(back, "uint64") == UINT64_MAX);
    assert_int_equal(xpc_dictionary_get_int64(back, "uint64"), 0); /* another type */
    assert_string_equal(xpc_array_get_string(xpc_dictionary_get_value(back, "array"), 0), "one");
    assert_int_equal(read(fds[0], text, sizeof(text)), 5);
    assert_string_equal(text, "hello");
    close(fds[0]);
    xpc_release(reply);
    xpc_release(request);
    xpc_release(nested);
    xpc_release(array);
    xpc_release(array_element);
    let_go(client);
    wait_for(&seen.n_peers_gone, 1);
}

static void test_messages_keep_their_order(void **state)
{
    (void)state;
    xpc_connection_t client = connect_to(SERVICE);
    for (int64_t i = 0; i < EVENTS_MAX; i++) {
        xpc_object_t one = message(i);
        xpc_connection_send_message(client, one);
        xpc_release(one);
    }
    wait_for(&seen.n_events, EVENTS_MAX);
    for (int i = 0; i < EVENTS_MAX; i++)
        assert_int_equal(atomic_load(&seen.numbers[i]), i);
    let_go(client);
    wait_for(&seen.n_peers_gone, 1);
}

static void test_a_cancelled_client_hears_invalid_last_and_the_service_too(void **state)
{
    (void)state;
    xpc_connection_t client = connect_to(SERVICE);
    xpc_object_t one = message(1);
    xpc_release(xpc_connection_send_message_with_reply_sync(client, one));
    xpc_connection_cancel(client);
    wait_for(&seen.n_invalid, 1);
    wait_for(&seen.n_peers_gone, 1);
    xpc_connection_send_message(client, one); /* goes nowhere */
    xpc_release(one);
    xpc_release(client);
    assert_int_equal(atomic_load(&seen.n_interrupted), 0);
}

static void test_without_the_service_a_connection_is_invalid(void **state)
{
    (void)state;
    xpc_connection_t client = connect_to("nobody.has.this");
    xpc_object_t one = message(1);
    assert_ptr_equal(xpc_connection_send_message_with_reply_sync(client, one), XPC_ERROR_CONNECTION_INVALID);
    wait_for(&seen.n_invalid, 1);
    xpc_release(one);
    let_go(client);
}

static void test_an_interruption_ends_what_waits_and_the_next_message_connects_again(void **state)
{
    (void)state;
    xpc_connection_t client = connect_to(SERVICE);
    xpc_object_t silent = message(1);
    xpc_dictionary_set_bool(silent, "silent", true);
    dispatch_queue_t on = dispatch_queue_create("replies", DISPATCH_QUEUE_SERIAL);
    static atomic_int n_replies;
    atomic_store(&n_replies, 0);
    xpc_connection_send_message_with_reply(client, silent, on, ^(xpc_object_t reply) {
      assert_ptr_equal(reply, XPC_ERROR_CONNECTION_INTERRUPTED);
      atomic_fetch_add(&n_replies, 1);
    });
    wait_for(&seen.n_events, 1);
    fake_xpc_interrupt();
    wait_for(&n_replies, 1);
    wait_for(&seen.n_interrupted, 1);
    wait_for(&seen.n_peers_gone, 1);
    xpc_object_t one = message(2), reply = xpc_connection_send_message_with_reply_sync(client, one);
    assert_int_equal(xpc_dictionary_get_int64(reply, "number"), 2);
    assert_int_equal(atomic_load(&seen.n_peers), 2);
    xpc_release(reply);
    xpc_release(one);
    xpc_release(silent);
    dispatch_release(on);
    let_go(client);
    wait_for(&seen.n_peers_gone, 2);
}

/* Runs this program's second face: a client, in a process of its own. */
static pid_t start_client(const char *what)
{
    pid_t pid = fork();
    if (pid == 0) {
        execl("/proc/self/exe", "test_xpc", what, (char *)NULL);
        _exit(99);
    }
    return pid;
}

static void test_a_client_in_another_process_that_is_killed_is_gone_for_the_service(void **state)
{
    int status;
    (void)state;
    const pid_t pid = start_client("stay");
    wait_for(&seen.n_events, 1);
    assert_int_equal(atomic_load(&seen.n_peers_gone), 0);
    kill(pid, SIGKILL);
    wait_for(&seen.n_peers_gone, 1);
    assert_int_equal(waitpid(pid, &status, 0), pid);
}

static void test_another_process_gets_its_reply_and_its_own_pid(void **state)
{
    int status;
    (void)state;
    const pid_t pid = start_client("ask");
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    wait_for(&seen.n_peers_gone, 1);
}

static void test_misuse_ends_the_program(void **state)
{
    static const char *const ways[] = {"no-handler", "not-resumed", "release", "resume-twice"};
    (void)state;
    for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
        int status;
        const pid_t pid = start_client(ways[i]);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGABRT)
            fail_msg("%s: status %x", ways[i], status);
    }
}

/* ---- the second face ---- */

static int misuse(const char *how)
{
    const struct rlimit none = {0};
    setrlimit(RLIMIT_CORE, &none);
    xpc_connection_t client = xpc_connection_create_mach_service(SERVICE, NULL, 0);
    if (strcmp(how, "no-handler") == 0)
        xpc_connection_resume(client);
    if (strcmp(how, "release") == 0)
        xpc_release(client);
    xpc_connection_set_event_handler(client, ^(xpc_object_t event) {
      (void)event;
    });
    if (strcmp(how, "not-resumed") == 0)
        xpc_connection_send_message(client, message(1));
    xpc_connection_resume(client);
    xpc_connection_resume(client);
    return 0;
}

static int be_client(const char *what)
{
    if (strcmp(what, "stay") != 0 && strcmp(what, "ask") != 0)
        return misuse(what);
    xpc_connection_t client = connect_to(SERVICE);
    xpc_object_t one = message(3), reply = xpc_connection_send_message_with_reply_sync(client, one);
    const int64_t pid = xpc_dictionary_get_int64(reply, "pid");
    if (strcmp(what, "stay") == 0)
        pause();
    xpc_release(one);
    xpc_release(reply);
    let_go(client);
    wait_for(&seen.n_invalid, 1);
    return pid == getpid() ? 0 : 1;
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        CASE(test_a_reply_comes_back_with_every_kind_of_value),
        CASE(test_messages_keep_their_order),
        CASE(test_a_cancelled_client_hears_invalid_last_and_the_service_too),
        CASE(test_without_the_service_a_connection_is_invalid),
        CASE(test_an_interruption_ends_what_waits_and_the_next_message_connects_again),
        CASE(test_a_client_in_another_process_that_is_killed_is_gone_for_the_service),
        CASE(test_another_process_gets_its_reply_and_its_own_pid),
        CASE(test_misuse_ends_the_program),
    };
    if (argc > 1)
        return be_client(argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
