/* SPDX-License-Identifier: Apache-2.0 */
/* agentcore: finds the subcommand, reads its options, runs it. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <agentcore.h>

#include "apps/cli/cli.h"

#define MAX_COMMANDS 32
#define WRAP         88

const struct command *const cli_commands[] = {&cmd_run, &cmd_attach, &cmd_ps, &cmd_show, &cmd_top,
    &cmd_status, &cmd_alerts, &cmd_ack, &cmd_watch, &cmd_history, &cmd_usage, &cmd_allocate,
    &cmd_scale, &cmd_predict, &cmd_stop, &cmd_doctor, &cmd_discover, &cmd_record, &cmd_replay,
    &cmd_help, &cmd_version, NULL};

#define COMMON(field) offsetof(struct cli_common, field)

const struct opt cli_common_options[] = {
    {"socket", 0, OPT_TEXT, "PATH", "the daemon's socket", COMMON(socket), 0, 0},
    {"url", 0, OPT_TEXT, "URL", "talk to a daemon over TCP instead", COMMON(url), 0, 0},
    {"token-file", 0, OPT_TEXT, "FILE", "bearer token for --url", COMMON(token_file), 0, 0},
    {"ca-file", 0, OPT_TEXT, "FILE", "certificates to trust with https", COMMON(ca_file), 0, 0},
    {"json", 0, OPT_FLAG, NULL, "print JSON (one object a line for streams)", COMMON(json), 0, 0},
    {"color", 0, OPT_CHOICE, "auto|always|never", "when to colour [auto: on terminals]",
        COMMON(colour), 0, 0},
    {"help", 'h', OPT_FLAG, NULL, "print this help", COMMON(help), 0, 0},
    {NULL},
};

const struct command *cli_command(const char *name)
{
    for (const struct command *const *c = cli_commands; *c; c++) {
        if (strcmp((*c)->name, name) == 0)
            return *c;
    }
    return NULL;
}

/* Paragraphs (separated by an empty line) in lines of at most WRAP columns. */
static void print_wrapped(const char *text, FILE *out)
{
    size_t column = 0;
    while (*text) {
        size_t n = strcspn(text, " \n");
        if (column > 0 && column + 1 + n > WRAP) {
            fputc('\n', out);
            column = 0;
        }
        column += (size_t)fprintf(out, "%s%.*s", column > 0 ? " " : "", (int)n, text);
        text += n;
        if (text[0] == '\n' && text[1] == '\n') {
            fputs("\n\n", out);
            column = 0;
        }
        text += strspn(text, " \n");
    }
    fputc('\n', out);
}

void cli_print_usage(const struct command *command, FILE *out)
{
    const struct opt_group own = {"Options", command->options, NULL};
    const struct opt_group common = {"Common options", cli_common_options, NULL};
    fprintf(out, "Usage: agentcore %s [OPTION]...%s%s\n\n%s.\n", command->name,
        command->operands ? " " : "", command->operands ? command->operands : "", command->summary);
    if (command->details) {
        fputc('\n', out);
        print_wrapped(command->details, out);
    }
    if (command->options)
        opt_print_help(&own, out);
    opt_print_help(&common, out);
}

void cli_print_overview(FILE *out)
{
    const struct opt_group common = {"Common options", cli_common_options, NULL};
    fputs("Usage: agentcore [OPTION]... COMMAND [ARGUMENT]...\n\n"
          "Meters, limits and looks after the AI agents of this machine.\n\nCommands:\n",
        out);
    for (const struct command *const *c = cli_commands; *c; c++)
        fprintf(out, "  %-12s%s\n", (*c)->name, (*c)->summary);
    opt_print_help(&common, out);
    fputs("\nExit status: 0 done, 1 failed, 2 wrong usage, 3 no daemon answers, 4 not found,\n"
          "5 refused; 'run' passes on the command's own.\n"
          "'agentcore COMMAND --help' tells more about one command.\n",
        out);
}

static void choose_colours(struct cli *cli)
{
    const char *no_color = getenv("NO_COLOR"), *term = getenv("TERM");
    bool plain = (no_color && *no_color) || !term || strcmp(term, "dumb") == 0;
    bool always = cli->common.colour == COLOUR_ALWAYS;
    bool may = cli->common.colour == COLOUR_AUTO && !plain;
    cli->colour = always || (may && isatty(STDOUT_FILENO));
    cli->colour_errors = always || (may && isatty(STDERR_FILENO));
    cli->width = cli_terminal_width();
}

static int check_operands(const struct cli *cli, char **operands, int n)
{
    const struct command *command = cli->command;
    if (n < command->least_operands)
        return cli_usage(cli, "missing operand: agentcore %s %s", command->name, command->operands);
    if (command->most_operands >= 0 && n > command->most_operands)
        return cli_usage(cli, "unexpected operand '%.100s'", operands[command->most_operands]);
    return 0;
}

static int run_command(struct cli *cli, int argc, char **argv)
{
    const struct command *command = cli->command;
    void *options cleanup_free = mem_alloc(command->options_size);
    struct ac_error error = {0};
    int n_operands = 0;
    if (!options)
        return cli_fail(cli, EXIT_FAILED, "out of memory");
    if (command->defaults)
        memcpy(options, command->defaults, command->options_size);
    const struct opt_group groups[] = {
        {NULL, command->options, options}, {NULL, cli_common_options, &cli->common}};
    int r = opt_parse(
        groups, ARRAY_SIZE(groups), argc, argv, command->stops_at_operand, &n_operands, &error);
    if (r < 0)
        return cli_usage(cli, "%s", error.message);
    if (cli->common.help) {
        cli_print_usage(command, stdout);
        return 0;
    }
    if (cli->common.json && command->no_json)
        return cli_usage(cli, "this command has no JSON form");
    int code = check_operands(cli, argv, n_operands);
    if (code != 0)
        return code;
    choose_colours(cli);
    return command->run(cli, options, argv, n_operands);
}

static int unknown_command(struct cli *cli, const char *name)
{
    const char *names[MAX_COMMANDS + 1] = {0};
    for (size_t i = 0; cli_commands[i] && i < MAX_COMMANDS; i++)
        names[i] = cli_commands[i]->name;
    const char *closest = opt_closest(name, names);
    if (closest)
        return cli_usage(cli, "unknown command '%.60s' (did you mean %s?)", name, closest);
    return cli_usage(cli, "unknown command '%.60s'", name);
}

/* Common options may stand in front of the command. */
static int dispatch(struct cli *cli, int argc, char **argv)
{
    static const struct opt version_option[] = {
        {"version", 'V', OPT_FLAG, NULL, NULL, 0, 0, 0}, {NULL}};
    bool version = false;
    struct ac_error error = {0};
    int n = 0;
    const struct opt_group groups[] = {
        {NULL, cli_common_options, &cli->common}, {NULL, version_option, &version}};
    int r = opt_parse(groups, ARRAY_SIZE(groups), argc, argv, true, &n, &error);
    if (r < 0)
        return cli_usage(cli, "%s", error.message);
    if (version)
        cli->command = &cmd_version;
    else if (n == 0 && cli->common.help)
        cli->command = &cmd_help;
    else if (n == 0)
        return cli_usage(cli, "which command?");
    else
        cli->command = cli_command(argv[0]);
    if (!cli->command)
        return unknown_command(cli, argv[0]);
    if (n == 0)
        cli->common.help = false;
    return run_command(cli, n > 0 ? n - 1 : 0, n > 0 ? argv + 1 : argv);
}

int main(int argc, char **argv)
{
    struct cli cli = {0};
    text_init();
    int status = dispatch(&cli, argc - 1, argv + 1);
    client_free(cli.client);
    errno = 0;
    if ((fflush(stdout) != 0 || ferror(stdout)) && status == 0)
        status = cli_fail(&cli, EXIT_FAILED, "cannot write: %s", strerror(errno));
    return status;
}
