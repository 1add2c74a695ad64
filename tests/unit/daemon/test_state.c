/* The state folder: what was accepted comes back, whatever dies when, and nothing else does. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "daemon/state.h"

static char root[64];   /* a fresh folder for each test */
static char folder[80]; /* <root>/state */
static char why[STATE_WHY_SIZE];

static int enter(void **state)
{
    (void)state;
    snprintf(root, sizeof root, "/tmp/test_state.XXXXXX");
    if (!mkdtemp(root))
        return -1;
    snprintf(folder, sizeof folder, "%s/state", root);
    return 0;
}

static int leave(void **state)
{
    char command[128];

    (void)state;
    snprintf(command, sizeof command, "rm -rf %s", root);
    return system(command);
}

static struct state *open_state(void)
{
    struct state *state = NULL;

    if (state_open(&state, folder, why, sizeof why) != 0)
        fail_msg("%s", why);
    return state;
}

/* A network whose mtu is its version. */
static int save(struct state *state, const char *name, uint32_t mtu)
{
    struct network_spec spec;
    struct port_spec ports[2] = {
        {.name = "a", .enabled = true, .n_statics = 1, .statics = {0x525400000001}},
        {.name = "b", .isolated = true, .offload_is_set = true, .offload = OFFLOAD_RAW}};
    struct state_network network = {&spec, 1000, 100, ports, 2};

    network_spec_init(&spec, name, MODE_INTERNAL);
    spec.mtu = mtu;
    return state_save(state, &network, why, sizeof why);
}

struct seen {
    char names[256]; /* "a b c " */
    char damaged[1024];
    uint32_t mtu; /* of the last */
    uid_t uid;
    gid_t gid;
    struct port_spec ports[2];
    uint32_t n_ports;
};

static void on_network(void *ctx, const struct state_network *network)
{
    struct seen *seen = ctx;
    size_t len = strlen(seen->names);

    snprintf(seen->names + len, sizeof seen->names - len, "%s ", network->spec->name);
    seen->mtu = network->spec->mtu;
    seen->uid = network->uid;
    seen->gid = network->gid;
    seen->n_ports = network->n_ports;
    for (uint32_t i = 0; i < network->n_ports && i < 2; i++)
        seen->ports[i] = network->ports[i];
}

static void on_damaged(void *ctx, const char *file, const char *reason)
{
    struct seen *seen = ctx;
    size_t len = strlen(seen->damaged);

    snprintf(seen->damaged + len, sizeof seen->damaged - len, "%s ", file);
    assert_non_null(strstr(reason, file));
    snprintf(why, sizeof why, "%s", reason);
}

static struct seen load(struct state *state)
{
    static const struct state_visitor visitor = {on_network, on_damaged};
    struct seen seen = {.names = ""};

    if (state_load_all(state, &visitor, &seen, why, sizeof why) != 0)
        fail_msg("%s", why);
    return seen;
}

static void write_file(const char *name, const char *text, size_t len)
{
    char path[160];

    snprintf(path, sizeof path, "%s/networks/%s", folder, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, len), (ssize_t)len);
    close(fd);
}

static size_t read_file(const char *name, char *text, size_t size)
{
    char path[160];

    snprintf(path, sizeof path, "%s/networks/%s", folder, name);
    int fd = open(path, O_RDONLY);
    assert_true(fd >= 0);
    ssize_t len = read(fd, text, size);
    close(fd);
    assert_true(len > 0 && (size_t)len < size);
    return (size_t)len;
}

static bool is_there(const char *name)
{
    char path[160];
    struct stat status;

    snprintf(path, sizeof path, "%s/networks/%s", folder, name);
    return lstat(path, &status) == 0;
}

static void a_network_comes_back_as_it_was_saved(void **unused)
{
    struct state *state = open_state();

    (void)unused;
    assert_int_equal(save(state, "lab", 1500), 0);
    assert_int_equal(save(state, "lab", 9000), 0);
    state_close(state);
    state = open_state();
    struct seen seen = load(state);
    assert_string_equal(seen.names, "lab ");
    assert_string_equal(seen.damaged, "");
    assert_int_equal(seen.mtu, 9000);
    assert_int_equal(seen.uid, 1000);
    assert_int_equal(seen.gid, 100);
    assert_int_equal(seen.n_ports, 2);
    assert_string_equal(seen.ports[0].name, "a");
    assert_true(seen.ports[0].enabled);
    assert_int_equal(seen.ports[0].statics[0], 0x525400000001);
    assert_false(seen.ports[1].enabled);
    assert_true(seen.ports[1].isolated);
    assert_false(seen.ports[0].offload_is_set);
    assert_true(seen.ports[1].offload_is_set && seen.ports[1].offload == OFFLOAD_RAW);
    state_close(state);
}

static void networks_come_back_in_the_order_of_their_names(void **unused)
{
    struct state *state = open_state();

    (void)unused;
    assert_int_equal(save(state, "c", 1500), 0);
    assert_int_equal(save(state, "a", 1500), 0);
    assert_int_equal(save(state, "b", 1500), 0);
    struct seen seen = load(state);
    assert_string_equal(seen.names, "a b c ");
    assert_int_equal(state_remove(state, "b", why, sizeof why), 0);
    assert_int_equal(state_remove(state, "b", why, sizeof why), 0);
    seen = load(state);
    assert_string_equal(seen.names, "a c ");
    state_close(state);
}

static void folders_and_files_are_private(void **unused)
{
    struct stat status;
    char path[160];

    (void)unused;
    umask(0);
    struct state *state = open_state();
    assert_int_equal(save(state, "a", 1500), 0);
    umask(022);
    assert_int_equal(stat(folder, &status), 0);
    assert_int_equal(status.st_mode & 07777, 0700);
    snprintf(path, sizeof path, "%s/networks", folder);
    assert_int_equal(stat(path, &status), 0);
    assert_int_equal(status.st_mode & 07777, 0700);
    snprintf(path, sizeof path, "%s/networks/a.json", folder);
    assert_int_equal(stat(path, &status), 0);
    assert_int_equal(status.st_mode & 07777, 0600);
    state_close(state);
}

static void a_folder_that_others_can_write_is_refused(void **unused)
{
    struct state *state = open_state();
    char path[160];

    (void)unused;
    state_close(state);
    snprintf(path, sizeof path, "%s/networks", folder);
    assert_int_equal(chmod(path, 0770), 0);
    assert_int_equal(state_open(&state, folder, why, sizeof why), -EPERM);
    assert_null(state);
    assert_non_null(strstr(why, folder));
}

static void a_symlink_in_place_of_the_folder_is_refused(void **unused)
{
    struct state *state;
    char path[160];

    (void)unused;
    assert_int_equal(mkdir(folder, 0700), 0);
    snprintf(path, sizeof path, "%s/networks", folder);
    assert_int_equal(symlink("/tmp", path), 0);
    assert_true(state_open(&state, folder, why, sizeof why) < 0);
}

static void one_daemon_has_the_folder(void **unused)
{
    struct state *state = open_state(), *second;

    (void)unused;
    assert_int_equal(state_open(&second, folder, why, sizeof why), -EWOULDBLOCK);
    assert_non_null(strstr(why, "another vmswitchd"));
    state_close(state);
    state_close(open_state());
}

/* A writer killed while it writes: every length a temporary file can have. */
static void a_cut_temporary_file_costs_nothing(void **unused)
{
    struct state *state = open_state();
    static char text[8192];

    (void)unused;
    assert_int_equal(save(state, "a", 1600), 0);
    size_t len = read_file("a.json", text, sizeof text);
    assert_int_equal(save(state, "a", 1500), 0);
    for (size_t cut = 0; cut <= len; cut++) {
        write_file("a.json.tmp", text, cut);
        struct seen seen = load(state);
        assert_string_equal(seen.names, "a ");
        assert_string_equal(seen.damaged, "");
        assert_int_equal(seen.mtu, 1500);
        assert_false(is_there("a.json.tmp"));
    }
    write_file("a.json.tmp", text, 10);
    assert_int_equal(save(state, "a", 1700), 0); /* nor does one that nobody removed */
    assert_int_equal(load(state).mtu, 1700);
    state_close(state);
}

/* What a broken disk could do. A cut file is never taken for a smaller network. */
static void a_damaged_file_is_set_aside_and_costs_no_other(void **unused)
{
    struct state *state = open_state();
    static char text[8192];

    (void)unused;
    assert_int_equal(save(state, "a", 1500), 0);
    assert_int_equal(save(state, "b", 1500), 0);
    size_t len = read_file("a.json", text, sizeof text);
    for (size_t cut = 0; cut < len - 1; cut++) {
        write_file("a.json", text, cut);
        struct seen seen = load(state);
        assert_string_equal(seen.names, "b ");
        assert_string_equal(seen.damaged, "a.json ");
        assert_non_null(strstr(why, "set aside as "));
        assert_false(is_there("a.json"));
        assert_true(is_there("a.json.damaged"));
    }
    assert_string_equal(load(state).damaged, "");
    state_close(state);
}

static void a_file_that_says_something_else_is_damaged(void **unused)
{
    static const char *const bad[] = {
        /* another name */
        "{\"network\": {\"name\": \"b\"}, \"owner\": {\"uid\": 1, \"gid\": 1}, \"ports\": []}",
        "{\"network\": {\"name\": \"a\"}, \"owner\": {\"uid\": 1, \"gid\": 1}}",
        "{\"network\": {\"name\": \"a\"}, \"owner\": {\"uid\": 1, \"gid\": 1}, \"ports\": {}}",
        "{\"network\": {\"name\": \"a\"}, \"owner\": {\"uid\": 1, \"gid\": 1}, \"ports\": [], \"x\": 1}",
        "{\"network\": {\"name\": \"a\"}, \"owner\": {\"uid\": -1, \"gid\": 1}, \"ports\": []}",
        "{\"network\": {\"name\": \"a\"}, \"owner\": {\"uid\": 1, \"gid\": 4294967295}, \"ports\": []}",
        "{\"network\": {\"name\": \"a\"}, \"owner\": {\"uid\": 1, \"gid\": \"1\"}, \"ports\": []}",
        "{\"network\": {\"name\": \"a\", \"mtu\": 1}, \"owner\": {\"uid\": 1, \"gid\": 1}, \"ports\": []}",
        ("{\"network\": {\"name\": \"a\"}, \"owner\": {\"uid\": 1, \"gid\": 1},"
         "\"ports\": [{\"name\": \"p\"}, {\"name\": \"p\"}]}"),
        "[]",
    };
    struct state *state = open_state();

    (void)unused;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        write_file("a.json", bad[i], strlen(bad[i]));
        struct seen seen = load(state);
        assert_string_equal(seen.names, "");
        assert_string_equal(seen.damaged, "a.json ");
        assert_true(is_there("a.json.damaged"));
    }
    state_close(state);
}

/* A state folder moved from a Mac. */
static void a_network_that_cannot_be_had_here_stays_where_it_is(void **unused)
{
    static const char text[] =
        "{\"network\": {\"name\": \"a\", \"mode\": \"internal\", \"uplink\": \"user\"}, "
        "\"owner\": {\"uid\": 1, \"gid\": 1}, \"ports\": []}";
    struct state *state = open_state();

    (void)unused;
    write_file("a.json", text, strlen(text));
    struct seen seen = load(state);
    assert_string_equal(seen.names, "");
    assert_string_equal(seen.damaged, "a.json ");
    assert_true(is_there("a.json"));
    state_close(state);
}

static void links_and_fifos_are_not_followed(void **unused)
{
    struct state *state = open_state();
    static char text[8192];
    char path[160], target[160];

    (void)unused;
    assert_int_equal(save(state, "a", 1500), 0);
    size_t len = read_file("a.json", text, sizeof text);
    snprintf(target, sizeof target, "%s/target", root);
    snprintf(path, sizeof path, "%s/networks/a.json", folder);
    assert_int_equal(rename(path, target), 0);
    assert_int_equal(symlink(target, path), 0);
    snprintf(path, sizeof path, "%s/networks/f.json", folder);
    assert_int_equal(mkfifo(path, 0600), 0);
    struct seen seen = load(state);
    assert_string_equal(seen.names, "");
    assert_string_equal(seen.damaged, "a.json f.json ");

    /* Nor written through, under either name. */
    snprintf(path, sizeof path, "%s/networks/a.json", folder);
    assert_int_equal(symlink(target, path), 0);
    snprintf(path, sizeof path, "%s/networks/a.json.tmp", folder);
    assert_int_equal(symlink(target, path), 0);
    assert_int_equal(save(state, "a", 9000), 0);
    assert_int_equal(load(state).mtu, 9000);
    int fd = open(target, O_RDONLY);
    static char after[8192];
    assert_int_equal(read(fd, after, sizeof after), (ssize_t)len);
    assert_memory_equal(after, text, len);
    close(fd);
    state_close(state);
}

static void a_write_that_fails_keeps_the_old_version(void **unused)
{
    struct state *state = open_state();
    char path[160];

    (void)unused;
    assert_int_equal(save(state, "a", 1500), 0);
    snprintf(path, sizeof path, "%s/networks/a.json.tmp", folder);
    assert_int_equal(mkdir(path, 0700), 0); /* in the way: neither unlinked nor opened */
    assert_true(save(state, "a", 9000) < 0);
    assert_non_null(strstr(why, "cannot write "));
    assert_int_equal(load(state).mtu, 1500);
    state_close(state);
}

/* The child says each version it got a 0 for; what comes back is that one or the one it was at. */
static void write_until_killed(int told)
{
    struct state *state = NULL;

    if (state_open(&state, folder, why, sizeof why) < 0)
        _exit(1);
    for (uint32_t mtu = 576; mtu <= 65535; mtu++)
        if (save(state, "a", mtu) < 0 || write(told, &mtu, sizeof mtu) != sizeof mtu)
            _exit(1);
    _exit(0);
}

static void a_writer_killed_at_any_time_loses_nothing_it_accepted(void **unused)
{
    unsigned seed = (unsigned)time(NULL);
    uint32_t n_saved = 0;

    (void)unused;
    print_message("seed %u\n", seed);
    srand(seed);
    for (int i = 0; i < 60; i++) {
        int told[2];
        uint32_t mtu, last = 0;
        assert_int_equal(pipe(told), 0);
        pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0)
            write_until_killed(told[1]);
        close(told[1]);
        assert_int_equal(read(told[0], &last, sizeof last), sizeof last);
        usleep((useconds_t)(rand() % 20000));
        kill(pid, SIGKILL);
        while (read(told[0], &mtu, sizeof mtu) == sizeof mtu)
            last = mtu;
        close(told[0]);
        int status;
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFSIGNALED(status));

        struct state *state = open_state();
        struct seen seen = load(state);
        assert_string_equal(seen.names, "a ");
        assert_string_equal(seen.damaged, "");
        assert_in_range(seen.mtu, last, last + 1);
        assert_false(is_there("a.json.tmp"));
        n_saved += last - 575;
        state_close(state);
    }
    print_message("%u versions saved\n", n_saved);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_network_comes_back_as_it_was_saved, enter, leave),
        cmocka_unit_test_setup_teardown(networks_come_back_in_the_order_of_their_names, enter, leave),
        cmocka_unit_test_setup_teardown(folders_and_files_are_private, enter, leave),
        cmocka_unit_test_setup_teardown(a_folder_that_others_can_write_is_refused, enter, leave),
        cmocka_unit_test_setup_teardown(a_symlink_in_place_of_the_folder_is_refused, enter, leave),
        cmocka_unit_test_setup_teardown(one_daemon_has_the_folder, enter, leave),
        cmocka_unit_test_setup_teardown(a_cut_temporary_file_costs_nothing, enter, leave),
        cmocka_unit_test_setup_teardown(a_damaged_file_is_set_aside_and_costs_no_other, enter, leave),
        cmocka_unit_test_setup_teardown(a_file_that_says_something_else_is_damaged, enter, leave),
        cmocka_unit_test_setup_teardown(a_network_that_cannot_be_had_here_stays_where_it_is, enter, leave),
        cmocka_unit_test_setup_teardown(links_and_fifos_are_not_followed, enter, leave),
        cmocka_unit_test_setup_teardown(a_write_that_fails_keeps_the_old_version, enter, leave),
        cmocka_unit_test_setup_teardown(a_writer_killed_at_any_time_loses_nothing_it_accepted, enter, leave),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
