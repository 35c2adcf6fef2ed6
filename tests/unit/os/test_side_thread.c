/* SPDX-License-Identifier: Apache-2.0 */
#include "os/side_thread.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/mem.h"

#define LONG_NS (60 * NS_PER_SEC)

/* Waits for a byte where there is a gate. */
struct work {
    int gate_fd;
    int done;
};

static void do_work(void *userdata)
{
    struct work *work = userdata;
    char byte;
    if (work->gate_fd >= 0 && read(work->gate_fd, &byte, 1) != 1)
        return;
    work->done++;
}

static void test_each_start_is_one_job(void **state)
{
    struct work work = {.gate_fd = -1};
    struct side_thread *thread = NULL;
    (void)state;
    assert_int_equal(side_thread_new(do_work, &work, 0, &thread), 0);
    assert_false(side_thread_busy(thread));
    assert_true(side_thread_wait(thread, 0));
    for (int i = 1; i <= 5; i++) {
        side_thread_start(thread);
        assert_true(side_thread_wait(thread, LONG_NS));
        assert_false(side_thread_busy(thread));
        assert_int_equal(work.done, i);
    }
    assert_true(side_thread_free(thread));
    assert_true(side_thread_free(NULL));
}

static void test_its_user_goes_on_while_it_waits(void **state)
{
    int gate[2];
    (void)state;
    assert_int_equal(pipe(gate), 0);
    struct work work = {.gate_fd = gate[0]};
    struct side_thread *thread = NULL;
    assert_int_equal(side_thread_new(do_work, &work, 0, &thread), 0);
    side_thread_start(thread);
    assert_true(side_thread_busy(thread));
    assert_false(side_thread_wait(thread, NS_PER_MSEC));
    assert_int_equal(write(gate[1], "x", 1), 1);
    assert_true(side_thread_wait(thread, LONG_NS));
    assert_int_equal(work.done, 1);
    assert_true(side_thread_free(thread));
    close(gate[0]);
    close(gate[1]);
}

static void test_what_was_started_is_done_before_the_end(void **state)
{
    (void)state;
    for (int i = 0; i < 50; i++) {
        struct work work = {.gate_fd = -1};
        struct side_thread *thread = NULL;
        assert_int_equal(side_thread_new(do_work, &work, 0, &thread), 0);
        side_thread_start(thread);
        assert_true(side_thread_free(thread));
        assert_int_equal(work.done, 1);
    }
}

/* It stays behind with what it uses, which is therefore not this function's. */
static void test_a_job_that_hangs_is_left(void **state)
{
    static struct work work;
    static int gate[2];
    static struct side_thread *thread;
    (void)state;
    assert_int_equal(pipe(gate), 0);
    work.gate_fd = gate[0];
    assert_int_equal(side_thread_new(do_work, &work, 0, &thread), 0);
    side_thread_start(thread);
    assert_false(side_thread_free(thread));
    assert_int_equal(work.done, 0);
}

static void test_no_thread_is_told(void **state)
{
    struct work work = {.gate_fd = -1};
    struct side_thread *thread = NULL;
    (void)state;
    fault_arm(FAULT_ALLOC, 1);
    assert_int_equal(side_thread_new(do_work, &work, 0, &thread), -ENOMEM);
    assert_true(fault_disarm());
    fault_arm(FAULT_SYSCALL, 1);
    assert_int_equal(side_thread_new(do_work, &work, 0, &thread), -EAGAIN);
    assert_true(fault_disarm());
    assert_null(thread);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_start_is_one_job),
        cmocka_unit_test(test_its_user_goes_on_while_it_waits),
        cmocka_unit_test(test_what_was_started_is_done_before_the_end),
        cmocka_unit_test(test_a_job_that_hangs_is_left),
        cmocka_unit_test(test_no_thread_is_told),
    };
    return cmocka_run_group_tests_name("side thread", tests, NULL, NULL);
}
