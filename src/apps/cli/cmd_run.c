/* SPDX-License-Identifier: Apache-2.0 */
/* agentcore run: starts a command as an agent. */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "apps/cli/agent_options.h"
#include "apps/cli/run_standalone.h"

struct run_options {
    struct agent_options agent;
    bool standalone;
    bool kill_orphans;
    bool quiet;
};

#define RUN(field) offsetof(struct run_options, field)

static const struct opt run_table[] = {
    AGENT_OPTION_ID(RUN(agent)),
    AGENT_OPTION_ENTRIES(RUN(agent)),
    AGENT_OPTION_LABEL(RUN(agent)),
    {"standalone", 0, OPT_FLAG, NULL, "meter it here, even where a daemon runs", RUN(standalone), 0,
        0},
    {"kill-orphans", 0, OPT_FLAG, NULL, "standalone: end processes that the command leaves behind",
        RUN(kill_orphans), 0, 0},
    {"quiet", 'q', OPT_FLAG, NULL, "standalone: no summary at the end", RUN(quiet), 0, 0},
    {NULL},
};

/* Says on standard error, for scripts, which agent the command has become. */
static void print_agent(const struct cli *cli, const json_t *agent)
{
    if (!cli->common.json)
        return;
    char *text = json_dumps(agent,
        JSON_COMPACT | JSON_REAL_PRECISION(15) | (isatty(STDERR_FILENO) ? JSON_ENSURE_ASCII : 0));
    if (text)
        fprintf(stderr, "%s\n", text);
    free(text);
}

static void forget_agent(struct cli *cli, const char *id)
{
    struct buf path CLEANUP(buf_done) = {0};
    struct ac_error error;
    buf_append_str(&path, "/v1/agents");
    client_path_add(&path, id);
    if (!path.failed && cli_connect(cli) == 0)
        client_call(cli->client, "DELETE", path.data, NULL, NULL, NULL, &error);
}

/* The daemon knows our pid by now: the command takes it over, with terminal, environment and
 * signals as they are. The connection is closed first: not all of its descriptors are
 * close-on-exec. */
static int become_command(struct cli *cli, const struct agent_spec *spec, char **command)
{
    fflush(NULL);
    client_free(TAKE_PTR(cli->client));
    if (setenv("AGENTCORE_AGENT_ID", spec->id, 1) == 0)
        execvp(command[0], command);
    int code = errno;
    forget_agent(cli, spec->id);
    return cli_fail(cli, code == ENOENT ? EXIT_NO_COMMAND : EXIT_CANNOT_RUN, "%s: %s", command[0],
        strerror(code));
}

/* Announces this process as the agent. Returns 0, -1 where no daemon answers (and none was asked
 * for by name), or an exit status after printing why. */
static int announce(struct cli *cli, const struct agent_spec *spec)
{
    struct ac_error error = {0};
    struct buf path CLEANUP(buf_done) = {0};
    json_t *body cleanup_json = agent_spec_body(spec), *answer cleanup_json = NULL;
    long status = 0;
    json_object_set_new(body, "pid", json_integer(getpid()));
    json_object_set_new(body, "self", json_true());
    int code = cli_connect(cli);
    if (code != 0)
        return code;
    buf_append_str(&path, "/v1/agents");
    client_path_add(&path, spec->id);
    if (path.failed || !body)
        return cli_fail(cli, EXIT_FAILED, "out of memory");
    int r = client_call(cli->client, "PUT", path.data, body, &status, &answer, &error);
    bool absent = r == -ENOENT || r == -ECONNREFUSED;
    if (absent && !cli->common.socket && !cli->common.url)
        return -1;
    if (absent)
        return cli_fail(cli, EXIT_NO_DAEMON, "%s; --standalone runs without", error.message);
    if (r < 0)
        return cli_fail(cli, cli_status_of(r), "%s", error.message);
    if (client_check(status, answer, &error) < 0)
        return cli_fail(cli, cli_status_of_http(status), "%s", error.message);
    print_agent(cli, answer);
    return 0;
}

static int run_run(struct cli *cli, void *data, char **operands, int n_operands)
{
    const struct run_options *options = data;
    struct standalone run = {.kill_orphans = options->kill_orphans, .quiet = options->quiet};
    char **command cleanup_free = mem_alloc_array((size_t)n_operands + 1, sizeof(*command));
    if (!command)
        return cli_fail(cli, EXIT_FAILED, "out of memory");
    memcpy(command, operands, (size_t)n_operands * sizeof(*command));
    int code = agent_options_spec(cli, &options->agent, &run.spec);
    if (code != 0)
        return code;
    if (run.spec.id[0] == 0)
        agent_spec_make_id(&run.spec, command[0], getpid());
    agent_spec_set_command(&run.spec, command);
    run.spec.owner_uid = getuid();
    run.command = command;
    if (!options->standalone) {
        code = announce(cli, &run.spec);
        if (code == 0)
            return become_command(cli, &run.spec, command);
        if (code > 0)
            return code;
    }
    return run_standalone(cli, &run);
}

const struct command cmd_run = {
    .name = "run",
    .operands = "[--] COMMAND [ARGUMENT]...",
    .summary = "Start a command as an agent",
    .details =
        "With a daemon the command takes this process over, so that terminal, environment, exit\n"
        "status and signals are its own. Without one, this process stays, meters everything that\n"
        "the command starts, and prints a summary at the end (--json: one object as the last line\n"
        "of standard error). Limits are watched, not enforced.\n\n"
        "The daemon must run on this machine and be reached through its unix socket; in a\n"
        "container one that is mounted there will do.\n\n"
        "The exit status is the command's, 128+N where signal N ended it, 126 where it cannot be\n"
        "executed, 127 where it does not exist.",
    .options = run_table,
    .options_size = sizeof(struct run_options),
    .least_operands = 1,
    .most_operands = -1,
    .stops_at_operand = true,
    .run = run_run,
};
