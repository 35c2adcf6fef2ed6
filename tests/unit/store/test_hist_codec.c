/* SPDX-License-Identifier: Apache-2.0 */
/* The formats of the history: what goes in comes out, damage is found, lengths are capped. */
#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/fault.h"
#include "base/mem.h"
#include "store/crc32c.h"
#include "store/hist_column.h"
#include "store/hist_frame.h"
#include "store/hist_metric.h"
#include "store/hist_row.h"
#include "store/hist_tail.h"

static uint64_t random_state = 88172645463325252ull;

static uint64_t next_random(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

static void checksum_is_crc32c(void **state)
{
    (void)state;
    uint8_t bytes[300];
    assert_int_equal(crc32c(0, "123456789", 9), 0xe3069283);
    assert_int_equal(crc32c_table(0, "123456789", 9), 0xe3069283);
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (uint8_t)next_random();
    for (size_t i = 0; i < sizeof(bytes); i++) {
        uint32_t whole = crc32c(0, bytes, sizeof(bytes));
        assert_int_equal(crc32c(crc32c(0, bytes, i), bytes + i, sizeof(bytes) - i), whole);
        assert_int_equal(crc32c_table(0, bytes, i), crc32c(0, bytes, i));
    }
}

/* ---- Columns ------------------------------------------------------------------------------ */

enum shape { CONSTANT, NOISE, STEPS, RARE, WIDE, LATTICE, EXTREME, UNKNOWN_ALL, SHAPES };

static void make_column(enum shape shape, bool gaps, int64_t *values, size_t n)
{
    int64_t level = (int64_t)(next_random() % 100000);
    for (size_t i = 0; i < n; i++) {
        uint64_t r = next_random();
        switch (shape) {
        case NOISE:
            values[i] = (int64_t)(r % 5000);
            break;
        case STEPS:
            level += r % 4 == 0 ? (int64_t)(r >> 40) % 300 - 100 : 0;
            level = level < 0 ? 0 : level;
            values[i] = level;
            break;
        case RARE:
            values[i] = r % 97 == 0 ? (int64_t)(r >> 30) % 1000000 : 7;
            break;
        case WIDE:
            values[i] = (int64_t)(r >> (r % 50 + 8));
            break;
        case LATTICE:
            values[i] = 13 + 1000 * (int64_t)(r % 50);
            break;
        case EXTREME:
            values[i] = r % 2 ? HIST_VALUE_MAX : 0;
            break;
        case UNKNOWN_ALL:
            values[i] = HIST_UNKNOWN;
            break;
        default:
            values[i] = level;
        }
        if (gaps && next_random() % 20 < 3)
            values[i] = HIST_UNKNOWN;
    }
}

static void check_column(const int64_t *values, size_t n, bool totals)
{
    static int64_t back[HIST_COLUMN_MAX];
    struct buf bytes CLEANUP(buf_done) = {0};
    struct column_stats stats = {.has_totals = totals, .total_start = 1ull << 40};
    stats.total_end = stats.total_start + 123456789;
    assert_int_equal(column_encode(values, n, &stats, 1024, &bytes), 0);
    struct byte_reader reader = byte_reader(bytes.data, bytes.size);
    struct column_view view;
    assert_int_equal(column_read(&reader, n, 1024, &view), 0);
    assert_true(reader.at == reader.end);
    assert_int_equal(view.stats.count, stats.count);
    if (stats.count > 0) {
        assert_true(view.stats.min == stats.min && view.stats.max == stats.max);
        assert_true(view.stats.first == stats.first && view.stats.sum == stats.sum);
    }
    assert_int_equal(view.stats.has_totals, totals);
    if (totals)
        assert_true(
            view.stats.total_start == stats.total_start && view.stats.total_end == stats.total_end);
    assert_int_equal(column_decode(&view, back), 0);
    assert_memory_equal(back, values, n * sizeof(*values));
}

static void columns_come_back(void **state)
{
    (void)state;
    static int64_t values[HIST_COLUMN_MAX];
    static const size_t sizes[] = {1, 2, 3, 17, 600, 3600, HIST_COLUMN_MAX};
    for (int shape = 0; shape < SHAPES; shape++) {
        for (size_t s = 0; s < ARRAY_SIZE(sizes); s++) {
            for (int variant = 0; variant < 8; variant++) {
                make_column(shape, variant & 1, values, sizes[s]);
                check_column(values, sizes[s], variant & 2);
            }
        }
    }
}

static void columns_need_memory(void **state)
{
    (void)state;
    static int64_t values[600];
    make_column(NOISE, true, values, ARRAY_SIZE(values));
    for (unsigned n = 1;; n++) {
        struct buf bytes CLEANUP(buf_done) = {0};
        struct column_stats stats = {0};
        fault_arm(FAULT_ALLOC, n);
        int r = column_encode(values, ARRAY_SIZE(values), &stats, 0, &bytes);
        if (!fault_disarm()) {
            assert_int_equal(r, 0);
            break;
        }
        assert_int_equal(r, -ENOMEM);
    }
}

/* Any change of a byte is an error or other values within the promised range, never a crash. */
static void damaged_columns_are_harmless(void **state)
{
    (void)state;
    static int64_t values[700];
    static int64_t back[HIST_COLUMN_MAX];
    for (int shape = 0; shape < SHAPES; shape++) {
        struct buf bytes CLEANUP(buf_done) = {0};
        struct column_stats stats = {0};
        make_column(shape, true, values, ARRAY_SIZE(values));
        assert_int_equal(column_encode(values, ARRAY_SIZE(values), &stats, 0, &bytes), 0);
        for (int k = 0; k < 3000; k++) {
            size_t at = next_random() % bytes.size;
            char saved = bytes.data[at];
            size_t size = k % 3 == 0 ? at : bytes.size;
            bytes.data[at] = (char)next_random();
            struct byte_reader reader = byte_reader(bytes.data, size);
            struct column_view view;
            if (column_read(&reader, ARRAY_SIZE(values), 0, &view) == 0 &&
                column_decode(&view, back) == 0) {
                for (size_t i = 0; i < view.n; i++)
                    assert_true(back[i] == HIST_UNKNOWN ||
                                (back[i] >= view.stats.min && back[i] <= view.stats.max));
            }
            bytes.data[at] = saved;
        }
    }
}

/* ---- Rows --------------------------------------------------------------------------------- */

struct found {
    unsigned n;
    struct row_entry entries[16];
};

static int take_entry(void *userdata, const struct row_entry *entry)
{
    struct found *found = userdata;
    assert_true(found->n < ARRAY_SIZE(found->entries));
    found->entries[found->n++] = *entry;
    return 0;
}

static void make_row(struct buf *out, int64_t *values, struct row_axis *axis)
{
    struct row_builder builder CLEANUP(row_builder_done) = {0};
    assert_int_equal(row_axis_init(axis, 600), 0);
    for (uint32_t i = 0; i < axis->n; i++) {
        axis->times_ms[i] = 1700000000000 + i * 1000 + (int64_t)(next_random() % 9);
        axis->cpu_capacity[i] = 80000;
        axis->memory_capacity[i] = i < 300 ? 1 << 20 : 1 << 21;
    }
    axis->times_ms[400] -= 3600000; /* the clock went back and forth */
    for (uint64_t subject = 1; subject <= 10; subject++) {
        make_column((enum shape)(subject % SHAPES), subject % 2, values, 600);
        int64_t present[600];
        for (int i = 0; i < 600; i++)
            present[i] = 1;
        struct row_section section = {.subject = subject,
            .slot = (uint32_t)subject,
            .first = 5,
            .n = 590,
            .present = present,
            .metrics = {[HIST_CPU] = values, [HIST_MEMORY] = values + 1}};
        section.totals = (struct row_totals){1, {100}, {1000000}};
        assert_int_equal(row_add(&builder, axis, &section), 0);
    }
    assert_int_equal(row_finish(&builder, axis, out), 0);
}

static void rows_come_back(void **state)
{
    (void)state;
    static int64_t values[600];
    static int64_t back[600];
    struct buf bytes CLEANUP(buf_done) = {0};
    struct row_axis axis CLEANUP(row_axis_done) = {0};
    struct row_axis again CLEANUP(row_axis_done) = {0};
    struct found found = {0};
    make_row(&bytes, values, &axis);
    assert_int_equal(row_read(bytes.data, bytes.size, &again, take_entry, &found), 0);
    assert_int_equal(again.n, 600);
    assert_memory_equal(again.times_ms, axis.times_ms, 600 * sizeof(int64_t));
    assert_memory_equal(again.memory_capacity, axis.memory_capacity, 600 * sizeof(int64_t));
    assert_int_equal(found.n, 10);
    struct row_view view;
    const struct row_entry *last = &found.entries[9];
    assert_true(last->subject == 10 && last->first == 5 && last->n == 590);
    assert_int_equal(row_section_read(last, &again, &view), 0);
    assert_int_equal(view.mask, 1 << HIST_CPU | 1 << HIST_MEMORY);
    assert_int_equal(column_decode(&view.metrics[HIST_CPU], back), 0);
    assert_memory_equal(back, values, 590 * sizeof(int64_t));
    assert_true(view.metrics[HIST_CPU].stats.total_end == 1000000);
}

/* Every byte of a row is under a checksum. */
static void every_flipped_bit_of_a_row_is_found(void **state)
{
    (void)state;
    static int64_t values[600];
    struct buf bytes CLEANUP(buf_done) = {0};
    struct row_axis axis CLEANUP(row_axis_done) = {0};
    make_row(&bytes, values, &axis);
    for (size_t at = 0; at < bytes.size; at += 1 + next_random() % 3) {
        struct row_axis read CLEANUP(row_axis_done) = {0};
        struct found found = {0};
        char saved = bytes.data[at];
        bytes.data[at] = (char)(saved ^ 1 << next_random() % 8);
        int r = row_read(bytes.data, bytes.size, &read, take_entry, &found);
        for (unsigned i = 0; r == 0 && i < found.n; i++) {
            struct row_view view;
            r = row_section_read(&found.entries[i], &read, &view);
        }
        assert_true(r == -EBADMSG || r == -EPROTO);
        assert_true(row_read(bytes.data, at, NULL, NULL, NULL) < 0); /* cut off */
        bytes.data[at] = saved;
    }
    bytes.data[0] = 9;
    assert_int_equal(row_read(bytes.data, bytes.size, NULL, NULL, NULL), -EPROTO);
}

/* ---- Frames ------------------------------------------------------------------------------- */

static void change_state(struct frame_state *state, uint32_t n)
{
    assert_int_equal(frame_state_reserve(state, n), 0);
    state->n = n;
    state->when_ms += 1000;
    state->capacity = (struct hist_capacity){80000, 1 << 20};
    for (unsigned c = 0; c < FRAME_COLUMNS; c++) {
        for (uint32_t i = 0; i < n; i++) {
            uint64_t r = next_random();
            if (r % 5 == 0)
                state->values[c][i] = r % 15 == 0 ? 0 : 1 + (r >> 30) % (1ull << (c * 6 + 3));
        }
    }
    for (unsigned c = 0; c < HIST_COUNTERS; c++) {
        for (uint32_t i = 0; i < n; i++)
            state->counters[c][i] += next_random() % 1000;
    }
}

static void copy_values(struct frame_state *to, const struct frame_state *from)
{
    assert_int_equal(frame_state_reserve(to, from->room), 0);
    to->n = from->n;
    to->when_ms = from->when_ms;
    for (unsigned c = 0; c < FRAME_COLUMNS; c++)
        memcpy(to->values[c], from->values[c], from->n * sizeof(uint64_t));
    for (unsigned c = 0; c < HIST_COUNTERS; c++)
        memcpy(to->counters[c], from->counters[c], from->n * sizeof(uint64_t));
}

static void frames_come_back(void **state)
{
    (void)state;
    struct frame_codec *codec;
    struct frame_state before CLEANUP(frame_state_done) = {0};
    struct frame_state now CLEANUP(frame_state_done) = {0};
    struct frame_state back CLEANUP(frame_state_done) = {0};
    static uint8_t based[FRAME_SLOTS_MAX / FRAME_BLOCK + 1];
    assert_int_equal(frame_codec_new(&codec), 0);
    memset(based, 0, sizeof(based));
    for (uint64_t t = 0; t < 300; t++) {
        struct buf bytes CLEANUP(buf_done) = {0};
        change_state(&now, 900 + (uint32_t)t * 7);
        assert_int_equal(frame_state_reserve(&before, now.room), 0);
        assert_int_equal(frame_encode(codec, t, t == 0, &before, &now, NULL, &bytes), 0);
        assert_int_equal(frame_decode(codec, bytes.data, bytes.size, based, &back, NULL), 0);
        assert_true(back.n == now.n && back.when_ms == now.when_ms);
        for (unsigned c = 0; c < FRAME_COLUMNS; c++)
            assert_memory_equal(back.values[c], now.values[c], now.n * sizeof(uint64_t));
        if (frame_is_key(t, 0))
            assert_memory_equal(
                back.counters[1], now.counters[1], MIN(now.n, 1000u) * sizeof(uint64_t));
        copy_values(&before, &now);
    }
    frame_codec_free(codec);
}

/* A reader that begins in the middle has each block from its first key block on. */
static void frames_can_be_joined_late(void **state)
{
    (void)state;
    struct frame_codec *codec;
    struct frame_state before CLEANUP(frame_state_done) = {0};
    struct frame_state now CLEANUP(frame_state_done) = {0};
    struct frame_state back CLEANUP(frame_state_done) = {0};
    static uint8_t based[FRAME_SLOTS_MAX / FRAME_BLOCK + 1];
    assert_int_equal(frame_codec_new(&codec), 0);
    memset(based, 0, sizeof(based));
    for (uint64_t t = 0; t < 2 * FRAME_KEY_SPACING; t++) {
        struct buf bytes CLEANUP(buf_done) = {0};
        change_state(&now, 2500);
        assert_int_equal(frame_state_reserve(&before, now.room), 0);
        assert_int_equal(frame_encode(codec, t, t == 0, &before, &now, NULL, &bytes), 0);
        copy_values(&before, &now);
        if (t < 50)
            continue;
        assert_int_equal(frame_decode(codec, bytes.data, bytes.size, based, &back, NULL), 0);
        for (uint32_t block = 0; block < 3; block++) {
            uint32_t at = block * FRAME_BLOCK + 123;
            if (based[block])
                assert_true(back.values[3][at] == now.values[3][at]);
        }
    }
    assert_true(based[0] && based[1] && based[2]);
    frame_codec_free(codec);
}

struct counted {
    const struct frame_state *now;
    uint32_t slots[8];
    uint32_t n;
    struct frame_state *back;
};

static int ignore_changes(
    void *userdata, unsigned column, const uint32_t *slots, const uint64_t *before, uint32_t n)
{
    (void)userdata;
    (void)column;
    (void)slots;
    (void)before;
    (void)n;
    return 0;
}

static void note_counted(void *userdata, uint32_t first, uint32_t n)
{
    struct counted *counted = userdata;
    assert_int_equal(n, 1);
    assert_in_range(counted->n, 0, ARRAY_SIZE(counted->slots) - 1);
    counted->slots[counted->n++] = first;
    for (unsigned c = 0; c < HIST_COUNTERS; c++)
        assert_true(counted->back->counters[c][first] == counted->now->counters[c][first]);
}

/* The counters of single slots, at the ends of blocks and within, in frames without a key. */
static void frames_carry_exact_counters(void **state)
{
    (void)state;
    static const uint32_t slots[] = {0, 1, 500, 999, 1000, 2344};
    static uint8_t exact[2345], based[FRAME_SLOTS_MAX / FRAME_BLOCK + 1];
    struct frame_codec *codec;
    struct frame_state now CLEANUP(frame_state_done) = {0};
    struct frame_state back CLEANUP(frame_state_done) = {0};
    struct buf bytes CLEANUP(buf_done) = {0};
    struct counted counted = {.now = &now, .back = &back};
    const struct frame_watch watch = {&counted, ignore_changes, note_counted};
    memset(exact, 0, sizeof(exact));
    memset(based, 0, sizeof(based));
    for (size_t i = 0; i < ARRAY_SIZE(slots); i++)
        exact[slots[i]] = 1;
    assert_int_equal(frame_codec_new(&codec), 0);
    change_state(&now, ARRAY_SIZE(exact));
    assert_int_equal(frame_encode(codec, 1, true, &now, &now, exact, &bytes), 0);
    assert_int_equal(frame_decode(codec, bytes.data, bytes.size, based, &back, NULL), 0);
    for (unsigned c = 0; c < HIST_COUNTERS; c++) {
        for (uint32_t i = 0; i < now.n; i++)
            now.counters[c][i] += c == 0 ? UINT64_MAX / 3 : i;
    }
    buf_clear(&bytes);
    assert_int_equal(frame_encode(codec, 2, false, &now, &now, exact, &bytes), 0);
    assert_int_equal(frame_decode(codec, bytes.data, bytes.size, based, &back, &watch), 0);
    assert_int_equal(counted.n, ARRAY_SIZE(slots));
    assert_memory_equal(counted.slots, slots, sizeof(slots));
    assert_true(back.counters[1][2] == now.counters[1][2] - 2); /* not told */
    bytes.data[0] = 1;                                          /* its CRC is another one then */
    assert_int_equal(frame_decode(codec, bytes.data, bytes.size, based, &back, NULL), -EBADMSG);
    bytes.data[0] = FRAME_VERSION + 1;
    assert_int_equal(frame_decode(codec, bytes.data, bytes.size, based, &back, NULL), -EPROTO);
    frame_codec_free(codec);
}

static void damaged_frames_are_refused(void **state)
{
    (void)state;
    struct frame_codec *codec;
    struct frame_state zero CLEANUP(frame_state_done) = {0};
    struct frame_state now CLEANUP(frame_state_done) = {0};
    static uint8_t based[FRAME_SLOTS_MAX / FRAME_BLOCK + 1];
    struct buf bytes CLEANUP(buf_done) = {0};
    assert_int_equal(frame_codec_new(&codec), 0);
    change_state(&now, 1200);
    assert_int_equal(frame_state_reserve(&zero, now.room), 0);
    assert_int_equal(frame_encode(codec, 0, true, &zero, &now, NULL, &bytes), 0);
    for (int k = 0; k < 2000; k++) {
        struct frame_state back CLEANUP(frame_state_done) = {0};
        size_t at = next_random() % bytes.size;
        char saved = bytes.data[at];
        bytes.data[at] = (char)(saved ^ 1 << next_random() % 8);
        int r = frame_decode(codec, bytes.data, bytes.size, based, &back, NULL);
        assert_true(r == -EBADMSG || r == -EPROTO);
        bytes.data[at] = saved;
        assert_int_equal(frame_decode(codec, bytes.data, at, based, &back, NULL), -EBADMSG);
    }
    frame_codec_free(codec);
}

/* ---- The rest ----------------------------------------------------------------------------- */

static void tails_come_back(void **state)
{
    (void)state;
    static uint64_t values[1500];
    static uint64_t back[1500];
    struct tail_stream stream = {0};
    for (int round = 0; round < 20; round++) {
        uint64_t value = next_random() % 100;
        tail_reset(&stream, value);
        for (uint32_t i = 0; i < ARRAY_SIZE(values); i++) {
            if (next_random() % (uint64_t)(round + 1) == 0) {
                value = next_random() >> (round * 3);
                assert_int_equal(tail_reserve(&stream), 0);
                tail_change(&stream, i, value);
            }
            values[i] = value;
        }
        tail_read(&stream, ARRAY_SIZE(values), back);
        assert_memory_equal(back, values, sizeof(values));
        tail_read(&stream, 700, back);
        assert_memory_equal(back, values, 700 * sizeof(values[0]));
    }
    tail_done(&stream);
}

static void metrics_round_to_their_scale(void **state)
{
    (void)state;
    struct ac_usage usage;
    struct ac_usage back;
    struct hist_capacity capacity = {0};
    int64_t stored[HIST_METRICS];
    double values[HIST_METRICS];
    ac_usage_init(&usage);
    usage.cpu_cores = 1.23456;
    usage.cpu_percent = 1.23456 / 8 * 100;
    usage.memory_mb = 100.5;
    usage.memory_percent = 100.5 / 16384 * 100;
    usage.known =
        AC_KNOWN_CPU_CORES | AC_KNOWN_CPU_PERCENT | AC_KNOWN_MEMORY_MB | AC_KNOWN_MEMORY_PERCENT;
    hist_capacity_learn(&usage, &capacity);
    assert_int_equal(capacity.cpu, 80000);
    assert_int_equal(capacity.memory, 16384 * 256);
    hist_quantise(&usage, &capacity, -1, stored);
    assert_int_equal(stored[HIST_CPU], 12346);
    assert_true(stored[HIST_CPU_PERCENT] == HIST_UNKNOWN); /* it follows */
    assert_true(stored[HIST_DISK_IO] == HIST_UNKNOWN && stored[HIST_PROCESSES] == HIST_UNKNOWN);
    for (unsigned m = 0; m < HIST_METRICS; m++)
        values[m] = stored[m] == HIST_UNKNOWN ? NAN : (double)stored[m];
    hist_restore(values, &capacity, &back);
    assert_int_equal(back.known, usage.known);
    assert_true(fabs(back.cpu_cores - usage.cpu_cores) <= 5e-5);
    assert_true(fabs(back.cpu_percent - usage.cpu_percent) <= 0.001);
    assert_true(back.memory_mb == 100.5 && isnan(back.disk_io_mbps));
    usage.cpu_percent = 50; /* does not follow: stored for itself */
    hist_quantise(&usage, &capacity, 3, stored);
    assert_int_equal(stored[HIST_CPU_PERCENT], 5000);
    assert_int_equal(stored[HIST_PROCESSES], 3);
    enum hist_metric metric;
    assert_int_equal(hist_metric_from_name("network_io", &metric), 0);
    assert_int_equal(metric, HIST_NETWORK_IO);
    assert_int_equal(hist_metric_from_name("", &metric), -EINVAL);
    assert_null(hist_metric_info(HIST_METRICS));
}

/* Data A of the benchmark, where it is: bytes per sample must not get worse unnoticed. */
static void traces_stay_small(void **state)
{
    (void)state;
    static int64_t values[2][100][4096];
    static size_t lengths[100];
    char path[512];
    char line[256];
    const char *folder = getenv("AGENTCORE_TRACES");
    const char *root = getenv("SOURCE_ROOT");
    if (folder != NULL)
        snprintf(path, sizeof(path), "%s/agents-usage.csv", folder);
    else
        snprintf(path, sizeof(path), "%s/../shared/traces/agents-usage.csv", root ? root : ".");
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        print_message("# no %s: set AGENTCORE_TRACES\n", path);
        skip();
    }
    while (fgets(line, sizeof(line), file) != NULL) {
        int run;
        double cpu;
        double memory;
        if (sscanf(line, "%d,%*[^,],%*[^,],%*f,%lf,%lf", &run, &cpu, &memory) != 3 || run >= 100 ||
            run < 0 || lengths[run] == 4096)
            continue;
        values[0][run][lengths[run]] = llround(cpu * 100);
        values[1][run][lengths[run]++] = llround(memory / 4096);
    }
    fclose(file);
    size_t bytes = 0;
    size_t samples = 0;
    for (int run = 0; run < 100; run++) {
        for (int m = 0; m < 2 && lengths[run] > 0; m++) {
            struct buf out CLEANUP(buf_done) = {0};
            struct column_stats stats = {0};
            assert_int_equal(column_encode(values[m][run], lengths[run], &stats, 0, &out), 0);
            check_column(values[m][run], lengths[run], false);
            bytes += out.size;
            samples += lengths[run];
        }
    }
    print_message("# %.4f bytes per sample\n", (double)bytes / (double)samples);
    assert_true((double)bytes < 0.78 * (double)samples);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(checksum_is_crc32c),
        cmocka_unit_test(columns_come_back),
        cmocka_unit_test(columns_need_memory),
        cmocka_unit_test(damaged_columns_are_harmless),
        cmocka_unit_test(rows_come_back),
        cmocka_unit_test(every_flipped_bit_of_a_row_is_found),
        cmocka_unit_test(frames_come_back),
        cmocka_unit_test(frames_can_be_joined_late),
        cmocka_unit_test(frames_carry_exact_counters),
        cmocka_unit_test(damaged_frames_are_refused),
        cmocka_unit_test(tails_come_back),
        cmocka_unit_test(metrics_round_to_their_scale),
        cmocka_unit_test(traces_stay_small),
    };
    return cmocka_run_group_tests_name("hist_codec", tests, NULL, NULL);
}
