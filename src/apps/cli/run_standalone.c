/* SPDX-License-Identifier: Apache-2.0 */
#include "apps/cli/run_standalone.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "apps/cli/run_forks.h"

#define SETTLE_NS    (100 * NS_PER_MSEC) /* what is about to end anyway is no orphan */
#define TERM_NS      (2 * NS_PER_SEC)    /* between SIGTERM and SIGKILL */
#define KILL_NS      (2 * NS_PER_SEC)    /* after which an unkillable process is left alone */
#define KILL_STEP_NS (20 * NS_PER_MSEC)
#define KILL_BATCH   256

struct running {
    struct child_setting setting;
    pid_t pid;
    struct forks *forks; /* NULL where this user may not count them */
    struct meter *meter; /* NULL where this machine lets nothing be measured */
    bool ended;          /* the command has */
    int status;
};

static int exit_code_of(int status)
{
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

static void running_sample(struct running *running)
{
    if (running->meter)
        meter_sample(running->meter);
}

/* Reaps; remembers how the command ended. Returns -ECHILD where nothing is left to wait for. */
static int running_reap(struct running *running)
{
    int status, r = child_reap(running->pid, running->meter, &status);
    if (r == 1) {
        running->ended = true;
        running->status = status;
    }
    return r;
}

static void run_to_end(struct running *running)
{
    while (!running->ended) {
        struct mono due = {clock_mono().ns + NS_PER_SEC};
        if (running->meter)
            due = meter_due(running->meter);
        if (mono_since(due, clock_mono()) > 0)
            child_wait(&running->setting, running->pid, due);
        else
            running_sample(running);
        if (running_reap(running) == -ECHILD)
            return;
    }
}

/* Gives what is ending the time to end. Returns whether anything is left. */
static bool settle(struct running *running)
{
    struct mono end = {clock_mono().ns + SETTLE_NS};
    for (;;) {
        if (running_reap(running) == -ECHILD)
            return false;
        struct mono now = clock_mono();
        if (now.ns >= end.ns)
            return true;
        child_wait(&running->setting, running->pid, (struct mono){now.ns + SETTLE_NS / 20});
    }
}

static void signal_all(const struct running *running, int number)
{
    struct meter_process living[KILL_BATCH];
    size_t n = running->meter ? meter_living(running->meter, living, KILL_BATCH) : 0;
    for (size_t i = 0; i < n && i < KILL_BATCH; i++)
        kill(living[i].pid, number);
}

/* Signals every descendant until none is left or the time is over: what forks meanwhile is found
 * by the next sample. Only children of ours vanish by being reaped here, so a pid of the sample
 * is not somebody else's by now unless its parent reaped it within this step. */
static bool end_all(struct running *running, int number, uint64_t time_ns)
{
    struct mono end = {clock_mono().ns + time_ns};
    bool again = true;
    while (clock_mono().ns < end.ns) {
        running_sample(running);
        if (again || number == SIGKILL)
            signal_all(running, number);
        again = false;
        struct mono step_end = {clock_mono().ns + KILL_STEP_NS};
        while (clock_mono().ns < step_end.ns) {
            if (running_reap(running) == -ECHILD)
                return true;
            child_wait(&running->setting, running->pid, step_end);
        }
    }
    return running_reap(running) == -ECHILD;
}

static void deal_with_orphans(
    struct running *running, const struct standalone *run, struct standalone_result *result)
{
    if (!settle(running))
        return;
    running_sample(running);
    result->orphans = running->meter ? meter_living(running->meter, NULL, 0) : 0;
    if (!run->kill_orphans || result->orphans == 0)
        return;
    if (!end_all(running, SIGTERM, TERM_NS))
        end_all(running, SIGKILL, KILL_NS);
    running_sample(running);
    size_t alive = meter_living(running->meter, NULL, 0);
    result->killed = result->orphans > alive ? result->orphans - alive : 0;
}

static void finish(
    struct running *running, const struct standalone *run, struct standalone_result *result)
{
    deal_with_orphans(running, run, result);
    result->exit_code = exit_code_of(running->status);
    if (!running->meter)
        return;
    running_sample(running);
    meter_totals(running->meter, &result->totals);
    result->metered = true;
    size_t n = meter_living(running->meter, result->left, ARRAY_SIZE(result->left));
    result->n_left = MIN(n, ARRAY_SIZE(result->left));
}

static void report(
    const struct cli *cli, const struct standalone *run, const struct standalone_result *result)
{
    if (cli->common.json)
        report_json(run, result);
    else if (!run->quiet)
        report_people(cli, run, result);
}

static int cannot_start(
    const struct cli *cli, const struct standalone *run, int r, struct standalone_result *result)
{
    result->exit_code = r == -ENOENT ? EXIT_NO_COMMAND : EXIT_CANNOT_RUN;
    cli_fail(cli, 0, "%s: %s", run->command[0], strerror(-r));
    if (cli->common.json)
        report_json(run, result);
    return result->exit_code;
}

int run_standalone(struct cli *cli, struct standalone *run)
{
    struct running running = {0};
    struct standalone_result result = {0};
    struct ac_error error = {0};
    struct moment start = clock_moment();
    int r = child_prepare(&running.setting);
    if (r < 0)
        return cli_fail(cli, EXIT_FAILED, "cannot become a subreaper: %s", strerror(-r));
    forks_open(&running.forks);
    r = child_start(&running.setting, run->command, run->spec.id, &running.pid);
    if (r < 0) {
        forks_free(running.forks);
        return cannot_start(cli, run, r, &result);
    }
    run->spec.root_pid = running.pid;
    result.started = true;
    if (meter_new(&run->spec, running.forks, &running.meter, &error) < 0)
        cli_fail(cli, 0, "%s; the command runs unmetered", error.message);
    run_to_end(&running);
    result.wall_seconds = (double)moment_since(clock_moment(), start) / (double)NS_PER_SEC;
    finish(&running, run, &result);
    report(cli, run, &result);
    meter_free(running.meter);
    forks_free(running.forks);
    return result.exit_code;
}
