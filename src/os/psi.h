/* SPDX-License-Identifier: Apache-2.0 */
/* PSI triggers: the kernel wakes us when tasks have stalled for a part of a window. */
#ifndef AC_OS_PSI_H
#define AC_OS_PSI_H

#include <stdint.h>

enum psi_kind { PSI_SOME, PSI_FULL };

/* Opens @file ("memory.pressure" of a cgroup, or "pressure/memory" of /proc) below @dir_fd and asks
 * to be woken when stalls reach @stall_us in a @window_us (500 ms - 10 s). The descriptor becomes
 * ready with POLLPRI at most once per window, and POLLERR when the group is gone; it is the
 * caller's. Returns it; -EOPNOTSUPP where the kernel has no PSI; -errno. */
int psi_trigger_open(
    int dir_fd, const char *file, enum psi_kind kind, uint32_t stall_us, uint32_t window_us);

#endif
