/* SPDX-License-Identifier: Apache-2.0 */
#include "bpf_fixture.h"

#include <dirent.h>
#include <stdio.h>

#include "base/io.h"
#include "os/procfs.h"
#include "workload.h"

struct collector_source *collector;
struct sample sample;

int bpf_setup(void **state)
{
    struct bpf_options options = {.max_slot = 64};
    struct ac_error error;

    (void)state;
    if (bpf_collector_new(&options, &collector, &error) == 0)
        return 0;
    print_message("# %s\n", error.message);
    return -1;
}

int bpf_teardown(void **state)
{
    (void)state;
    if (collector)
        collector->ops->free(collector);
    collector = NULL;
    return 0;
}

void read_sample(void)
{
    assert_int_equal(collector->ops->read(collector, &sample), 0);
}

const struct proc_record *find(pid_t pid)
{
    for (size_t i = 0; i < sample.n_procs; i++) {
        if (sample.procs[i].pid == pid)
            return &sample.procs[i];
    }
    return NULL;
}

const struct slot_record *slot_of(agent_slot slot)
{
    for (size_t i = 0; i < sample.n_slots; i++) {
        if (sample.slots[i].slot == slot)
            return &sample.slots[i];
    }
    return NULL;
}

uint64_t start_ticks(pid_t pid)
{
    uint64_t ticks = 0;
    int fd cleanup_close = io_openat(AT_FDCWD, "/proc", O_RDONLY | O_DIRECTORY, 0);

    assert_int_equal(procfs_start_ticks(fd, pid, &ticks), 0);
    return ticks;
}

void adopt(agent_slot slot, pid_t pid)
{
    assert_int_equal(collector->ops->adopt(collector, slot, pid, start_ticks(pid)), 0);
}

bool no_member_left(void *argument)
{
    agent_slot slot = *(agent_slot *)argument;

    read_sample();
    for (size_t i = 0; i < sample.n_procs; i++) {
        if (sample.procs[i].slot == slot && sample.procs[i].state != 'Z')
            return false;
    }
    return true;
}

bool bpf_skip_all(void)
{
    struct ac_error error;

    if (bpf_usable(&error) == 0)
        return false;
    printf("1..0 # SKIP %s\n", error.message);
    return true;
}

uint32_t fds_of_self(void)
{
    DIR *dir = opendir("/proc/self/fd");
    uint32_t count = 0;

    while (readdir(dir))
        count++;
    closedir(dir);
    return count - 3; /* ".", "..", and the directory itself */
}

void work_nothing(void *argument)
{
    (void)argument;
}
