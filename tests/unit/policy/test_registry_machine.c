/* SPDX-License-Identifier: Apache-2.0 */
/* The machine's usage, from one sample and from two. */
#include "registry_fixture.h"

static void test_machine_first_sample_is_mean_since_boot(void **state)
{
    struct world world;
    (void)state;
    world_init(&world);
    assert_int_equal(registry_machine_usage(world.registry)->known, 0);
    world.sample.machine.known |= MACHINE_KNOWN_DISK | MACHINE_KNOWN_FDS;
    world.sample.machine.memory_used_bytes = MIB(2048);
    world.sample.machine.fds = 123;
    world_tick(&world);
    const struct ac_usage *usage = registry_machine_usage(world.registry);
    assert_float_equal(usage->cpu_percent, 25, 1e-9);
    assert_float_equal(usage->cpu_cores, 1, 1e-9);
    assert_float_equal(usage->memory_percent, 25, 1e-9);
    assert_int_equal(usage->file_descriptors, 123);
    assert_false(usage->known & (AC_KNOWN_DISK_IO | AC_KNOWN_NETWORK_IO));
    assert_true(isnan(usage->disk_io_mbps));
    assert_int_equal(usage->timestamp_ns, world_moment(&world).wall_ns);
    world_done(&world);
}

static void test_machine_rates(void **state)
{
    struct world world;
    struct machine_record *machine = &world.sample.machine;
    (void)state;
    world_init(&world);
    machine->known |= MACHINE_KNOWN_DISK | MACHINE_KNOWN_NETWORK;
    machine->disk_read_bytes = MIB(1000);
    machine->net_sent_bytes = MIB(500);
    world_tick(&world);
    world_pass(&world, SEC(2));
    machine->disk_read_bytes += MIB(6);
    machine->disk_written_bytes += MIB(4);
    machine->net_sent_bytes += MIB(1);
    world_tick(&world);
    const struct ac_usage *usage = registry_machine_usage(world.registry);
    assert_float_equal(usage->cpu_percent, 25, 1e-9);
    assert_float_equal(usage->disk_io_mbps, 5, 1e-9);
    assert_float_equal(usage->network_io_mbps, 0.5, 1e-9);
    world_pass(&world, SEC(1)); /* a disk went away: what was used is not known */
    machine->disk_read_bytes = 1;
    world_tick(&world);
    usage = registry_machine_usage(world.registry);
    assert_false(usage->known & AC_KNOWN_DISK_IO);
    assert_true(usage->known & AC_KNOWN_NETWORK_IO);
    world_pass(&world, SEC(1));
    machine->disk_read_bytes += MIB(3);
    world_tick(&world);
    assert_float_equal(registry_machine_usage(world.registry)->disk_io_mbps, 3, 1e-9);
    machine->boot_id++; /* another boot (a replay): the first sample of it */
    world_pass(&world, SEC(1));
    world_tick(&world);
    assert_false(registry_machine_usage(world.registry)->known & AC_KNOWN_DISK_IO);
    world_done(&world);
}

static void test_machine_of_a_cgroup_has_no_total(void **state)
{
    struct world world;
    struct machine_record *machine = &world.sample.machine;
    (void)state;
    world_init(&world);
    machine->capacity_cores = 1.5;
    machine->cpu_total_ns = 0;
    machine->cpu_boot_percent = NAN;
    world.sample.when = world_moment(&world);
    struct registry_changes changes;
    assert_int_equal(registry_apply(world.registry, &world.sample, &changes), 0);
    assert_false(registry_machine_usage(world.registry)->known & AC_KNOWN_CPU_PERCENT);
    world.boot_ns += SEC(2);
    machine->cpu_busy_ns += MSEC(1500);
    world.sample.when = world_moment(&world);
    assert_int_equal(registry_apply(world.registry, &world.sample, &changes), 0);
    assert_float_equal(registry_machine_usage(world.registry)->cpu_cores, 0.75, 1e-9);
    assert_float_equal(registry_machine_usage(world.registry)->cpu_percent, 50, 1e-9);
    assert_int_equal(registry_apply(world.registry, &world.sample, &changes), 0);
    assert_float_equal(registry_machine_usage(world.registry)->cpu_percent, 50, 1e-9);
    world_done(&world);
}

/* Samples come between ticks too. What a millisecond saw is not the rate of a second. */
static void test_samples_close_together_keep_the_rates(void **state)
{
    struct world world;
    struct machine_record *machine = &world.sample.machine;
    (void)state;
    world_init(&world);
    machine->known |= MACHINE_KNOWN_DISK | MACHINE_KNOWN_NETWORK;
    world_tick(&world);
    const struct ac_usage *usage = registry_machine_usage(world.registry);
    world_pass(&world, MSEC(20)); /* after the first one: the mean since boot stays */
    machine->disk_read_bytes += MIB(8);
    world_tick(&world);
    assert_float_equal(usage->cpu_percent, 25, 1e-9);
    assert_false(usage->known & AC_KNOWN_DISK_IO);
    world_pass(&world, MSEC(980));
    machine->disk_read_bytes += MIB(2);
    world_tick(&world);
    assert_float_equal(usage->disk_io_mbps, 10, 1e-9);
    for (int i = 0; i < 40; i++) {
        world_pass(&world, MSEC(1));
        machine->disk_written_bytes += MIB(3); /* 3000 MiB/s */
        machine->net_sent_bytes += MIB(1);
        machine->cpu_busy_ns += MSEC(3);
        machine->memory_used_bytes = MIB(100 + i);
        world_tick(&world);
        assert_float_equal(usage->disk_io_mbps, 10, 1e-9);
        assert_float_equal(usage->network_io_mbps, 0, 1e-9);
        assert_float_equal(usage->cpu_percent, 25, 1e-9);
        assert_float_equal(usage->memory_mb, 100 + i, 1e-9); /* no rate: as it is now */
    }
    world_pass(&world, MSEC(960)); /* the next rate is over all of it */
    world_tick(&world);
    assert_float_equal(usage->disk_io_mbps, 120, 1e-9);
    assert_float_equal(usage->network_io_mbps, 40, 1e-9);
    assert_float_equal(usage->cpu_percent, 28, 1e-9);
    world_done(&world);
}

static void test_samples_close_together_keep_an_agents_rates(void **state)
{
    struct world world;
    (void)state;
    world_init(&world);
    world_fork(&world, 10, 1);
    world_pass(&world, SEC(60));
    const struct agent *agent = world_add(&world, "a", 10);
    struct group_record group = {.slot = agent->slot, .known = GROUP_KNOWN_NETWORK};
    world.sample.groups = &group;
    world.sample.n_groups = 1;
    world_tick(&world);
    world_pass(&world, SEC(1));
    world_find(&world, 10)->utime_ns += MSEC(500);
    world_find(&world, 10)->read_bytes += MIB(10);
    group.sent_bytes += MIB(5);
    world_tick(&world);
    for (int i = 0; i < 2; i++) {
        assert_float_equal(agent->usage.cpu_cores, 0.5, 1e-9);
        assert_float_equal(agent->usage.disk_io_mbps, 10, 1e-9);
        assert_float_equal(agent->usage.network_io_mbps, 5, 1e-9);
        world_pass(&world, MSEC(10));
        world_find(&world, 10)->utime_ns += MSEC(10);
        world_find(&world, 10)->written_bytes += MIB(20);
        world_find(&world, 10)->rss_anon_bytes += MIB(1);
        group.received_bytes += MIB(30);
        world_tick(&world);
        assert_float_equal(agent->usage.memory_mb, i + 1, 1e-9);
        assert_int_equal(agent->totals.cpu_ns, MSEC(510 + 10 * i)); /* totals miss nothing */
        assert_float_equal(agent->totals.cpu_peak_percent, 12.5, 1e-9);
    }
    world_pass(&world, MSEC(80));
    world_find(&world, 10)->utime_ns += MSEC(5);
    world_tick(&world);
    assert_float_equal(agent->usage.cpu_cores, 0.25, 1e-9);
    assert_float_equal(agent->usage.disk_io_mbps, 400, 1e-9);
    assert_float_equal(agent->usage.network_io_mbps, 600, 1e-9);
    world_done(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_machine_first_sample_is_mean_since_boot),
        cmocka_unit_test(test_machine_rates),
        cmocka_unit_test(test_machine_of_a_cgroup_has_no_total),
        cmocka_unit_test(test_samples_close_together_keep_the_rates),
        cmocka_unit_test(test_samples_close_together_keep_an_agents_rates),
    };
    return cmocka_run_group_tests_name("the machine's usage", tests, NULL, NULL);
}
