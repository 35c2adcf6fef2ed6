/* SPDX-License-Identifier: Apache-2.0 */
/* What does not wait for the tick: gauges by looks, ends of first processes, groups. */
#include "os/watch.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fault.h"
#include "base/mem.h"
#include "os/procfs.h"
#include "workload.h"

#define MIB (1u << 20)

static void test_a_gauge_keeps_its_range_and_whether_it_grows(void **state)
{
    struct watch_gauge gauge = {0};

    (void)state;
    watch_gauge_sample(&gauge, 100 * MIB);
    assert_false(gauge.growing); /* the first says nothing */
    watch_gauge_begin(&gauge);
    watch_gauge_look(&gauge, 90 * MIB);
    watch_gauge_look(&gauge, 140 * MIB);
    watch_gauge_sample(&gauge, 110 * MIB);
    assert_true(gauge.growing); /* at a look */
    assert_int_equal(gauge.minimum, 90 * MIB);
    assert_int_equal(gauge.maximum, 140 * MIB);
    assert_int_equal(gauge.looks, 4);
    assert_int_equal(gauge.sum / gauge.looks, 110 * MIB);
    watch_gauge_begin(&gauge);
    assert_int_equal(gauge.minimum, 110 * MIB);
    assert_int_equal(gauge.looks, 1);
    watch_gauge_sample(&gauge, 111 * MIB); /* less than 1/16, and than 4 MiB */
    watch_gauge_begin(&gauge);
    watch_gauge_sample(&gauge, 112 * MIB);
    assert_false(gauge.growing);
    watch_gauge_begin(&gauge);
    watch_gauge_sample(&gauge, 120 * MIB);
    assert_true(gauge.growing);
    watch_gauge_begin(&gauge);
    watch_gauge_sample(&gauge, 0);
    assert_int_equal(gauge.minimum, 0);
}

static bool wakes(struct watch *watch, int timeout_ms)
{
    struct pollfd event = {.fd = watch_fd(watch), .events = POLLIN};
    return poll(&event, 1, timeout_ms) == 1 && watch_handle(watch) == 1;
}

/* A process that does nothing until it is killed. */
static pid_t start_pausing(void)
{
    pid_t child = fork();
    while (child == 0)
        pause();
    return child;
}

static void test_the_end_of_a_process_wakes_once(void **state)
{
    struct watch *watch = NULL;

    (void)state;
    assert_int_equal(watch_new(4, &watch), 0);
    pid_t child = start_pausing();
    assert_int_equal(watch_root(watch, 1, child), 0);
    assert_false(wakes(watch, 0));
    kill(child, SIGKILL);
    assert_true(wakes(watch, 5000));
    assert_false(wakes(watch, 0));
    waitpid(child, NULL, 0);
    assert_int_equal(watch_root(watch, 1, child), -ESRCH);
    watch_free(watch);
}

/* Agents that end in a row must not make rates over no time at all. */
static void test_samples_are_kept_apart(void **state)
{
    struct group_record *records;
    struct watch *watch = NULL;

    (void)state;
    assert_int_equal(watch_new(4, &watch), 0);
    pid_t child = start_pausing();
    assert_int_equal(watch_root(watch, 1, child), 0);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    struct mono start = clock_mono();
    watch_read(watch, &records);
    while (!wakes(watch, 5000))
        assert_true(mono_since(clock_mono(), start) < 60 * NS_PER_SEC);
    assert_true(mono_since(clock_mono(), start) >= 100 * NS_PER_MSEC);
    watch_read(watch, &records);
    assert_false(wakes(watch, 0)); /* once */
    watch_free(watch);
}

static void test_an_oom_kill_does_not_wait_its_turn(void **state)
{
    struct watch_pace pace = {0};
    struct mono now = {1000 * NS_PER_SEC};
    uint64_t wait_ns = 7;

    (void)state;
    assert_false(watch_pace_due(&pace, WATCH_NONE, now, &wait_ns));
    assert_int_equal(wait_ns, 0);
    assert_true(watch_pace_due(&pace, WATCH_TURN, now, &wait_ns)); /* the first */
    pace.sampled = now;
    now.ns += 30 * NS_PER_MSEC;
    assert_false(watch_pace_due(&pace, WATCH_TURN, now, &wait_ns));
    assert_int_equal(wait_ns, 70 * NS_PER_MSEC);
    assert_true(watch_pace_due(&pace, WATCH_NOW, now, &wait_ns));
    pace.sampled = now;
    now.ns += 60 * NS_PER_MSEC;
    assert_false(watch_pace_due(&pace, WATCH_NOW, now, &wait_ns)); /* one of many */
    assert_int_equal(wait_ns, 40 * NS_PER_MSEC);
    now.ns += wait_ns;
    assert_true(watch_pace_due(&pace, WATCH_TURN, now, &wait_ns));
    pace.sampled = now;
    assert_true(watch_pace_due(&pace, WATCH_NOW, now, &wait_ns));
}

static void test_what_is_released_does_not_wake(void **state)
{
    struct watch *watch = NULL;

    (void)state;
    assert_int_equal(watch_new(4, &watch), 0);
    pid_t child = start_pausing();
    assert_int_equal(watch_root(watch, 2, child), 0);
    watch_release(watch, 2);
    watch_release(watch, 3);
    watch_release(watch, 400000);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    assert_false(wakes(watch, 0));
    watch_free(watch);
}

static void test_bad_slots_and_directories_are_refused(void **state)
{
    struct watch *watch = NULL;
    struct group_record *records;

    (void)state;
    assert_int_equal(watch_new(4, &watch), 0);
    assert_int_equal(watch_root(watch, 0, getpid()), -ERANGE);
    assert_int_equal(watch_root(watch, 5, getpid()), -ERANGE);
    assert_int_equal(watch_group(watch, 0, AT_FDCWD), -ERANGE);
    assert_int_equal(watch_group(watch, 5, AT_FDCWD), -ERANGE);
    assert_int_equal(watch_group(watch, 1, AT_FDCWD), -ENOENT);
    assert_int_equal(watch_group_dir_fd(watch, 1), -1);
    assert_int_equal(watch_read(watch, &records), 0);
    assert_int_equal(watch_handle(watch), 0);
    watch_free(watch);
}

/* The fallback that works for everybody watches groups too. */
static void test_procfs_reads_groups_and_wakes(void **state)
{
    struct procfs_options options = {.processes = true, .max_slot = 4};
    struct collector_source *source = NULL;
    struct test_cgroup cgroup;
    struct sample sample;

    (void)state;
    if (!test_cgroup_make(&cgroup)) {
        print_message("# no cgroup v2 directory can be made here\n");
        skip();
    }
    assert_int_equal(procfs_new(&options, &source, NULL), 0);
    assert_int_equal(source->ops->watch_group(source, 2, cgroup.dir_fd), 0);
    assert_true(source->ops->event_fd(source) >= 0);
    assert_int_equal(source->ops->read(source, &sample), 0);
    assert_int_equal(sample.n_groups, 1);
    assert_int_equal(sample.groups[0].slot, 2);
    assert_true(sample.groups[0].known & GROUP_KNOWN_CPU);
    assert_false(sample.groups[0].known & GROUP_KNOWN_NETWORK);
    test_cgroup_done(&cgroup);
    assert_int_equal(source->ops->read(source, &sample), 0);
    assert_int_equal(sample.n_groups, 0);
    assert_int_equal(source->ops->handle_events(source), 0);
    source->ops->free(source);
}

static void test_without_slots_procfs_watches_nothing(void **state)
{
    struct procfs_options options = {.processes = false};
    struct collector_source *source = NULL;

    (void)state;
    assert_int_equal(procfs_new(&options, &source, NULL), 0);
    assert_int_equal(source->ops->event_fd(source), -1);
    assert_int_equal(source->ops->watch_group(source, 1, AT_FDCWD), -EOPNOTSUPP);
    assert_int_equal(source->ops->handle_events(source), 0);
    assert_int_equal(source->ops->adopt(source, 1, getpid(), 0), 0);
    source->ops->release(source, 1);
    source->ops->free(source);
}

static void test_every_failure_is_reported(void **state)
{
    (void)state;
    for (int kind = FAULT_ALLOC; kind <= FAULT_SYSCALL; kind++) {
        for (unsigned n = 1;; n++) {
            struct watch *watch = NULL;
            fault_arm(kind, n);
            int r = watch_new(4, &watch);
            if (r == 0)
                r = watch_root(watch, 1, getpid());
            bool hit = fault_disarm();
            watch_free(watch);
            assert_true(hit ? r < 0 : r == 0);
            if (!hit)
                break;
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_gauge_keeps_its_range_and_whether_it_grows),
        cmocka_unit_test(test_the_end_of_a_process_wakes_once),
        cmocka_unit_test(test_samples_are_kept_apart),
        cmocka_unit_test(test_an_oom_kill_does_not_wait_its_turn),
        cmocka_unit_test(test_what_is_released_does_not_wake),
        cmocka_unit_test(test_bad_slots_and_directories_are_refused),
        cmocka_unit_test(test_procfs_reads_groups_and_wakes),
        cmocka_unit_test(test_without_slots_procfs_watches_nothing),
        cmocka_unit_test(test_every_failure_is_reported),
    };

    return cmocka_run_group_tests_name("watch", tests, NULL, NULL);
}
