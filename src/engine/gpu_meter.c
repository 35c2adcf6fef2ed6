/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/gpu_meter.h"

#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "os/gpu_nvml.h"
#include "os/side_thread.h"

#define PERIOD_NS   (9 * NS_PER_SEC / 10)
#define SLOW_FACTOR 20 /* of the processor time that an answer took */
#define SILENT_NS   (10 * NS_PER_SEC)
#define REOPEN_NS   (60 * NS_PER_SEC)

struct figures {
    struct gpu_process *processes;
    size_t n_processes;
    size_t capacity;
    uint32_t known;
};

struct gpu_meter {
    char *library; /* NULL = the usual one */
    struct side_thread *thread;
    struct figures shown; /* the last answer */
    uint32_t devices;
    struct mono asked;
    uint64_t due_ns;
    bool taken;  /* the answer to what was asked last */
    bool silent; /* there is none for long */

    /* What the thread works on. */
    struct job {
        struct gpu_nvml *nvml; /* NULL = it is lost */
        bool end;              /* closes it */
        uint64_t reopen_ns;    /* 0 = it need not be opened anew */
        struct figures figures;
        enum gpu_news news;
        struct ac_error error;
        uint64_t spent_ns;
    } job;
};

static void meter_free(struct gpu_meter *meter)
{
    gpu_nvml_close(meter->job.nvml);
    mem_free(meter->job.figures.processes);
    mem_free(meter->shown.processes);
    mem_free(meter->library);
    mem_free(meter);
}

int gpu_meter_open(const char *library, struct gpu_meter **ret_meter, struct ac_error *error)
{
    struct gpu_meter *meter = mem_alloc(sizeof(*meter));
    bool named = strcmp(library, "auto") != 0;
    if (!meter)
        return error_errno(error, -ENOMEM, "GPU use");
    if (named)
        meter->library = mem_strdup(library);
    int r = named && !meter->library ? error_errno(error, -ENOMEM, "GPU use")
                                     : gpu_nvml_open(meter->library, &meter->job.nvml, error);
    if (r < 0) {
        meter_free(meter);
        return r;
    }
    meter->devices = gpu_nvml_devices(meter->job.nvml);
    meter->taken = true;
    *ret_meter = meter;
    return 0;
}

uint32_t gpu_meter_devices(const struct gpu_meter *meter)
{
    return meter ? meter->devices : 0;
}

/* ---- The thread */

static enum gpu_news reopen(struct job *job, const char *library, uint64_t now_ns)
{
    gpu_nvml_close(job->nvml);
    job->nvml = NULL;
    int r = gpu_nvml_open(library, &job->nvml, &job->error);
    job->reopen_ns = r < 0 ? now_ns + REOPEN_NS : 0;
    return r < 0 ? GPU_NEWS_MISSING : GPU_NEWS_FOUND;
}

static int figures_copy(struct figures *to, const struct gpu_process *from, size_t count)
{
    if (count > to->capacity) {
        struct gpu_process *larger = mem_resize_array(to->processes, count, sizeof(*larger));
        if (!larger)
            return -ENOMEM;
        to->processes = larger;
        to->capacity = count;
    }
    if (count > 0)
        memcpy(to->processes, from, count * sizeof(*from));
    to->n_processes = count;
    return 0;
}

static void job_read(struct job *job, uint64_t now_ns)
{
    const struct gpu_process *processes;
    size_t count;
    if (gpu_nvml_read(job->nvml, &processes, &count) == 0 &&
        figures_copy(&job->figures, processes, count) == 0)
        job->figures.known = gpu_nvml_complete(job->nvml);
    if (gpu_nvml_device_lost(job->nvml) && job->reopen_ns == 0) {
        job->reopen_ns = now_ns + REOPEN_NS;
        job->news = GPU_NEWS_LOST;
    }
}

static void job_run(void *userdata)
{
    struct gpu_meter *meter = userdata;
    struct job *job = &meter->job;
    uint64_t start = side_thread_cpu_ns(), now = meter->asked.ns;
    job->news = GPU_NEWS_NONE;
    job->figures.n_processes = 0;
    job->figures.known = 0;
    if (job->end) {
        gpu_nvml_close(job->nvml);
        job->nvml = NULL;
        return;
    }
    if (job->reopen_ns > 0 && now >= job->reopen_ns)
        job->news = reopen(job, meter->library, now);
    if (job->nvml)
        job_read(job, now);
    job->spent_ns = side_thread_cpu_ns() - start;
}

/* ---- Its user */

static void ask(struct gpu_meter *meter, struct mono now)
{
    meter->asked = now;
    meter->taken = false;
    side_thread_start(meter->thread);
}

int gpu_meter_start(struct gpu_meter *meter)
{
    int r = side_thread_new(job_run, meter, 0, &meter->thread);
    if (r == 0)
        ask(meter, clock_mono());
    return r;
}

/* Closing asks the driver too. */
void gpu_meter_close(struct gpu_meter *meter)
{
    if (!meter)
        return;
    if (meter->thread && !side_thread_busy(meter->thread)) {
        meter->job.end = true;
        side_thread_start(meter->thread);
    }
    if (side_thread_free(meter->thread))
        meter_free(meter);
}

void gpu_meter_wait(struct gpu_meter *meter, uint64_t timeout_ns)
{
    if (meter && meter->thread)
        (void)side_thread_wait(meter->thread, timeout_ns);
}

/* The job gets the array of what was shown, to fill it next. */
static enum gpu_news take(struct gpu_meter *meter, struct ac_error *error)
{
    struct job *job = &meter->job;
    struct figures before = meter->shown;
    enum gpu_news news = job->news;
    meter->shown = job->figures;
    job->figures = before;
    meter->taken = true;
    meter->due_ns = meter->asked.ns + MAX(PERIOD_NS, job->spent_ns * SLOW_FACTOR);
    meter->devices = job->nvml ? gpu_nvml_devices(job->nvml) : 0;
    if (news == GPU_NEWS_MISSING && error)
        *error = job->error;
    if (news == GPU_NEWS_NONE && meter->silent)
        news = GPU_NEWS_ANSWERS;
    meter->silent = false;
    return news;
}

/* What was true that long ago need not be any more. */
static enum gpu_news check_silence(struct gpu_meter *meter, struct mono now)
{
    if (meter->silent || mono_since(now, meter->asked) < SILENT_NS)
        return GPU_NEWS_NONE;
    meter->silent = true;
    meter->shown.n_processes = 0;
    meter->shown.known = 0;
    return GPU_NEWS_SILENT;
}

enum gpu_news gpu_meter_fill(struct gpu_meter *meter, struct sample *sample, struct ac_error *error)
{
    enum gpu_news news = GPU_NEWS_NONE;
    if (!meter || !meter->thread)
        return news;
    struct mono now = sample->when.mono;
    if (side_thread_busy(meter->thread)) {
        news = check_silence(meter, now);
    } else {
        if (!meter->taken)
            news = take(meter, error);
        if (now.ns >= meter->due_ns)
            ask(meter, now);
    }
    sample->gpus = meter->shown.processes;
    sample->n_gpus = meter->shown.n_processes;
    sample->gpus_known = meter->shown.known;
    return news;
}
