/* SPDX-License-Identifier: Apache-2.0 */
/* A crowd of sleeping processes in agents of equal size, children of the caller. */
#ifndef AC_BENCH_CROWD_H
#define AC_BENCH_CROWD_H

#include <stddef.h>
#include <sys/types.h>

struct crowd {
    pid_t *pids; /* all: each agent's first process leads its others */
    pid_t *roots;
    size_t n_pids;
    size_t n_agents;
};

/* Starts @n_processes in @n_agents; returns when all sleep. Ends the program on failure. */
void crowd_start(struct crowd *ret_crowd, size_t n_processes, size_t n_agents);
void crowd_stop(struct crowd *crowd);

#endif
