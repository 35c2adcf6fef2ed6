/* SPDX-License-Identifier: Apache-2.0 */
/*
 * GPU figures for each sample. The driver may be slow, or hang: it is asked on a thread of its own,
 * once in 0.9 s at most and for a twentieth of a core, and the last answer stands until the next
 * one is there; after ten seconds without one nothing is known. After a device fell off the bus
 * everything is opened anew, once a minute until that works. Used by one thread.
 */
#ifndef AC_ENGINE_GPU_METER_H
#define AC_ENGINE_GPU_METER_H

#include "base/error.h"
#include "model/sample.h"

struct gpu_meter;

/* Opens the driver, here and now. @library: "auto" or a path; not "off". Returns 0 or what
 * gpu_nvml_open does. */
int gpu_meter_open(const char *library, struct gpu_meter **ret_meter, struct ac_error *error);

/* Begins to read; nothing is known before. The thread has the privileges that its maker has now.
 * Returns 0, -ENOMEM, -EAGAIN. */
int gpu_meter_start(struct gpu_meter *meter);

/* NULL too. A driver that hangs is left behind, with what it uses. */
void gpu_meter_close(struct gpu_meter *meter);

/* Waits for the answer to what was asked last, @timeout_ns at the longest. NULL too. */
void gpu_meter_wait(struct gpu_meter *meter, uint64_t timeout_ns);

uint32_t gpu_meter_devices(const struct gpu_meter *meter);

enum gpu_news {
    GPU_NEWS_NONE,
    GPU_NEWS_LOST,    /* a device fell off: use is unknown until it is left out */
    GPU_NEWS_FOUND,   /* opened anew */
    GPU_NEWS_MISSING, /* that failed, with @error; it is tried again */
    GPU_NEWS_SILENT,  /* no answer for ten seconds: use is unknown until there is one */
    GPU_NEWS_ANSWERS, /* there is one */
};

/* Adds what processes use of GPUs to a sample, as the driver answered last, and asks it again where
 * that is due at the sample's time; never waits. The array is the meter's, until the next call.
 * @meter NULL adds nothing. */
enum gpu_news gpu_meter_fill(
    struct gpu_meter *meter, struct sample *sample, struct ac_error *error);

#endif
