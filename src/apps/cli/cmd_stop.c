/* SPDX-License-Identifier: Apache-2.0 */
/* agentcore stop: ends an agent, or forgets it. */
#include <signal.h>
#include <string.h>

#include "apps/cli/cli.h"
#include "base/clock.h"
#include "base/parse.h"

struct stop_options {
    const char *signal;
    uint64_t grace_ns;
    bool forget;
};

#define STOP(field) offsetof(struct stop_options, field)

static const struct stop_options stop_defaults = {.grace_ns = 10 * NS_PER_SEC};

static const struct opt stop_table[] = {
    {"signal", 's', OPT_TEXT, "NAME", "TERM, INT, HUP, QUIT, KILL, USR1 or USR2 first [TERM]",
        STOP(signal), 0, 0},
    {"grace", 'g', OPT_DURATION, "DURATION", "what is left after this time gets KILL [10s]",
        STOP(grace_ns), 0, 3600},
    {"forget", 0, OPT_FLAG, NULL, "only forget the agent; its processes live on", STOP(forget), 0,
        0},
    {NULL},
};

/* "TERM", "SIGTERM" or "15" as the API has it: "TERM". NULL for one that it does not send. */
static const char *signal_name(const char *text)
{
    static const int signals[] = {SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGKILL, SIGUSR1, SIGUSR2};
    const char *bare = strncmp(text, "SIG", 3) == 0 ? text + 3 : text;
    uint64_t number = 0;
    (void)parse_u64(text, strlen(text), &number);
    for (size_t i = 0; i < ARRAY_SIZE(signals); i++) {
        const char *name = sigabbrev_np(signals[i]);
        if (number == (uint64_t)signals[i] || strcmp(name, bare) == 0)
            return name;
    }
    return NULL;
}

static int stop_one(
    struct cli *cli, const char *id, const json_t *body, bool forget, json_t **ret_answer)
{
    struct buf path CLEANUP(buf_done) = {0};
    int code = cli_check_id(cli, id);
    if (code != 0)
        return code;
    buf_append_str(&path, "/v1/agents");
    client_path_add(&path, id);
    if (!forget)
        client_path_add(&path, "stop");
    if (path.failed)
        return cli_fail(cli, EXIT_FAILED, "out of memory");
    if (forget)
        return cli_call(cli, "DELETE", path.data, NULL, NULL);
    return cli_call(cli, "POST", path.data, body, ret_answer);
}

static int print_stopped(
    const struct cli *cli, const char *id, const char *name, const json_t *answer)
{
    char count[TEXT_SHORT];
    double n = field_number(answer, "signalled");
    if (cli->common.json) {
        json_t *out cleanup_json = json_object();
        json_object_set_new(out, "id", json_string(id));
        json_object_update(out, (json_t *)answer);
        return cli_print_json(cli, out, true);
    }
    if (answer)
        printf("%s: %s sent to %s process%s\n", id, name, text_count(count, n), n == 1 ? "" : "es");
    else
        printf("%s: forgotten\n", id);
    return 0;
}

static int stop_run(struct cli *cli, void *data, char **operands, int n_operands)
{
    const struct stop_options *options = data;
    const char *name = signal_name(options->signal ? options->signal : "TERM");
    int result = 0;
    if (!name)
        return cli_usage(cli,
            "--signal: '%.60s' is not one of TERM, INT, HUP, QUIT, KILL, USR1, USR2",
            options->signal);
    json_t *body cleanup_json = json_object();
    json_object_set_new(body, "signal", json_string(name));
    json_object_set_new(
        body, "grace_seconds", json_real((double)options->grace_ns / (double)NS_PER_SEC));
    for (int i = 0; i < n_operands; i++) {
        json_t *answer cleanup_json = NULL;
        int code = stop_one(cli, operands[i], body, options->forget, &answer);
        if (code == 0)
            code = print_stopped(cli, operands[i], name, answer);
        result = result ? result : code;
    }
    return result;
}

const struct command cmd_stop = {
    .name = "stop",
    .operands = "ID...",
    .summary = "Signal all processes of an agent, and kill what is left",
    .options = stop_table,
    .options_size = sizeof(struct stop_options),
    .defaults = &stop_defaults,
    .least_operands = 1,
    .most_operands = -1,
    .run = stop_run,
};
