/* SPDX-License-Identifier: Apache-2.0 */
/* agentcore history verify and export. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "apps/cli/history_om.h"
#include "apps/cli/history_store.h"
#include "base/clock.h"
#include "store/history.h"

#define PAGE_POINTS "20000"
#define SUBJECTS    "10000"

int history_open_state(
    const struct cli *cli, const char *state, bool make, struct history **ret_history)
{
    struct buf path CLEANUP(buf_done) = {0};
    struct ac_error error = {0};
    if (buf_printf(&path, "%s/history.db", state) < 0)
        return cli_fail(cli, EXIT_FAILED, "out of memory");
    if (make && mkdir(state, 0700) < 0 && errno != EEXIST)
        return cli_fail(cli, EXIT_FAILED, "%s: %s", state, strerror(errno));
    if (!make && access(path.data, F_OK) < 0)
        return cli_fail(cli, EXIT_NOT_FOUND, "%s: %s", path.data, strerror(errno));
    /* Nothing may be dropped for its age on the way. */
    const uint64_t ever = UINT64_C(20) * 366 * 86400 * NS_PER_SEC;
    const struct history_options options = {.directory = state,
        .keep_raw_ns = ever,
        .keep_minutes_ns = ever,
        .keep_hours_ns = ever,
        .keep_days_ns = ever};
    int r = history_open(NULL, &options, ret_history, &error);
    if (r == -EBUSY)
        return cli_fail(cli, EXIT_REFUSED, "%s (stop the daemon first)", error.message);
    return r < 0 ? cli_fail(cli, EXIT_FAILED, "%s", error.message) : 0;
}

/* ---- Verify */

struct findings {
    json_t *texts; /* with --json */
};

static void print_finding(void *userdata, const char *text)
{
    struct findings *findings = userdata;
    struct buf safe CLEANUP(buf_done) = {0};
    text_safe(&safe, text);
    if (findings->texts)
        json_array_append_new(findings->texts, json_string(safe.data ? safe.data : ""));
    else
        puts(safe.data ? safe.data : "");
}

/* @n findings, told already; takes them over. */
static int verified(const struct cli *cli, const char *what, struct findings *findings, int64_t n)
{
    int code = 0;
    if (cli->common.json) {
        json_t *answer cleanup_json = json_object();
        json_object_set_new(answer, "findings", findings->texts);
        code = cli_print_json(cli, answer, false);
    } else {
        printf("%s: %s\n", what, n == 0 ? "sound" : "damaged");
    }
    return n > 0 ? EXIT_FAILED : code;
}

int history_verify_state(const struct cli *cli, const char *state)
{
    struct history *history = NULL;
    struct ac_error error = {0};
    struct findings findings = {0};
    int code = history_open_state(cli, state, false, &history);
    if (code != 0)
        return code;
    findings.texts = cli->common.json ? json_array() : NULL;
    int64_t n = history_verify(history, print_finding, &findings, &error);
    history_close(history);
    if (n >= 0)
        return verified(cli, state, &findings, n);
    json_decref(findings.texts);
    return cli_fail(cli, EXIT_FAILED, "%s", error.message);
}

#define VERIFY_TIMEOUT_MS (6u * 3600 * 1000)

int history_verify_daemon(struct cli *cli)
{
    struct findings findings = {0};
    json_t *answer cleanup_json = NULL;
    const json_t *message;
    size_t i;
    int code = cli_connect(cli);
    if (code != 0)
        return code;
    client_set_timeout(cli->client, VERIFY_TIMEOUT_MS);
    code = cli_call(cli, "POST", "/v1/history/verify", NULL, &answer);
    if (code != 0)
        return code;
    findings.texts = cli->common.json ? json_array() : NULL;
    json_array_foreach(json_object_get(answer, "messages"), i, message)
    {
        const char *text = json_string_value(json_object_get(message, "text"));
        print_finding(&findings, text ? text : "?");
    }
    return verified(cli, "the daemon's history", &findings,
        json_integer_value(json_object_get(answer, "findings")));
}

/* ---- Export */

struct export
{
    struct cli *cli;
    struct history *history; /* NULL = ask the daemon */
    int64_t from_ns, to_ns;
    FILE *out;
    char(*subjects)[AC_AGENT_ID_MAX + 1];
    size_t n_subjects, room;
    const struct om_family *family;
    const char *subject;
    double total; /* of a counter, since its first sample */
    uint64_t samples;
    int64_t behind_ns; /* where the next page begins */
};

static int add_name(struct export *export, const char *name)
{
    if (export->n_subjects == export->room) {
        size_t room = MAX(export->room * 2, (size_t)16);
        void *subjects = mem_resize_array(export->subjects, room, sizeof(*export->subjects));
        if (!subjects)
            return -ENOMEM;
        export->subjects = subjects;
        export->room = room;
    }
    snprintf(export->subjects[export->n_subjects++], AC_AGENT_ID_MAX + 1, "%s", name);
    return 0;
}

static int add_subject(void *userdata, const struct history_subject *subject)
{
    const struct export *export = userdata;
    const char *last = export->n_subjects > 0 ? export->subjects[export->n_subjects - 1] : NULL;
    bool again = last && strcmp(last, subject->name) == 0; /* it had another owner before */
    return again ? 0 : add_name(userdata, subject->name);
}

/* Of a counter, what was added to it. */
static void export_value(struct export *export, int64_t time_ns, double value)
{
    if (!isfinite(value))
        return;
    export->total += value;
    om_write_sample(export->out, export->family, export->subject, time_ns,
        export->family->counter ? export->total : value);
    export->samples++;
}

static double used_of(const struct history_point *point, const struct om_family *family)
{
    return family->counter == 1   ? point->cpu_seconds
           : family->counter == 2 ? point->disk_bytes
                                  : point->network_bytes;
}

static int export_point(void *userdata, const struct history_point *point)
{
    struct export *export = userdata;
    const struct om_family *family = export->family;
    export_value(export, point->from_ns,
        family->counter ? used_of(point, family) : om_usage_get(&point->mean, family));
    return ferror(export->out) ? -EIO : 0;
}

static int series_of_state(struct export *export)
{
    const struct history_query query = {.subject = export->subject,
        .owner = HISTORY_ANYBODY,
        .from_ns = export->from_ns,
        .to_ns = export->to_ns,
        .metrics = export->family->bit,
        .used = export->family->counter != 0};
    struct ac_error error = {0};
    int r = history_range_query(export->history, &query, export_point, export, NULL, &error);
    if (r < 0)
        return cli_fail(
            export->cli, EXIT_FAILED, "%s", error.message[0] ? error.message : strerror(-r));
    return 0;
}

static void export_page(struct export *export, const json_t *series)
{
    const json_t *points = field_get(series, "points"), *point;
    size_t i;
    json_array_foreach((json_t *)points, i, point)
    {
        const char *part = export->family->counter ? "used" : "usage";
        int64_t time = field_time(point, "time");
        double step = field_number(point, "step_seconds") * NS_PER_SEC;
        export_value(export, time, field_number(field_get(point, part), export->family->field));
        export->behind_ns = time + (int64_t)fmax(step, 1e6);
    }
}

/* All pages of a series. One that is cut where it began would be asked for again and again. */
static int series_of_daemon(struct export *export)
{
    char time[TEXT_SHORT];
    int64_t from = export->from_ns;
    for (bool more = true; more;) {
        struct buf path CLEANUP(buf_done) = {0};
        json_t *answer cleanup_json = NULL;
        buf_append_str(&path, "/v1/history/range");
        client_query_add(&path, "agents", *export->subject ? export->subject : "system");
        client_query_add(&path, "metrics", export->family->resource);
        client_query_add(&path, "since", text_rfc3339(time, from));
        client_query_add(&path, "until", text_rfc3339(time, export->to_ns));
        client_query_add(&path, "limit", PAGE_POINTS);
        if (path.failed)
            return cli_fail(export->cli, EXIT_FAILED, "out of memory");
        int code = cli_ask_history(export->cli, path.data, &answer);
        if (code != 0)
            return code;
        const json_t *series = json_array_get(field_get(answer, "series"), 0);
        export->behind_ns = from;
        export_page(export, series);
        more = field_true(series, "limited") && export->behind_ns < export->to_ns &&
               !ferror(export->out);
        if (more && export->behind_ns <= from)
            return cli_fail(export->cli, EXIT_FAILED,
                "the daemon's answer is not whole: it ends at %s", text_rfc3339(time, from));
        from = export->behind_ns;
    }
    return 0;
}

static int subjects_of_daemon(struct export *export)
{
    char time[TEXT_SHORT];
    struct buf path CLEANUP(buf_done) = {0};
    json_t *answer cleanup_json = NULL;
    buf_append_str(&path, "/v1/usage");
    client_query_add(&path, "since", text_rfc3339(time, export->from_ns));
    client_query_add(&path, "until", text_rfc3339(time, export->to_ns));
    client_query_add(&path, "limit", SUBJECTS);
    if (path.failed)
        return cli_fail(export->cli, EXIT_FAILED, "out of memory");
    int code = cli_ask_history(export->cli, path.data, &answer);
    if (code != 0)
        return code;
    if (field_true(answer, "limited"))
        return cli_fail(export->cli, EXIT_FAILED,
            "more than " SUBJECTS " agents: ask for a shorter span, or export from the state "
            "directory of a stopped daemon with --state");
    const json_t *rows = field_get(answer, "rows"), *row;
    size_t i;
    int r = add_name(export, "");
    json_array_foreach((json_t *)rows, i, row)
    {
        const char *name = field_text(row, "name");
        if (r == 0 && name && ac_agent_id_valid(name))
            r = add_name(export, name);
    }
    return r < 0 ? cli_fail(export->cli, EXIT_FAILED, "out of memory") : 0;
}

static int subjects_of_state(struct export *export)
{
    struct ac_error error = {0};
    int r = history_subjects(export->history, HISTORY_ANYBODY, export->from_ns, export->to_ns,
        UINT32_MAX, add_subject, export, &error);
    if (r < 0)
        return cli_fail(
            export->cli, EXIT_FAILED, "%s", error.message[0] ? error.message : strerror(-r));
    return 0;
}

static int export_all(struct export *export)
{
    int code = export->history ? subjects_of_state(export) : subjects_of_daemon(export);
    for (size_t f = 0; code == 0 && f < OM_FAMILIES; f++) {
        export->family = &om_families[f];
        om_write_head(export->out, export->family);
        for (size_t i = 0; code == 0 && i < export->n_subjects; i++) {
            export->subject = export->subjects[i];
            export->total = 0;
            code = export->history ? series_of_state(export) : series_of_daemon(export);
        }
    }
    if (code == 0)
        om_write_end(export->out);
    return code;
}

/* The file appears whole or not at all. Names of agents are nobody else's business. */
static int export_to_file(struct export *export, const char *path)
{
    struct buf part CLEANUP(buf_done) = {0};
    if (buf_printf(&part, "%s.part", path) < 0)
        return cli_fail(export->cli, EXIT_FAILED, "out of memory");
    int fd = open(part.data, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    export->out = fd < 0 ? NULL : fdopen(fd, "w");
    if (!export->out) {
        int code = cli_fail(export->cli, EXIT_FAILED, "%s: %s", part.data, strerror(errno));
        if (fd >= 0)
            close(fd);
        return code;
    }
    int code = export_all(export);
    bool failed = ferror(export->out) || fflush(export->out) != 0 || fsync(fd) < 0;
    failed |= fclose(export->out) != 0;
    if (code == 0 && (failed || rename(part.data, path) < 0))
        code = cli_fail(export->cli, EXIT_FAILED, "%s: cannot be written: %s", path,
            strerror(errno ? errno : EIO));
    if (code != 0)
        unlink(part.data);
    return code;
}

static int print_counts(const struct cli *cli, const struct export *export)
{
    json_t *counts cleanup_json = json_object();
    json_object_set_new(counts, "samples", json_integer((json_int_t) export->samples));
    json_object_set_new(counts, "subjects", json_integer((json_int_t) export->n_subjects));
    return cli_print_json(cli, counts, false);
}

int history_export(
    struct cli *cli, const char *state, const char *path, int64_t from_ns, int64_t to_ns)
{
    struct export export = {.cli = cli, .from_ns = from_ns, .to_ns = to_ns, .out = stdout};
    bool standard = strcmp(path, "-") == 0;
    int code = state ? history_open_state(cli, state, false, &export.history) : 0;
    if (code != 0)
        return code;
    code = standard ? export_all(&export) : export_to_file(&export, path);
    if (code == 0 && !standard && cli->common.json)
        code = print_counts(cli, &export);
    else if (code == 0 && !standard)
        printf("%" PRIu64 " samples of %zu subjects\n", export.samples, export.n_subjects);
    mem_free(export.subjects);
    history_close(export.history);
    return code;
}
