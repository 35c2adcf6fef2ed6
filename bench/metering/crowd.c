/* SPDX-License-Identifier: Apache-2.0 */
#include "crowd.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

static atomic_size_t *arrived;

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static void sleep_for_ever(size_t number)
{
    char name[16];
    /* Something of its own, as real processes have: a quarter of a megabyte. */
    char *memory = malloc(256u << 10);

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    snprintf(name, sizeof(name), "crowd-%zu", number);
    prctl(PR_SET_NAME, name);
    if (memory)
        memset(memory, 1, 256u << 10);
    atomic_fetch_add(arrived, 1);
    for (;;)
        pause();
}

static void lead(pid_t *pids, size_t count, size_t number)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (size_t i = 1; i < count; i++) {
        pid_t pid = fork();
        if (pid < 0)
            die("fork");
        if (pid == 0)
            sleep_for_ever(number);
        pids[i] = pid;
    }
    sleep_for_ever(number);
}

void crowd_start(struct crowd *ret_crowd, size_t n_processes, size_t n_agents)
{
    size_t each = n_processes / n_agents;
    struct crowd crowd = {.n_pids = each * n_agents, .n_agents = n_agents};

    arrived =
        mmap(NULL, sizeof(*arrived), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    crowd.pids = mmap(NULL, crowd.n_pids * sizeof(pid_t), PROT_READ | PROT_WRITE,
        MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    crowd.roots = calloc(n_agents, sizeof(pid_t));
    if (arrived == MAP_FAILED || crowd.pids == MAP_FAILED || !crowd.roots)
        die("crowd");
    for (size_t agent = 0; agent < n_agents; agent++) {
        pid_t *pids = crowd.pids + agent * each;
        pid_t pid = fork();
        if (pid < 0)
            die("fork");
        if (pid == 0)
            lead(pids, each, agent);
        pids[0] = crowd.roots[agent] = pid;
    }
    while (atomic_load(arrived) < crowd.n_pids)
        usleep(10000);
    *ret_crowd = crowd;
}

void crowd_stop(struct crowd *crowd)
{
    for (size_t i = 0; i < crowd->n_pids; i++)
        kill(crowd->pids[i], SIGKILL);
    while (wait(NULL) > 0) {
    }
    free(crowd->roots);
}
