/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The structs and numbers are those of NVML's published interface, as it has been since driver
 * 450; older libraries are refused by the missing function.
 */
#include "os/gpu_nvml.h"

#include <dlfcn.h>
#include <errno.h>
#include <string.h>

#include "base/mem.h"

#define NVML_SUCCESS           0
#define NVML_NOT_FOUND         6
#define NVML_INSUFFICIENT_SIZE 7
#define NVML_GPU_IS_LOST       15
#define NVML_NO_VALUE          UINT64_MAX
#define PROCESSES_FIRST        64u

typedef void *nvml_device;

/* nvmlProcessInfo_v2_t */
struct nvml_process {
    unsigned pid;
    unsigned long long memory;
    unsigned gpu_instance;
    unsigned compute_instance;
};

/* nvmlProcessUtilizationSample_t */
struct nvml_utilization {
    unsigned pid;
    unsigned long long time_us;
    unsigned compute;
    unsigned memory;
    unsigned encoder;
    unsigned decoder;
};

typedef int (*processes_call)(nvml_device device, unsigned *count, struct nvml_process *processes);

struct gpu_nvml {
    void *library;
    int (*init)(void);
    int (*shutdown)(void);
    int (*device_count)(unsigned *count);
    int (*device_handle)(unsigned index, nvml_device *device);
    int (*utilization)(nvml_device device, struct nvml_utilization *samples, unsigned *count,
        unsigned long long since_us);
    processes_call processes[2]; /* that compute, that draw */
    bool started;
    uint32_t n_devices;
    nvml_device devices[GPU_DEVICES_MAX];
    unsigned long long since_us[GPU_DEVICES_MAX];
    struct gpu_process *records;
    size_t n_records;
    size_t capacity;
    void *scratch; /* what the library fills */
    size_t scratch_bytes;
    uint64_t lost;
    uint32_t complete; /* enum gpu_known */
    bool device_lost;
};

/* ---- Opening */

struct symbol {
    const char *names[2]; /* the second where the first is missing */
    size_t offset;
    bool needed;
};

#define SYMBOL(member, needed, ...)                                                                \
    {                                                                                              \
        {__VA_ARGS__}, offsetof(struct gpu_nvml, member), needed                                   \
    }

static const struct symbol symbols[] = {
    SYMBOL(init, true, "nvmlInit_v2"),
    SYMBOL(shutdown, true, "nvmlShutdown"),
    SYMBOL(device_count, true, "nvmlDeviceGetCount_v2"),
    SYMBOL(device_handle, true, "nvmlDeviceGetHandleByIndex_v2"),
    SYMBOL(processes[0], true, "nvmlDeviceGetComputeRunningProcesses_v3",
        "nvmlDeviceGetComputeRunningProcesses_v2"),
    SYMBOL(processes[1], false, "nvmlDeviceGetGraphicsRunningProcesses_v3",
        "nvmlDeviceGetGraphicsRunningProcesses_v2"),
    SYMBOL(utilization, false, "nvmlDeviceGetProcessUtilization"),
};

static int symbols_find(struct gpu_nvml *gpu, struct ac_error *error)
{
    for (size_t i = 0; i < ARRAY_SIZE(symbols); i++) {
        const struct symbol *symbol = &symbols[i];
        void *found = dlsym(gpu->library, symbol->names[0]);
        if (!found && symbol->names[1])
            found = dlsym(gpu->library, symbol->names[1]);
        if (!found && symbol->needed)
            return error_set(
                error, -ENOSYS, "the NVML library is too old: it has no %s", symbol->names[0]);
        memcpy((char *)gpu + symbol->offset, &found, sizeof(found));
    }
    return 0;
}

static int devices_find(struct gpu_nvml *gpu, struct ac_error *error)
{
    unsigned count = 0;

    if (gpu->init() != NVML_SUCCESS)
        return error_set(error, -ENODEV, "NVML does not start: is the NVIDIA driver loaded?");
    gpu->started = true;
    if (gpu->device_count(&count) != NVML_SUCCESS || count == 0)
        return error_set(error, -ENODEV, "no NVIDIA device");
    for (unsigned i = 0; i < MIN(count, (unsigned)GPU_DEVICES_MAX); i++) {
        if (gpu->device_handle(i, &gpu->devices[i]) != NVML_SUCCESS)
            gpu->devices[i] = NULL;
    }
    gpu->n_devices = MIN(count, (unsigned)GPU_DEVICES_MAX);
    return 0;
}

static void gpu_closep(struct gpu_nvml **gpu)
{
    gpu_nvml_close(*gpu);
}

int gpu_nvml_open(const char *library, struct gpu_nvml **ret_gpu, struct ac_error *error)
{
    struct gpu_nvml *gpu CLEANUP(gpu_closep) = mem_alloc(sizeof(*gpu));

    if (!gpu)
        return error_errno(error, -ENOMEM, "cannot open NVML");
    gpu->library = dlopen(library ? library : "libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL);
    if (!gpu->library)
        return error_set(error, -ENOENT, "no NVML library: %s", dlerror());
    int r = symbols_find(gpu, error);
    if (r == 0)
        r = devices_find(gpu, error);
    if (r < 0)
        return r;
    *ret_gpu = TAKE_PTR(gpu);
    return 0;
}

void gpu_nvml_close(struct gpu_nvml *gpu)
{
    if (!gpu)
        return;
    if (gpu->started)
        gpu->shutdown();
    if (gpu->library)
        dlclose(gpu->library);
    mem_free(gpu->records);
    mem_free(gpu->scratch);
    mem_free(gpu);
}

uint32_t gpu_nvml_devices(const struct gpu_nvml *gpu)
{
    return gpu->n_devices;
}

uint64_t gpu_nvml_lost(const struct gpu_nvml *gpu)
{
    return gpu->lost;
}

uint32_t gpu_nvml_complete(const struct gpu_nvml *gpu)
{
    return gpu->complete;
}

bool gpu_nvml_device_lost(const struct gpu_nvml *gpu)
{
    return gpu->device_lost;
}

/* ---- Reading */

/* A device did not tell all of @what. */
static int incomplete(struct gpu_nvml *gpu, uint32_t what, int answer)
{
    gpu->complete &= ~what;
    gpu->device_lost |= answer == NVML_GPU_IS_LOST;
    return 0;
}

static int scratch_reserve(struct gpu_nvml *gpu, size_t count, size_t size)
{
    if (count * size <= gpu->scratch_bytes)
        return 0;
    void *larger = mem_resize_array(gpu->scratch, count, size);
    if (!larger)
        return -ENOMEM;
    gpu->scratch = larger;
    gpu->scratch_bytes = count * size;
    return 0;
}

/* The record of a process on a device, made where there is none; NULL without memory. */
static struct gpu_process *record_get(struct gpu_nvml *gpu, uint32_t device, unsigned pid)
{
    for (size_t i = gpu->n_records; i > 0 && gpu->records[i - 1].device == device; i--) {
        if (gpu->records[i - 1].pid == (int32_t)pid)
            return &gpu->records[i - 1];
    }
    if (gpu->n_records == gpu->capacity) {
        size_t capacity = MAX(gpu->capacity * 2, (size_t)PROCESSES_FIRST);
        struct gpu_process *larger = mem_resize_array(gpu->records, capacity, sizeof(*larger));
        if (!larger)
            return NULL;
        gpu->records = larger;
        gpu->capacity = capacity;
    }
    struct gpu_process *record = &gpu->records[gpu->n_records++];
    *record = (struct gpu_process){.pid = (int32_t)pid, .device = device};
    return record;
}

/* A process that computes and draws is in both lists with the same memory. */
static int add_processes(struct gpu_nvml *gpu, uint32_t device, unsigned count)
{
    const struct nvml_process *found = gpu->scratch;

    for (unsigned i = 0; i < count; i++) {
        struct gpu_process *record = record_get(gpu, device, found[i].pid);
        if (!record)
            return -ENOMEM;
        record->memory_hidden |= found[i].memory == NVML_NO_VALUE;
        if (found[i].memory == NVML_NO_VALUE)
            continue;
        record->memory_bytes = MAX(record->memory_bytes, (uint64_t)found[i].memory);
        record->known |= GPU_KNOWN_MEMORY;
    }
    return 0;
}

/* The library says how many there are by refusing a buffer that is too small. */
static int read_processes(struct gpu_nvml *gpu, uint32_t device, processes_call call)
{
    unsigned room = PROCESSES_FIRST;

    for (;;) {
        unsigned count = room;
        int r = scratch_reserve(gpu, room, sizeof(struct nvml_process));
        if (r < 0)
            return r;
        int answer = call(gpu->devices[device], &count, gpu->scratch);
        if (answer == NVML_SUCCESS)
            return add_processes(gpu, device, MIN(count, room));
        if (answer != NVML_INSUFFICIENT_SIZE)
            return incomplete(gpu, GPU_KNOWN_MEMORY, answer);
        if (room == GPU_PROCESSES_MAX) {
            gpu->lost += count > room ? count - room : 1;
            return incomplete(gpu, GPU_KNOWN_MEMORY, answer);
        }
        room = MIN(room * 4, (unsigned)GPU_PROCESSES_MAX);
    }
}

/* Means of the samples since the last read, which a process may have many of. */
static int add_utilization(struct gpu_nvml *gpu, uint32_t device, unsigned count)
{
    const struct nvml_utilization *samples = gpu->scratch;

    for (unsigned i = 0; i < count; i++) {
        unsigned times = 0, sum = 0;
        bool first = true;
        for (unsigned j = 0; j < count; j++) {
            if (samples[j].pid != samples[i].pid)
                continue;
            first &= j >= i;
            sum += MIN(samples[j].compute, 100u);
            times++;
        }
        gpu->since_us[device] = MAX(gpu->since_us[device], samples[i].time_us);
        if (!first || samples[i].pid == 0)
            continue;
        struct gpu_process *record = record_get(gpu, device, samples[i].pid);
        if (!record)
            return -ENOMEM;
        record->compute_percent = (double)sum / times;
        record->known |= GPU_KNOWN_COMPUTE;
    }
    return 0;
}

static int read_utilization(struct gpu_nvml *gpu, uint32_t device)
{
    unsigned count = 0;
    nvml_device handle = gpu->devices[device];

    if (!gpu->utilization)
        return incomplete(gpu, GPU_KNOWN_COMPUTE, NVML_SUCCESS);
    int answer = gpu->utilization(handle, NULL, &count, gpu->since_us[device]);
    if (answer == NVML_NOT_FOUND || answer == NVML_SUCCESS)
        return 0; /* nobody computed since */
    if (answer != NVML_INSUFFICIENT_SIZE)
        return incomplete(gpu, GPU_KNOWN_COMPUTE, answer);
    count = MIN(count, (unsigned)GPU_PROCESSES_MAX);
    int r = scratch_reserve(gpu, count, sizeof(struct nvml_utilization));
    if (r < 0)
        return r;
    unsigned room = count;
    answer = gpu->utilization(handle, gpu->scratch, &count, gpu->since_us[device]);
    if (answer != NVML_SUCCESS)
        return answer == NVML_NOT_FOUND ? 0 : incomplete(gpu, GPU_KNOWN_COMPUTE, answer);
    return add_utilization(gpu, device, MIN(count, room));
}

int gpu_nvml_read(struct gpu_nvml *gpu, const struct gpu_process **ret_processes, size_t *ret_count)
{
    gpu->n_records = 0;
    gpu->complete = GPU_KNOWN_MEMORY | GPU_KNOWN_COMPUTE;
    for (uint32_t device = 0; device < gpu->n_devices; device++) {
        int r = 0;
        if (!gpu->devices[device])
            continue;
        for (size_t i = 0; r == 0 && i < ARRAY_SIZE(gpu->processes); i++) {
            if (gpu->processes[i])
                r = read_processes(gpu, device, gpu->processes[i]);
        }
        if (r == 0)
            r = read_utilization(gpu, device);
        if (r < 0) {
            gpu->complete = 0;
            return r;
        }
    }
    *ret_processes = gpu->records;
    *ret_count = gpu->n_records;
    return 0;
}
