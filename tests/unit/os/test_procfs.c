/* SPDX-License-Identifier: Apache-2.0 */
#include "tree.h"

#include <dirent.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "base/fault.h"
#include "base/io.h"
#include "os/procfs.h"
#include "os/procfs_internal.h"

#define REST " 0 -1 4194304 1 2 3 4 "

/* ---- Parsers */

#define MAX64 "18446744073709551615"

static void test_stat_of_ordinary_and_hostile_names(void **state)
{
    static const struct {
        const char *text, *name;
        char status;
    } table[] = {
        {"7 (bash) S 1 7 7" REST "25 50 75 100 20 0 3 0 12345 1000 42 0\n", "bash", 'S'},
        {"7 (a b) R 1 7 7" REST "25 50 75 100 20 0 3 0 12345 1000 42 0\n", "a b", 'R'},
        {"7 (a) R (b) D 1 7 7" REST "25 50 75 100 20 0 3 0 12345 1000 42 0\n", "a) R (b", 'D'},
        {"7 ()) S 1 7 7" REST "25 50 75 100 20 0 3 0 12345 1000 42 0\n", ")", 'S'},
        {"7 ()))))) Z 1) S 1 7 7" REST "25 50 75 100 20 0 3 0 12345 1000 42 0\n", ")))))) Z 1",
            'S'},
        {"7 () S 1 7 7" REST "25 50 75 100 20 0 3 0 12345 1000 42 0\n", "", 'S'},
        {"7 (a\nb) S 1 7 7" REST "25 50 75 100 20 0 3 0 12345 1000 42 0\n", "a\nb", 'S'},
        {"7 (\xff\x01) S 1 7 7" REST "25 50 75 100 20 0 3 0 12345 1000 42 0\n", "\xff\x01", 'S'},
        {"7 (kworker/u16:3-events_unbound) I 1 7 7" REST "25 50 75 100 20 0 3 0 12345 1000 42 0\n",
            "kworker/u16:3-e", 'I'},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        struct proc_record proc;
        assert_int_equal(procfs_parse_stat(table[i].text, strlen(table[i].text), &proc), 0);
        assert_string_equal(proc.name, table[i].name);
        assert_int_equal(proc.state, table[i].status);
        assert_int_equal(proc.pid, 7);
        assert_int_equal(proc.ppid, 1);
        assert_int_equal(proc.session, 7);
        assert_int_equal(proc.utime_ns, 250000000);
        assert_int_equal(proc.stime_ns, 500000000);
        assert_int_equal(proc.cutime_ns, 750000000);
        assert_int_equal(proc.cstime_ns, 1000000000);
        assert_int_equal(proc.threads, 3);
        assert_int_equal(proc.start_ticks, 12345);
        assert_int_equal(proc.rss_anon_bytes, 42 * getpagesize());
    }
}

static void test_stat_of_extreme_numbers(void **state)
{
    static const char text[] = "2147483647 (x) S 2147483647 -1 -1 0 -1 0 0 0 0 0 " MAX64 " " MAX64
                               " " MAX64 " -5 20 0 " MAX64 " 0 " MAX64 " " MAX64 " " MAX64 " 0\n";
    struct proc_record proc;
    (void)state;
    assert_int_equal(procfs_parse_stat(text, strlen(text), &proc), 0);
    assert_int_equal(proc.utime_ns, UINT64_MAX);
    assert_int_equal(proc.cstime_ns, 0);
    assert_int_equal(proc.pgrp, 0);
    assert_int_equal(proc.threads, UINT32_MAX);
    assert_int_equal(proc.start_ticks, UINT64_MAX);
    assert_int_equal(proc.rss_anon_bytes, UINT64_MAX);
}

static void test_stat_that_is_none(void **state)
{
    static const char *const table[] = {"", "7", "7 ", "7 (", "7 (a", "7 (a)", "7 (a) ", "7 (a) S",
        "7 (a) S ", "x (a) S 1", "-7 (a) S 1 7 7" REST "25 50 75 100 20 0 3 0 12345 1000 42 0\n",
        "99999999999 (a) S 1 7 7" REST "25 50 75 100 20 0 3 0 12345 1000 42 0\n",
        "7 (a) S 99999999999 7 7" REST "25 50 75 100 20 0 3 0 12345 1000 42 0\n",
        "7 (a) S 1 7 7" REST "18446744073709551616 50 75 100 20 0 3 0 12345 1000 42 0\n",
        "7 (a) S 1 7 7" REST "2x5 50 75 100 20 0 3 0 12345 1000 42 0\n",
        "7 (a) S 1 7 7" REST "25 50 75 100 20 0 3 0 12345 1000\n", "7 a) S 1 7 7"};
    struct proc_record proc = {.pid = 99};
    (void)state;
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
        assert_int_equal(procfs_parse_stat(table[i], strlen(table[i]), &proc), -EINVAL);
    assert_int_equal(proc.pid, 99);
}

/* Cut anywhere before its last field ends, a line is no line: never a smaller number. */
static void test_stat_cut_anywhere(void **state)
{
    static const char text[] = "7 (a) b) S 1 7 7" REST "25 50 75 100 20 0 3 0 12345 1000 4222";
    struct proc_record proc;
    (void)state;
    for (size_t n = 0; n <= strlen(text); n++) {
        char *copy = malloc(n + 1); /* exact, so that a read past the end is seen */
        memcpy(copy, text, n);
        assert_int_equal(procfs_parse_stat(copy, n, &proc), -EINVAL);
        free(copy);
    }
}

static void test_zombies_memory(void **state)
{
    struct proc_record proc;
    char text[256];
    (void)state;
    snprintf(text, sizeof(text), "7 (a) Z 1 7 7" REST "25 50 75 100 20 0 %d 0 12345 0 0 0\n", 1);
    assert_int_equal(procfs_parse_stat(text, strlen(text), &proc), 0);
    assert_true(proc.known & PROC_KNOWN_RSS);
    /* The leader is gone, other threads live: what they hold is not told. */
    snprintf(text, sizeof(text), "7 (a) Z 1 7 7" REST "25 50 75 100 20 0 %d 0 12345 0 0 0\n", 4);
    assert_int_equal(procfs_parse_stat(text, strlen(text), &proc), 0);
    assert_false(proc.known & PROC_KNOWN_RSS);
}

static void check_inner_pid(const char *text, int wanted, int32_t pid, bool below)
{
    int32_t inner = -1;
    bool nested = false;
    assert_int_equal(procfs_parse_inner_pid(text, strlen(text), &inner, &nested), wanted);
    assert_int_equal(inner, pid);
    assert_int_equal(nested, below);
}

static void test_io_and_uid(void **state)
{
    static const char io[] = "rchar: 1\nwchar: 2\nsyscr: 3\nsyscw: 4\nread_bytes: 4096\n"
                             "write_bytes: " MAX64 "\ncancelled_write_bytes: 7\n";
    static const char status[] = "Name:\tUid:\\n0\nUmask:\t0022\nUid:\t1000\t0\t0\t0\nGid:\t5\n";
    uint64_t bytes_read = 0, written = 0, value;
    uint32_t uid = 0;
    (void)state;
    assert_int_equal(procfs_parse_io(io, strlen(io), &bytes_read, &written), 0);
    assert_int_equal(bytes_read, 4096);
    assert_int_equal(written, UINT64_MAX);
    assert_int_equal(procfs_parse_io(io, 60, &bytes_read, &written), -EINVAL);
    assert_int_equal(procfs_parse_io("", 0, &bytes_read, &written), -EINVAL);
    assert_int_equal(procfs_parse_uid(status, strlen(status), &uid), 0);
    assert_int_equal(uid, 1000);
    assert_int_equal(procfs_parse_uid("Uid:\t4294967296\n", 16, &uid), -EINVAL);
    assert_int_equal(procfs_parse_uid("Uid:", 4, &uid), -EINVAL);
    check_inner_pid("Name:\tx\nNSpid:\t4711\nNSpgid:\t1\n", 0, 4711, false);
    check_inner_pid("Name:\tx\nNSpid:\t4711\t30\t7\nNSpgid:\t1\n", 0, 7, true);
    check_inner_pid("Name:\tNSpid:\\n7\nUid:\t1\n", -EINVAL, -1, false);
    check_inner_pid("Name:\tx\nNSpid:\t4711\t30", -EINVAL, -1, false); /* cut */
    check_inner_pid("Name:\tx\nNSpid:\n", -EINVAL, -1, false);
    check_inner_pid("Name:\tx\nNSpid:\t4294967296\n", -EINVAL, -1, false);
    check_inner_pid("Name:\tx\nNSpid:\t4711 30\n", -EINVAL, -1, false);
    assert_int_equal(procfs_parse_statm("1000 42 7 0 0 0 0\n", 18, &value), 0);
    assert_int_equal(value, 42 * getpagesize());
    assert_int_equal(procfs_parse_statm("1000 42", 7, &value), -EINVAL);
    assert_int_equal(procfs_parse_statm("", 0, &value), -EINVAL);
    assert_int_equal(procfs_parse_key("a 1\nab 2\n", 9, "ab", &value), 0);
    assert_int_equal(value, 2);
    assert_int_equal(procfs_parse_key("ab", 2, "ab", &value), -EINVAL);
    assert_int_equal(procfs_parse_key("ab x", 4, "ab", &value), -EINVAL);
}

/* ---- A fixture */

static void write_process(struct tree *tree, int pid, int ppid, int start, const char *name)
{
    char path[64], text[256];
    snprintf(path, sizeof(path), "%d/stat", pid);
    snprintf(text, sizeof(text), "%d (%s) S %d %d %d" REST "10 0 0 0 20 0 1 0 %d 1000 42 0\n", pid,
        name, ppid, pid, pid, start);
    tree_write(tree, path, text);
    snprintf(path, sizeof(path), "%d/io", pid);
    tree_write(tree, path, "read_bytes: 100\nwrite_bytes: 200\n");
    for (int fd = 0; fd < 3; fd++) {
        snprintf(path, sizeof(path), "%d/fd/%d", pid, fd);
        tree_write(tree, path, "");
    }
}

static void write_machine(struct tree *tree)
{
    tree_write(tree, "stat", "cpu  100 0 100 800 0 0 0 0 0 0\ncpu0 100 0 100 800 0 0 0 0 0 0\n");
    tree_write(tree, "meminfo", "MemTotal: 1000 kB\nMemAvailable: 400 kB\n");
}

static struct collector_source *open_tree(struct tree *tree, bool thorough)
{
    struct procfs_options options = {.proc_path = tree->root,
        .sys_path = tree->root,
        .cgroup_path = "",
        .processes = true,
        .thorough = thorough};
    struct collector_source *source = NULL;
    struct ac_error error = {0};
    int r = procfs_new(&options, &source, &error);
    if (r < 0)
        fail_msg("%s", error.message);
    return source;
}

static const struct proc_record *find(const struct sample *sample, int pid)
{
    for (size_t i = 0; i < sample->n_procs; i++) {
        if (sample->procs[i].pid == pid)
            return &sample->procs[i];
    }
    return NULL;
}

static void test_walk_of_a_fixture(void **state)
{
    struct tree tree;
    struct sample sample;
    (void)state;
    tree_init(&tree);
    unsigned before = open_descriptors();
    write_machine(&tree);
    write_process(&tree, 1, 0, 1, "init");
    write_process(&tree, 20, 1, 5, "a) S 9 (b");
    write_process(&tree, 300, 20, 6, "c");
    tree_write(&tree, "40/comm", "gone between two reads\n");
    tree_write(&tree, "50/stat", "nonsense");
    tree_write(&tree, "51/stat", "");
    tree_write(&tree, "self/stat", "");
    tree_write(&tree, "12a/stat", "");
    tree_write(&tree, "99999999999/stat", "");
    write_process(&tree, 60, 1, 6, "d");
    tree_write(&tree, "60/io", "nonsense");
    tree_remove(&tree, "60/fd");
    struct collector_source *source = open_tree(&tree, false);
    for (int pass = 0; pass < 2; pass++) {
        assert_int_equal(source->ops->read(source, &sample), 0);
        assert_int_equal(sample.n_procs, 4);
        assert_int_equal(find(&sample, 20)->ppid, 1);
        assert_string_equal(find(&sample, 20)->name, "a) S 9 (b");
        assert_int_equal(find(&sample, 300)->read_bytes, 100);
        assert_int_equal(find(&sample, 300)->written_bytes, 200);
        assert_int_equal(find(&sample, 300)->fds, 3);
        assert_false(find(&sample, 60)->known & (PROC_KNOWN_IO | PROC_KNOWN_FDS));
        assert_int_equal(sample.machine.capacity_memory_bytes, 1024000);
        assert_true(sample.boot_ns > 0 && sample.when.mono.ns > 0);
    }
    tree_remove(&tree, "300");
    write_process(&tree, 301, 20, 9, "e");
    assert_int_equal(source->ops->read(source, &sample), 0);
    assert_null(find(&sample, 300));
    assert_int_equal(find(&sample, 301)->start_ticks, 9);
    source->ops->free(source);
    assert_int_equal(open_descriptors(), before);
    tree_done(&tree);
}

static bool wants_twenty(void *userdata, int32_t pid, uint64_t start_ticks, int32_t ppid)
{
    int *calls = userdata;
    ++*calls;
    assert_true(start_ticks > 0);
    return pid == 20 || ppid == 20;
}

static void test_wanted_processes_alone_are_read_in_full(void **state)
{
    struct tree tree;
    struct sample sample;
    int calls = 0;
    (void)state;
    tree_init(&tree);
    write_process(&tree, 1, 0, 1, "init");
    write_process(&tree, 20, 1, 5, "a");
    write_process(&tree, 21, 20, 5, "a");
    tree_write(
        &tree, "2/stat", "2 (kthreadd) S 0 0 0 0 -1 2129984 0 0 0 0 0 0 0 0 20 0 1 0 1 0 0 0\n");
    struct collector_source *source = open_tree(&tree, false);
    procfs_set_wanted(source, wants_twenty, &calls);
    assert_int_equal(source->ops->read(source, &sample), 0);
    assert_int_equal(calls, 3); /* a kernel thread has neither io nor descriptors */
    assert_false(find(&sample, 1)->known & PROC_KNOWN_IO);
    assert_true(find(&sample, 1)->known & PROC_KNOWN_CPU);
    assert_true(find(&sample, 20)->known & PROC_KNOWN_IO);
    assert_true(find(&sample, 21)->known & PROC_KNOWN_FDS);
    source->ops->free(source);
    source = open_tree(&tree, true);
    procfs_set_wanted(source, wants_twenty, &calls);
    assert_int_equal(source->ops->read(source, &sample), 0);
    assert_true(find(&sample, 1)->known & PROC_KNOWN_IO);
    source->ops->free(source);
    tree_done(&tree);
}

static void test_nothing_to_read(void **state)
{
    struct tree tree;
    struct sample sample = {.n_procs = 77};
    struct collector_source *source;
    struct ac_error error;
    (void)state;
    tree_init(&tree);
    source = open_tree(&tree, false);
    assert_int_equal(source->ops->read(source, &sample), -ENOENT);
    assert_int_equal(sample.n_procs, 77);
    source->ops->free(source);
    struct procfs_options options = {.proc_path = tree_path(&tree, "nowhere")};
    assert_int_equal(procfs_new(&options, &source, &error), -ENOENT);
    assert_non_null(strstr(error.message, "nowhere"));
    tree_done(&tree);
}

static void test_start_ticks_and_owner(void **state)
{
    struct tree tree;
    uint64_t ticks = 0;
    uint32_t uid = 77;
    (void)state;
    tree_init(&tree);
    write_process(&tree, 20, 1, 4711, "a");
    int fd = open(tree.root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_int_equal(procfs_start_ticks(fd, 20, &ticks), 0);
    assert_int_equal(ticks, 4711);
    assert_int_equal(procfs_start_ticks(fd, 21, &ticks), -ESRCH);
    assert_int_equal(procfs_start_ticks(fd, -1, &ticks), -ESRCH);
    assert_int_equal(procfs_owner(fd, 20, &uid), -ESRCH);
    close(fd);
    fd = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_int_equal(procfs_owner(fd, getpid(), &uid), 0);
    assert_int_equal(uid, getuid());
    assert_int_equal(procfs_start_ticks(fd, getpid(), &ticks), 0);
    assert_true(ticks > 0);
    close(fd);
    tree_done(&tree);
}

/* ---- This machine */

static struct collector_source *open_real(void)
{
    struct procfs_options options = {.processes = true};
    struct collector_source *source = NULL;
    struct ac_error error = {0};
    int r = procfs_new(&options, &source, &error);
    if (r < 0)
        fail_msg("%s", error.message);
    return source;
}

static void burn(double seconds)
{
    struct rusage usage;
    do {
        for (int i = 0; i < 100000; i++)
            __asm__ volatile("" : : "r"(i));
        getrusage(RUSAGE_SELF, &usage);
    } while ((double)usage.ru_utime.tv_sec + (double)usage.ru_utime.tv_usec / 1e6 < seconds);
}

/* A child that has used @seconds of processor time and holds @fds more descriptors, and waits. */
static pid_t start_child(double seconds, int fds, int *ret_wake)
{
    int ready[2], wake[2];
    char byte = 0;
    assert_int_equal(pipe(ready), 0);
    assert_int_equal(pipe(wake), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        for (int i = 0; i < fds; i++) {
            if (dup(0) < 0)
                _exit(1);
        }
        burn(seconds);
        if (write(ready[1], &byte, 1) != 1)
            _exit(1);
        close(wake[1]);
        while (read(wake[0], &byte, 1) < 0)
            ;
        _exit(0);
    }
    close(ready[1]);
    close(wake[0]);
    assert_int_equal(read(ready[0], &byte, 1), 1);
    close(ready[0]);
    *ret_wake = wake[1];
    return pid;
}

static unsigned count_names(pid_t pid)
{
    char path[64];
    snprintf(path, sizeof(path), "/proc/%d/fd", pid);
    DIR *dir = opendir(path);
    unsigned count = 0;
    assert_non_null(dir);
    for (struct dirent *entry = readdir(dir); entry; entry = readdir(dir))
        count += entry->d_name[0] != '.';
    closedir(dir);
    return count;
}

/* What the kernel says when it adds up page by page; 0 where it does not. */
static uint64_t exact_rss(pid_t pid)
{
    char path[64], text[4096];
    uint64_t kib;
    snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", pid);
    ssize_t n = io_read_file(AT_FDCWD, path, text, sizeof(text));
    return n > 0 && procfs_parse_key(text, (size_t)n, "Rss:", &kib) == 0 ? kib * 1024 : 0;
}

static void test_child_against_getrusage(void **state)
{
    struct sample sample;
    struct rusage usage;
    int wake, status;
    (void)state;
    struct collector_source *source = open_real();
    pid_t pid = start_child(0.2, 50, &wake);
    for (int pass = 0; pass < 2; pass++) { /* the second from kept descriptors */
        assert_int_equal(source->ops->read(source, &sample), 0);
        const struct proc_record *proc = find(&sample, pid);
        assert_non_null(proc);
        assert_int_equal(proc->ppid, getpid());
        double seconds = (double)(proc->utime_ns + proc->stime_ns) / 1e9;
        assert_true(seconds > 0.15 && seconds < 5);
        assert_true(proc->rss_anon_bytes > 100000);
        uint64_t rss = exact_rss(pid);
        uint64_t off =
            rss > proc->rss_anon_bytes ? rss - proc->rss_anon_bytes : proc->rss_anon_bytes - rss;
        assert_true(rss == 0 || off <= 64u << 20); /* older kernels: a batch per CPU */
        assert_true(proc->known & PROC_KNOWN_IO);
        assert_int_equal(proc->fds, count_names(pid));
        assert_int_equal(proc->session, getsid(0));
    }
    close(wake);
    siginfo_t info;
    assert_int_equal(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), 0);
    assert_int_equal(source->ops->read(source, &sample), 0);
    const struct proc_record *zombie = find(&sample, pid);
    assert_non_null(zombie); /* what it used counts until it is reaped */
    assert_int_equal(zombie->state, 'Z');
    double seen = (double)(zombie->utime_ns + zombie->stime_ns) / 1e9;
    assert_int_equal(wait4(pid, &status, 0, &usage), pid);
    double used = (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
                  (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
    assert_true(seen <= used + 1e-9 && seen > used - 0.021); /* two truncated ticks */
    assert_int_equal(source->ops->read(source, &sample), 0);
    assert_null(find(&sample, pid));
    assert_true(find(&sample, getpid())->cutime_ns > 100000000);
    source->ops->free(source);
}

static void test_memory_that_comes_and_goes(void **state)
{
    struct sample sample;
    const size_t size = 16u << 20;
    (void)state;
    struct collector_source *source = open_real();
    uint64_t rss[4];
    char *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(memory != MAP_FAILED);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(source->ops->read(source, &sample), 0);
        rss[i] = find(&sample, getpid())->rss_anon_bytes;
        if (i == 1)
            memset(memory, 1, size);
        if (i == 2)
            assert_int_equal(munmap(memory, size), 0);
    }
    assert_true(rss[2] > rss[1] + size / 4 * 3);
    assert_true(rss[3] < rss[2] - size / 4 * 3);
    source->ops->free(source);
}

static void test_few_descriptors_to_spare(void **state)
{
    struct rlimit old, small;
    struct sample sample;
    (void)state;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
    small = old;
    small.rlim_cur = 64;
    struct collector_source *source = open_real(); /* its cap was taken from the larger limit */
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &small), 0);
    int r1 = source->ops->read(source, &sample);
    size_t n1 = sample.n_procs;
    int r2 = source->ops->read(source, &sample);
    bool self = find(&sample, getpid()) != NULL;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
    assert_int_equal(r1, 0);
    assert_int_equal(r2, 0);
    assert_true(n1 > 0 && self);
    source->ops->free(source);
}

static void test_kept_files_stay_below_their_cap(void **state)
{
    struct proc_files *files;
    char text[1024];
    (void)state;
    int fd = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    unsigned before = open_descriptors();
    assert_int_equal(proc_files_new(fd, 2, &files), 0);
    proc_files_begin(files);
    assert_true(proc_files_read(files, getpid(), PROC_FILE_STAT, text, sizeof(text)) > 0);
    assert_true(proc_files_read(files, 1, PROC_FILE_STAT, text, sizeof(text)) > 0);
    assert_true(proc_files_read(files, getppid(), PROC_FILE_STAT, text, sizeof(text)) > 0);
    proc_files_end(files);
    assert_int_equal(proc_files_kept(files), 2);
    proc_files_begin(files);
    assert_true(proc_files_read(files, 1, PROC_FILE_STAT, text, sizeof(text)) > 0);
    assert_memory_equal(text, "1 (", 3);
    proc_files_end(files);
    assert_int_equal(proc_files_kept(files), 1);
    assert_int_equal(
        proc_files_read(files, 2147483647, PROC_FILE_STAT, text, sizeof(text)), -ENOENT);
    proc_files_free(files);
    proc_files_free(NULL);
    assert_int_equal(open_descriptors(), before);
    close(fd);
}

/* ---- Failures */

static void fail_each(enum fault_kind kind)
{
    struct tree tree;
    unsigned before = open_descriptors();
    tree_init(&tree);
    write_machine(&tree);
    for (int pid = 1; pid < 4; pid++)
        write_process(&tree, pid, pid - 1, pid, "p");
    for (unsigned n = 1;; n++) {
        struct procfs_options options = {
            .proc_path = tree.root, .sys_path = tree.root, .processes = true};
        struct collector_source *source = NULL;
        struct sample sample;
        fault_arm(kind, n);
        int r = procfs_new(&options, &source, NULL);
        for (int pass = 0; r == 0 && pass < 2; pass++) {
            int passed = source->ops->read(source, &sample);
            /* All or nothing: a sample never lacks a process because of our own trouble. */
            if (passed == 0)
                assert_int_equal(sample.n_procs, 3);
        }
        bool hit = fault_disarm();
        if (source) {
            assert_int_equal(source->ops->read(source, &sample), 0);
            assert_int_equal(sample.n_procs, 3);
            source->ops->free(source);
        }
        assert_int_equal(open_descriptors(), before);
        if (!hit)
            break;
    }
    tree_done(&tree);
}

static void test_each_allocation_fails_once(void **state)
{
    (void)state;
    fail_each(FAULT_ALLOC);
}

static void test_each_system_call_fails_once(void **state)
{
    (void)state;
    fail_each(FAULT_SYSCALL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stat_of_ordinary_and_hostile_names),
        cmocka_unit_test(test_stat_of_extreme_numbers),
        cmocka_unit_test(test_stat_that_is_none),
        cmocka_unit_test(test_stat_cut_anywhere),
        cmocka_unit_test(test_zombies_memory),
        cmocka_unit_test(test_io_and_uid),
        cmocka_unit_test(test_walk_of_a_fixture),
        cmocka_unit_test(test_wanted_processes_alone_are_read_in_full),
        cmocka_unit_test(test_nothing_to_read),
        cmocka_unit_test(test_start_ticks_and_owner),
        cmocka_unit_test(test_child_against_getrusage),
        cmocka_unit_test(test_memory_that_comes_and_goes),
        cmocka_unit_test(test_few_descriptors_to_spare),
        cmocka_unit_test(test_kept_files_stay_below_their_cap),
        cmocka_unit_test(test_each_allocation_fails_once),
        cmocka_unit_test(test_each_system_call_fails_once),
    };
    return cmocka_run_group_tests_name("procfs", tests, NULL, NULL);
}
