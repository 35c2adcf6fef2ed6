/* SPDX-License-Identifier: Apache-2.0 */
/* Processes that become members without being born into an agent, and what members use of GPUs. */
#include <errno.h>

#include "registry_small.h"

static void one_that_joins_brings_its_children(void **state)
{
    struct world *world = *state;
    process(world, 10, 1);
    process(world, 20, 1);
    process(world, 21, 20);
    process(world, 30, 1);
    agent_slot slot = add(world, "a", 10)->slot;
    apply(world);
    assert_int_equal(registry_get(world->registry, "a")->processes, 1);
    assert_int_equal(registry_join(world->registry, "a", 20, 20), 0);
    assert_int_equal(registry_slot_of(world->registry, 20, 20), 0);
    apply(world);
    assert_int_equal(registry_slot_of(world->registry, 20, 20), slot);
    assert_int_equal(registry_slot_of(world->registry, 21, 21), slot);
    assert_int_equal(registry_slot_of(world->registry, 30, 30), 0);
    assert_int_equal(registry_get(world->registry, "a")->processes, 3);
    apply(world); /* and stays */
    assert_int_equal(registry_get(world->registry, "a")->processes, 3);
}

static void only_that_process_joins(void **state)
{
    struct world *world = *state;
    process(world, 10, 1);
    process(world, 20, 1);
    process(world, 40, 1);
    add(world, "a", 10);
    agent_slot other = add(world, "b", 40)->slot;
    apply(world);
    /* Another one has the pid by now; it is another agent's root; it is not there any more. */
    assert_int_equal(registry_join(world->registry, "a", 20, 19), 0);
    assert_int_equal(registry_join(world->registry, "a", 40, 40), 0);
    assert_int_equal(registry_join(world->registry, "a", 50, 50), 0);
    apply(world);
    assert_int_equal(registry_get(world->registry, "a")->processes, 1);
    assert_int_equal(registry_slot_of(world->registry, 40, 40), other);
    process(world, 50, 1); /* later, with the same pid: what was said is forgotten */
    apply(world);
    assert_int_equal(registry_slot_of(world->registry, 50, 50), 0);
}

static void nobody_joins_what_is_not_there(void **state)
{
    struct world *world = *state;
    const struct agent *agent;
    struct agent_spec reporter = {.id = "r"};
    process(world, 10, 1);
    process(world, 20, 1);
    assert_int_equal(registry_join(world->registry, "a", 20, 20), -ENOENT);
    assert_int_equal(registry_add(world->registry, &reporter, at_ms(0), &agent), 0);
    assert_int_equal(registry_join(world->registry, "r", 20, 20), -ESRCH);
    add(world, "a", 10);
    apply(world);
    assert_int_equal(registry_join(world->registry, "a", -1, 20), -ENOENT);
    assert_int_equal(registry_join(world->registry, "a", 20, 20), 0);
    assert_int_equal(registry_remove(world->registry, "a"), 0);
    agent_slot next = add(world, "c", 10)->slot; /* has the same slot */
    apply(world);
    assert_int_equal(registry_slot_of(world->registry, 20, 20), 0);
    assert_int_equal(registry_slot_of(world->registry, 10, 10), next);
}

static void joins_are_bounded_and_fail_cleanly(void **state)
{
    struct world *world = *state;
    process(world, 10, 1);
    add(world, "a", 10);
    apply(world);
    for (unsigned n = 1;; n++) {
        fault_arm(FAULT_ALLOC, n);
        int r = registry_join(world->registry, "a", 99, 99);
        if (!fault_disarm()) {
            assert_int_equal(r, 0);
            break;
        }
        assert_int_equal(r, -ENOMEM);
    }
    int r = 0, n = 0;
    for (; r == 0 && n < 100000; n++)
        r = registry_join(world->registry, "a", 1000 + n, 7);
    assert_int_equal(r, -ENOSPC);
    assert_true(n < 5000);
    apply(world);
    assert_int_equal(registry_join(world->registry, "a", 1000, 7), 0);
}

static void gpu(struct world *world, int32_t pid, uint32_t device, uint64_t mib, double percent)
{
    world->gpus[world->sample.n_gpus++] = (struct gpu_process){.pid = pid,
        .device = device,
        .known = GPU_KNOWN_MEMORY | GPU_KNOWN_COMPUTE,
        .memory_bytes = mib << 20,
        .compute_percent = percent};
}

static void gpus_are_summed_over_members_and_devices(void **state)
{
    struct world *world = *state;
    process(world, 10, 1);
    process(world, 11, 10);
    process(world, 20, 1);
    process(world, 30, 1);
    add(world, "a", 10);
    add(world, "b", 20);
    const struct agent *a = registry_get(world->registry, "a");
    const struct agent *b = registry_get(world->registry, "b");
    assert_true(isnan(a->gpu_memory_mb) && isnan(a->gpu_percent));
    apply(world);
    assert_true(isnan(a->gpu_memory_mb) && isnan(a->gpu_percent));
    gpu(world, 10, 0, 100, 30);
    gpu(world, 11, 0, 50, 20);
    gpu(world, 11, 1, 7, 90);
    gpu(world, 30, 0, 1000, 50); /* nobody's */
    gpu(world, 999, 0, 1000, 50);
    gpu(world, -1, 0, 1000, 50);
    world->sample.gpus_known = GPU_KNOWN_MEMORY | GPU_KNOWN_COMPUTE;
    apply(world);
    assert_true(a->gpu_memory_mb == 157 && a->gpu_percent == 140);
    assert_true(b->gpu_memory_mb == 0 && b->gpu_percent == 0);
    /* One device keeps silent about either: no sum is known. */
    world->sample.gpus_known = GPU_KNOWN_MEMORY;
    apply(world);
    assert_true(a->gpu_memory_mb == 157 && isnan(a->gpu_percent));
    world->sample.gpus_known = GPU_KNOWN_MEMORY | GPU_KNOWN_COMPUTE;
    world->gpus[1].memory_hidden = true;
    world->gpus[1].known = GPU_KNOWN_COMPUTE;
    world->gpus[0].known = GPU_KNOWN_MEMORY; /* it did not compute */
    apply(world);
    assert_true(isnan(a->gpu_memory_mb) && a->gpu_percent == 110 && b->gpu_memory_mb == 0);
    world->sample.gpus_known = 0;
    apply(world);
    assert_true(isnan(a->gpu_memory_mb) && isnan(b->gpu_percent));
}

static void one_that_ended_uses_no_gpu_that_we_know(void **state)
{
    struct world *world = *state;
    process(world, 20, 1);
    process(world, 10, 1);
    add(world, "a", 10);
    gpu(world, 10, 0, 100, 30);
    world->sample.gpus_known = GPU_KNOWN_MEMORY | GPU_KNOWN_COMPUTE;
    apply(world);
    const struct agent *a = registry_get(world->registry, "a");
    assert_true(a->gpu_memory_mb == 100);
    world->sample.n_procs = 1; /* gone, and the driver still knows it */
    apply(world);
    assert_int_equal(a->state, AGENT_EXITED);
    assert_true(isnan(a->gpu_memory_mb) && isnan(a->gpu_percent));
    apply(world);
    assert_true(isnan(a->gpu_memory_mb) && isnan(a->gpu_percent));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(one_that_joins_brings_its_children, begin, finish),
        cmocka_unit_test_setup_teardown(only_that_process_joins, begin, finish),
        cmocka_unit_test_setup_teardown(nobody_joins_what_is_not_there, begin, finish),
        cmocka_unit_test_setup_teardown(joins_are_bounded_and_fail_cleanly, begin, finish),
        cmocka_unit_test_setup_teardown(gpus_are_summed_over_members_and_devices, begin, finish),
        cmocka_unit_test_setup_teardown(one_that_ended_uses_no_gpu_that_we_know, begin, finish),
    };
    return cmocka_run_group_tests_name("registry_join", tests, NULL, NULL);
}
