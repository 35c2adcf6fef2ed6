/* SPDX-License-Identifier: Apache-2.0 */
/* agentcore ps: the agents and what they use now. */
#include <string.h>

#include "apps/cli/agent_list.h"
#include "apps/cli/agent_options.h"

struct ps_options {
    const char *state;
    const char *philosophy;
    struct opt_list labels;
    unsigned sort; /* enum agent_sort */
    bool reverse;
    bool wide;
};

#define PS(field) offsetof(struct ps_options, field)

static const struct opt ps_table[] = {
    {"state", 0, OPT_TEXT, AGENT_STATE_WORDS, "only agents in this state", PS(state), 0, 0},
    {"philosophy", 'p', OPT_TEXT, PHILOSOPHY_WORDS, "only agents of this philosophy",
        PS(philosophy), 0, 0},
    {"label", 'l', OPT_LIST, "KEY[=VALUE]", "only agents with this label (up to 8; all must fit)",
        PS(labels), 0, 0},
    {"sort", 's', OPT_CHOICE, AGENT_SORT_WORDS, "order [id]; numbers from the largest", PS(sort), 0,
        0},
    {"reverse", 'r', OPT_FLAG, NULL, "turn the order round", PS(reverse), 0, 0},
    {"wide", 'w', OPT_FLAG, NULL, "more columns, nothing cut", PS(wide), 0, 0},
    {NULL},
};

static int print_list_json(struct cli *cli, const struct agent_list *list)
{
    json_t *out cleanup_json = json_object();
    json_t *array = json_array();
    for (size_t i = 0; i < list->n_agents; i++)
        json_array_append(array, (json_t *)list->agents[i]);
    json_object_set_new(out, "agents", array);
    return cli_print_json(cli, out, false);
}

static int print_list(struct cli *cli, const struct agent_list *list, bool wide)
{
    struct table *table CLEANUP(table_freep) = NULL;
    if (cli->common.json)
        return print_list_json(cli, list);
    if (agent_list_table(list, wide, &table) < 0)
        return cli_fail(cli, EXIT_FAILED, "out of memory");
    if (wide)
        cli->width = 0;
    return cli_print_table(cli, table);
}

static int check_filter(const struct cli *cli, const struct ps_options *options)
{
    unsigned place;
    if (options->state && opt_choice(AGENT_STATE_WORDS, options->state, &place) < 0)
        return cli_usage(
            cli, "--state: '%.60s' is not one of %s", options->state, AGENT_STATE_WORDS);
    if (options->philosophy) {
        int code = cli_check_philosophy(cli, options->philosophy);
        if (code != 0)
            return code;
    }
    return 0;
}

static int ps_run(struct cli *cli, void *data, char **operands, int n_operands)
{
    const struct ps_options *options = data;
    struct agent_filter filter = {options->state, options->philosophy, &options->labels, NULL};
    struct agent_list list CLEANUP(agent_list_done) = {0};
    struct buf path CLEANUP(buf_done) = {0};
    json_t *answer = NULL;
    (void)operands;
    (void)n_operands;
    int code = check_filter(cli, options);
    if (code != 0)
        return code;
    agent_list_path(&filter, &path);
    if (path.failed)
        return cli_fail(cli, EXIT_FAILED, "out of memory");
    code = cli_call(cli, "GET", path.data, NULL, &answer);
    if (code != 0)
        return code;
    if (agent_list_make(answer, &filter, (enum agent_sort)options->sort, options->reverse, &list) <
        0)
        return cli_fail(cli, EXIT_FAILED, "out of memory");
    return print_list(cli, &list, options->wide);
}

const struct command cmd_ps = {
    .name = "ps",
    .summary = "List agents and what they use now",
    .details = "CPU% is of the machine's capacity; MEM is resident memory; DISK and NET are bytes\n"
               "per second. '-' is unknown, never zero. Agents that ended are listed for a while.",
    .options = ps_table,
    .options_size = sizeof(struct ps_options),
    .run = ps_run,
};
