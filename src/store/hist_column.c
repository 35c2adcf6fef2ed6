/* SPDX-License-Identifier: Apache-2.0 */
#include "store/hist_column.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "store/hist_column_code.h"

#define WORST_BITS      96
#define RUNS_FROM_ZEROS 8 /* RUNS where fewer than 1 difference of 8 is not 0 */

/* Numbers (value - min) / divisor of the known values, in place. */
static void normalise(int64_t *numbers, size_t n, const struct plan *plan)
{
    if (plan->divisor == 1) {
        for (size_t i = 0; i < n; i++)
            numbers[i] -= plan->min;
    } else {
        for (size_t i = 0; i < n; i++)
            numbers[i] = (int64_t)((uint64_t)(numbers[i] - plan->min) / plan->divisor);
    }
}

static void encode_values(struct range_encoder *e, const int64_t *numbers, size_t n,
    const struct plan *plan, struct column_models *m)
{
    unsigned last = bit_length((uint64_t)numbers[0]);
    for (size_t i = 1; i < n; i++) {
        unsigned size = bit_length((uint64_t)numbers[i]);
        put_size(e, m->size[size_context(last)], size, plan->depth);
        put_rest(e, m, plan, (uint64_t)numbers[i], size);
        last = size;
    }
}

static void encode_deltas(struct range_encoder *e, const int64_t *numbers, size_t n,
    const struct plan *plan, struct column_models *m)
{
    struct delta_state s = {0};
    for (size_t i = 1; i < n; i++) {
        int64_t delta = numbers[i] - numbers[i - 1];
        range_encode(e, &m->zero[s.zeros], delta == 0);
        if (delta != 0)
            put_delta(e, m, plan, &s, delta);
        s.zeros = (s.zeros << 1 | (delta == 0)) & (PRIOR_ZERO_CONTEXTS - 1);
    }
}

static void encode_runs(struct range_encoder *e, const int64_t *numbers, size_t n,
    const struct plan *plan, struct column_models *m)
{
    struct delta_state s = {0};
    unsigned context = 0;
    size_t i = 1;
    while (i < n) {
        size_t start = i;
        while (i < n && numbers[i] == numbers[i - 1])
            i++;
        put_run(e, m, &context, i - start);
        if (i == n)
            break;
        put_delta(e, m, plan, &s, numbers[i] - numbers[i - 1]);
        i++;
    }
}

static uint64_t gcd(uint64_t a, uint64_t b)
{
    while (b != 0) {
        uint64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

static uint64_t common_divisor(const int64_t *values, size_t n, int64_t min)
{
    uint64_t divisor = 0;
    for (size_t i = 0; i < n && divisor != 1; i++) {
        uint64_t number = (uint64_t)(values[i] - min);
        if (number != 0 && (divisor == 0 || number % divisor != 0))
            divisor = gcd(divisor, number);
    }
    return divisor == 0 ? 1 : divisor;
}

/* Bits of order-0 entropy of a histogram of bit lengths, plus the bits behind the leading ones. */
static double histogram_bits(const uint32_t histogram[64], size_t n, bool is_signed)
{
    double bits = 0;
    for (unsigned size = 0; size < 64; size++) {
        if (histogram[size] == 0)
            continue;
        double each = log2((double)n / histogram[size]);
        if (size > 1)
            each += size - 1;
        if (size > 0 && is_signed)
            each += 1;
        bits += each * histogram[size];
    }
    return bits;
}

static enum column_mode choose_mode(const int64_t *numbers, size_t n)
{
    uint32_t values[64] = {0};
    uint32_t deltas[64] = {0};
    size_t changes = 0;
    for (size_t i = 1; i < n; i++)
        changes += numbers[i] != numbers[i - 1];
    if (changes * RUNS_FROM_ZEROS < n)
        return COLUMN_RUNS;
    for (size_t i = 1; i < n; i++) {
        int64_t delta = numbers[i] - numbers[i - 1];
        values[bit_length((uint64_t)numbers[i])]++;
        deltas[bit_length((uint64_t)(delta < 0 ? -delta : delta))]++;
    }
    bool by_value = histogram_bits(values, n - 1, false) <= histogram_bits(deltas, n - 1, true);
    return by_value ? COLUMN_VALUE : COLUMN_DELTA;
}

#define DEEP_FROM_TICKS 512
#define DEEP_REPEATS    3 /* every number comes so often on average */
#define SEEN_BITS       14

/* Whether the same numbers come again and again: values of a coarser scale than ours, pages,
 * blocks. Numbers are told apart by a hash. */
static bool numbers_repeat(const int64_t *numbers, size_t n, enum column_mode mode)
{
    uint64_t seen[(1 << SEEN_BITS) / 64] = {0};
    size_t distinct = 0;
    size_t counted = 0;
    if (n < DEEP_FROM_TICKS)
        return false;
    for (size_t i = 1; i < n; i++) {
        int64_t number = mode == COLUMN_VALUE ? numbers[i] : numbers[i] - numbers[i - 1];
        uint64_t magnitude = number < 0 ? 0 - (uint64_t)number : (uint64_t)number;
        if (magnitude < 1 << TOP_BITS) /* modelled to the last bit anyway */
            continue;
        uint64_t hash = magnitude * 0x9e3779b97f4a7c15u >> (64 - SEEN_BITS);
        counted++;
        distinct += !(seen[hash / 64] >> (hash % 64) & 1);
        seen[hash / 64] |= 1ull << (hash % 64);
    }
    return counted > 0 && distinct * DEEP_REPEATS < counted;
}

/* Appends the payload with its size in front. */
static int encode_payload(
    const int64_t *numbers, size_t n, const struct plan *plan, struct buf *out)
{
    size_t worst = n * WORST_BITS / 8 + 16;
    cleanup_free uint8_t *bytes = mem_alloc(worst);
    if (bytes == NULL)
        return -ENOMEM;
    struct column_models models;
    struct range_encoder e;
    if (plan->deep != NULL)
        deep_init(plan->deep);
    range_encoder_init(&e, bytes, worst);
    if (plan->mode == COLUMN_VALUE) {
        prior_load(PRIOR_VALUE, &models);
        encode_values(&e, numbers, n, plan, &models);
    } else if (plan->mode == COLUMN_DELTA) {
        prior_load(PRIOR_DELTA, &models);
        encode_deltas(&e, numbers, n, plan, &models);
    } else {
        prior_load(PRIOR_RUNS, &models);
        encode_runs(&e, numbers, n, plan, &models);
    }
    const uint8_t *end = range_finish(&e, bytes);
    if (end == NULL)
        return -EOVERFLOW;
    buf_put_varint(out, (uint64_t)(end - bytes));
    return buf_append(out, bytes, (size_t)(end - bytes));
}

/* Appends the lengths of known, unknown, known ... runs. */
static void encode_gaps(const int64_t *values, size_t n, struct buf *out)
{
    size_t runs = 0;
    for (int pass = 0; pass < 2; pass++) {
        bool known = true;
        size_t length = 0;
        if (pass == 1)
            buf_put_varint(out, runs);
        for (size_t i = 0; i <= n; i++) {
            if (i < n && (values[i] != HIST_UNKNOWN) == known) {
                length++;
                continue;
            }
            if (pass == 0)
                runs++;
            else
                buf_put_varint(out, length);
            known = !known;
            length = 1;
        }
    }
}

static size_t gather(const int64_t *values, size_t n, int64_t *known, struct column_stats *stats)
{
    size_t count = 0;
    int64_t sum = 0;
    int64_t min = HIST_VALUE_MAX;
    int64_t max = 0;
    for (size_t i = 0; i < n; i++) {
        int64_t value = values[i];
        if (value == HIST_UNKNOWN)
            continue;
        known[count++] = value;
        sum = wrap_add(sum, value);
        min = MIN(min, value);
        max = MAX(max, value);
    }
    stats->count = (uint32_t)count;
    stats->sum = sum;
    stats->min = count > 0 ? min : 0;
    stats->max = max;
    stats->first = count > 0 ? known[0] : 0;
    return count;
}

static uint8_t head_byte(enum column_mode mode, unsigned flags, const struct column_stats *stats)
{
    return (uint8_t)((unsigned)mode | flags | (stats->has_totals ? FLAG_TOTALS : 0));
}

static void put_spread(
    enum column_mode mode, const struct column_stats *stats, uint64_t divisor, struct buf *out)
{
    buf_put_varint(out, (uint64_t)stats->first);
    if (mode == COLUMN_CONSTANT)
        return;
    buf_put_varint(out, (uint64_t)(stats->first - stats->min));
    buf_put_varint(out, (uint64_t)(stats->max - stats->first));
    buf_put_signed(out, wrap_sub(stats->sum, wrap_mul(stats->count, stats->first)));
    if (divisor > 1)
        buf_put_varint(out, divisor);
}

static void put_totals(const struct column_stats *stats, uint64_t growth, struct buf *out)
{
    if (!stats->has_totals)
        return;
    buf_put_varint(out, stats->total_start);
    int64_t grown = wrap_sub((int64_t)stats->total_end, (int64_t)stats->total_start);
    buf_put_signed(out, wrap_sub(grown, predicted_growth(stats, growth)));
}

void column_put_head(enum column_mode mode, const struct column_stats *stats, uint64_t divisor,
    uint64_t growth, struct buf *out)
{
    buf_put_u8(out, head_byte(mode, divisor > 1 ? FLAG_DIVISOR : 0, stats));
    put_spread(mode, stats, divisor, out);
    put_totals(stats, growth, out);
}

int column_encode(
    const int64_t *values, size_t n, struct column_stats *stats, uint64_t growth, struct buf *out)
{
    int64_t numbers[HIST_COLUMN_MAX];
    struct column_deep deep;
    size_t count = gather(values, n, numbers, stats);
    if (count == 0 && !stats->has_totals) {
        buf_put_u8(out, COLUMN_UNKNOWN);
        return out->failed ? -ENOMEM : 0;
    }
    struct plan plan = {.mode = COLUMN_CONSTANT, .min = stats->min, .divisor = 1};
    if (count > 0 && stats->min != stats->max) {
        plan.divisor = common_divisor(numbers, count, plan.min);
        plan.depth = tree_depth((uint64_t)(stats->max - stats->min) / plan.divisor);
        normalise(numbers, count, &plan);
        plan.mode = choose_mode(numbers, count);
        if (plan.mode != COLUMN_RUNS && numbers_repeat(numbers, count, plan.mode))
            plan.deep = &deep;
    }
    unsigned flags = (count < n ? FLAG_RUNS : 0) | (plan.divisor > 1 ? FLAG_DIVISOR : 0) |
                     (plan.deep != NULL ? FLAG_DEEP : 0);
    buf_put_u8(out, head_byte(plan.mode, flags, stats));
    if (count < n)
        encode_gaps(values, n, out);
    put_spread(plan.mode, stats, plan.divisor, out);
    put_totals(stats, growth, out);
    if (plan.mode != COLUMN_CONSTANT && encode_payload(numbers, count, &plan, out) < 0)
        out->failed = true;
    return out->failed ? -ENOMEM : 0;
}

/* ---- From runs ---------------------------------------------------------------------------- */

static void stats_of_runs(
    const struct column_run *runs, uint32_t n_runs, struct column_stats *stats, size_t *ret_n)
{
    size_t n = 0;
    stats->sum = 0;
    stats->first = stats->min = stats->max = runs[0].value;
    for (uint32_t i = 0; i < n_runs; i++) {
        n += runs[i].ticks;
        stats->min = MIN(stats->min, runs[i].value);
        stats->max = MAX(stats->max, runs[i].value);
        stats->sum = wrap_add(stats->sum, wrap_mul(runs[i].value, runs[i].ticks));
    }
    stats->count = (uint32_t)n;
    *ret_n = n;
}

static void encode_run_list(struct range_encoder *e, const struct column_run *runs, uint32_t n_runs,
    size_t n, const struct plan *plan, struct column_models *m)
{
    struct delta_state s = {0};
    unsigned context = 0;
    size_t i = 1;
    int64_t divisor = (int64_t)plan->divisor;
    for (uint32_t k = 0; i < n; k++) {
        put_run(e, m, &context, runs[k].ticks - 1);
        i += runs[k].ticks - 1;
        if (k + 1 == n_runs)
            break;
        put_delta(e, m, plan, &s, (runs[k + 1].value - runs[k].value) / divisor);
        i++;
    }
}

int column_encode_runs(const struct column_run *runs, uint32_t n_runs, struct column_stats *stats,
    uint64_t growth, struct buf *out)
{
    size_t n;
    stats_of_runs(runs, n_runs, stats, &n);
    if (n_runs == 1) {
        column_put_head(COLUMN_CONSTANT, stats, 1, growth, out);
        return out->failed ? -ENOMEM : 0;
    }
    struct plan plan = {.mode = COLUMN_RUNS, .min = stats->min};
    for (uint32_t i = 0; i < n_runs && plan.divisor != 1; i++)
        plan.divisor = gcd(plan.divisor, (uint64_t)(runs[i].value - plan.min));
    plan.depth = tree_depth((uint64_t)(stats->max - stats->min) / plan.divisor);
    size_t worst = (size_t)n_runs * 2 * WORST_BITS / 8 + 16;
    cleanup_free uint8_t *bytes = mem_alloc(worst);
    if (bytes == NULL) {
        out->failed = true;
        return -ENOMEM;
    }
    struct column_models models;
    struct range_encoder e;
    range_encoder_init(&e, bytes, worst);
    prior_load(PRIOR_RUNS, &models);
    encode_run_list(&e, runs, n_runs, n, &plan, &models);
    const uint8_t *end = range_finish(&e, bytes);
    column_put_head(COLUMN_RUNS, stats, plan.divisor, growth, out);
    if (end == NULL)
        out->failed = true;
    else
        buf_put_varint(out, (uint64_t)(end - bytes));
    buf_append(out, bytes, end == NULL ? 0 : (size_t)(end - bytes));
    return out->failed ? -ENOMEM : 0;
}
