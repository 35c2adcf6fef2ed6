/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of policies share: moments in time, and usages. */
#ifndef AC_TESTS_POLICY_TEST_H
#define AC_TESTS_POLICY_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/mem.h"
#include "model/usage.h"

/* Wall time at the start of every test: 2026-01-01. */
#define WALL_START 1767225600000000000ll

/* The moment @ms milliseconds after an arbitrary start. */
static inline struct moment at_ms(uint64_t ms)
{
    return (struct moment){.mono = {1000 * NS_PER_SEC + ms * NS_PER_MSEC},
        .wall_ns = WALL_START + (int64_t)(ms * NS_PER_MSEC)};
}

static inline struct moment at_s(uint64_t s)
{
    return at_ms(s * 1000);
}

/* xorshift64*: repeatable. */
static inline uint64_t random_next(uint64_t *state)
{
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * 0x2545f4914f6cdd1dull;
}

/* 0 to @below - 1. */
static inline uint32_t random_below(uint64_t *state, uint32_t below)
{
    return (uint32_t)((random_next(state) >> 32) * below >> 32);
}

#define assert_close(a, b, within) assert_true(fabs((double)(a) - (double)(b)) <= (within))

#endif
