/* SPDX-License-Identifier: Apache-2.0 */
#include "store/hist_column.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "store/hist_priors.h"

#define FLAG_RUNS    0x08
#define FLAG_DIVISOR 0x10
#define FLAG_TOTALS  0x20
#define FLAGS_ALL    0x3f

#define TOP_BITS        4 /* modelled bits below the leading one */
#define WORST_BITS      96
#define RUNS_FROM_ZEROS 8 /* RUNS where fewer than 1 difference of 8 is not 0 */

/* What is common to the coding of a column in both directions. */
struct plan {
    enum column_mode mode;
    int64_t min;
    uint64_t divisor;
    unsigned depth; /* of the tree of bit lengths */
};

/* ---- Numbers, written and read ------------------------------------------------------------ */

static unsigned tree_depth(uint64_t largest)
{
    return bit_length(bit_length(largest));
}

/* The tree of 6 levels is entered below its leading zeros, so that short trees share its nodes. */
static void put_size(
    struct range_encoder *e, struct range_model *nodes, unsigned size, unsigned depth)
{
    unsigned node = 1u << (6 - depth);
    for (unsigned bit = depth; bit-- > 0;) {
        bool b = size >> bit & 1;
        range_encode(e, &nodes[node], b);
        node = node * 2 + b;
    }
}

static unsigned get_size(struct range_decoder *d, struct range_model *nodes, unsigned depth)
{
    unsigned node = 1u << (6 - depth);
    unsigned size = 0;
    for (unsigned bit = 0; bit < depth; bit++) {
        bool b = range_decode(d, &nodes[node]);
        size = size * 2 + b;
        node = node * 2 + b;
    }
    return size;
}

static unsigned top_class(unsigned size)
{
    return size < PRIOR_TOP_CLASSES ? size : PRIOR_TOP_CLASSES - 1;
}

/* The bits of @value below its leading one. */
static void put_rest(
    struct range_encoder *e, struct column_models *m, uint64_t value, unsigned size)
{
    if (size < 2)
        return;
    struct range_model *nodes = m->top[top_class(size)];
    unsigned left = size - 1;
    unsigned node = 1;
    for (unsigned i = 0; i < TOP_BITS && left > 0; i++) {
        bool b = value >> --left & 1;
        range_encode(e, &nodes[node], b);
        node = node * 2 + b;
    }
    range_encode_raw(e, value & ((1ull << left) - 1), left);
}

static uint64_t get_rest(struct range_decoder *d, struct column_models *m, unsigned size)
{
    if (size < 2)
        return size;
    struct range_model *nodes = m->top[top_class(size)];
    unsigned left = size - 1;
    unsigned node = 1;
    uint64_t value = 1;
    for (unsigned i = 0; i < TOP_BITS && left > 0; i++, left--) {
        bool b = range_decode(d, &nodes[node]);
        node = node * 2 + b;
        value = value << 1 | b;
    }
    return value << left | range_decode_raw(d, left);
}

static unsigned size_context(unsigned size)
{
    return size < PRIOR_CLASS_CONTEXTS ? size : PRIOR_CLASS_CONTEXTS - 1;
}

/* A difference that is not 0: sign, bit length, the rest. */
struct delta_state {
    unsigned zeros; /* the last three zero flags */
    unsigned sign;  /* 0 none yet, 1 rose, 2 fell */
    unsigned size;
};

static void put_delta(struct range_encoder *e, struct column_models *m, const struct plan *plan,
    struct delta_state *s, int64_t delta)
{
    bool fell = delta < 0;
    uint64_t magnitude = fell ? 0 - (uint64_t)delta : (uint64_t)delta;
    unsigned size = bit_length(magnitude);
    range_encode(e, &m->sign[s->sign], fell);
    put_size(e, m->size[size_context(s->size)], size, plan->depth);
    put_rest(e, m, magnitude, size);
    s->sign = 1 + fell;
    s->size = size;
}

static int64_t get_delta(struct range_decoder *d, struct column_models *m, const struct plan *plan,
    struct delta_state *s)
{
    bool fell = range_decode(d, &m->sign[s->sign]);
    unsigned size = get_size(d, m->size[size_context(s->size)], plan->depth);
    uint64_t magnitude = get_rest(d, m, size);
    s->sign = 1 + fell;
    s->size = size;
    return fell ? (int64_t)(0 - magnitude) : (int64_t)magnitude;
}

static void put_run(struct range_encoder *e, struct column_models *m, unsigned *context, size_t n)
{
    unsigned size = bit_length(n);
    unsigned node = 1;
    for (unsigned bit = 4; bit-- > 0;) {
        bool b = size >> bit & 1;
        range_encode(e, &m->run_size[*context][node], b);
        node = node * 2 + b;
    }
    unsigned left = size > 0 ? size - 1 : 0;
    node = 1;
    for (unsigned i = 0; i < 2 && left > 0; i++) {
        bool b = n >> --left & 1;
        range_encode(e, &m->run_top[size][node], b);
        node = (node * 2 + b) & 3;
    }
    range_encode_raw(e, n & ((1u << left) - 1), left);
    *context = size < PRIOR_RUN_CONTEXTS ? size : PRIOR_RUN_CONTEXTS - 1;
}

static size_t get_run(struct range_decoder *d, struct column_models *m, unsigned *context)
{
    unsigned size = 0;
    unsigned node = 1;
    for (unsigned bit = 0; bit < 4; bit++) {
        bool b = range_decode(d, &m->run_size[*context][node]);
        size = size * 2 + b;
        node = node * 2 + b;
    }
    size_t n = size > 0;
    unsigned left = size > 0 ? size - 1 : 0;
    node = 1;
    for (unsigned i = 0; i < 2 && left > 0; i++, left--) {
        bool b = range_decode(d, &m->run_top[size][node]);
        node = (node * 2 + b) & 3;
        n = n << 1 | b;
    }
    *context = size < PRIOR_RUN_CONTEXTS ? size : PRIOR_RUN_CONTEXTS - 1;
    return n << left | range_decode_raw(d, left);
}

/* ---- Encoding ----------------------------------------------------------------------------- */

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
        put_rest(e, m, (uint64_t)numbers[i], size);
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
    for (size_t i = 1; i < n; i++) {
        int64_t delta = numbers[i] - numbers[i - 1];
        values[bit_length((uint64_t)numbers[i])]++;
        deltas[bit_length((uint64_t)(delta < 0 ? -delta : delta))]++;
    }
    if ((n - 1 - deltas[0]) * RUNS_FROM_ZEROS < n)
        return COLUMN_RUNS;
    bool by_value = histogram_bits(values, n - 1, false) <= histogram_bits(deltas, n - 1, true);
    return by_value ? COLUMN_VALUE : COLUMN_DELTA;
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

static int64_t predicted_growth(const struct column_stats *stats, uint64_t growth)
{
    double predicted = (double)stats->sum * (double)growth / 1024.0;
    return predicted > -9e18 && predicted < 9e18 ? (int64_t)predicted : 0;
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

int column_encode(
    const int64_t *values, size_t n, struct column_stats *stats, uint64_t growth, struct buf *out)
{
    int64_t numbers[HIST_COLUMN_MAX];
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
    }
    buf_put_u8(out,
        (uint8_t)(plan.mode | (count < n ? FLAG_RUNS : 0) | (plan.divisor > 1 ? FLAG_DIVISOR : 0) |
                  (stats->has_totals ? FLAG_TOTALS : 0)));
    if (count < n)
        encode_gaps(values, n, out);
    buf_put_varint(out, (uint64_t)stats->first);
    if (plan.mode != COLUMN_CONSTANT) {
        buf_put_varint(out, (uint64_t)(stats->first - stats->min));
        buf_put_varint(out, (uint64_t)(stats->max - stats->first));
        buf_put_signed(out, wrap_sub(stats->sum, wrap_mul((int64_t)count, stats->first)));
        if (plan.divisor > 1)
            buf_put_varint(out, plan.divisor);
    }
    if (stats->has_totals) {
        buf_put_varint(out, stats->total_start);
        int64_t grown = wrap_sub((int64_t)stats->total_end, (int64_t)stats->total_start);
        buf_put_signed(out, wrap_sub(grown, predicted_growth(stats, growth)));
    }
    if (plan.mode != COLUMN_CONSTANT && encode_payload(numbers, count, &plan, out) < 0)
        out->failed = true;
    return out->failed ? -ENOMEM : 0;
}

/* ---- Decoding ----------------------------------------------------------------------------- */

/* Reads the runs: checks that they fill @n exactly and counts what is known. */
static void read_runs(struct byte_reader *r, size_t n, struct column_view *view)
{
    view->n_runs = (uint32_t)get_capped(r, n + 1);
    view->runs = r->at;
    size_t total = 0;
    size_t known = 0;
    for (uint32_t i = 0; i < view->n_runs && !r->bad; i++) {
        size_t length = get_capped(r, n);
        total += length;
        known += i % 2 == 0 ? length : 0;
    }
    view->runs_end = r->at;
    view->stats.count = (uint32_t)known;
    if (total != n)
        r->bad = true;
}

static void read_spread(struct byte_reader *r, bool has_divisor, struct column_view *view)
{
    struct column_stats *stats = &view->stats;
    stats->min = stats->first - (int64_t)get_capped(r, (uint64_t)stats->first);
    stats->max = stats->first + (int64_t)get_capped(r, HIST_VALUE_MAX - (uint64_t)stats->first);
    stats->sum = wrap_add(get_signed(r), wrap_mul(stats->count, stats->first));
    if (has_divisor)
        view->divisor = get_capped(r, HIST_VALUE_MAX);
    if (stats->min == stats->max || view->divisor == 0 || stats->count < 2)
        r->bad = true;
}

int column_read(struct byte_reader *r, size_t n, uint64_t growth, struct column_view *ret_view)
{
    struct column_view view = {.divisor = 1, .n = (uint32_t)n, .stats.count = (uint32_t)n};
    struct column_stats *stats = &view.stats;
    unsigned head = get_u8(r);
    view.mode = head & 7;
    if (head > FLAGS_ALL || view.mode >= COLUMN_MODE_COUNT || n == 0 || n > HIST_COLUMN_MAX)
        return -EBADMSG;
    if (view.mode == COLUMN_UNKNOWN) {
        stats->count = 0;
        *ret_view = view;
        return r->bad || head != COLUMN_UNKNOWN ? -EBADMSG : 0;
    }
    if (head & FLAG_RUNS)
        read_runs(r, n, &view);
    stats->first = (int64_t)get_capped(r, HIST_VALUE_MAX);
    stats->min = stats->max = stats->first;
    stats->sum = wrap_mul(stats->count, stats->first);
    if (view.mode != COLUMN_CONSTANT)
        read_spread(r, head & FLAG_DIVISOR, &view);
    if (head & FLAG_TOTALS) {
        stats->has_totals = true;
        stats->total_start = get_varint(r);
        stats->total_end =
            stats->total_start + (uint64_t)wrap_add(get_signed(r), predicted_growth(stats, growth));
    }
    if (view.mode != COLUMN_CONSTANT) {
        view.payload_size = get_capped(r, reader_left(r));
        view.payload = get_bytes(r, view.payload_size);
    }
    if (r->bad)
        return -EBADMSG;
    *ret_view = view;
    return 0;
}

static void decode_values(struct range_decoder *d, const struct plan *plan, struct column_models *m,
    int64_t *numbers, size_t n)
{
    unsigned last = bit_length((uint64_t)numbers[0]);
    for (size_t i = 1; i < n; i++) {
        last = get_size(d, m->size[size_context(last)], plan->depth);
        numbers[i] = (int64_t)get_rest(d, m, last);
    }
}

static void decode_deltas(struct range_decoder *d, const struct plan *plan, struct column_models *m,
    int64_t *numbers, size_t n)
{
    struct delta_state s = {0};
    for (size_t i = 1; i < n; i++) {
        bool zero = range_decode(d, &m->zero[s.zeros]);
        numbers[i] = zero ? numbers[i - 1] : wrap_add(numbers[i - 1], get_delta(d, m, plan, &s));
        s.zeros = (s.zeros << 1 | zero) & (PRIOR_ZERO_CONTEXTS - 1);
    }
}

static void decode_runs(struct range_decoder *d, const struct plan *plan, struct column_models *m,
    int64_t *numbers, size_t n)
{
    struct delta_state s = {0};
    unsigned context = 0;
    size_t i = 1;
    while (i < n) {
        size_t run = get_run(d, m, &context);
        for (; run > 0 && i < n; run--, i++)
            numbers[i] = numbers[i - 1];
        if (i == n)
            break;
        numbers[i] = wrap_add(numbers[i - 1], get_delta(d, m, plan, &s));
        i++;
    }
}

/* Numbers back to values, checked against what the header promised. */
static int denormalise(const struct column_view *view, int64_t *numbers, size_t n)
{
    uint64_t span = (uint64_t)(view->stats.max - view->stats.min) / view->divisor;
    uint64_t bad = 0;
    for (size_t i = 0; i < n; i++) {
        bad |= (uint64_t)numbers[i] > span;
        numbers[i] = wrap_add(view->stats.min, (int64_t)((uint64_t)numbers[i] * view->divisor));
    }
    return bad ? -EBADMSG : 0;
}

/* Moves known values to their places, from the back, so that it works in place. */
static void spread(const struct column_view *view, int64_t *values)
{
    uint32_t lengths[HIST_COLUMN_MAX + 1];
    struct byte_reader r = byte_reader(view->runs, (size_t)(view->runs_end - view->runs));
    for (uint32_t i = 0; i < view->n_runs; i++)
        lengths[i] = (uint32_t)get_varint(&r);
    size_t from = view->stats.count;
    size_t to = view->n;
    for (uint32_t i = view->n_runs; i-- > 0;) {
        for (uint32_t k = 0; k < lengths[i]; k++)
            values[--to] = i % 2 == 0 ? values[--from] : HIST_UNKNOWN;
    }
}

static int decode_payload(const struct column_view *view, int64_t *values)
{
    const struct column_stats *stats = &view->stats;
    struct plan plan = {.mode = view->mode, .min = stats->min, .divisor = view->divisor};
    plan.depth = tree_depth((uint64_t)(stats->max - stats->min) / plan.divisor);
    struct column_models models;
    struct range_decoder d;
    range_decoder_init(&d, view->payload, view->payload_size);
    values[0] = (int64_t)((uint64_t)(stats->first - stats->min) / plan.divisor);
    if (plan.mode == COLUMN_VALUE) {
        prior_load(PRIOR_VALUE, &models);
        decode_values(&d, &plan, &models, values, stats->count);
    } else if (plan.mode == COLUMN_DELTA) {
        prior_load(PRIOR_DELTA, &models);
        decode_deltas(&d, &plan, &models, values, stats->count);
    } else {
        prior_load(PRIOR_RUNS, &models);
        decode_runs(&d, &plan, &models, values, stats->count);
    }
    return denormalise(view, values, stats->count);
}

int column_decode(const struct column_view *view, int64_t *ret_values)
{
    if (view->mode == COLUMN_UNKNOWN) {
        for (uint32_t i = 0; i < view->n; i++)
            ret_values[i] = HIST_UNKNOWN;
        return 0;
    }
    int r = 0;
    if (view->mode == COLUMN_CONSTANT) {
        for (uint32_t i = 0; i < view->stats.count; i++)
            ret_values[i] = view->stats.first;
    } else {
        r = decode_payload(view, ret_values);
    }
    if (view->runs != NULL)
        spread(view, ret_values);
    return r;
}
