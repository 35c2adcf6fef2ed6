/* SPDX-License-Identifier: Apache-2.0 */
/* Numbers and quantities: failing leaves the result alone, and what was read prints back. */
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/parse.h"

#define UNTOUCHED 0x5aa5c33cull

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_u64(const char *text, size_t size)
{
    uint64_t value = UNTOUCHED, back = 0;
    int r = parse_u64(text, size, &value);
    assert(r == 0 || ((r == -EINVAL || r == -ERANGE) && value == UNTOUCHED));
    if (r < 0)
        return;
    char printed[32];
    int n = snprintf(printed, sizeof(printed), "%" PRIu64, value);
    assert(parse_u64(printed, (size_t)n, &back) == 0 && back == value);
    /* A plain number is the same number of bytes. */
    assert(parse_bytes(text, size, &back) == 0 && back == value);
}

static void check_i64(const char *text, size_t size)
{
    int64_t value = 77;
    uint64_t same = 0;
    int r = parse_i64(text, size, &value);
    assert(r == 0 || ((r == -EINVAL || r == -ERANGE) && value == 77));
    if (r == 0 && value > 0)
        assert(parse_u64(text, size, &same) == 0 && same == (uint64_t)value);
}

static void check_double(const char *text, size_t size)
{
    double value = 77, back = 0;
    int r = parse_double(text, size, &value);
    assert(r == 0 ? isfinite(value) : value > 76 && value < 78);
    if (r < 0)
        return;
    char printed[64];
    int n = snprintf(printed, sizeof(printed), "%.17g", value);
    assert(parse_double(printed, (size_t)n, &back) == 0);
    assert(memcmp(&back, &value, sizeof(back)) == 0);
}

static void check_quantities(const char *text, size_t size)
{
    uint64_t bytes = UNTOUCHED, ns = UNTOUCHED;
    int r = parse_bytes(text, size, &bytes);
    assert(r == 0 || ((r == -EINVAL || r == -ERANGE) && bytes == UNTOUCHED));
    r = parse_duration(text, size, &ns);
    assert(r == 0 || ((r == -EINVAL || r == -ERANGE) && ns == UNTOUCHED));
}

static void check_digits(const char *text, size_t size)
{
    const char *cursor = text, *end = text + size;
    while (cursor < end) {
        const char *before = cursor;
        uint64_t value = UNTOUCHED;
        int r = parse_digits(&cursor, end, &value);
        assert(r == 0 ? cursor > before && cursor <= end : cursor == before && value == UNTOUCHED);
        cursor += r < 0;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data;
    check_u64(text, size);
    check_i64(text, size);
    check_double(text, size);
    check_quantities(text, size);
    check_digits(text, size);
    return 0;
}
