/* SPDX-License-Identifier: Apache-2.0 */
/* What agents used: rates, totals, sources, and each nanosecond once. */
#include "registry_fixture.h"

/* An agent whose root (10) starts now, in its own session below init (1), and one sample. */
static const struct agent *start(struct world *world)
{
    world_init(world);
    world_fork(world, 1, 0);
    world_tick(world);
    world_pass(world, SEC(1));
    struct proc_record *root = world_fork(world, 10, 1);
    root->session = root->pgrp = 10;
    const struct agent *agent = world_add(world, "a", 10);
    world_pass(world, MSEC(500));
    world_tick(world);
    world_pass(world, SEC(1));
    return agent;
}

static void test_usage_of_a_tree(void **state)
{
    struct world world;
    (void)state;
    const struct agent *agent = start(&world);
    struct proc_record *root = world_find(&world, 10);
    root->utime_ns += MSEC(600);
    root->rss_anon_bytes = MIB(100);
    root->rss_file_bytes = MIB(24);
    root->written_bytes = MIB(2);
    root->fds = 7;
    struct proc_record *child = world_fork(&world, 11, 10);
    child->stime_ns = MSEC(400);
    child->rss_anon_bytes = MIB(900);
    child->read_bytes = MIB(6);
    child->fds = 3;
    child->threads = 5;
    world_tick(&world);
    const struct ac_usage *usage = &agent->usage;
    assert_float_equal(usage->cpu_cores, 1, 1e-9);
    assert_float_equal(usage->cpu_percent, 25, 1e-9);
    assert_float_equal(usage->memory_mb, 1024, 1e-9);
    assert_float_equal(usage->memory_percent, 12.5, 1e-9);
    assert_float_equal(usage->disk_io_mbps, 8, 1e-9);
    assert_int_equal(usage->file_descriptors, 10);
    assert_false(usage->known & AC_KNOWN_NETWORK_IO);
    assert_int_equal(usage->timestamp_ns, world_moment(&world).wall_ns);
    assert_int_equal(agent->threads, 6);
    assert_int_equal(agent->totals.cpu_ns, SEC(1));
    assert_int_equal(agent->totals.disk_read_bytes, MIB(6));
    assert_int_equal(agent->totals.disk_written_bytes, MIB(2));
    assert_int_equal(agent->totals.memory_peak_bytes, MIB(1024));
    assert_int_equal(agent->totals.fds_peak, 10);
    assert_int_equal(agent->totals.processes_total, 2);
    assert_false(agent->totals.known & TOTALS_KNOWN_NETWORK);
    world_find(&world, 11)->rss_anon_bytes = 0;
    world_pass(&world, SEC(4));
    world_tick(&world);
    assert_float_equal(agent->usage.cpu_cores, 0, 1e-9);
    assert_int_equal(agent->totals.memory_peak_bytes, MIB(1024));
    assert_float_equal(agent->totals.cpu_peak_percent, 25, 1e-9);
    world_done(&world);
}

static void test_fresh_root_counts_whole_at_its_own_pace(void **state)
{
    struct world world;
    (void)state;
    world_init(&world);
    world_fork(&world, 10, 1);
    world_pass(&world, MSEC(900));
    world_find(&world, 10)->utime_ns = MSEC(450);
    const struct agent *agent = world_add(&world, "a", 10);
    world_tick(&world);
    assert_int_equal(agent->totals.cpu_ns, MSEC(450));
    assert_float_equal(agent->usage.cpu_cores, 0.5, 1e-9); /* 0.9 s old, no sample before it */
    world_done(&world);
}

/* Suspended between its announcement and the first sample, it is as fresh as before. */
static void test_fresh_root_over_a_suspension(void **state)
{
    struct world world;
    (void)state;
    world_init(&world);
    world_fork(&world, 10, 1);
    world_pass(&world, MSEC(300));
    world_find(&world, 10)->utime_ns = MSEC(200);
    const struct agent *agent = world_add(&world, "a", 10);
    world.sample.when = world_moment(&world);
    world.boot_ns += SEC(3600);
    world.sample.boot_ns = world.boot_ns;
    world.sample.procs = world.procs;
    assert_int_equal(registry_apply(world.registry, &world.sample, &world.changes), 0);
    assert_int_equal(agent->totals.cpu_ns, MSEC(200));
    world_done(&world);
}

static void test_attached_tree_counts_from_adoption(void **state)
{
    struct world world;
    (void)state;
    world_init(&world);
    struct proc_record *root = world_fork(&world, 10, 1);
    root->utime_ns = SEC(50);
    root->cutime_ns = SEC(70);
    root->read_bytes = MIB(500);
    world_fork(&world, 11, 10)->utime_ns = SEC(30);
    world_pass(&world, SEC(60));
    world_tick(&world);
    const struct agent *agent = world_add(&world, "a", 10);
    world_pass(&world, SEC(1));
    world_fork(&world, 12, 10)->utime_ns = MSEC(500); /* born after: whole */
    world_tick(&world);
    assert_int_equal(agent->totals.cpu_ns, MSEC(500));
    assert_int_equal(agent->totals.disk_read_bytes, 0);
    assert_false(agent->usage.known & AC_KNOWN_CPU_PERCENT); /* over which time? */
    assert_true(agent->usage.known & AC_KNOWN_MEMORY_MB);
    world_pass(&world, SEC(2));
    world_find(&world, 10)->utime_ns += SEC(1);
    world_reap(&world, 11); /* its 30 s of before are not ours, nor is their growth */
    world_tick(&world);
    assert_int_equal(agent->totals.cpu_ns, MSEC(1500));
    assert_float_equal(agent->usage.cpu_cores, 0.5, 1e-9);
    world_done(&world);
}

static void test_rates_leave_suspended_time_out(void **state)
{
    struct world world;
    (void)state;
    const struct agent *agent = start(&world);
    world_find(&world, 10)->utime_ns += MSEC(500);
    world.sample.when = world_moment(&world);
    world.boot_ns += SEC(3600); /* boottime went on while monotonic time stood still */
    world.sample.boot_ns = world.boot_ns;
    world.sample.procs = world.procs;
    assert_int_equal(registry_apply(world.registry, &world.sample, &world.changes), 0);
    assert_float_equal(agent->usage.cpu_cores, 0.5, 1e-9);
    world_done(&world);
}

static void test_children_reaped_between_samples(void **state)
{
    struct world world;
    (void)state;
    const struct agent *agent = start(&world);
    for (int pid = 100; pid < 150; pid++) { /* none of them is ever seen */
        world_fork(&world, pid, 10)->utime_ns = MSEC(20);
        world_find(&world, pid)->read_bytes = MIB(1);
        world_reap(&world, pid);
    }
    world_tick(&world);
    assert_int_equal(agent->totals.cpu_ns, SEC(1));
    assert_int_equal(agent->totals.disk_read_bytes, MIB(50));
    assert_float_equal(agent->usage.cpu_cores, 1, 1e-9);
    world_done(&world);
}

static void test_seen_child_is_counted_once(void **state)
{
    struct world world;
    (void)state;
    const struct agent *agent = start(&world);
    world_fork(&world, 11, 10)->utime_ns = SEC(1);
    world_tick(&world);
    world_pass(&world, SEC(1));
    world_find(&world, 11)->utime_ns = SEC(3);
    world_find(&world, 11)->state = 'Z'; /* waits to be reaped: counted already */
    world_tick(&world);
    assert_int_equal(agent->totals.cpu_ns, SEC(3));
    world_pass(&world, SEC(1));
    world_reap(&world, 11);
    world_tick(&world);
    assert_int_equal(agent->totals.cpu_ns, SEC(3));
    world_fork(&world, 12, 10)->utime_ns = SEC(1);
    world_pass(&world, SEC(1));
    world_tick(&world);
    world_find(&world, 12)->utime_ns += MSEC(250); /* its last slice, and it is gone */
    world_reap(&world, 12);
    world_pass(&world, SEC(1));
    world_tick(&world);
    assert_int_equal(agent->totals.cpu_ns, MSEC(4250));
    world_done(&world);
}

static void test_sigchld_ignored_hands_nothing_on(void **state)
{
    struct world world;
    (void)state;
    const struct agent *agent = start(&world);
    world_fork(&world, 11, 10)->utime_ns = SEC(2);
    world_tick(&world);
    world_vanish(&world, 11);
    world_pass(&world, SEC(1));
    world_tick(&world);
    world_pass(&world, SEC(1));
    world_tick(&world);
    world_pass(&world, SEC(1));
    world_find(&world, 10)->cutime_ns += SEC(1); /* later growth is somebody else's */
    world_tick(&world);
    assert_int_equal(agent->totals.cpu_ns, SEC(3));
    world_done(&world);
}

/* A walk reads one process after another; these are its two seams. */
static void test_child_reaped_after_its_parent_was_read(void **state)
{
    struct world world;
    (void)state;
    const struct agent *agent = start(&world);
    world_fork(&world, 11, 10)->utime_ns = SEC(2);
    world_tick(&world);
    world_vanish(&world, 11); /* the parent's record is of before */
    world_pass(&world, SEC(1));
    world_tick(&world);
    world_find(&world, 10)->cutime_ns += MSEC(2100);
    world_pass(&world, SEC(1));
    world_tick(&world);
    assert_int_equal(agent->totals.cpu_ns, MSEC(2100));
    world_done(&world);
}

static void test_child_read_before_its_parent_reaped_it(void **state)
{
    struct world world;
    (void)state;
    world_init(&world);
    world_fork(&world, 5, 1); /* listed first: the pid counter came round */
    struct proc_record *root = world_fork(&world, 10, 1);
    root->session = root->pgrp = 10;
    world_find(&world, 5)->ppid = 10;
    const struct agent *agent = world_add(&world, "a", 10);
    world_find(&world, 5)->utime_ns = SEC(1);
    world_pass(&world, SEC(1));
    world_tick(&world);
    world_find(&world, 5)->utime_ns = SEC(2);
    world_find(&world, 10)->cutime_ns = SEC(2); /* both: seen alive, and reaped */
    world_pass(&world, SEC(1));
    world_tick(&world);
    assert_int_equal(agent->totals.cpu_ns, SEC(4));
    world.sample.n_procs--; /* 5 is gone (10 stands last) */
    world.procs[0] = world.procs[1];
    world_pass(&world, SEC(1));
    world_tick(&world);
    assert_int_equal(agent->totals.cpu_ns, SEC(4)); /* too much by 2 s; never goes back ... */
    world_find(&world, 10)->utime_ns += SEC(3);
    world_pass(&world, SEC(1));
    world_tick(&world);
    assert_int_equal(agent->totals.cpu_ns, SEC(5)); /* ... and is paid from what comes */
    world_done(&world);
}

static void test_counters_that_go_back(void **state)
{
    static const struct {
        uint64_t before, now, added;
    } table[] = {
        {SEC(10), SEC(10), 0},
        {SEC(10), SEC(10) - 1, 0}, /* two ways of measuring one time */
        {SEC(10), SEC(6), 0},      /* and it is not counted again when it has caught up */
        {SEC(10), SEC(1), SEC(1)}, /* started anew */
        {SEC(10), 0, 0},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        struct world world;
        const struct agent *agent = start(&world);
        world_find(&world, 10)->utime_ns = table[i].before;
        world_tick(&world);
        world_find(&world, 10)->utime_ns = table[i].now;
        world_pass(&world, SEC(1));
        world_tick(&world);
        assert_int_equal(agent->totals.cpu_ns, table[i].before + table[i].added);
        world_done(&world);
    }
}

static void test_unknown_fields_stay_unknown(void **state)
{
    struct world world;
    (void)state;
    const struct agent *agent = start(&world);
    struct proc_record *root = world_find(&world, 10);
    uint32_t all = root->known;
    root->known = PROC_KNOWN_CPU;
    world_tick(&world);
    assert_int_equal(agent->usage.known, AC_KNOWN_CPU_PERCENT | AC_KNOWN_CPU_CORES);
    assert_true(isnan(agent->usage.memory_mb));
    root->known = all; /* I/O that becomes readable is counted from birth */
    root->read_bytes = MIB(10);
    world_pass(&world, SEC(1));
    world_tick(&world);
    assert_int_equal(agent->totals.disk_read_bytes, MIB(10));
    root->known &= ~(uint32_t)PROC_KNOWN_IO;
    world_pass(&world, SEC(1));
    world_tick(&world);
    root->known = all;
    root->read_bytes = MIB(12);
    world_pass(&world, SEC(1));
    world_tick(&world);
    assert_int_equal(agent->totals.disk_read_bytes, MIB(12));
    world_done(&world);
}

static void test_shared_memory_map_counts_once(void **state)
{
    struct world world;
    (void)state;
    const struct agent *agent = start(&world);
    for (int pid = 11; pid < 14; pid++) {
        struct proc_record *proc = world_fork(&world, pid, 10);
        proc->rss_anon_bytes = MIB(100);
        proc->known |= PROC_KNOWN_MM;
        proc->mm_id = pid < 13 ? 0xffff888001234500ull : 0xffff888001234900ull;
    }
    world_tick(&world);
    assert_float_equal(agent->usage.memory_mb, 200, 1e-9);
    world_pass(&world, SEC(1));
    world_tick(&world);
    assert_float_equal(agent->usage.memory_mb, 200, 1e-9);
    world_done(&world);
}

/* ---- Collectors that see more */

static void track(struct proc_record *proc, agent_slot slot)
{
    proc->known |= PROC_KNOWN_SLOT;
    proc->known &= ~(uint32_t)(PROC_KNOWN_CHILDREN_CPU | PROC_KNOWN_SESSION);
    proc->slot = slot;
}

static void exits(struct world *world, const struct exit_record *records, size_t count)
{
    world->sample.exits = records;
    world->sample.n_exits = count;
    world_tick(world);
    world->sample.n_exits = 0;
}

static void test_exit_records(void **state)
{
    struct world world;
    (void)state;
    const struct agent *agent = start(&world);
    agent_slot slot = agent->slot;
    track(world_find(&world, 10), slot);
    track(world_fork(&world, 11, 1), slot); /* the kernel knows it better than its parent tells */
    world_find(&world, 11)->utime_ns = SEC(1);
    track(world_fork(&world, 12, 10), slot);
    world_find(&world, 12)->utime_ns = SEC(1);
    uint64_t start_ticks = world_find(&world, 11)->start_ticks;
    world_tick(&world);
    assert_int_equal(agent->processes, 3);
    /* One that was seen, one that never was; cutime is not looked at. */
    world_vanish(&world, 11);
    world_find(&world, 10)->cutime_ns = SEC(100);
    world_pass(&world, SEC(1));
    exits(&world,
        (struct exit_record[]){{.slot = slot,
                                   .pid = 11,
                                   .start_ticks = start_ticks,
                                   .cpu_ns = SEC(3),
                                   .read_bytes = MIB(1),
                                   .rss_peak_bytes = MIB(700),
                                   .processes = 1},
            {.slot = slot,
                .pid = 40,
                .start_ticks = start_ticks + 1,
                .cpu_ns = SEC(1),
                .processes = 1},
            {.slot = 77, .pid = 41, .start_ticks = start_ticks, .cpu_ns = SEC(50), .processes = 1}},
        3);
    assert_int_equal(agent->totals.cpu_ns, SEC(5));
    assert_int_equal(agent->totals.disk_read_bytes, MIB(1));
    assert_int_equal(agent->totals.memory_peak_bytes, MIB(700));
    assert_int_equal(agent->totals.processes_total, 4);
    /* A record that comes one sample after its process vanished. */
    world_vanish(&world, 12);
    world_pass(&world, SEC(1));
    world_tick(&world);
    assert_int_equal(agent->processes, 1);
    world_pass(&world, SEC(1));
    exits(&world,
        &(struct exit_record){.slot = slot,
            .pid = 12,
            .start_ticks = start_ticks,
            .cpu_ns = MSEC(1500),
            .processes = 1},
        1);
    assert_int_equal(agent->totals.cpu_ns, MSEC(5500));
    world_done(&world);
}

static void test_exit_record_of_a_zombie(void **state)
{
    struct world world;
    (void)state;
    const struct agent *agent = start(&world);
    agent_slot slot = agent->slot;
    track(world_find(&world, 10), slot);
    struct proc_record *zombie = world_fork(&world, 11, 10);
    track(zombie, slot);
    zombie->utime_ns = SEC(1);
    zombie->state = 'Z';
    struct exit_record record = {.slot = slot,
        .pid = 11,
        .start_ticks = zombie->start_ticks,
        .cpu_ns = SEC(2),
        .processes = 1};
    exits(&world, &record, 1);
    assert_int_equal(agent->totals.cpu_ns, SEC(2));
    zombie->utime_ns = SEC(2);
    for (int i = 0; i < 3; i++) { /* it stands there for a while */
        world_pass(&world, SEC(1));
        world_tick(&world);
    }
    world_vanish(&world, 11);
    world_pass(&world, SEC(1));
    world_tick(&world);
    world_tick(&world);
    assert_int_equal(agent->totals.cpu_ns, SEC(2));
    world_done(&world);
}

static void test_folded_exit_record(void **state)
{
    struct world world;
    (void)state;
    const struct agent *agent = start(&world);
    agent_slot slot = agent->slot;
    track(world_find(&world, 10), slot);
    for (int pid = 11; pid < 14; pid++) {
        track(world_fork(&world, pid, 10), slot);
        world_find(&world, pid)->utime_ns = SEC(1);
    }
    world_tick(&world);
    for (int pid = 11; pid < 14; pid++)
        world_vanish(&world, pid);
    world_pass(&world, SEC(1));
    exits(&world, &(struct exit_record){.slot = slot, .cpu_ns = SEC(10), .processes = 20}, 1);
    assert_int_equal(agent->totals.cpu_ns, SEC(10));
    world_done(&world);
}

static void test_slot_records_are_the_truth(void **state)
{
    struct world world;
    (void)state;
    const struct agent *agent = start(&world);
    agent_slot slot = agent->slot;
    struct slot_record record = {.slot = slot,
        .known = SLOT_KNOWN_CPU | SLOT_KNOWN_IO | SLOT_KNOWN_PROCESSES | SLOT_KNOWN_RSS,
        .cpu_ns = SEC(2),
        .written_bytes = MIB(3),
        .processes_total = 42,
        .rss_max_bytes = MIB(800)};
    world.sample.slots = &record;
    world.sample.n_slots = 1;
    track(world_find(&world, 10), slot);
    world_find(&world, 10)->utime_ns = SEC(1); /* in the record as well */
    world_tick(&world);
    assert_int_equal(agent->totals.cpu_ns, SEC(2));
    assert_int_equal(agent->totals.disk_written_bytes, MIB(3));
    assert_int_equal(agent->totals.processes_total, 42);
    assert_int_equal(agent->totals.memory_peak_bytes, MIB(800));
    world_pass(&world, SEC(2));
    record.cpu_ns += SEC(1);
    world_vanish(&world, 10);
    world_fork(&world, 99, 1);
    exits(&world, &(struct exit_record){.slot = slot, .pid = 10, .cpu_ns = SEC(90)}, 1);
    assert_int_equal(agent->state, AGENT_EXITED);
    assert_int_equal(agent->totals.cpu_ns, SEC(3));
    record.cpu_ns += MSEC(10); /* the last slice comes one sample late */
    world_pass(&world, SEC(2));
    world_tick(&world);
    assert_int_equal(agent->totals.cpu_ns, MSEC(3010));
    assert_int_equal(agent->measured.known, 0);
    world_done(&world);
}

static void test_groups_win(void **state)
{
    struct world world;
    (void)state;
    const struct agent *agent = start(&world);
    struct group_record group = {.slot = agent->slot,
        .known = GROUP_KNOWN_CPU | GROUP_KNOWN_MEMORY | GROUP_KNOWN_IO | GROUP_KNOWN_NETWORK |
                 GROUP_KNOWN_MEMORY_PEAK,
        .cpu_ns = SEC(2),
        .memory_bytes = MIB(64),
        .memory_peak_bytes = MIB(96),
        .read_bytes = MIB(1),
        .received_bytes = MIB(10)};
    world.sample.groups = &group;
    world.sample.n_groups = 1;
    world_find(&world, 10)->utime_ns = SEC(1);
    world_find(&world, 10)->rss_anon_bytes = MIB(500);
    world_tick(&world); /* made with the agent: its counters are the agent's from the start */
    assert_int_equal(agent->totals.cpu_ns, SEC(2));
    assert_int_equal(agent->totals.net_received_bytes, MIB(10));
    assert_int_equal(agent->totals.memory_peak_bytes, MIB(96));
    assert_float_equal(agent->usage.memory_mb, 64, 1e-9);
    world_pass(&world, SEC(2));
    group.cpu_ns += SEC(1);
    group.sent_bytes += MIB(4);
    world_find(&world, 10)->utime_ns = SEC(40);
    world_tick(&world);
    assert_int_equal(agent->totals.cpu_ns, SEC(3));
    assert_float_equal(agent->usage.cpu_cores, 0.5, 1e-9);
    assert_float_equal(agent->usage.network_io_mbps, 2, 1e-9);
    assert_int_equal(agent->group.cpu_ns, SEC(3));
    world.sample.n_groups = 0; /* gone: members tell from here */
    world_find(&world, 10)->utime_ns = SEC(41);
    world_pass(&world, SEC(1));
    world_tick(&world);
    assert_int_equal(agent->totals.cpu_ns, SEC(4));
    assert_int_equal(agent->group.known, 0);
    assert_false(agent->usage.known & AC_KNOWN_NETWORK_IO);
    assert_float_equal(agent->usage.memory_mb, 500, 1e-9);
    world_done(&world);
}

static void test_group_that_was_there_before(void **state)
{
    struct world world;
    (void)state;
    world_init(&world);
    world_fork(&world, 10, 1)->utime_ns = SEC(50);
    world_pass(&world, SEC(60));
    const struct agent *agent = world_add(&world, "a", 10);
    struct group_record group = {.slot = agent->slot,
        .known = GROUP_KNOWN_CPU | GROUP_KNOWN_NETWORK,
        .cpu_ns = SEC(500),
        .sent_bytes = MIB(100)};
    world.sample.groups = &group;
    world.sample.n_groups = 1;
    world_tick(&world);
    assert_int_equal(agent->totals.cpu_ns, 0);
    assert_false(agent->usage.known & AC_KNOWN_NETWORK_IO);
    world_pass(&world, SEC(1));
    group.cpu_ns += MSEC(100);
    group.sent_bytes += MIB(1);
    world_tick(&world);
    assert_int_equal(agent->totals.cpu_ns, MSEC(100));
    assert_float_equal(agent->usage.network_io_mbps, 1, 1e-9);
    world_done(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_usage_of_a_tree),
        cmocka_unit_test(test_fresh_root_counts_whole_at_its_own_pace),
        cmocka_unit_test(test_fresh_root_over_a_suspension),
        cmocka_unit_test(test_attached_tree_counts_from_adoption),
        cmocka_unit_test(test_rates_leave_suspended_time_out),
        cmocka_unit_test(test_children_reaped_between_samples),
        cmocka_unit_test(test_seen_child_is_counted_once),
        cmocka_unit_test(test_sigchld_ignored_hands_nothing_on),
        cmocka_unit_test(test_child_reaped_after_its_parent_was_read),
        cmocka_unit_test(test_child_read_before_its_parent_reaped_it),
        cmocka_unit_test(test_counters_that_go_back),
        cmocka_unit_test(test_unknown_fields_stay_unknown),
        cmocka_unit_test(test_shared_memory_map_counts_once),
        cmocka_unit_test(test_exit_records),
        cmocka_unit_test(test_exit_record_of_a_zombie),
        cmocka_unit_test(test_folded_exit_record),
        cmocka_unit_test(test_slot_records_are_the_truth),
        cmocka_unit_test(test_groups_win),
        cmocka_unit_test(test_group_that_was_there_before),
    };
    return cmocka_run_group_tests_name("what agents used", tests, NULL, NULL);
}
