/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fault injection: makes the Nth allocation or system call of the process fail, so that a test
 * can walk through every way a function may fail.
 *
 *     for (unsigned n = 1; ; n++) {
 *         fault_arm(FAULT_ALLOC, n);
 *         int r = function();
 *         if (!fault_disarm())
 *             break;          // nothing was hit: every failure has been seen
 *         assert(r == -ENOMEM);
 *     }
 *
 * Costs one load when not armed. Counting is atomic, arming is for single-threaded tests.
 */
#ifndef AC_BASE_FAULT_H
#define AC_BASE_FAULT_H

#include <stdbool.h>

enum fault_kind { FAULT_ALLOC, FAULT_SYSCALL, FAULT_KIND_COUNT };

extern _Atomic unsigned fault_countdown[FAULT_KIND_COUNT];

/* Makes the @nth (1 = next) operation of @kind fail, once. */
void fault_arm(enum fault_kind kind, unsigned nth);

/* Ends the injection. Returns whether the armed failure has happened. */
bool fault_disarm(void);

bool fault_hit_slow(enum fault_kind kind);

/* Whether this operation is the one that must fail. */
static inline bool fault_hit(enum fault_kind kind)
{
    return __builtin_expect(fault_countdown[kind] != 0, 0) && fault_hit_slow(kind);
}

#endif
