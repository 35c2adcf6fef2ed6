/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <string.h>
#include <unistd.h>

#include <agentcore.h>

#include "apps/cli/run_standalone.h"
#include "base/io.h"

static void write_error(struct buf *text)
{
    if (!text->failed && text->size > 0)
        io_write_all(STDERR_FILENO, text->data, text->size);
}

/* Seconds and MiB to the microsecond and the byte: more digits are noise. */
static json_t *rounded(double value)
{
    return field_real(isfinite(value) ? round(value * 1e6) / 1e6 : value);
}

static json_t *count_of(double value)
{
    return isfinite(value) ? json_integer((json_int_t)value) : json_null();
}

void report_json(const struct standalone *run, const struct standalone_result *result)
{
    const struct meter_totals *totals = &result->totals;
    bool known = result->metered;
    json_t *object cleanup_json = json_object();
    struct buf line CLEANUP(buf_done) = {0};
    json_object_set_new(object, "id", json_string(run->spec.id));
    json_object_set_new(object, "exit_code", json_integer(result->exit_code));
    json_object_set_new(object, "wall_seconds", rounded(result->wall_seconds));
    json_object_set_new(object, "cpu_seconds", rounded(known ? totals->cpu_seconds : NAN));
    json_object_set_new(object, "memory_peak_mb", rounded(known ? totals->memory_peak_mb : NAN));
    json_object_set_new(object, "disk_read_mb", rounded(known ? totals->disk_read_mb : NAN));
    json_object_set_new(object, "disk_write_mb", rounded(known ? totals->disk_write_mb : NAN));
    json_object_set_new(object, "network_mb", json_null());
    json_object_set_new(
        object, "processes_total", count_of(known ? (double)totals->processes_total : NAN));
    json_object_set_new(
        object, "file_descriptors_peak", count_of(known ? totals->file_descriptors_peak : NAN));
    json_object_set_new(object, "orphans", count_of(known ? (double)result->orphans : NAN));
    char *text = json_dumps(object, JSON_COMPACT | JSON_REAL_PRECISION(15));
    /* The command may have left its last line unfinished. */
    if (!isatty(STDERR_FILENO) && result->started)
        buf_append_char(&line, '\n');
    if (text)
        buf_printf(&line, "%s\n", text);
    free(text);
    write_error(&line);
}

static void limit_line(
    struct buf *text, const struct cli *cli, const char *what, const char *value, const char *limit)
{
    buf_printf(text, "  %s%s %s is above the limit of %s%s\n",
        style_on(STYLE_WARNING, cli->colour_errors), what, value, limit,
        style_off(STYLE_WARNING, cli->colour_errors));
}

static void limit_lines(struct buf *text, const struct cli *cli, const struct standalone *run,
    const struct standalone_result *result)
{
    const struct agent_limits *limits = &run->spec.limits;
    const struct meter_totals *totals = &result->totals;
    char value[TEXT_SHORT], limit[TEXT_SHORT];
    if (limits->max_memory_mb > 0 && totals->memory_peak_mb > limits->max_memory_mb)
        limit_line(text, cli, "memory", text_size_long(value, totals->memory_peak_mb),
            text_size_long(limit, limits->max_memory_mb));
    if (limits->max_execution_time_seconds > 0 &&
        result->wall_seconds > limits->max_execution_time_seconds)
        limit_line(text, cli, "time", text_duration(value, result->wall_seconds),
            text_duration(limit, limits->max_execution_time_seconds));
    double cores = result->wall_seconds > 0 ? totals->cpu_seconds / result->wall_seconds : NAN;
    if (limits->max_cpu_cores > 0 && cores > limits->max_cpu_cores) {
        snprintf(value, sizeof(value), "%.2f cores", cores);
        snprintf(limit, sizeof(limit), "%.2f", limits->max_cpu_cores);
        limit_line(text, cli, "CPU", value, limit);
    }
    if (limits->max_file_descriptors > 0 &&
        totals->file_descriptors_peak > (double)limits->max_file_descriptors)
        limit_line(text, cli, "open files", text_count(value, totals->file_descriptors_peak),
            text_count(limit, (double)limits->max_file_descriptors));
}

static void orphan_line(struct buf *text, const struct standalone_result *result)
{
    if (result->orphans == 0)
        return;
    buf_printf(text, "  left behind: %llu process%s", (unsigned long long)result->orphans,
        result->orphans == 1 ? "" : "es");
    if (result->killed > 0)
        buf_printf(text, ", %llu ended", (unsigned long long)result->killed);
    for (size_t i = 0; i < result->n_left; i++) {
        buf_printf(text, "%s%d ", i == 0 ? "; alive: " : ", ", result->left[i].pid);
        text_safe(text, result->left[i].name);
    }
    buf_append_str(text, result->totals.alive > result->n_left ? ", ...\n" : "\n");
}

void report_people(
    const struct cli *cli, const struct standalone *run, const struct standalone_result *result)
{
    const struct meter_totals *totals = &result->totals;
    char a[TEXT_SHORT], b[TEXT_SHORT], c[TEXT_SHORT];
    struct buf text CLEANUP(buf_done) = {0};
    bool good = result->exit_code == 0;
    buf_printf(&text, "agentcore: %s (%s) %sended with %d%s after %s\n", run->spec.id,
        ac_philosophy_name(run->spec.philosophy),
        style_on(good ? STYLE_GOOD : STYLE_BAD, cli->colour_errors), result->exit_code,
        style_off(STYLE_GOOD, cli->colour_errors), text_duration(a, result->wall_seconds));
    if (result->metered) {
        double cores = result->wall_seconds > 0 ? totals->cpu_seconds / result->wall_seconds : 0;
        buf_printf(&text, "  cpu     %.3f s (%.2f cores)   memory peak %s\n", totals->cpu_seconds,
            cores, text_size_long(c, totals->memory_peak_mb));
        buf_printf(&text, "  disk    %s read, %s written   network -\n",
            text_size_long(a, totals->disk_read_mb), text_size_long(b, totals->disk_write_mb));
        buf_printf(&text, "  processes %llu   open files at most %s\n",
            (unsigned long long)totals->processes_total,
            text_count(a, totals->file_descriptors_peak));
        limit_lines(&text, cli, run, result);
        orphan_line(&text, result);
    }
    write_error(&text);
}
