/* SPDX-License-Identifier: Apache-2.0 */
#include "apps/cli/history_view.h"

#include <math.h>
#include <string.h>

#include "apps/cli/history_om.h"
#include "base/clock.h"

#define SPARK_WIDTH 60

static const char *two_digits(char out[TEXT_SHORT], double value)
{
    if (!isfinite(value))
        return text_count(out, value);
    snprintf(out, TEXT_SHORT, "%.2f", value);
    return out;
}

const struct history_metric history_metrics[] = {
    {"cpu", "cpu_percent", "cpu_percent", "CPU%", text_percent},
    {"memory", "memory_mb", "memory_mb", "MEM", text_size},
    {"disk", "disk_io", "disk_io_mbps", "DISK", text_size},
    {"network", "network_io", "network_io_mbps", "NET", text_size},
    {"files", "file_descriptors", "file_descriptors", "FDS", text_count},
    {"cores", "cpu_cores", "cpu_cores", "CORES", two_digits},
    {"memory_percent", NULL, "memory_percent", "MEM%", text_percent},
};
const size_t n_history_metrics = ARRAY_SIZE(history_metrics);

static double value_of(const json_t *point, const char *which, const struct history_metric *metric)
{
    return field_number(field_get(point, which), metric->field);
}

/* ---- Sparklines */

struct summary {
    double least, most, sum, last;
    size_t n;
    double bins[SPARK_WIDTH]; /* sums; .counts says of how many */
    unsigned counts[SPARK_WIDTH];
};

/* A point covers the bins of its step, so that few points make no gaps. */
static void fill_bins(struct summary *summary, double value, double from, double to)
{
    if (!(from >= 0 && from < 1))
        return;
    size_t first = (size_t)(from * SPARK_WIDTH);
    size_t last = to > from ? (size_t)ceil(fmin(to, 1) * SPARK_WIDTH) : first + 1;
    for (size_t i = first; i < SPARK_WIDTH && i < MAX(last, first + 1); i++) {
        summary->bins[i] += value;
        summary->counts[i]++;
    }
}

static void summary_add(struct summary *summary, const json_t *point,
    const struct history_metric *metric, double from, double to)
{
    double mean = value_of(point, "mean", metric), least = value_of(point, "min", metric);
    double most = value_of(point, "max", metric);
    if (!isfinite(mean))
        return;
    summary->least = fmin(summary->least, isfinite(least) ? least : mean);
    summary->most = fmax(summary->most, isfinite(most) ? most : mean);
    summary->sum += mean;
    summary->last = mean;
    summary->n++;
    fill_bins(summary, mean, from, to);
}

static void summarise(
    struct summary *summary, const json_t *answer, const struct history_metric *metric)
{
    const json_t *points = field_get(answer, "points");
    int64_t from = field_time(answer, "since"), to = field_time(answer, "until");
    double span = to > from ? (double)(to - from) : 1;
    double step = field_number(answer, "step_seconds") * NS_PER_SEC;
    *summary = (struct summary){.least = INFINITY, .most = -INFINITY, .last = NAN};
    for (size_t i = 0; i < json_array_size(points); i++) {
        const json_t *point = json_array_get(points, i);
        double at = (double)(field_time(point, "time") - from) / span;
        summary_add(summary, point, metric, at, at + step / span);
    }
}

static void spark_line(const struct summary *summary, struct buf *out)
{
    double highest = 0;
    for (size_t i = 0; i < SPARK_WIDTH; i++) {
        if (summary->counts[i] > 0)
            highest = fmax(highest, summary->bins[i] / summary->counts[i]);
    }
    for (size_t i = 0; i < SPARK_WIDTH; i++) {
        bool known = summary->counts[i] > 0;
        buf_append_str(
            out, text_spark(known ? summary->bins[i] / summary->counts[i] : NAN, highest));
    }
}

static const struct table_column spark_columns[] = {
    {"METRIC", false, 0, 0},
    {"MIN", true, 0, 2},
    {"MEAN", true, 0, 1},
    {"MAX", true, 0, 0},
    {"LAST", true, 0, 3},
    {"", false, 10, 0},
};

int history_print_sparks(const struct cli *cli, const struct history_view *view)
{
    struct table *table CLEANUP(table_freep) = NULL;
    if (table_new(spark_columns, ARRAY_SIZE(spark_columns), &table) < 0)
        return cli_fail(cli, EXIT_FAILED, "out of memory");
    for (size_t i = 0; i < view->n_metrics; i++) {
        const struct history_metric *metric = view->metrics[i];
        struct buf line CLEANUP(buf_done) = {0};
        struct summary summary;
        char text[TEXT_SHORT];
        summarise(&summary, view->answer, metric);
        spark_line(&summary, &line);
        table_row(table);
        table_cell(table, metric->title, STYLE_BOLD);
        table_cell(table, metric->text(text, summary.least), STYLE_NONE);
        table_cell(table, metric->text(text, summary.n > 0 ? summary.sum / (double)summary.n : NAN),
            STYLE_NONE);
        table_cell(table, metric->text(text, summary.most), STYLE_NONE);
        table_cell(table, metric->text(text, summary.last), STYLE_NONE);
        table_cell(table, line.data, STYLE_GOOD);
    }
    return cli_print_table(cli, table);
}

/* ---- Table and CSV */

static void add_row(
    struct table *table, const struct history_view *view, const json_t *point, int64_t now)
{
    char text[TEXT_SHORT];
    table_row(table);
    table_cell(table, text_time_short(text, field_time(point, "time"), now), STYLE_NONE);
    for (size_t i = 0; i < view->n_metrics; i++) {
        const struct history_metric *metric = view->metrics[i];
        table_cell(table, metric->text(text, value_of(point, "mean", metric)), STYLE_NONE);
        table_cell(table, metric->text(text, value_of(point, "max", metric)), STYLE_DIM);
    }
}

int history_print_table(const struct cli *cli, const struct history_view *view)
{
    struct table_column columns[1 + 2 * HISTORY_METRICS_MAX] = {{"TIME", false, 0, 0}};
    struct table *table CLEANUP(table_freep) = NULL;
    const json_t *points = field_get(view->answer, "points");
    unsigned n = 1;
    for (size_t i = 0; i < view->n_metrics; i++) {
        columns[n++] = (struct table_column){view->metrics[i]->title, true, 0, 0};
        columns[n++] = (struct table_column){"MAX", true, 0, (unsigned)i + 1};
    }
    if (table_new(columns, n, &table) < 0)
        return cli_fail(cli, EXIT_FAILED, "out of memory");
    for (size_t i = 0; i < json_array_size(points); i++)
        add_row(table, view, json_array_get(points, i), clock_wall_ns());
    return cli_print_table(cli, table);
}

static void print_number(double value)
{
    if (isfinite(value))
        printf(",%.10g", value);
    else
        putchar(',');
}

static const char *const parts[] = {"mean", "min", "max"};

void history_print_csv_head(const struct history_view *view, bool agents)
{
    fputs(agents ? "agent,time,samples" : "time,samples", stdout);
    for (size_t i = 0; i < view->n_metrics * ARRAY_SIZE(parts); i++)
        printf(",%s_%s", view->metrics[i / ARRAY_SIZE(parts)]->field, parts[i % ARRAY_SIZE(parts)]);
    putchar('\n');
}

void history_print_csv(const struct history_view *view, bool agents)
{
    const json_t *points = field_get(view->answer, "points");
    struct buf safe CLEANUP(buf_done) = {0};
    const char *subject = text_for(stdout, field_text(view->answer, "subject"), &safe);
    for (size_t i = 0; i < json_array_size(points); i++) {
        const json_t *point = json_array_get(points, i);
        char time[TEXT_SHORT];
        if (agents)
            printf("%s,", subject); /* ids need no quotes */
        fputs(text_rfc3339(time, field_time(point, "time")), stdout);
        print_number(field_number(point, "samples"));
        for (size_t j = 0; j < view->n_metrics * ARRAY_SIZE(parts); j++)
            print_number(value_of(
                point, parts[j % ARRAY_SIZE(parts)], view->metrics[j / ARRAY_SIZE(parts)]));
        putchar('\n');
    }
}

/* ---- OpenMetrics */

static void print_series(
    const json_t *answer, const struct om_family *family, const struct history_metric *metric)
{
    const json_t *points = field_get(answer, "points");
    const char *subject = field_text(answer, "subject");
    for (size_t i = 0; i < json_array_size(points); i++) {
        const json_t *point = json_array_get(points, i);
        om_write_sample(stdout, family, subject ? subject : "", field_time(point, "time"),
            value_of(point, "mean", metric));
    }
}

void history_print_openmetrics(const struct history_view *view, const json_t *answers)
{
    for (size_t i = 0; i < view->n_metrics; i++) {
        const struct om_family *family = om_family_of_field(view->metrics[i]->field);
        bool again = false;
        for (size_t j = 0; j < i; j++)
            again |= view->metrics[j] == view->metrics[i];
        if (!family || again) /* a family may come once only */
            continue;
        om_write_head(stdout, family);
        for (size_t j = 0; j < json_array_size(answers); j++)
            print_series(json_array_get(answers, j), family, view->metrics[i]);
    }
    om_write_end(stdout);
}

const char *history_resource(const struct history_metric *metric)
{
    const struct om_family *family = om_family_of_field(metric->field);
    return family ? family->resource : "cpu";
}
