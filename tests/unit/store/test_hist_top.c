/* SPDX-License-Identifier: Apache-2.0 */
/* Rows of all slots, and the packed numbers in them: what goes in comes out, damage is found, and
 * what is wild behind a right checksum stays within its bounds. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/fault.h"
#include "base/mem.h"
#include "store/crc32c.h"
#include "store/hist_top_row.h"

#define SLOTS_MAX 10000
#define LARGEST   ((uint64_t)1 << 56)

static const uint32_t counts[] = {0, 1, 2, 15, 16, 17, 63, 64, 65, 127, 128, 129, 1000, SLOTS_MAX};

static uint64_t random_state = 88172645463325252ull;

static uint64_t next_random(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

/* ---- Packed numbers ----------------------------------------------------------------------- */

static int unpack(const void *bytes, size_t size, size_t n, uint64_t *numbers)
{
    struct byte_reader reader = byte_reader(bytes, size);
    struct bits_reader bits;
    if (bits_open(&reader, n, &bits) < 0)
        return -EBADMSG;
    for (size_t i = 0; i < n; i += BITS_GROUP) {
        if (bits_take(&bits, MIN(n - i, (size_t)BITS_GROUP), &numbers[i]) < 0)
            return -EBADMSG;
    }
    uint64_t more;
    return bits_take(&bits, 1, &more) < 0 && reader.at == reader.end ? 0 : -EINVAL;
}

/* Numbers of round 0 to 63 have so many bits less than 64; those behind are of a few kinds. */
static uint64_t number_of(unsigned round)
{
    static const uint64_t edges[] = {
        0, 1, LARGEST - 1, LARGEST, LARGEST + 1, UINT64_MAX >> 1, UINT64_MAX};
    uint64_t r = next_random();
    switch (round) {
    case 64:
        return 42;
    case 65:
        return edges[r % ARRAY_SIZE(edges)];
    case 66:
        return r >> (r & 63);
    case 67:
        return r % 100 == 0 ? LARGEST : 0;
    case 68:
        return 1000000 + r % 8;
    default:
        return r >> (round % 64);
    }
}

static void packed_numbers_come_back(void **state)
{
    (void)state;
    static uint64_t numbers[SLOTS_MAX];
    static uint64_t back[SLOTS_MAX];
    for (size_t k = 0; k < ARRAY_SIZE(counts); k++) {
        for (unsigned round = 0; round < 69; round++) {
            struct buf bytes CLEANUP(buf_done) = {0};
            for (size_t i = 0; i < counts[k]; i++)
                numbers[i] = number_of(round);
            bits_pack(numbers, NULL, counts[k], &bytes);
            assert_false(bytes.failed);
            assert_int_equal(unpack(bytes.data, bytes.size, counts[k], back), 0);
            assert_memory_equal(back, numbers, counts[k] * sizeof(numbers[0]));
        }
    }
}

static void tags_come_back(void **state)
{
    (void)state;
    static uint64_t numbers[1000];
    static uint8_t tags[1000];
    uint64_t back[BITS_GROUP];
    for (unsigned round = 0; round < 69; round++) {
        struct buf bytes CLEANUP(buf_done) = {0};
        struct bits_reader bits;
        for (size_t i = 0; i < 1000; i++) {
            tags[i] = (uint8_t)(next_random() % BITS_TAGS);
            numbers[i] = number_of(round) >> tags[i];
        }
        bits_pack(numbers, tags, 1000, &bytes);
        struct byte_reader reader = byte_reader(bytes.data, bytes.size);
        assert_int_equal(bits_open(&reader, 1000, &bits), 0);
        for (size_t i = 0; i < 1000;) {
            size_t n = 1 + next_random() % BITS_GROUP;
            n = MIN(n, 1000 - i);
            for (size_t j = 0; j < n; j++)
                assert_int_equal(
                    bits.classes[bits_classes(&bits, j) & ((1u << bits.class_bits) - 1)].tag,
                    tags[i + j]);
            assert_int_equal(bits_take(&bits, n, back), 0);
            assert_memory_equal(back, &numbers[i], n * sizeof(back[0]));
            i += n;
        }
    }
}

static void packed_numbers_that_end_early_are_refused(void **state)
{
    (void)state;
    static uint64_t numbers[1000];
    static uint64_t back[1000];
    for (unsigned round = 0; round < 69; round++) {
        struct buf bytes CLEANUP(buf_done) = {0};
        for (size_t i = 0; i < 300; i++)
            numbers[i] = number_of(round);
        bits_pack(numbers, NULL, 300, &bytes);
        for (size_t size = 0; size < bytes.size; size += 1 + size / 64) {
            uint8_t *exact = malloc(MAX(size, (size_t)1));
            memcpy(exact, bytes.data, size);
            assert_int_equal(unpack(exact, size, 300, back), -EBADMSG);
            free(exact);
        }
    }
}

static void wild_packed_numbers_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *what;
        const char *bytes;
        size_t size;
    } table[] = {
        {"nothing", "", 0},
        {"a class too many", "\x23\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 21},
        {"bits for more classes", "\x01\x00\x00\x00\x00", 5},
        {"bits for fewer classes", "\x04\x00\x00\x00\x00\x00", 6},
        {"a width of 58", "\x00\x3a\x00\x00", 4},
        {"an endless least", "\x00\x00\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", 13},
        {"no classes", "\x05\x00\x00\x01\x00", 5},
        {"a size beyond the end", "\x00\x01\x00\x09\xff", 5},
        {"an endless size", "\x00\x01\x00\xff\xff\xff\xff\xff\xff\xff\xff\x7f\xff", 13},
        {"fewer bits than numbers", "\x00\x08\x00\x01\xff", 5},
    };
    uint64_t numbers[64];
    for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
        uint8_t *exact = malloc(MAX(table[i].size, (size_t)1));
        memcpy(exact, table[i].bytes, table[i].size);
        if (unpack(exact, table[i].size, 64, numbers) != -EBADMSG)
            fail_msg("%s: not refused", table[i].what);
        free(exact);
    }
}

/* ---- Rows --------------------------------------------------------------------------------- */

enum samples { ALL_SIXTY, ALL_NONE, SOME_NEW, RUNS, HALF, ANY, SAMPLES };
enum values { IDLE, STEADY, BURSTS, BUSY, MIXED, EDGES, WILD, VALUES };

struct slots {
    struct top_sums sums;
    uint64_t room[3][SLOTS_MAX];
};

static struct top_sums *slots_new(struct slots *slots)
{
    slots->sums = (struct top_sums){slots->room[0], slots->room[1], slots->room[2]};
    return &slots->sums;
}

static uint64_t samples_of(enum samples kind, uint32_t i)
{
    static uint64_t run;
    uint64_t r = next_random();
    switch (kind) {
    case ALL_NONE:
        return 0;
    case SOME_NEW:
        return r % 200 == 0 ? r / 200 % 60 : 60;
    case RUNS:
        run = i == 0 || r % 150 == 0 ? r / 150 % 61 : run;
        return run;
    case HALF:
        return r % 2 * 60;
    case ANY:
        return r;
    default:
        return 60;
    }
}

/* A slot of so many samples as agents have them, except for EDGES and WILD. */
static void fill_slot(enum values kind, uint64_t known, uint64_t *sum, uint64_t *max)
{
    static const uint64_t edges[] = {0, 1, 2, LARGEST - 1, LARGEST, UINT64_MAX};
    uint64_t r = next_random();
    kind = kind == MIXED ? r % 4 : kind;
    switch (kind) {
    case IDLE:
        *sum = *max = 0;
        break;
    case STEADY:
        *max = 3000 + r % 5000;
        *sum = *max * known;
        break;
    case BURSTS:
        *max = r % 3 == 0 ? r >> 40 : 0;
        *sum = *max;
        break;
    case EDGES:
        *max = edges[r % ARRAY_SIZE(edges)];
        *sum = edges[r / 16 % ARRAY_SIZE(edges)] * known;
        break;
    case WILD:
        *max = r >> (r & 63);
        *sum = next_random() >> (r / 64 & 63);
        break;
    default:
        *max = r % 10000;
        *sum = *max + *max * (r / 10000 % 60);
    }
}

static void fill(struct top_sums *s, uint32_t n, enum samples samples, enum values values)
{
    for (uint32_t i = 0; i < n; i++) {
        s->known[i] = samples_of(samples, i);
        fill_slot(values, s->known[i], &s->sum[i], &s->max[i]);
    }
}

static void check_row(const struct top_sums *s, uint32_t n, const struct buf *row)
{
    static struct slots back;
    for (unsigned wanted = 0; wanted <= (TOP_SUMS | TOP_MAXIMA); wanted++) {
        struct top_sums *to = slots_new(&back);
        for (uint32_t i = 0; i < n; i++) {
            to->known[i] = i;
            to->sum[i] = 3 * (uint64_t)i;
            to->max[i] = i;
        }
        assert_int_equal(top_row_add(row->data, row->size, wanted, n, to), n);
        for (uint32_t i = 0; i < n; i++) {
            uint64_t sum = wanted & TOP_SUMS ? s->sum[i] : 0;
            uint64_t max = wanted & TOP_MAXIMA ? MAX(s->max[i], (uint64_t)i) : i;
            if (to->known[i] != s->known[i] + i || to->sum[i] != sum + 3 * (uint64_t)i ||
                to->max[i] != max)
                fail_msg("slot %u of %u differs, wanted %u", i, n, wanted);
        }
    }
}

static void rows_come_back(void **state)
{
    (void)state;
    static struct slots slots;
    struct top_sums *s = slots_new(&slots);
    for (size_t k = 0; k < ARRAY_SIZE(counts); k++) {
        for (unsigned shape = 0; shape < SAMPLES * VALUES; shape++) {
            struct buf row CLEANUP(buf_done) = {0};
            fill(s, counts[k], shape % SAMPLES, shape / SAMPLES);
            assert_int_equal(top_row_encode(s, counts[k], &row), 0);
            check_row(s, counts[k], &row);
        }
    }
}

static void idle_and_steady_slots_cost_nearly_nothing(void **state)
{
    (void)state;
    static struct slots slots;
    struct top_sums *s = slots_new(&slots);
    struct buf row CLEANUP(buf_done) = {0};
    fill(s, SLOTS_MAX, ALL_SIXTY, IDLE);
    assert_int_equal(top_row_encode(s, SLOTS_MAX, &row), 0);
    assert_in_range(row.size, 1, 24);
    for (uint32_t i = 0; i < SLOTS_MAX; i++) {
        s->max[i] = 7;
        s->sum[i] = 420;
    }
    buf_clear(&row);
    assert_int_equal(top_row_encode(s, SLOTS_MAX, &row), 0);
    assert_in_range(row.size, 1, 24);
    s->known[5000] = 59;
    s->sum[5000] = 413;
    buf_clear(&row);
    assert_int_equal(top_row_encode(s, SLOTS_MAX, &row), 0);
    assert_in_range(row.size, 1, 32);
}

static void rows_need_memory(void **state)
{
    (void)state;
    static struct slots slots;
    struct top_sums *s = slots_new(&slots);
    fill(s, 100, SOME_NEW, MIXED);
    for (unsigned n = 1;; n++) {
        struct buf row CLEANUP(buf_done) = {0};
        fault_arm(FAULT_ALLOC, n);
        int r = top_row_encode(s, 100, &row);
        if (!fault_disarm()) {
            assert_int_equal(r, 0);
            assert_true(n > 2);
            break;
        }
        assert_int_equal(r, -ENOMEM);
    }
}

/* ---- Damage ------------------------------------------------------------------------------- */

static void set_checksum(uint8_t *row, size_t size)
{
    uint32_t crc = crc32c(0, row + 4, size - 4);
    for (unsigned i = 0; i < 4; i++)
        row[i] = (uint8_t)(crc >> 8 * i);
}

/* Adds a copy of its exact size to sums of exactly so many slots. */
static int add_exact(const uint8_t *row, size_t size, unsigned wanted, uint32_t room)
{
    uint8_t *copy = malloc(MAX(size, (size_t)1));
    uint64_t *sums[3];
    memcpy(copy, row, size);
    for (unsigned i = 0; i < 3; i++)
        sums[i] = calloc(MAX(room, 1u), sizeof(uint64_t));
    int r = top_row_add(copy, size, wanted, room, &(struct top_sums){sums[0], sums[1], sums[2]});
    for (unsigned i = 0; i < 3; i++)
        free(sums[i]);
    free(copy);
    return r;
}

static void damaged_rows_are_refused_and_add_nothing(void **state)
{
    (void)state;
    static struct slots slots;
    static struct slots to;
    static const struct slots none;
    struct top_sums *s = slots_new(&slots);
    struct buf row CLEANUP(buf_done) = {0};
    fill(s, 300, SOME_NEW, MIXED);
    assert_int_equal(top_row_encode(s, 300, &row), 0);
    slots_new(&to);
    for (size_t i = 0; i < row.size * 8; i++) {
        row.data[i / 8] ^= (char)(1 << i % 8);
        assert_int_equal(top_row_add(row.data, row.size, TOP_SUMS, 300, &to.sums), -EBADMSG);
        row.data[i / 8] ^= (char)(1 << i % 8);
    }
    for (size_t size = 0; size < row.size; size++)
        assert_int_equal(
            add_exact((uint8_t *)row.data, size, TOP_SUMS | TOP_MAXIMA, 300), -EBADMSG);
    assert_int_equal(top_row_add(row.data, row.size, TOP_SUMS, 299, &to.sums), -EBADMSG);
    assert_memory_equal(to.room, none.room, sizeof(to.room));
    assert_int_equal(top_row_add(row.data, row.size, TOP_SUMS, 300, &to.sums), 300);
}

static void rows_of_other_versions_are_refused(void **state)
{
    (void)state;
    static struct slots slots;
    struct top_sums *s = slots_new(&slots);
    struct buf row CLEANUP(buf_done) = {0};
    fill(s, 100, ALL_SIXTY, BUSY);
    assert_int_equal(top_row_encode(s, 100, &row), 0);
    for (unsigned version = 0; version < 256; version++) {
        row.data[4] = (char)version;
        set_checksum((uint8_t *)row.data, row.size);
        assert_int_equal(
            add_exact((uint8_t *)row.data, row.size, TOP_SUMS, 100), version == 2 ? 100 : -EBADMSG);
    }
}

/* What a right checksum lets through may be any numbers, of no more slots than there is room. */
static void wild_rows_stay_within_bounds(void **state)
{
    (void)state;
    static struct slots slots;
    struct top_sums *s = slots_new(&slots);
    unsigned refused = 0;
    for (unsigned round = 0; round < 20000; round++) {
        struct buf row CLEANUP(buf_done) = {0};
        uint32_t n = 1 + (uint32_t)(next_random() % 200);
        fill(s, n, next_random() % SAMPLES, next_random() % VALUES);
        assert_int_equal(top_row_encode(s, n, &row), 0);
        uint8_t *bytes = (uint8_t *)row.data;
        for (unsigned k = 0; k <= round % 4; k++)
            bytes[5 + next_random() % (row.size - 5)] ^= (uint8_t)(1 << next_random() % 8);
        size_t size = round % 3 > 0 ? row.size : 5 + next_random() % (row.size - 5);
        set_checksum(bytes, size);
        int r = add_exact(bytes, size, round % 4, n);
        assert_in_range(r + EBADMSG, 0, n + EBADMSG);
        assert_true(r >= 0 || r == -EBADMSG);
        refused += r < 0;
    }
    assert_in_range(refused, 5000, 19000);
}

static void wild_lengths_in_rows_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *what;
        const char *bytes; /* behind the version */
        size_t size;
    } table[] = {
        {"no number of slots", "", 0},
        {"more slots than room", "\x65\x00\x65\x3c\x00\x00\x00\x00\x00", 9},
        {"slots without end", "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x00", 11},
        {"no samples", "\x64\x00", 2},
        {"a form that is not known", "\x64\x02\x64\x3c\x00\x00\x00\x00\x00", 9},
        {"an empty run", "\x64\x00\x00\x3c\x64\x3c\x00\x00\x00\x00\x00", 11},
        {"a run of too many", "\x64\x00\x65\x3c\x00\x00\x00\x00\x00", 9},
        {"a run of very many", "\x64\x00\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x3c", 13},
        {"a tag that is not known", "\x64\x00\x64\x3c\x00\xc0\x00\x00\x00", 9},
        {"more varying than slots", "\x64\x00\x64\x3c\x00\x00\x00\x00\x65\x00\x00\x00\x00", 13},
        {"fewer varying than there are", "\x64\x00\x64\x3c\x00\x80\x01\x00\x00", 9},
        {"bytes behind the end", "\x64\x00\x64\x3c\x00\x00\x00\x00\x00\x00", 10},
    };
    static const char good[] = "\x64\x00\x64\x3c\x00\x00\x00\x00\x00";
    uint8_t row[64] = {0, 0, 0, 0, 2};
    memcpy(row + 5, good, sizeof(good) - 1);
    set_checksum(row, 5 + sizeof(good) - 1);
    assert_int_equal(add_exact(row, 5 + sizeof(good) - 1, TOP_SUMS | TOP_MAXIMA, 100), 100);
    for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
        memcpy(row + 5, table[i].bytes, table[i].size);
        set_checksum(row, 5 + table[i].size);
        if (add_exact(row, 5 + table[i].size, TOP_SUMS | TOP_MAXIMA, 100) != -EBADMSG)
            fail_msg("%s: not refused", table[i].what);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(packed_numbers_come_back),
        cmocka_unit_test(tags_come_back),
        cmocka_unit_test(packed_numbers_that_end_early_are_refused),
        cmocka_unit_test(wild_packed_numbers_are_refused),
        cmocka_unit_test(rows_come_back),
        cmocka_unit_test(idle_and_steady_slots_cost_nearly_nothing),
        cmocka_unit_test(rows_need_memory),
        cmocka_unit_test(damaged_rows_are_refused_and_add_nothing),
        cmocka_unit_test(rows_of_other_versions_are_refused),
        cmocka_unit_test(wild_rows_stay_within_bounds),
        cmocka_unit_test(wild_lengths_in_rows_are_refused),
    };
    return cmocka_run_group_tests_name("hist_top", tests, NULL, NULL);
}
