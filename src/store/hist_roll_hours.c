/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sections of hour and day rows.
 *
 *     samples     varint
 *     metrics     varint: a bit for each one that follows
 *     span        signed varint: ms that the samples stood for, less 1,000 for each of them
 *     metrics     each a varint size and so many bytes of the range coder
 *
 * A stream: whether there are totals; whether every sample knows the same value, else whether
 * every sample knows one, else how many do. Where any does: minimum, maximum less that, the
 * sketch (hist_sketch.h), the sum as its distance from the middle of what the
 * sketch allows (in so many bits fewer than that needs), and the integral as its difference from
 * sum * span / samples. Totals: the start, and the growth less what the integral tells.
 */
#include <assert.h>
#include <errno.h>
#include <stddef.h>

#include "base/mem.h"
#include "store/hist_roll.h"
#include "store/hist_roll_models.h"

#define SAMPLES_MAX ((uint64_t)1 << 20)
#define WORST       8192 /* bytes of a stream: 864 counts and then some */
#define WIDE_BITS   40   /* of a value: from there on widths of buckets might wrap around */
#define USUAL_MS    1000
#define SPAN_MAX    1e15

struct frame {
    uint64_t samples;
    uint64_t span_ms;
};

/* ---- One metric --------------------------------------------------------------------------- */

/* The sum, from the middle between what the sketch allows. */
static int64_t code_hour_sum(struct code *c, struct hour_models *m, const struct roll_stats *s)
{
    uint64_t width;
    uint64_t least = sketch_least_sum(&s->sketch, (uint64_t)s->min, (uint64_t)s->max, &width);
    int64_t middle = (int64_t)(least + width / 2);
    uint64_t rest = zigzag(wrap_sub(s->sum, middle));
    if (s->max >> WIDE_BITS)
        return wrap_add(middle, code_signed(c, m->sum_wide, unzigzag(rest)));
    if (width == 0)
        return middle;
    unsigned room = bit_length(width) + 1;
    unsigned fewer = code_tree(c, m->sum, room - bit_length(rest), CODE_LEVELS);
    if (fewer > room) {
        c->bad = true;
        return 0;
    }
    int64_t sum = wrap_add(middle, unzigzag(code_rest(c, rest, room - fewer)));
    c->bad = c->bad || (uint64_t)sum - least > width;
    return sum;
}

static void code_known(
    struct code *c, struct hour_models *m, const struct frame *frame, struct roll_stats *s)
{
    bool steady = code_bit(c, &m->steady, s->known == frame->samples && s->min == s->max);
    if (steady || code_bit(c, &m->full, s->known == frame->samples))
        s->known = frame->samples;
    else
        s->known = code_uniform(c, s->known, frame->samples);
    if (s->known == 0)
        return;
    uint64_t spread = (uint64_t)wrap_sub(s->max, s->min);
    s->min = (int64_t)code_number(c, m->min.size[0], m->min.top, (uint64_t)s->min);
    if (steady)
        spread = 0;
    else
        spread = code_number(c, m->spread.size[0], m->spread.top, spread);
    if (s->min > HIST_VALUE_MAX || spread > (uint64_t)(HIST_VALUE_MAX - s->min) ||
        (spread > 0 && s->known < 2)) {
        c->bad = true;
        return;
    }
    s->max = s->min + (int64_t)spread;
    if (c->reading)
        sketch_expect(&s->sketch, (uint64_t)s->min, (uint64_t)s->max, s->known);
    sketch_code(c, &m->sketch, &s->sketch);
    if (!c->bad)
        s->sum = code_hour_sum(c, m, s);
    uint64_t each = frame->span_ms / frame->samples;
    uint64_t more = frame->span_ms % frame->samples;
    uint64_t sum = (uint64_t)s->sum;
    uint64_t told =
        sum * each + sum / frame->samples * more + sum % frame->samples * more / frame->samples;
    int64_t rest = code_signed(c, m->integral, wrap_sub(s->integral, (int64_t)told));
    s->integral = wrap_add((int64_t)told, rest);
}

static void code_totals(
    struct code *c, struct hour_models *m, unsigned metric, struct roll_stats *s)
{
    uint64_t rate = (uint64_t)hist_metric_info(metric)->counter_rate;
    uint64_t integral = (uint64_t)s->integral;
    uint64_t told = integral / 1000 * rate + integral % 1000 * rate / 1000;
    s->total_start = code_wide(c, m->start, s->total_start);
    int64_t rest = (int64_t)(s->total_end - s->total_start - told);
    s->total_end = s->total_start + told + (uint64_t)code_signed(c, m->growth, rest);
}

static void code_stats(
    struct code *c, unsigned metric, const struct frame *frame, struct roll_stats *s)
{
    struct hour_models m;
    hour_models_load(metric, &m);
    s->has_totals = code_bit(c, &m.totals, s->has_totals);
    code_known(c, &m, frame, s);
    if (s->has_totals && !c->bad)
        code_totals(c, &m, metric, s);
}

/* ---- A section ---------------------------------------------------------------------------- */

/* The span that fits the integrals best: of a steady metric, else of any. */
static uint64_t find_span(const struct roll_record *record)
{
    uint64_t span = record->samples * USUAL_MS;
    bool found = false;
    for (unsigned m = 0; m < HIST_METRICS; m++) {
        const struct roll_stats *s = &record->metrics[m];
        if (s->known != record->samples || s->sum <= 0 || s->integral <= 0)
            continue;
        if (s->min == s->max)
            return (uint64_t)(s->integral / s->min);
        double fit = (double)s->integral / (double)s->sum * (double)s->known + 0.5;
        if (!found && fit < SPAN_MAX)
            span = (uint64_t)fit;
        found = true;
    }
    return span;
}

/* Coding sets what it was given. */
static void copy_stats(struct roll_stats *to, const struct roll_stats *from)
{
    const struct sketch *sketch = &from->sketch;
    assert(sketch->count == from->known);
    memcpy(to, from, offsetof(struct roll_stats, sketch.counts));
    memcpy(&to->sketch.counts[sketch->low], &sketch->counts[sketch->low],
        (sketch->high - sketch->low) * sizeof(sketch->counts[0]));
}

void roll_encode(const struct roll_record *record, struct buf *out)
{
    static _Thread_local struct roll_stats stats;
    uint8_t bytes[WORST];
    uint32_t mask = 0;
    for (unsigned m = 0; m < HIST_METRICS && record->samples > 0; m++)
        mask |= (uint32_t)(record->metrics[m].known > 0 || record->metrics[m].has_totals) << m;
    const struct frame frame = {record->samples, find_span(record)};
    buf_put_varint(out, frame.samples);
    buf_put_varint(out, mask);
    buf_put_signed(out, (int64_t)(frame.span_ms - frame.samples * USUAL_MS));
    for (unsigned m = 0; m < HIST_METRICS; m++) {
        struct code c = {0};
        if (!(mask >> m & 1))
            continue;
        copy_stats(&stats, &record->metrics[m]);
        range_encoder_init(&c.e, bytes, sizeof(bytes));
        code_stats(&c, m, &frame, &stats);
        const uint8_t *end = range_finish(&c.e, bytes);
        assert(end != NULL && !c.bad);
        buf_put_varint(out, (uint64_t)(end - bytes));
        buf_append(out, bytes, (size_t)(end - bytes));
    }
}

static void join(struct roll_stats *to, const struct roll_stats *s)
{
    if (s->known > 0) {
        to->min = to->known == 0 ? s->min : MIN(to->min, s->min);
        to->max = to->known == 0 ? s->max : MAX(to->max, s->max);
        to->known += s->known;
        to->sum = wrap_add(to->sum, s->sum);
        to->integral = wrap_add(to->integral, s->integral);
        sketch_join(&to->sketch, &s->sketch);
    }
    if (s->has_totals)
        row_join_totals(
            !to->has_totals, &to->total_start, &to->total_end, s->total_start, s->total_end);
    to->has_totals = to->has_totals || s->has_totals;
}

static int merge_stats(struct roll_stats *to, unsigned metric, const struct frame *frame,
    const uint8_t *bytes, size_t size)
{
    static _Thread_local struct roll_stats stats;
    struct code c = {.reading = true};
    stats.known = 0;
    stats.min = stats.max = stats.sum = stats.integral = 0;
    range_decoder_init(&c.d, bytes, size);
    code_stats(&c, metric, frame, &stats);
    if (!c.bad)
        join(to, &stats);
    sketch_clear(&stats.sketch);
    return c.bad ? -EBADMSG : 0;
}

int roll_merge(struct roll_record *record, struct byte_reader *r, int only)
{
    const uint64_t samples = get_capped(r, SAMPLES_MAX);
    uint32_t mask = (uint32_t)get_capped(r, (1u << HIST_METRICS) - 1);
    const struct frame frame = {samples, (uint64_t)get_signed(r) + samples * USUAL_MS};
    if (r->bad || (samples == 0 && mask != 0))
        return -EBADMSG;
    record->samples += samples;
    for (unsigned m = 0; m < HIST_METRICS; m++) {
        if (!(mask >> m & 1))
            continue;
        size_t size = get_capped(r, reader_left(r));
        const uint8_t *bytes = get_bytes(r, size);
        if (r->bad)
            return -EBADMSG;
        if (only >= 0 && (unsigned)only != m)
            continue;
        int result = merge_stats(&record->metrics[m], m, &frame, bytes, size);
        if (result < 0 || only >= 0)
            return result;
    }
    return 0;
}
