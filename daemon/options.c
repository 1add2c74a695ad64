#include "daemon/options.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/broker.h"
#include "switch/port.h"

enum { SECONDS_MAX = 24 * 60 * 60 };

enum option_id {
    OPT_CONFIG,
    OPT_RUNTIME_DIR,
    OPT_STATE_DIR,
    OPT_USER,
    OPT_LOG_LEVEL,
    OPT_STRICT_PATHS,
    OPT_LOG_FORMAT,
    OPT_SANDBOX,
    OPT_BROKER,
    OPT_IDLE,
    OPT_EXIT_TIMEOUT,
    OPT_VERSION,
    OPT_HELP,
    OPT_ROLE,
    OPT_NAME,
    OPT_UID,
    OPT_GID,
};

static const struct spelling {
    const char *name;
    enum option_id id;
    bool has_value;
} spellings[] = {
    {"--config", OPT_CONFIG, true},
    {"--runtime-dir", OPT_RUNTIME_DIR, true},
    {"--state-dir", OPT_STATE_DIR, true},
    {"--user", OPT_USER, true},
    {"--log-level", OPT_LOG_LEVEL, true},
    {"--strict-paths", OPT_STRICT_PATHS, false},
    {"--log-format", OPT_LOG_FORMAT, true},
    {"--sandbox", OPT_SANDBOX, true},
    {"--broker", OPT_BROKER, false},
    {"--broker-idle", OPT_IDLE, true},
    {"--exit-timeout", OPT_EXIT_TIMEOUT, true},
    {"--version", OPT_VERSION, false},
    {"--help", OPT_HELP, false},
    {"--role", OPT_ROLE, true},
    {"--name", OPT_NAME, true},
    {"--uid", OPT_UID, true},
    {"--gid", OPT_GID, true},
};

static const char help_text[] =
    "Usage: vmswitchd [OPTION]...\n"
    "A network switch for virtual machines. Runs in the foreground; SIGTERM or Ctrl-C ends it.\n"
    "\n"
    "  --config FILE       networks that are always there, and limits (JSON).\n"
    "                      Default: /etc/vmswitch/vmswitchd.conf as root, else\n"
    "                      $XDG_CONFIG_HOME (~/.config)/vmswitch/vmswitchd.conf, where it exists\n"
    "  --runtime-dir DIR   where the sockets are. Default: /run/vmswitch as root (macOS:\n"
    "                      /var/run/vmswitch), else $XDG_RUNTIME_DIR/vmswitch or /tmp/vmswitch-UID\n"
    "  --state-dir DIR     where networks made over the API are kept. Default: /var/lib/vmswitch\n"
    "                      as root, else $XDG_STATE_HOME (~/.local/state)/vmswitch\n"
    "  --user NAME         as root: who the API and root's networks run as. Default: _vmswitch or\n"
    "                      vmswitch where it exists, else nobody\n"
    "  --log-level LEVEL   error, warn, info (default) or debug; the log goes to stderr\n"
    "  --strict-paths      do not run if somebody else may write to a folder that leads to this program,\n"
    "                      its configuration or its folders\n"
    "  --log-format FORMAT text, json (an object a line), journal (priorities before the text) or\n"
    "                      journal-json. Default: journal where stderr is the journal, else text\n"
    "  --sandbox MODE      Linux: on (default): what reads clients' bytes can make few system calls and\n"
    "                      reach few files, or is ended; log: the kernel's log says what would have\n"
    "                      been stopped; off\n"
    "  --broker            macOS 26: be the network broker, as a job of launchd\n"
    "  --broker-idle S     the broker ends when nothing was in use for so many seconds (120)\n"
    "  --exit-timeout S    ExitTimeOut of the broker's job (20)\n"
    "  --version           print the version and exit\n"
    "  --help              print this and exit\n"
    "\n"
    "In the runtime folder:\n"
    "  api.sock                             the API: HTTP and JSON\n"
    "  attach.sock                          passes connected sockets in (vmswitch run)\n"
    "  NETWORK.stream, NETWORK.dgram        plug a VM in, as a port that goes when it leaves\n"
    "  NETWORK.PORT.stream, .dgram          plug a VM into a named port\n"
    "  vmswitchd.lock                       one daemon per folder\n"
    "\n"
    "Try:  curl --unix-socket /run/vmswitch/api.sock http://localhost/v1/networks\n"
    "\n"
    "Exit: 0 ended by a signal; 1 could not start or go on; 2 wrong options; 3 wrong configuration;\n"
    "      4 another vmswitchd has the runtime folder.\n";

const char *options_help(void)
{
    return help_text;
}

static int bad(char *why, size_t size, const char *problem, const char *value)
{
    char shown[80];
    snprintf(why, size, "%s '%s'; see --help", problem, log_escape(value, shown, sizeof(shown)));
    return -EINVAL;
}

static bool copy_text(char *to, size_t size, const char *from)
{
    size_t len = strlen(from);
    if (len == 0 || len >= size)
        return false;
    memcpy(to, from, len + 1);
    return true;
}

static bool parse_id(const char *text, uint32_t *ret_id)
{
    char *end = NULL;
    if (*text < '0' || *text > '9')
        return false;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (errno || *end || value >= UINT32_MAX) /* (uid_t)-1 means "none" */
        return false;
    *ret_id = (uint32_t)value;
    return true;
}

static bool parse_seconds(const char *text, uint32_t *ret_seconds)
{
    return parse_id(text, ret_seconds) && *ret_seconds <= SECONDS_MAX;
}

static bool parse_role(const char *text, enum role *ret_role)
{
    static const char *const names[ROLE_N] = {
        [ROLE_CONTROL] = "control", [ROLE_NETWORK] = "network", [ROLE_UPLINK] = "uplink",
        [ROLE_VMNET] = "vmnet",     [ROLE_NAT] = "nat",         [ROLE_KEEPER] = "keeper"};
    for (int i = 0; i < ROLE_N; i++) {
        if (names[i] && strcmp(text, names[i]) == 0) {
            *ret_role = (enum role)i;
            return true;
        }
    }
    return false;
}

/* Takes the value of one option. Returns NULL, or what is wrong with it. */
static const char *take(struct options *options, enum option_id id, const char *value)
{
    switch (id) {
    case OPT_CONFIG:
        return copy_text(options->config_path, MESSAGE_PATH_SIZE, value) ? NULL : "--config: not a path:";
    case OPT_RUNTIME_DIR:
        return copy_text(options->runtime_dir, MESSAGE_PATH_SIZE, value) ? NULL
                                                                         : "--runtime-dir: not a path:";
    case OPT_STATE_DIR:
        return copy_text(options->state_dir, MESSAGE_PATH_SIZE, value) ? NULL : "--state-dir: not a path:";
    case OPT_USER:
        return copy_text(options->user, OPTIONS_USER_SIZE, value) ? NULL : "--user: not a user's name:";
    case OPT_LOG_LEVEL:
        return log_level_parse(value, &options->log_level)
                   ? NULL
                   : "--log-level: choose error, warn, info or debug, not";
    case OPT_STRICT_PATHS:
        options->strict_paths = true;
        return NULL;
    case OPT_LOG_FORMAT:
        options->has_log_format = true;
        return log_format_parse(value, &options->log_format)
                   ? NULL
                   : "--log-format: choose text, json, journal or journal-json, not";
    case OPT_SANDBOX:
        return sandbox_mode_parse(value, &options->sandbox) ? NULL : "--sandbox: choose on, log or off, not";
    case OPT_BROKER:
        options->is_broker = true;
        return NULL;
    case OPT_IDLE:
        return parse_seconds(value, &options->broker_idle_s) ? NULL
                                                             : "--broker-idle: not a number of seconds:";
    case OPT_EXIT_TIMEOUT:
        return parse_seconds(value, &options->broker_exit_timeout_s)
                   ? NULL
                   : "--exit-timeout: not a number of seconds:";
    case OPT_VERSION:
        options->version = true;
        return NULL;
    case OPT_HELP:
        options->help = true;
        return NULL;
    case OPT_ROLE:
        return parse_role(value, &options->role) ? NULL : "--role: no such role:";
    case OPT_NAME:
        return port_name_is_valid(value) && copy_text(options->name, NETWORK_NAME_SIZE, value)
                   ? NULL
                   : "--name: not a network's name:";
    case OPT_UID:
        return parse_id(value, &options->uid) ? NULL : "--uid: not a user id:";
    default:
        return parse_id(value, &options->gid) ? NULL : "--gid: not a group id:";
    }
}

/* The option that 'word' is, or begins ("--name=value"); NULL if there is none. */
static const struct spelling *find_spelling(const char *word)
{
    const size_t len = strcspn(word, "=");
    for (size_t i = 0; i < sizeof(spellings) / sizeof(spellings[0]); i++) {
        if (strlen(spellings[i].name) == len && strncmp(spellings[i].name, word, len) == 0)
            return word[len] == '=' && !spellings[i].has_value ? NULL : &spellings[i];
    }
    return NULL;
}

int options_parse(struct options *ret_options, int argc, char **argv, char *ret_why, size_t why_size)
{
    *ret_options = (struct options){.log_level = LOG_INFO,
                                    .role = ROLE_MONITOR,
                                    .broker_idle_s = BROKER_IDLE_S,
                                    .broker_exit_timeout_s = BROKER_EXIT_TIMEOUT_S};
    for (int i = 1; i < argc; i++) {
        const char *word = argv[i];
        const struct spelling *spelling = find_spelling(word);
        const char *equals = strchr(word, '=');
        const char *value = equals ? equals + 1 : "";
        if (!spelling)
            return bad(ret_why, why_size, word[0] == '-' ? "unknown option" : "unexpected argument", word);
        if (spelling->has_value && !equals) {
            if (++i >= argc)
                return bad(ret_why, why_size, "this option needs a value:", word);
            value = argv[i];
        }
        const char *problem = take(ret_options, spelling->id, value);
        if (problem)
            return bad(ret_why, why_size, problem, value);
    }
    if (ret_options->role >= ROLE_NETWORK && !ret_options->name[0]) {
        snprintf(ret_why, why_size, "--role: this role needs --name");
        return -EINVAL;
    }
    return 0;
}
