/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Small system-call wrappers that pass through fault injection. Paths are relative to directory
 * descriptors, everything is O_CLOEXEC, EINTR is retried. All return -errno on failure.
 */
#ifndef AC_BASE_IO_H
#define AC_BASE_IO_H

#include <fcntl.h>
#include <stddef.h>
#include <sys/types.h>
#include <unistd.h>

#include "base/mem.h"

/* Returns the descriptor. O_CLOEXEC is added. */
int io_openat(int dir_fd, const char *path, int flags, mode_t mode);

/* Reads @path from its start into @buffer, up to @capacity - 1 bytes, and NUL-terminates.
 * Returns the number of bytes; a longer file is cut. */
ssize_t io_read_file(int dir_fd, const char *path, char *buffer, size_t capacity);

/* The same from a descriptor that is kept open (pread from 0; procfs and cgroupfs make the text
 * anew). */
ssize_t io_read_again(int fd, char *buffer, size_t capacity);

/* Writes all of it. Returns 0. */
int io_write_all(int fd, const void *bytes, size_t size);

/* Opens, writes @text in one write(2), closes. Returns 0. */
int io_write_file(int dir_fd, const char *path, const char *text);

static inline void io_closep(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}
#define cleanup_close CLEANUP(io_closep)

#endif
