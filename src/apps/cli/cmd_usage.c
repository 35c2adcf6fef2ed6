/* SPDX-License-Identifier: Apache-2.0 */
/* agentcore usage: what was used in a span, for charge-back. */
#include <math.h>
#include <string.h>

#include "apps/cli/cli.h"
#include "apps/cli/history_om.h"

enum usage_format { USAGE_TABLE, USAGE_CSV, USAGE_JSON, USAGE_OPENMETRICS };

struct usage_options {
    const char *since;
    const char *until;
    const char *by;
    const char *philosophy;
    struct opt_list labels;
    uint64_t limit;
    unsigned format;
};

#define USAGE(field) offsetof(struct usage_options, field)

static const struct opt usage_table[] = {
    {"since", 's', OPT_TEXT, "WHEN", "24h ago, 2026-01-31T12:00:00Z or Unix seconds [24h]",
        USAGE(since), 0, 0},
    {"until", 'u', OPT_TEXT, "WHEN", "the same for the end [now]", USAGE(until), 0, 0},
    {"by", 'b', OPT_TEXT, "GROUP", "agent, philosophy or label:KEY [agent]", USAGE(by), 0, 0},
    {"philosophy", 'p', OPT_TEXT, "NAME", "only agents of this philosophy", USAGE(philosophy), 0,
        0},
    {"label", 'l', OPT_LIST, "KEY[=VALUE]", "only agents with this label", USAGE(labels), 0, 0},
    {"limit", 'n', OPT_COUNT, "N", "at most so many rows [1000]", USAGE(limit), 1, 10000},
    {"format", 'f', OPT_CHOICE, "table|csv|json|openmetrics", "how to print it [table]",
        USAGE(format), 0, 0},
    {NULL},
};

static int usage_path(const struct cli *cli, const struct usage_options *options, struct buf *path)
{
    char limit[TEXT_SHORT];
    buf_append_str(path, "/v1/usage");
    client_query_add(path, "since", options->since ? options->since : "24h");
    if (options->until)
        client_query_add(path, "until", options->until);
    if (options->by)
        client_query_add(path, "by", options->by);
    if (options->philosophy)
        client_query_add(path, "philosophy", options->philosophy);
    for (size_t i = 0; i < options->labels.n_items; i++)
        client_query_add(path, "label", options->labels.items[i]);
    snprintf(limit, sizeof(limit), "%llu", (unsigned long long)options->limit);
    if (options->limit > 0)
        client_query_add(path, "limit", limit);
    return path->failed ? cli_fail(cli, EXIT_FAILED, "out of memory") : 0;
}

/* ---- For people */

static const struct table_column usage_columns[] = {
    {"NAME", false, 12, 0},
    {"AGENTS", true, 0, 2},
    {"CPU-SECONDS", true, 0, 0},
    {"GIB-HOURS", true, 0, 0},
    {"DISK", true, 0, 0},
    {"NET", true, 0, 0},
    {"SAMPLES", true, 0, 1},
};

static void amount_cell(struct table *table, const json_t *row, const char *field)
{
    char text[TEXT_SHORT] = "-";
    double value = field_number(row, field);
    if (isfinite(value))
        snprintf(text, sizeof(text), "%.2f", value);
    table_cell(table, text, STYLE_NONE);
}

static void size_cell(struct table *table, const json_t *row, const char *field)
{
    char text[TEXT_SHORT];
    table_cell(table, text_size(text, field_number(row, field) / 1048576), STYLE_NONE);
}

static void usage_row(struct table *table, const json_t *row, const char *name, enum style style)
{
    char text[TEXT_SHORT];
    table_row(table);
    table_cell(table, name, style);
    table_cell(table, text_count(text, field_number(row, "agents")), STYLE_NONE);
    amount_cell(table, row, "cpu_seconds");
    amount_cell(table, row, "memory_gib_hours");
    size_cell(table, row, "disk_bytes");
    size_cell(table, row, "network_bytes");
    table_cell(table, text_count(text, field_number(row, "samples")), STYLE_DIM);
}

/* What makes the figures less than the whole truth is told where they are. */
static void print_notes(const json_t *answer)
{
    char text[TEXT_SHORT];
    double gaps = field_number(answer, "gaps"), damaged = field_number(answer, "damaged");
    if (gaps > 0)
        printf("%.0f gap%s of %s in all: what was used meanwhile is not known.\n", gaps,
            gaps == 1 ? "" : "s", text_duration(text, field_number(answer, "gap_seconds")));
    if (damaged > 0)
        printf("%.0f parts could not be read: see agentcore history verify.\n", damaged);
    if (field_true(answer, "limited"))
        puts("There are more rows: see --limit.");
}

static int print_people(const struct cli *cli, const json_t *answer)
{
    struct table *table CLEANUP(table_freep) = NULL;
    const json_t *rows = field_get(answer, "rows");
    if (json_array_size(rows) == 0) {
        puts("Nothing was measured in this time.");
        return 0;
    }
    if (table_new(usage_columns, ARRAY_SIZE(usage_columns), &table) < 0)
        return cli_fail(cli, EXIT_FAILED, "out of memory");
    for (size_t i = 0; i < json_array_size(rows); i++) {
        const json_t *row = json_array_get(rows, i);
        usage_row(table, row, field_text(row, "name"), STYLE_BOLD);
    }
    usage_row(table, field_get(answer, "total"), "(all)", STYLE_DIM);
    int code = cli_print_table(cli, table);
    print_notes(answer);
    return code;
}

/* ---- CSV */

static void print_quoted(const char *text)
{
    struct buf safe CLEANUP(buf_done) = {0};
    putchar('"');
    for (const char *c = text_for(stdout, text, &safe); *c; c++) {
        if (*c == '"')
            putchar('"');
        putchar(*c);
    }
    putchar('"');
}

static void print_csv(const json_t *answer)
{
    static const char *const fields[] = {
        "agents", "samples", "cpu_seconds", "memory_gib_hours", "disk_bytes", "network_bytes"};
    const json_t *rows = field_get(answer, "rows");
    puts("name,agents,samples,cpu_seconds,memory_gib_hours,disk_bytes,network_bytes");
    for (size_t i = 0; i < json_array_size(rows); i++) {
        const json_t *row = json_array_get(rows, i);
        print_quoted(field_text(row, "name"));
        for (size_t j = 0; j < ARRAY_SIZE(fields); j++) {
            double value = field_number(row, fields[j]);
            if (isfinite(value))
                printf(",%.15g", value);
            else
                putchar(',');
        }
        putchar('\n');
    }
}

/* ---- OpenMetrics: one family per figure, one sample per row, as of the end of the span */

static void print_openmetrics(const json_t *answer)
{
    static const struct {
        const char *name, *field, *help;
    } families[] = {{"agentcore_usage_cpu_seconds", "cpu_seconds", "CPU time in the span."},
        {"agentcore_usage_memory_gib_hours", "memory_gib_hours", "GiB times hours in the span."},
        {"agentcore_usage_disk_bytes", "disk_bytes", "Read and written in the span."},
        {"agentcore_usage_network_bytes", "network_bytes", "Received and sent in the span."}};
    const char *by = field_text(answer, "by");
    bool label = by && strncmp(by, "label:", 6) == 0;
    const json_t *rows = field_get(answer, "rows");
    for (size_t f = 0; f < ARRAY_SIZE(families); f++) {
        printf("# TYPE %s gauge\n# HELP %s %s\n", families[f].name, families[f].name,
            families[f].help);
        for (size_t i = 0; i < json_array_size(rows); i++) {
            const json_t *row = json_array_get(rows, i);
            const char *name = field_text(row, "name");
            const struct om_label labels[] = {
                {label ? "label" : by, label ? by + 6 : name}, {"value", label ? name : NULL}};
            om_write_labelled(stdout, families[f].name, labels, ARRAY_SIZE(labels),
                field_time(answer, "until"), field_number(row, families[f].field));
        }
    }
    om_write_end(stdout);
}

static int usage_run(struct cli *cli, void *data, char **operands, int n_operands)
{
    struct usage_options *options = data;
    struct buf path CLEANUP(buf_done) = {0};
    json_t *answer cleanup_json = NULL;
    (void)operands;
    (void)n_operands;
    if (cli->common.json)
        options->format = USAGE_JSON;
    int code = options->philosophy ? cli_check_philosophy(cli, options->philosophy) : 0;
    if (code == 0)
        code = usage_path(cli, options, &path);
    if (code == 0)
        code = cli_ask_history(cli, path.data, &answer);
    if (code != 0)
        return code;
    if (options->format == USAGE_JSON)
        return cli_print_json(cli, answer, false);
    if (options->format == USAGE_TABLE)
        return print_people(cli, answer);
    if (options->format == USAGE_CSV)
        print_csv(answer);
    else
        print_openmetrics(answer);
    return 0;
}

const struct command cmd_usage = {
    .name = "usage",
    .summary = "Show what agents used in all, for charge-back",
    .details =
        "CPU time, GiB-hours of memory, and bytes of disk and network over a span, from the\n"
        "daemon's history, also of agents that are no longer known. '-' is what was not\n"
        "measured, never zero; agents without such a label are together in one row named '-'.",
    .options = usage_table,
    .options_size = sizeof(struct usage_options),
    .run = usage_run,
};
