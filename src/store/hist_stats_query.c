/* SPDX-License-Identifier: Apache-2.0 */
/* Quantiles and totals of a span. */
#include <errno.h>
#include <math.h>
#include <string.h>

#include "store/hist_internal.h"

#define EXACT_MAX_MS     (2 * HOUR_MS)
#define EXACT_MAX_VALUES (4u << 20)
#define USAGE_RAW_MAX_MS (48 * HOUR_MS)

/* ---- Quantiles ---------------------------------------------------------------------------- */

struct quantile {
    enum hist_metric metric;
    int64_t from_ms;
    int64_t to_ms;
    bool exact;
    bool coarse; /* an exact answer was wanted, but ticks are gone */
    int64_t *values;
    size_t n_values;
    size_t room;
    struct roll_record *record; /* its sketch of the metric takes all that is not exact */
    struct history_info *info;
};

static int take_value(struct quantile *q, int64_t value)
{
    if (!q->exact) {
        struct roll_stats *s = &q->record->metrics[q->metric];
        s->min = s->known == 0 ? value : MIN(s->min, value);
        s->max = s->known == 0 ? value : MAX(s->max, value);
        s->known++;
        sketch_add(&s->sketch, (uint64_t)value);
        return 0;
    }
    if (q->n_values == q->room) {
        size_t room = q->room * 2 + 4096;
        int64_t *grown = mem_resize_array(q->values, room, sizeof(*grown));
        if (grown == NULL)
            return -ENOMEM;
        q->values = grown;
        q->room = room;
    }
    q->values[q->n_values++] = value;
    return q->n_values > EXACT_MAX_VALUES ? -E2BIG : 0;
}

static int quantile_ticks(
    void *userdata, const struct row_axis *axis, const struct row_section *section)
{
    struct quantile *q = userdata;
    const int64_t *values = section->metrics[q->metric];
    for (uint32_t i = 0; values != NULL && i < section->n; i++) {
        int64_t at = axis->times_ms[section->first + i];
        if (values[i] == HIST_UNKNOWN || at < q->from_ms || at >= q->to_ms)
            continue;
        int r = take_value(q, values[i]);
        if (r < 0)
            return r;
    }
    return 0;
}

static int quantile_minutes(
    void *userdata, const struct row_axis *axis, uint32_t first, const struct roll_minutes *minutes)
{
    struct quantile *q = userdata;
    (void)axis;
    (void)first;
    (void)minutes;
    q->coarse = true; /* means of minutes say nothing about quantiles: hours do */
    return -ENODATA;
}

static int quantile_record(
    void *userdata, enum hist_series series, const struct row_axis *axis, struct byte_reader *body)
{
    struct quantile *q = userdata;
    /* What lies across an edge counts where its larger half is. */
    int64_t middle = axis->times_ms[0] + (axis->times_ms[1] - axis->times_ms[0]) / 2;
    if (q->exact) {
        q->coarse = true;
        return -ENODATA;
    }
    if (middle < q->from_ms || middle >= q->to_ms)
        return 0;
    int64_t span = hist_record_ms(series, axis);
    q->info->resolution_ns = MAX(q->info->resolution_ns, (uint64_t)(span * MS));
    return roll_merge(q->record, body, (int)q->metric);
}

static int quantile_run(struct history *history, struct quantile *q,
    const struct history_whose *subjects, size_t n_subjects, struct ac_error *error)
{
    int r = 0;
    const struct hist_visitor visitor = {.metrics = 1u << q->metric,
        .finest = q->exact ? SERIES_MERGED : SERIES_HOUR,
        .from_ms = q->from_ms,
        .to_ms = q->to_ms,
        .whole_days = true,
        .any_order = true,
        .info = q->info,
        .userdata = q,
        .ticks = quantile_ticks,
        .minutes = quantile_minutes,
        .record = quantile_record};
    for (size_t i = 0; i < n_subjects && r == 0; i++)
        r = hist_visit(history, &subjects[i], &visitor, error);
    return r;
}

static int compare_numbers(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a;
    int64_t y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

static double quantile_answer(struct quantile *q, double rank)
{
    if (q->exact) {
        if (q->n_values == 0)
            return NAN;
        qsort(q->values, q->n_values, sizeof(*q->values), compare_numbers);
        double at = ceil(rank * (double)q->n_values);
        return (double)q->values[at < 1 ? 0 : (size_t)at - 1];
    }
    const struct roll_stats *s = &q->record->metrics[q->metric];
    q->info->error_bound = SKETCH_ERROR_BOUND;
    double value = sketch_quantile(&s->sketch, rank);
    return isnan(value) ? value : MIN(MAX(value, (double)s->min), (double)s->max);
}

int history_quantile(struct history *history, enum ac_resource resource,
    const struct history_whose *subjects, size_t n_subjects, double q, int64_t from_ns,
    int64_t to_ns, double *ret_value, struct history_info *ret_info, struct ac_error *error)
{
    struct history_info info = {0};
    if (!(q >= 0 && q <= 1))
        return error_set(error, -EINVAL, "history: the quantile must be in [0, 1]");
    cleanup_free struct roll_record *record = mem_alloc(sizeof(*record));
    if (record == NULL)
        return error_set(error, -ENOMEM, "no memory");
    struct quantile ask = {.metric = hist_metric_of(resource),
        .from_ms = hist_ceil_ms(from_ns),
        .to_ms = hist_ceil_ms(to_ns),
        .record = record,
        .info = &info};
    ask.exact = ask.to_ms - ask.from_ms <= EXACT_MAX_MS;
    int r = quantile_run(history, &ask, subjects, n_subjects, error);
    if (ask.exact && (ask.coarse || r == -E2BIG)) {
        ask.exact = false;
        info = (struct history_info){0};
        r = quantile_run(history, &ask, subjects, n_subjects, error);
    }
    double value = r < 0 ? NAN : quantile_answer(&ask, q);
    mem_free(ask.values);
    if (r < 0)
        return r;
    *ret_value = value * hist_metric_info(ask.metric)->scale;
    if (ret_info != NULL)
        *ret_info = info;
    return 0;
}

/* ---- Totals ------------------------------------------------------------------------------- */

struct totals {
    int64_t from_ms;
    int64_t to_ms;
    uint64_t samples;
    uint32_t known; /* bit per metric */
    double counters[HIST_COUNTERS];
    double memory_page_ms;
    struct history_info *info;
};

/* Sum of value * step over the ticks of the span. */
static double integrate(const struct totals *t, const struct row_axis *axis,
    const struct row_section *section, const int64_t *values)
{
    double sum = 0;
    int64_t usual = row_usual_step(axis);
    for (uint32_t i = 0; i < section->n; i++) {
        uint32_t tick = section->first + i;
        int64_t at = axis->times_ms[tick];
        if (values[i] != HIST_UNKNOWN && at >= t->from_ms && at < t->to_ms)
            sum += (double)values[i] * (double)row_step(axis, tick, usual);
    }
    return sum;
}

static int totals_ticks(
    void *userdata, const struct row_axis *axis, const struct row_section *section)
{
    struct totals *t = userdata;
    bool whole = true;
    for (uint32_t i = 0; i < section->n; i++) {
        int64_t at = axis->times_ms[section->first + i];
        bool inside = at >= t->from_ms && at < t->to_ms;
        whole &= inside;
        t->samples += inside && section->present[i] != HIST_UNKNOWN;
    }
    for (unsigned m = 0; m < HIST_METRICS; m++) {
        const struct hist_metric_info *info = hist_metric_info(m);
        if (section->metrics[m] == NULL || (info->counter < 0 && m != HIST_MEMORY))
            continue;
        t->known |= 1u << m;
        int c = info->counter;
        if (c >= 0 && whole && section->totals.known >> c & 1)
            t->counters[c] += (double)(section->totals.end[c] - section->totals.start[c]);
        else if (c >= 0)
            t->counters[c] +=
                integrate(t, axis, section, section->metrics[m]) * info->counter_rate / 1000.0;
        else
            t->memory_page_ms += integrate(t, axis, section, section->metrics[m]);
    }
    return 0;
}

/* Minutes have no step of their own: their mean stands for the minute. */
static int totals_minutes(
    void *userdata, const struct row_axis *axis, uint32_t first, const struct roll_minutes *minutes)
{
    struct totals *t = userdata;
    t->info->resolution_ns = MAX(t->info->resolution_ns, (uint64_t)(MINUTE_MS * MS));
    for (uint32_t i = 0; i < minutes->n && first + i < axis->n; i++) {
        int64_t at = axis->times_ms[first + i];
        if (at < t->from_ms || at >= t->to_ms)
            continue;
        t->samples += minutes->samples[i];
        for (unsigned m = 0; m < HIST_METRICS; m++) {
            const struct roll_cell *cell = &minutes->cells[(size_t)m * minutes->n + i];
            const struct hist_metric_info *info = hist_metric_info(m);
            if (cell->known == 0 || (info->counter < 0 && m != HIST_MEMORY))
                continue;
            double value_ms = (double)cell->sum / (double)cell->known * (double)MINUTE_MS;
            t->known |= 1u << m;
            if (info->counter >= 0)
                t->counters[info->counter] += value_ms * info->counter_rate / 1000.0;
            else
                t->memory_page_ms += value_ms;
        }
    }
    return 0;
}

static int totals_record(
    void *userdata, enum hist_series series, const struct row_axis *axis, struct byte_reader *body)
{
    struct totals *t = userdata;
    int64_t middle = axis->times_ms[0] + (axis->times_ms[1] - axis->times_ms[0]) / 2;
    if (middle < t->from_ms || middle >= t->to_ms)
        return 0;
    int64_t span = hist_record_ms(series, axis);
    t->info->resolution_ns = MAX(t->info->resolution_ns, (uint64_t)(span * MS));
    cleanup_free struct roll_record *record = mem_alloc(sizeof(*record));
    if (record == NULL)
        return -ENOMEM;
    int r = roll_merge(record, body, -1);
    if (r < 0)
        return r;
    t->samples += record->samples;
    for (unsigned m = 0; m < HIST_METRICS; m++) {
        const struct roll_stats *s = &record->metrics[m];
        int c = hist_metric_info(m)->counter;
        if (s->known == 0 || (c < 0 && m != HIST_MEMORY))
            continue;
        t->known |= 1u << m;
        if (c >= 0 && s->has_totals)
            t->counters[c] += (double)(s->total_end - s->total_start);
        else if (c >= 0)
            t->counters[c] += (double)s->integral * hist_metric_info(m)->counter_rate / 1000.0;
        else
            t->memory_page_ms += (double)s->integral;
    }
    return 0;
}

static double known_or_nan(const struct totals *t, unsigned metric, double value)
{
    return t->known >> metric & 1 ? value : NAN;
}

int history_usage(struct history *history, const struct history_whose *whose, int64_t from_ns,
    int64_t to_ns, struct history_usage *ret_usage, struct history_info *ret_info,
    struct ac_error *error)
{
    struct history_info info = {0};
    struct totals t = {
        .from_ms = hist_ceil_ms(from_ns), .to_ms = hist_ceil_ms(to_ns), .info = &info};
    bool ticks = t.to_ms - t.from_ms <= USAGE_RAW_MAX_MS;
    const struct hist_visitor visitor = {
        .metrics = 1u << HIST_CPU | 1u << HIST_MEMORY | 1u << HIST_DISK_IO | 1u << HIST_NETWORK_IO,
        .finest = ticks ? SERIES_MERGED : SERIES_HOUR,
        .from_ms = t.from_ms,
        .to_ms = t.to_ms,
        .any_order = true,
        .info = &info,
        .userdata = &t,
        .ticks = totals_ticks,
        .minutes = totals_minutes,
        .record = totals_record};
    int r = hist_visit(history, whose, &visitor, error);
    if (r < 0)
        return r;
    const double page_ms_to_gib_hours = 4096.0 / (1024.0 * 1024 * 1024) / 3600000.0;
    *ret_usage = (struct history_usage){.samples = t.samples,
        .cpu_seconds = known_or_nan(&t, HIST_CPU, t.counters[0] * 1e-9),
        .memory_gib_hours = known_or_nan(&t, HIST_MEMORY, t.memory_page_ms * page_ms_to_gib_hours),
        .disk_bytes = known_or_nan(&t, HIST_DISK_IO, t.counters[1] * 1e-3),
        .network_bytes = known_or_nan(&t, HIST_NETWORK_IO, t.counters[2] * 1e-3)};
    if (ret_info != NULL)
        *ret_info = info;
    return 0;
}
