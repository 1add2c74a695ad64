/* daemon/cli_complete.c - "complete": what can come next on a command line, for the shells
 *
 * The files in etc/completions ask this with the words up to the cursor, the last of them unfinished and
 * maybe empty. Each answer is a line: a word, a tab, and a sentence that may be empty. ":files" stands for
 * the names of files, ":command" for any command line. Commands and options are those of the tables in
 * cli_commands.c, names those that the daemon knows; without a daemon there are none, and no complaint.
 */
#include "daemon/cli.h"

#include <stdio.h>
#include <string.h>

/* The values of options that are one of a few words. */
static const struct choice {
    const char *option, *words; /* separated by blanks */
} choices[] = {
    {"mode", "shared host bridged internal"},
    {"uplink", "auto none user tap vmnet"},
    {"offload", "off raw virtio"},
    {"link", "up down"},
    {"kind", "stream datagram"},
};

/* What the words before the cursor mean. */
struct line {
    struct cli cli; /* its command, arguments and socket */
    int n_arguments;
    char head[32];                   /* the first word of a command of two, or "" */
    const struct cli_option *option; /* whose value comes next, or NULL */
    bool is_behind;                  /* the "--" of "run" */
};

static void print_candidate(const char *begun, const char *before, const char *word, const char *sentence)
{
    if (strncmp(word, begun, strlen(begun)) == 0)
        printf("%s%s\t%s\n", before, word, sentence);
}

/* ---- understanding ---- */

static const struct cli_option *find_in(const struct cli_option *options, const char *name, size_t len)
{
    for (; options && options->name; options++)
        if (strlen(options->name) == len && strncmp(options->name, name, len) == 0)
            return options;
    return NULL;
}

static const struct cli_option *find_option(const struct line *line, const char *word)
{
    const size_t len = strcspn(word + 2, "=");
    const struct cli_option *option = find_in(cli_global_options, word + 2, len);

    return option || !line->cli.command ? option : find_in(line->cli.command->options, word + 2, len);
}

static void take_command_word(struct line *line, const char *word)
{
    char name[64];

    snprintf(name, sizeof name, "%s%s%s", line->head, *line->head ? " " : "", word);
    for (const struct cli_command *command = cli_commands; command->name; command++)
        if (strcmp(command->name, name) == 0)
            line->cli.command = command;
    snprintf(line->head, sizeof line->head, "%s", line->cli.command ? "" : word);
}

static void take_value(struct line *line, const char *value)
{
    if (strcmp(line->option->name, "socket") == 0)
        cli_socket_find(&line->cli, value);
    line->option = NULL;
}

static void take_word(struct line *line, const char *word)
{
    const char *value = strchr(word, '=');

    if (strcmp(word, "=") == 0) /* bash makes a word of it */
        return;
    if (line->option) {
        take_value(line, word);
    } else if (strcmp(word, "--") == 0) {
        line->is_behind = line->cli.command && line->cli.command->takes_command;
    } else if (strncmp(word, "--", 2) == 0) {
        line->option = find_option(line, word);
        if (line->option && !line->option->argument)
            line->option = NULL;
        if (line->option && value)
            take_value(line, value + 1);
    } else if (!line->cli.command) {
        take_command_word(line, word);
    } else {
        if (line->n_arguments < CLI_ARGUMENTS_MAX)
            line->cli.arguments[line->n_arguments] = word;
        line->n_arguments++;
    }
}

/* ---- answering ---- */

/* The names in the list 'key' of what the API answers at 'path'. */
static void print_names(const struct line *line, const char *path, const char *key, const char *begun,
                        const char *before)
{
    struct cli_answer answer;
    size_t i;
    json_t *one;

    if (!freopen("/dev/null", "w", stderr) || cli_request(&line->cli, "GET", path, NULL, &answer) != CLI_OK)
        return;
    json_array_foreach(json_object_get(answer.json, key), i, one)
    {
        const char *name = json_string_value(json_object_get(one, "name"));
        const char *sort = json_string_value(json_object_get(one, key[0] == 'n' ? "mode" : "state"));
        if (name)
            print_candidate(begun, before, name, sort ? sort : "");
    }
    cli_answer_free(&answer);
}

/* Of the network that is this command's first argument. */
static void print_ports(const struct line *line, const char *begun, const char *before)
{
    char path[CLI_PATH_SIZE];

    if (line->n_arguments > 0 && cli_path(path, sizeof path, line->cli.arguments[0], NULL, "/ports"))
        print_names(line, path, "ports", begun, before);
}

static void print_values(const struct line *line, const struct cli_option *option, const char *begun,
                         const char *before)
{
    char words[64], *rest = NULL;

    for (size_t i = 0; i < sizeof choices / sizeof choices[0]; i++) {
        if (strcmp(choices[i].option, option->name) != 0)
            continue;
        snprintf(words, sizeof words, "%s", choices[i].words);
        for (char *word = strtok_r(words, " ", &rest); word; word = strtok_r(NULL, " ", &rest))
            print_candidate(begun, before, word, "");
    }
    if (strcmp(option->name, "restart-network") == 0)
        print_names(line, "/networks", "networks", begun, before);
    if (strcmp(option->name, "interface") == 0)
        print_names(line, "/interfaces", "interfaces", begun, before);
    if (strcmp(option->name, "port") == 0)
        print_ports(line, begun, before);
    if (strcmp(option->argument, "PATH") == 0 || strcmp(option->argument, "FILE") == 0)
        puts(":files");
}

static void print_options(const struct cli_option *options, const char *begun)
{
    for (; options && options->name; options++)
        print_candidate(begun, "--", options->name, options->sentence);
}

static void print_option(const struct line *line, const char *begun)
{
    const char *value = strchr(begun, '=');
    const struct cli_option *option = value ? find_option(line, begun) : NULL;
    char before[64];

    if (option && option->argument) {
        snprintf(before, sizeof before, "--%s=", option->name);
        print_values(line, option, value + 1, before);
        return;
    }
    if (line->cli.command)
        print_options(line->cli.command->options, begun + 2);
    print_options(cli_global_options, begun + 2);
}

static void print_commands(const struct line *line, const char *begun)
{
    const size_t len = strlen(line->head);
    char last[32] = "";

    for (const struct cli_command *command = cli_commands; command->name; command++) {
        const char *name = command->name, *second = strchr(name, ' ');
        char first[32];
        snprintf(first, sizeof first, "%.*s", (int)strcspn(name, " "), name);
        if (len > 0 && strcmp(first, line->head) == 0 && second)
            print_candidate(begun, "", second + 1, command->sentence);
        else if (len == 0 && strcmp(first, last) != 0) /* "port add" and "port set" are one first word */
            print_candidate(begun, "", first, second ? "named ports" : command->sentence);
        memcpy(last, first, sizeof last);
    }
}

static void print_arguments(const struct line *line, const char *begun)
{
    const struct cli_command *command = line->cli.command;
    const bool is_new = strcmp(command->name, "create") == 0;

    if (line->n_arguments == 0 && command->n_arguments > 0 && !is_new)
        print_names(line, "/networks", "networks", begun, "");
    else if (line->n_arguments == 1 && command->n_arguments > 1)
        print_ports(line, begun, "");
    else if (line->n_arguments == command->n_arguments && command->takes_command)
        print_candidate(begun, "", "--", "the command follows");
}

int cli_complete(const struct cli *cli)
{
    struct line line = {.cli = {.command = NULL}};
    char *const *word = cli->run;

    snprintf(line.cli.socket, sizeof line.cli.socket, "%s", cli->socket);
    for (; word[1] && !line.is_behind; word++)
        take_word(&line, *word);
    const char *begun = strcmp(*word, "=") == 0 && line.option ? "" : *word;
    if (line.is_behind)
        puts(":command");
    else if (line.option)
        print_values(&line, line.option, begun, "");
    else if (begun[0] == '-')
        print_option(&line, begun[1] == '-' ? begun : "--");
    else if (!line.cli.command)
        print_commands(&line, begun);
    else
        print_arguments(&line, begun);
    return CLI_OK;
}
