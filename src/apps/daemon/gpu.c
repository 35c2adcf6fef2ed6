/* SPDX-License-Identifier: Apache-2.0 */
/*
 * GPU figures for each sample. The driver may be slow: it is asked once in 0.9 s at most, and after
 * an answer that took t not before 20 t; until then the last answer stands. After a device fell off
 * the bus everything is opened anew, once a minute until that works.
 */
#include "daemon_internal.h"

#include <string.h>

#include "base/mem.h"
#include "os/gpu_nvml.h"

#define PERIOD_NS   (9 * NS_PER_SEC / 10)
#define SLOW_FACTOR 20
#define REOPEN_NS   (60 * NS_PER_SEC)

struct daemon_gpu {
    struct gpu_nvml *nvml; /* NULL = it is lost */
    uint64_t due_ns;
    uint64_t reopen_ns;
    const struct gpu_process *processes;
    size_t n_processes;
    uint32_t known;
};

static int nvml_open(struct daemon *daemon, struct gpu_nvml **ret_nvml, struct ac_error *error)
{
    const char *library = daemon->config.gpu.library;
    return gpu_nvml_open(strcmp(library, "auto") == 0 ? NULL : library, ret_nvml, error);
}

void gpu_open(struct daemon *daemon)
{
    const char *library = daemon->config.gpu.library;
    struct ac_error error = {0};
    struct gpu_nvml *nvml = NULL;
    if (strcmp(library, "off") == 0)
        return;
    int r = nvml_open(daemon, &nvml, &error);
    if (r < 0) {
        log_event(strcmp(library, "auto") == 0 ? LOG_LEVEL_DEBUG : LOG_LEVEL_WARNING,
            "GPU use is unknown", log_str("library", library), log_str("reason", error.message));
        return;
    }
    daemon->gpu = mem_alloc(sizeof(*daemon->gpu));
    if (!daemon->gpu) {
        gpu_nvml_close(nvml);
        return;
    }
    daemon->gpu->nvml = nvml;
    log_event(LOG_LEVEL_INFO, "GPU use is metered", log_str("library", library),
        log_uint("devices", gpu_nvml_devices(nvml)));
}

void gpu_close(struct daemon *daemon)
{
    if (daemon->gpu)
        gpu_nvml_close(daemon->gpu->nvml);
    mem_free(daemon->gpu);
    daemon->gpu = NULL;
}

static void gpu_reopen(struct daemon *daemon, uint64_t now_ns)
{
    struct daemon_gpu *gpu = daemon->gpu;
    struct ac_error error = {0};
    gpu_nvml_close(gpu->nvml);
    gpu->nvml = NULL;
    int r = nvml_open(daemon, &gpu->nvml, &error);
    gpu->reopen_ns = r < 0 ? now_ns + REOPEN_NS : 0;
    log_event(r < 0 ? LOG_LEVEL_WARNING : LOG_LEVEL_INFO, "GPUs are looked for again",
        log_str("outcome", r < 0 ? error.message : "found"),
        log_uint("devices", gpu->nvml ? gpu_nvml_devices(gpu->nvml) : 0));
}

static void gpu_ask(struct daemon *daemon, uint64_t now_ns)
{
    struct daemon_gpu *gpu = daemon->gpu;
    gpu->n_processes = 0;
    gpu->known = 0;
    if (gpu->reopen_ns > 0 && now_ns >= gpu->reopen_ns)
        gpu_reopen(daemon, now_ns);
    if (!gpu->nvml)
        return;
    if (gpu_nvml_read(gpu->nvml, &gpu->processes, &gpu->n_processes) == 0)
        gpu->known = gpu_nvml_complete(gpu->nvml);
    if (gpu_nvml_device_lost(gpu->nvml) && gpu->reopen_ns == 0) {
        gpu->reopen_ns = now_ns + REOPEN_NS;
        log_plain(LOG_LEVEL_WARNING, "a GPU is lost: GPU use is unknown until it is left out");
    }
}

void gpu_fill(struct daemon *daemon, struct sample *sample)
{
    struct daemon_gpu *gpu = daemon->gpu;
    if (!gpu)
        return;
    uint64_t start = clock_mono().ns;
    if (start >= gpu->due_ns) {
        gpu_ask(daemon, start);
        gpu->due_ns = start + MAX(PERIOD_NS, (clock_mono().ns - start) * SLOW_FACTOR);
    }
    sample->gpus = gpu->processes;
    sample->n_gpus = gpu->n_processes;
    sample->gpus_known = gpu->known;
}
