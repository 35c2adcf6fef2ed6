/* SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"

#include <time.h>

static uint64_t clock_read(clockid_t id)
{
    struct timespec now;
    clock_gettime(id, &now);
    return (uint64_t)now.tv_sec * NS_PER_SEC + (uint64_t)now.tv_nsec;
}

struct mono clock_mono(void)
{
    return (struct mono){clock_read(CLOCK_MONOTONIC)};
}

int64_t clock_wall_ns(void)
{
    return (int64_t)clock_read(CLOCK_REALTIME);
}

struct moment clock_moment(void)
{
    return (struct moment){
        .mono = clock_mono(), .wall_ns = clock_wall_ns(), .boot_ns = clock_boot_ns()};
}

struct mono clock_mono_coarse(void)
{
    return (struct mono){clock_read(CLOCK_MONOTONIC_COARSE)};
}

struct moment clock_moment_coarse(void)
{
    return (struct moment){.mono = {clock_read(CLOCK_MONOTONIC_COARSE)},
        .wall_ns = (int64_t)clock_read(CLOCK_REALTIME_COARSE),
        .boot_ns = clock_boot_ns()};
}

uint64_t clock_boot_ns(void)
{
    return clock_read(CLOCK_BOOTTIME);
}
