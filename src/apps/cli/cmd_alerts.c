/* SPDX-License-Identifier: Apache-2.0 */
/* agentcore alerts, agentcore ack. */
#include <string.h>

#include "apps/cli/alert_table.h"

#define SEVERITY_WORDS "info|warning|critical|emergency"

struct alerts_options {
    bool all;
    bool live;
    const char *severity;
    const char *agent;
    uint64_t limit;
};

#define ALERTS(field) offsetof(struct alerts_options, field)

static const struct opt alerts_options_table[] = {
    {"all", 'a', OPT_FLAG, NULL, "also acknowledged and resolved ones", ALERTS(all), 0, 0},
    {"live", 0, OPT_FLAG, NULL, "also acknowledged ones", ALERTS(live), 0, 0},
    {"severity", 's', OPT_TEXT, SEVERITY_WORDS, "only alerts of this severity", ALERTS(severity), 0,
        0},
    {"agent", 0, OPT_TEXT, "ID", "only alerts of this agent", ALERTS(agent), 0, 0},
    {"limit", 'n', OPT_COUNT, "N", "at most so many, newest first", ALERTS(limit), 1, 1000},
    {NULL},
};

static int alerts_path(
    const struct cli *cli, const struct alerts_options *options, struct buf *path)
{
    char number[TEXT_SHORT];
    unsigned place;
    if (options->severity && opt_choice(SEVERITY_WORDS, options->severity, &place) < 0)
        return cli_usage(
            cli, "--severity: '%.60s' is not one of %s", options->severity, SEVERITY_WORDS);
    int code = options->agent ? cli_check_id(cli, options->agent) : 0;
    if (code != 0)
        return code;
    buf_append_str(path, "/v1/alerts");
    if (options->all || options->live)
        client_query_add(path, "state", options->all ? "all" : "live");
    if (options->severity)
        client_query_add(path, "severity", options->severity);
    if (options->agent)
        client_query_add(path, "agent", options->agent);
    snprintf(number, sizeof(number), "%llu", (unsigned long long)options->limit);
    if (options->limit > 0)
        client_query_add(path, "limit", number);
    return path->failed ? cli_fail(cli, EXIT_FAILED, "out of memory") : 0;
}

static int alerts_run(struct cli *cli, void *data, char **operands, int n_operands)
{
    struct buf path CLEANUP(buf_done) = {0};
    struct table *table CLEANUP(table_freep) = NULL;
    json_t *answer cleanup_json = NULL;
    (void)operands;
    (void)n_operands;
    int code = alerts_path(cli, data, &path);
    if (code == 0)
        code = cli_call(cli, "GET", path.data, NULL, &answer);
    if (code != 0)
        return code;
    if (cli->common.json)
        return cli_print_json(cli, answer, false);
    if (alert_table(field_get(answer, "alerts"), &table) < 0)
        return cli_fail(cli, EXIT_FAILED, "out of memory");
    if (table_count(table) == 0) {
        puts("No alerts.");
        return 0;
    }
    return cli_print_table(cli, table);
}

const struct command cmd_alerts = {
    .name = "alerts",
    .summary = "List alerts: firing ones that nobody has acknowledged",
    .options = alerts_options_table,
    .options_size = sizeof(struct alerts_options),
    .run = alerts_run,
};

static int acknowledge(struct cli *cli, const char *id, json_t **ret_answer)
{
    struct buf path CLEANUP(buf_done) = {0};
    buf_append_str(&path, "/v1/alerts");
    client_path_add(&path, id);
    client_path_add(&path, "acknowledge");
    if (path.failed)
        return cli_fail(cli, EXIT_FAILED, "out of memory");
    return cli_call(cli, "POST", path.data, NULL, ret_answer);
}

static int ack_run(struct cli *cli, void *data, char **operands, int n_operands)
{
    json_t *done cleanup_json = json_array();
    int result = 0;
    (void)data;
    for (int i = 0; i < n_operands; i++) {
        json_t *answer = NULL;
        int code = *operands[i] ? acknowledge(cli, operands[i], &answer)
                                : cli_usage(cli, "an alert's id is not empty");
        result = result ? result : code;
        if (code != 0)
            continue;
        if (!cli->common.json) {
            cli_print_pair(cli, "acknowledged", field_text(answer, "message"), STYLE_NONE);
            json_decref(answer);
        } else {
            json_array_append_new(done, answer);
        }
    }
    if (!cli->common.json)
        return result;
    json_t *out cleanup_json = json_pack("{s:O}", "alerts", done);
    int code = cli_print_json(cli, out, false);
    return result ? result : code;
}

const struct command cmd_ack = {
    .name = "ack",
    .operands = "ID...",
    .summary = "Acknowledge alerts: they stay silent until they get worse",
    .least_operands = 1,
    .most_operands = -1,
    .run = ack_run,
};
