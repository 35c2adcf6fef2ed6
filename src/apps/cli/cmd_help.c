/* SPDX-License-Identifier: Apache-2.0 */
/* agentcore help, agentcore version. `help --json` describes every command and option, for tools
 * and for the tests that keep manual and completions complete. */
#include <agentcore.h>

#include "apps/cli/cli.h"

static json_t *describe_options(const struct opt *table)
{
    static const char *const kinds[] = {
        "flag", "text", "count", "real", "bytes", "duration", "choice", "list"};
    json_t *array = json_array();
    for (const struct opt *o = table; o && o->name; o++) {
        json_t *option = json_object();
        char letter[2] = {o->letter, 0};
        json_object_set_new(option, "name", json_string(o->name));
        json_object_set_new(option, "letter", o->letter ? json_string(letter) : json_null());
        json_object_set_new(option, "kind", json_string(kinds[o->kind]));
        json_object_set_new(
            option, "argument", o->argument ? json_string(o->argument) : json_null());
        json_object_set_new(option, "help", json_string(o->help));
        json_array_append_new(array, option);
    }
    return array;
}

static int describe_all(const struct cli *cli)
{
    json_t *out cleanup_json = json_object();
    json_t *commands = json_array();
    for (const struct command *const *c = cli_commands; *c; c++) {
        json_t *command = json_object();
        json_object_set_new(command, "name", json_string((*c)->name));
        json_object_set_new(
            command, "operands", (*c)->operands ? json_string((*c)->operands) : json_null());
        json_object_set_new(command, "summary", json_string((*c)->summary));
        json_object_set_new(command, "options", describe_options((*c)->options));
        json_array_append_new(commands, command);
    }
    json_object_set_new(out, "commands", commands);
    json_object_set_new(out, "options", describe_options(cli_common_options));
    return cli_print_json(cli, out, false);
}

static int help_run(struct cli *cli, void *data, char **operands, int n_operands)
{
    (void)data;
    if (cli->common.json)
        return describe_all(cli);
    if (n_operands == 0) {
        cli_print_overview(stdout);
        return 0;
    }
    const struct command *command = cli_command(operands[0]);
    if (!command)
        return cli_usage(cli, "unknown command '%.60s'", operands[0]);
    cli_print_usage(command, stdout);
    return 0;
}

const struct command cmd_help = {
    .name = "help",
    .operands = "[COMMAND]",
    .summary = "Explain the commands, or one of them",
    .most_operands = 1,
    .run = help_run,
};

static int version_run(struct cli *cli, void *data, char **operands, int n_operands)
{
    (void)data;
    (void)operands;
    (void)n_operands;
    if (cli->common.json) {
        json_t *out cleanup_json = json_pack("{s:s}", "version", ac_version());
        return cli_print_json(cli, out, false);
    }
    printf("agentcore %s\n", ac_version());
    return 0;
}

const struct command cmd_version = {
    .name = "version",
    .summary = "Print the version",
    .run = version_run,
};
