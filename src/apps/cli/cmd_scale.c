/* SPDX-License-Identifier: Apache-2.0 */
/* agentcore scale: the pools, and how many agents each should have. */
#include <math.h>
#include <string.h>

#include "apps/cli/cli.h"
#include "base/parse.h"

#define SCALE_MAX 1000000

static const struct table_column columns[] = {
    {"PHILOSOPHY", false, 0, 0},
    {"SCALE", true, 0, 0},
    {"AGENTS", true, 0, 0},
    {"USED%", true, 0, 0},
    {"COOLDOWN", true, 0, 2},
    {"DECISION", false, 0, 3},
    {"REASON", false, 16, 1},
};

static void decision_text(const json_t *pool, char *out, size_t size)
{
    const char *direction = field_text(pool, "decision.direction");
    if (!direction || strcmp(direction, "hold") == 0)
        snprintf(out, size, "%.20s", direction ? direction : "-");
    else
        snprintf(out, size, "%.20s to %.0f", direction, field_number(pool, "decision.to"));
}

static void add_row(struct table *table, const json_t *pool)
{
    char text[TEXT_SHORT];
    double cooldown = field_number(pool, "cooldown_seconds");
    table_row(table);
    table_cell(table, field_text(pool, "philosophy"), STYLE_BOLD);
    table_cell(table, text_count(text, field_number(pool, "scale")), STYLE_NONE);
    table_cell(table, text_count(text, field_number(pool, "agents")), STYLE_NONE);
    table_cell(table, text_percent(text, field_number(pool, "utilization_percent")), STYLE_NONE);
    table_cell(table, cooldown > 0 ? text_duration(text, cooldown) : "-", STYLE_NONE);
    decision_text(pool, text, sizeof(text));
    table_cell(table, text, strncmp(text, "hold", 4) == 0 ? STYLE_NONE : STYLE_WARNING);
    table_cell(table, field_text(pool, "decision.reason"), STYLE_NONE);
}

static int print_pools(const struct cli *cli, const json_t *answer)
{
    struct table *table CLEANUP(table_freep) = NULL;
    const json_t *pools = field_get(answer, "pools");
    if (cli->common.json)
        return cli_print_json(cli, answer, false);
    if (table_new(columns, ARRAY_SIZE(columns), &table) < 0)
        return cli_fail(cli, EXIT_FAILED, "out of memory");
    if (!pools)
        add_row(table, answer);
    for (size_t i = 0; i < json_array_size(pools); i++)
        add_row(table, json_array_get(pools, i));
    return cli_print_table(cli, table);
}

static int scale_run(struct cli *cli, void *data, char **operands, int n_operands)
{
    struct buf path CLEANUP(buf_done) = {0};
    json_t *answer cleanup_json = NULL, *body cleanup_json = NULL;
    uint64_t scale = 0;
    (void)data;
    buf_append_str(&path, "/v1/pools");
    if (n_operands > 0) {
        int code = cli_check_philosophy(cli, operands[0]);
        if (code != 0)
            return code;
        client_path_add(&path, operands[0]);
    }
    if (n_operands > 1) {
        if (parse_u64(operands[1], strlen(operands[1]), &scale) < 0 || scale < 1 ||
            scale > SCALE_MAX)
            return cli_usage(
                cli, "'%.60s' is no number of agents: 1 to %d", operands[1], SCALE_MAX);
        body = json_pack("{s:I}", "scale", (json_int_t)scale);
    }
    if (path.failed || (n_operands > 1 && !body))
        return cli_fail(cli, EXIT_FAILED, "out of memory");
    int code = cli_call(cli, body ? "PUT" : "GET", path.data, body, &answer);
    return code ? code : print_pools(cli, answer);
}

const struct command cmd_scale = {
    .name = "scale",
    .operands = "[PHILOSOPHY [N]]",
    .summary = "Show pools and scaling decisions, or record a new scale",
    .details = "With N the pool's scale is recorded as N, and its cooldown starts.",
    .most_operands = 2,
    .run = scale_run,
};
