/* SPDX-License-Identifier: Apache-2.0 */
/* agentcore history --top and --quantile. */
#include "apps/cli/history_stats.h"

#include <math.h>
#include <string.h>

#include "apps/cli/history_om.h"

static void add_common(const struct history_ask *ask, struct buf *path)
{
    client_query_add(path, "since", ask->since ? ask->since : "1h");
    if (ask->until)
        client_query_add(path, "until", ask->until);
    if (ask->philosophy)
        client_query_add(path, "philosophy", ask->philosophy);
    for (size_t i = 0; i < ask->labels->n_items; i++)
        client_query_add(path, "label", ask->labels->items[i]);
}

/* The gauge's name with @what in it: "agentcore_history_top_cpu_cores". */
static void family_name(char out[80], const char *what, const json_t *answer)
{
    const struct om_family *family = om_family_of_resource(field_text(answer, "metric"));
    snprintf(out, 80, OM_PREFIX "%s_%s", what,
        family ? family->name + sizeof(OM_PREFIX) - 1 : "unknown");
}

static double in_base_unit(const json_t *answer, double value)
{
    const struct om_family *family = om_family_of_resource(field_text(answer, "metric"));
    return family ? value * family->scale : value;
}

static const char *amount(char out[TEXT_SHORT], double value)
{
    if (!isfinite(value))
        return text_count(out, value);
    snprintf(out, TEXT_SHORT, "%.2f", value);
    return out;
}

static void print_number(double value)
{
    if (isfinite(value))
        printf(",%.10g", value);
    else
        putchar(',');
}

/* Ids and words of the API need no quotes. */
static void print_word(const char *before, const char *word)
{
    struct buf safe CLEANUP(buf_done) = {0};
    printf("%s%s", before, text_for(stdout, word, &safe));
}

/* ---- The largest */

static void print_top_csv(const json_t *answer)
{
    const json_t *rows = field_get(answer, "top");
    print_word("agent,", field_text(answer, "aggregate"));
    putchar('\n');
    for (size_t i = 0; i < json_array_size(rows); i++) {
        const json_t *row = json_array_get(rows, i);
        print_word("", field_text(row, "agent_id"));
        print_number(field_number(row, "value"));
        putchar('\n');
    }
}

static void print_top_openmetrics(const json_t *answer)
{
    char name[80];
    const json_t *rows = field_get(answer, "top");
    const char *aggregate = field_text(answer, "aggregate");
    family_name(name, "top", answer);
    printf("# TYPE %s gauge\n# HELP %s The largest; a sum is times seconds.\n", name, name);
    for (size_t i = 0; i < json_array_size(rows); i++) {
        const json_t *row = json_array_get(rows, i);
        const struct om_label labels[] = {
            {"agent", field_text(row, "agent_id")}, {"aggregate", aggregate}};
        om_write_labelled(stdout, name, labels, ARRAY_SIZE(labels), field_time(answer, "until"),
            in_base_unit(answer, field_number(row, "value")));
    }
    om_write_end(stdout);
}

static int print_top_table(const struct cli *cli, const json_t *answer)
{
    const char *aggregate = field_text(answer, "aggregate"), *unit = field_text(answer, "unit");
    bool sum = aggregate && strcmp(aggregate, "sum") == 0;
    const struct table_column columns[] = {{"AGENT", false, 12, 0},
        {sum                                             ? "SUM"
            : aggregate && strcmp(aggregate, "max") == 0 ? "MAX"
                                                         : "MEAN",
            true, 0, 0},
        {"UNIT", false, 0, 0}};
    struct table *table CLEANUP(table_freep) = NULL;
    const json_t *rows = field_get(answer, "top");
    char text[TEXT_SHORT], unit_text[TEXT_SHORT];
    snprintf(unit_text, sizeof(unit_text), "%.20s%s", unit ? unit : "", sum ? " x s" : "");
    if (table_new(columns, ARRAY_SIZE(columns), &table) < 0)
        return cli_fail(cli, EXIT_FAILED, "out of memory");
    for (size_t i = 0; i < json_array_size(rows); i++) {
        const json_t *row = json_array_get(rows, i);
        table_row(table);
        table_cell(table, field_text(row, "agent_id"), STYLE_BOLD);
        table_cell(table, amount(text, field_number(row, "value")), STYLE_NONE);
        table_cell(table, unit_text, STYLE_DIM);
    }
    return cli_print_table(cli, table);
}

int history_top_run(struct cli *cli, const struct history_ask *ask)
{
    static const char *const aggregates[] = {"mean", "max", "sum"};
    struct buf path CLEANUP(buf_done) = {0};
    json_t *answer cleanup_json = NULL;
    char n[TEXT_SHORT];
    if (ask->format == FORMAT_SPARK)
        return cli_usage(cli, "--top has the formats table, csv, json and openmetrics");
    snprintf(n, sizeof(n), "%llu", (unsigned long long)ask->top);
    buf_append_str(&path, "/v1/history/top");
    client_query_add(&path, "metric", history_resource(ask->metrics[0]));
    client_query_add(&path, "aggregate", aggregates[ask->aggregate]);
    client_query_add(&path, "n", n);
    add_common(ask, &path);
    if (path.failed)
        return cli_fail(cli, EXIT_FAILED, "out of memory");
    int code = cli_ask_history(cli, path.data, &answer);
    if (code != 0)
        return code;
    if (ask->format == FORMAT_JSON)
        return cli_print_json(cli, answer, false);
    if (ask->format == FORMAT_TABLE)
        return print_top_table(cli, answer);
    if (ask->format == FORMAT_CSV)
        print_top_csv(answer);
    else
        print_top_openmetrics(answer);
    return 0;
}

/* ---- Quantiles */

static int ask_quantile(struct cli *cli, const struct history_ask *ask, const char *resource,
    const char *q, json_t *answers)
{
    struct buf path CLEANUP(buf_done) = {0};
    json_t *answer = NULL;
    buf_append_str(&path, "/v1/history/quantile");
    client_query_add(&path, "metric", resource);
    client_query_add(&path, "q", q);
    struct buf ids CLEANUP(buf_done) = {0};
    for (size_t i = 0; i < ask->n_ids; i++)
        buf_printf(&ids, "%s%s", i > 0 ? "," : "", ask->ids[i]);
    if (ask->n_ids > 0 && !ids.failed)
        client_query_add(&path, "agents", ids.data);
    add_common(ask, &path);
    if (path.failed || ids.failed)
        return cli_fail(cli, EXIT_FAILED, "out of memory");
    int code = cli_ask_history(cli, path.data, &answer);
    if (code == 0 && json_array_append_new(answers, answer) < 0)
        code = cli_fail(cli, EXIT_FAILED, "out of memory");
    return code;
}

/* "cpu" and "cores" are one resource: asked for once. */
static bool asked_before(const struct history_ask *ask, size_t metric)
{
    for (size_t i = 0; i < metric; i++) {
        if (strcmp(history_resource(ask->metrics[i]), history_resource(ask->metrics[metric])) == 0)
            return true;
    }
    return false;
}

static int ask_all(struct cli *cli, const struct history_ask *ask, json_t *answers)
{
    int code = 0;
    for (size_t i = 0; code == 0 && i < ask->n_metrics; i++) {
        if (asked_before(ask, i))
            continue;
        for (size_t j = 0; code == 0 && j < ask->n_quantiles; j++) {
            char q[TEXT_SHORT];
            snprintf(q, sizeof(q), "%.10g", ask->quantiles[j]);
            code = ask_quantile(cli, ask, history_resource(ask->metrics[i]), q, answers);
        }
    }
    return code;
}

static const char *within(char out[TEXT_SHORT], const json_t *answer)
{
    double bound = field_number(answer, "error_bound");
    if (field_true(answer, "exact"))
        return "exact";
    snprintf(out, TEXT_SHORT, "%.1f%%", bound * 100);
    return out;
}

/* One row per metric; its answers lie behind each other. */
static int print_quantile_table(
    const struct cli *cli, const struct history_ask *ask, const json_t *answers)
{
    struct table_column columns[HISTORY_QUANTILES_MAX + 4] = {{"METRIC", false, 0, 0}};
    char titles[HISTORY_QUANTILES_MAX][TEXT_SHORT], text[TEXT_SHORT];
    struct table *table CLEANUP(table_freep) = NULL;
    unsigned n = 1;
    for (size_t j = 0; j < ask->n_quantiles; j++) {
        snprintf(titles[j], TEXT_SHORT, "P%.6g", ask->quantiles[j] * 100);
        columns[n++] = (struct table_column){titles[j], true, 0, 0};
    }
    columns[n++] = (struct table_column){"UNIT", false, 0, 0};
    columns[n++] = (struct table_column){"WITHIN", true, 0, 1};
    columns[n++] = (struct table_column){"SUBJECTS", true, 0, 2};
    if (table_new(columns, n, &table) < 0)
        return cli_fail(cli, EXIT_FAILED, "out of memory");
    for (size_t i = 0; i + ask->n_quantiles <= json_array_size(answers); i += ask->n_quantiles) {
        const json_t *first = json_array_get(answers, i);
        table_row(table);
        table_cell(table, field_text(first, "metric"), STYLE_BOLD);
        for (size_t j = 0; j < ask->n_quantiles; j++)
            table_cell(table, amount(text, field_number(json_array_get(answers, i + j), "value")),
                STYLE_NONE);
        table_cell(table, field_text(first, "unit"), STYLE_DIM);
        table_cell(table, within(text, first), STYLE_DIM);
        table_cell(table, text_count(text, field_number(first, "subjects")), STYLE_DIM);
    }
    return cli_print_table(cli, table);
}

static void print_quantile_csv(const json_t *answers)
{
    puts("metric,quantile,value,unit,error_bound,subjects");
    for (size_t i = 0; i < json_array_size(answers); i++) {
        const json_t *answer = json_array_get(answers, i);
        print_word("", field_text(answer, "metric"));
        print_number(field_number(answer, "q"));
        print_number(field_number(answer, "value"));
        print_word(",", field_text(answer, "unit"));
        print_number(field_number(answer, "error_bound"));
        print_number(field_number(answer, "subjects"));
        putchar('\n');
    }
}

static void print_quantile_openmetrics(const struct history_ask *ask, const json_t *answers)
{
    char name[80], before[80] = "", q[TEXT_SHORT];
    for (size_t i = 0; i < json_array_size(answers); i++) {
        const json_t *answer = json_array_get(answers, i);
        const struct om_label labels[] = {{"agent", ask->n_ids == 1 ? ask->ids[0] : NULL},
            {"philosophy", ask->philosophy},
            {"label", ask->labels->n_items == 1 ? ask->labels->items[0] : NULL}, {"quantile", q}};
        snprintf(q, sizeof(q), "%.10g", field_number(answer, "q"));
        family_name(name, "quantile", answer);
        if (strcmp(name, before) != 0)
            printf("# TYPE %s gauge\n# HELP %s Over all samples of the span.\n", name, name);
        snprintf(before, sizeof(before), "%s", name);
        om_write_labelled(stdout, name, labels, ARRAY_SIZE(labels), field_time(answer, "until"),
            in_base_unit(answer, field_number(answer, "value")));
    }
    om_write_end(stdout);
}

int history_quantile_run(struct cli *cli, const struct history_ask *ask)
{
    json_t *answers cleanup_json = json_array();
    if (ask->format == FORMAT_SPARK)
        return cli_usage(cli, "--quantile has the formats table, csv, json and openmetrics");
    int code = ask_all(cli, ask, answers);
    if (code != 0)
        return code;
    if (ask->format == FORMAT_TABLE)
        return print_quantile_table(cli, ask, answers);
    if (ask->format == FORMAT_JSON) {
        json_t *all cleanup_json = json_object();
        json_object_set(all, "quantiles", answers);
        return cli_print_json(cli, all, false);
    }
    if (ask->format == FORMAT_CSV)
        print_quantile_csv(answers);
    else
        print_quantile_openmetrics(ask, answers);
    return 0;
}
