/* Tests of daemon/lease_file.c and text_file.c: what lies in dnsmasq's folder, and in what state it may be.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "daemon/lease_file.h"
#include "daemon/text_file.h"

static const char good[] = "300 52:54:00:00:00:01 192.168.105.11 one 01:52:54:00:00:00:01\n";

static char folder[64];

static int set_up(void **state)
{
    (void)state;
    snprintf(folder, sizeof(folder), "/tmp/vmsw-leases-XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

static const char *path_of(const char *name)
{
    static char path[256];
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    return path;
}

static int tear_down(void **state)
{
    (void)state;
    unlink(path_of(LEASE_FILE));
    unlink(path_of(LEASE_FILE_DAMAGED));
    return rmdir(folder);
}

static void put(const void *bytes, size_t len)
{
    FILE *file = fopen(path_of(LEASE_FILE), "w");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, len, file), len);
    assert_int_equal(fclose(file), 0);
}

static bool is_there(const char *name)
{
    struct stat st;
    return lstat(path_of(name), &st) == 0;
}

static void assert_leases(const char *want)
{
    char *text = lease_file_read(folder);
    assert_non_null(text);
    assert_string_equal(text, want);
    free(text);
}

static void mend(void)
{
    lease_file_mend(folder, 0xC0A86901, 0xFFFFFF00);
}

static void where_there_is_none_one_is_made_for_its_owner_alone(void **state)
{
    struct stat st;
    (void)state;
    assert_null(lease_file_read(folder));
    mend();
    assert_leases("");
    assert_int_equal(stat(path_of(LEASE_FILE), &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_false(is_there(LEASE_FILE_DAMAGED));
}

static void a_whole_one_is_left_alone(void **state)
{
    struct stat before, after;
    (void)state;
    put(good, strlen(good));
    assert_int_equal(stat(path_of(LEASE_FILE), &before), 0);
    mend();
    assert_int_equal(stat(path_of(LEASE_FILE), &after), 0);
    assert_true(before.st_ino == after.st_ino);
    assert_false(is_there(LEASE_FILE_DAMAGED));
}

/* The network has another subnet now. */
static void leases_of_another_subnet_are_taken_out(void **state)
{
    char bytes[256];
    (void)state;
    snprintf(bytes, sizeof(bytes), "%s301 52:54:00:00:00:02 192.168.106.11 * *\n", good);
    put(bytes, strlen(bytes));
    mend();
    assert_leases(good);
    assert_false(is_there(LEASE_FILE_DAMAGED));
}

static void the_whole_leases_of_a_damaged_one_are_kept(void **state)
{
    char bytes[256];
    (void)state;
    snprintf(bytes, sizeof(bytes), "%s301 52:54:00", good);
    put(bytes, strlen(bytes));
    mend();
    assert_leases(good);
    assert_true(is_there(LEASE_FILE_DAMAGED));
}

/* As a disk that lost its power may have it. */
static void leases_around_nuls_are_kept(void **state)
{
    char bytes[256] = "";
    (void)state;
    const size_t len = strlen(good), at = sizeof(bytes) - len - 1;
    memcpy(bytes, good, len);
    bytes[at] = '\n';
    memcpy(bytes + at + 1, good, len);
    put(bytes, sizeof(bytes));
    mend();
    snprintf(bytes, sizeof(bytes), "%s%s", good, good);
    assert_leases(bytes);
    assert_true(is_there(LEASE_FILE_DAMAGED));
}

static void what_is_no_file_is_set_aside(void **state)
{
    (void)state;
    assert_int_equal(mkdir(path_of(LEASE_FILE), 0700), 0);
    mend();
    assert_false(is_there(LEASE_FILE));
    assert_true(is_there(LEASE_FILE_DAMAGED));
    assert_int_equal(rmdir(path_of(LEASE_FILE_DAMAGED)), 0);
    assert_int_equal(symlink("/etc/passwd", path_of(LEASE_FILE)), 0);
    assert_null(lease_file_read(folder));
    mend();
    assert_false(is_there(LEASE_FILE));
}

static void a_file_that_is_too_long_is_set_aside(void **state)
{
    (void)state;
    put("", 0);
    assert_int_equal(truncate(path_of(LEASE_FILE), LEASE_FILE_MAX + 1), 0);
    assert_null(lease_file_read(folder));
    mend();
    assert_true(is_there(LEASE_FILE_DAMAGED));
}

static void a_path_that_is_too_long_is_an_error(void **state)
{
    char name[2000];
    size_t len;
    int error = 0;
    (void)state;
    memset(name, 'x', sizeof(name) - 1);
    name[sizeof(name) - 1] = '\0';
    assert_int_equal(text_file_write(folder, name, "x"), -ENAMETOOLONG);
    assert_null(text_file_read(folder, name, 10, &len, &error));
    assert_int_equal(error, -ENAMETOOLONG);
}

#define FILE_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        FILE_TEST(where_there_is_none_one_is_made_for_its_owner_alone),
        FILE_TEST(a_whole_one_is_left_alone),
        FILE_TEST(leases_of_another_subnet_are_taken_out),
        FILE_TEST(the_whole_leases_of_a_damaged_one_are_kept),
        FILE_TEST(leases_around_nuls_are_kept),
        FILE_TEST(what_is_no_file_is_set_aside),
        FILE_TEST(a_file_that_is_too_long_is_set_aside),
        FILE_TEST(a_path_that_is_too_long_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
