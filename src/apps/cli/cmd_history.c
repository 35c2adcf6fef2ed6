/* SPDX-License-Identifier: Apache-2.0 */
/* agentcore history: what the machine or an agent used over time. */
#include <string.h>

#include "apps/cli/history_view.h"
#include "base/clock.h"
#include "base/parse.h"

#define POINTS_WANTED 60 /* for people, where no step is asked for */

enum history_format { FORMAT_TABLE, FORMAT_SPARK, FORMAT_CSV, FORMAT_JSON };

struct history_options {
    const char *since;
    const char *until;
    uint64_t step_ns;
    struct opt_list metrics;
    unsigned format;
    uint64_t limit;
};

#define HISTORY(field) offsetof(struct history_options, field)

static const struct opt history_table[] = {
    {"since", 's', OPT_TEXT, "WHEN", "1h ago, 2026-01-31T12:00:00Z or Unix seconds [1h]",
        HISTORY(since), 0, 0},
    {"until", 'u', OPT_TEXT, "WHEN", "the same for the end [now]", HISTORY(until), 0, 0},
    {"step", 0, OPT_DURATION, "DURATION", "one point per this time [table: 60 points in all]",
        HISTORY(step_ns), 1, 31536000},
    {"metric", 'm', OPT_LIST, "NAME,...",
        "cpu, memory, disk, network, files, cores, memory_percent", HISTORY(metrics), 0, 0},
    {"format", 'f', OPT_CHOICE, "table|spark|csv|json", "how to print it [table]", HISTORY(format),
        0, 0},
    {"limit", 0, OPT_COUNT, "N", "at most so many points [10000]", HISTORY(limit), 1, 1000000},
    {NULL},
};

/* The moment that --since or --until names. Plain numbers are Unix seconds, as in the API. */
static int parse_when(const char *text, int64_t now_ns, int64_t *ret_ns)
{
    size_t length = strlen(text);
    uint64_t number;
    if (parse_u64(text, length, &number) == 0) {
        if (number > INT64_MAX / NS_PER_SEC)
            return -1;
        *ret_ns = (int64_t)(number * NS_PER_SEC);
        return 0;
    }
    if (parse_duration(text, length, &number) == 0 && number <= (uint64_t)now_ns) {
        *ret_ns = now_ns - (int64_t)number;
        return 0;
    }
    return text_parse_rfc3339(text, ret_ns);
}

static int check_span(
    const struct cli *cli, const struct history_options *options, int64_t *ret_span_ns)
{
    int64_t now = clock_wall_ns(), from = now - (int64_t)(3600 * NS_PER_SEC), to = now;
    static const char wanted[] = "90s, 1h, 7d, 2026-01-31T12:00:00Z or Unix seconds";
    if (options->since && parse_when(options->since, now, &from) < 0)
        return cli_usage(cli, "--since: '%.60s' is no time: %s", options->since, wanted);
    if (options->until && parse_when(options->until, now, &to) < 0)
        return cli_usage(cli, "--until: '%.60s' is no time: %s", options->until, wanted);
    if (from >= to)
        return cli_usage(cli, "--since must be before --until");
    *ret_span_ns = to - from;
    return 0;
}

static const struct history_metric *find_metric(const char *name, size_t length)
{
    for (size_t i = 0; i < n_history_metrics; i++) {
        const char *words[] = {history_metrics[i].name, history_metrics[i].alias};
        for (size_t j = 0; j < ARRAY_SIZE(words); j++) {
            if (words[j] && strlen(words[j]) == length && memcmp(words[j], name, length) == 0)
                return &history_metrics[i];
        }
    }
    return NULL;
}

static int add_metrics(const struct cli *cli, const char *item, struct history_view *view)
{
    for (const char *c = item;;) {
        size_t n = strcspn(c, ",");
        const struct history_metric *metric = find_metric(c, n);
        if (!metric)
            return cli_usage(cli,
                "--metric: '%.*s' is not one of cpu, memory, disk, network, files, cores, "
                "memory_percent",
                (int)MIN(n, 60u), c);
        if (view->n_metrics >= HISTORY_METRICS_MAX)
            return cli_usage(cli, "--metric: more than %d", HISTORY_METRICS_MAX);
        view->metrics[view->n_metrics++] = metric;
        if (c[n] == 0)
            return 0;
        c += n + 1;
    }
}

static int choose_metrics(
    const struct cli *cli, const struct opt_list *items, struct history_view *view)
{
    for (size_t i = 0; i < items->n_items; i++) {
        int code = add_metrics(cli, items->items[i], view);
        if (code != 0)
            return code;
    }
    while (items->n_items == 0 && view->n_metrics < 5) {
        view->metrics[view->n_metrics] = &history_metrics[view->n_metrics];
        view->n_metrics++;
    }
    return 0;
}

static void add_seconds(struct buf *path, const char *key, uint64_t number)
{
    char text[TEXT_SHORT];
    snprintf(text, sizeof(text), "%llu", (unsigned long long)number);
    client_query_add(path, key, text);
}

static int history_path(const struct cli *cli, const struct history_options *options,
    const char *id, int64_t span_ns, struct buf *path)
{
    bool people = options->format == FORMAT_TABLE || options->format == FORMAT_SPARK;
    uint64_t step_ns = options->step_ns;
    if (step_ns == 0 && people)
        step_ns = (uint64_t)span_ns / POINTS_WANTED;
    buf_append_str(path, id ? "/v1/agents" : "/v1/system");
    if (id)
        client_path_add(path, id);
    client_path_add(path, "history");
    client_query_add(path, "since", options->since ? options->since : "1h");
    if (options->until)
        client_query_add(path, "until", options->until);
    if (step_ns > 0)
        add_seconds(path, "step", (step_ns + NS_PER_SEC - 1) / NS_PER_SEC);
    if (options->limit > 0)
        add_seconds(path, "limit", options->limit);
    return path->failed ? cli_fail(cli, EXIT_FAILED, "out of memory") : 0;
}

static int print_people(
    const struct cli *cli, const struct history_view *view, enum history_format format)
{
    char step[TEXT_SHORT];
    const char *source = field_text(view->answer, "source");
    size_t n = json_array_size(field_get(view->answer, "points"));
    int code = history_print_sparks(cli, view);
    if (code != 0)
        return code;
    struct buf safe CLEANUP(buf_done) = {0};
    text_safe(&safe, source);
    if (n == 0)
        puts("No points: nothing was measured in this time.");
    else
        printf("%zu point%s, one per %s (%s)\n", n, n == 1 ? "" : "s",
            text_duration(step, field_number(view->answer, "step_seconds")), safe.data);
    if (format == FORMAT_SPARK || n == 0)
        return 0;
    putchar('\n');
    return history_print_table(cli, view);
}

static int history_run(struct cli *cli, void *data, char **operands, int n_operands)
{
    struct history_options *options = data;
    const char *id = n_operands > 0 ? operands[0] : NULL;
    struct history_view view = {0};
    struct buf path CLEANUP(buf_done) = {0};
    json_t *answer cleanup_json = NULL;
    int64_t span_ns = 0;
    if (cli->common.json)
        options->format = FORMAT_JSON;
    int code = id ? cli_check_id(cli, id) : 0;
    if (code == 0)
        code = choose_metrics(cli, &options->metrics, &view);
    if (code == 0)
        code = check_span(cli, options, &span_ns);
    if (code == 0)
        code = history_path(cli, options, id, span_ns, &path);
    if (code == 0)
        code = cli_call(cli, "GET", path.data, NULL, &answer);
    if (code != 0)
        return code;
    view.answer = answer;
    if (options->format == FORMAT_JSON)
        return cli_print_json(cli, answer, false);
    if (options->format != FORMAT_CSV)
        return print_people(cli, &view, (enum history_format)options->format);
    history_print_csv(&view);
    return 0;
}

const struct command cmd_history = {
    .name = "history",
    .operands = "[ID]",
    .summary = "Show what the machine, or an agent, used over time",
    .details =
        "A sparkline per metric, then a row per step with mean and maximum. Times without a\n"
        "point were not measured.",
    .options = history_table,
    .options_size = sizeof(struct history_options),
    .most_operands = 1,
    .run = history_run,
};
