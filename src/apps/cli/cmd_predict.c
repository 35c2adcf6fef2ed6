/* SPDX-License-Identifier: Apache-2.0 */
/* agentcore predict: what an agent will probably need. */
#include <math.h>

#include "apps/cli/cli.h"

struct predict_options {
    const char *agent_template;
};

static const struct opt predict_table[] = {
    {"template", 't', OPT_TEXT, "NAME", "from earlier runs of this template first",
        offsetof(struct predict_options, agent_template), 0, 0},
    {NULL},
};

static void print_prediction(const struct cli *cli, const json_t *answer)
{
    char a[TEXT_SHORT], line[2 * TEXT_SHORT];
    double cpu = field_number(answer, "cpu_percent");
    cli_print_pair(cli, "Philosophy", field_text(answer, "philosophy"), STYLE_BOLD);
    cli_print_pair(cli, "Template", field_text(answer, "template"), STYLE_NONE);
    snprintf(
        line, sizeof(line), "%s%s", text_percent(a, cpu), isfinite(cpu) ? "% of the machine" : "");
    cli_print_pair(cli, "CPU", line, STYLE_NONE);
    cli_print_pair(cli, "Memory", text_size_long(a, field_number(answer, "memory_mb")), STYLE_NONE);
    cli_print_pair(
        cli, "Time", text_duration(a, field_number(answer, "execution_time_seconds")), STYLE_NONE);
    snprintf(line, sizeof(line), "%.2f", field_number(answer, "confidence"));
    cli_print_pair(cli, "Confidence", line, STYLE_NONE);
    cli_print_pair(cli, "From history of", field_text(answer, "basis"), STYLE_NONE);
    cli_print_pair(cli, "Runs in it", text_count(a, field_number(answer, "runs")), STYLE_NONE);
}

static int predict_run(struct cli *cli, void *data, char **operands, int n_operands)
{
    const struct predict_options *options = data;
    struct buf path CLEANUP(buf_done) = {0};
    json_t *answer cleanup_json = NULL;
    (void)n_operands;
    int code = cli_check_philosophy(cli, operands[0]);
    if (code != 0)
        return code;
    buf_append_str(&path, "/v1/predictions");
    client_path_add(&path, operands[0]);
    if (options->agent_template)
        client_query_add(&path, "template", options->agent_template);
    if (path.failed)
        return cli_fail(cli, EXIT_FAILED, "out of memory");
    code = cli_call(cli, "GET", path.data, NULL, &answer);
    if (code != 0)
        return code;
    if (cli->common.json)
        return cli_print_json(cli, answer, false);
    print_prediction(cli, answer);
    return 0;
}

const struct command cmd_predict = {
    .name = "predict",
    .operands = "PHILOSOPHY",
    .summary = "Predict what an agent will need, from earlier runs",
    .options = predict_table,
    .options_size = sizeof(struct predict_options),
    .least_operands = 1,
    .most_operands = 1,
    .run = predict_run,
};
