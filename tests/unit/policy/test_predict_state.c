/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/predict.h"

#include "predict_fixture.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

static struct predict *trained(uint32_t max_templates)
{
    struct predict *predict = new_predict(max_templates);
    uint64_t seed = 17;
    for (int n = 0; n < 300; n++) {
        char name[16];
        snprintf(name, sizeof(name), "t%u", random_below(&seed, 8));
        struct ac_run_usage run = {.cpu_peak_percent = random_below(&seed, 100),
            .memory_peak_mb = random_below(&seed, 5000),
            .execution_time_seconds = random_below(&seed, 3) ? random_below(&seed, 900) : NAN};
        predict_record(predict, (enum ac_philosophy)random_below(&seed, 4),
            random_below(&seed, 4) ? name : NULL, &run, day(n / 40.0));
    }
    return predict;
}

static void assert_equal(struct ac_prediction x, struct ac_prediction y)
{
    assert_true(x.cpu_percent == y.cpu_percent && x.memory_mb == y.memory_mb);
    assert_true(x.execution_time_seconds == y.execution_time_seconds);
    assert_close(x.confidence, y.confidence, 1e-9);
    assert_int_equal(x.basis, y.basis);
    assert_int_equal(x.runs, y.runs);
}

static void assert_same(struct predict *a, struct predict *b)
{
    for (int philosophy = 0; philosophy < AC_PHILOSOPHY_COUNT; philosophy++) {
        for (int i = -1; i < 9; i++) {
            char name[16] = "";
            if (i >= 0)
                snprintf(name, sizeof(name), "t%d", i);
            struct ac_prediction x = get(a, (enum ac_philosophy)philosophy, name, day(8));
            struct ac_prediction y = get(b, (enum ac_philosophy)philosophy, name, day(8));
            assert_equal(x, y);
        }
    }
}

static void saved_state_comes_back(void **state)
{
    (void)state;
    struct predict *predict = trained(100), *loaded = new_predict(100);
    struct buf bytes CLEANUP(buf_done) = {0}, again CLEANUP(buf_done) = {0};
    assert_int_equal(predict_save(predict, &bytes), 0);
    learn(loaded, AC_REACT, "other", 1, day(0));
    assert_int_equal(predict_load(loaded, bytes.data, bytes.size), 0);
    assert_same(predict, loaded);
    assert_int_equal(predict_load(predict, bytes.data, bytes.size), 0);
    assert_int_equal(predict_save(predict, &again), 0);
    assert_int_equal(again.size, bytes.size);
    assert_memory_equal(again.data, bytes.data, bytes.size);
    /* What was learnt goes on from there. */
    learn(predict, AC_REACT, "t1", 3000, day(9));
    learn(loaded, AC_REACT, "t1", 3000, day(9));
    predict_free(loaded);
    /* Fewer templates fit: those used last stay. */
    loaded = new_predict(2);
    assert_int_equal(predict_load(loaded, bytes.data, bytes.size), 0);
    int kept = 0;
    for (int i = 0; i < 8; i++) {
        char name[16];
        snprintf(name, sizeof(name), "t%d", i);
        kept += get(loaded, AC_REACT, name, day(8)).basis == AC_BASIS_TEMPLATE;
    }
    assert_int_equal(kept, 2);
    predict_free(loaded);
    predict_free(predict);
}

static void an_empty_state_comes_back(void **state)
{
    (void)state;
    struct predict *predict = new_predict(10);
    struct buf bytes CLEANUP(buf_done) = {0};
    assert_int_equal(predict_save(predict, &bytes), 0);
    learn(predict, AC_REACT, "t", 100, day(0));
    assert_int_equal(predict_load(predict, bytes.data, bytes.size), 0);
    assert_cold(get(predict, AC_REACT, "t", day(0)));
    predict_free(predict);
}

static void damaged_bytes_are_refused(void **state)
{
    (void)state;
    struct predict *predict = trained(100), *other = new_predict(100);
    struct buf bytes CLEANUP(buf_done) = {0};
    assert_int_equal(predict_save(predict, &bytes), 0);
    for (int n = 0; n < 3; n++)
        learn(other, AC_REACT, "mine", 123, day(0));
    struct ac_prediction before = get(other, AC_REACT, "mine", day(0));
    for (size_t size = 0; size < bytes.size; size += size < 64 ? 1 : 37)
        assert_int_equal(predict_load(other, bytes.data, size), -EINVAL);
    for (size_t i = 0; i < bytes.size; i += i < 64 ? 1 : 29) {
        bytes.data[i] ^= 0x40;
        assert_int_equal(predict_load(other, bytes.data, bytes.size), -EINVAL);
        bytes.data[i] ^= 0x40;
    }
    assert_int_equal(predict_load(other, NULL, 0), -EINVAL);
    buf_append_char(&bytes, 0);
    assert_int_equal(predict_load(other, bytes.data, bytes.size), -EINVAL);
    struct ac_prediction after = get(other, AC_REACT, "mine", day(0));
    assert_equal(before, after);
    predict_free(predict);
    predict_free(other);
}

/* Layout of the saved state (predict_state.c): what a right checksum does not protect from. */
#define HEAD_SIZE      32
#define KEY_EMPTY      62 /* runs, three histograms of 18 bytes */
#define KEY_OF_ALL     (HEAD_SIZE + 4 + 4 * KEY_EMPTY)
#define TEMPLATE_COUNT (KEY_OF_ALL + KEY_EMPTY)

static void put(struct buf *bytes, size_t at, uint64_t value, unsigned size)
{
    assert_true(at + size <= bytes->size);
    for (unsigned i = 0; i < size; i++)
        bytes->data[at + i] = (char)(value >> (8 * i));
}

/* Appends a template with a key that has one CPU bucket. */
static void add_template(struct buf *bytes, const char *name, size_t length, uint64_t runs,
    uint64_t samples, const uint16_t *buckets, const double *weights, unsigned n)
{
    buf_append_char(bytes, (char)length);
    buf_append(bytes, name, length);
    size_t at = bytes->size;
    static const char zeros[KEY_EMPTY];
    buf_append(bytes, zeros, 8 + 18);
    put(bytes, at, runs, 8);
    put(bytes, at + 16, samples, 8);
    put(bytes, at + 24, n, 2);
    for (unsigned i = 0; i < n; i++) {
        buf_append(bytes, &buckets[i], 2);
        buf_append(bytes, &weights[i], 8);
    }
    buf_append(bytes, zeros, 36);
}

static int load_sealed(struct predict *predict, struct buf *bytes)
{
    put(bytes, 16, bytes->size - HEAD_SIZE, 8);
    put(bytes, 24, XXH3_64bits(bytes->data + HEAD_SIZE, bytes->size - HEAD_SIZE), 8);
    return predict_load(predict, bytes->data, bytes->size);
}

static void hostile_bytes_with_a_right_checksum_are_refused(void **state)
{
    (void)state;
    const struct {
        bool good;
        const char *name;
        size_t length;
        uint64_t runs, samples;
        uint16_t buckets[2];
        double weights[2];
        unsigned n;
    } rows[] = {
        {true, "t", 1, 2, 2, {3, 4}, {1, 1}, 2},
        {true, "t", 1, 2, 0, {0}, {0}, 0},
        {true, "t", 1, 2, 1, {211}, {1e30}, 1},
        {false, "", 0, 2, 2, {3, 4}, {1, 1}, 2},
        {false, "a\0b", 3, 2, 2, {3, 4}, {1, 1}, 2},
        {false, "t", 1, 2, 2, {3, 3}, {1, 1}, 2}, /* not rising */
        {false, "t", 1, 2, 2, {4, 3}, {1, 1}, 2},
        {false, "t", 1, 2, 2, {3, 212}, {1, 1}, 2}, /* no such bucket */
        {false, "t", 1, 2, 2, {3, 65535}, {1, 1}, 2},
        {false, "t", 1, 2, 2, {3, 4}, {1, 0}, 2},
        {false, "t", 1, 2, 2, {3, 4}, {1, -1}, 2},
        {false, "t", 1, 2, 2, {3, 4}, {NAN, 1}, 2},
        {false, "t", 1, 2, 2, {3, 4}, {1, INFINITY}, 2},
        {false, "t", 1, 2, 2, {3, 4}, {1, 1e31}, 2},
        {false, "t", 1, 1, 2, {3, 4}, {1, 1}, 2}, /* more samples than runs */
        {false, "t", 1, UINT64_MAX, 2, {3, 4}, {1, 1}, 2},
        {false, "t", 1, 2, 2, {0}, {0}, 0}, /* samples that lie nowhere */
        {false, "t", 1, 2, 0, {3, 4}, {1, 1}, 2},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct predict *predict = new_predict(10);
        struct buf bytes CLEANUP(buf_done) = {0};
        assert_int_equal(predict_save(predict, &bytes), 0);
        assert_int_equal(bytes.size, TEMPLATE_COUNT + 4);
        put(&bytes, TEMPLATE_COUNT, 1, 4);
        add_template(&bytes, rows[i].name, rows[i].length, rows[i].runs, rows[i].samples,
            rows[i].buckets, rows[i].weights, rows[i].n);
        assert_int_equal(load_sealed(predict, &bytes), rows[i].good ? 0 : -EINVAL);
        /* Another one of the same name, one that is announced and missing, bytes left over. */
        put(&bytes, TEMPLATE_COUNT, 2, 4);
        assert_int_equal(load_sealed(predict, &bytes), -EINVAL);
        add_template(&bytes, rows[i].name, rows[i].length, rows[i].runs, rows[i].samples,
            rows[i].buckets, rows[i].weights, rows[i].n);
        assert_int_equal(load_sealed(predict, &bytes), -EINVAL);
        put(&bytes, TEMPLATE_COUNT, 1, 4);
        assert_int_equal(load_sealed(predict, &bytes), -EINVAL);
        predict_free(predict);
    }
}

static void heads_of_another_kind_are_refused(void **state)
{
    (void)state;
    const struct {
        size_t at;
        uint64_t value;
        unsigned size;
    } rows[] = {
        {0, 'a', 1},                     /* magic */
        {8, 2, 4},                       /* version */
        {8, 0, 4},                       /* version */
        {12, 1, 4},                      /* reserved */
        {HEAD_SIZE, 3, 4},               /* philosophies */
        {HEAD_SIZE, 5, 4},               /* philosophies */
        {TEMPLATE_COUNT, 1, 4},          /* templates */
        {TEMPLATE_COUNT, UINT32_MAX, 4}, /* templates */
        {KEY_OF_ALL + 8 + 16, 1, 2},     /* a bucket that is not there */
        {KEY_OF_ALL + 8 + 16, 0xffff, 2},
    };
    struct predict *predict = new_predict(10);
    struct buf bytes CLEANUP(buf_done) = {0};
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        buf_clear(&bytes);
        assert_int_equal(predict_save(predict, &bytes), 0);
        assert_int_equal(load_sealed(predict, &bytes), 0);
        put(&bytes, rows[i].at, rows[i].value, rows[i].size);
        assert_int_equal(load_sealed(predict, &bytes), -EINVAL);
    }
    predict_free(predict);
}

static void failing_allocations(void **state)
{
    (void)state;
    struct predict *predict;
    for (unsigned n = 1;; n++) {
        fault_arm(FAULT_ALLOC, n);
        int r = predict_new(10, 1, &predict);
        if (!fault_disarm()) {
            assert_int_equal(r, 0);
            predict_free(predict);
            break;
        }
        assert_int_equal(r, -ENOMEM);
    }
    predict = trained(100);
    /* Learning with a new template: all or nothing. */
    const struct ac_run_usage run = {10, 10, 10};
    uint64_t runs = get(predict, AC_REACT, NULL, day(8)).runs;
    for (unsigned n = 1;; n++) {
        fault_arm(FAULT_ALLOC, n);
        int r = predict_record(predict, AC_REACT, "fresh", &run, day(8));
        bool hit = fault_disarm();
        assert_int_equal(r, hit ? -ENOMEM : 0);
        assert_int_equal(get(predict, AC_REACT, NULL, day(8)).runs, runs + !hit);
        if (!hit)
            break;
    }
    struct buf bytes CLEANUP(buf_done) = {0};
    for (unsigned n = 1;; n++) {
        fault_arm(FAULT_ALLOC, n);
        int r = predict_save(predict, &bytes);
        bool hit = fault_disarm();
        assert_int_equal(r, hit ? -ENOMEM : 0);
        if (!hit)
            break;
        buf_done(&bytes);
        bytes.failed = false;
    }
    struct predict *loaded = new_predict(100);
    for (unsigned n = 1;; n++) {
        fault_arm(FAULT_ALLOC, n);
        int r = predict_load(loaded, bytes.data, bytes.size);
        bool hit = fault_disarm();
        assert_int_equal(r, hit ? -ENOMEM : 0);
        if (!hit)
            break;
        assert_cold(get(loaded, AC_REACT, "t1", day(8)));
    }
    assert_same(predict, loaded);
    predict_free(loaded);
    predict_free(predict);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(saved_state_comes_back),
        cmocka_unit_test(an_empty_state_comes_back),
        cmocka_unit_test(damaged_bytes_are_refused),
        cmocka_unit_test(hostile_bytes_with_a_right_checksum_are_refused),
        cmocka_unit_test(heads_of_another_kind_are_refused),
        cmocka_unit_test(failing_allocations),
    };
    return cmocka_run_group_tests_name("policy/predict_state", tests, NULL, NULL);
}
