/* tests/unit/daemon/test_strict_paths.c - which way to a file is safe (S05) */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "daemon/strict_paths.h"
#include "tests/unit/daemon/rig.h"

static char base[64];
static char why[1024];

/* "<base>/<name>" */
static const char *in(const char *name)
{
    static char paths[4][256];
    static unsigned turn;
    char *path = paths[turn++ % 4];
    snprintf(path, sizeof(paths[0]), "%s/%s", base, name);
    return path;
}

/* The folder of the tests lies in /tmp, which has the sticky bit: what is ours there is safe. */
static int set_up(void **state)
{
    (void)state;
    snprintf(base, sizeof(base), "/tmp/vmsw-strict-XXXXXX");
    assert_non_null(mkdtemp(base));
    assert_int_equal(mkdir(in("a"), 0755), 0);
    assert_int_equal(mkdir(in("a/b"), 0755), 0);
    assert_int_equal(symlink("b", in("a/file")), 0);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    rig_remove_folder(base);
    return 0;
}

static int check(const char *name, bool and_itself)
{
    why[0] = '\0';
    return strict_paths_check(in(name), and_itself, why, sizeof(why));
}

static void set_mode(const char *name, mode_t mode)
{
    assert_int_equal(chmod(in(name), mode), 0);
}

static void a_way_of_our_own_is_safe(void **state)
{
    (void)state;
    assert_int_equal(check("a/b", true), 0);
    assert_int_equal(check("a//./b/../b/", true), 0);
    assert_int_equal(check("a/b/not-yet", true), 0);
    assert_int_equal(strict_paths_check("/", true, why, sizeof(why)), 0);
    assert_int_equal(strict_paths_check("/usr/bin/env", true, why, sizeof(why)), 0);
}

static void a_folder_that_others_may_write_to_is_named(void **state)
{
    (void)state;
    static const mode_t modes[] = {0777, 0757, 0707};
    for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
        set_mode("a", modes[i]);
        assert_int_equal(check("a/b/c", true), -EPERM);
        assert_non_null(strstr(why, in("a")));
        assert_non_null(strstr(why, "chmod go-w"));
        assert_non_null(strstr(why, in("a/b/c")));
        set_mode("a", 0755);
        assert_int_equal(check("a/b/c", true), 0);
    }
}

static void the_last_part_counts_if_it_is_asked_for(void **state)
{
    (void)state;
    set_mode("a/b", 0777);
    assert_int_equal(check("a/b", false), 0);
    assert_int_equal(check("a/b", true), -EPERM);
}

static void a_group_counts_unless_it_is_roots(void **state)
{
    (void)state;
    if (geteuid() != 0)
        skip();
    set_mode("a", 0775);
    assert_int_equal(check("a/b", true), 0);
    assert_int_equal(chown(in("a"), 0, 12345), 0);
    set_mode("a", 0775);
    assert_int_equal(check("a/b", true), -EPERM);
}

static void a_folder_of_another_user_is_named(void **state)
{
    (void)state;
    if (geteuid() != 0)
        skip();
    assert_int_equal(chown(in("a"), 12345, 0), 0);
    assert_int_equal(check("a/b", true), -EPERM);
    assert_non_null(strstr(why, "chown root"));
    assert_int_equal(chown(in("a"), 0, 0), 0);
    assert_int_equal(check("a/b", true), 0);
}

static void a_link_is_followed_and_belongs_to_us(void **state)
{
    (void)state;
    assert_int_equal(check("a/file/c", true), 0);
    set_mode("a/b", 0777); /* the way through the link */
    assert_int_equal(check("a/file/c", true), -EPERM);
    assert_non_null(strstr(why, in("a/b")));
    set_mode("a/b", 0755);
    /* An absolute one begins anew. */
    assert_int_equal(symlink(in("a"), in("a/b/up")), 0);
    assert_int_equal(check("a/b/up/b/up/b", true), 0);
    if (geteuid() != 0)
        return;
    assert_int_equal(lchown(in("a/file"), 12345, 0), 0);
    assert_int_equal(check("a/file/c", true), -EPERM);
    assert_non_null(strstr(why, "chown -h"));
}

static void links_in_a_ring_end(void **state)
{
    (void)state;
    assert_int_equal(symlink("y", in("a/x")), 0);
    assert_int_equal(symlink("x", in("a/y")), 0);
    assert_int_equal(check("a/x", true), -ELOOP);
}

/* Nobody can replace what is ours there, but anybody may be first. */
static void what_is_missing_in_a_sticky_folder_is_for_us_to_make(void **state)
{
    (void)state;
    set_mode("a", 01777);
    assert_int_equal(check("a/b/c", true), 0);
    assert_int_equal(check("a/new", false), 0);
    assert_int_equal(check("a/new/folder", false), -EPERM);
    assert_non_null(strstr(why, "others may make it"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_way_of_our_own_is_safe, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_folder_that_others_may_write_to_is_named, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_last_part_counts_if_it_is_asked_for, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_group_counts_unless_it_is_roots, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_folder_of_another_user_is_named, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_link_is_followed_and_belongs_to_us, set_up, tear_down),
        cmocka_unit_test_setup_teardown(links_in_a_ring_end, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_missing_in_a_sticky_folder_is_for_us_to_make, set_up,
                                        tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
