/* SPDX-License-Identifier: Apache-2.0 */
/* Reading cgroup files: parsers against hostile text, the reader against a fixture. */
#include "os/cgroup_read.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fault.h"
#include "base/io.h"
#include "os/cgroup_write.h"
#include "os/psi.h"
#include "os/watch.h"

static char directory[] = "/tmp/agentcore-cgroup-XXXXXX";
static int dir_fd = -1;

static const struct {
    const char *name;
    const char *text;
} files[] = {
    {"cgroup.events", "populated 1\nfrozen 0\n"},
    {"cpu.stat", "usage_usec 1234567\nuser_usec 1000000\nsystem_usec 234567\n"},
    {"memory.current", "104857600\n"},
    {"memory.peak", "209715200\n"},
    {"memory.stat", "anon 1000\nfile 2000\ninactive_anon 7\ninactive_file 4857600\n"},
    {"memory.events", "low 0\nhigh 3\nmax 5\noom 2\noom_kill 1\noom_group_kill 0\n"},
    {"memory.pressure", "some avg10=1.50 avg60=0.00 avg300=0.00 total=1\n"
                        "full avg10=0.75 avg60=0.00 avg300=0.00 total=1\n"},
    {"io.stat", "8:0 rbytes=4096 wbytes=8192 rios=1 wios=2 dbytes=0 dios=0\n"
                "8:16 rbytes=1 wbytes=2 rios=1 wios=2 dbytes=0 dios=0\n"},
    {"pids.current", "42\n"},
};

static void write_file(const char *name, const char *text)
{
    int fd cleanup_close = io_openat(dir_fd, name, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    assert_true(fd >= 0);
    assert_int_equal(io_write_all(fd, text, strlen(text)), 0);
}

static int fixture_make(void **state)
{
    (void)state;
    strcpy(directory + sizeof(directory) - 7, "XXXXXX");
    if (!mkdtemp(directory))
        return -1;
    dir_fd = io_openat(AT_FDCWD, directory, O_RDONLY | O_DIRECTORY, 0);
    for (size_t i = 0; i < ARRAY_SIZE(files); i++)
        write_file(files[i].name, files[i].text);
    return 0;
}

static int fixture_remove(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(files); i++)
        unlinkat(dir_fd, files[i].name, 0);
    io_closep(&dir_fd);
    rmdir(directory);
    return 0;
}

static void test_all_files_are_read(void **state)
{
    struct cgroup_reader *reader = NULL;
    struct group_record record;

    (void)state;
    assert_int_equal(cgroup_reader_new(dir_fd, &reader), 0);
    assert_int_equal(cgroup_reader_read(reader, &record), CGROUP_READ);
    assert_int_equal(record.known, GROUP_KNOWN_CPU | GROUP_KNOWN_MEMORY | GROUP_KNOWN_MEMORY_PEAK |
                                       GROUP_KNOWN_IO | GROUP_KNOWN_PIDS | GROUP_KNOWN_EVENTS |
                                       GROUP_KNOWN_PRESSURE);
    assert_int_equal(record.cpu_ns, 1234567000);
    assert_int_equal(record.memory_bytes, 100000000);
    assert_int_equal(record.read_bytes, 4097);
    assert_int_equal(record.written_bytes, 8194);
    assert_int_equal(record.pids, 42);
    assert_int_equal(record.memory_high_events, 3);
    assert_int_equal(record.memory_max_events, 5);
    assert_int_equal(record.oom_kills, 1);
    assert_true(record.memory_full_percent == 0.75);
    assert_int_equal(record.cgroup_id, cgroup_reader_id(reader));
    cgroup_reader_free(reader);
}

static void write_memory(const char *current, const char *peak, const char *inactive_file)
{
    char stat[64];

    write_file("memory.current", current);
    write_file("memory.peak", peak);
    snprintf(stat, sizeof(stat), "anon 1000\ninactive_file %s\n", inactive_file);
    write_file("memory.stat", stat);
}

static uint64_t peak_read(struct cgroup_reader *reader)
{
    struct group_record record;

    assert_int_equal(cgroup_reader_read(reader, &record), CGROUP_READ);
    assert_true(record.known & GROUP_KNOWN_MEMORY_PEAK);
    return record.memory_peak_bytes;
}

/* A mark that cannot be reset, as before 6.12: files of a fixture are not a cgroup's. */
static void test_a_peak_is_of_its_interval_and_without_page_cache(void **state)
{
    struct cgroup_reader *reader = NULL;

    (void)state;
    write_memory("100000000", "20000000000", "0"); /* long ago */
    assert_int_equal(cgroup_reader_new(dir_fd, &reader), 0);
    assert_int_equal(peak_read(reader), 100000000);
    write_memory("25000000000", "25000000000", "24900000000"); /* a large file is read, */
    assert_int_equal(peak_read(reader), 100000000);
    write_memory("100000000", "25000000000", "0"); /* and removed */
    assert_int_equal(peak_read(reader), 100000000);
    write_memory("200000000", "26000000000", "0");
    assert_int_equal(peak_read(reader), 26000000000);
    write_memory("200000000", "26000000000", "0");
    assert_int_equal(peak_read(reader), 200000000);
    cgroup_reader_free(reader);
}

static void test_page_cache_between_two_reads_is_no_peak(void **state)
{
    struct cgroup_reader *reader = NULL;
    uint64_t bytes;

    (void)state;
    write_memory("100000000", "100000000", "0");
    assert_int_equal(cgroup_reader_new(dir_fd, &reader), 0);
    assert_int_equal(peak_read(reader), 100000000);
    write_memory("5300000000", "5300000000", "5000000000");
    assert_int_equal(cgroup_reader_memory(reader, &bytes), CGROUP_READ);
    assert_int_equal(bytes, 300000000);
    write_memory("100000000", "5300000000", "0");
    assert_int_equal(peak_read(reader), 300000000);
    cgroup_reader_free(reader);
}

static void test_what_is_not_there_is_unknown(void **state)
{
    struct cgroup_reader *reader = NULL;
    struct group_record record;
    uint64_t bytes = 7;

    (void)state;
    for (size_t i = 2; i < ARRAY_SIZE(files); i++)
        unlinkat(dir_fd, files[i].name, 0);
    assert_int_equal(cgroup_reader_new(dir_fd, &reader), 0);
    assert_int_equal(cgroup_reader_read(reader, &record), CGROUP_READ);
    assert_int_equal(record.known, GROUP_KNOWN_CPU);
    assert_int_equal(cgroup_reader_events_fd(reader), -1);
    assert_int_equal(cgroup_reader_memory(reader, &bytes), -EOPNOTSUPP);
    assert_int_equal(bytes, 7);
    cgroup_reader_free(reader);
}

static void test_a_directory_that_is_no_cgroup_is_refused(void **state)
{
    struct cgroup_reader *reader = NULL;

    (void)state;
    unlinkat(dir_fd, "cgroup.events", 0);
    assert_int_equal(cgroup_reader_new(dir_fd, &reader), -ENOENT);
    assert_null(reader);
}

static void test_every_failure_leaves_outputs_alone(void **state)
{
    (void)state;
    for (int kind = FAULT_ALLOC; kind <= FAULT_SYSCALL; kind++) {
        for (unsigned n = 1;; n++) {
            struct cgroup_reader *reader = NULL;
            struct group_record record = {.pids = 99};
            fault_arm(kind, n);
            int r = cgroup_reader_new(dir_fd, &reader);
            if (r == 0)
                r = cgroup_reader_read(reader, &record);
            bool hit = fault_disarm();
            if (r < 0)
                assert_int_equal(record.pids, 99);
            cgroup_reader_free(reader);
            if (!hit)
                break;
        }
    }
}

static void test_io_stat(void **state)
{
    static const struct {
        const char *text;
        int r;
        uint64_t read_bytes, written_bytes;
    } cases[] = {
        {"", 0, 0, 0},
        {"8:0 \n", 0, 0, 0},
        {"8:0 rbytes=1 wbytes=2\n9:0 rbytes=10 wbytes=20\n", 0, 11, 22},
        {"8:0 rbytes=1 wbytes=2", -EINVAL, 0, 0}, /* cut */
        {"8:0 rbytes= wbytes=x\n", 0, 0, 0},
        {"8:0 rbytes=18446744073709551615 wbytes=99999999999999999999\n", 0, UINT64_MAX, 0},
        {"xrbytes=5 rbytesx=6\n", 0, 0, 0},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        uint64_t read_bytes = 77, written_bytes = 77;
        int r =
            cgroup_parse_io_stat(cases[i].text, strlen(cases[i].text), &read_bytes, &written_bytes);
        assert_int_equal(r, cases[i].r);
        assert_int_equal(read_bytes, r == 0 ? cases[i].read_bytes : 77);
        assert_int_equal(written_bytes, r == 0 ? cases[i].written_bytes : 77);
    }
}

static void test_pressure(void **state)
{
    static const char *const bad[] = {"", "some avg10=1.0 avg60=", "full avg10=", "full avg10=1.5",
        "full avg10= ", "full avg10=nan ", "full avg10=x "};
    double value = 5;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        assert_int_equal(cgroup_parse_pressure(bad[i], strlen(bad[i]), &value), -EINVAL);
    assert_true(value == 5);
    assert_int_equal(cgroup_parse_pressure("full avg10=100.00 ", 18, &value), 0);
    assert_true(value == 100);
}

static void test_names_that_would_leave_the_directory_are_refused(void **state)
{
    static const char *const bad[] = {"", ".", "..", "a/b", "/a", "a\nb"};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        assert_int_equal(cgroup_make(dir_fd, bad[i]), -EINVAL);
        assert_int_equal(cgroup_remove(dir_fd, bad[i]), -EINVAL);
    }
    int made cleanup_close = cgroup_make(dir_fd, "agent-1");
    assert_true(made >= 0);
    int again cleanup_close = cgroup_make(dir_fd, "agent-1");
    assert_true(again >= 0);
    assert_int_equal(cgroup_remove(dir_fd, "agent-1"), 0);
    assert_int_equal(cgroup_remove(dir_fd, "agent-1"), 0);
}

static void expect_text(const char *name, const char *expected)
{
    char text[64];
    assert_true(io_read_file(dir_fd, name, text, sizeof(text)) >= 0);
    assert_string_equal(text, expected);
}

static void test_settings_are_written_as_the_kernel_reads_them(void **state)
{
    (void)state;
    write_file("cpu.max", "");
    assert_int_equal(cgroup_set_cores(dir_fd, 1.5), 0);
    expect_text("cpu.max", "150000 100000");
    write_file("cpu.max", "");
    assert_int_equal(cgroup_set_cores(dir_fd, 0.0001), 0);
    expect_text("cpu.max", "1000 100000");
    write_file("cpu.max", "");
    assert_int_equal(cgroup_set_cores(dir_fd, 0), 0);
    expect_text("cpu.max", "max 100000");
    assert_int_equal(cgroup_set_cores(dir_fd, -1), -EINVAL);
    assert_int_equal(cgroup_set_cores(dir_fd, 0.0 / 0.0), -EINVAL);
    assert_int_equal(cgroup_move(dir_fd, 0), -EINVAL);
    assert_int_equal(cgroup_set_number(dir_fd, "no-such-file", 5), -ENOENT);
    assert_int_equal(psi_trigger_open(dir_fd, "no-such-file", PSI_SOME, 1, 1), -EOPNOTSUPP);
    unlinkat(dir_fd, "cpu.max", 0);
}

/* However many agents come, the process keeps descriptors for itself. */
static void test_agents_do_not_take_all_descriptors(void **state)
{
    struct rlimit full, little;
    struct watch *watch;
    int groups = 0, roots = 0;
    (void)state;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &full), 0);
    little = full;
    little.rlim_cur = MIN(full.rlim_max, (rlim_t)256);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &little), 0);
    assert_int_equal(watch_new(1000, &watch), 0);
    while (groups < 1000 && watch_group(watch, (agent_slot)groups + 1, dir_fd) == 0)
        groups++;
    assert_int_equal(groups, 256 / 4 / 12);
    assert_int_equal(watch_group(watch, 999, dir_fd), -ENOSPC);
    assert_int_equal(watch_group(watch, 1, dir_fd), 0); /* in place of its own */
    while (roots < 1000 && watch_root(watch, (agent_slot)roots + 1, getpid()) == 0)
        roots++;
    assert_int_equal(roots, 256 / 8);
    assert_int_equal(watch_root(watch, 999, getpid()), -ENOSPC);
    watch_release(watch, 2);
    assert_int_equal(watch_group(watch, 999, dir_fd), 0);
    assert_int_equal(watch_root(watch, 999, getpid()), 0);
    watch_free(watch);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &full), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_all_files_are_read, fixture_make, fixture_remove),
        cmocka_unit_test_setup_teardown(
            test_a_peak_is_of_its_interval_and_without_page_cache, fixture_make, fixture_remove),
        cmocka_unit_test_setup_teardown(
            test_page_cache_between_two_reads_is_no_peak, fixture_make, fixture_remove),
        cmocka_unit_test_setup_teardown(
            test_what_is_not_there_is_unknown, fixture_make, fixture_remove),
        cmocka_unit_test_setup_teardown(
            test_a_directory_that_is_no_cgroup_is_refused, fixture_make, fixture_remove),
        cmocka_unit_test_setup_teardown(
            test_every_failure_leaves_outputs_alone, fixture_make, fixture_remove),
        cmocka_unit_test_setup_teardown(
            test_agents_do_not_take_all_descriptors, fixture_make, fixture_remove),
        cmocka_unit_test(test_io_stat),
        cmocka_unit_test(test_pressure),
        cmocka_unit_test_setup_teardown(
            test_names_that_would_leave_the_directory_are_refused, fixture_make, fixture_remove),
        cmocka_unit_test_setup_teardown(
            test_settings_are_written_as_the_kernel_reads_them, fixture_make, fixture_remove),
    };

    return cmocka_run_group_tests_name("cgroup", tests, NULL, NULL);
}
