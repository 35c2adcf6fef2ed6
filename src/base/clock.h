/* SPDX-License-Identifier: Apache-2.0 */
/* Clocks. Policy code gets times as arguments; only engine, apps and os read a clock. */
#ifndef AC_BASE_CLOCK_H
#define AC_BASE_CLOCK_H

#include <stdint.h>

#define NS_PER_SEC  1000000000ull
#define NS_PER_MSEC 1000000ull
#define NS_PER_USEC 1000ull

/* Monotonic time; a type of its own so that it never mixes with wall time. */
struct mono {
    uint64_t ns;
};

/* A moment on all clocks: mono for intervals in which we run, wall (ns since 1970 UTC) for people
 * and storage, boot (CLOCK_BOOTTIME, 0 = not known) for how long something has lasted, suspended
 * time included. */
struct moment {
    struct mono mono;
    int64_t wall_ns;
    uint64_t boot_ns;
};

struct mono clock_mono(void);
int64_t clock_wall_ns(void);
struct moment clock_moment(void);

/* Monotonic time up to one kernel tick (4 ms) behind; the cheapest to read. */
struct mono clock_mono_coarse(void);

/* A few ns cheaper, and up to one kernel tick (4 ms) behind. */
struct moment clock_moment_coarse(void);

/* CLOCK_BOOTTIME, which also counts suspended time; process start times are on it. */
uint64_t clock_boot_ns(void);

/* @later - @earlier in ns, 0 where the order is the other way round. */
static inline uint64_t mono_since(struct mono later, struct mono earlier)
{
    return later.ns > earlier.ns ? later.ns - earlier.ns : 0;
}

/* What a clock on the wall that nobody sets would have counted between the two: suspended time
 * too, where both know it. 0 where the order is the other way round. */
static inline uint64_t moment_since(struct moment later, struct moment earlier)
{
    if (later.boot_ns == 0 || earlier.boot_ns == 0)
        return mono_since(later.mono, earlier.mono);
    return later.boot_ns > earlier.boot_ns ? later.boot_ns - earlier.boot_ns : 0;
}

#endif
