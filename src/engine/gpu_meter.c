/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/gpu_meter.h"

#include <errno.h>
#include <string.h>

#include "base/mem.h"
#include "os/gpu_nvml.h"

#define PERIOD_NS   (9 * NS_PER_SEC / 10)
#define SLOW_FACTOR 20
#define REOPEN_NS   (60 * NS_PER_SEC)

struct gpu_meter {
    struct gpu_nvml *nvml; /* NULL = it is lost */
    char *library;         /* NULL = the usual one */
    uint64_t due_ns;
    uint64_t reopen_ns;
    const struct gpu_process *processes;
    size_t n_processes;
    uint32_t known;
};

int gpu_meter_open(const char *library, struct gpu_meter **ret_meter, struct ac_error *error)
{
    struct gpu_meter *meter = mem_alloc(sizeof(*meter));
    bool named = strcmp(library, "auto") != 0;
    if (meter && named)
        meter->library = mem_strdup(library);
    if (!meter || (named && !meter->library)) {
        gpu_meter_close(meter);
        return error_errno(error, -ENOMEM, "GPU use");
    }
    int r = gpu_nvml_open(meter->library, &meter->nvml, error);
    if (r < 0) {
        gpu_meter_close(meter);
        return r;
    }
    *ret_meter = meter;
    return 0;
}

void gpu_meter_close(struct gpu_meter *meter)
{
    if (!meter)
        return;
    gpu_nvml_close(meter->nvml);
    mem_free(meter->library);
    mem_free(meter);
}

uint32_t gpu_meter_devices(const struct gpu_meter *meter)
{
    return meter && meter->nvml ? gpu_nvml_devices(meter->nvml) : 0;
}

static enum gpu_news reopen(struct gpu_meter *meter, uint64_t now_ns, struct ac_error *error)
{
    gpu_nvml_close(meter->nvml);
    meter->nvml = NULL;
    int r = gpu_nvml_open(meter->library, &meter->nvml, error);
    meter->reopen_ns = r < 0 ? now_ns + REOPEN_NS : 0;
    return r < 0 ? GPU_NEWS_MISSING : GPU_NEWS_FOUND;
}

static enum gpu_news ask(struct gpu_meter *meter, uint64_t now_ns, struct ac_error *error)
{
    enum gpu_news news = GPU_NEWS_NONE;
    meter->n_processes = 0;
    meter->known = 0;
    if (meter->reopen_ns > 0 && now_ns >= meter->reopen_ns)
        news = reopen(meter, now_ns, error);
    if (!meter->nvml)
        return news;
    if (gpu_nvml_read(meter->nvml, &meter->processes, &meter->n_processes) == 0)
        meter->known = gpu_nvml_complete(meter->nvml);
    if (!gpu_nvml_device_lost(meter->nvml) || meter->reopen_ns > 0)
        return news;
    meter->reopen_ns = now_ns + REOPEN_NS;
    return GPU_NEWS_LOST;
}

enum gpu_news gpu_meter_fill(struct gpu_meter *meter, struct sample *sample, struct ac_error *error)
{
    enum gpu_news news = GPU_NEWS_NONE;
    if (!meter)
        return news;
    uint64_t start = clock_mono().ns;
    if (start >= meter->due_ns) {
        news = ask(meter, start, error);
        meter->due_ns = start + MAX(PERIOD_NS, (clock_mono().ns - start) * SLOW_FACTOR);
    }
    sample->gpus = meter->processes;
    sample->n_gpus = meter->n_processes;
    sample->gpus_known = meter->known;
    return news;
}
