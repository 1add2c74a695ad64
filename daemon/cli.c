/* daemon/cli.c - vmswitch: understands its command line
 *
 * Options may stand before and behind the command's arguments, as "--name value" or "--name=value"; "--" ends
 * them. One table (cli_commands.c) says what there is, for this parser, for --help and for the manual page.
 */
#include "daemon/cli.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void cli_complain(const char *format, ...)
{
    va_list args;

    fputs("vmswitch: ", stderr);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
}

int cli_usage(const char *format, ...)
{
    va_list args;

    fputs("vmswitch: ", stderr);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputs("\nTry \"vmswitch --help\".\n", stderr);
    return CLI_USAGE;
}

const char *cli_value(const struct cli *cli, const char *name)
{
    const char *value = NULL, *next;

    for (int at = 0; (next = cli_next_value(cli, name, &at));)
        value = next;
    return value;
}

const char *cli_next_value(const struct cli *cli, const char *name, int *at)
{
    while (*at < cli->n_given) {
        int i = (*at)++;
        if (strcmp(cli->given[i].name, name) == 0)
            return cli->given[i].value;
    }
    return NULL;
}

/* ---- help ---- */

static void print_options(const struct cli_option *options)
{
    for (; options && options->name; options++) {
        char left[64];
        snprintf(left, sizeof left, "--%s%s%s", options->name, options->argument ? " " : "",
                 options->argument ? options->argument : "");
        printf("  %-26s %s\n", left, options->sentence);
    }
}

static int print_help(const struct cli_command *command)
{
    if (command) {
        printf("usage: vmswitch %s%s%s%s%s\n%s\n", command->name, command->n_arguments > 0 ? " " : "",
               command->arguments, command->options ? " [OPTIONS]" : "",
               command->takes_command ? " -- COMMAND [ARGUMENT ...]" : "", command->sentence);
        print_options(command->options);
        puts("\nEvery command takes:");
        print_options(cli_global_options);
        return CLI_OK;
    }
    puts(
        "usage: vmswitch COMMAND [ARGUMENTS] [OPTIONS]\n\nCommands (\"vmswitch COMMAND --help\" says more):");
    for (command = cli_commands; command->name; command++) {
        char left[64];
        snprintf(left, sizeof left, "%s %s", command->name, command->arguments);
        printf("  %-26s %s\n", left, command->sentence);
    }
    puts("\nOptions:");
    print_options(cli_global_options);
    puts("\nExit status: 0 done, 1 refused, 2 wrong usage, 3 vmswitchd not reached; run: 126, 127 as a "
         "shell.\n"
         "See vmswitch(1).");
    return CLI_OK;
}

/* ---- parsing ---- */

static const struct cli_option *find_option(const struct cli_option *options, const char *name, size_t len)
{
    for (; options && options->name; options++)
        if (strlen(options->name) == len && strncmp(options->name, name, len) == 0)
            return options;
    return NULL;
}

/* Takes argv[*at], an option, and its value. */
static int take_option(struct cli *cli, char **argv, int argc, int *at)
{
    const char *name = argv[*at] + 2;
    size_t len = strcspn(name, "=");
    const char *value = name[len] == '=' ? name + len + 1 : NULL;

    const struct cli_option *option = find_option(cli_global_options, name, len);
    if (!option && cli->command)
        option = find_option(cli->command->options, name, len);
    if (!option)
        return cli_usage("there is no option %s%s%s", argv[*at],
                         cli->command ? " for " : " before the command",
                         cli->command ? cli->command->name : "");
    if (!option->argument && value)
        return cli_usage("--%s takes no value", option->name);
    if (option->argument && !value) {
        if (*at + 1 >= argc)
            return cli_usage("--%s needs a value: %s", option->name, option->argument);
        value = argv[++*at];
    }
    if (cli->n_given == CLI_GIVEN_MAX)
        return cli_usage("there are more than %d options", CLI_GIVEN_MAX);
    cli->given[cli->n_given].name = option->name;
    cli->given[cli->n_given++].value = value ? value : "";
    return CLI_OK;
}

/* A command of one word or of two. */
static int take_command(struct cli *cli, char **argv, int argc, int *at)
{
    const char *first = argv[*at], *second = *at + 1 < argc ? argv[*at + 1] : "";
    char both[64];

    snprintf(both, sizeof both, "%s %s", first, second);
    for (const struct cli_command *command = cli_commands; command->name; command++) {
        if (strcmp(command->name, first) == 0)
            cli->command = command;
        if (strcmp(command->name, both) == 0) {
            cli->command = command;
            ++*at;
        }
        if (cli->command)
            return CLI_OK;
    }
    if (strcmp(first, "port") == 0)
        return cli_usage("port needs \"add\" or \"set\"");
    return cli_usage("there is no command \"%s\"", first);
}

static int take_argument(struct cli *cli, const char *argument, int *n)
{
    if (*n == cli->command->n_arguments)
        return cli_usage("\"%s\" is one argument too many for %s", argument, cli->command->name);
    cli->arguments[(*n)++] = argument;
    return CLI_OK;
}

/* Returns CLI_OK and sets *ret_help if --help is there: then the rest need not be complete. */
static int parse(struct cli *cli, int argc, char **argv, bool *ret_help, bool *ret_version)
{
    int n_arguments = 0, r = CLI_OK;

    for (int i = 1; i < argc && r == CLI_OK; i++) {
        if (strcmp(argv[i], "--") == 0) {
            cli->run = argv + i + 1;
            break;
        }
        if (strncmp(argv[i], "--", 2) == 0)
            r = take_option(cli, argv, argc, &i);
        else if (argv[i][0] == '-')
            r = cli_usage("there is no option %s", argv[i]);
        else if (!cli->command)
            r = take_command(cli, argv, argc, &i);
        else
            r = take_argument(cli, argv[i], &n_arguments);
    }
    *ret_help = r == CLI_OK && cli_value(cli, "help");
    *ret_version = r == CLI_OK && cli_value(cli, "version");
    if (r != CLI_OK || *ret_help || *ret_version)
        return r;
    if (!cli->command)
        return cli_usage("a command is missing");
    if (n_arguments < cli->command->n_arguments)
        return cli_usage("%s needs %s", cli->command->name, cli->command->arguments);
    if (cli->command->takes_command && (!cli->run || !cli->run[0]))
        return cli_usage("%s needs -- and a command", cli->command->name);
    if (!cli->command->takes_command && cli->run)
        return cli_usage("%s takes nothing behind --", cli->command->name);
    return CLI_OK;
}

int main(int argc, char **argv)
{
    struct cli cli = {.command = NULL};
    bool help, version;

    int r = parse(&cli, argc, argv, &help, &version);
    if (r != CLI_OK)
        return r;
    if (help)
        return print_help(cli.command);
    if (version) {
        puts("vmswitch " VMSWITCH_VERSION);
        return CLI_OK;
    }
    cli.json = cli_value(&cli, "json") != NULL;
    r = cli_socket_find(&cli, cli_value(&cli, "socket"));
    if (r == CLI_OK)
        r = cli.command->run(&cli);
    if (fflush(stdout) != 0 && r == CLI_OK) {
        cli_complain("cannot write the answer");
        r = CLI_REFUSED;
    }
    return r;
}
