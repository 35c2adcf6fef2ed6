/* SPDX-License-Identifier: Apache-2.0 */
/* GPU figures for each sample, and what there is to say about them. */
#include "daemon_internal.h"

#include <string.h>

#include "base/mem.h"
#include "engine/gpu_meter.h"

void gpu_open(struct daemon *daemon)
{
    const char *library = daemon->config.gpu.library;
    struct ac_error error = {0};
    if (strcmp(library, "off") == 0)
        return;
    int r = gpu_meter_open(library, &daemon->gpu, &error);
    if (r < 0) {
        log_event(strcmp(library, "auto") == 0 ? LOG_LEVEL_DEBUG : LOG_LEVEL_WARNING,
            "GPU use is unknown", log_str("library", library), log_str("reason", error.message));
        return;
    }
    log_event(LOG_LEVEL_INFO, "GPU use is metered", log_str("library", library),
        log_uint("devices", gpu_meter_devices(daemon->gpu)));
}

void gpu_start(struct daemon *daemon)
{
    int r = daemon->gpu ? gpu_meter_start(daemon->gpu) : 0;
    if (r == 0)
        return;
    log_event(LOG_LEVEL_WARNING, "GPU use is unknown", log_str("reason", strerror(-r)));
    gpu_meter_close(daemon->gpu);
    daemon->gpu = NULL;
}

void gpu_fill(struct daemon *daemon, struct sample *sample)
{
    struct ac_error error = {0};
    enum gpu_news news = gpu_meter_fill(daemon->gpu, sample, &error);
    switch (news) {
    case GPU_NEWS_NONE:
        return;
    case GPU_NEWS_LOST:
        log_plain(LOG_LEVEL_WARNING, "a GPU is lost: GPU use is unknown until it is left out");
        return;
    case GPU_NEWS_SILENT:
        log_plain(
            LOG_LEVEL_WARNING, "the GPU driver does not answer: GPU use is unknown until it does");
        return;
    case GPU_NEWS_ANSWERS:
        log_plain(LOG_LEVEL_INFO, "the GPU driver answers again");
        return;
    case GPU_NEWS_FOUND:
    case GPU_NEWS_MISSING:
        log_event(news == GPU_NEWS_MISSING ? LOG_LEVEL_WARNING : LOG_LEVEL_INFO,
            "GPUs are looked for again",
            log_str("outcome", news == GPU_NEWS_MISSING ? error.message : "found"),
            log_uint("devices", gpu_meter_devices(daemon->gpu)));
    }
}
