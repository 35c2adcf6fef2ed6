/* SPDX-License-Identifier: Apache-2.0 */
/* Rollups: minutes, hours and sketches come back exactly, add up, and damage is harmless. */
#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/fault.h"
#include "base/mem.h"
#include "store/hist_roll.h"
#include "store/hist_roll_models.h"

static uint64_t random_state = 88172645463325252ull;

static uint64_t next_random(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

/* ---- Values ------------------------------------------------------------------------------- */

enum shape { STILL, NOISE, STEPS, SPIKES, LATTICE, GAPS, VAST, EXTREME, SHAPES };

static int64_t shape_value(enum shape shape, int64_t *level)
{
    uint64_t r = next_random();
    switch (shape) {
    case NOISE:
        return (int64_t)(r % 5000);
    case STEPS:
        *level += r % 9 == 0 ? (int64_t)(r >> 40) % 300 - 100 : 0;
        *level = MAX(*level, (int64_t)0);
        return *level;
    case SPIKES:
        return r % 97 == 0 ? (int64_t)(r >> 30) % 1000000 : 0;
    case LATTICE:
        return 1000 * (int64_t)(r % 50);
    case GAPS:
        return r % 7 == 0 ? HIST_UNKNOWN : (int64_t)(r >> 20) % 300;
    case VAST:
        return (int64_t)(r >> (r % 40 + 8));
    case EXTREME:
        return r % 2 ? HIST_VALUE_MAX : 0;
    default:
        return *level;
    }
}

#define TICKS 3600

static int64_t values[HIST_METRICS][TICKS];
static int64_t present[TICKS];
static int64_t times_ms[TICKS];
static int64_t capacity[TICKS];

/* An agent's ticks, metric m of shape (first + m). */
static struct row_section make_section(unsigned first, uint32_t n, struct row_axis *ret_axis)
{
    struct row_section section = {.subject = 1, .n = n, .present = present};
    for (uint32_t i = 0; i < n; i++) {
        times_ms[i] = 1700000000000 + i * 1000 + (int64_t)(next_random() % 9);
        present[i] = first % 3 == 2 && next_random() % 50 == 0 ? HIST_UNKNOWN : 1;
    }
    for (unsigned m = 0; m < HIST_METRICS; m++) {
        enum shape shape = (enum shape)((first + m) % SHAPES);
        int64_t level = (int64_t)(next_random() % 100000);
        for (uint32_t i = 0; i < n; i++) {
            int64_t value = shape_value(shape, &level);
            values[m][i] = present[i] == HIST_UNKNOWN ? HIST_UNKNOWN : value;
        }
        section.metrics[m] = next_random() % 5 == 0 ? NULL : values[m];
    }
    section.totals = (struct row_totals){5, {1ull << 40, 0, UINT64_MAX - 9}, {1ull << 41, 0, 5}};
    *ret_axis = (struct row_axis){n, times_ms, capacity, capacity};
    return section;
}

static void fill_minutes(
    struct roll_minutes *minutes, const struct row_section *section, uint32_t ticks_each)
{
    uint32_t n = (section->n + ticks_each - 1) / ticks_each;
    assert_int_equal(roll_minutes_init(minutes, n), 0);
    for (uint32_t i = 0; i < section->n; i++) {
        minutes->samples[i / ticks_each] += section->present[i] != HIST_UNKNOWN;
        for (unsigned m = 0; m < HIST_METRICS; m++) {
            struct roll_cell *cell = &minutes->cells[m * n + i / ticks_each];
            if (section->metrics[m] == NULL || section->metrics[m][i] == HIST_UNKNOWN)
                continue;
            int64_t value = section->metrics[m][i];
            cell->min = cell->known == 0 ? value : MIN(cell->min, value);
            cell->max = cell->known == 0 ? value : MAX(cell->max, value);
            cell->sum = wrap_add(cell->sum, value);
            cell->known++;
        }
    }
}

/* ---- Minutes ------------------------------------------------------------------------------ */

static void minutes_come_back(void **state)
{
    (void)state;
    static const uint32_t each[] = {1, 2, 3, 20, 60, TICKS};
    for (unsigned round = 0; round < 40 * SHAPES; round++) {
        struct row_axis axis;
        uint32_t n = round % 3 == 0 ? 1 + (uint32_t)(next_random() % TICKS) : 600;
        const struct row_section section = make_section(round, n, &axis);
        struct roll_minutes minutes CLEANUP(roll_minutes_done) = {0};
        struct roll_minutes back CLEANUP(roll_minutes_done) = {0};
        struct buf bytes CLEANUP(buf_done) = {0};
        fill_minutes(&minutes, &section, each[round % ARRAY_SIZE(each)]);
        roll_minutes_encode(&minutes, &bytes);
        assert_false(bytes.failed);
        assert_int_equal(roll_minutes_init(&back, minutes.n), 0);
        struct byte_reader reader = byte_reader(bytes.data, bytes.size);
        assert_int_equal(roll_minutes_decode(&reader, &back), 0);
        assert_memory_equal(back.samples, minutes.samples, minutes.n * sizeof(uint32_t));
        assert_memory_equal(
            back.cells, minutes.cells, minutes.n * HIST_METRICS * sizeof(struct roll_cell));
    }
}

static void minutes_need_memory(void **state)
{
    (void)state;
    struct row_axis axis;
    const struct row_section section = make_section(NOISE, 600, &axis);
    struct roll_minutes minutes CLEANUP(roll_minutes_done) = {0};
    fill_minutes(&minutes, &section, 60);
    for (unsigned n = 1;; n++) {
        struct buf bytes CLEANUP(buf_done) = {0};
        fault_arm(FAULT_ALLOC, n);
        roll_minutes_encode(&minutes, &bytes);
        if (!fault_disarm()) {
            assert_false(bytes.failed);
            break;
        }
        assert_true(bytes.failed);
    }
}

/* Checksums aside: what is read is refused or is of values that could have been. */
static void damaged_minutes_are_harmless(void **state)
{
    (void)state;
    for (unsigned round = 0; round < 4000; round++) {
        struct row_axis axis;
        const struct row_section section = make_section(round, 240, &axis);
        struct roll_minutes minutes CLEANUP(roll_minutes_done) = {0};
        struct buf bytes CLEANUP(buf_done) = {0};
        fill_minutes(&minutes, &section, 60);
        roll_minutes_encode(&minutes, &bytes);
        bytes.data[next_random() % bytes.size] ^= (char)(1 + next_random() % 255);
        struct byte_reader reader =
            byte_reader(bytes.data, bytes.size - (round % 2 ? 0 : next_random() % bytes.size));
        if (roll_minutes_decode(&reader, &minutes) < 0)
            continue;
        for (uint32_t i = 0; i < minutes.n * HIST_METRICS; i++) {
            const struct roll_cell *cell = &minutes.cells[i];
            assert_true(cell->known <= minutes.samples[i % minutes.n]);
            assert_true(cell->min >= 0 && cell->min <= cell->max && cell->max <= HIST_VALUE_MAX);
            if (cell->known > 0 && cell->max < 1 << 30)
                assert_true(
                    cell->sum >= cell->known * cell->min && cell->sum <= cell->known * cell->max);
        }
    }
}

/* An hour of an agent that does nothing, and what a minute of noise takes. */
static void minutes_stay_small(void **state)
{
    (void)state;
    struct row_axis axis;
    struct row_section section = make_section(0, TICKS, &axis);
    for (int noisy = 0; noisy < 2; noisy++) {
        struct roll_minutes minutes CLEANUP(roll_minutes_done) = {0};
        struct buf bytes CLEANUP(buf_done) = {0};
        for (unsigned m = 0; m < HIST_METRICS; m++) {
            for (uint32_t i = 0; i < TICKS; i++)
                values[m][i] = noisy ? 5000 + (int64_t)(next_random() % 1000) : 4000;
            section.metrics[m] = values[m];
        }
        fill_minutes(&minutes, &section, 60);
        roll_minutes_encode(&minutes, &bytes);
        assert_true(bytes.size < (noisy ? HIST_METRICS * 60 * 5 : 48));
    }
}

/* ---- Hours -------------------------------------------------------------------------------- */

static void assert_records_equal(const struct roll_record *a, const struct roll_record *b)
{
    assert_true(a->samples == b->samples);
    for (unsigned m = 0; m < HIST_METRICS; m++) {
        const struct roll_stats *x = &a->metrics[m];
        const struct roll_stats *y = &b->metrics[m];
        assert_true(x->known == y->known && x->has_totals == y->has_totals);
        assert_true(x->min == y->min && x->max == y->max);
        assert_true(x->sum == y->sum && x->integral == y->integral);
        assert_true(x->total_start == y->total_start && x->total_end == y->total_end);
        assert_true(x->sketch.count == y->sketch.count);
        assert_memory_equal(x->sketch.counts, y->sketch.counts, sizeof(x->sketch.counts));
    }
}

static void merge_bytes(struct roll_record *record, const struct buf *bytes, int only)
{
    struct byte_reader reader = byte_reader(bytes->data, bytes->size);
    assert_int_equal(roll_merge(record, &reader, only), 0);
    if (only < 0)
        assert_true(reader.at == reader.end);
}

/* Two hours merged from their bytes are the record of both, which comes back itself. */
static void records_come_back_and_add_up(void **state)
{
    (void)state;
    static struct roll_record hour;
    static struct roll_record both;
    static struct roll_record merged;
    for (unsigned round = 0; round < 20 * SHAPES; round++) {
        struct buf day CLEANUP(buf_done) = {0};
        roll_clear(&both);
        roll_clear(&merged);
        for (int k = 0; k < 2; k++) {
            struct row_axis axis;
            struct buf bytes CLEANUP(buf_done) = {0};
            uint32_t n = round % 4 == 0 ? 1 + (uint32_t)(next_random() % 5) : TICKS;
            const struct row_section section = make_section(round, n, &axis);
            roll_clear(&hour);
            roll_add(&hour, &axis, &section);
            roll_add(&both, &axis, &section);
            roll_encode(&hour, &bytes);
            merge_bytes(&merged, &bytes, -1);
        }
        assert_records_equal(&merged, &both);
        roll_encode(&both, &day);
        roll_clear(&merged);
        merge_bytes(&merged, &day, -1);
        assert_records_equal(&merged, &both);
    }
}

static void one_metric_is_read_alone(void **state)
{
    (void)state;
    static struct roll_record record;
    static struct roll_record one;
    struct row_axis axis;
    struct buf bytes CLEANUP(buf_done) = {0};
    const struct row_section section = make_section(0, TICKS, &axis);
    roll_clear(&record);
    roll_add(&record, &axis, &section);
    roll_encode(&record, &bytes);
    for (unsigned m = 0; m < HIST_METRICS; m++) {
        roll_clear(&one);
        merge_bytes(&one, &bytes, (int)m);
        assert_true(one.samples == record.samples);
        for (unsigned k = 0; k < HIST_METRICS; k++)
            assert_true(one.metrics[k].known == (k == m ? record.metrics[k].known : 0));
        assert_memory_equal(one.metrics[m].sketch.counts, record.metrics[m].sketch.counts,
            sizeof(record.metrics[m].sketch.counts));
    }
}

static void damaged_records_are_harmless(void **state)
{
    (void)state;
    static struct roll_record record;
    struct row_axis axis;
    for (unsigned round = 0; round < 300; round++) {
        struct buf bytes CLEANUP(buf_done) = {0};
        const struct row_section section = make_section(round, 400, &axis);
        roll_clear(&record);
        roll_add(&record, &axis, &section);
        roll_encode(&record, &bytes);
        for (int k = 0; k < 30; k++) {
            size_t at = next_random() % bytes.size;
            char saved = bytes.data[at];
            bytes.data[at] = (char)next_random();
            struct byte_reader reader = byte_reader(bytes.data, k % 3 ? bytes.size : at);
            roll_clear(&record);
            int r = roll_merge(&record, &reader, -1);
            assert_true(r == 0 || r == -EBADMSG);
            for (unsigned m = 0; m < HIST_METRICS; m++) {
                const struct roll_stats *s = &record.metrics[m];
                assert_true(s->sketch.count == s->known && s->min >= 0 && s->min <= s->max);
                struct buf again CLEANUP(buf_done) = {0};
                roll_encode(&record, &again); /* what was read can be written */
            }
            bytes.data[at] = saved;
        }
    }
}

static void assert_models_usable(const void *models, size_t n)
{
    const struct range_model *m = models;
    for (size_t i = 0; i < n; i++)
        assert_true(m[i].p >= RANGE_P_MIN && m[i].p <= 65536 - RANGE_P_MIN);
}

/* A model that starts at the end of the scale could never be coded. */
static void models_start_between_the_ends(void **state)
{
    (void)state;
    static struct section_models section;
    static struct cell_models cells;
    static struct hour_models hour;
    section_models_load(&section);
    assert_models_usable(&section, sizeof(section) / sizeof(struct range_model));
    for (unsigned m = 0; m < HIST_METRICS; m++) {
        cell_models_load(m, &cells);
        assert_models_usable(&cells, sizeof(cells) / sizeof(struct range_model));
        hour_models_load(m, &hour);
        assert_models_usable(&hour, sizeof(hour) / sizeof(struct range_model));
    }
}

/* ---- Sketches ----------------------------------------------------------------------------- */

static int compare_numbers(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

/* Two halves that are joined answer as one, within the bound. */
static void sketches_keep_their_bound(void **state)
{
    (void)state;
    static uint64_t numbers[3000];
    static struct sketch halves[2];
    static struct sketch both;
    for (int round = 0; round < 60; round++) {
        size_t n = 1 + next_random() % ARRAY_SIZE(numbers);
        sketch_clear(&halves[0]);
        sketch_clear(&halves[1]);
        sketch_clear(&both);
        for (size_t i = 0; i < n; i++) {
            numbers[i] = next_random() >> (8 + next_random() % (uint64_t)(round % 56 + 1));
            sketch_add(&halves[i % 2], numbers[i]);
        }
        sketch_join(&both, &halves[0]);
        sketch_join(&both, &halves[1]);
        qsort(numbers, n, sizeof(numbers[0]), compare_numbers);
        assert_true(both.count == n);
        for (double q = 0; q <= 1.0; q += 0.05) {
            size_t rank = (size_t)ceil(q * (double)n);
            double exact = (double)numbers[rank == 0 ? 0 : rank - 1];
            assert_true(
                fabs(sketch_quantile(&both, q) - exact) <= exact * SKETCH_ERROR_BOUND + 1e-9);
        }
    }
    sketch_clear(&both);
    assert_true(isnan(sketch_quantile(&both, 0.5)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(minutes_come_back),
        cmocka_unit_test(minutes_need_memory),
        cmocka_unit_test(damaged_minutes_are_harmless),
        cmocka_unit_test(minutes_stay_small),
        cmocka_unit_test(records_come_back_and_add_up),
        cmocka_unit_test(one_metric_is_read_alone),
        cmocka_unit_test(damaged_records_are_harmless),
        cmocka_unit_test(models_start_between_the_ends),
        cmocka_unit_test(sketches_keep_their_bound),
    };
    return cmocka_run_group_tests_name("hist_roll", tests, NULL, NULL);
}
