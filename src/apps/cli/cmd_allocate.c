/* SPDX-License-Identifier: Apache-2.0 */
/* agentcore allocate: reserves what an agent will probably need. */
#include <math.h>
#include <string.h>

#include "apps/cli/agent_options.h"

#define POLICY_WORDS "recommend|strict|queue"

struct allocate_options {
    struct agent_options agent;
    const char *policy;
    bool list;
    const char *release;
};

#define ALLOCATE(field) offsetof(struct allocate_options, field)

static const struct opt allocate_table[] = {
    AGENT_OPTION_ID(ALLOCATE(agent)),
    AGENT_OPTION_ENTRIES(ALLOCATE(agent)),
    {"policy", 0, OPT_TEXT, POLICY_WORDS, "what to do when it does not fit [the daemon's]",
        ALLOCATE(policy), 0, 0},
    {"list", 0, OPT_FLAG, NULL, "list what is allocated instead (of --id only)", ALLOCATE(list), 0,
        0},
    {"release", 0, OPT_TEXT, "ID", "give back an allocation, by its id or the agent's",
        ALLOCATE(release), 0, 0},
    {NULL},
};

static const char *cpu_text(char out[TEXT_SHORT], double percent)
{
    char number[TEXT_SHORT - 4];
    if (!isfinite(percent))
        return text_percent(out, percent);
    snprintf(number, sizeof(number), "%.1f", percent);
    snprintf(out, TEXT_SHORT, "%s%%", number);
    return out;
}

static void print_allocation(const struct cli *cli, const json_t *allocation)
{
    char a[TEXT_SHORT], b[TEXT_SHORT], line[3 * TEXT_SHORT];
    const char *status = field_text(allocation, "status");
    bool refused = status && strcmp(status, "refused") == 0;
    bool queued = status && strcmp(status, "queued") == 0;
    cli_print_pair(cli, "Agent", field_text(allocation, "agent_id"), STYLE_BOLD);
    cli_print_pair(cli, "Allocation", field_text(allocation, "id"), STYLE_NONE);
    cli_print_pair(cli, "Status", status,
        refused  ? STYLE_BAD
        : queued ? STYLE_WARNING
                 : STYLE_GOOD);
    if (queued)
        cli_print_pair(cli, "Place in queue",
            text_count(a, field_number(allocation, "queue_position")), STYLE_NONE);
    cli_print_pair(cli, "CPU", cpu_text(a, field_number(allocation, "cpu_percent")), STYLE_NONE);
    cli_print_pair(
        cli, "Memory", text_size_long(a, field_number(allocation, "memory_mb")), STYLE_NONE);
    cli_print_pair(cli, "Time",
        text_duration(a, field_number(allocation, "execution_time_seconds")), STYLE_NONE);
    snprintf(line, sizeof(line), "%s CPU, %s memory",
        cpu_text(a, field_number(allocation, "available_cpu_percent")),
        text_size_long(b, field_number(allocation, "available_memory_mb")));
    cli_print_pair(cli, "Available before", line, STYLE_NONE);
    snprintf(line, sizeof(line), "%.2f", field_number(allocation, "confidence"));
    cli_print_pair(cli, "Confidence", line, STYLE_NONE);
    cli_print_pair(cli, "Expires", text_time(a, field_time(allocation, "expires")), STYLE_NONE);
    cli_print_pair(cli, "Why", field_text(allocation, "explanation"), STYLE_NONE);
}

static int print_answer(const struct cli *cli, const json_t *answer)
{
    if (cli->common.json)
        return cli_print_json(cli, answer, false);
    print_allocation(cli, answer);
    return 0;
}

/* 409 is two things: an allocation that was refused, or a problem. */
static int request(struct cli *cli, const json_t *body)
{
    struct ac_error error = {0};
    json_t *answer cleanup_json = NULL;
    long status = 0;
    int code = cli_connect(cli);
    if (code != 0)
        return code;
    int r = client_call(cli->client, "POST", "/v1/allocations", body, &status, &answer, &error);
    if (r < 0)
        return cli_fail(cli, cli_status_of(r), "%s", error.message);
    bool refused = status == 409 && field_text(answer, "explanation");
    if (!refused && client_check(status, answer, &error) < 0)
        return cli_fail(cli, cli_status_of_http(status), "%s", error.message);
    code = print_answer(cli, answer);
    return refused && code == 0 ? EXIT_REFUSED : code;
}

static const struct table_column columns[] = {
    {"AGENT", false, 8, 0},
    {"STATUS", false, 0, 0},
    {"CPU%", true, 0, 0},
    {"MEM", true, 0, 0},
    {"TIME", true, 0, 3},
    {"POLICY", false, 0, 4},
    {"EXPIRES", true, 0, 2},
    {"ID", false, 0, 5},
    {"WHY", false, 16, 1},
};

static void add_row(struct table *table, const json_t *allocation)
{
    char text[TEXT_SHORT];
    table_row(table);
    table_cell(table, field_text(allocation, "agent_id"), STYLE_BOLD);
    table_cell(table, field_text(allocation, "status"), STYLE_NONE);
    table_cell(table, text_percent(text, field_number(allocation, "cpu_percent")), STYLE_NONE);
    table_cell(table, text_size(text, field_number(allocation, "memory_mb")), STYLE_NONE);
    table_cell(
        table, text_duration(text, field_number(allocation, "execution_time_seconds")), STYLE_NONE);
    table_cell(table, field_text(allocation, "policy"), STYLE_NONE);
    table_cell(table, text_time(text, field_time(allocation, "expires")), STYLE_NONE);
    table_cell(table, field_text(allocation, "id"), STYLE_NONE);
    table_cell(table, field_text(allocation, "explanation"), STYLE_NONE);
}

static int list_all(struct cli *cli)
{
    json_t *answer cleanup_json = NULL;
    struct table *table CLEANUP(table_freep) = NULL;
    int code = cli_call(cli, "GET", "/v1/allocations", NULL, &answer);
    if (code != 0)
        return code;
    if (cli->common.json)
        return cli_print_json(cli, answer, false);
    const json_t *array = field_get(answer, "allocations");
    if (table_new(columns, ARRAY_SIZE(columns), &table) < 0)
        return cli_fail(cli, EXIT_FAILED, "out of memory");
    for (size_t i = 0; i < json_array_size(array); i++)
        add_row(table, json_array_get(array, i));
    return cli_print_table(cli, table);
}

static int print_released(const struct cli *cli, const char *id)
{
    if (!cli->common.json)
        return 0;
    json_t *answer cleanup_json = json_pack("{s:s, s:b}", "id", id, "released", 1);
    return cli_print_json(cli, answer, false);
}

static int one(struct cli *cli, const char *method, const char *id)
{
    struct buf path CLEANUP(buf_done) = {0};
    json_t *answer cleanup_json = NULL;
    bool get = strcmp(method, "GET") == 0;
    int code = cli_check_id(cli, id);
    buf_append_str(&path, "/v1/allocations");
    client_path_add(&path, id);
    if (path.failed)
        return cli_fail(cli, EXIT_FAILED, "out of memory");
    if (code == 0)
        code = cli_call(cli, method, path.data, NULL, get ? &answer : NULL);
    if (code != 0)
        return code;
    return get ? print_answer(cli, answer) : print_released(cli, id);
}

static int allocate_run(struct cli *cli, void *data, char **operands, int n_operands)
{
    const struct allocate_options *options = data;
    struct agent_spec spec;
    unsigned place;
    (void)operands;
    (void)n_operands;
    if (options->release)
        return one(cli, "DELETE", options->release);
    if (options->list)
        return options->agent.id ? one(cli, "GET", options->agent.id) : list_all(cli);
    if (!options->agent.id)
        return cli_usage(cli, "--id ID is required");
    if (options->policy && opt_choice(POLICY_WORDS, options->policy, &place) < 0)
        return cli_usage(cli, "--policy: '%.60s' is not one of %s", options->policy, POLICY_WORDS);
    int code = agent_options_spec(cli, &options->agent, &spec);
    if (code != 0)
        return code;
    json_t *body cleanup_json = agent_spec_body(&spec);
    json_object_set_new(body, "agent_id", json_string(spec.id));
    if (options->policy)
        json_object_set_new(body, "policy", json_string(options->policy));
    return request(cli, body);
}

const struct command cmd_allocate = {
    .name = "allocate",
    .summary = "Predict what an agent needs and reserve it",
    .details = "The answer is at most what is predicted, what may be given away now, and the\n"
               "agent's own limits. Exit status 5 where --policy strict refuses.",
    .options = allocate_table,
    .options_size = sizeof(struct allocate_options),
    .run = allocate_run,
};
