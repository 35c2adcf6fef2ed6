/* SPDX-License-Identifier: Apache-2.0 */
/* Totals that go on after a restart, and bytes that are none. */
#include <errno.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/mem.h"
#include "registry_fixture.h"

#define AGENT_PID 10

static const struct agent *start(struct world *world)
{
    world_init(world);
    world_fork(world, 1, 0);
    world_fork(world, AGENT_PID, 1);
    const struct agent *agent = world_add(world, "a", AGENT_PID);
    world_tick(world);
    return agent;
}

static void used(struct world *world, int32_t pid, uint64_t cpu_ms, uint64_t written_mib)
{
    struct proc_record *proc = world_find(world, pid);
    proc->utime_ns += MSEC(cpu_ms);
    proc->written_bytes += MIB(written_mib);
}

static void save(const struct world *world, struct buf *bytes)
{
    assert_int_equal(registry_save_totals(world->registry, world->boot_ns, bytes), 0);
}

/* A registry that begins anew, with the same agent. */
static const struct agent *restart(struct world *world, struct moment added)
{
    struct agent_spec spec = {.id = "a", .root_pid = AGENT_PID};
    const struct agent *agent;
    spec.root_start_ticks = SEC(1000) / 10000000;
    registry_free(world->registry);
    assert_int_equal(registry_new(100, 1, &world->registry), 0);
    world_tick(world); /* the first sample comes before agents are restored */
    world_pass(world, MSEC(1));
    assert_int_equal(registry_add(world->registry, &spec, added, &agent), 0);
    return agent;
}

static const struct agent *resume(struct world *world, const struct buf *bytes, struct moment added)
{
    const struct agent *agent = restart(world, added);
    assert_int_equal(registry_resume_totals(world->registry, bytes->data, bytes->size), 0);
    return agent;
}

static void test_totals_go_on(void **state)
{
    struct world world;
    struct buf bytes CLEANUP(buf_done) = {0};
    (void)state;
    const struct agent *agent = start(&world);
    struct moment added = agent->added;
    world_fork(&world, 11, AGENT_PID);
    used(&world, AGENT_PID, 3000, 5);
    used(&world, 11, 1000, 0);
    world_find(&world, 11)->rss_anon_bytes = MIB(70);
    world_pass(&world, SEC(2));
    world_tick(&world);
    struct agent_totals before = agent->totals;
    assert_int_equal(before.cpu_ns, SEC(4));
    save(&world, &bytes);
    agent = resume(&world, &bytes, added);
    assert_memory_equal(&agent->totals, &before, sizeof(before));
    world_tick(&world);
    assert_memory_equal(&agent->totals, &before, sizeof(before));
    assert_int_equal(agent->processes, 2);
    used(&world, 11, 500, 1);
    world_pass(&world, SEC(1));
    world_tick(&world);
    assert_int_equal(agent->totals.cpu_ns, SEC(4) + MSEC(500));
    assert_int_equal(agent->totals.disk_written_bytes, MIB(6));
    assert_float_equal(agent->usage.cpu_cores, 0.5, 1e-9);
    assert_int_equal(agent->totals.processes_total, 2);
    world_done(&world);
}

/* What lives, what was reaped by it, and what was born meanwhile; each once. */
static void test_what_was_used_meanwhile_is_added(void **state)
{
    struct world world;
    struct buf bytes CLEANUP(buf_done) = {0};
    (void)state;
    const struct agent *agent = start(&world);
    struct moment added = agent->added;
    world_fork(&world, 11, AGENT_PID);
    used(&world, AGENT_PID, 1000, 1);
    used(&world, 11, 1000, 0);
    world_pass(&world, SEC(1));
    world_tick(&world);
    save(&world, &bytes);
    world_pass(&world, SEC(20));
    used(&world, AGENT_PID, 2000, 2);
    used(&world, 11, 4000, 4);
    world_reap(&world, 11);
    world_fork(&world, 12, AGENT_PID);
    used(&world, 12, 300, 8);
    world_pass(&world, SEC(1));
    agent = resume(&world, &bytes, added);
    world_tick(&world);
    assert_int_equal(agent->totals.cpu_ns, MSEC(2000 + 2000 + 4000 + 300));
    assert_int_equal(agent->totals.disk_written_bytes, MIB(1 + 2 + 4 + 8));
    assert_int_equal(agent->totals.processes_total, 3);
    assert_false(agent->usage.known & AC_KNOWN_CPU_PERCENT); /* over what time? */
    world_done(&world);
}

/* Who ended unseen takes away from what is added, never from what was there. */
static void test_totals_never_go_back(void **state)
{
    struct world world;
    struct buf bytes CLEANUP(buf_done) = {0};
    (void)state;
    const struct agent *agent = start(&world);
    struct moment added = agent->added;
    world_fork(&world, 11, AGENT_PID);
    used(&world, 11, 9000, 0);
    world_pass(&world, SEC(9));
    world_tick(&world);
    save(&world, &bytes);
    used(&world, AGENT_PID, 1000, 0);
    world_vanish(&world, 11);
    world_pass(&world, SEC(5));
    agent = resume(&world, &bytes, added);
    world_tick(&world);
    assert_int_equal(agent->totals.cpu_ns, SEC(9));
    used(&world, AGENT_PID, 1000, 0);
    world_pass(&world, SEC(5));
    world_tick(&world);
    assert_int_equal(agent->totals.cpu_ns, SEC(10));
    world_done(&world);
}

/* No agent uses more than the machine has: here a process that was another's. */
static void test_no_more_than_the_machine_has(void **state)
{
    struct world world;
    struct buf bytes CLEANUP(buf_done) = {0};
    (void)state;
    const struct agent *agent = start(&world);
    struct moment added = agent->added;
    world_fork(&world, 11, 1);
    used(&world, 11, 100000, 0);
    world_pass(&world, SEC(1));
    world_tick(&world);
    save(&world, &bytes);
    world_find(&world, 11)->ppid = AGENT_PID;
    world_pass(&world, SEC(2));
    agent = resume(&world, &bytes, added);
    world_tick(&world);
    assert_in_range(agent->totals.cpu_ns, SEC(8) - MSEC(50), SEC(8) + MSEC(50));
    world_done(&world);
}

static void test_a_collectors_account_begins_anew(void **state)
{
    struct world world;
    struct buf bytes CLEANUP(buf_done) = {0};
    struct slot_record slot = {
        .slot = 1, .known = SLOT_KNOWN_CPU | SLOT_KNOWN_IO | SLOT_KNOWN_PROCESSES};
    (void)state;
    const struct agent *agent = start(&world);
    struct moment added = agent->added;
    world.sample.slots = &slot;
    world.sample.n_slots = 1;
    world_find(&world, AGENT_PID)->known |= PROC_KNOWN_SLOT;
    world_find(&world, AGENT_PID)->slot = 1;
    used(&world, AGENT_PID, 3000, 0);
    slot.cpu_ns = SEC(7); /* short ones as well */
    slot.processes_total = 50;
    world_pass(&world, SEC(8));
    world_tick(&world);
    save(&world, &bytes);
    slot.cpu_ns = 0;
    slot.processes_total = 0;
    world.sample.n_slots = 0;
    used(&world, AGENT_PID, 1000, 0);
    world_pass(&world, SEC(1));
    agent = resume(&world, &bytes, added);
    world.sample.n_slots = 1;
    slot.cpu_ns = MSEC(1); /* of that second: since it was adopted */
    slot.processes_total = 1;
    world_tick(&world);
    assert_int_equal(agent->totals.cpu_ns, SEC(8));
    assert_int_equal(agent->totals.processes_total, 50);
    slot.cpu_ns += SEC(1);
    slot.processes_total += 4;
    world_pass(&world, SEC(1));
    world_tick(&world);
    assert_int_equal(agent->totals.cpu_ns, SEC(9));
    assert_int_equal(agent->totals.processes_total, 54);
    world_done(&world);
}

/* Where ends are told, one may have been reaped before the first sample, too. */
static void test_an_end_that_is_told_is_in_what_it_was_reaped_into(void **state)
{
    struct world world;
    struct buf bytes CLEANUP(buf_done) = {0};
    (void)state;
    const struct agent *agent = start(&world);
    struct moment added = agent->added;
    world_find(&world, AGENT_PID)->known |= PROC_KNOWN_SLOT;
    world_find(&world, AGENT_PID)->slot = agent->slot;
    world_pass(&world, SEC(1));
    world_tick(&world);
    save(&world, &bytes);
    world_pass(&world, SEC(5));
    agent = resume(&world, &bytes, added);
    struct proc_record *born = world_fork(&world, 11, AGENT_PID);
    born->known |= PROC_KNOWN_SLOT;
    born->slot = agent->slot;
    born->utime_ns = MSEC(100);
    born->cutime_ns = MSEC(30); /* of one that came and went */
    world_find(&world, AGENT_PID)->cutime_ns += MSEC(700);
    const struct exit_record exited = {.slot = agent->slot,
        .pid = 12,
        .start_ticks = world.boot_ns / 10000000,
        .cpu_ns = MSEC(700),
        .processes = 1};
    world.sample.exits = &exited;
    world.sample.n_exits = 1;
    world_tick(&world);
    assert_int_equal(agent->totals.cpu_ns, MSEC(700 + 100 + 30));
    assert_int_equal(agent->totals.processes_total, 3);
    world_pass(&world, SEC(1));
    world_tick(&world); /* of a time when there was nothing to go on with */
    assert_int_equal(agent->totals.cpu_ns, MSEC(700 + 100 + 30 + 700));
    world_done(&world);
}

static void group_case(uint64_t cgroup_id_after, uint64_t expected_ns)
{
    struct world world;
    struct buf bytes CLEANUP(buf_done) = {0};
    struct group_record group = {
        .slot = 1, .known = GROUP_KNOWN_CPU | GROUP_KNOWN_NETWORK, .cgroup_id = 77};
    const struct agent *agent = start(&world);
    struct moment added = agent->added;
    world.sample.groups = &group;
    world.sample.n_groups = 1;
    group.cpu_ns = SEC(6);
    group.received_bytes = MIB(3);
    world_pass(&world, SEC(8));
    world_tick(&world);
    assert_int_equal(agent->totals.cpu_ns, SEC(6));
    save(&world, &bytes);
    world.sample.n_groups = 0;
    used(&world, AGENT_PID, 1000, 0);
    world_pass(&world, SEC(2));
    agent = resume(&world, &bytes, added);
    world.sample.n_groups = 1;
    group.cgroup_id = cgroup_id_after;
    group.cpu_ns = SEC(9);
    group.received_bytes = 0;
    world_tick(&world);
    assert_int_equal(agent->totals.cpu_ns, expected_ns);
    assert_int_equal(agent->totals.net_received_bytes, MIB(3));
    group.cpu_ns += SEC(1);
    group.received_bytes = MIB(1);
    world_pass(&world, SEC(1));
    world_tick(&world);
    assert_int_equal(agent->totals.cpu_ns, expected_ns + SEC(1));
    assert_int_equal(agent->totals.net_received_bytes, MIB(4));
    world_done(&world);
}

static void test_a_cgroup_knows_what_was_used_meanwhile(void **state)
{
    (void)state;
    group_case(77, SEC(9));
    group_case(78, SEC(7)); /* another one: what the process tells */
}

static void test_another_agent_of_the_name_begins_anew(void **state)
{
    struct world world;
    struct buf bytes CLEANUP(buf_done) = {0};
    (void)state;
    const struct agent *agent = start(&world);
    used(&world, AGENT_PID, 1000, 0);
    world_tick(&world);
    save(&world, &bytes);
    world_pass(&world, SEC(3));
    agent = resume(&world, &bytes, world_moment(&world));
    assert_int_equal(agent->totals.cpu_ns, 0);
    assert_int_equal(agent->totals.known, 0);
    world_done(&world);
}

static void test_a_restart_before_the_first_sample_loses_nothing(void **state)
{
    struct world world;
    struct buf bytes CLEANUP(buf_done) = {0}, again CLEANUP(buf_done) = {0};
    (void)state;
    const struct agent *agent = start(&world);
    struct moment added = agent->added;
    used(&world, AGENT_PID, 1000, 0);
    world_pass(&world, SEC(1));
    world_tick(&world);
    save(&world, &bytes);
    (void)resume(&world, &bytes, added);
    save(&world, &again);
    used(&world, AGENT_PID, 500, 0);
    world_pass(&world, SEC(1));
    agent = resume(&world, &again, added);
    world_tick(&world);
    assert_int_equal(agent->totals.cpu_ns, MSEC(1500));
    world_done(&world);
}

static void test_what_was_reported_goes_on(void **state)
{
    struct world world;
    struct buf bytes CLEANUP(buf_done) = {0};
    const struct ac_usage usage = {.known = AC_KNOWN_MEMORY_MB, .memory_mb = 5};
    const struct agent *agent;
    struct agent_spec spec = {.id = "told"};
    (void)state;
    world_init(&world);
    struct moment added = world_moment(&world);
    assert_int_equal(registry_add(world.registry, &spec, added, &agent), 0);
    assert_int_equal(registry_report(world.registry, "told", &usage, added, false, &agent), 0);
    save(&world, &bytes);
    registry_free(world.registry);
    assert_int_equal(registry_new(100, 1, &world.registry), 0);
    assert_int_equal(registry_add(world.registry, &spec, added, &agent), 0);
    assert_int_equal(registry_resume_totals(world.registry, bytes.data, bytes.size), 0);
    assert_int_equal(agent->totals.memory_peak_bytes, MIB(5));
    assert_int_equal(agent->totals.known, TOTALS_KNOWN_MEMORY);
    world_done(&world);
}

/* In memory of its exact size, behind a checksum that is right. */
static void try_bytes(struct world *world, const char *bytes, size_t size, bool valid)
{
    char *exact = mem_alloc(size + 8);
    memcpy(exact, bytes, size);
    uint64_t check = XXH3_64bits(bytes, size);
    memcpy(exact + size, &check, 8);
    (void)restart(world, (struct moment){.mono = {1}, .wall_ns = 7});
    int r = registry_resume_totals(world->registry, exact, size + 8);
    assert_true(r == 0 || (r == -EINVAL && !valid));
    world_tick(world);
    exact[0] ^= 1;
    assert_int_equal(registry_resume_totals(world->registry, exact, size + 8), -EINVAL);
    mem_free(exact);
}

static void test_any_bytes_are_survived(void **state)
{
    struct world world;
    struct buf bytes CLEANUP(buf_done) = {0};
    (void)state;
    const struct agent *agent = start(&world);
    used(&world, AGENT_PID, 1000, 1);
    world_tick(&world);
    ((struct agent *)(uintptr_t)agent)->added.wall_ns = 7;
    save(&world, &bytes);
    size_t size = bytes.size - 8;
    try_bytes(&world, bytes.data, size, true);
    for (size_t cut = 0; cut < size; cut++)
        try_bytes(&world, bytes.data, cut, false);
    for (size_t at = 0; at < size; at++) {
        for (int bit = 0; bit < 8; bit++) {
            bytes.data[at] = (char)(bytes.data[at] ^ 1 << bit);
            try_bytes(&world, bytes.data, size, false);
            bytes.data[at] = (char)(bytes.data[at] ^ 1 << bit);
        }
    }
    for (size_t n = 0; n < 8; n++)
        assert_int_equal(registry_resume_totals(world.registry, bytes.data, n), -EINVAL);
    world_done(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_totals_go_on),
        cmocka_unit_test(test_what_was_used_meanwhile_is_added),
        cmocka_unit_test(test_totals_never_go_back),
        cmocka_unit_test(test_no_more_than_the_machine_has),
        cmocka_unit_test(test_a_collectors_account_begins_anew),
        cmocka_unit_test(test_an_end_that_is_told_is_in_what_it_was_reaped_into),
        cmocka_unit_test(test_a_cgroup_knows_what_was_used_meanwhile),
        cmocka_unit_test(test_another_agent_of_the_name_begins_anew),
        cmocka_unit_test(test_a_restart_before_the_first_sample_loses_nothing),
        cmocka_unit_test(test_what_was_reported_goes_on),
        cmocka_unit_test(test_any_bytes_are_survived),
    };
    return cmocka_run_group_tests_name("registry_resume", tests, NULL, NULL);
}
