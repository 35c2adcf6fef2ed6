/* SPDX-License-Identifier: Apache-2.0 */
#include "base/io.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/fault.h"

static int open_scratch(void **state)
{
    char path[] = "/tmp/agentcore-test-XXXXXX";
    if (!mkdtemp(path))
        return -1;
    int *fd = mem_alloc(sizeof(*fd));
    *fd = open(path, O_DIRECTORY | O_CLOEXEC);
    *state = fd;
    return *fd < 0 ? -1 : 0;
}

static int close_scratch(void **state)
{
    int *fd = *state;
    char link[40], path[256] = "";
    snprintf(link, sizeof(link), "/proc/self/fd/%d", *fd);
    if (readlink(link, path, sizeof(path) - 1) < 0)
        return -1;
    unlinkat(*fd, "file", 0);
    io_closep(fd);
    mem_free(fd);
    return rmdir(path);
}

static void put(int dir, const char *text)
{
    int fd cleanup_close = io_openat(dir, "file", O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(io_write_all(fd, text, strlen(text)), 0);
}

static void written_text_is_read_back(void **state)
{
    int dir = *(int *)*state;
    char buffer[32];
    put(dir, "some text");
    assert_int_equal(io_read_file(dir, "file", buffer, sizeof(buffer)), 9);
    assert_string_equal(buffer, "some text");
    assert_int_equal(io_write_file(dir, "file", "SOME"), 0);
    assert_int_equal(io_read_file(dir, "file", buffer, sizeof(buffer)), 9);
    assert_string_equal(buffer, "SOME text");
}

static void longer_files_are_cut(void **state)
{
    int dir = *(int *)*state;
    char buffer[5];
    put(dir, "0123456789");
    for (size_t capacity = 1; capacity <= sizeof(buffer); capacity++) {
        memset(buffer, '#', sizeof(buffer));
        assert_int_equal(io_read_file(dir, "file", buffer, capacity), capacity - 1);
        assert_int_equal(buffer[capacity - 1], 0);
        assert_memory_equal(buffer, "0123456789", capacity - 1);
    }
}

static void kept_descriptor_sees_the_file_anew(void **state)
{
    int dir = *(int *)*state;
    char buffer[32];
    put(dir, "first");
    int fd cleanup_close = io_openat(dir, "file", O_RDONLY, 0);
    assert_int_equal(io_read_again(fd, buffer, sizeof(buffer)), 5);
    put(dir, "second");
    assert_int_equal(io_read_again(fd, buffer, sizeof(buffer)), 6);
    assert_string_equal(buffer, "second");
}

static void descriptors_close_on_exec(void **state)
{
    int fd cleanup_close = io_openat(*(int *)*state, ".", O_RDONLY | O_DIRECTORY, 0);
    assert_true(fd >= 0);
    assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
}

static void failures_are_errnos(void **state)
{
    int dir = *(int *)*state;
    char buffer[8] = "kept";
    assert_int_equal(io_openat(dir, "missing", O_RDONLY, 0), -ENOENT);
    assert_int_equal(io_read_file(dir, "missing", buffer, sizeof(buffer)), -ENOENT);
    assert_int_equal(io_read_file(dir, ".", buffer, sizeof(buffer)), -EISDIR);
    assert_int_equal(io_write_file(dir, "missing", "x"), -ENOENT);
    assert_int_equal(io_read_again(-1, buffer, sizeof(buffer)), -EBADF);
    assert_int_equal(io_write_all(-1, "x", 1), -EBADF);
    assert_int_equal(io_write_all(-1, "", 0), 0);
    int full cleanup_close = io_openat(AT_FDCWD, "/dev/full", O_WRONLY, 0);
    if (full >= 0)
        assert_int_equal(io_write_all(full, "x", 1), -ENOSPC);
}

static int copy_file(int dir)
{
    char buffer[32];
    ssize_t n = io_read_file(dir, "file", buffer, sizeof(buffer));
    return n < 0 ? (int)n : io_write_file(dir, "file", buffer);
}

static void every_system_call_may_fail(void **state)
{
    int dir = *(int *)*state;
    unsigned n = 1;
    put(dir, "text");
    for (;; n++) {
        fault_arm(FAULT_SYSCALL, n);
        int r = copy_file(dir);
        if (!fault_disarm()) {
            assert_int_equal(r, 0);
            break;
        }
        assert_true(r == -EMFILE || r == -EIO);
    }
    assert_int_equal(n, 5);
    /* No descriptor was left open: the next one has the lowest free number twice. */
    int first = io_openat(dir, ".", O_RDONLY, 0);
    close(first);
    int second = io_openat(dir, ".", O_RDONLY, 0);
    close(second);
    assert_int_equal(first, second);
    assert_int_equal(first, dir + 1);
}

static void closing_twice_is_harmless(void **state)
{
    int fd = io_openat(*(int *)*state, ".", O_RDONLY, 0);
    io_closep(&fd);
    assert_int_equal(fd, -1);
    io_closep(&fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(written_text_is_read_back),
        cmocka_unit_test(longer_files_are_cut),
        cmocka_unit_test(kept_descriptor_sees_the_file_anew),
        cmocka_unit_test(descriptors_close_on_exec),
        cmocka_unit_test(failures_are_errnos),
        cmocka_unit_test(every_system_call_may_fail),
        cmocka_unit_test(closing_twice_is_harmless),
    };
    return cmocka_run_group_tests_name("base/io", tests, open_scratch, close_scratch);
}
