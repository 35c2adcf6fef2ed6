/* SPDX-License-Identifier: Apache-2.0 */
/* agentcore attach: meters a process that runs already, and what it starts, as an agent. */
#include <string.h>

#include "apps/cli/agent_options.h"
#include "base/io.h"

struct attach_options {
    struct agent_options agent;
    uint64_t pid;
};

#define ATTACH(field) offsetof(struct attach_options, field)

static const struct opt attach_table[] = {
    {"pid", 0, OPT_COUNT, "PID", "the process (required)", ATTACH(pid), 1, 4194304},
    AGENT_OPTION_ID(ATTACH(agent)),
    AGENT_OPTION_ENTRIES(ATTACH(agent)),
    AGENT_OPTION_LABEL(ATTACH(agent)),
    {NULL},
};

/* Its command line, for people; what cannot be read, or is on another machine, stays unknown. */
static void describe(struct agent_spec *spec, uint64_t pid, bool here)
{
    char path[64], text[AGENT_COMMAND_MAX + 1], name[32] = "";
    snprintf(path, sizeof(path), "/proc/%llu/cmdline", (unsigned long long)pid);
    ssize_t n = here ? io_read_file(AT_FDCWD, path, text, sizeof(text)) : 0;
    while (n > 0 && text[n - 1] == 0)
        n--;
    for (ssize_t i = 0; i < n; i++)
        text[i] = text[i] ? text[i] : ' ';
    snprintf(path, sizeof(path), "/proc/%llu/comm", (unsigned long long)pid);
    if (here && io_read_file(AT_FDCWD, path, name, sizeof(name)) > 0)
        name[strcspn(name, "\n")] = 0;
    if (n > 0)
        agent_spec_set_command(spec, (char *const[]){text, NULL});
    else if (name[0])
        agent_spec_set_command(spec, (char *const[]){name, NULL});
    if (spec->id[0] == 0)
        agent_spec_make_id(spec, name, (int)pid);
}

static int attach_run(struct cli *cli, void *data, char **operands, int n_operands)
{
    const struct attach_options *options = data;
    struct agent_spec spec;
    struct buf path CLEANUP(buf_done) = {0};
    json_t *answer cleanup_json = NULL;
    (void)operands;
    (void)n_operands;
    if (options->pid == 0)
        return cli_usage(cli, "--pid PID is required");
    int code = agent_options_spec(cli, &options->agent, &spec);
    if (code != 0)
        return code;
    describe(&spec, options->pid, !cli->common.url);
    spec.root_pid = (int32_t)options->pid;
    json_t *body cleanup_json = agent_spec_body(&spec);
    buf_append_str(&path, "/v1/agents");
    client_path_add(&path, spec.id);
    if (path.failed || !body)
        return cli_fail(cli, EXIT_FAILED, "out of memory");
    code = cli_call(cli, "PUT", path.data, body, &answer);
    if (code != 0)
        return code;
    if (cli->common.json)
        return cli_print_json(cli, answer, false);
    printf("%s: pid %llu is metered\n", spec.id, (unsigned long long)options->pid);
    return 0;
}

const struct command cmd_attach = {
    .name = "attach",
    .summary = "Meter a running process and what it starts as an agent",
    .details =
        "The process must be your own, unless you are root or in the daemon's group. Its number\n"
        "is the daemon's: from a container with processes of its own nothing can be attached, and\n"
        "with --url it is a number of the daemon's machine.",
    .options = attach_table,
    .options_size = sizeof(struct attach_options),
    .run = attach_run,
};
