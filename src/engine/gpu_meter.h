/* SPDX-License-Identifier: Apache-2.0 */
/*
 * GPU figures for each sample. The driver may be slow: it is asked once in 0.9 s at most, and after
 * an answer that took t not before 20 t; until then the last answer stands. After a device fell off
 * the bus everything is opened anew, once a minute until that works.
 */
#ifndef AC_ENGINE_GPU_METER_H
#define AC_ENGINE_GPU_METER_H

#include "base/error.h"
#include "model/sample.h"

struct gpu_meter;

/* @library: "auto" or a path; not "off". Returns 0 or what gpu_nvml_open does. */
int gpu_meter_open(const char *library, struct gpu_meter **ret_meter, struct ac_error *error);
void gpu_meter_close(struct gpu_meter *meter); /* NULL too */

uint32_t gpu_meter_devices(const struct gpu_meter *meter);

enum gpu_news {
    GPU_NEWS_NONE,
    GPU_NEWS_LOST,    /* a device fell off: use is unknown until it is left out */
    GPU_NEWS_FOUND,   /* opened anew */
    GPU_NEWS_MISSING, /* that failed, with @error; it is tried again */
};

/* Adds what processes use of GPUs to a sample; @meter NULL adds nothing. */
enum gpu_news gpu_meter_fill(
    struct gpu_meter *meter, struct sample *sample, struct ac_error *error);

#endif
