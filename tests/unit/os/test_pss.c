/* SPDX-License-Identifier: Apache-2.0 */
/* Proportional memory: the parser, one reading, and the thread with its share of a core. */
#include "os/pss.h"

#include "tree.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "base/fault.h"
#include "base/io.h"
#include "os/procfs.h"
#include "os/procfs_internal.h"

#define ROLLUP_HEAD "560e4c000000-7ffd5c1f6000 ---p 00000000 00:00 0                    [rollup]\n"
#define ROLLUP(pss) ROLLUP_HEAD "Rss:                4321 kB\n" pss "Pss_Dirty:           99 kB\n"

static const char whole[] = ROLLUP("Pss:                1234 kB\n");

static void test_parser(void **state)
{
    static const struct {
        const char *text;
        int outcome;
        uint64_t bytes;
    } table[] = {
        {whole, 0, 1234u * 1024},
        {ROLLUP("Pss:                   0 kB\n"), 0, 0},
        {"Pss: 7 kB\n", 0, 7u * 1024},
        {"Pss:7 kB\n", 0, 7u * 1024},
        {ROLLUP("Pss: 18446744073709551615 kB\n"), 0, UINT64_MAX},
        {ROLLUP("Pss: 18446744073709551616 kB\n"), -EINVAL, 0},
        {ROLLUP("Pss: -1 kB\n"), -EINVAL, 0},
        {ROLLUP("Pss:  kB\n"), -EINVAL, 0},
        {ROLLUP("Pss: 12 MB\n"), -EINVAL, 0},
        {ROLLUP(""), -EINVAL, 0},
        {ROLLUP(" Pss: 12 kB\n"), -EINVAL, 0},
        {"Pss_Anon: 12 kB\n", -EINVAL, 0},
        {"Pss:", -EINVAL, 0},
        {"\n\n", -EINVAL, 0},
        {"", -EINVAL, 0},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
        uint64_t bytes = 5;
        assert_int_equal(
            procfs_parse_pss(table[i].text, strlen(table[i].text), &bytes), table[i].outcome);
        assert_int_equal(bytes, table[i].outcome ? 5 : table[i].bytes);
    }
}

/* A beginning says the same or nothing, and nothing behind it is read. */
static void test_parser_of_cut_texts(void **state)
{
    const size_t needed = strlen(ROLLUP_HEAD) + 2 * strlen("Pss:                1234 kB\n");
    (void)state;
    for (size_t length = 0; length < sizeof(whole); length++) {
        char *exact = mem_alloc(length + 1);
        uint64_t bytes;
        memcpy(exact, whole, length);
        int r = procfs_parse_pss(exact, length, &bytes);
        mem_free(exact);
        assert_int_equal(r, length < needed ? -EINVAL : 0);
        if (r == 0)
            assert_int_equal(bytes, 1234u * 1024);
    }
}

/* ---- One reading, of files of ours */

#define STAT "7 (agent) S 1 7 7 0 -1 4194304 1 2 3 4 25 50 75 100 20 0 3 0 12345 1000 42 0\n"

static struct tree tree;
static int proc_fd = -1;

static int fixture_begin(void **state)
{
    (void)state;
    tree_init(&tree);
    proc_fd = open(tree.root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    tree_write(&tree, "7/stat", STAT);
    tree_write(&tree, "7/smaps_rollup", whole);
    return 0;
}

static int fixture_end(void **state)
{
    (void)state;
    close(proc_fd);
    tree_done(&tree);
    return 0;
}

static const struct pss_want seven = {.pid = 7, .start_ticks = 12345};

static void test_a_process_is_read(void **state)
{
    struct pss_record record;
    (void)state;
    uint64_t before = clock_mono().ns;
    assert_int_equal(pss_read(proc_fd, &seven, &record), 0);
    assert_int_equal(record.pid, 7);
    assert_int_equal(record.start_ticks, 12345);
    assert_int_equal(record.readable, 1);
    assert_int_equal(record.pss_bytes, 1234u * 1024);
    assert_in_range(record.read_ns, before, clock_mono().ns);
}

static void test_what_is_gone_has_no_reading(void **state)
{
    static const struct pss_want other = {.pid = 7, .start_ticks = 12344},
                                 nobody = {.pid = 8, .start_ticks = 12345};
    struct pss_record record = {.pid = 99};
    (void)state;
    assert_int_equal(pss_read(proc_fd, &nobody, &record), -ESRCH);
    assert_int_equal(pss_read(proc_fd, &other, &record), -ESRCH); /* the pid went on to another */
    tree_write(&tree, "7/smaps_rollup", "");
    assert_int_equal(pss_read(proc_fd, &seven, &record), -EINVAL);
    tree_remove(&tree, "7/smaps_rollup"); /* before Linux 4.14 */
    assert_int_equal(pss_read(proc_fd, &seven, &record), -ESRCH);
    assert_int_equal(record.pid, 99);
}

static void test_failures_leave_nothing(void **state)
{
    unsigned open_before = open_descriptors();
    (void)state;
    for (unsigned n = 1;; n++) {
        struct pss_record record = {.pid = 99};
        fault_arm(FAULT_SYSCALL, n);
        int r = pss_read(proc_fd, &seven, &record);
        if (!fault_disarm()) {
            assert_int_equal(r, 0);
            break;
        }
        assert_true(r < 0);
        assert_int_equal(record.pid, 99);
        assert_int_equal(open_descriptors(), open_before);
    }
}

/* ---- The running kernel */

static int open_proc(void)
{
    int fd = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(fd >= 0);
    return fd;
}

static void test_pages_of_two_count_half_in_each(void **state)
{
    const size_t size = 32u << 20;
    int ready[2], fd = open_proc();
    (void)state;
    char *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(memory != MAP_FAILED);
    memset(memory, 1, size);
    struct pss_want self = {.pid = getpid()};
    struct pss_record alone, shared;
    assert_int_equal(procfs_start_ticks(fd, self.pid, &self.start_ticks), 0);
    assert_int_equal(pss_read(fd, &self, &alone), 0);
    assert_true(alone.pss_bytes >= size);
    assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
    pid_t child = fork();
    if (child == 0) {
        for (size_t i = 0; i < size; i += 4096)
            if (((volatile char *)memory)[i] != 1)
                abort();
        if (write(ready[1], "x", 1) != 1)
            abort();
        pause();
    }
    char byte;
    assert_int_equal(read(ready[0], &byte, 1), 1);
    assert_int_equal(pss_read(fd, &self, &shared), 0);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    assert_true(shared.pss_bytes + size / 2 <= alone.pss_bytes + size / 16);
    close(ready[0]);
    close(ready[1]);
    munmap(memory, size);
    close(fd);
}

/* In a child with another user's rights: where the test itself is privileged. */
static void test_what_may_not_be_read_is_said(void **state)
{
    int fd = open_proc();
    struct pss_want root = {.pid = getpid()};
    (void)state;
    if (geteuid() != 0) {
        print_message("# only root can become another user\n");
        close(fd);
        skip();
    }
    assert_int_equal(procfs_start_ticks(fd, root.pid, &root.start_ticks), 0);
    pid_t child = fork();
    if (child == 0) {
        struct pss_record record;
        bool said = setresgid(65534, 65534, 65534) == 0 && setresuid(65534, 65534, 65534) == 0 &&
                    pss_read(fd, &root, &record) == 0 && record.readable == 0 &&
                    record.pss_bytes == 0 && record.pid == root.pid;
        _exit(said ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    close(fd);
}

/* ---- The thread */

static const struct mono start = {1000 * NS_PER_SEC};

static void test_the_thread_reads_what_is_asked(void **state)
{
    static const struct pss_want wants[] = {
        {.pid = 8, .start_ticks = 1}, {.pid = 7, .start_ticks = 12345}};
    struct pss_reader *reader;
    const struct pss_record *records;
    (void)state;
    assert_int_equal(pss_reader_new(proc_fd, 5, start, &reader), 0);
    assert_int_equal(pss_reader_take(reader, &records), 0);
    assert_true(pss_reader_ready(reader, start));
    pss_reader_ask(reader, wants, 0); /* nothing to do */
    assert_true(pss_reader_ready(reader, start));
    pss_reader_ask(reader, wants, 2);
    assert_false(pss_reader_ready(reader, start)); /* at work, or not taken yet */
    pss_reader_wait(reader);
    assert_false(pss_reader_ready(reader, start));
    assert_int_equal(pss_reader_take(reader, &records), 1); /* 8 is gone */
    assert_int_equal(records[0].pid, 7);
    assert_int_equal(records[0].pss_bytes, 1234u * 1024);
    assert_int_equal(pss_reader_take(reader, &records), 0); /* once */
    pss_reader_free(reader);
}

static void test_a_spent_share_must_be_earned_again(void **state)
{
    struct pss_reader *reader;
    const struct pss_record *records;
    struct pss_want wants[PSS_BATCH_MAX + 1];
    struct mono now = start;
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(wants); i++)
        wants[i] = seven;
    /* A ten-millionth of a core: 1 us in 10 s. One reading is more, and only one is made. */
    assert_int_equal(pss_reader_new(proc_fd, 0.00001, now, &reader), 0);
    assert_true(pss_reader_ready(reader, now));
    pss_reader_ask(reader, wants, ARRAY_SIZE(wants));
    pss_reader_wait(reader);
    assert_int_equal(pss_reader_take(reader, &records), 1);
    assert_false(pss_reader_ready(reader, now));
    now.ns += 10 * NS_PER_SEC;
    assert_false(pss_reader_ready(reader, now));
    for (int i = 0; i < 64 && !pss_reader_ready(reader, now); i++)
        now.ns += 86400 * NS_PER_SEC;
    assert_true(pss_reader_ready(reader, now));
    pss_reader_free(reader);
}

static void test_a_batch_has_an_end(void **state)
{
    struct pss_reader *reader;
    const struct pss_record *records;
    struct pss_want wants[PSS_BATCH_MAX + 1];
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(wants); i++)
        wants[i] = seven;
    assert_int_equal(pss_reader_new(proc_fd, 100, start, &reader), 0);
    assert_true(pss_reader_ready(reader, start));
    pss_reader_ask(reader, wants, ARRAY_SIZE(wants));
    pss_reader_wait(reader);
    assert_int_equal(pss_reader_take(reader, &records), PSS_BATCH_MAX);
    pss_reader_free(reader);
}

static void test_it_ends_at_work_too(void **state)
{
    struct pss_reader *reader;
    (void)state;
    pss_reader_free(NULL);
    for (int i = 0; i < 20; i++) {
        assert_int_equal(pss_reader_new(proc_fd, 5, start, &reader), 0);
        assert_true(pss_reader_ready(reader, start));
        pss_reader_ask(reader, &seven, 1);
        pss_reader_free(reader);
    }
}

#define ON_FILES(f) cmocka_unit_test_setup_teardown(f, fixture_begin, fixture_end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parser),
        cmocka_unit_test(test_parser_of_cut_texts),
        ON_FILES(test_a_process_is_read),
        ON_FILES(test_what_is_gone_has_no_reading),
        ON_FILES(test_failures_leave_nothing),
        cmocka_unit_test(test_pages_of_two_count_half_in_each),
        cmocka_unit_test(test_what_may_not_be_read_is_said),
        ON_FILES(test_the_thread_reads_what_is_asked),
        ON_FILES(test_a_spent_share_must_be_earned_again),
        ON_FILES(test_a_batch_has_an_end),
        ON_FILES(test_it_ends_at_work_too),
    };
    return cmocka_run_group_tests_name("pss", tests, NULL, NULL);
}
