/* SPDX-License-Identifier: Apache-2.0 */
/*
 * GPU use per process through NVIDIA's management library, opened at run time: nothing is linked,
 * and a machine without the library or without a device has no GPU figures, which is "unknown"
 * and not 0. Not safe for concurrent use; calls into the driver may take milliseconds.
 */
#ifndef AC_OS_GPU_NVML_H
#define AC_OS_GPU_NVML_H

#include "base/error.h"
#include "model/sample.h"

#define GPU_DEVICES_MAX   64
#define GPU_PROCESSES_MAX 4096 /* per device; more are not read, and counted */

struct gpu_nvml;

/* Opens @library (NULL = "libnvidia-ml.so.1"). Returns 0; -ENOENT (no library); -ENOSYS (it lacks
 * a function); -ENODEV (no driver, or no device); -ENOMEM; with @error. */
int gpu_nvml_open(const char *library, struct gpu_nvml **ret_gpu, struct ac_error *error);
void gpu_nvml_close(struct gpu_nvml *gpu);

/* Reads all devices. The array is the object's, until the next call. Returns 0; -ENOMEM; a device
 * that fails is left out for this time. */
int gpu_nvml_read(
    struct gpu_nvml *gpu, const struct gpu_process **ret_processes, size_t *ret_count);

/* What every device told in the last read (enum gpu_known). A process that is not there, and the
 * compute share of one without it, are 0 only where this says so. */
uint32_t gpu_nvml_complete(const struct gpu_nvml *gpu);

/* Whether a device fell off the bus since the opening. Opening anew leaves it out. */
bool gpu_nvml_device_lost(const struct gpu_nvml *gpu);

uint32_t gpu_nvml_devices(const struct gpu_nvml *gpu);

/* Processes that did not fit, since the start. */
uint64_t gpu_nvml_lost(const struct gpu_nvml *gpu);

#endif
