/* SPDX-License-Identifier: Apache-2.0 */
#include "base/io.h"

#include <errno.h>
#include <string.h>

#include "base/fault.h"

int io_openat(int dir_fd, const char *path, int flags, mode_t mode)
{
    if (fault_hit(FAULT_SYSCALL))
        return -EMFILE;
    for (;;) {
        int fd = openat(dir_fd, path, flags | O_CLOEXEC, mode);
        if (fd >= 0)
            return fd;
        if (errno != EINTR)
            return -errno;
    }
}

ssize_t io_read_again(int fd, char *buffer, size_t capacity)
{
    if (fault_hit(FAULT_SYSCALL))
        return -EIO;
    size_t used = 0;
    while (used < capacity - 1) {
        ssize_t n = pread(fd, buffer + used, capacity - 1 - used, (off_t)used);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (n == 0)
            break;
        used += (size_t)n;
    }
    buffer[used] = 0;
    return (ssize_t)used;
}

ssize_t io_read_file(int dir_fd, const char *path, char *buffer, size_t capacity)
{
    int fd cleanup_close = io_openat(dir_fd, path, O_RDONLY, 0);
    if (fd < 0)
        return fd;
    return io_read_again(fd, buffer, capacity);
}

int io_write_all(int fd, const void *bytes, size_t size)
{
    const char *next = bytes;
    while (size > 0) {
        if (fault_hit(FAULT_SYSCALL))
            return -EIO;
        ssize_t n = write(fd, next, size);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        next += n;
        size -= (size_t)n;
    }
    return 0;
}

int io_write_file(int dir_fd, const char *path, const char *text)
{
    int fd cleanup_close = io_openat(dir_fd, path, O_WRONLY, 0);
    if (fd < 0)
        return fd;
    return io_write_all(fd, text, strlen(text));
}
