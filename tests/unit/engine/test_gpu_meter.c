/* SPDX-License-Identifier: Apache-2.0 */
/* GPU figures beside the samples, from a library of ours with NVML's symbols: argv[1]. */
#include "engine/gpu_meter.h"

#include <dlfcn.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fault.h"
#include "base/mem.h"

#define LONG_NS (60 * NS_PER_SEC)
#define DUE_NS  (5 * NS_PER_SEC) /* the driver is asked again, as long as that took no time */
#define LOST    15               /* NVML_ERROR_GPU_IS_LOST */
#define ALL     (GPU_KNOWN_MEMORY | GPU_KNOWN_COMPUTE)

static const char *library;
static void *handle;
static int gate[2];
static struct mono now;

static int *standin(const char *name)
{
    int *variable = dlsym(handle, name);
    assert_non_null(variable);
    return variable;
}

static int reset(void **state)
{
    (void)state;
    *standin("standin_init_answer") = 0;
    *standin("standin_devices") = 1;
    *standin("standin_processes") = 3;
    *standin("standin_gate_fd") = -1;
    memset(standin("standin_processes_answer"), 0, 2 * sizeof(int));
    return pipe(gate);
}

static int teardown(void **state)
{
    (void)state;
    close(gate[0]);
    close(gate[1]);
    return 0;
}

static struct gpu_meter *meter_make(void)
{
    struct gpu_meter *meter = NULL;
    struct ac_error error = {.message = ""};
    int r = gpu_meter_open(library, &meter, &error);
    if (r < 0)
        fail_msg("%s", error.message);
    assert_int_equal(gpu_meter_start(meter), 0);
    now = clock_mono();
    gpu_meter_wait(meter, LONG_NS);
    return meter;
}

/* What a sample @later_ns after the last one shows. */
static enum gpu_news fill(
    struct gpu_meter *meter, uint64_t later_ns, struct sample *ret_sample, struct ac_error *error)
{
    now.ns += later_ns;
    *ret_sample = (struct sample){.when.mono = now};
    return gpu_meter_fill(meter, ret_sample, error);
}

static void test_an_answer_is_in_the_next_sample(void **state)
{
    struct sample sample;
    struct gpu_meter *meter = meter_make();
    (void)state;
    assert_int_equal(gpu_meter_devices(meter), 1);
    assert_int_equal(fill(meter, DUE_NS, &sample, NULL), GPU_NEWS_NONE);
    assert_int_equal(sample.gpus_known, ALL);
    assert_int_equal(sample.n_gpus, 3);
    assert_int_equal(sample.gpus[0].pid, 100);
    assert_int_equal(sample.gpus[0].memory_bytes, 5 << 20);
    gpu_meter_wait(meter, LONG_NS);
    *standin("standin_processes") = 1;
    fill(meter, DUE_NS, &sample, NULL); /* asks; the last answer stands */
    gpu_meter_wait(meter, LONG_NS);
    assert_int_equal(sample.n_gpus, 3);
    assert_int_equal(sample.gpus[2].pid, 102); /* and is not overwritten by the next */
    fill(meter, NS_PER_MSEC, &sample, NULL);
    assert_int_equal(sample.n_gpus, 2); /* one is left, and one that only computes */
    gpu_meter_close(meter);
    assert_int_equal(*standin("standin_started"), 0);
}

static void test_nothing_is_known_before_the_start(void **state)
{
    struct gpu_meter *meter = NULL;
    struct ac_error error;
    struct sample sample;
    (void)state;
    assert_int_equal(fill(NULL, 0, &sample, NULL), GPU_NEWS_NONE);
    assert_int_equal(gpu_meter_devices(NULL), 0);
    assert_int_equal(gpu_meter_open(library, &meter, &error), 0);
    assert_int_equal(fill(meter, 0, &sample, NULL), GPU_NEWS_NONE);
    assert_int_equal(sample.gpus_known, 0);
    fault_arm(FAULT_SYSCALL, 1);
    assert_int_equal(gpu_meter_start(meter), -EAGAIN);
    assert_true(fault_disarm());
    gpu_meter_close(meter);
    gpu_meter_close(NULL);
    assert_int_equal(*standin("standin_started"), 0);
}

/* Samples go on, and what the driver said long ago is not told for ever. */
static void test_a_driver_that_hangs(void **state)
{
    struct sample sample;
    struct gpu_meter *meter = meter_make();
    (void)state;
    *standin("standin_gate_fd") = gate[0];
    fill(meter, DUE_NS, &sample, NULL);
    for (int i = 0; i < 9; i++) {
        assert_int_equal(fill(meter, NS_PER_SEC, &sample, NULL), GPU_NEWS_NONE);
        assert_int_equal(sample.n_gpus, 3);
        assert_int_equal(sample.gpus_known, ALL);
    }
    assert_int_equal(fill(meter, 2 * NS_PER_SEC, &sample, NULL), GPU_NEWS_SILENT);
    assert_int_equal(sample.gpus_known, 0);
    assert_int_equal(sample.n_gpus, 0);
    assert_int_equal(fill(meter, LONG_NS, &sample, NULL), GPU_NEWS_NONE); /* said once */
    assert_int_equal(sample.gpus_known, 0);
    assert_int_equal(write(gate[1], "xxxx", 4), 4);
    gpu_meter_wait(meter, LONG_NS);
    assert_int_equal(fill(meter, NS_PER_MSEC, &sample, NULL), GPU_NEWS_ANSWERS);
    assert_int_equal(sample.gpus_known, ALL);
    assert_int_equal(sample.n_gpus, 3);
    gpu_meter_close(meter);
    assert_int_equal(*standin("standin_started"), 0);
}

static void test_a_lost_device_is_opened_anew(void **state)
{
    struct sample sample;
    struct ac_error error = {.message = ""};
    struct gpu_meter *meter = meter_make();
    (void)state;
    *standin("standin_processes_answer") = LOST;
    fill(meter, DUE_NS, &sample, NULL);
    gpu_meter_wait(meter, LONG_NS);
    assert_int_equal(fill(meter, DUE_NS, &sample, NULL), GPU_NEWS_LOST);
    assert_int_equal(sample.gpus_known & GPU_KNOWN_MEMORY, 0);
    gpu_meter_wait(meter, LONG_NS);
    *standin("standin_init_answer") = 9;
    assert_int_equal(fill(meter, LONG_NS, &sample, NULL), GPU_NEWS_NONE);
    gpu_meter_wait(meter, LONG_NS);
    assert_int_equal(fill(meter, NS_PER_SEC, &sample, &error), GPU_NEWS_MISSING);
    assert_non_null(strstr(error.message, "NVML does not start"));
    assert_int_equal(gpu_meter_devices(meter), 0);
    assert_int_equal(sample.gpus_known, 0);
    gpu_meter_wait(meter, LONG_NS);
    *standin("standin_init_answer") = 0;
    *standin("standin_processes_answer") = 0;
    fill(meter, LONG_NS, &sample, NULL);
    gpu_meter_wait(meter, LONG_NS);
    assert_int_equal(fill(meter, NS_PER_SEC, &sample, NULL), GPU_NEWS_FOUND);
    assert_int_equal(gpu_meter_devices(meter), 1);
    assert_int_equal(sample.gpus_known, ALL);
    gpu_meter_close(meter);
    assert_int_equal(*standin("standin_started"), 0);
}

/* The last test: the thread stays in the driver, with the meter. */
static void test_a_driver_that_hangs_is_left_at_the_end(void **state)
{
    static struct gpu_meter *meter;
    struct sample sample;
    (void)state;
    meter = meter_make();
    *standin("standin_gate_fd") = gate[0];
    fill(meter, DUE_NS, &sample, NULL);
    gpu_meter_close(meter);
    assert_int_equal(*standin("standin_started"), 1);
}

#define ON_STANDIN(f) cmocka_unit_test_setup_teardown(f, reset, teardown)

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        ON_STANDIN(test_an_answer_is_in_the_next_sample),
        ON_STANDIN(test_nothing_is_known_before_the_start),
        ON_STANDIN(test_a_driver_that_hangs),
        ON_STANDIN(test_a_lost_device_is_opened_anew),
        cmocka_unit_test_setup(test_a_driver_that_hangs_is_left_at_the_end, reset),
    };
    if (argc < 2) {
        fprintf(stderr, "usage: %s LIBRARY\n", argv[0]);
        return 2;
    }
    library = argv[1];
    handle = dlopen(library, RTLD_NOW);
    if (!handle) {
        fprintf(stderr, "%s\n", dlerror());
        return 2;
    }
    return cmocka_run_group_tests_name("gpu meter", tests, NULL, NULL);
}
