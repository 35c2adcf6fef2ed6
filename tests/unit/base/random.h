/* SPDX-License-Identifier: Apache-2.0 */
/* Random numbers for tests: the same on every run and machine (splitmix64). */
#ifndef AC_TESTS_UNIT_BASE_RANDOM_H
#define AC_TESTS_UNIT_BASE_RANDOM_H

#include <stdint.h>

static inline uint64_t random_next(uint64_t *seed)
{
    uint64_t z = *seed += 0x9e3779b97f4a7c15ull;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
}

#endif
