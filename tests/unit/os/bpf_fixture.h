/* SPDX-License-Identifier: Apache-2.0 */
/* A loaded BPF collector for the tests of one program, and its last sample. */
#ifndef AC_TESTS_BPF_FIXTURE_H
#define AC_TESTS_BPF_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <cmocka.h>

#include "os/bpf_collector.h"

#define MS NS_PER_MSEC

extern struct collector_source *collector;
extern struct sample sample;

int bpf_setup(void **state);
int bpf_teardown(void **state);

/* Prints a TAP plan that skips everything, with the reason, where there is no BPF. */
bool bpf_skip_all(void);

void read_sample(void);
const struct proc_record *find(pid_t pid);
const struct slot_record *slot_of(agent_slot slot);
uint64_t start_ticks(pid_t pid);
void adopt(agent_slot slot, pid_t pid);

/* A condition for eventually(): takes an agent_slot; ends when only zombies are left in it. */
bool no_member_left(void *argument);

/* Open descriptors of this process. */
uint32_t fds_of_self(void);

/* A workload that does nothing. */
void work_nothing(void *argument);

#endif
