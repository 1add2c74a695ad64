/* tests/unit/daemon/test_options.c - the command line, and where things are by default */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "daemon/options.h"
#include "daemon/paths.h"

static struct options options;
static char why[256];

/* Parses "vmswitchd" and up to five arguments. */
static int parse(const char *a, const char *b, const char *c, const char *d, const char *e)
{
    const char *const given[] = {"vmswitchd", a, b, c, d, e, NULL};
    char words[6][700];
    char *argv[7] = {NULL};
    int argc = 0;
    for (; given[argc]; argc++) {
        snprintf(words[argc], sizeof(words[0]), "%s", given[argc]);
        argv[argc] = words[argc];
    }
    why[0] = '\0';
    return options_parse(&options, argc, argv, why, sizeof(why));
}

static void both_spellings_of_a_value_are_taken(void **state)
{
    (void)state;
    assert_int_equal(parse("--runtime-dir", "/a", "--state-dir=/b", "--log-level=debug", NULL), 0);
    assert_string_equal(options.runtime_dir, "/a");
    assert_string_equal(options.state_dir, "/b");
    assert_int_equal(options.log_level, LOG_DEBUG);
    assert_int_equal(parse("--config=x.conf", "--user", "joe", NULL, NULL), 0);
    assert_string_equal(options.config_path, "x.conf");
    assert_string_equal(options.user, "joe");
    assert_string_equal(options.runtime_dir, "");
}

static void nothing_given_is_the_monitor_at_level_info(void **state)
{
    (void)state;
    assert_int_equal(parse(NULL, NULL, NULL, NULL, NULL), 0);
    assert_int_equal(options.role, ROLE_MONITOR);
    assert_int_equal(options.log_level, LOG_INFO);
    assert_false(options.help || options.version);
    assert_int_equal(parse("--help", "--version", NULL, NULL, NULL), 0);
    assert_true(options.help && options.version);
}

static void the_sandbox_is_on_unless_said_otherwise(void **state)
{
    (void)state;
    assert_int_equal(parse(NULL, NULL, NULL, NULL, NULL), 0);
    assert_int_equal(options.sandbox, SANDBOX_ON);
    assert_int_equal(parse("--sandbox=log", NULL, NULL, NULL, NULL), 0);
    assert_int_equal(options.sandbox, SANDBOX_LOG);
    assert_int_equal(parse("--sandbox", "off", NULL, NULL, NULL), 0);
    assert_int_equal(options.sandbox, SANDBOX_OFF);
    assert_int_equal(parse("--sandbox=strict", NULL, NULL, NULL, NULL), -EINVAL);
    assert_non_null(strstr(why, "on, log or off"));
}

static void a_wrong_word_is_named(void **state)
{
    (void)state;
    static const struct {
        const char *words[2];
        const char *said;
    } wrong[] = {
        {{"--frobnicate", NULL}, "'--frobnicate'"},
        {{"--config", NULL}, "'--config'"},
        {{"--config=", NULL}, "--config"},
        {{"operand", NULL}, "'operand'"},
        {{"--log-level", "loud"}, "'loud'"},
        {{"--help=yes", NULL}, "'--help=yes'"},
        {{"--role", "king"}, "'king'"},
        {{"--role=monitor", NULL}, "'monitor'"},
        {{"--role=network", NULL}, "--name"},
        {{"--name", "../x"}, "'../x'"},
        {{"--uid", "-1"}, "'-1'"},
        {{"--uid", "4294967295"}, "'4294967295'"},
        {{"--gid", "12x"}, "'12x'"},
        {{"--gid", "99999999999999999999"}, "'9999"},
        {{"-x", NULL}, "'-x'"},
        {{"--conf=x", NULL}, "'--conf=x'"},
        {{"--user=", NULL}, "--user"},
    };
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        assert_int_equal(parse(wrong[i].words[0], wrong[i].words[1], NULL, NULL, NULL), -EINVAL);
        assert_non_null(strstr(why, wrong[i].said));
    }
    assert_int_equal(parse("--log-level", "\033[2J", NULL, NULL, NULL), -EINVAL);
    assert_null(strchr(why, '\033')); /* a terminal reads it */
}

static void a_value_that_does_not_fit_is_refused(void **state)
{
    (void)state;
    char longest[MESSAGE_PATH_SIZE + 1];
    memset(longest, 'a', sizeof(longest));
    longest[MESSAGE_PATH_SIZE - 1] = '\0';
    assert_int_equal(parse("--config", longest, NULL, NULL, NULL), 0);
    longest[MESSAGE_PATH_SIZE - 1] = 'a';
    longest[MESSAGE_PATH_SIZE] = '\0';
    assert_int_equal(parse("--config", longest, NULL, NULL, NULL), -EINVAL);
}

static void the_monitors_own_options_are_read(void **state)
{
    (void)state;
    assert_int_equal(parse("--role=network", "--name=shared", "--uid=12", "--gid=34", NULL), 0);
    assert_int_equal(options.role, ROLE_NETWORK);
    assert_string_equal(options.name, "shared");
    assert_int_equal(options.uid, 12);
    assert_int_equal(options.gid, 34);
}

static void help_names_every_option_and_exit_code(void **state)
{
    (void)state;
    static const char *const words[] = {"--config",  "--runtime-dir", "--state-dir", "--user", "--log-level",
                                        "--version", "--help",        "api.sock",    "curl",   "Exit: 0"};
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        assert_non_null(strstr(options_help(), words[i]));
}

/* ---- paths ---- */

static int reset(void **state)
{
    (void)state;
    static const char *const names[] = {"XDG_RUNTIME_DIR", "XDG_STATE_HOME", "XDG_CONFIG_HOME"};
    for (size_t i = 0; i < 3; i++)
        unsetenv(names[i]);
    setenv("HOME", "/home/joe", 1);
    options = (struct options){.log_level = LOG_INFO};
    return 0;
}

static int complete(uid_t uid)
{
    return paths_complete(&options, uid, why, sizeof(why));
}

static void a_user_has_folders_of_its_own(void **state)
{
    (void)state;
    assert_int_equal(complete(1000), 0);
    assert_string_equal(options.runtime_dir, "/tmp/vmswitch-1000");
    assert_string_equal(options.state_dir, "/home/joe/.local/state/vmswitch");
    assert_string_equal(options.config_path, "");
}

static void the_xdg_folders_are_used_if_they_are_absolute(void **state)
{
    (void)state;
    setenv("XDG_RUNTIME_DIR", "/run/user/1000", 1);
    setenv("XDG_STATE_HOME", "/elsewhere", 1);
    assert_int_equal(complete(1000), 0);
    assert_string_equal(options.runtime_dir, "/run/user/1000/vmswitch");
    assert_string_equal(options.state_dir, "/elsewhere/vmswitch");
    reset(state);
    setenv("XDG_RUNTIME_DIR", "relative", 1);
    assert_int_equal(complete(1000), 0);
    assert_string_equal(options.runtime_dir, "/tmp/vmswitch-1000");
}

static void root_has_the_systems_folders(void **state)
{
    (void)state;
    setenv("XDG_RUNTIME_DIR", "/run/user/0", 1);
    assert_int_equal(complete(0), 0);
    assert_string_equal(options.runtime_dir, paths_root_runtime_dir());
    assert_string_equal(options.state_dir, "/var/lib/vmswitch");
}

static void relative_paths_are_of_the_current_folder(void **state)
{
    (void)state;
    char here[MESSAGE_PATH_SIZE - 8], want[MESSAGE_PATH_SIZE];
    assert_non_null(getcwd(here, sizeof(here)));
    strcpy(options.runtime_dir, "run");
    strcpy(options.state_dir, "/s");
    strcpy(options.config_path, "c");
    assert_int_equal(complete(1000), 0);
    snprintf(want, sizeof(want), "%s/run", here);
    assert_string_equal(options.runtime_dir, want);
    assert_string_equal(options.state_dir, "/s");
    snprintf(want, sizeof(want), "%s/c", here);
    assert_string_equal(options.config_path, want);
}

static void without_a_home_the_state_needs_a_word(void **state)
{
    (void)state;
    unsetenv("HOME");
    assert_true(complete(1000) < 0);
    assert_non_null(strstr(why, "--state-dir"));
    strcpy(options.state_dir, "/s");
    assert_int_equal(complete(1000), 0);
}

static void a_path_that_does_not_fit_is_refused(void **state)
{
    (void)state;
    char folder[MESSAGE_PATH_SIZE + 100];
    memset(folder, 'a', sizeof(folder));
    folder[0] = '/';
    folder[sizeof(folder) - 1] = '\0';
    setenv("XDG_RUNTIME_DIR", folder, 1);
    assert_int_equal(complete(1000), -ENAMETOOLONG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_spellings_of_a_value_are_taken),
        cmocka_unit_test(nothing_given_is_the_monitor_at_level_info),
        cmocka_unit_test(the_sandbox_is_on_unless_said_otherwise),
        cmocka_unit_test(a_wrong_word_is_named),
        cmocka_unit_test(a_value_that_does_not_fit_is_refused),
        cmocka_unit_test(the_monitors_own_options_are_read),
        cmocka_unit_test(help_names_every_option_and_exit_code),
        cmocka_unit_test_setup(a_user_has_folders_of_its_own, reset),
        cmocka_unit_test_setup(the_xdg_folders_are_used_if_they_are_absolute, reset),
        cmocka_unit_test_setup(root_has_the_systems_folders, reset),
        cmocka_unit_test_setup(relative_paths_are_of_the_current_folder, reset),
        cmocka_unit_test_setup(without_a_home_the_state_needs_a_word, reset),
        cmocka_unit_test_setup(a_path_that_does_not_fit_is_refused, reset),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
