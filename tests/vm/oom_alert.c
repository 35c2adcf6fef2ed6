/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From an OOM kill in an agent's cgroup to its alert, through the whole daemon: argv[1] is
 * agentcored, argv[2] agentcore. The daemon ticks every ten seconds here, so that only an event
 * can bring the alert sooner. Wants cgroup v2 with the memory controller; prints TAP.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define SOCKET   "/tmp/oom-alert.socket"
#define READY    "/tmp/oom-alert.ready"
#define LIMIT    "25165824"
#define EAT      (64u << 20)
#define BOUND_MS 1000 /* an emulated machine is ten times slower than a real one */

static const char *daemon_path;
static const char *client_path;

static double now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static int give_up(const char *what)
{
    printf("not ok 1 - an OOM kill becomes an alert at once\n# %s\n", what);
    return 1;
}

static volatile sig_atomic_t hog_may;

static void hog_go(int signal_number)
{
    hog_may = signal_number;
}

/* What the agent runs: says that it is there, waits until it may, then eats. */
static int hog(void)
{
    signal(SIGUSR1, hog_go);
    close(open(READY, O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
    while (!hog_may)
        poll(NULL, 0, 10);
    char *memory = mmap(NULL, EAT, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memset(memory, 1, EAT);
    return 0;
}

static pid_t start(char *const *arguments, int *ret_output)
{
    int ends[2] = {-1, -1};

    if (ret_output && pipe(ends) < 0)
        return -1;
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        if (ret_output)
            dup2(ends[1], STDOUT_FILENO);
        execv(arguments[0], arguments);
        _exit(127);
    }
    if (ret_output) {
        close(ends[1]);
        *ret_output = ends[0];
    }
    return pid;
}

static bool wait_for(bool (*condition)(void))
{
    for (double end = now_ms() + 30000; now_ms() < end; poll(NULL, 0, 20)) {
        if (condition())
            return true;
    }
    return false;
}

static bool daemon_listens(void)
{
    return access(SOCKET, F_OK) == 0;
}

static char group[512];

/* The daemon's groups are /sys/fs/cgroup/agentcore-.../ID. */
static bool group_is_there(void)
{
    DIR *dir = opendir("/sys/fs/cgroup");
    const struct dirent *entry;
    bool found = false;

    while (!found && dir && (entry = readdir(dir))) {
        if (strncmp(entry->d_name, "agentcore-", 10) != 0)
            continue;
        snprintf(group, sizeof(group), "/sys/fs/cgroup/%s/hog", entry->d_name);
        found = access(group, F_OK) == 0;
    }
    if (dir)
        closedir(dir);
    return found;
}

static bool group_write(const char *file, const char *text)
{
    char path[600];
    snprintf(path, sizeof(path), "%s/%s", group, file);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    bool ok = fd >= 0 && write(fd, text, strlen(text)) > 0;

    if (fd >= 0)
        close(fd);
    return ok;
}

static bool hog_is_ready(void)
{
    return access(READY, F_OK) == 0;
}

static bool hog_is_in(void)
{
    char path[600], text[64] = "";
    snprintf(path, sizeof(path), "%s/cgroup.procs", group);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, text, sizeof(text) - 1) : 0;

    if (fd >= 0)
        close(fd);
    return n > 0;
}

/* Reads events until the alert. Returns its time, or 0. */
static double alert_time(int events)
{
    static char text[65536];
    size_t used = 0;
    struct pollfd event = {.fd = events, .events = POLLIN};

    for (double end = now_ms() + 20000; now_ms() < end && used < sizeof(text) - 1;) {
        if (poll(&event, 1, 100) <= 0)
            continue;
        ssize_t n = read(events, text + used, sizeof(text) - 1 - used);
        if (n <= 0)
            break;
        used += (size_t)n;
        text[used] = '\0';
        if (strstr(text, "oom_kill"))
            return now_ms();
    }
    printf("# events: %.800s\n", text);
    return 0;
}

static int run(pid_t hog_pid, int events)
{
    int status;

    if (!wait_for(group_is_there) || !wait_for(hog_is_in) || !wait_for(hog_is_ready))
        return give_up("the agent has no cgroup");
    if (!group_write("memory.max", LIMIT))
        return give_up("memory.max cannot be set");
    (void)group_write("memory.swap.max", "0");
    kill(hog_pid, SIGUSR1);
    if (waitpid(hog_pid, &status, 0) != hog_pid || !WIFSIGNALED(status) ||
        WTERMSIG(status) != SIGKILL)
        return give_up("the agent was not killed");
    double killed = now_ms();
    double told = alert_time(events);
    if (told == 0)
        return give_up("no alert came");
    printf("# the alert came %.1f ms after the agent was dead, at a tick of 10 s\n", told - killed);
    if (told - killed > BOUND_MS)
        return give_up("the alert came late");
    printf("ok 1 - an OOM kill becomes an alert at once\n");
    return 0;
}

int main(int argc, char **argv)
{
    int events, failed = 1;

    if (argc == 2 && strcmp(argv[1], "--hog") == 0)
        return hog();
    daemon_path = argc > 2 ? argv[1] : "/opt/agentcored";
    client_path = argc > 2 ? argv[2] : "/opt/agentcore";
    if (access("/sys/fs/cgroup/cgroup.controllers", F_OK) < 0) {
        printf("1..0 # SKIP no cgroup v2 mount\n");
        return 0;
    }
    printf("1..1\n");
    pid_t agentcored = start((char *[]){(char *)daemon_path, "--socket", SOCKET, "--state", "none",
                                 "--interval", "10s", NULL},
        NULL);
    if (!wait_for(daemon_listens))
        return give_up("the daemon does not start");
    pid_t watch = start(
        (char *[]){(char *)client_path, "--socket", SOCKET, "watch", "--json", NULL}, &events);
    poll(NULL, 0, 1000);
    pid_t agent = start((char *[]){(char *)client_path, "--socket", SOCKET, "run", "--id", "hog",
                            "--", argv[0], "--hog", NULL},
        NULL);
    failed = run(agent, events);
    kill(watch, SIGKILL);
    kill(agent, SIGKILL);
    kill(agentcored, SIGTERM);
    while (wait(NULL) > 0) {
    }
    return failed;
}
