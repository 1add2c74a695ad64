/* tests/unit/daemon/test_monitor.c - the real monitor, with roles that do as they are told (fake_roles.c)
 *
 * Ids are those of the scenario tables. As root, everything happens in a network namespace of its own.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <poll.h>
#include <pwd.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "daemon/roles.h"
#include "tests/unit/daemon/rig.h"

static struct rig rig;
static struct desk desk;

static int set_up(void **state)
{
    (void)state;
    rig_init(&rig);
    rig_start(&rig);
    desk_open(&desk, &rig);
    desk_drop(desk_hear(&desk, MSG_BEGIN, 0));
    return 0;
}

static int set_up_folder(void **state)
{
    (void)state;
    rig_init(&rig);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    desk_close(&desk);
    rig_end(&rig);
    return 0;
}

static bool is_root(void)
{
    return geteuid() == 0;
}

static bool exists(const char *name)
{
    struct stat st;
    return lstat(rig_path(&rig, name), &st) == 0;
}

static unsigned mode_of(const char *name)
{
    struct stat st;
    assert_int_equal(lstat(rig_path(&rig, name), &st), 0);
    return st.st_mode & 07777;
}

static ino_t socket_inode(int fd)
{
    struct stat st;
    assert_int_equal(fstat(fd, &st), 0);
    return st.st_ino;
}

static int connect_path(const char *name, int type)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof(address.sun_path), "%s", rig_path(&rig, name));
    int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
    if (connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0)
        return fd;
    close(fd);
    return -1;
}

/* Control is told all that it needs, in order, and its sockets work. */
static void control_hears_everything_before_it_begins(void **state)
{
    (void)state;
    static const uint16_t want[] = {MSG_HELLO, MSG_API_LISTENER, MSG_ATTACH_LISTENER, MSG_CONFIG_FILE,
                                    MSG_BEGIN};
    rig_configure(&rig, "{}\n");
    rig_start(&rig);
    desk_open(&desk, &rig);
    desk_drop(desk_hear(&desk, MSG_NONE, 0)); /* everything that comes */
    for (size_t i = 0; i < sizeof(want) / sizeof(want[0]); i++) {
        struct heard *heard = desk.first;
        assert_non_null(heard);
        assert_int_equal(heard->type, want[i]);
        assert_true((heard->fd >= 0) == (i > 0 && i < 4));
        if (i == 0) {
            const struct hello *hello = (const struct hello *)heard->payload;
            assert_int_equal(hello->protocol, MESSAGE_PROTOCOL);
            assert_string_equal(hello->runtime_dir, rig.runtime);
            assert_string_equal(hello->config_path, rig.config);
            assert_true(hello->is_root == is_root());
            assert_true(hello->service_uid != 0);
        }
        if (want[i] == MSG_CONFIG_FILE) {
            char text[8] = "";
            assert_int_equal(read(heard->fd, text, sizeof(text) - 1), 3);
            assert_string_equal(text, "{}\n");
        }
        desk.first = heard->next;
        desk_drop(heard);
    }
    assert_null(desk.first);
    int fd = connect_path("attach.sock", SOCK_STREAM);
    assert_true(fd >= 0);
    close(fd);
}

/* S08 */
static void roles_have_no_privilege_left(void **state)
{
    (void)state;
    static const char *const sets[] = {"CapEff", "CapPrm", "CapInh", "CapAmb"};
    pid_t pids[3];
    char ids[64];
    pids[0] = rig_control_pid(&rig);
    assert_int_equal(desk_start(&desk, ROLE_NETWORK, "one", &pids[1], NULL), 0);
    assert_int_equal(desk_start(&desk, ROLE_UPLINK, "one", &pids[2], NULL), 0);
    for (int i = 0; i < 3; i++) {
        assert_true(pids[i] > 0);
        /* It takes its name when it has dropped everything, and only then reads a byte. */
        for (int64_t end = rig_now_ms() + 3000;
             rig_now_ms() < end && strcmp(rig_status(pids[i], "Name"), "vmswitchd") != 0;)
            poll(NULL, 0, 2);
        assert_string_equal(rig_status(pids[i], "Name"), "vmswitchd");
        assert_string_equal(rig_status(pids[i], "NoNewPrivs"), "1");
        for (size_t k = 0; k < sizeof(sets) / sizeof(sets[0]); k++)
            assert_string_equal(rig_status(pids[i], sets[k]), "0000000000000000");
        if (!is_root())
            continue;
        assert_string_equal(rig_status(pids[i], "CapBnd"), "0000000000000000");
        unsigned uid = i == 0 ? 0 : desk_uid();
        if (i > 0) {
            snprintf(ids, sizeof(ids), "%u\t%u\t%u\t%u", uid, uid, uid, uid);
            assert_string_equal(rig_status(pids[i], "Uid"), ids);
            assert_string_equal(rig_status(pids[i], "Gid"), ids);
        }
        assert_int_equal(strspn(rig_status(pids[i], "Uid"), "0\t"), 0);
        assert_string_equal(rig_status(pids[i], "Groups"), "");
    }
}

static void a_network_has_a_channel_to_control(void **state)
{
    (void)state;
    int fd = -1;
    pid_t pid = 0, again = 0;
    assert_int_equal(desk_start(&desk, ROLE_NETWORK, "one", &pid, &fd), 0);
    struct desk network = {.channel = channel_create(fd)};
    struct heard *heard = desk_hear(&network, MSG_DONE, 0);
    assert_non_null(heard);
    assert_int_equal(((const struct done *)heard->payload)->status, pid);
    desk_drop(heard);
    /* Asked for again: the same process, a new channel. */
    assert_int_equal(desk_start(&desk, ROLE_NETWORK, "one", &again, &fd), 0);
    assert_int_equal(again, pid);
    desk_close(&network);
    network = (struct desk){.channel = channel_create(fd)};
    heard = desk_hear(&network, MSG_DONE, 0);
    assert_non_null(heard);
    desk_drop(heard);
    desk_close(&network);
}

static void sockets_are_as_asked_and_bound_once(void **state)
{
    (void)state;
    int fd = -1, again = -1;
    struct stat st;
    assert_int_equal(desk_start(&desk, ROLE_NETWORK, "one", NULL, NULL), 0);
    assert_int_equal(desk_bind(&desk, "one", "", SOCKET_STREAM, 0660, &fd), 0);
    assert_int_equal(desk_bind(&desk, "one", "", SOCKET_STREAM, 0660, &again), 0);
    assert_int_equal(socket_inode(fd), socket_inode(again));
    assert_int_equal(mode_of("one.stream"), 0660);
    close(again);
    assert_int_equal(desk_bind(&desk, "one", "", SOCKET_STREAM, 0600, &again), 0);
    assert_int_not_equal(socket_inode(fd),
                         socket_inode(again)); /* the old one was wider than is wanted now */
    assert_int_equal(mode_of("one.stream"), 0600);
    assert_int_equal(stat(rig_path(&rig, "one.stream"), &st), 0);
    assert_int_equal(st.st_uid, desk_uid());
    close(again);
    assert_int_equal(desk_bind(&desk, "one", "vm1", SOCKET_DGRAM, 07777, &again), 0);
    assert_int_equal(mode_of("one.vm1.dgram"), 0777);
    close(again);
    int client = connect_path("one.stream", SOCK_STREAM);
    assert_true(client >= 0);
    close(client);
    close(fd);

    struct unbind_request unbind = {.network = "one", .port = "vm1"};
    desk_send(&desk, MSG_UNBIND, &unbind, sizeof(unbind));
    assert_int_equal(desk_bind(&desk, "one", "", SOCKET_DGRAM, 0600, NULL), 0);
    assert_false(exists("one.vm1.dgram"));
    assert_true(exists("one.stream"));
    desk_stop(&desk, ROLE_NETWORK, "one");
    assert_int_equal(desk_bind(&desk, "one", "", SOCKET_STREAM, 0600, NULL), ESRCH);
    assert_true(exists("one.stream")); /* a network may be stopped only to be started again */
    unbind.port[0] = '\0';
    desk_send(&desk, MSG_UNBIND, &unbind, sizeof(unbind));
    assert_int_equal(desk_bind(&desk, "one", "", SOCKET_STREAM, 0600, NULL), ESRCH);
    assert_false(exists("one.stream"));
    assert_false(exists("one.dgram"));
}

static void a_missing_group_is_said(void **state)
{
    (void)state;
    struct bind_request request = {
        .network = "one", .mode = 0660, .uid = desk_uid(), .group = "no-such-group"};
    assert_int_equal(desk_start(&desk, ROLE_NETWORK, "one", NULL, NULL), 0);
    struct heard *heard = desk_hear(&desk, MSG_BOUND, desk_send(&desk, MSG_BIND, &request, sizeof(request)));
    assert_non_null(heard);
    const struct bound *bound = (const struct bound *)heard->payload;
    assert_int_equal(bound->error, ENOENT);
    assert_non_null(strstr(bound->why, "no-such-group"));
    assert_int_equal(heard->fd, -1);
    desk_drop(heard);
    assert_false(exists("one.stream"));
}

/* S01, for a network's socket */
static void something_in_the_way_of_a_socket_stays(void **state)
{
    (void)state;
    struct stat st;
    assert_int_equal(desk_start(&desk, ROLE_NETWORK, "one", NULL, NULL), 0);
    assert_int_equal(symlink("/etc/passwd", rig_path(&rig, "one.stream")), 0);
    assert_int_equal(desk_bind(&desk, "one", "", SOCKET_STREAM, 0600, NULL), EEXIST);
    assert_int_equal(lstat(rig_path(&rig, "one.stream"), &st), 0);
    assert_true(S_ISLNK(st.st_mode));
    assert_int_equal(unlink(rig_path(&rig, "one.stream")), 0);
    assert_int_equal(desk_bind(&desk, "one", "", SOCKET_STREAM, 0600, NULL), 0);
}

static void a_crashed_network_finds_its_sockets_again(void **state)
{
    (void)state;
    int fd = -1, again = -1;
    pid_t pid = 0, next = 0;
    assert_int_equal(desk_start(&desk, ROLE_NETWORK, "one", &pid, NULL), 0);
    assert_int_equal(desk_bind(&desk, "one", "", SOCKET_STREAM, 0600, &fd), 0);
    kill(pid, SIGKILL);
    int status = desk_exited(&desk, pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    int client = connect_path("one.stream", SOCK_STREAM); /* waits in the backlog */
    assert_true(client >= 0);
    assert_int_equal(desk_start(&desk, ROLE_NETWORK, "one", &next, NULL), 0);
    assert_int_not_equal(next, pid);
    assert_int_equal(desk_bind(&desk, "one", "", SOCKET_STREAM, 0600, &again), 0);
    assert_int_equal(socket_inode(fd), socket_inode(again));
    int accepted = accept(again, NULL, NULL);
    assert_true(accepted >= 0);
    close(accepted);
    close(client);
    close(fd);
    close(again);
}

static void a_stopped_network_goes_and_a_stubborn_one_is_killed(void **state)
{
    (void)state;
    pid_t pid = 0, stubborn = 0, next = 0;
    assert_int_equal(desk_start(&desk, ROLE_NETWORK, "one", &pid, NULL), 0);
    assert_int_equal(desk_start(&desk, ROLE_NETWORK, "stubborn", &stubborn, NULL), 0);
    int64_t asked_ms = rig_now_ms(), asked_real_ms = rig_real_ms();
    desk_stop(&desk, ROLE_NETWORK, "one");
    desk_stop(&desk, ROLE_NETWORK, "stubborn");
    /* A new one of that name need not wait for the end of the old. */
    assert_int_equal(desk_start(&desk, ROLE_NETWORK, "stubborn", &next, NULL), 0);
    assert_int_not_equal(next, stubborn);
    int status = desk_exited(&desk, pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    status = desk_exited(&desk, stubborn);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    assert_true(rig_real_ms() - asked_real_ms >= 400);
    assert_in_range(rig_now_ms() - asked_ms, 0, 1500);
    assert_true(rig_alive(next));
}

static void a_role_that_talks_to_the_monitor_is_ended(void **state)
{
    (void)state;
    pid_t pid = 0;
    assert_int_equal(desk_start(&desk, ROLE_NETWORK, "chatty", &pid, NULL), 0);
    assert_true(desk_exited(&desk, pid) >= 0);
}

static void a_role_that_ends_is_reported(void **state)
{
    (void)state;
    pid_t pid = 0;
    assert_int_equal(desk_start(&desk, ROLE_NETWORK, "brief", &pid, NULL), 0);
    int status = desk_exited(&desk, pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 5);
}

static void there_are_at_most_64_networks(void **state)
{
    (void)state;
    char name[NETWORK_NAME_SIZE];
    for (int i = 0; i < NETWORKS_MAX; i++) {
        snprintf(name, sizeof(name), "n%d", i);
        assert_int_equal(desk_start(&desk, ROLE_NETWORK, name, NULL, NULL), 0);
    }
    assert_int_equal(desk_start(&desk, ROLE_NETWORK, "more", NULL, NULL), EAGAIN);
    desk_stop(&desk, ROLE_NETWORK, "n7");
    assert_int_equal(desk_start(&desk, ROLE_NETWORK, "more", NULL, NULL), 0);
}

/* ---- S12 ---- */

static int start_with(const struct child_start *request)
{
    struct heard *heard =
        desk_hear(&desk, MSG_STARTED, desk_send(&desk, MSG_START, request, sizeof(*request)));
    assert_non_null(heard);
    int error = ((const struct child_started *)heard->payload)->error;
    desk_drop(heard);
    return error;
}

static int bind_with(const struct bind_request *request)
{
    struct heard *heard = desk_hear(&desk, MSG_BOUND, desk_send(&desk, MSG_BIND, request, sizeof(*request)));
    assert_non_null(heard);
    int error = ((const struct bound *)heard->payload)->error;
    desk_drop(heard);
    return error;
}

static void requests_outside_the_rules_are_refused(void **state)
{
    (void)state;
    static const char *const names[] = {"", "../x", "a/b", ".", "A", "-rf", "a\n", "%s%n"};
    struct child_start start = {
        .child = {.role = ROLE_NETWORK, .name = "one"}, .uid = desk_uid(), .gid = desk_uid()};
    struct bind_request bind_one = {.network = "one", .mode = 0600, .uid = desk_uid()};
    assert_int_equal(start_with(&start), 0);
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        struct child_start bad_start = start;
        struct bind_request bad_bind = bind_one;
        snprintf(bad_start.child.name, NETWORK_NAME_SIZE, "%s", names[i]);
        assert_int_equal(start_with(&bad_start), EINVAL);
        snprintf(bad_bind.network, NETWORK_NAME_SIZE, "%s", names[i]);
        assert_int_equal(bind_with(&bad_bind), EINVAL);
        bad_bind = bind_one;
        snprintf(bad_bind.port, PORT_NAME_SIZE, "%s", i == 0 ? "a.b" : names[i]);
        assert_int_equal(bind_with(&bad_bind), EINVAL);
    }
    struct child_start endless = start;
    memset(endless.child.name, 'a', NETWORK_NAME_SIZE);
    assert_int_equal(start_with(&endless), EINVAL);
    start.child.role = ROLE_CONTROL;
    assert_int_equal(start_with(&start), EINVAL);
    start.child.role = (enum role)77;
    assert_int_equal(start_with(&start), EINVAL);
    bind_one.kind = (enum socket_kind)9;
    assert_int_equal(bind_with(&bind_one), EINVAL);
    if (!is_root())
        return;
    start =
        (struct child_start){.child = {.role = ROLE_NETWORK, .name = "root"}, .uid = 0, .gid = desk_uid()};
    assert_int_equal(start_with(&start), EPERM);
    start.uid = desk_uid();
    start.gid = 0;
    assert_int_equal(start_with(&start), EPERM);
    bind_one = (struct bind_request){.network = "one", .mode = 0600, .uid = 0};
    assert_int_equal(bind_with(&bind_one), EPERM);
}

static void fill_randomly(unsigned char *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++)
        bytes[i] = (unsigned char)random();
}

/* A request as it should be, with a few bytes changed. */
static void send_mutated(void)
{
    static const uint16_t types[] = {MSG_START, MSG_STOP, MSG_BIND, MSG_UNBIND, MSG_OPEN_TAP};
    union {
        struct child_start start;
        struct child_id stop;
        struct bind_request bind;
        struct unbind_request unbind;
        struct tap_request tap;
        unsigned char bytes[1024];
    } payload;
    static const uint32_t sizes[] = {sizeof(payload.start), sizeof(payload.stop), sizeof(payload.bind),
                                     sizeof(payload.unbind), sizeof(payload.tap)};
    unsigned i = (unsigned)random() % 5;
    memset(&payload, 0, sizeof(payload));
    if (i < 2)
        payload.start =
            (struct child_start){.child = {.role = ROLE_NETWORK, .name = "one"}, .uid = 4711, .gid = 4711};
    else
        payload.bind = (struct bind_request){.network = "one", .port = "vm", .uid = desk_uid()};
    if (random() % 4 == 0)
        fill_randomly(payload.bytes, sizes[i]);
    for (long k = random() % 4; k > 0; k--)
        payload.bytes[(unsigned)random() % sizes[i]] = (unsigned char)random();
    desk_send(&desk, types[i], payload.bytes, sizes[i]);
}

/* S12: nothing that control says ends the monitor, or makes anything that is not ours. */
static void random_requests_do_no_harm(void **state)
{
    (void)state;
    pid_t control = rig_control_pid(&rig);
    for (int i = 0; i < 3000; i++) {
        send_mutated();
        if (i % 50 == 0) { /* let the answers in */
            while (desk_start(&desk, ROLE_NETWORK, "one", NULL, NULL) == EBUSY)
                desk_stop(&desk, ROLE_NETWORK, "one");
            while (desk.first) {
                struct heard *heard = desk.first;
                desk.first = heard->next;
                desk_drop(heard);
            }
        }
    }
    assert_true(rig_alive(rig.pid));
    assert_int_equal(rig_control_pid(&rig), control);
    DIR *dir = opendir(rig.runtime);
    const struct dirent *entry;
    while ((entry = readdir(dir))) {
        struct stat st;
        assert_int_equal(lstat(rig_path(&rig, entry->d_name), &st), 0);
        assert_true(S_ISSOCK(st.st_mode) || entry->d_name[0] == '.' ||
                    strcmp(entry->d_name, "vmswitchd.lock") == 0 ||
                    (S_ISDIR(st.st_mode) && strstr(entry->d_name, ".dhcp")));
    }
    closedir(dir);
}

/* S12: what is no message at all costs control its life, and nobody else. */
static void garbage_restarts_control_alone(void **state)
{
    (void)state;
    unsigned char garbage[512];
    pid_t network = 0;
    assert_int_equal(desk_start(&desk, ROLE_NETWORK, "one", &network, NULL), 0);
    for (int i = 0; i < 4; i++) {
        pid_t control = rig_control_pid(&rig);
        assert_true(control > 0);
        fill_randomly(garbage, sizeof(garbage));
        assert_true(send(channel_fd(desk.channel), garbage, sizeof(garbage), MSG_NOSIGNAL) > 0);
        assert_true(rig_gone(control, 2000));
        desk_close(&desk);
        desk_open(&desk, &rig);
        struct heard *heard = desk_hear(&desk, MSG_CHILD_RUNNING, 0);
        assert_non_null(heard);
        assert_int_equal(((const struct child_running *)heard->payload)->pid, network);
        desk_drop(heard);
    }
    assert_true(rig_alive(network));
    pid_t control = rig_control_pid(&rig);
    desk_send(&desk, MSG_FLUSH_FDB, NULL, 0); /* a message, but not to the monitor */
    assert_true(rig_gone(control, 2000));
    desk_close(&desk);
    desk_open(&desk, &rig);
    desk_drop(desk_hear(&desk, MSG_BEGIN, 0));
    assert_int_equal(desk_start(&desk, ROLE_NETWORK, "one", NULL, NULL), 0);
}

static void a_killed_control_comes_back_and_adopts(void **state)
{
    (void)state;
    pid_t network = 0, control = rig_control_pid(&rig);
    int fd = -1;
    assert_int_equal(desk_start(&desk, ROLE_NETWORK, "one", &network, NULL), 0);
    int64_t killed_ms = rig_now_ms();
    kill(control, SIGKILL);
    assert_true(rig_gone(control, 3000));
    desk_close(&desk);
    int client = connect_path("api.sock", SOCK_STREAM); /* while there is none: never refused */
    assert_true(client >= 0);
    desk = (struct desk){.channel = channel_create(client), .next_id = 1};
    struct heard *heard = desk_hear(&desk, MSG_CHILD_RUNNING, 0);
    assert_non_null(heard);
    assert_in_range(rig_now_ms() - killed_ms, 0,
                    3000); /* promised: 1 s, on a machine that does nothing else */
    const struct child_running *running = (const struct child_running *)heard->payload;
    assert_int_equal(running->pid, network);
    assert_string_equal(running->child.name, "one");
    fd = heard->fd;
    heard->fd = -1;
    desk_drop(heard);
    struct desk adopted = {.channel = channel_create(fd)};
    heard = desk_hear(&adopted, MSG_DONE, 0);
    assert_non_null(heard);
    assert_int_equal(((const struct done *)heard->payload)->status, network);
    desk_drop(heard);
    desk_close(&adopted);
    desk_drop(desk_hear(&desk, MSG_BEGIN, 0));
}

/* ---- S13 ---- */

static bool has_interface(const char *name)
{
    return if_nametoindex(name) != 0;
}

static int open_tap(const struct tap_request *request, int *ret_fd, char ret_name[IFNAMSIZ])
{
    struct heard *heard =
        desk_hear(&desk, MSG_TAP, desk_send(&desk, MSG_OPEN_TAP, request, sizeof(*request)));
    assert_non_null(heard);
    const struct tap_opened *opened = (const struct tap_opened *)heard->payload;
    int error = opened->error;
    assert_true((error == 0) == (heard->fd >= 0));
    *ret_fd = heard->fd;
    memcpy(ret_name, opened->facts.ifname, IFNAMSIZ);
    assert_true(error || request->bridge[0] || opened->facts.mac != 0);
    heard->fd = -1;
    desk_drop(heard);
    return error;
}

static void taps_are_new_and_ours(void **state)
{
    (void)state;
    struct tap_request request = {
        .network = "one", .address = 0xC0A86901, .netmask = 0xFFFFFF00, .mtu = 1500, .uid = 0};
    char first[IFNAMSIZ], second[IFNAMSIZ];
    int fd = -1, other = -1;
    assert_int_equal(open_tap(&request, &fd, first), ENOENT); /* no such network */
    assert_int_equal(desk_start(&desk, ROLE_NETWORK, "one", NULL, NULL), 0);
    if (!is_root() || access("/dev/net/tun", R_OK | W_OK) < 0) {
        assert_int_not_equal(open_tap(&request, &fd, first), 0);
        print_message("the rest needs root and /dev/net/tun\n");
        skip();
    }
    assert_int_equal(open_tap(&request, &fd, first), 0);
    assert_memory_equal(first, "vmsw", 4);
    assert_true(has_interface(first));
    request.address = 0xC0A86A01;
    assert_int_equal(open_tap(&request, &other, second), 0);
    assert_string_not_equal(first, second);
    close(fd);
    close(other);
    assert_false(has_interface(first)); /* nobody else holds it */

    static const struct tap_request bad[] = {
        {.network = "one", .address = 0xC0A86901, .netmask = 0xFFFFFF00, .mtu = 0},
        {.network = "one", .address = 0xC0A86901, .netmask = 0xFF00FF00, .mtu = 1500},
        {.network = "one", .address = 0x7F000001, .netmask = 0xFF000000, .mtu = 1500},
        {.network = "one", .address = 0xC0A869FF, .netmask = 0xFFFFFF00, .mtu = 1500},
        {.network = "one", .address = 0xC0A86901, .netmask = 0, .mtu = 1500},
        {.network = "one", .address = 0, .netmask = 0xFFFFFF00, .mtu = 1500},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(open_tap(&bad[i], &fd, first), EINVAL);
}

static void make_bridge(const char *name)
{
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_true(ioctl(fd, SIOCBRADDBR, name) == 0 || errno == EEXIST);
    close(fd);
}

/* Control that has met strangers may not widen what the configuration lets it bridge to. */
static void only_bridges_that_were_named_first_can_be_had(void **state)
{
    (void)state;
    struct bridge_list list = {.n = 2, .names = {"tbr0", "lo"}};
    struct tap_request request = {.network = "one", .bridge = "tbr0", .mtu = 1500};
    char name[IFNAMSIZ];
    int fd = -1;
    desk_send(&desk, MSG_BRIDGES, &list, sizeof(list));
    assert_int_equal(desk_start(&desk, ROLE_NETWORK, "one", NULL, NULL), 0);
    if (!is_root() || access("/dev/net/tun", R_OK | W_OK) < 0)
        skip();
    snprintf(request.bridge, sizeof(request.bridge), "other");
    assert_int_equal(open_tap(&request, &fd, name), EPERM);
    snprintf(request.bridge, sizeof(request.bridge), "tbr0");
    assert_int_equal(open_tap(&request, &fd, name), ENODEV);
    make_bridge("tbr0");
    assert_int_equal(open_tap(&request, &fd, name), 0);
    close(fd);
    request.address = 0xC0A86901;
    request.netmask = 0xFFFFFF00;
    char none[IFNAMSIZ];
    assert_int_equal(open_tap(&request, &fd, none), EINVAL); /* a port of a bridge has no address */
    assert_false(has_interface(name));
    request.address = request.netmask = 0;
    request.mtu = 1400;
    assert_int_equal(open_tap(&request, &fd, name), EINVAL); /* it would be the bridge's */
    request.mtu = 65521;
    snprintf(request.bridge, sizeof(request.bridge), "lo");
    assert_int_not_equal(open_tap(&request, &fd, name), 0);

    pid_t control = rig_control_pid(&rig);
    desk_send(&desk, MSG_BRIDGES, &list, sizeof(list)); /* too late: it is as garbage */
    assert_true(rig_gone(control, 2000));
    desk_close(&desk);
    desk_open(&desk, &rig);
    desk_drop(desk_hear(&desk, MSG_BEGIN, 0));
}

/* Its user is the monitor's choice, and so is its folder. */
static void nat_runs_as_a_user_of_its_own(void **state)
{
    (void)state;
    pid_t pid = 0;
    struct stat st;
    if (!is_root()) {
        assert_int_equal(desk_start(&desk, ROLE_NAT, "one", NULL, NULL), EPERM);
        return;
    }
    assert_int_equal(desk_start(&desk, ROLE_NAT, "one", &pid, NULL), 0);
    const struct passwd *user = getpwnam("dnsmasq");
    if (!user)
        user = getpwnam("nobody");
    assert_non_null(user);
    assert_int_equal(lstat(rig_path(&rig, "one.dhcp"), &st), 0);
    assert_true(S_ISDIR(st.st_mode));
    assert_int_equal(st.st_mode & 07777, 0700);
    assert_int_equal(st.st_uid, user->pw_uid);
    assert_int_equal(desk_start(&desk, ROLE_NAT, "../one", NULL, NULL), EINVAL);

    /* It stays for the next process, and goes with the network. */
    kill(pid, SIGKILL);
    assert_true(desk_exited(&desk, pid) >= 0);
    assert_int_equal(lstat(rig_path(&rig, "one.dhcp"), &st), 0);
    assert_int_equal(desk_start(&desk, ROLE_NAT, "one", &pid, NULL), 0);
    desk_stop(&desk, ROLE_NAT, "one");
    assert_true(desk_exited(&desk, pid) >= 0);
    assert_int_equal(lstat(rig_path(&rig, "one.dhcp"), &st), -1);
}

static void a_folder_in_the_way_of_nat_is_said(void **state)
{
    (void)state;
    if (!is_root())
        skip();
    assert_int_equal(symlink("/etc", rig_path(&rig, "one.dhcp")), 0);
    assert_int_equal(desk_start(&desk, ROLE_NAT, "one", NULL, NULL), ENOTDIR);
    assert_int_equal(unlink(rig_path(&rig, "one.dhcp")), 0);
}

/* ---- the end ---- */

/* R04 */
static void sigterm_removes_everything_within_a_second(void **state)
{
    (void)state;
    pid_t networks[2];
    assert_int_equal(desk_start(&desk, ROLE_NETWORK, "one", &networks[0], NULL), 0);
    assert_int_equal(desk_start(&desk, ROLE_NETWORK, "stubborn", &networks[1], NULL), 0);
    assert_int_equal(desk_bind(&desk, "one", "", SOCKET_STREAM, 0600, NULL), 0);
    int64_t asked_ms = rig_now_ms();
    rig_signal(&rig, SIGTERM);
    assert_int_equal(rig_wait(&rig, 3000), 0);
    assert_in_range(rig_now_ms() - asked_ms, 0, 1000);
    assert_false(exists("api.sock"));
    assert_false(exists("attach.sock"));
    assert_false(exists("one.stream"));
    assert_false(rig_alive(networks[0]));
    assert_false(rig_alive(networks[1]));
}

static void a_second_sigterm_is_immediate(void **state)
{
    (void)state;
    assert_int_equal(desk_start(&desk, ROLE_NETWORK, "stubborn", NULL, NULL), 0);
    int64_t asked_ms = rig_now_ms();
    rig_signal(&rig, SIGINT);
    poll(NULL, 0, 50);
    rig_signal(&rig, SIGINT);
    assert_int_equal(rig_wait(&rig, 3000), 0);
    assert_in_range(rig_now_ms() - asked_ms, 0, 400);
}

static void nothing_keeps_roots_rights_for_a_vmnet_that_is_not_there(void **state)
{
    (void)state;
    assert_int_equal(desk_start(&desk, ROLE_VMNET, "one", NULL, NULL), EINVAL);
}

static void nobody_outlives_a_killed_monitor(void **state)
{
    (void)state;
    pid_t network = 0, uplink = 0, control = rig_control_pid(&rig);
    assert_int_equal(desk_start(&desk, ROLE_NETWORK, "one", &network, NULL), 0);
    assert_int_equal(desk_start(&desk, ROLE_UPLINK, "one", &uplink, NULL), 0);
    rig_signal(&rig, SIGKILL);
    assert_int_equal(rig_wait(&rig, 1000), -SIGKILL);
    assert_true(rig_gone(control, 3000));
    assert_true(rig_gone(network, 3000));
    assert_true(rig_gone(uplink, 3000));
}

static void a_wrong_configuration_ends_the_start(void **state)
{
    (void)state;
    rig_configure(&rig, "exit 3");
    rig_spawn(&rig, NULL);
    assert_int_equal(rig_wait(&rig, 3000), EXIT_CONFIG);
    assert_false(exists("api.sock"));
    rig_configure(&rig, "exit 1");
    rig_spawn(&rig, NULL);
    assert_int_equal(rig_wait(&rig, 3000), EXIT_FAILED);
    unlink(rig.config);
    rig_spawn(&rig, NULL);
    assert_int_equal(rig_wait(&rig, 3000), EXIT_CONFIG);
}

/* ---- the configuration again ---- */

static void write_config(const char *text)
{
    FILE *file = fopen(rig.config, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

/* What control is given when it asks; "" with an error. */
static int read_config(char text[64])
{
    struct heard *heard = desk_hear(&desk, MSG_CONFIG_READ, desk_send(&desk, MSG_READ_CONFIG, NULL, 0));
    assert_non_null(heard);
    const struct config_read *answer = (const struct config_read *)heard->payload;
    int error = answer->error;
    assert_string_equal(answer->path, rig.config);
    assert_true((error == 0) == (heard->fd >= 0));
    ssize_t n = heard->fd >= 0 ? read(heard->fd, text, 63) : 0;
    text[n > 0 ? n : 0] = 0;
    desk_drop(heard);
    return error;
}

/* What a control that is born now gets. */
static void kill_control_and_read(char text[64])
{
    pid_t control = rig_control_pid(&rig);
    kill(control, SIGKILL);
    assert_true(rig_gone(control, 3000));
    desk_close(&desk);
    int client = connect_path("api.sock", SOCK_STREAM);
    desk = (struct desk){.channel = channel_create(client), .next_id = 1};
    struct heard *heard = desk_hear(&desk, MSG_CONFIG_FILE, 0);
    assert_non_null(heard);
    ssize_t n = read(heard->fd, text, 63);
    text[n > 0 ? n : 0] = 0;
    desk_drop(heard);
    desk_drop(desk_hear(&desk, MSG_BEGIN, 0));
}

static void a_configuration_holds_until_control_says_so(void **state)
{
    (void)state;
    char text[64];
    rig_configure(&rig, "old");
    rig_start(&rig);
    desk_open(&desk, &rig);
    write_config("new");
    assert_int_equal(read_config(text), 0);
    assert_string_equal(text, "new");
    kill_control_and_read(text); /* it was never found good */
    assert_string_equal(text, "old");
    write_config("newer");
    assert_int_equal(read_config(text), 0);
    desk_send(&desk, MSG_KEEP_CONFIG, NULL, 0);
    write_config("half of the ne");
    kill_control_and_read(text);
    assert_string_equal(text, "newer");
    desk_send(&desk, MSG_KEEP_CONFIG, NULL, 0); /* none was read: nothing to keep */
    unlink(rig.config);
    assert_int_equal(read_config(text), ENOENT);
    kill_control_and_read(text);
    assert_string_equal(text, "newer");
    DIR *dir = opendir(rig.runtime); /* copies are in no folder */
    unsigned n = 0;
    while (readdir(dir))
        n++;
    closedir(dir);
    assert_int_equal(n, 2 + 3);
}

static void a_hangup_is_told_to_control_until_it_has_asked(void **state)
{
    (void)state;
    char text[64];
    rig_configure(&rig, "one");
    rig_start(&rig);
    desk_open(&desk, &rig);
    rig_signal(&rig, SIGHUP);
    struct heard *heard = desk_hear(&desk, MSG_RELOAD, 0);
    assert_non_null(heard);
    desk_drop(heard);
    kill_control_and_read(text);
    heard = desk_hear(&desk, MSG_RELOAD, 0); /* the next one hears of it as well */
    assert_non_null(heard);
    desk_drop(heard);
    assert_int_equal(read_config(text), 0);
    kill_control_and_read(text);
    desk_drop(desk_hear(&desk, MSG_CONFIG_READ, desk_send(&desk, MSG_READ_CONFIG, NULL, 0)));
    for (heard = desk.first; heard; heard = heard->next)
        assert_int_not_equal(heard->type, MSG_RELOAD);
    assert_true(rig_alive(rig.pid));
}

/* ---- modes: S04, T16 ---- */

static void no_umask(void)
{
    umask(0);
}

static void full_umask(void)
{
    umask(0777);
}

/* Looks at the three sockets as fast as it can; exits 0 if none was ever seen with another mode. */
static pid_t start_prober(void)
{
    static const char *const names[] = {"api.sock", "attach.sock", "one.stream"};
    const unsigned modes[] = {0600, is_root() ? 0666 : 0600, 0640};
    char paths[3][160];
    for (int i = 0; i < 3; i++)
        snprintf(paths[i], sizeof(paths[i]), "%s", rig_path(&rig, names[i]));
    pid_t pid = fork();
    if (pid)
        return pid;
    int seen = 0;
    for (int64_t end = rig_now_ms() + 10000; seen != 7 && rig_now_ms() < end;) {
        struct stat st;
        for (int i = 0; i < 3; i++) {
            if (lstat(paths[i], &st) < 0)
                continue;
            seen |= 1 << i;
            /* 0660 where the API's group exists. */
            if (i == 0 && (st.st_mode & 07777) == 0660)
                continue;
            if ((st.st_mode & 07777) != modes[i])
                _exit(1);
        }
    }
    _exit(seen == 7 ? 0 : 2);
}

static void sockets_never_have_another_mode(void **state)
{
    (void)state;
    void (*const masks[])(void) = {no_umask, full_umask};
    for (int round = 0; round < 20; round++) {
        int status = 0;
        pid_t prober = start_prober();
        rig_spawn(&rig, masks[round % 2]);
        desk_open(&desk, &rig);
        assert_int_equal(desk_start(&desk, ROLE_NETWORK, "one", NULL, NULL), 0);
        assert_int_equal(desk_bind(&desk, "one", "", SOCKET_STREAM, 0640, NULL), 0);
        waitpid(prober, &status, 0);
        assert_int_equal(status, 0);
        desk_close(&desk);
        rig_signal(&rig, SIGTERM);
        assert_int_equal(rig_wait(&rig, 3000), 0);
    }
}

/* ---- S14 ---- */

static void be_hostile(void)
{
    sigset_t all;
    sigfillset(&all);
    sigprocmask(SIG_BLOCK, &all, NULL);
    signal(SIGCHLD, SIG_IGN);
    signal(SIGTERM, SIG_IGN);
    for (int fd = 10; fd < 40; fd++)
        dup2(STDERR_FILENO, fd);
    close(STDIN_FILENO);
    close(STDOUT_FILENO);
    setenv("LD_LIBRARY_PATH", "/nowhere", 1);
    setenv("MallocStackLogging", "1", 1);
    setenv("TZ", "UTC", 1);
    setenv("PATH", "/nowhere", 1);
}

static void count_fds(pid_t pid, int *ret_n)
{
    char path[64];
    snprintf(path, sizeof(path), "/proc/%ld/fd", (long)pid);
    DIR *dir = opendir(path);
    *ret_n = 0;
    assert_non_null(dir);
    for (const struct dirent *entry; (entry = readdir(dir));)
        *ret_n += entry->d_name[0] != '.';
    closedir(dir);
}

static void whatever_started_us_leaves_no_trace(void **state)
{
    (void)state;
    char path[64], variables[4096];
    int n_fds = 0;
    rig_spawn(&rig, be_hostile);
    desk_open(&desk, &rig);
    pid_t network = 0;
    int channel = -1;
    assert_int_equal(desk_start(&desk, ROLE_NETWORK, "one", &network, &channel), 0);
    struct desk running = {.channel = channel_create(channel)}; /* in its loop, when it has said something */
    desk_drop(desk_hear(&running, MSG_DONE, 0));
    pid_t pids[] = {rig.pid, rig_control_pid(&rig), network};
    for (int i = 0; i < 3; i++) {
        assert_string_equal(rig_status(pids[i], "SigBlk"), "0000000000000000");
        const char *ignored = rig_status(pids[i], "SigIgn");
        assert_int_equal(strtoull(ignored, NULL, 16) & (1u << (SIGCHLD - 1)), 0);
    }
    if (is_root()) { /* they cannot be looked into otherwise */
        count_fds(network, &n_fds);
        assert_in_range(n_fds, 4, 5); /* 0, 1, 2, the monitor, control */
        snprintf(path, sizeof(path), "/proc/%ld/environ", (long)network);
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        ssize_t n = read(fd, variables, sizeof(variables));
        close(fd);
        assert_true(n > 0);
        assert_null(memmem(variables, (size_t)n, "LD_", 3));
        assert_null(memmem(variables, (size_t)n, "Malloc", 6));
        assert_null(memmem(variables, (size_t)n, "nowhere", 7));
        assert_non_null(memmem(variables, (size_t)n, "TZ=UTC", 6));
    }
    desk_close(&running);
    rig_signal(&rig, SIGTERM);
    assert_int_equal(rig_wait(&rig, 2000), 0);
}

static void few_descriptors_are_enough_to_say_so(void)
{
    const struct rlimit limit = {.rlim_cur = 40, .rlim_max = 40};
    setrlimit(RLIMIT_NOFILE, &limit);
}

/* D12, the monitor's part */
static void without_descriptors_requests_are_refused(void **state)
{
    (void)state;
    int error = 0, n = 0;
    char port[PORT_NAME_SIZE];
    rig_spawn(&rig, few_descriptors_are_enough_to_say_so);
    desk_open(&desk, &rig);
    assert_int_equal(desk_start(&desk, ROLE_NETWORK, "one", NULL, NULL), 0);
    for (n = 0; n < 60 && !error; n++) {
        snprintf(port, sizeof(port), "p%d", n);
        error = desk_bind(&desk, "one", port, SOCKET_STREAM, 0600, NULL);
    }
    assert_int_equal(error, EMFILE);
    struct unbind_request all = {.network = "one"};
    desk_send(&desk, MSG_UNBIND, &all, sizeof(all));
    assert_int_equal(desk_bind(&desk, "one", "again", SOCKET_STREAM, 0600, NULL), 0);
}

#define ON_DAEMON(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
#define ON_FOLDER(f) cmocka_unit_test_setup_teardown(f, set_up_folder, tear_down)

int main(void)
{
    if (is_root() && unshare(CLONE_NEWNET) < 0)
        print_message("no network namespace of our own: TAPs cannot be tried\n");
    const struct CMUnitTest tests[] = {
        ON_FOLDER(control_hears_everything_before_it_begins),
        ON_DAEMON(roles_have_no_privilege_left),
        ON_DAEMON(a_network_has_a_channel_to_control),
        ON_DAEMON(sockets_are_as_asked_and_bound_once),
        ON_DAEMON(a_missing_group_is_said),
        ON_DAEMON(something_in_the_way_of_a_socket_stays),
        ON_DAEMON(a_crashed_network_finds_its_sockets_again),
        ON_DAEMON(a_stopped_network_goes_and_a_stubborn_one_is_killed),
        ON_DAEMON(a_role_that_talks_to_the_monitor_is_ended),
        ON_DAEMON(a_role_that_ends_is_reported),
        ON_DAEMON(there_are_at_most_64_networks),
        ON_DAEMON(requests_outside_the_rules_are_refused),
        ON_DAEMON(nothing_keeps_roots_rights_for_a_vmnet_that_is_not_there),
        ON_DAEMON(random_requests_do_no_harm),
        ON_DAEMON(garbage_restarts_control_alone),
        ON_DAEMON(a_killed_control_comes_back_and_adopts),
        ON_DAEMON(taps_are_new_and_ours),
        ON_DAEMON(only_bridges_that_were_named_first_can_be_had),
        ON_DAEMON(nat_runs_as_a_user_of_its_own),
        ON_DAEMON(a_folder_in_the_way_of_nat_is_said),
        ON_DAEMON(sigterm_removes_everything_within_a_second),
        ON_DAEMON(a_second_sigterm_is_immediate),
        ON_DAEMON(nobody_outlives_a_killed_monitor),
        ON_FOLDER(a_wrong_configuration_ends_the_start),
        ON_FOLDER(a_configuration_holds_until_control_says_so),
        ON_FOLDER(a_hangup_is_told_to_control_until_it_has_asked),
        ON_FOLDER(sockets_never_have_another_mode),
        ON_FOLDER(whatever_started_us_leaves_no_trace),
        ON_FOLDER(without_descriptors_requests_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
