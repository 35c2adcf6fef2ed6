/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sections of minute rows: one stream of the range coder.
 *
 * Of each minute first the number of samples (60 is expected at first, then that of the minute
 * before). Then for each metric whether it is known; whether it is steady, one value in every
 * sample; else what divides all its values and sums, and cell by cell in the order of time:
 *
 *   - whether every sample knows the metric, or none, or how many do;
 *   - whether the cell is flat, all its values equal. Then the value: the last cell's maximum,
 *     its minimum, 0, or a distance from that maximum;
 *   - else the minimum, likewise, from the last minimum; the maximum: the last one, or the
 *     spread above the minimum; and the sum. Of that, minimum and maximum are in it at least
 *     once each. The rest is whole spreads, and what is left over as a number below the spread,
 *     all equally likely.
 *
 * "Last" are the cells of the same metric; before the first one everything is 0.
 */
#include <assert.h>
#include <errno.h>

#include "base/mem.h"
#include "store/hist_roll.h"
#include "store/hist_roll_models.h"

#define EXPECTED_SAMPLES 60
#define WORST_CELL       64 /* bytes */
#define WORST_MINUTE     16
#define WORST_SECTION    512
#define PLAIN_BITS       48 /* of a value: from there on its sums may wrap around */

/* ---- One cell ----------------------------------------------------------------------------- */

struct cell_state {
    struct roll_cell last;
    bool any; /* there was a cell */
    bool full;
    bool flat;
    bool same_min;
    bool even;
    unsigned distance; /* bit lengths of the last ones */
    unsigned spread;
};

static unsigned size_context(unsigned size)
{
    return MIN(size / 3, ROLL_CONTEXTS - 1u);
}

/* A value that is not @from. */
static int64_t code_distance(
    struct code *c, struct cell_models *m, struct cell_state *s, int64_t from, int64_t value)
{
    bool fell = code_bit(c, &m->sign[s->flat], value < from);
    uint64_t distance = fell ? (uint64_t)(from - value) : (uint64_t)(value - from);
    distance =
        code_number(c, m->distance.size[size_context(s->distance)], m->distance.top, distance);
    s->distance = bit_length(distance);
    value = wrap_add(from, fell ? wrap_sub(0, (int64_t)distance) : (int64_t)distance);
    if (value >= 0 && value <= HIST_VALUE_MAX)
        return value;
    c->bad = true;
    return 0;
}

static int64_t code_flat(struct code *c, struct cell_models *m, struct cell_state *s, int64_t value)
{
    const struct roll_cell *last = &s->last;
    if (code_bit(c, &m->same_max[s->flat], value == last->max))
        return last->max;
    if (!s->flat && code_bit(c, &m->same_min[s->any], value == last->min))
        return last->min;
    if (last->min != 0 && code_bit(c, &m->zero[s->flat], value == 0))
        return 0;
    return code_distance(c, m, s, last->max, value);
}

static int64_t code_min(struct code *c, struct cell_models *m, struct cell_state *s, int64_t min)
{
    const struct roll_cell *last = &s->last;
    s->same_min = code_bit(c, &m->same_min[2 + s->same_min], min == last->min);
    if (s->same_min)
        return last->min;
    if (last->min != 0 && code_bit(c, &m->zero[s->flat], min == 0))
        return 0;
    if (!s->flat && code_bit(c, &m->risen, min == last->max))
        return last->max;
    return code_distance(c, m, s, last->min, min);
}

static uint64_t code_spread(
    struct code *c, struct cell_models *m, struct cell_state *s, const struct roll_cell *cell)
{
    uint64_t spread = (uint64_t)wrap_sub(cell->max, cell->min);
    uint64_t to_last = s->last.max > cell->min ? (uint64_t)(s->last.max - cell->min) : 0;
    if (to_last > 0 && code_bit(c, &m->same_top[s->flat], spread == to_last)) {
        spread = to_last;
    } else {
        unsigned context = size_context(to_last > 0 ? bit_length(to_last) : s->spread);
        spread = code_number(c, m->spread.size[context], m->spread.top, spread);
    }
    s->spread = bit_length(spread);
    if (spread > 0 && spread <= (uint64_t)(HIST_VALUE_MAX - cell->min))
        return spread;
    c->bad = true;
    return 1;
}

/* How many whole spreads there would be if the mean had stayed as it was. */
static uint64_t expected_whole(
    const struct cell_state *s, const struct roll_cell *cell, uint64_t spread)
{
    if (s->last.known == 0)
        return 0;
    uint64_t mean = (uint64_t)s->last.sum / s->last.known;
    uint64_t above = mean > (uint64_t)cell->min ? mean - (uint64_t)cell->min : 0;
    return above > spread ? cell->known : above * cell->known / spread;
}

static int64_t code_sum(
    struct code *c, struct cell_models *m, struct cell_state *s, const struct roll_cell *cell)
{
    uint64_t spread = (uint64_t)(cell->max - cell->min);
    uint64_t least = cell->known * (uint64_t)cell->min + spread;
    uint64_t rest = (uint64_t)cell->sum - least;
    if (cell->known == 2)
        return (int64_t)least;
    if (spread >> PLAIN_BITS)
        return (int64_t)(least + code_raw(c, rest, 64));
    unsigned context = MIN(bit_length(expected_whole(s, cell, spread)), 7u);
    uint64_t whole = rest / spread;
    unsigned size =
        code_tree(c, m->whole_size[context], MIN(bit_length(whole), 15u), CODE_SMALL_LEVELS);
    if (size > 1) {
        uint64_t leading = 2 + code_bit(c, &m->whole_top[size], whole >> (size - 2) & 1);
        whole = leading << (size - 2) | code_raw(c, whole & ((1u << (size - 2)) - 1), size - 2);
    } else {
        whole = size;
    }
    rest %= spread;
    if (spread > 1)
        s->even = code_bit(c, &m->even[s->even | MIN(whole, 3u) << 1], rest == 0);
    if (spread > 1 && !s->even)
        rest = 1 + code_uniform(c, rest - 1, spread - 1);
    else
        rest = 0;
    if (whole + (rest > 0) > cell->known - 2)
        c->bad = true;
    return (int64_t)(least + whole * spread + rest);
}

static void code_values(
    struct code *c, struct cell_models *m, struct cell_state *s, bool quiet, struct roll_cell *cell)
{
    bool flat = cell->known == 1 ||
                code_bit(c, &m->flat[s->flat | s->any << 1 | quiet << 2], cell->min == cell->max);
    if (flat) {
        cell->min = cell->max = code_flat(c, m, s, cell->min);
        cell->sum = wrap_mul(cell->known, cell->min);
    } else {
        cell->min = code_min(c, m, s, cell->min);
        cell->max = cell->min + (int64_t)code_spread(c, m, s, cell);
        cell->sum = code_sum(c, m, s, cell);
    }
    s->flat = flat;
    s->any = true;
    s->last = *cell;
}

/* @quiet: the last metric was flat in this minute. */
static void code_cell(struct code *c, struct cell_models *m, struct cell_state *s, bool quiet,
    uint32_t samples, struct roll_cell *cell)
{
    unsigned context = s->any ? 1 + s->full : 0;
    s->full = code_bit(c, &m->full[context], cell->known == samples);
    if (s->full) {
        cell->known = samples;
    } else if (code_bit(c, &m->none[context], cell->known == 0)) {
        *cell = (struct roll_cell){0};
        return;
    } else if (samples < 2) { /* only in damaged input */
        c->bad = true;
        return;
    } else {
        cell->known = 1 + code_choice(c, cell->known - 1, samples - 1);
    }
    code_values(c, m, s, quiet, cell);
}

/* ---- One metric --------------------------------------------------------------------------- */

static uint64_t gcd(uint64_t a, uint64_t b)
{
    while (b != 0) {
        uint64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

static uint64_t common_divisor(const struct roll_cell *cells, uint32_t n)
{
    uint64_t divisor = 0;
    for (uint32_t i = 0; i < n && divisor != 1; i++) {
        if (cells[i].known == 0)
            continue;
        if (cells[i].max >> PLAIN_BITS)
            return 1;
        divisor = gcd(divisor, (uint64_t)cells[i].min);
        divisor = gcd(divisor, (uint64_t)cells[i].max);
        divisor = gcd(divisor, (uint64_t)cells[i].sum);
    }
    return divisor == 0 ? 1 : divisor;
}

/* Whether every sample of the section knows the same value, and which. */
static bool is_steady(
    const struct roll_minutes *minutes, const struct roll_cell *cells, int64_t *ret_value)
{
    const struct roll_cell *first = NULL;
    for (uint32_t i = 0; i < minutes->n; i++) {
        if (cells[i].known != minutes->samples[i])
            return false;
        if (cells[i].known == 0)
            continue;
        first = first == NULL ? &cells[i] : first;
        if (cells[i].min != first->min || cells[i].max != first->min)
            return false;
    }
    *ret_value = first == NULL ? 0 : first->min;
    return first != NULL;
}

static void take_cell(
    struct code *c, struct roll_cell *to, const struct roll_cell *cell, uint64_t divisor)
{
    if (cell->max > HIST_VALUE_MAX / (int64_t)divisor) {
        c->bad = true;
        return;
    }
    *to = (struct roll_cell){cell->known, wrap_mul(cell->sum, (int64_t)divisor),
        cell->min * (int64_t)divisor, cell->max * (int64_t)divisor};
}

static void code_cells(struct code *c, unsigned metric, uint64_t divisor,
    const struct roll_minutes *minutes, struct roll_cell *cells, bool *quiet)
{
    struct cell_models models;
    struct cell_state state = {0};
    cell_models_load(metric, &models);
    for (uint32_t i = 0; i < minutes->n && !c->bad; i++) {
        struct roll_cell cell = {0};
        if (!c->reading)
            cell = cells[i];
        if (!c->reading && divisor > 1) {
            cell.min /= (int64_t)divisor;
            cell.max /= (int64_t)divisor;
            cell.sum /= (int64_t)divisor;
        }
        if (minutes->samples[i] > 0)
            code_cell(c, &models, &state, quiet[i], minutes->samples[i], &cell);
        quiet[i] = cell.min == cell.max;
        if (c->reading)
            take_cell(c, &cells[i], &cell, divisor);
    }
}

static void code_metric(struct code *c, struct section_models *m, unsigned metric,
    const struct roll_minutes *minutes, bool *quiet)
{
    struct roll_cell *cells = &minutes->cells[(size_t)metric * minutes->n];
    int64_t value = 0;
    bool steady = !c->reading && is_steady(minutes, cells, &value);
    if (code_bit(c, &m->steady[metric], steady)) {
        value = (int64_t)code_number(c, m->value.size[0], m->value.top, (uint64_t)value);
        c->bad = c->bad || value > HIST_VALUE_MAX;
        for (uint32_t i = 0; c->reading && i < minutes->n; i++)
            cells[i] = minutes->samples[i] == 0
                           ? (struct roll_cell){0}
                           : (struct roll_cell){minutes->samples[i],
                                 wrap_mul(minutes->samples[i], value), value, value};
        return;
    }
    uint64_t divisor = c->reading ? 1 : common_divisor(cells, minutes->n);
    if (code_bit(c, &m->divided[metric], divisor > 1))
        divisor = code_number(c, m->divisor.size[0], m->divisor.top, divisor);
    if (divisor == 0 || divisor >> PLAIN_BITS)
        c->bad = true;
    else
        code_cells(c, metric, divisor, minutes, cells, quiet);
}

/* ---- A section ---------------------------------------------------------------------------- */

static void code_samples(struct code *c, struct section_models *m, uint32_t *samples, uint32_t n)
{
    uint32_t last = EXPECTED_SAMPLES;
    bool same = true;
    for (uint32_t i = 0; i < n && !c->bad; i++) {
        same = code_bit(c, &m->same[same], samples[i] == last);
        if (same)
            samples[i] = last;
        else
            samples[i] = (uint32_t)code_number(c, m->samples.size[0], m->samples.top, samples[i]);
        last = samples[i];
        c->bad = last > HIST_COLUMN_MAX;
    }
}

static bool any_known(const struct roll_cell *cells, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        if (cells[i].known > 0)
            return true;
    }
    return false;
}

static void code_section(struct code *c, const struct roll_minutes *minutes)
{
    struct section_models m;
    bool quiet[HIST_COLUMN_MAX];
    uint32_t n = minutes->n;
    memset(quiet, 0, n * sizeof(*quiet));
    section_models_load(&m);
    code_samples(c, &m, minutes->samples, n);
    for (unsigned metric = 0; metric < HIST_METRICS && !c->bad; metric++) {
        struct roll_cell *cells = &minutes->cells[(size_t)metric * n];
        bool known = !c->reading && any_known(cells, n);
        if (code_bit(c, &m.known[metric], known))
            code_metric(c, &m, metric, minutes, quiet);
        else if (c->reading)
            memset(cells, 0, n * sizeof(*cells));
    }
}

void roll_minutes_encode(const struct roll_minutes *minutes, struct buf *out)
{
    assert(minutes->n > 0 && minutes->n <= HIST_COLUMN_MAX);
    size_t worst = WORST_SECTION + minutes->n * (size_t)(WORST_MINUTE + HIST_METRICS * WORST_CELL);
    cleanup_free uint8_t *bytes = mem_alloc(worst);
    struct code c = {0};
    if (bytes == NULL) {
        out->failed = true;
        return;
    }
    range_encoder_init(&c.e, bytes, worst);
    code_section(&c, minutes);
    const uint8_t *end = range_finish(&c.e, bytes);
    assert(end != NULL && !c.bad);
    buf_append(out, bytes, (size_t)(end - bytes));
}

int roll_minutes_decode(struct byte_reader *r, const struct roll_minutes *minutes)
{
    struct code c = {.reading = true};
    if (minutes->n == 0 || minutes->n > HIST_COLUMN_MAX)
        return -EBADMSG;
    range_decoder_init(&c.d, r->at, reader_left(r));
    code_section(&c, minutes);
    r->at = r->end;
    return c.bad ? -EBADMSG : 0;
}
