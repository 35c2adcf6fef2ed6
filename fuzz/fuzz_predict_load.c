/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A predictor's stored state: bytes from a file either are refused and change nothing, or give a
 * predictor that answers with finite numbers, learns on, and saves what loads again. The input is
 * tried as a whole file, and as a body behind a header that is right (mutations would never get
 * past the checksum).
 */
#define XXH_INLINE_ALL
#include <errno.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "base/mem.h"
#include "policy/predict.h"

#define MAX_TEMPLATES 4
#define HEAD_SIZE     32

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool ok)
{
    if (!ok)
        abort();
}

static void check_answers(struct predict *predict, const char *agent_template)
{
    struct ac_prediction p;
    predict_get(predict, AC_REACT, agent_template, 1767225600000000000ll, &p);
    check(isfinite(p.cpu_percent) && p.cpu_percent >= 0 && p.cpu_percent <= 100);
    check(isfinite(p.memory_mb) && p.memory_mb >= 0);
    check(isfinite(p.execution_time_seconds) && p.execution_time_seconds >= 0);
    check(p.confidence >= 0 && p.confidence <= 1);
}

static void check_loaded(struct predict *predict)
{
    struct buf bytes CLEANUP(buf_done) = {0}, again CLEANUP(buf_done) = {0};
    check(predict_save(predict, &bytes) == 0);
    check(predict_load(predict, bytes.data, bytes.size) == 0);
    check(predict_save(predict, &again) == 0);
    check(again.size == bytes.size && memcmp(again.data, bytes.data, bytes.size) == 0);
    const struct ac_run_usage run = {50, 300, 60};
    check_answers(predict, NULL);
    check_answers(predict, "t");
    check(predict_record(predict, AC_REACT, "t", &run, 1767225600000000000ll) == 0);
    check_answers(predict, "t");
    check(predict_save(predict, &again) == 0);
}

static void try_load(const void *bytes, size_t size)
{
    struct predict *predict;
    check(predict_new(MAX_TEMPLATES, 1, &predict) == 0);
    int r = predict_load(predict, bytes, size);
    check(r == 0 || r == -EINVAL);
    if (r == 0)
        check_loaded(predict);
    else
        check_answers(predict, NULL);
    predict_free(predict);
}

static void put_u64(uint8_t *at, uint64_t value)
{
    for (int i = 0; i < 8; i++)
        at[i] = (uint8_t)(value >> (8 * i));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    try_load(data, size);
    uint8_t *file = calloc(1, HEAD_SIZE + size);
    check(file != NULL);
    memcpy(file, "ACPREDIC\1", 9);
    put_u64(file + 16, size);
    put_u64(file + 24, XXH3_64bits(data, size));
    if (size > 0)
        memcpy(file + HEAD_SIZE, data, size);
    try_load(file, HEAD_SIZE + size);
    free(file);
    return 0;
}
