/* SPDX-License-Identifier: Apache-2.0 */
/* Columns from changes and from runs: the same columns as from single values. And columns of
 * numbers that come again and again. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "store/hist_column.h"
#include "store/hist_tail.h"

#define TICKS 3600u

static uint64_t random_state = 0x9e3779b97f4a7c15ull;

static uint64_t next_random(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

/* A stream that changes about once in @spacing ticks, between 0 (where @gaps) or 1 and 1,000. */
static void make_stream(struct tail_stream *stream, uint32_t n, uint32_t spacing, bool gaps)
{
    tail_reset(stream, next_random() % 1000 + 1);
    for (uint32_t tick = 0; tick < n; tick++) {
        uint64_t value = next_random() % 1000 + !gaps;
        if (next_random() % spacing != 0 || value == stream->last)
            continue;
        assert_int_equal(tail_reserve(stream), 0);
        tail_change(stream, tick, value);
    }
}

static void read_back(const struct buf *bytes, uint32_t n, struct column_view *view)
{
    struct byte_reader reader = byte_reader(bytes->data, bytes->size);
    assert_int_equal(column_read(&reader, n, 77, view), 0);
    assert_true(reader.at == reader.end);
}

static void check_same(const struct column_view *view, const int64_t *values, uint32_t n)
{
    static int64_t back[TICKS];
    static struct column_run runs[TICKS];
    struct column_stats stats = {0};
    struct buf bytes CLEANUP(buf_done) = {0};
    assert_int_equal(column_encode(values, n, &stats, 77, &bytes), 0);
    assert_int_equal(view->stats.count, n);
    assert_true(view->stats.min == stats.min && view->stats.max == stats.max);
    assert_true(view->stats.first == stats.first && view->stats.sum == stats.sum);
    assert_int_equal(column_decode(view, back), 0);
    assert_memory_equal(back, values, n * sizeof(*values));
    if (view->mode != COLUMN_CONSTANT && view->mode != COLUMN_CHANGES)
        return;
    uint32_t n_runs = 0;
    uint32_t tick = 0;
    assert_int_equal(column_read_runs(view, runs, &n_runs), 0);
    for (uint32_t i = 0; i < n_runs; i++) {
        assert_true(i == 0 || runs[i].value != runs[i - 1].value);
        for (uint32_t k = 0; k < runs[i].ticks; k++)
            assert_true(values[tick++] == runs[i].value);
    }
    assert_int_equal(tick, n);
}

static void streams_become_columns(void **state)
{
    (void)state;
    static int64_t values[TICKS];
    static const uint32_t sizes[] = {1, 2, 7, 599, 600, TICKS};
    struct tail_stream stream = {0};
    for (unsigned round = 0; round < 60; round++) {
        uint32_t n = sizes[round % ARRAY_SIZE(sizes)];
        struct buf bytes CLEANUP(buf_done) = {0};
        struct column_stats stats = {.has_totals = true, .total_start = 5, .total_end = 123456};
        struct column_view view;
        make_stream(&stream, n, 4 + round * 7, false);
        int r = column_encode_changes(&stream, n, &stats, 77, &bytes);
        if (r == 0) { /* by chance too many */
            assert_int_equal(bytes.size, 0);
            continue;
        }
        assert_int_equal(r, 1);
        tail_read(&stream, n, (uint64_t *)values);
        for (uint32_t i = 0; i < n; i++)
            values[i]--;
        read_back(&bytes, n, &view);
        assert_true(view.stats.has_totals && view.stats.total_end == 123456);
        check_same(&view, values, n);
    }
    tail_done(&stream);
}

static void what_does_not_suit_is_left(void **state)
{
    (void)state;
    struct tail_stream stream = {0};
    struct buf bytes CLEANUP(buf_done) = {0};
    struct column_stats stats = {0};
    make_stream(&stream, 600, 1, false); /* a change at nearly every tick */
    assert_int_equal(column_encode_changes(&stream, 600, &stats, 0, &bytes), 0);
    tail_reset(&stream, 5);
    assert_int_equal(tail_reserve(&stream), 0);
    tail_change(&stream, 100, 0);
    assert_int_equal(column_encode_changes(&stream, 600, &stats, 0, &bytes), 0);
    tail_reset(&stream, 0);
    assert_int_equal(column_encode_changes(&stream, 600, &stats, 0, &bytes), 0);
    assert_int_equal(bytes.size, 0);
    tail_done(&stream);
}

static void runs_become_the_same_columns(void **state)
{
    (void)state;
    static int64_t values[TICKS];
    static struct column_run runs[TICKS];
    for (unsigned round = 0; round < 200; round++) {
        uint32_t n = 0;
        uint32_t n_runs = 0;
        int64_t value = (int64_t)(next_random() % 50);
        while (n < TICKS && (n_runs < 1 + round)) {
            uint32_t ticks = (uint32_t)(9 + next_random() % 200);
            ticks = round % 3 == 0 && n_runs > 0 && n_runs + 1 == 1 + round ? 1 : ticks;
            ticks = MIN(ticks, TICKS - n);
            runs[n_runs++] = (struct column_run){value, ticks};
            for (uint32_t k = 0; k < ticks; k++)
                values[n++] = value;
            value += (int64_t)(1 + next_random() % (round + 1)) * (round % 2 ? 1 : 100);
        }
        struct column_stats one = {.has_totals = round % 2, .total_end = 999};
        struct column_stats two = one;
        struct buf by_runs CLEANUP(buf_done) = {0};
        struct buf by_values CLEANUP(buf_done) = {0};
        struct column_view view;
        assert_int_equal(column_encode_runs(runs, n_runs, &one, 77, &by_runs), 0);
        assert_int_equal(column_encode(values, n, &two, 77, &by_values), 0);
        read_back(&by_runs, n, &view);
        check_same(&view, values, n);
        if (n_runs * 9 < n) {
            assert_int_equal(by_runs.size, by_values.size);
            assert_memory_equal(by_runs.data, by_values.data, by_runs.size);
        }
    }
}

static void damaged_changes_are_found_or_harmless(void **state)
{
    (void)state;
    static int64_t values[600];
    static struct column_run runs[600];
    struct tail_stream stream = {0};
    struct column_stats stats = {0};
    struct buf bytes CLEANUP(buf_done) = {0};
    make_stream(&stream, 600, 20, false);
    assert_int_equal(column_encode_changes(&stream, 600, &stats, 0, &bytes), 1);
    for (size_t bit = 0; bit < bytes.size * 8; bit++) {
        struct column_view view;
        bytes.data[bit / 8] = (char)(bytes.data[bit / 8] ^ 1 << bit % 8);
        struct byte_reader reader = byte_reader(bytes.data, bytes.size);
        int r = column_read(&reader, 600, 0, &view);
        if (r == 0)
            r = column_decode(&view, values);
        for (unsigned i = 0; r == 0 && i < 600; i++)
            assert_in_range(values[i], view.stats.min, view.stats.max);
        uint32_t n_runs = 0;
        if (r == 0 && view.mode == COLUMN_CHANGES && column_read_runs(&view, runs, &n_runs) == 0)
            assert_in_range(n_runs, 1, 600);
        assert_true(r == 0 || r == -EBADMSG);
        bytes.data[bit / 8] = (char)(bytes.data[bit / 8] ^ 1 << bit % 8);
    }
    tail_done(&stream);
}

static void repeating_numbers_are_learnt(void **state)
{
    (void)state;
    static int64_t values[TICKS];
    static int64_t back[TICKS];
    struct column_stats stats = {0};
    struct column_view view;
    struct buf bytes CLEANUP(buf_done) = {0};
    for (uint32_t i = 0; i < TICKS; i++) /* 8 numbers without a common divisor, below 2^20 */
        values[i] = (int64_t)((next_random() % 8 + 1) * 2654435761u >> 12 & 0xfffff);
    assert_int_equal(column_encode(values, TICKS, &stats, 0, &bytes), 0);
    read_back(&bytes, TICKS, &view);
    assert_true(view.deep);
    check_same(&view, values, TICKS);
    assert_in_range(bytes.size, TICKS * 3 / 8, TICKS * 3 / 2); /* 3 of 20 bits are news */
    for (size_t bit = 0; bit < bytes.size * 8; bit += 37) {
        bytes.data[bit / 8] = (char)(bytes.data[bit / 8] ^ 1 << bit % 8);
        struct byte_reader reader = byte_reader(bytes.data, bytes.size);
        int r = column_read(&reader, TICKS, 0, &view);
        if (r == 0)
            r = column_decode(&view, back);
        assert_true(r == 0 || r == -EBADMSG);
        bytes.data[bit / 8] = (char)(bytes.data[bit / 8] ^ 1 << bit % 8);
    }
}

/* What holds for a whole chunk is kept without memory of its own. */
static void first_values_need_no_room(void **state)
{
    (void)state;
    uint64_t back[3];
    struct tail_stream stream = {0};
    tail_reset(&stream, 3);
    tail_change(&stream, 0, 7);
    assert_true(stream.room == 0 && stream.bytes == NULL);
    tail_read(&stream, 3, back);
    assert_true(back[0] == 7 && back[2] == 7);
    assert_int_equal(tail_reserve(&stream), 0);
    tail_change(&stream, 2, 9);
    tail_read(&stream, 3, back);
    assert_true(back[0] == 7 && back[1] == 7 && back[2] == 9);
    tail_done(&stream);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(first_values_need_no_room),
        cmocka_unit_test(streams_become_columns),
        cmocka_unit_test(what_does_not_suit_is_left),
        cmocka_unit_test(runs_become_the_same_columns),
        cmocka_unit_test(damaged_changes_are_found_or_harmless),
        cmocka_unit_test(repeating_numbers_are_learnt),
    };
    return cmocka_run_group_tests_name("hist_changes", tests, NULL, NULL);
}
