/* SPDX-License-Identifier: Apache-2.0 */
/* A library with NVML's symbols and no GPU: what it answers is set by the variables below, which
 * the test finds with dlsym. */
#include <string.h>

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
VISIBLE unsigned standin_started;
VISIBLE unsigned long long standin_since;

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

VISIBLE int nvmlDeviceGetCount_v2(unsigned *count)
{
    *count = standin_devices;
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

    standin_since = since;
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
