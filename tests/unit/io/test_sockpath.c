/* tests/unit/io/test_sockpath.c - sockets with a name, see io/sockpath.h */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include <cmocka.h>

#include "io/socket_platform.h"
#include "io/sockpath.h"

static char dir[64];
static int dir_fd;
static char why[512];
static struct sockpath_id id;
static const struct sockpath stream = {.type = SOCK_STREAM, .mode = 0640, .uid = (uid_t)-1, .gid = (gid_t)-1};
static const struct sockpath dgram = {.type = SOCK_DGRAM, .mode = 0666, .uid = (uid_t)-1, .gid = (gid_t)-1};

static int set_up(void **state)
{
    (void)state;
    strcpy(dir, "/tmp/vmsw-test-XXXXXX");
    assert_non_null(mkdtemp(dir));
    dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    why[0] = '\0';
    return 0;
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
    (void)st;
    (void)flag;
    (void)ftw;
    return remove(path);
}

static int tear_down(void **state)
{
    (void)state;
    close(dir_fd);
    return nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static const char *path_of(const char *name)
{
    static char path[160];
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    return path;
}

static unsigned count_entries(void)
{
    DIR *folder = opendir(dir);
    unsigned n = 0;
    for (const struct dirent *entry; (entry = readdir(folder));)
        n += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
    closedir(folder);
    return n;
}

static int connect_to(const char *name, int type)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof(address.sun_path), "%.*s", (int)sizeof(address.sun_path) - 1,
             path_of(name));
    int fd = socket(AF_UNIX, type, 0);
    if (connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0)
        return fd;
    int error = errno;
    close(fd);
    return -error;
}

static int make(const char *name, const struct sockpath *want)
{
    return sockpath_make(dir_fd, dir, name, want, &id, why, sizeof(why));
}

static void a_socket_has_its_mode_and_accepts(void **state)
{
    (void)state;
    struct stat st;
    char before[256], after[256];
    assert_non_null(getcwd(before, sizeof(before)));
    int fd = make("a.stream", &stream);
    assert_true(fd >= 0);
    assert_int_equal(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    assert_int_equal(stat(path_of("a.stream"), &st), 0);
    assert_int_equal(st.st_mode & 07777, 0640);
    assert_int_equal(st.st_ino, id.ino);
    int client = connect_to("a.stream", SOCK_STREAM);
    assert_true(client >= 0);
    int accepted = accept(fd, NULL, NULL);
    assert_true(accepted >= 0);
    close(accepted);
    close(client);
    int other = make("a.dgram", &dgram);
    assert_true(other >= 0);
    client = connect_to("a.dgram", SOCK_DGRAM);
    assert_true(client >= 0);
    assert_int_equal(send(client, "x", 1, 0), 1);
    close(client);
    close(other);
    close(fd);
    assert_int_equal(count_entries(), 2); /* no staging folder is left */
    assert_non_null(getcwd(after, sizeof(after)));
    assert_string_equal(before, after);
}

/* S04, T16 */
static void the_umask_does_not_matter(void **state)
{
    (void)state;
    static const mode_t masks[] = {0, 0777, 022};
    for (size_t i = 0; i < 3; i++) {
        struct stat st;
        mode_t old = umask(masks[i]);
        int fd = make("a.stream", &stream);
        assert_int_equal(umask(old), masks[i]); /* and it is left as it was */
        assert_true(fd >= 0);
        assert_int_equal(stat(path_of("a.stream"), &st), 0);
        assert_int_equal(st.st_mode & 07777, 0640);
        close(fd);
    }
}

/* R02 */
static void a_dead_socket_gives_way(void **state)
{
    (void)state;
    close(make("a.stream", &stream));
    assert_int_equal(connect_to("a.stream", SOCK_STREAM), -ECONNREFUSED);
    assert_false(sockpath_is_live(dir_fd, "a.stream"));
    int fd = make("a.stream", &stream);
    assert_true(fd >= 0);
    close(fd);
    close(make("a.dgram", &dgram));
    assert_false(sockpath_is_live(dir_fd, "a.dgram"));
    fd = make("a.dgram", &stream);
    assert_true(fd >= 0);
    close(fd);
}

static void a_live_socket_stays(void **state)
{
    (void)state;
    struct sockpath_id first;
    struct stat st;
    const struct sockpath *const kinds[] = {&stream, &dgram};
    for (int i = 0; i < 2; i++) {
        int fd = make("a", kinds[i]);
        assert_true(fd >= 0);
        first = id;
        assert_true(sockpath_is_live(dir_fd, "a"));
        assert_int_equal(make("a", &stream), -EADDRINUSE);
        assert_int_equal(make("a", &dgram), -EADDRINUSE);
        assert_non_null(strstr(why, path_of("a")));
        assert_int_equal(lstat(path_of("a"), &st), 0);
        assert_int_equal(st.st_ino, first.ino);
        sockpath_remove(dir_fd, "a", &first);
        close(fd);
    }
    assert_int_equal(count_entries(), 0);
}

/* S01: nothing of these is followed, replaced or changed. */
static void whatever_else_is_in_the_way_stays(void **state)
{
    (void)state;
    close(open(path_of("file"), O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
    assert_int_equal(mkdir(path_of("folder"), 0700), 0);
    assert_int_equal(mkfifo(path_of("fifo"), 0600), 0);
    assert_int_equal(symlink("file", path_of("to_file")), 0);
    assert_int_equal(symlink("folder", path_of("to_folder")), 0);
    assert_int_equal(symlink("nowhere", path_of("dangling")), 0);
    static const char *const names[] = {"file", "folder", "fifo", "to_file", "to_folder", "dangling"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        struct stat before, after;
        assert_int_equal(lstat(path_of(names[i]), &before), 0);
        why[0] = '\0';
        assert_int_equal(make(names[i], &stream), -EEXIST);
        assert_non_null(strstr(why, path_of(names[i])));
        assert_int_equal(lstat(path_of(names[i]), &after), 0);
        assert_int_equal(before.st_ino, after.st_ino);
        assert_int_equal(before.st_mode, after.st_mode);
        assert_int_equal(socket_file_time_ns(&before), socket_file_time_ns(&after));
    }
    assert_int_equal(count_entries(), 6);
}

static void a_path_may_be_as_long_as_the_address_holds(void **state)
{
    (void)state;
    char name[128];
    size_t fits = sockpath_len_max() - strlen(dir) - 1;
    memset(name, 'a', sizeof(name));
    name[fits] = '\0';
    int fd = make(name, &stream);
    assert_true(fd >= 0);
    int client = connect_to(name, SOCK_STREAM);
    assert_true(client >= 0);
    close(client);
    close(fd);
    assert_int_equal(unlink(path_of(name)), 0);
    name[fits] = 'a';
    name[fits + 1] = '\0';
    assert_int_equal(make(name, &stream), -ENAMETOOLONG);
    assert_non_null(strstr(why, "shorter"));
    assert_int_equal(count_entries(), 0);
}

/* R03: who ends late does not take the next one's socket along. */
static void only_the_socket_we_made_is_removed(void **state)
{
    (void)state;
    int old = make("a.stream", &stream);
    struct sockpath_id old_id = id;
    assert_int_equal(unlink(path_of("a.stream")), 0);
    int new = make("a.stream", &stream);
    assert_true(old >= 0 && new >= 0);
    sockpath_remove(dir_fd, "a.stream", &old_id);
    int client = connect_to("a.stream", SOCK_STREAM);
    assert_true(client >= 0);
    close(client);
    sockpath_remove(dir_fd, "a.stream", &id);
    assert_int_equal(count_entries(), 0);
    sockpath_remove(dir_fd, "a.stream", &id); /* gone already */
    close(old);
    close(new);
}

static void a_failure_leaves_nothing_behind(void **state)
{
    (void)state;
    struct sockpath want = stream;
    if (geteuid() == 0)
        skip(); /* root may give it to anybody */
    want.gid = 0;
    assert_int_equal(make("a.stream", &want), -EPERM);
    assert_non_null(strstr(why, "group"));
    assert_int_equal(count_entries(), 0);
}

static void a_socket_goes_to_its_owner_and_group(void **state)
{
    (void)state;
    struct sockpath want = stream;
    struct stat st;
    if (geteuid() != 0)
        skip(); /* only root can give it away */
    want.uid = 4711;
    want.gid = 4712;
    close(make("a.stream", &want));
    assert_int_equal(stat(path_of("a.stream"), &st), 0);
    assert_int_equal(st.st_uid, 4711);
    assert_int_equal(st.st_gid, 4712);
    assert_int_equal(st.st_mode & 07777, 0640);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_socket_has_its_mode_and_accepts),
        TEST(the_umask_does_not_matter),
        TEST(a_dead_socket_gives_way),
        TEST(a_live_socket_stays),
        TEST(whatever_else_is_in_the_way_stays),
        TEST(a_path_may_be_as_long_as_the_address_holds),
        TEST(only_the_socket_we_made_is_removed),
        TEST(a_failure_leaves_nothing_behind),
        TEST(a_socket_goes_to_its_owner_and_group),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
