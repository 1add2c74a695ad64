/* tests/unit/daemon/test_lock.c - who may start, and what a start leaves alone */
#include <errno.h>
#include <fcntl.h>
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
#include <unistd.h>
#include <cmocka.h>

#include "daemon/lock.h"
#include "daemon/roles.h"
#include "tests/unit/daemon/rig.h"

static struct rig rig;

static int set_up(void **state)
{
    (void)state;
    rig_init(&rig);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    rig_end(&rig);
    return 0;
}

static ino_t inode_of(const char *name)
{
    struct stat st;
    return lstat(rig_path(&rig, name), &st) == 0 ? st.st_ino : 0;
}

static int bind_at(const char *name, int type)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof(address.sun_path), "%s", rig_path(&rig, name));
    int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    if (type == SOCK_STREAM)
        assert_int_equal(listen(fd, 5), 0);
    return fd;
}

/* T13 */
static void a_second_daemon_refuses_and_names_the_first(void **state)
{
    (void)state;
    char pid[32];
    struct rig second;
    rig_start(&rig);
    ino_t api = inode_of("api.sock");
    second = rig;
    rig_spawn(&second, NULL);
    assert_int_equal(rig_wait(&second, 3000), EXIT_RUNNING);
    snprintf(pid, sizeof(pid), "pid %ld", (long)rig.pid);
    assert_true(rig_logged(&rig, pid));
    assert_true(rig_logged(&rig, rig.runtime));
    assert_int_equal(inode_of("api.sock"), api);
    struct desk desk;
    desk_open(&desk, &rig);
    assert_int_equal(desk_start(&desk, ROLE_NETWORK, "one", NULL, NULL), 0);
    desk_close(&desk);
}

/* T14: the pid in the lock file is now that of somebody else, who must not notice. */
static void after_a_kill_the_next_starts_at_once(void **state)
{
    (void)state;
    char lock[160];
    struct desk desk;
    pid_t innocent = fork();
    if (innocent == 0) {
        poll(NULL, 0, 60000);
        _exit(0);
    }
    rig_start(&rig);
    desk_open(&desk, &rig);
    assert_int_equal(desk_start(&desk, ROLE_NETWORK, "one", NULL, NULL), 0);
    assert_int_equal(desk_bind(&desk, "one", "", SOCKET_STREAM, 0600, NULL), 0);
    rig_signal(&rig, SIGKILL);
    assert_int_equal(rig_wait(&rig, 1000), -SIGKILL);
    desk_close(&desk);
    assert_int_not_equal(inode_of("one.stream"), 0);
    snprintf(lock, sizeof(lock), "%s", rig_path(&rig, LOCK_NAME));
    FILE *file = fopen(lock, "w");
    fprintf(file, "pid %ld\n", (long)innocent);
    fclose(file);
    unlink(rig_path(&rig, "attach.sock")); /* what rig_start() waits for */
    int64_t started_ms = rig_now_ms();
    rig_start(&rig);
    assert_in_range(rig_now_ms() - started_ms, 0, 1000);
    assert_int_equal(inode_of("one.stream"), 0);
    assert_true(rig_alive(innocent));
    kill(innocent, SIGKILL);
    waitpid(innocent, NULL, 0);
}

/* R02 */
static void stale_sockets_are_taken_over(void **state)
{
    (void)state;
    static const char *const names[] = {"api.sock", "attach.sock", "gone.stream", "gone.vm.dgram"};
    assert_int_equal(mkdir(rig.runtime, 0700), 0);
    for (int i = 0; i < 4; i++)
        close(bind_at(names[i], i == 3 ? SOCK_DGRAM : SOCK_STREAM));
    assert_int_equal(mkdir(rig_path(&rig, ".new-1"), 0700), 0);
    close(bind_at(".new-1/s", SOCK_STREAM));
    ino_t attach = inode_of("attach.sock");
    struct desk desk;
    rig_spawn(&rig, NULL);
    for (int64_t end = rig_now_ms() + 3000; inode_of("attach.sock") == attach && rig_now_ms() < end;)
        poll(NULL, 0, 5);
    desk_open(&desk, &rig);
    desk_close(&desk);
    assert_int_equal(inode_of("gone.stream"), 0);
    assert_int_equal(inode_of("gone.vm.dgram"), 0);
    assert_int_equal(inode_of(".new-1"), 0);
}

static void make_thing(int kind, const char *name)
{
    char path[160], target[160];
    snprintf(path, sizeof(path), "%s", rig_path(&rig, name));
    snprintf(target, sizeof(target), "%s/target", rig.base);
    switch (kind) {
    case 0:
        close(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
        break;
    case 1:
        assert_int_equal(mkdir(path, 0700), 0);
        break;
    case 2:
        assert_int_equal(mkfifo(path, 0600), 0);
        break;
    case 3:
        close(open(target, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
        assert_int_equal(symlink(target, path), 0);
        break;
    case 4:
        assert_int_equal(symlink(rig.base, path), 0);
        break;
    default:
        assert_int_equal(symlink("/nowhere/at/all", path), 0);
    }
}

/* S01 */
static void nothing_but_a_dead_socket_gives_way(void **state)
{
    (void)state;
    static const char *const names[] = {"api.sock", "attach.sock", "shared.stream", LOCK_NAME};
    struct stat before, after;
    assert_int_equal(mkdir(rig.runtime, 0700), 0);
    for (int kind = 0; kind < 6; kind++) {
        for (int i = 0; i < 4; i++) {
            if (kind == 0 && i == 3)
                continue; /* a plain file is what the lock is */
            make_thing(kind, names[i]);
            assert_int_equal(lstat(rig_path(&rig, names[i]), &before), 0);
            rig_spawn(&rig, NULL);
            assert_int_equal(rig_wait(&rig, 4000), EXIT_FAILED);
            assert_int_equal(lstat(rig_path(&rig, names[i]), &after), 0);
            assert_int_equal(before.st_ino, after.st_ino);
            assert_int_equal(before.st_mode, after.st_mode);
            assert_int_equal(before.st_mtim.tv_nsec, after.st_mtim.tv_nsec);
            assert_true(rig_logged(&rig, names[i]));
            remove(rig_path(&rig, names[i]));
            for (int k = 0; k < 3; k++)
                assert_int_equal(inode_of(names[k]), 0); /* and nothing else was left behind */
            remove(rig_path(&rig, LOCK_NAME));
        }
    }
}

/* S01: somebody else's socket, in use */
static void a_live_socket_of_another_is_left_alone(void **state)
{
    (void)state;
    assert_int_equal(mkdir(rig.runtime, 0700), 0);
    int fd = bind_at("api.sock", SOCK_STREAM);
    ino_t inode = inode_of("api.sock");
    rig_spawn(&rig, NULL);
    assert_int_equal(rig_wait(&rig, 5000), EXIT_FAILED);
    assert_int_equal(inode_of("api.sock"), inode);
    assert_true(rig_logged(&rig, "another program listens here"));
    close(fd);
}

static void a_runtime_folder_in_wrong_hands_is_refused(void **state)
{
    (void)state;
    char target[96];
    snprintf(target, sizeof(target), "%s/elsewhere", rig.base);
    assert_int_equal(mkdir(target, 0700), 0);
    assert_int_equal(symlink(target, rig.runtime), 0);
    rig_spawn(&rig, NULL);
    assert_int_equal(rig_wait(&rig, 3000), EXIT_FAILED);
    assert_true(rig_logged(&rig, "symbolic link"));
    assert_int_equal(unlink(rig.runtime), 0);
    assert_int_equal(mkdir(rig.runtime, 0700), 0);
    assert_int_equal(chmod(rig.runtime, 0777), 0);
    rig_spawn(&rig, NULL);
    assert_int_equal(rig_wait(&rig, 3000), EXIT_FAILED);
    assert_true(rig_logged(&rig, "others may write"));
    if (geteuid() != 0)
        return;
    assert_int_equal(chmod(rig.runtime, 0700), 0);
    assert_int_equal(chown(rig.runtime, 4711, 4711), 0);
    rig_spawn(&rig, NULL);
    assert_int_equal(rig_wait(&rig, 3000), EXIT_FAILED);
    assert_true(rig_logged(&rig, "another user"));
}

static void a_folder_too_deep_for_sockets_is_refused(void **state)
{
    (void)state;
    struct rig deep;
    rig_init(&deep);
    size_t len = strlen(deep.runtime);
    memset(deep.runtime + len, 'r', sizeof(deep.runtime) - 1 - len);
    rig_spawn(&deep, NULL);
    /* It holds attach.sock and the like, but not a network's longest name. */
    struct desk desk;
    desk_open(&desk, &deep);
    struct bind_request request = {.mode = 0600, .uid = desk_uid()};
    memset(request.network, 'n', NETWORK_NAME_SIZE - 1);
    assert_int_equal(desk_start(&desk, ROLE_NETWORK, request.network, NULL, NULL), 0);
    assert_int_equal(desk_bind(&desk, request.network, "", SOCKET_STREAM, 0600, NULL), ENAMETOOLONG);
    desk_close(&desk);
    rig_end(&deep);
}

static void the_lock_goes_with_its_holder_alone(void **state)
{
    (void)state;
    char why[256] = "";
    int dir_fd = open(rig.base, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int fd = lock_take(dir_fd, rig.base, why, sizeof(why));
    assert_true(fd >= 0);
    assert_int_equal(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    assert_int_equal(lock_take(dir_fd, rig.base, why, sizeof(why)), -EWOULDBLOCK);
    assert_non_null(strstr(why, rig.base));
    lock_release(fd);
    fd = lock_take(dir_fd, rig.base, why, sizeof(why));
    assert_true(fd >= 0);
    lock_release(fd);
    close(dir_fd);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_second_daemon_refuses_and_names_the_first),
        TEST(after_a_kill_the_next_starts_at_once),
        TEST(stale_sockets_are_taken_over),
        TEST(nothing_but_a_dead_socket_gives_way),
        TEST(a_live_socket_of_another_is_left_alone),
        TEST(a_runtime_folder_in_wrong_hands_is_refused),
        TEST(a_folder_too_deep_for_sockets_is_refused),
        TEST(the_lock_goes_with_its_holder_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
