/* SPDX-License-Identifier: Apache-2.0 */
/* A library with NVML's symbols and no GPU: what it answers is set by the variables below, which
 * the test finds with dlsym. For a whole daemon the file $NVML_STANDIN says it: a line "PID MIB
 * PERCENT" for each process of the one device, or "lost"; while it says "hang", nothing returns. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define VISIBLE __attribute__((visibility("default")))

struct process {
    unsigned pid;
    unsigned long long memory;
    unsigned gpu_instance;
    unsigned compute_instance;
};

struct utilization {
    unsigned pid;
    unsigned long long time_us;
    unsigned compute, memory, encoder, decoder;
};

VISIBLE int standin_init_answer;
VISIBLE unsigned standin_devices = 2;
VISIBLE unsigned standin_processes = 3;
VISIBLE int standin_failing_device = -1;
VISIBLE int standin_processes_answer[2]; /* instead of success, by device */
VISIBLE int standin_utilization_answer[2];
VISIBLE unsigned standin_started;
VISIBLE unsigned long long standin_since;
VISIBLE int standin_gate_fd = -1; /* the list of processes waits for a byte from it */

int nvmlInit_v2(void);
int nvmlShutdown(void);
int nvmlDeviceGetCount_v2(unsigned *count);
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **device);
int nvmlDeviceGetComputeRunningProcesses_v3(
    void *device, unsigned *count, struct process *processes);
int nvmlDeviceGetGraphicsRunningProcesses_v3(
    void *device, unsigned *count, struct process *processes);
int nvmlDeviceGetProcessUtilization(
    void *device, struct utilization *samples, unsigned *count, unsigned long long since);

VISIBLE int nvmlInit_v2(void)
{
    standin_started += standin_init_answer == 0;
    return standin_init_answer;
}

VISIBLE int nvmlShutdown(void)
{
    standin_started--;
    return 0;
}

#define SCRIPT_MAX 16

static struct script {
    unsigned pid, mib, percent;
} script[SCRIPT_MAX];

/* How many processes the file has; -1 = lost, -2 = there is no file, -3 = hang. */
static int script_look(void)
{
    const char *path = getenv("NVML_STANDIN");
    FILE *file = path ? fopen(path, "re") : NULL;
    char line[128];
    int n = 0;

    if (!file)
        return path ? 0 : -2;
    while (n >= 0 && n < SCRIPT_MAX && fgets(line, sizeof(line), file)) {
        struct script *next = &script[n];
        if (strncmp(line, "lost", 4) == 0)
            n = -1;
        else if (strncmp(line, "hang", 4) == 0)
            n = -3;
        else
            n += sscanf(line, "%u %u %u", &next->pid, &next->mib, &next->percent) == 3;
    }
    fclose(file);
    return n;
}

static int script_read(void)
{
    int n = script_look();

    while (n == -3) {
        usleep(10000);
        n = script_look();
    }
    return n;
}

static int script_processes(int n, unsigned *count, struct process *processes)
{
    unsigned room = *count;

    *count = n < 0 ? 0 : (unsigned)n;
    if (n < 0)
        return 15;
    for (unsigned i = 0; i < *count && i < room; i++)
        processes[i] = (struct process){.pid = script[i].pid,
            .memory = script[i].mib == 0 ? ~0ull : script[i].mib * 1048576ull};
    return *count > room ? 7 : 0;
}

static int script_utilization(int n, struct utilization *samples, unsigned *count)
{
    unsigned room = samples ? *count : 0;

    *count = n < 0 ? 0 : (unsigned)n;
    if (n <= 0)
        return n < 0 ? 15 : 6;
    for (unsigned i = 0; i < *count && i < room; i++)
        samples[i] =
            (struct utilization){.pid = script[i].pid, .time_us = 1, .compute = script[i].percent};
    return *count > room ? 7 : 0;
}

VISIBLE int nvmlDeviceGetCount_v2(unsigned *count)
{
    *count = getenv("NVML_STANDIN") ? 1 : standin_devices;
    return 0;
}

VISIBLE int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **device)
{
    *device = (void *)(unsigned long)(index + 1);
    return (int)index == standin_failing_device ? 15 : 0;
}

/* Device 1 computes: pids 100, 101, ...; of the last the memory is not available. */
VISIBLE int nvmlDeviceGetComputeRunningProcesses_v3(
    void *device, unsigned *count, struct process *processes)
{
    unsigned room = *count;
    int n = script_read(), failing = standin_processes_answer[(unsigned long)device - 1];
    char byte;

    if (standin_gate_fd >= 0 && device == (void *)1 && read(standin_gate_fd, &byte, 1) < 0)
        return 999;
    if (n > -2)
        return script_processes(n, count, processes);
    if (failing)
        return failing;
    *count = device == (void *)1 ? standin_processes : 0;
    if (*count > room)
        return 7;
    for (unsigned i = 0; i < *count; i++)
        processes[i] = (struct process){
            .pid = 100 + i, .memory = i + 1 == *count ? ~0ull : (i + 1) * 1048576ull};
    return 0;
}

/* Both draw: pid 100, more on device 1. */
VISIBLE int nvmlDeviceGetGraphicsRunningProcesses_v3(
    void *device, unsigned *count, struct process *processes)
{
    int n = script_read(), failing = standin_processes_answer[(unsigned long)device - 1];

    if (n > -2)
        return script_processes(n < 0 ? n : 0, count, processes);
    if (failing)
        return failing;
    if (*count < 1)
        return 7;
    *count = 1;
    processes[0] = (struct process){.pid = 100, .memory = device == (void *)1 ? 5 << 20 : 1 << 20};
    return 0;
}

VISIBLE int nvmlDeviceGetProcessUtilization(
    void *device, struct utilization *samples, unsigned *count, unsigned long long since)
{
    static const struct utilization answer[] = {{100, 1000, 40, 0, 0, 0}, {101, 1500, 10, 0, 0, 0},
        {100, 2000, 60, 0, 0, 0}, {0, 2500, 99, 0, 0, 0}};

    int n = script_read(), failing = standin_utilization_answer[(unsigned long)device - 1];

    standin_since = since;
    if (n > -2)
        return script_utilization(n, samples, count);
    if (failing)
        return failing;
    if (device != (void *)1)
        return 3; /* not supported */
    if (!samples) {
        *count = 4;
        return 7;
    }
    memcpy(samples, answer, sizeof(answer));
    *count = 4;
    return 0;
}
