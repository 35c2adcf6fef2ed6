/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "content.h"
#include "store/history.h"

static void full_disk_loses_nothing_written_before(void **state)
{
    (void)state;
    struct temporary directory cleanup_directory = temporary_make();
    struct store *store = open_good(&directory);
    struct ac_error error = {0};
    struct rlimit saved, limit;
    int written = 0, r = 0;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &saved), 0);
    signal(SIGXFSZ, SIG_IGN);
    limit = saved;
    limit.rlim_cur = 300000;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    for (; r == 0 && written < 10000; written += r == 0) {
        char id[32];
        snprintf(id, sizeof(id), "agent-%d", written);
        struct agent_spec spec = make_agent(id);
        r = store_put_agent(store, &spec, at(written), 1, &error);
    }
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &saved), 0);
    assert_int_equal(r, -ENOSPC);
    assert_non_null(strstr(error.message, "no space left"));
    assert_true(written > 10);
    assert_int_equal(count_agents(store), written);
    struct agent_spec spec = make_agent("later"); /* with space it goes on by itself */
    assert_int_equal(store_put_agent(store, &spec, at(1), 1, &error), 0);
    assert_int_equal(store_verify(store, NULL), 0);
    store_close(store);
    store = open_good(&directory);
    assert_int_equal(count_agents(store), written + 1);
    store_close(store);
}

static int work(const struct temporary *directory)
{
    struct store *store = NULL;
    struct ac_error error = {0};
    struct agent_spec spec = make_agent("a");
    struct ac_alert alert = make_alert(1, AC_ALERT_FIRING);
    struct seen seen = {0};
    void *bytes cleanup_free = NULL;
    size_t size;
    int r = try_open(directory, &store, &error);
    if (r == 0)
        r = store_begin(store, &error);
    if (r == 0) {
        r = store_put_agent(store, &spec, at(1), 1, &error);
        if (r == 0)
            r = store_put_alert(store, &alert, 7, &error);
        if (r == 0)
            r = store_commit(store, &error);
        else
            store_rollback(store);
    }
    if (r == 0)
        r = store_put_blob(store, "b", "bytes", 5, &error);
    if (r == 0)
        r = store_get_blob(store, "b", &bytes, &size, &error);
    if (r == 0)
        r = store_each_agent(store, see_agent, &seen, &error);
    if (r == 0)
        r = store_verify(store, &error);
    store_close(store);
    if (r != error.code)
        fail_msg("%d but %d: %s", r, error.code, error.message);
    return r;
}

static unsigned fail_each(enum fault_kind kind)
{
    unsigned failures = 0;
    for (unsigned n = 1;; n++) {
        struct temporary directory cleanup_directory = temporary_make();
        fault_arm(kind, n);
        int r = work(&directory);
        bool hit = fault_disarm();
        if (hit && kind == FAULT_ALLOC && r != -ENOMEM && r != 0)
            fail_msg("allocation %u: %d", n, r);
        failures += r < 0;
        assert_true(hit || r == 0);
        if (n % 8 == 1) /* nothing is left that hinders */
            assert_int_equal(work(&directory), 0);
        if (!hit)
            return failures;
    }
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    assert_true(fail_each(FAULT_ALLOC) > 100);
}

static void every_system_call_may_fail(void **state)
{
    (void)state;
    assert_true(fail_each(FAULT_SYSCALL) >= 4);
}

/* Writes agents until it is killed; one byte per acknowledged write. */
static void write_for_ever(const struct temporary *directory, int from, int acknowledge)
{
    struct store *store = NULL;
    if (try_open(directory, &store, NULL) < 0)
        _exit(1);
    for (int i = from;; i++) {
        char id[32], bytes[3000];
        snprintf(id, sizeof(id), "agent-%d", i);
        struct agent_spec spec = make_agent(id);
        memset(bytes, i, sizeof(bytes));
        if (i % 3 == 0 && store_begin(store, NULL) < 0)
            _exit(2);
        if (store_put_agent(store, &spec, at(i), 1, NULL) < 0 ||
            store_put_blob(store, "b", bytes, sizeof(bytes), NULL) < 0)
            _exit(3);
        if (i % 3 == 0 && store_commit(store, NULL) < 0)
            _exit(4);
        if (write(acknowledge, "", 1) != 1)
            _exit(5);
    }
}

static int drain(int fd)
{
    char bytes[4096];
    int total = 0;
    for (ssize_t n; (n = read(fd, bytes, sizeof(bytes))) > 0;)
        total += (int)n;
    return total;
}

static void killed_at_any_moment_keeps_what_was_acknowledged(void **state)
{
    (void)state;
    struct temporary directory cleanup_directory = temporary_make();
    unsigned seed = 12345;
    int acknowledged = 0;
    for (int round = 0; round < 30; round++) {
        int pipes[2], status;
        assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
        pid_t child = fork();
        if (child == 0)
            write_for_ever(&directory, acknowledged, pipes[1]);
        close(pipes[1]);
        char first;
        assert_int_equal(read(pipes[0], &first, 1), 1);
        usleep((useconds_t)(rand_r(&seed) % 8000));
        kill(child, SIGKILL);
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFSIGNALED(status));
        acknowledged += 1 + drain(pipes[0]);
        close(pipes[0]);
        struct store *store = open_good(&directory);
        unsigned kept = count_agents(store);
        /* One more may have been committed and not yet told. */
        assert_in_range(kept, acknowledged, acknowledged + 1);
        assert_int_equal(store_verify(store, NULL), 0);
        store_close(store);
        acknowledged = (int)kept;
    }
    assert_true(acknowledged > 100);
}

enum { SUBJECTS = 50 };

static void tick_for_ever(const struct temporary *directory, int from, int acknowledge)
{
    const struct history_options options = {.keep_minutes_ns = UINT64_C(3600000000000)};
    struct store *store = NULL;
    struct history *history = NULL;
    struct history_row rows[SUBJECTS];
    char names[SUBJECTS][16];
    struct ac_usage usage = {.cpu_percent = 1, .known = AC_KNOWN_CPU_PERCENT};
    if (try_open(directory, &store, NULL) < 0 || history_open(store, &options, &history, NULL) < 0)
        _exit(1);
    for (int i = 0; i < SUBJECTS; i++) {
        snprintf(names[i], sizeof(names[i]), "agent-%d", i);
        rows[i] = (struct history_row){names[i], &usage};
    }
    for (int minute = from;; minute++) {
        if (history_tick(history, minute * INT64_C(60000000000), rows, SUBJECTS, NULL) < 0)
            _exit(2);
        if (write(acknowledge, "", 1) != 1)
            _exit(3);
    }
}

static int see_point(void *userdata, const struct history_point *point)
{
    *(int64_t *)userdata += point->samples;
    return 0;
}

/* Samples of a subject in a minute. */
static int64_t number(struct store *store, const char *subject, int64_t minute)
{
    const struct history_options options = {.keep_minutes_ns = UINT64_C(3600000000000)};
    struct history *history = NULL;
    int64_t samples = 0, from = minute * INT64_C(60000000000);
    assert_int_equal(history_open(store, &options, &history, NULL), 0);
    assert_int_equal(
        history_range(history, subject, from, from + 1, 0, 10, see_point, &samples, NULL), 0);
    history_close(history);
    return samples;
}

static void killed_at_any_moment_keeps_whole_minutes(void **state)
{
    (void)state;
    struct temporary directory cleanup_directory = temporary_make();
    unsigned seed = 54321;
    int minute = 1000;
    for (int round = 0; round < 10; round++) {
        int pipes[2], status;
        assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
        pid_t child = fork();
        if (child == 0)
            tick_for_ever(&directory, minute, pipes[1]);
        close(pipes[1]);
        char first[3];
        for (int i = 0; i < 3; i++)
            assert_int_equal(read(pipes[0], &first[i], 1), 1);
        usleep((useconds_t)(rand_r(&seed) % 8000));
        kill(child, SIGKILL);
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFSIGNALED(status));
        int last = minute + 2 + drain(pipes[0]); /* began, so all before it are committed */
        close(pipes[0]);
        struct store *store = open_good(&directory);
        for (int m = MAX(minute, last - 20); m <= last + 1; m++) {
            int64_t there = number(store, "agent-0", m);
            assert_true(there == 1 || (there == 0 && m >= last));
            assert_int_equal(number(store, "agent-17", m), there);
            assert_int_equal(number(store, "agent-49", m), there);
        }
        assert_int_equal(store_verify(store, NULL), 0);
        store_close(store);
        minute = last + 10;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(full_disk_loses_nothing_written_before),
        cmocka_unit_test(every_allocation_may_fail),
        cmocka_unit_test(every_system_call_may_fail),
        cmocka_unit_test(killed_at_any_moment_keeps_what_was_acknowledged),
        cmocka_unit_test(killed_at_any_moment_keeps_whole_minutes),
    };
    temporary_inject_sqlite();
    return cmocka_run_group_tests_name("store/trouble", tests, NULL, NULL);
}
