/* SPDX-License-Identifier: Apache-2.0 */
/* The choice of the collector: whichever it falls on watches agents between two samples. */
#include "engine/collector.h"

#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fault.h"
#include "base/io.h"
#include "base/mem.h"
#include "os/procfs.h"

#define MAX_AGENTS 4
#define NOBODY     65534

static const struct procfs_options options = {.processes = true};

static pid_t child_start(uint64_t *ret_start_ticks)
{
    int proc_fd cleanup_close = io_openat(AT_FDCWD, "/proc", O_RDONLY | O_DIRECTORY, 0);
    pid_t child = fork();

    if (child == 0) {
        for (;;)
            pause();
    }
    assert_true(child > 0);
    assert_int_equal(procfs_start_ticks(proc_fd, child, ret_start_ticks), 0);
    return child;
}

/* Other descriptors' events may come before: a sample was taken, a look is due. */
static bool wakes(struct collector_source *source)
{
    struct pollfd event = {.fd = source->ops->event_fd(source), .events = POLLIN};

    for (int i = 0; i < 100; i++) {
        if (poll(&event, 1, 20000) != 1)
            return false;
        if (source->ops->handle_events(source) == 1)
            return true;
    }
    return false;
}

/* The end of an agent's first process asks for a sample, by any of them. */
static void check_watches(struct collector_source *source)
{
    struct sample sample;
    uint64_t ticks = 0;

    assert_non_null(source->ops->event_fd);
    assert_non_null(source->ops->watch_group);
    assert_true(source->ops->event_fd(source) >= 0);
    pid_t child = child_start(&ticks);
    assert_int_equal(source->ops->read(source, &sample), 0);
    assert_int_equal(source->ops->adopt(source, MAX_AGENTS, child, ticks), 0);
    kill(child, SIGKILL);
    assert_true(wakes(source));
    waitpid(child, NULL, 0);
    source->ops->release(source, MAX_AGENTS);
}

static void check_choice(enum config_collector wanted, const char *name, const char *why)
{
    struct collector_source *source = NULL;
    char reason[COLLECTOR_REASON_MAX] = "";
    struct ac_error error = {.message = ""};

    int r = collector_open(wanted, &options, MAX_AGENTS, &source, reason, &error);
    if (r < 0)
        fail_msg("%s", error.message);
    if (name)
        assert_string_equal(source->ops->name, name);
    if (why)
        assert_non_null(strstr(reason, why));
    assert_true(reason[0] != '\0');
    check_watches(source);
    source->ops->free(source);
}

static void test_the_best_there_is_watches_agents(void **state)
{
    (void)state;
    check_choice(CONFIG_COLLECTOR_AUTO, NULL, NULL);
}

static void test_a_collector_that_is_asked_for_watches_agents(void **state)
{
    (void)state;
    check_choice(CONFIG_COLLECTOR_PROCFS, "procfs", "the configuration asks for it");
}

/* Every way to fail ends in a worse collector or in an error that says why. */
static void test_every_failure_falls_back_or_is_told(void **state)
{
    (void)state;
    for (int kind = FAULT_ALLOC; kind <= FAULT_SYSCALL; kind++) {
        for (unsigned n = 1;; n++) {
            struct collector_source *source = NULL;
            char reason[COLLECTOR_REASON_MAX] = "";
            struct ac_error error = {.message = ""};
            fault_arm(kind, n);
            int r = collector_open(
                CONFIG_COLLECTOR_AUTO, &options, MAX_AGENTS, &source, reason, &error);
            bool hit = fault_disarm();
            if (r < 0) {
                assert_non_null(strstr(error.message, "no procfs: "));
            } else {
                assert_true(source->ops->event_fd(source) >= 0);
                assert_true(strcmp(source->ops->name, "bpf") == 0 || strstr(reason, "no bpf: "));
                source->ops->free(source);
            }
            if (!hit)
                break;
        }
    }
}

/* The last test: nothing gives privileges back. */
static void test_plain_procfs_watches_agents_too(void **state)
{
    (void)state;
    if (geteuid() == 0) {
        assert_int_equal(setresgid(NOBODY, NOBODY, NOBODY), 0);
        assert_int_equal(setresuid(NOBODY, NOBODY, NOBODY), 0);
        prctl(PR_SET_DUMPABLE, 1); /* for the sanitizers */
    }
    check_choice(CONFIG_COLLECTOR_AUTO, "procfs", "no procfs+netlink: ");
    struct collector_source *source = NULL;
    char reason[COLLECTOR_REASON_MAX];
    struct ac_error error;
    assert_true(
        collector_open(CONFIG_COLLECTOR_BPF, &options, MAX_AGENTS, &source, reason, &error) < 0);
    assert_non_null(strstr(error.message, "collector: bpf: no CAP_BPF"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_best_there_is_watches_agents),
        cmocka_unit_test(test_a_collector_that_is_asked_for_watches_agents),
        cmocka_unit_test(test_every_failure_falls_back_or_is_told),
        cmocka_unit_test(test_plain_procfs_watches_agents_too),
    };

    return cmocka_run_group_tests_name("collector", tests, NULL, NULL);
}
