/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The history in trouble: killed at random moments, its log cut or flipped, writes that fail
 * through a VFS of ours, damaged rows, two processes, a newer schema, a clock and a machine that
 * slept for a week.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

#include <cmocka.h>

#include "base/mem.h"
#include "store/history.h"
#include "temporary.h"

#define SECOND   INT64_C(1000000000)
#define START_NS (INT64_C(1700000040) * SECOND)
#define DAY_NS   (86400 * SECOND)
#define AGENTS   60

static uint64_t random_state = 88172645463325252ull;

static uint64_t next_random(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

static struct history *open_in(const char *directory, const char *vfs, bool full_sync)
{
    struct history *history = NULL;
    struct ac_error error = {0};
    const struct history_options options = {
        .directory = directory, .vfs = vfs, .full_sync = full_sync};
    if (history_open(NULL, &options, &history, &error) < 0)
        fail_msg("%s", error.message);
    return history;
}

/* The memory of agent a at tick t is known to everybody: a * 1000 + t. */
static int feed_at(struct history *history, int t, int64_t when_ns, struct ac_error *error)
{
    struct ac_usage usages[AGENTS];
    char names[AGENTS][24];
    struct history_row rows[AGENTS] = {0};
    for (int a = 0; a < AGENTS; a++) {
        ac_usage_init(&usages[a]);
        usages[a].file_descriptors = (uint64_t)(a * 100000 + t);
        usages[a].memory_mb = t / 7 * 3;
        usages[a].known = AC_KNOWN_FILE_DESCRIPTORS | AC_KNOWN_MEMORY_MB;
        snprintf(names[a], sizeof(names[a]), "agent-%d", a);
        rows[a] = (struct history_row){.subject = names[a], .usage = &usages[a]};
    }
    return history_tick(history, when_ns, rows, AGENTS, error);
}

static int feed(struct history *history, int t, struct ac_error *error)
{
    return feed_at(history, t, START_NS + t * SECOND, error);
}

struct seen {
    int agent;
    int count;
    int last;
};

static int see(void *userdata, const struct history_point *point)
{
    struct seen *seen = userdata;
    int t = (int)((point->from_ns - START_NS) / SECOND);
    assert_int_equal(point->mean.file_descriptors, seen->agent * 100000 + t);
    assert_true(t > seen->last);
    seen->last = t;
    seen->count++;
    return 0;
}

static struct seen look(struct history *history, int agent)
{
    char name[24];
    struct seen seen = {.agent = agent, .last = -1};
    struct ac_error error = {0};
    snprintf(name, sizeof(name), "agent-%d", agent);
    if (history_range(history, name, START_NS, START_NS + DAY_NS, 0, 1000000, see, &seen, &error) <
        0)
        fail_msg("%s", error.message);
    return seen;
}

static void note_finding(void *userdata, const char *text)
{
    (void)userdata;
    print_message("# %s\n", text);
}

static void check_clean(struct history *history)
{
    assert_int_equal(history_verify(history, note_finding, NULL, NULL), 0);
}

/* ---- Killed ------------------------------------------------------------------------------- */

/* Writes ticks until it is killed; says in shared memory what was acknowledged. */
static void child(const char *directory, int from, volatile int *acknowledged)
{
    const struct history_options options = {.directory = directory, .full_sync = true};
    struct history *history;
    if (history_open(NULL, &options, &history, NULL) < 0)
        _exit(3);
    for (int t = from;; t++) {
        if (feed(history, t, NULL) < 0)
            _exit(4);
        *acknowledged = t;
    }
}

static void wait_for(const volatile int *value, int least)
{
    const struct timespec moment = {0, 200000};
    for (int i = 0; *value < least && i < 100000; i++)
        nanosleep(&moment, NULL);
}

/* How often: AGENTCORE_KILLS, 200 for the full test. */
static int rounds(int usual)
{
    const char *text = getenv("AGENTCORE_KILLS");
    return text == NULL ? usual : (int)strtoll(text, NULL, 10);
}

static void kills_lose_nothing(void **state)
{
    (void)state;
    struct temporary directory CLEANUP(temporary_done) = temporary_make();
    volatile int *acknowledged =
        mmap(NULL, sizeof(int), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(acknowledged, MAP_FAILED);
    int next = 0;
    *acknowledged = -1;
    for (int round = 0; round < rounds(25); round++) {
        pid_t pid = fork();
        if (pid == 0)
            child(directory.path, next, acknowledged);
        wait_for(acknowledged, next + (int)(next_random() % 300));
        const struct timespec moment = {0, (long)(next_random() % 3000000)};
        nanosleep(&moment, NULL);
        kill(pid, SIGKILL);
        int status;
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFSIGNALED(status));
        struct history *history = open_in(directory.path, NULL, true);
        struct seen first = look(history, 0);
        struct seen last = look(history, AGENTS - 1);
        /* Everything acknowledged is there, in full, and at most the tick in flight besides. */
        assert_in_range(first.count, *acknowledged + 1, *acknowledged + 2);
        assert_int_equal(first.last, first.count - 1);
        assert_true(last.count == first.count && last.last == first.last);
        next = first.count;
        if (round % 5 == 4)
            check_clean(history);
        history_close(history);
    }
    munmap((void *)acknowledged, sizeof(int));
}

static void copy_file(const char *from, const char *to, off_t cut, bool flip)
{
    static char bytes[16 << 20];
    int in = open(from, O_RDONLY | O_CLOEXEC);
    assert_true(in >= 0);
    ssize_t n = read(in, bytes, sizeof(bytes));
    assert_true(n >= 0 && n < (ssize_t)sizeof(bytes));
    close(in);
    if (cut >= 0 && n > 0)
        n = cut % n;
    if (flip && n > 0)
        bytes[next_random() % (uint64_t)n] ^= (char)(1 << next_random() % 8);
    int out = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(out >= 0 && write(out, bytes, (size_t)n) == n);
    close(out);
}

/* A log that is cut or has a flipped bit ends where its checksums end: a prefix of the ticks. */
static void broken_logs_leave_a_prefix(void **state)
{
    (void)state;
    struct temporary directory CLEANUP(temporary_done) = temporary_make();
    struct temporary copy CLEANUP(temporary_done) = temporary_make();
    char from[128];
    char to[128];
    struct history *history = open_in(directory.path, NULL, false);
    for (int t = 0; t < 1500; t++)
        assert_int_equal(feed(history, t, NULL), 0);
    for (int round = 0; round < rounds(25); round++) {
        snprintf(from, sizeof(from), "%s/history.db", directory.path);
        snprintf(to, sizeof(to), "%s/history.db", copy.path);
        copy_file(from, to, -1, false);
        snprintf(from, sizeof(from), "%s/history.db-wal", directory.path);
        snprintf(to, sizeof(to), "%s/history.db-wal", copy.path);
        copy_file(from, to, round % 2 ? (off_t)next_random() & 0x7fffffff : -1, round % 2 == 0);
        struct history *again = open_in(copy.path, NULL, false);
        struct seen seen = look(again, 17);
        assert_int_equal(seen.last, seen.count - 1);
        assert_in_range(seen.count, 1, 1500);
        assert_int_equal(feed(again, seen.count, NULL), 0);
        assert_int_equal(look(again, 17).count, seen.count + 1);
        if (round % 8 == 0)
            check_clean(again);
        history_close(again);
        snprintf(to, sizeof(to), "%s/history.db-wal", copy.path);
        unlink(to);
    }
    history_close(history);
}

/* ---- Writes that fail --------------------------------------------------------------------- */

/* SQLite's default VFS, but writes and syncs fail while @shim_code is set. */
static int shim_code;
static sqlite3_vfs shim;
static sqlite3_io_methods shim_methods[2]; /* of databases, of logs */
static const sqlite3_io_methods *real_methods[2];

static int shim_write(sqlite3_file *file, const void *bytes, int size, sqlite3_int64 offset)
{
    return shim_code != 0 ? shim_code : real_methods[0]->xWrite(file, bytes, size, offset);
}

static int shim_sync(sqlite3_file *file, int flags)
{
    return shim_code != 0 ? shim_code : real_methods[0]->xSync(file, flags);
}

static int shim_open(
    sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags, int *ret_flags)
{
    (void)vfs;
    sqlite3_vfs *real = sqlite3_vfs_find("unix");
    int code = real->xOpen(real, name, file, flags, ret_flags);
    if (code == SQLITE_OK) {
        int which = flags & SQLITE_OPEN_MAIN_DB ? 0 : 1;
        real_methods[which] = file->pMethods;
        shim_methods[which] = *file->pMethods;
        shim_methods[which].xWrite = shim_write;
        shim_methods[which].xSync = shim_sync;
        file->pMethods = &shim_methods[which];
    }
    return code;
}

static void make_shim(void)
{
    shim = *sqlite3_vfs_find("unix");
    shim.zName = "shim";
    shim.xOpen = shim_open;
    shim.pNext = NULL;
    assert_int_equal(sqlite3_vfs_register(&shim, 0), SQLITE_OK);
}

static void failing_writes_leave_a_gap(void **state)
{
    (void)state;
    static const struct {
        int code;
        int error;
    } failures[] = {{SQLITE_FULL, -ENOSPC}, {SQLITE_IOERR_WRITE, -EIO}, {SQLITE_READONLY, -EROFS},
        {SQLITE_IOERR_FSYNC, -EIO}};
    struct temporary directory CLEANUP(temporary_done) = temporary_make();
    make_shim();
    struct history *history = open_in(directory.path, "shim", true);
    struct ac_error error;
    struct history_status status;
    int t = 0;
    int recorded = 0;
    for (size_t f = 0; f < ARRAY_SIZE(failures); f++) {
        for (int i = 0; i < 700; i++, t++, recorded++)
            assert_int_equal(feed(history, t, &error), 0);
        shim_code = failures[f].code;
        for (int i = 0; i < 50; i++, t++) {
            assert_int_equal(feed(history, t, &error), failures[f].error);
            assert_int_equal(error.code, failures[f].error);
        }
        history_status(history, &status);
        assert_int_equal(status.last_error, failures[f].error);
        assert_true(status.failing_since_ns == START_NS + (t - 50) * SECOND);
        assert_int_equal(look(history, 3).count, recorded); /* what is there can be read */
        shim_code = 0;
    }
    assert_int_equal(feed(history, t, &error), 0);
    history_status(history, &status);
    assert_true(status.last_error == 0 && status.failed_ticks == 200);
    struct history_info info;
    struct seen seen = {.agent = 3, .last = -1};
    const struct history_query query = {.subject = "agent-3",
        .owner = HISTORY_ANYBODY,
        .from_ns = START_NS,
        .to_ns = START_NS + DAY_NS};
    assert_int_equal(history_range_query(history, &query, see, &seen, &info, NULL), 0);
    assert_int_equal(seen.count, recorded + 1);
    assert_int_equal(info.gaps, 4);
    assert_true(info.gap_ns >= 4 * 50 * (uint64_t)SECOND && info.damaged == 0);
    history_close(history);
    history = open_in(directory.path, NULL, true);
    assert_int_equal(look(history, 3).count, recorded + 1);
    check_clean(history);
    history_close(history);
}

/* ---- Damage, strangers, time -------------------------------------------------------------- */

static void damaged_chunks_are_told(void **state)
{
    (void)state;
    struct temporary directory CLEANUP(temporary_done) = temporary_make();
    struct history *history = open_in(directory.path, NULL, false);
    for (int t = 0; t < 2000; t++)
        assert_int_equal(feed(history, t, NULL), 0);
    history_close(history);
    /* A byte in the middle of the oldest chunk of each group. */
    temporary_history_sql(&directory,
        "UPDATE chunk SET data = substr(data, 1, length(data) / 2) || x'55aa'"
        " || substr(data, length(data) / 2 + 3) WHERE id IN"
        " (SELECT min(id) FROM chunk GROUP BY id >> 42)");
    history = open_in(directory.path, NULL, false);
    int missing = 0;
    for (int a = 0; a < AGENTS; a++) {
        char name[24];
        struct history_info info;
        struct seen seen = {.agent = a, .last = -1};
        snprintf(name, sizeof(name), "agent-%d", a);
        const struct history_query query = {.subject = name,
            .owner = HISTORY_ANYBODY,
            .from_ns = START_NS,
            .to_ns = START_NS + DAY_NS};
        assert_int_equal(history_range_query(history, &query, see, &seen, &info, NULL), 0);
        assert_true(seen.count == 2000 ? info.damaged == 0 : info.damaged == 1);
        missing += seen.count != 2000;
    }
    assert_in_range(missing, 1, 8); /* two bytes lie in at most two agents of a group */
    assert_true(history_verify(history, NULL, NULL, NULL) >= 4);
    /* Recording and merging go on. */
    for (int t = 2000; t < 5000; t++)
        assert_int_equal(feed(history, t, NULL), 0);
    struct history_status status;
    history_status(history, &status);
    assert_true(status.damaged > 0);
    history_close(history);
}

static void strangers_are_refused(void **state)
{
    (void)state;
    struct temporary directory CLEANUP(temporary_done) = temporary_make();
    struct ac_error error = {0};
    struct history *other = NULL;
    const struct history_options options = {.directory = directory.path};
    struct history *history = open_in(directory.path, NULL, false);
    assert_int_equal(history_open(NULL, &options, &other, &error), -EBUSY);
    assert_non_null(strstr(error.message, "another process"));
    history_close(history);
    temporary_history_sql(&directory, "PRAGMA user_version = 99");
    assert_int_equal(history_open(NULL, &options, &other, &error), -EPROTONOSUPPORT);
    assert_non_null(strstr(error.message, "newer version"));
    assert_null(other);
}

static void a_thread_of_its_own_records(void **state)
{
    (void)state;
    struct temporary directory CLEANUP(temporary_done) = temporary_make();
    const struct history_options options = {.directory = directory.path, .background = true};
    struct history *history = NULL;
    struct ac_error error = {0};
    int refused = 0;
    assert_int_equal(history_open(NULL, &options, &history, &error), 0);
    for (int t = 0; t < 700; t++) {
        int r = feed(history, t, &error);
        if (r == -EAGAIN) { /* faster than the disk: told, and not recorded */
            refused++;
            assert_int_equal(history_flush(history, &error), 0);
            r = feed(history, t, &error);
        }
        assert_int_equal(r, 0);
        if (t % 100 == 0)
            assert_in_range(look(history, 9).count, 0, t + 1);
    }
    assert_int_equal(history_flush(history, &error), 0);
    assert_int_equal(look(history, 9).count, 700);
    for (int t = 700; t < 703; t++)
        assert_int_equal(feed(history, t, &error), 0);
    history_close(history); /* writes what waits */
    history = open_in(directory.path, NULL, false);
    assert_int_equal(look(history, 9).count, 703);
    history_close(history);
    print_message("# %d ticks had to wait\n", refused);
}

static void weeks_of_sleep_and_jumps(void **state)
{
    (void)state;
    struct temporary directory CLEANUP(temporary_done) = temporary_make();
    struct history *history = open_in(directory.path, NULL, false);
    int64_t shift = 0;
    for (int t = 0; t < 4000; t++) {
        if (t == 1000)
            shift += 7 * DAY_NS; /* a week of sleep */
        if (t == 1500)
            shift += 400 * DAY_NS; /* a wrong clock for ten ticks */
        if (t == 1510)
            shift -= 400 * DAY_NS;
        if (t == 2500)
            shift -= 3600 * SECOND;
        assert_int_equal(feed_at(history, t, START_NS + t * SECOND + shift, NULL), 0);
    }
    for (int again = 0; again < 2; again++) {
        struct history_usage usage;
        struct history_info info;
        assert_int_equal(
            history_usage(history, &(const struct history_whose){"agent-5", HISTORY_ANYBODY},
                START_NS, START_NS + 1000 * DAY_NS, &usage, &info, NULL),
            0);
        assert_int_equal(usage.samples, 4000);
        /* A sample stands for a second, never for a week. */
        double mib_seconds = 0;
        for (int t = 0; t < 4000; t++)
            mib_seconds += t / 7 * 3;
        double hours = mib_seconds / 1024 / 3600;
        assert_true(usage.memory_gib_hours > hours * 0.99 && usage.memory_gib_hours < hours * 1.01);
        check_clean(history);
        history_close(history);
        history = open_in(directory.path, NULL, false);
    }
    history_close(history);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kills_lose_nothing),
        cmocka_unit_test(broken_logs_leave_a_prefix),
        cmocka_unit_test(failing_writes_leave_a_gap),
        cmocka_unit_test(damaged_chunks_are_told),
        cmocka_unit_test(strangers_are_refused),
        cmocka_unit_test(a_thread_of_its_own_records),
        cmocka_unit_test(weeks_of_sleep_and_jumps),
    };
    return cmocka_run_group_tests_name("hist_trouble", tests, NULL, NULL);
}
