/* SPDX-License-Identifier: Apache-2.0 */
/* GPU figures from a library of ours with NVML's symbols: argv[1]. */
#include "os/gpu_nvml.h"

#include <dlfcn.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/fault.h"
#include "base/mem.h"

static const char *library;
static void *handle;

static unsigned *standin(const char *name)
{
    unsigned *variable = dlsym(handle, name);
    assert_non_null(variable);
    return variable;
}

static int reset(void **state)
{
    (void)state;
    *standin("standin_init_answer") = 0;
    *standin("standin_devices") = 2;
    *standin("standin_processes") = 3;
    *(int *)standin("standin_failing_device") = -1;
    memset(standin("standin_processes_answer"), 0, 2 * sizeof(int));
    memset(standin("standin_utilization_answer"), 0, 2 * sizeof(int));
    return 0;
}

static struct gpu_nvml *open_gpu(void)
{
    struct gpu_nvml *gpu = NULL;
    struct ac_error error;

    assert_int_equal(gpu_nvml_open(library, &gpu, &error), 0);
    return gpu;
}

static const struct gpu_process *find(
    const struct gpu_process *processes, size_t count, int32_t pid, uint32_t device)
{
    const struct gpu_process *found = NULL;

    for (size_t i = 0; i < count; i++) {
        if (processes[i].pid != pid || processes[i].device != device)
            continue;
        assert_null(found);
        found = &processes[i];
    }
    return found;
}

static void test_processes_of_all_devices_are_read(void **state)
{
    const struct gpu_process *processes;
    struct gpu_nvml *gpu = open_gpu();
    size_t count;

    (void)state;
    assert_int_equal(gpu_nvml_devices(gpu), 2);
    assert_int_equal(gpu_nvml_read(gpu, &processes, &count), 0);
    assert_int_equal(count, 4);
    const struct gpu_process *both = find(processes, count, 100, 0);
    assert_int_equal(both->known, GPU_KNOWN_MEMORY | GPU_KNOWN_COMPUTE);
    assert_int_equal(both->memory_bytes, 5 << 20);
    assert_true(both->compute_percent == 50);
    assert_true(find(processes, count, 101, 0)->compute_percent == 10);
    /* Not available is unknown. */
    assert_int_equal(find(processes, count, 102, 0)->known, 0);
    assert_true(find(processes, count, 102, 0)->memory_hidden);
    assert_false(both->memory_hidden);
    assert_int_equal(find(processes, count, 100, 1)->known, GPU_KNOWN_MEMORY);
    assert_int_equal(find(processes, count, 100, 1)->memory_bytes, 1 << 20);
    /* The next read asks for what came after. */
    assert_int_equal(gpu_nvml_read(gpu, &processes, &count), 0);
    assert_int_equal(count, 4);
    gpu_nvml_close(gpu);
    assert_int_equal(*standin("standin_started"), 0);
}

static void test_many_processes_are_read_and_too_many_counted(void **state)
{
    const struct gpu_process *processes;
    struct gpu_nvml *gpu = open_gpu();
    size_t count;

    (void)state;
    *standin("standin_processes") = 3000;
    assert_int_equal(gpu_nvml_read(gpu, &processes, &count), 0);
    assert_int_equal(count, 3001);
    assert_int_equal(gpu_nvml_lost(gpu), 0);
    *standin("standin_processes") = GPU_PROCESSES_MAX + 5;
    assert_int_equal(gpu_nvml_read(gpu, &processes, &count), 0);
    assert_int_equal(gpu_nvml_lost(gpu), 5);
    assert_non_null(find(processes, count, 100, 0)); /* from the other lists */
    gpu_nvml_close(gpu);
}

static void test_a_device_that_fails_is_left_out(void **state)
{
    const struct gpu_process *processes;
    size_t count;

    (void)state;
    *(int *)standin("standin_failing_device") = 0;
    struct gpu_nvml *gpu = open_gpu();
    assert_int_equal(gpu_nvml_read(gpu, &processes, &count), 0);
    assert_int_equal(count, 1);
    assert_int_equal(processes[0].device, 1);
    gpu_nvml_close(gpu);
}

/* A sum over devices is known only where each of them told its part. */
static void test_what_every_device_told_is_known(void **state)
{
    const struct {
        int processes, utilization;
        uint32_t complete;
        bool lost;
    } rows[] = {
        {0, 0, GPU_KNOWN_MEMORY | GPU_KNOWN_COMPUTE, false},
        {0, 6, GPU_KNOWN_MEMORY | GPU_KNOWN_COMPUTE, false}, /* nobody computed */
        {0, 3, GPU_KNOWN_MEMORY, false},                     /* not supported */
        {4, 0, GPU_KNOWN_COMPUTE, false},                    /* no permission */
        {999, 999, 0, false},
        {15, 15, 0, true},
        {0, 15, GPU_KNOWN_MEMORY, true},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        const struct gpu_process *processes;
        struct gpu_nvml *gpu = open_gpu();
        size_t count;
        *standin("standin_processes_answer") = (unsigned)rows[i].processes;
        standin("standin_utilization_answer")[0] = (unsigned)rows[i].utilization;
        standin("standin_utilization_answer")[1] = 6;
        assert_int_equal(gpu_nvml_read(gpu, &processes, &count), 0);
        assert_int_equal(gpu_nvml_complete(gpu), rows[i].complete);
        assert_int_equal(gpu_nvml_device_lost(gpu), rows[i].lost);
        gpu_nvml_close(gpu);
    }
    *standin("standin_processes_answer") = 0;
    *standin("standin_processes") = GPU_PROCESSES_MAX + 1;
    struct gpu_nvml *gpu = open_gpu();
    const struct gpu_process *processes;
    size_t count;
    assert_int_equal(gpu_nvml_read(gpu, &processes, &count), 0);
    assert_int_equal(gpu_nvml_complete(gpu) & GPU_KNOWN_MEMORY, 0);
    gpu_nvml_close(gpu);
}

static void test_what_is_missing_is_told(void **state)
{
    struct gpu_nvml *gpu = NULL;
    struct ac_error error;

    (void)state;
    assert_int_equal(gpu_nvml_open("/nonexistent.so", &gpu, &error), -ENOENT);
    assert_int_equal(gpu_nvml_open("libm.so.6", &gpu, &error), -ENOSYS);
    *standin("standin_devices") = 0;
    assert_int_equal(gpu_nvml_open(library, &gpu, &error), -ENODEV);
    *standin("standin_init_answer") = 9;
    assert_int_equal(gpu_nvml_open(library, &gpu, &error), -ENODEV);
    assert_null(gpu);
    assert_int_equal(*standin("standin_started"), 0);
}

static void test_every_failure_is_reported(void **state)
{
    (void)state;
    for (unsigned n = 1;; n++) {
        const struct gpu_process *processes;
        struct gpu_nvml *gpu = NULL;
        size_t count;
        fault_arm(FAULT_ALLOC, n);
        int r = gpu_nvml_open(library, &gpu, NULL);
        if (r == 0)
            r = gpu_nvml_read(gpu, &processes, &count);
        bool hit = fault_disarm();
        gpu_nvml_close(gpu);
        assert_int_equal(r, hit ? -ENOMEM : 0);
        if (!hit)
            break;
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_processes_of_all_devices_are_read, reset),
        cmocka_unit_test_setup(test_many_processes_are_read_and_too_many_counted, reset),
        cmocka_unit_test_setup(test_a_device_that_fails_is_left_out, reset),
        cmocka_unit_test_setup(test_what_every_device_told_is_known, reset),
        cmocka_unit_test_setup(test_what_is_missing_is_told, reset),
        cmocka_unit_test_setup(test_every_failure_is_reported, reset),
    };

    library = argc > 1 ? argv[1] : "";
    handle = dlopen(library, RTLD_NOW | RTLD_LOCAL);
    if (!handle) {
        fprintf(stderr, "usage: test_gpu_nvml LIBRARY: %s\n", dlerror());
        return 1;
    }
    int failed = cmocka_run_group_tests_name("gpu_nvml", tests, NULL, NULL);
    dlclose(handle);
    return failed;
}
