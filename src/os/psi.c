/* SPDX-License-Identifier: Apache-2.0 */
#include "os/psi.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/fault.h"
#include "base/io.h"

int psi_trigger_open(
    int dir_fd, const char *file, enum psi_kind kind, uint32_t stall_us, uint32_t window_us)
{
    char text[48];
    int fd cleanup_close = io_openat(dir_fd, file, O_RDWR | O_NONBLOCK, 0);

    if (fd == -ENOENT)
        return -EOPNOTSUPP;
    if (fd < 0)
        return fd;
    snprintf(
        text, sizeof(text), "%s %u %u", kind == PSI_FULL ? "full" : "some", stall_us, window_us);
    if (fault_hit(FAULT_SYSCALL))
        return -EIO;
    /* The kernel wants the final NUL. */
    if (write(fd, text, strlen(text) + 1) < 0)
        return -errno;
    int opened = fd;
    fd = -1;
    return opened;
}
