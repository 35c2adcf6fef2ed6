/* SPDX-License-Identifier: Apache-2.0 */
/* agentcore history: what the machine or an agent used over time. */
#include <string.h>

#include "apps/cli/history_stats.h"
#include "apps/cli/history_store.h"
#include "apps/cli/history_view.h"
#include "base/clock.h"
#include "base/parse.h"

#define POINTS_WANTED 60 /* for people, where no step is asked for */
#define AGENTS_MAX    64

struct history_options {
    const char *since;
    const char *until;
    uint64_t step_ns;
    struct opt_list metrics;
    unsigned format;
    uint64_t limit;
    uint64_t top;
    unsigned aggregate;
    struct opt_list quantiles;
    const char *philosophy;
    struct opt_list labels;
    const char *agent;
    const char *state;
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
    {"format", 'f', OPT_CHOICE, "table|spark|csv|json|openmetrics", "how to print it [table]",
        HISTORY(format), 0, 0},
    {"limit", 0, OPT_COUNT, "N", "at most so many points [10000]", HISTORY(limit), 1, 100000},
    {"top", 'n', OPT_COUNT, "N", "the N agents with the most of the first --metric", HISTORY(top),
        1, 1000},
    {"aggregate", 0, OPT_CHOICE, "mean|max|sum", "of --top: over the time; sum is times seconds",
        HISTORY(aggregate), 0, 0},
    {"quantile", 'q', OPT_LIST, "Q,...", "quantiles over all samples: 0.5,0.95; of IDs or a group",
        HISTORY(quantiles), 0, 0},
    {"philosophy", 'p', OPT_TEXT, "NAME", "agents of this philosophy", HISTORY(philosophy), 0, 0},
    {"label", 'l', OPT_LIST, "KEY[=VALUE]", "agents with this label", HISTORY(labels), 0, 0},
    {"agent", 0, OPT_TEXT, "ID", "the same as the operand ID, for ids such as \"export\"",
        HISTORY(agent), 0, 0},
    {"state", 0, OPT_TEXT, "DIR", "verify, export, import: the state directory of a stopped daemon",
        HISTORY(state), 0, 0},
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

struct span {
    int64_t from, to;
};

/* @ret_span: its beginning, if not 0, is where it begins by default. */
static int check_span(
    const struct cli *cli, const struct history_options *options, struct span *ret_span)
{
    int64_t now = clock_wall_ns();
    int64_t from = ret_span->from ? ret_span->from : now - (int64_t)(3600 * NS_PER_SEC), to = now;
    static const char wanted[] = "90s, 1h, 7d, 2026-01-31T12:00:00Z or Unix seconds";
    if (options->since && parse_when(options->since, now, &from) < 0)
        return cli_usage(cli, "--since: '%.60s' is no time: %s", options->since, wanted);
    if (options->until && parse_when(options->until, now, &to) < 0)
        return cli_usage(cli, "--until: '%.60s' is no time: %s", options->until, wanted);
    if (from >= to)
        return cli_usage(cli, "--since must be before --until");
    *ret_span = (struct span){from, to};
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

static int print_one(const struct cli *cli, const struct history_view *view,
    enum history_format format, bool several)
{
    struct buf safe CLEANUP(buf_done) = {0};
    if (format == FORMAT_CSV) {
        history_print_csv(view, several);
        return 0;
    }
    if (several) {
        text_safe(&safe, field_text(view->answer, "subject"));
        printf("%s\n", safe.data ? safe.data : "");
    }
    return print_people(cli, view, format);
}

static int print_answers(const struct cli *cli, struct history_view *view, json_t *answers,
    enum history_format format, bool several)
{
    int code = 0;
    if (format == FORMAT_JSON && !several)
        return cli_print_json(cli, json_array_get(answers, 0), false);
    if (format == FORMAT_JSON) {
        json_t *all cleanup_json = json_object();
        json_object_set(all, "series", answers);
        return cli_print_json(cli, all, false);
    }
    if (format == FORMAT_OPENMETRICS) {
        history_print_openmetrics(view, answers);
        return 0;
    }
    if (format == FORMAT_CSV)
        history_print_csv_head(view, several);
    else if (json_array_size(answers) == 0)
        puts("No agent has history in this time.");
    for (size_t i = 0; code == 0 && i < json_array_size(answers); i++) {
        view->answer = json_array_get(answers, i);
        if (i > 0 && format != FORMAT_CSV)
            putchar('\n');
        code = print_one(cli, view, format, several);
    }
    return code;
}

/* Agents of a philosophy or with labels that have history in the time. */
static int group_agents(struct cli *cli, const struct history_options *options, json_t **ret_answer)
{
    struct buf path CLEANUP(buf_done) = {0};
    buf_append_str(&path, "/v1/usage");
    client_query_add(&path, "since", options->since ? options->since : "1h");
    if (options->until)
        client_query_add(&path, "until", options->until);
    if (options->philosophy)
        client_query_add(&path, "philosophy", options->philosophy);
    for (size_t i = 0; i < options->labels.n_items; i++)
        client_query_add(&path, "label", options->labels.items[i]);
    add_seconds(&path, "limit", AGENTS_MAX);
    if (path.failed)
        return cli_fail(cli, EXIT_FAILED, "out of memory");
    int code = cli_ask_history(cli, path.data, ret_answer);
    if (code == 0 && field_true(*ret_answer, "limited"))
        code = cli_fail(cli, EXIT_USAGE, "more than %d agents: ask for fewer", AGENTS_MAX);
    return code;
}

/* One of the machine (@id NULL) or an agent. */
static int ask_one(struct cli *cli, const struct history_options *options, const char *id,
    const struct span *span, json_t *answers)
{
    struct buf path CLEANUP(buf_done) = {0};
    json_t *answer = NULL;
    int code = history_path(cli, options, id, span->to - span->from, &path);
    if (code == 0)
        code = cli_ask_history(cli, path.data, &answer);
    if (code == 0 && json_array_append_new(answers, answer) < 0)
        code = cli_fail(cli, EXIT_FAILED, "out of memory");
    return code;
}

static int run_show(
    struct cli *cli, const struct history_options *options, char *const *ids, size_t n_ids)
{
    struct history_view view = {0};
    json_t *answers cleanup_json = json_array(), *group cleanup_json = NULL;
    bool grouped = options->philosophy || options->labels.n_items > 0;
    struct span span = {0};
    int code = choose_metrics(cli, &options->metrics, &view);
    for (size_t i = 0; code == 0 && i < n_ids; i++)
        code = cli_check_id(cli, ids[i]);
    if (code == 0)
        code = check_span(cli, options, &span);
    if (code == 0 && options->philosophy)
        code = cli_check_philosophy(cli, options->philosophy);
    if (code == 0 && grouped)
        code = group_agents(cli, options, &group);
    const json_t *rows = field_get(group, "rows");
    for (size_t i = 0; code == 0 && i < json_array_size(rows); i++)
        code = ask_one(cli, options, field_text(json_array_get(rows, i), "name"), &span, answers);
    for (size_t i = 0; code == 0 && i < n_ids; i++)
        code = ask_one(cli, options, ids[i], &span, answers);
    if (code == 0 && !grouped && n_ids == 0)
        code = ask_one(cli, options, NULL, &span, answers);
    return code == 0 ? print_answers(cli, &view, answers, (enum history_format)options->format,
                           grouped || n_ids > 1)
                     : code;
}

/* ---- The largest, and quantiles */

static int add_quantiles(
    const struct cli *cli, const char *item, double quantiles[HISTORY_QUANTILES_MAX], size_t *n)
{
    for (const char *c = item;;) {
        size_t length = strcspn(c, ",");
        double q;
        if (parse_double(c, length, &q) < 0 || !(q >= 0 && q <= 1))
            return cli_usage(
                cli, "--quantile: '%.*s' is not 0 to 1", (int)MIN(length, (size_t)60), c);
        if (*n == HISTORY_QUANTILES_MAX)
            return cli_usage(cli, "--quantile: more than %d", HISTORY_QUANTILES_MAX);
        quantiles[(*n)++] = q;
        if (c[length] == 0)
            return 0;
        c += length + 1;
    }
}

static int run_stats(
    struct cli *cli, const struct history_options *options, char *const *ids, size_t n_ids)
{
    double quantiles[HISTORY_QUANTILES_MAX];
    struct history_view view = {0};
    struct span span = {0};
    struct history_ask ask = {.since = options->since,
        .until = options->until,
        .philosophy = options->philosophy,
        .labels = &options->labels,
        .ids = (const char *const *)ids,
        .n_ids = n_ids,
        .aggregate = options->aggregate,
        .top = options->top,
        .quantiles = quantiles,
        .format = (enum history_format)options->format};
    int code = choose_metrics(cli, &options->metrics, &view);
    for (size_t i = 0; code == 0 && i < options->quantiles.n_items; i++)
        code = add_quantiles(cli, options->quantiles.items[i], quantiles, &ask.n_quantiles);
    for (size_t i = 0; code == 0 && i < n_ids; i++)
        code = cli_check_id(cli, ids[i]);
    if (code == 0 && options->philosophy)
        code = cli_check_philosophy(cli, options->philosophy);
    if (code == 0)
        code = check_span(cli, options, &span);
    if (code != 0)
        return code;
    ask.metrics = view.metrics;
    ask.n_metrics = view.n_metrics;
    return options->top > 0 ? history_top_run(cli, &ask) : history_quantile_run(cli, &ask);
}

/* ---- Whole histories */

static int run_whole(
    struct cli *cli, const struct history_options *options, const char *what, const char *file)
{
    struct span span = {.from = 1};
    int code = check_span(cli, options, &span);
    bool verify = strcmp(what, "verify") == 0;
    if (code != 0)
        return code;
    if (verify == (file != NULL))
        return cli_usage(cli, verify ? "verify takes no file" : "%s: missing file", what);
    if (strcmp(what, "export") == 0)
        return history_export(cli, options->state, file, span.from, span.to);
    if (verify && !options->state)
        return history_verify_daemon(cli);
    if (!options->state)
        return cli_usage(cli, "%s needs --state DIR: the directory of a stopped daemon", what);
    return verify ? history_verify_state(cli, options->state)
                  : history_import(cli, options->state, file);
}

static int run_question(
    struct cli *cli, const struct history_options *options, char *const *ids, size_t n_ids)
{
    char *const named[] = {(char *)options->agent};
    bool quantiles = options->quantiles.n_items > 0, stats = quantiles || options->top > 0;
    bool group = options->philosophy || options->labels.n_items > 0;
    if (options->agent) {
        ids = named;
        n_ids = 1;
    }
    if (options->state)
        return cli_usage(cli, "--state is for verify, export and import");
    if (options->top > 0 && n_ids > 0)
        return cli_usage(cli, "--top is about all agents");
    if (options->top > 0 && quantiles)
        return cli_usage(cli, "--top and --quantile exclude each other");
    if (group && n_ids > 0)
        return cli_usage(cli, "either IDs, or --philosophy and --label");
    if (stats)
        return run_stats(cli, options, ids, n_ids);
    return run_show(cli, options, ids, n_ids);
}

static int history_run(struct cli *cli, void *data, char **operands, int n_operands)
{
    static const char *const whole[] = {"verify", "export", "import"};
    struct history_options *options = data;
    const char *id = options->agent ? options->agent : n_operands > 0 ? operands[0] : NULL;
    if (cli->common.json)
        options->format = FORMAT_JSON;
    if (options->agent && n_operands > 0)
        return cli_usage(cli, "unexpected operand '%.100s' beside --agent", operands[0]);
    for (size_t i = 0; !options->agent && id && i < ARRAY_SIZE(whole); i++) {
        if (strcmp(id, whole[i]) == 0 && n_operands > 2)
            return cli_usage(cli, "unexpected operand '%.100s'", operands[2]);
        if (strcmp(id, whole[i]) == 0)
            return run_whole(cli, options, id, n_operands > 1 ? operands[1] : NULL);
    }
    return run_question(cli, options, operands, (size_t)n_operands);
}

const struct command cmd_history = {
    .name = "history",
    .operands = "[ID... | verify | export FILE | import FILE]",
    .summary = "Show what the machine, or an agent, used over time",
    .details =
        "A sparkline per metric, then a row per step with mean and maximum, of the machine, of\n"
        "each ID, or of each agent of a philosophy or label, also of those that are no longer\n"
        "known. Times without a point were not measured.\n\n"
        "--top and --quantile answer for a whole time: who used most, and below what a share of\n"
        "all samples stayed, of the machine, of several IDs or of a group together.\n\n"
        "verify checks every checksum and invariant of the daemon's history, or of a stopped\n"
        "one's in --state (exit status 1 with findings). export writes everything, or --since\n"
        "to --until, as OpenMetrics with timestamps: values, and counters of CPU time and bytes,\n"
        "from the daemon or from --state; import puts such a file into --state.",
    .options = history_table,
    .options_size = sizeof(struct history_options),
    .most_operands = AGENTS_MAX,
    .run = history_run,
};
