/* SPDX-License-Identifier: Apache-2.0 */
#include "base/fault.h"

_Atomic unsigned fault_countdown[FAULT_KIND_COUNT];
static bool fault_happened;

void fault_arm(enum fault_kind kind, unsigned nth)
{
    fault_happened = false;
    fault_countdown[kind] = nth;
}

bool fault_disarm(void)
{
    for (int i = 0; i < FAULT_KIND_COUNT; i++)
        fault_countdown[i] = 0;
    return fault_happened;
}

bool fault_hit_slow(enum fault_kind kind)
{
    unsigned left = fault_countdown[kind];
    while (left != 0) {
        if (__atomic_compare_exchange_n((unsigned *)&fault_countdown[kind], &left, left - 1, false,
                __ATOMIC_RELAXED, __ATOMIC_RELAXED))
            break;
    }
    if (left != 1)
        return false;
    fault_happened = true;
    return true;
}
