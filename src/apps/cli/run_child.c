/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The command stays in our process group, so that the terminal speaks to it directly: Ctrl-C,
 * Ctrl-Z and changes of the window's size reach it without us. What the terminal sent (SI_KERNEL)
 * is therefore not passed on; what somebody sent to our pid is.
 */
#include "apps/cli/run_standalone.h"

#include <errno.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/io.h"

static const int passed_on[] = {
    SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGALRM, SIGCONT, SIGTSTP, SIGCHLD};

static void our_signals(sigset_t *ret_set)
{
    sigemptyset(ret_set);
    for (size_t i = 0; i < ARRAY_SIZE(passed_on); i++)
        sigaddset(ret_set, passed_on[i]);
}

int child_prepare(struct child_setting *ret_setting)
{
    const struct sigaction by_default = {.sa_handler = SIG_DFL}, ignored = {.sa_handler = SIG_IGN};
    sigset_t set;
    our_signals(&set);
    if (prctl(PR_SET_CHILD_SUBREAPER, 1) < 0)
        return -errno;
    /* With SIGCHLD ignored the kernel would throw the accounts of our children away. */
    sigaction(SIGCHLD, &by_default, &ret_setting->chld);
    sigaction(SIGPIPE, &ignored, &ret_setting->pipe);
    sigaction(SIGTSTP, NULL, &ret_setting->tstp);
    sigprocmask(SIG_BLOCK, &set, &ret_setting->mask);
    return 0;
}

__attribute__((noreturn)) static void become_command(
    const struct child_setting *setting, char *const *command, const char *id, int report_fd)
{
    sigaction(SIGCHLD, &setting->chld, NULL);
    sigaction(SIGPIPE, &setting->pipe, NULL);
    sigprocmask(SIG_SETMASK, &setting->mask, NULL);
    if (setenv("AGENTCORE_AGENT_ID", id, 1) == 0)
        execvp(command[0], command);
    int code = errno;
    io_write_all(report_fd, &code, sizeof(code));
    _exit(EXIT_NO_COMMAND);
}

int child_start(
    const struct child_setting *setting, char *const *command, const char *id, pid_t *ret_pid)
{
    int ends[2], code = 0;
    if (pipe2(ends, O_CLOEXEC) < 0)
        return -errno;
    int in cleanup_close = ends[0], out cleanup_close = ends[1];
    fflush(NULL);
    pid_t pid = fork();
    if (pid < 0)
        return -errno;
    if (pid == 0)
        become_command(setting, command, id, out);
    io_closep(&out);
    ssize_t n;
    do
        n = read(in, &code, sizeof(code));
    while (n < 0 && errno == EINTR);
    if (n == sizeof(code)) {
        waitpid(pid, NULL, 0);
        return -code;
    }
    *ret_pid = pid;
    return 0;
}

/* Stops as the default action of SIGTSTP does (not at all in an orphaned process group); returns
 * when somebody continues us. */
static void stop_here(const struct child_setting *setting)
{
    sigset_t stop;
    if (setting->tstp.sa_handler == SIG_IGN)
        return;
    sigemptyset(&stop);
    sigaddset(&stop, SIGTSTP);
    raise(SIGTSTP);
    sigprocmask(SIG_UNBLOCK, &stop, NULL);
    sigprocmask(SIG_BLOCK, &stop, NULL);
}

static bool in_foreground(pid_t pid)
{
    int tty cleanup_close = io_openat(AT_FDCWD, "/dev/tty", O_RDONLY | O_NOCTTY, 0);
    if (tty < 0)
        return false;
    pid_t group = tcgetpgrp(tty);
    return group > 0 && (group == getpgrp() || group == getpgid(pid));
}

/* A command that stopped itself (`suspend` of a shell, an editor's Ctrl-Z in a group of its own)
 * must not leave a terminal behind that nobody serves: we stop as well, and our shell sees it. */
static void follow_stop(const struct child_setting *setting, pid_t pid)
{
    siginfo_t info = {0};
    if (waitid(P_PID, (id_t)pid, &info, WSTOPPED | WNOHANG) < 0 || info.si_pid != pid)
        return;
    bool by_terminal =
        info.si_status == SIGTSTP || info.si_status == SIGTTIN || info.si_status == SIGTTOU;
    if (by_terminal && in_foreground(pid)) {
        stop_here(setting);
        kill(pid, SIGCONT);
    }
}

void child_wait(const struct child_setting *setting, pid_t pid, struct mono due)
{
    sigset_t set;
    siginfo_t info = {0};
    uint64_t left = mono_since(due, clock_mono());
    const struct timespec timeout = {(time_t)(left / NS_PER_SEC), (long)(left % NS_PER_SEC)};
    our_signals(&set);
    int number = sigtimedwait(&set, &info, &timeout);
    if (number < 0)
        return;
    if (number == SIGCHLD) {
        follow_stop(setting, pid);
        return;
    }
    bool from_terminal = info.si_code == SI_KERNEL;
    if (!from_terminal && info.si_pid != pid)
        kill(pid, number);
    if (number == SIGTSTP)
        stop_here(setting);
}

int child_reap(pid_t pid, struct meter *meter, int *ret_status)
{
    int ended = 0;
    for (;;) {
        struct rusage usage;
        int status;
        pid_t reaped = wait4(-1, &status, WNOHANG, &usage);
        if (reaped < 0 && errno == EINTR)
            continue;
        if (reaped < 0 && ended == 0)
            return -errno;
        if (reaped <= 0)
            return ended;
        if (meter)
            meter_reaped(meter, &usage);
        if (reaped == pid) {
            *ret_status = status;
            ended = 1;
        }
    }
}
