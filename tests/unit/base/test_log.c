/* SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "base/fault.h"
#include "base/io.h"

static char logged[40000];

/* Runs a statement and puts what it logged into `logged`, for lines of the journal's form. */
#define CAPTURE(statement)                                                                         \
    do {                                                                                           \
        int capture_fd = capture_start();                                                          \
        statement;                                                                                 \
        capture_end(capture_fd);                                                                   \
    } while (0)

static int saved_stderr;

static int capture_start(void)
{
    int fd = memfd_create("log", MFD_CLOEXEC);
    assert_true(fd >= 0);
    fflush(stderr);
    saved_stderr = dup(STDERR_FILENO);
    dup2(fd, STDERR_FILENO);
    return fd;
}

static void capture_end(int fd)
{
    dup2(saved_stderr, STDERR_FILENO);
    close(saved_stderr);
    memset(logged, 0, sizeof(logged));
    assert_true(io_read_again(fd, logged, sizeof(logged)) >= 0);
    close(fd);
}

static int use_journal_form(void **state)
{
    (void)state;
    log_set_level(LOG_LEVEL_INFO);
    return setenv("JOURNAL_STREAM", "8:1", 1);
}

static void fields_of_every_kind(void **state)
{
    (void)state;
    CAPTURE(log_event(LOG_LEVEL_WARNING, "agent started", log_str("agent", "a-1"),
        log_int("pid", -5), log_uint("bytes", UINT64_MAX), log_real("share", 0.25),
        log_real("unknown", NAN), log_str("none", NULL)));
    assert_string_equal(logged, "<4>msg=\"agent started\" agent=a-1 pid=-5 "
                                "bytes=18446744073709551615 share=0.25 unknown=- none=-\n");
    CAPTURE(log_plain(LOG_LEVEL_ERROR, "bad"));
    assert_string_equal(logged, "<3>msg=bad\n");
}

static void hostile_values_stay_on_their_line(void **state)
{
    (void)state;
    CAPTURE(log_event(LOG_LEVEL_INFO, "m", log_str("a", "x\n<3>msg=forged"), log_str("b", ""),
        log_str("c", "say \"hi\" \\"), log_str("d", "k=v"), log_str("e", "\x1b[31m\x7f\t")));
    assert_string_equal(logged, "<6>msg=m a=\"x\\x0a<3>msg=forged\" b=\"\" "
                                "c=\"say \\\"hi\\\" \\\\\" d=\"k=v\" "
                                "e=\"\\x1b[31m\\x7f\\x09\"\n");
}

static void lines_below_the_level_are_dropped(void **state)
{
    (void)state;
    CAPTURE(log_plain(LOG_LEVEL_DEBUG, "hidden"));
    assert_string_equal(logged, "");
    log_set_level(LOG_LEVEL_DEBUG);
    CAPTURE(log_plain(LOG_LEVEL_DEBUG, "shown"));
    assert_string_equal(logged, "<7>msg=shown\n");
    log_set_level(LOG_LEVEL_ERROR);
    CAPTURE(log_plain(LOG_LEVEL_WARNING, "hidden"));
    assert_string_equal(logged, "");
}

/* A line that fills the buffer to its last byte was once dropped whole. */
static void long_lines_are_cut_not_lost(void **state)
{
    (void)state;
    static char text[20001];
    for (int quoted = 0; quoted < 2; quoted++) {
        memset(text, 'x', sizeof(text) - 1);
        text[0] = quoted ? ' ' : 'x';
        CAPTURE(log_event(LOG_LEVEL_INFO, "long", log_str("text", text)));
        size_t length = strlen(logged);
        assert_true(length > 8 && length < 16500);
        assert_memory_equal(logged, "<6>msg=long", 11);
        assert_string_equal(logged + length - 4, "...\n");
    }
}

static void outside_the_journal_lines_have_time_and_level(void **state)
{
    (void)state;
    unsetenv("JOURNAL_STREAM");
    CAPTURE(log_plain(LOG_LEVEL_INFO, "hello"));
    int year, month, day, hour, minute, end = 0;
    double second;
    assert_int_equal(sscanf(logged, "%4d-%2d-%2dT%2d:%2d:%lfZ info msg=hello%n", &year, &month,
                         &day, &hour, &minute, &second, &end),
        6);
    assert_string_equal(logged + end, "\n");
}

static void no_memory_drops_a_line_and_nothing_else(void **state)
{
    (void)state;
    fault_arm(FAULT_ALLOC, 1);
    CAPTURE(log_plain(LOG_LEVEL_INFO, "first"));
    assert_true(fault_disarm());
    CAPTURE(log_plain(LOG_LEVEL_INFO, "second"));
    assert_string_equal(logged, "<6>msg=second\n");
}

static void level_names_go_both_ways(void **state)
{
    (void)state;
    for (int i = LOG_LEVEL_ERROR; i <= LOG_LEVEL_DEBUG; i++) {
        enum log_level level = (enum log_level)99;
        assert_int_equal(log_level_from_name(log_level_name((enum log_level)i), &level), 0);
        assert_int_equal(level, i);
    }
    enum log_level kept = LOG_LEVEL_WARNING;
    assert_int_equal(log_level_from_name("Info", &kept), -EINVAL);
    assert_int_equal(log_level_from_name("", &kept), -EINVAL);
    assert_int_equal(kept, LOG_LEVEL_WARNING);
    assert_string_equal(log_level_name((enum log_level)99), "unknown");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(fields_of_every_kind, use_journal_form),
        cmocka_unit_test_setup(hostile_values_stay_on_their_line, use_journal_form),
        cmocka_unit_test_setup(lines_below_the_level_are_dropped, use_journal_form),
        cmocka_unit_test_setup(long_lines_are_cut_not_lost, use_journal_form),
        cmocka_unit_test_setup(outside_the_journal_lines_have_time_and_level, use_journal_form),
        cmocka_unit_test_setup(no_memory_drops_a_line_and_nothing_else, use_journal_form),
        cmocka_unit_test_setup(level_names_go_both_ways, use_journal_form),
    };
    return cmocka_run_group_tests_name("base/log", tests, NULL, NULL);
}
