/* SPDX-License-Identifier: Apache-2.0 */
/* Agents and membership. Others: _machine, _account, _sim. */
#include "registry_fixture.h"

#include <errno.h>

#include "base/fault.h"

/* ---- Agents */

static void test_add_remove(void **state)
{
    struct registry *registry;
    const struct agent *agent, *other;
    struct agent_spec spec = {.id = "one"};
    struct moment now = {{SEC(5)}, 1};
    agent_slot cursor = 0;
    (void)state;
    assert_int_equal(registry_new(2, 1, &registry), 0);
    assert_int_equal(registry_add(registry, &spec, now, &agent), 0);
    assert_int_equal(registry_add(registry, &spec, now, &other), -EEXIST);
    snprintf(spec.id, sizeof(spec.id), "two");
    assert_int_equal(registry_add(registry, &spec, now, &other), 0);
    assert_int_not_equal(agent->slot, other->slot);
    snprintf(spec.id, sizeof(spec.id), "three");
    assert_int_equal(registry_add(registry, &spec, now, &other), -ENOSPC);
    assert_int_equal(registry_count(registry), 2);
    assert_string_equal(registry_next(registry, &cursor)->spec.id, "one");
    assert_string_equal(registry_next(registry, &cursor)->spec.id, "two");
    assert_null(registry_next(registry, &cursor));
    assert_int_equal(registry_remove(registry, "one"), 0);
    assert_int_equal(registry_remove(registry, "one"), -ENOENT);
    assert_null(registry_get(registry, "one"));
    assert_int_equal(registry_add(registry, &spec, now, &other), 0);
    assert_int_equal(other->slot, 1);
    assert_ptr_equal(registry_at(registry, 1), other);
    assert_null(registry_at(registry, 0));
    assert_null(registry_at(registry, 77));
    registry_free(registry);
    registry_free(NULL);
}

static void test_reports(void **state)
{
    struct registry *registry;
    const struct agent *agent;
    struct ac_usage usage;
    struct moment now = {{SEC(5)}, 42};
    (void)state;
    assert_int_equal(registry_new(1, 1, &registry), 0);
    ac_usage_init(&usage);
    usage.memory_mb = 100;
    usage.cpu_percent = 30;
    usage.file_descriptors = 9;
    usage.known = AC_KNOWN_MEMORY_MB | AC_KNOWN_CPU_PERCENT | AC_KNOWN_FILE_DESCRIPTORS;
    assert_int_equal(registry_report(registry, "a", &usage, now, false, &agent), -ENOENT);
    assert_int_equal(registry_report(registry, "a b", &usage, now, true, &agent), -EINVAL);
    assert_int_equal(registry_report(registry, "a", &usage, now, true, &agent), 0);
    assert_int_equal(registry_report(registry, "b", &usage, now, true, &agent), -ENOSPC);
    agent = registry_get(registry, "a");
    assert_int_equal(agent->usage.timestamp_ns, 42);
    assert_float_equal(agent->usage.memory_mb, 100, 0);
    usage.memory_mb = 50;
    usage.timestamp_ns = 7;
    assert_int_equal(registry_report(registry, "a", &usage, now, false, &agent), 0);
    assert_int_equal(agent->usage.timestamp_ns, 7);
    assert_float_equal(agent->usage.memory_mb, 50, 0);
    assert_int_equal(agent->totals.memory_peak_bytes, MIB(100));
    assert_int_equal(agent->totals.fds_peak, 9);
    assert_float_equal(agent->totals.cpu_peak_percent, 30, 0);
    assert_int_equal(agent->totals.known, TOTALS_KNOWN_MEMORY | TOTALS_KNOWN_FDS);
    assert_int_equal(agent->state, AGENT_RUNNING);
    registry_free(registry);
}

static void test_reported_fills_gaps_of_measured(void **state)
{
    struct world world;
    struct ac_usage usage;
    const struct agent *agent;
    (void)state;
    world_init(&world);
    world_fork(&world, 10, 1)->rss_anon_bytes = MIB(300);
    world_add(&world, "a", 10);
    world_tick(&world);
    ac_usage_init(&usage);
    usage.memory_mb = 5;
    usage.network_io_mbps = 2;
    usage.known = AC_KNOWN_MEMORY_MB | AC_KNOWN_NETWORK_IO;
    assert_int_equal(
        registry_report(world.registry, "a", &usage, world_moment(&world), false, &agent), 0);
    assert_float_equal(agent->usage.memory_mb, 300, 1e-9);
    assert_float_equal(agent->usage.network_io_mbps, 2, 0);
    world_pass(&world, SEC(1));
    world_tick(&world);
    assert_float_equal(agent->usage.network_io_mbps, 2, 0);
    assert_false(agent->measured.known & AC_KNOWN_NETWORK_IO);
    world_done(&world);
}

static void test_set_root(void **state)
{
    struct world world;
    struct ac_usage usage;
    const struct agent *agent;
    (void)state;
    world_init(&world);
    world_fork(&world, 10, 1);
    ac_usage_init(&usage);
    assert_int_equal(
        registry_report(world.registry, "a", &usage, world_moment(&world), true, &agent), 0);
    world_tick(&world);
    assert_int_equal(agent->processes, 0);
    struct agent_spec spec = {.id = "b", .root_pid = 10};
    assert_int_equal(registry_set_root(world.registry, &spec), -ENOENT);
    spec.id[0] = 'a';
    assert_int_equal(registry_set_root(world.registry, &spec), 0);
    spec.root_pid = 11;
    assert_int_equal(registry_set_root(world.registry, &spec), -EEXIST);
    assert_int_equal(agent->spec.root_pid, 10);
    assert_int_equal(registry_slot_of(world.registry, 10, 0), agent->slot);
    world_pass(&world, SEC(1));
    world_tick(&world);
    assert_int_equal(agent->processes, 1);
    assert_int_equal(agent->spec.root_start_ticks, 100000);
    world_done(&world);
}

/* ---- Membership */

static void test_children_inherit_and_stay(void **state)
{
    struct world world;
    struct proc_record members[8];
    (void)state;
    world_init(&world);
    world_fork(&world, 1, 0);
    world_fork(&world, 10, 1);
    world_fork(&world, 5, 10); /* a child with a smaller pid, listed later */
    world_fork(&world, 4, 5);
    world_fork(&world, 20, 1);
    const struct agent *agent = world_add(&world, "a", 10);
    world_tick(&world);
    assert_int_equal(agent->processes, 3);
    assert_int_equal(agent->threads, 3);
    assert_int_equal(registry_members(world.registry, agent->slot, members, 8), 3);
    assert_int_equal(members[0].slot, agent->slot);
    assert_int_equal(registry_members(world.registry, agent->slot, members, 1), 3);
    assert_int_equal(registry_members(world.registry, 99, members, 1), 0);
    assert_int_equal(registry_slot_of(world.registry, 20, 0), 0);
    world_vanish(&world, 5); /* its child goes to 1 */
    world_pass(&world, SEC(1));
    world_fork(&world, 6, 4);
    world_tick(&world);
    assert_int_equal(agent->processes, 3);
    assert_int_equal(registry_slot_of(world.registry, 4, 0), agent->slot);
    assert_int_equal(registry_slot_of(world.registry, 6, 0), agent->slot);
    assert_int_equal(agent->totals.processes_total, 4);
    world_done(&world);
}

static void test_reused_pid_is_another_process(void **state)
{
    struct world world;
    (void)state;
    world_init(&world);
    world_fork(&world, 1, 0);
    world_fork(&world, 10, 1);
    world_fork(&world, 11, 10)->utime_ns = SEC(5);
    const struct agent *agent = world_add(&world, "a", 10);
    world_tick(&world);
    world_vanish(&world, 11);
    world_pass(&world, SEC(1));
    struct proc_record *other = world_fork(&world, 11, 1);
    other->session = other->pgrp = 1;
    other->utime_ns = SEC(9);
    world_tick(&world);
    assert_int_equal(agent->processes, 1);
    assert_int_equal(registry_slot_of(world.registry, 11, other->start_ticks), 0);
    assert_int_equal(agent->totals.cpu_ns, SEC(5));
    world_done(&world);
}

/* Starts an agent in a session of its own, as a daemon does; 1 is init. */
static const struct agent *start_session(struct world *world)
{
    world_init(world);
    world_fork(world, 1, 0);
    struct proc_record *root = world_fork(world, 10, 1);
    root->session = root->pgrp = 10;
    const struct agent *agent = world_add(world, "a", 10);
    world_tick(world);
    world_pass(world, SEC(1));
    return agent;
}

static void test_double_fork_between_two_samples(void **state)
{
    struct world world;
    (void)state;
    const struct agent *agent = start_session(&world);
    world_fork(&world, 11, 10);
    world_fork(&world, 12, 11);
    world_vanish(&world, 11); /* never seen; 12 is init's, in the agent's session */
    world_tick(&world);
    assert_int_equal(registry_slot_of(world.registry, 12, 0), agent->slot);
    world_pass(&world, SEC(1));
    world_fork(&world, 13, 12); /* and what it forks */
    world_vanish(&world, 10);
    world_tick(&world);
    assert_int_equal(registry_slot_of(world.registry, 13, 0), agent->slot);
    assert_int_equal(agent->state, AGENT_ORPHANS);
    world_pass(&world, SEC(1)); /* the session's leader is gone, its session lives on */
    world_fork(&world, 14, 13);
    world_fork(&world, 15, 14);
    world_vanish(&world, 14);
    world_tick(&world);
    assert_int_equal(registry_slot_of(world.registry, 15, 0), agent->slot);
    world_done(&world);
}

static void test_new_session_leads_home_while_its_leader_is_known(void **state)
{
    struct world world;
    (void)state;
    const struct agent *agent = start_session(&world);
    struct proc_record *leader = world_fork(&world, 11, 10);
    world_tick(&world);
    leader = world_find(&world, 11);
    leader->session = leader->pgrp = 11; /* setsid after it was seen */
    world_fork(&world, 12, 11);
    world_pass(&world, SEC(1));
    world_vanish(&world, 11);
    world_tick(&world);
    assert_int_equal(registry_slot_of(world.registry, 12, 0), agent->slot);
    world_done(&world);
}

static void test_strangers_in_the_session_stay_strangers(void **state)
{
    struct world world;
    (void)state;
    world_init(&world);
    world_fork(&world, 1, 0);
    struct proc_record *shell = world_fork(&world, 9, 1);
    shell->session = shell->pgrp = 9;
    world_pass(&world, SEC(1));
    struct proc_record *old = world_fork(&world, 8, 9); /* older, in what becomes the group */
    old->pgrp = 10;
    old->ppid = 1;
    world_pass(&world, SEC(60));
    world_fork(&world, 10, 9)->pgrp = 10;
    const struct agent *agent = world_add(&world, "a", 10);
    /* `agent | tee`: the shell puts tee into the agent's group, but it is the shell's child. */
    world_fork(&world, 11, 9)->pgrp = 10;
    world_tick(&world);
    assert_int_equal(agent->processes, 1);
    assert_int_equal(registry_slot_of(world.registry, 11, 0), 0);
    assert_int_equal(registry_slot_of(world.registry, 8, 0), 0);
    assert_int_equal(registry_slot_of(world.registry, 9, 0), 0);
    world_done(&world);
}

static void test_nested_agent_moves_to_its_own(void **state)
{
    struct world world;
    (void)state;
    const struct agent *outer = start_session(&world);
    world_fork(&world, 11, 10)->utime_ns = SEC(1);
    world_tick(&world);
    assert_int_equal(outer->processes, 2);
    const struct agent *inner = world_add(&world, "b", 11);
    world_pass(&world, SEC(1));
    world_find(&world, 11)->utime_ns = SEC(3);
    world_fork(&world, 12, 11)->utime_ns = SEC(1);
    world_tick(&world);
    outer = registry_get(world.registry, "a");
    assert_int_equal(outer->processes, 1);
    assert_int_equal(inner->processes, 2);
    assert_int_equal(outer->totals.cpu_ns, SEC(1));
    assert_int_equal(inner->totals.cpu_ns, SEC(3));
    world_pass(&world, SEC(1));
    world_reap(&world, 12);
    world_reap(&world, 11); /* the outer agent's process waits for it */
    world_tick(&world);
    assert_int_equal(inner->state, AGENT_EXITED);
    assert_int_equal(outer->totals.cpu_ns, SEC(1));
    world_done(&world);
}

/* ---- Ends */

static void test_exit_and_orphans(void **state)
{
    struct world world;
    (void)state;
    const struct agent *agent = start_session(&world);
    world_fork(&world, 11, 10);
    world_tick(&world);
    assert_int_equal(world.changes.n_exited + world.changes.n_orphaned, 0);
    world_vanish(&world, 10);
    world_pass(&world, SEC(1));
    world_tick(&world);
    assert_int_equal(world.changes.n_orphaned, 1);
    assert_int_equal(world.changes.orphaned[0], agent->slot);
    assert_int_equal(agent->state, AGENT_ORPHANS);
    world_pass(&world, SEC(1));
    world_tick(&world);
    assert_int_equal(world.changes.n_orphaned, 0);
    world_find(&world, 11)->state = 'Z'; /* nobody waits for it: gone all the same */
    world_find(&world, 11)->utime_ns = SEC(1);
    world_pass(&world, SEC(1));
    world_tick(&world);
    assert_int_equal(world.changes.n_exited, 1);
    assert_int_equal(world.changes.exited[0], agent->slot);
    assert_int_equal(agent->state, AGENT_EXITED);
    assert_int_equal(agent->ended.wall_ns, world_moment(&world).wall_ns);
    assert_int_equal(agent->processes, 0);
    assert_int_equal(agent->measured.known, 0);
    assert_int_equal(agent->totals.cpu_ns, SEC(1));
    world_pass(&world, SEC(1));
    world_tick(&world);
    assert_int_equal(world.changes.n_exited, 0);
    /* The id is free again, and the new agent starts at nothing. */
    world_fork(&world, 30, 1);
    const struct agent *next = world_add(&world, "a", 30);
    assert_int_equal(next->totals.cpu_ns, 0);
    assert_int_equal(registry_count(world.registry), 1);
    world_tick(&world);
    assert_int_equal(next->processes, 1);
    world_done(&world);
}

static void test_root_gone_before_the_first_sample(void **state)
{
    struct world world;
    struct registry_changes changes;
    (void)state;
    world_init(&world);
    world_fork(&world, 1, 0);
    world_tick(&world);
    const struct agent *agent = world_add(&world, "a", 77);
    world_tick(&world); /* a sample taken before the agent was added tells nothing */
    assert_int_equal(agent->state, AGENT_RUNNING);
    world_pass(&world, SEC(1));
    struct proc_record *left = world_fork(&world, 78, 1);
    left->session = left->pgrp = 77;
    world_tick(&world);
    assert_int_equal(agent->state, AGENT_ORPHANS);
    assert_int_equal(registry_slot_of(world.registry, 78, 0), agent->slot);
    const struct agent *other = world_add(&world, "b", 79);
    world_pass(&world, SEC(1));
    world_tick(&world);
    assert_int_equal(other->state, AGENT_EXITED);
    assert_int_equal(other->totals.known, 0);
    /* A sample of the machine alone ends nobody. */
    struct sample machine_only = {.when = world_moment(&world), .machine = world.sample.machine};
    assert_int_equal(registry_apply(world.registry, &machine_only, &changes), 0);
    assert_int_equal(changes.n_exited, 0);
    assert_int_equal(agent->state, AGENT_ORPHANS);
    assert_int_equal(agent->processes, 1);
    world_done(&world);
}

static void test_other_start_time_is_not_the_root(void **state)
{
    struct world world;
    struct agent_spec spec = {.id = "a", .root_pid = 10, .root_start_ticks = 5};
    const struct agent *agent;
    (void)state;
    world_init(&world);
    world_fork(&world, 10, 1);
    assert_int_equal(registry_add(world.registry, &spec, world_moment(&world), &agent), 0);
    world_pass(&world, SEC(1));
    world_tick(&world);
    assert_int_equal(agent->state, AGENT_EXITED);
    world_done(&world);
}

static void test_removal_forgets_members(void **state)
{
    struct world world;
    (void)state;
    const struct agent *agent = start_session(&world);
    world_fork(&world, 11, 10);
    world_tick(&world);
    agent_slot slot = agent->slot;
    assert_int_equal(registry_remove(world.registry, "a"), 0);
    assert_int_equal(registry_slot_of(world.registry, 10, 0), 0);
    world_fork(&world, 50, 1)->session = 50;
    const struct agent *next = world_add(&world, "b", 50);
    assert_int_equal(next->slot, slot);
    world_pass(&world, SEC(1));
    world_tick(&world);
    assert_int_equal(next->processes, 1);
    assert_int_equal(registry_slot_of(world.registry, 11, 0), 0);
    world_done(&world);
}

/* ---- Hostile samples, failures */

static void test_nonsense_samples(void **state)
{
    struct world world;
    (void)state;
    world_init(&world);
    world_fork(&world, 10, 1);
    world_fork(&world, 11, 12); /* parents in a circle */
    world_fork(&world, 12, 11);
    world_fork(&world, 13, 13);
    world_fork(&world, 0, 0);
    world_fork(&world, -5, 10);
    struct proc_record *child = world_fork(&world, 14, 10);
    child->utime_ns = child->stime_ns = child->rss_anon_bytes = child->rss_file_bytes = UINT64_MAX;
    child->cutime_ns = child->cstime_ns = child->read_bytes = UINT64_MAX;
    world_fork(&world, 14, 10); /* listed twice */
    const struct agent *agent = world_add(&world, "a", 10);
    for (int i = 0; i < 3; i++) {
        world_tick(&world);
        world_pass(&world, SEC(1));
    }
    assert_int_equal(agent->processes, 2);
    assert_int_equal(agent->totals.cpu_ns, UINT64_MAX);
    world_vanish(&world, 14);
    world_find(&world, 10)->cutime_ns = UINT64_MAX;
    world_tick(&world);
    assert_int_equal(agent->totals.cpu_ns, UINT64_MAX);
    world_find(&world, 10)->ppid = 14;
    world_find(&world, 14)->ppid = 10;
    world_tick(&world);
    world_tick(&world);
    world_done(&world);
}

static void fail_each_allocation(bool first)
{
    for (unsigned n = 1;; n++) {
        struct world world;
        world_init(&world);
        world_fork(&world, 10, 1)->utime_ns = SEC(1);
        const struct agent *agent = world_add(&world, "a", 10);
        if (!first)
            world_tick(&world);
        for (int pid = 100; pid < 200; pid++)
            world_fork(&world, pid, 10)->utime_ns = SEC(1);
        world_pass(&world, SEC(1));
        world.sample.when = world_moment(&world);
        world.sample.boot_ns = world.boot_ns;
        world.sample.procs = world.procs;
        fault_arm(FAULT_ALLOC, n);
        int r = registry_apply(world.registry, &world.sample, &world.changes);
        bool hit = fault_disarm();
        if (hit) {
            assert_int_equal(r, -ENOMEM);
            assert_int_equal(agent->processes, first ? 0 : 1);
            world_pass(&world, SEC(1));
            world_tick(&world);
        }
        assert_int_equal(agent->processes, 101);
        assert_int_equal(agent->totals.cpu_ns, SEC(101));
        world_done(&world);
        if (!hit)
            break;
    }
}

static void test_failed_pass_is_covered_by_the_next(void **state)
{
    (void)state;
    fail_each_allocation(true);
    fail_each_allocation(false);
}

static void test_failed_add_changes_nothing(void **state)
{
    struct agent_spec spec = {.id = "a"};
    (void)state;
    for (unsigned n = 1;; n++) {
        struct registry *registry = NULL;
        const struct agent *agent = NULL;
        fault_arm(FAULT_ALLOC, n);
        int r = registry_new(100, 1, &registry);
        for (int i = 0; r == 0 && i < 40; i++) {
            snprintf(spec.id, sizeof(spec.id), "agent%d", i);
            r = registry_add(registry, &spec, (struct moment){0}, &agent);
        }
        bool hit = fault_disarm();
        assert_int_equal(r, hit ? -ENOMEM : 0);
        if (registry) {
            uint32_t count = registry_count(registry);
            assert_int_equal(
                registry_add(registry, &spec, (struct moment){0}, &agent), hit ? 0 : -EEXIST);
            assert_int_equal(registry_count(registry), count + hit);
        }
        registry_free(registry);
        if (!hit)
            break;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_add_remove),
        cmocka_unit_test(test_reports),
        cmocka_unit_test(test_reported_fills_gaps_of_measured),
        cmocka_unit_test(test_set_root),
        cmocka_unit_test(test_children_inherit_and_stay),
        cmocka_unit_test(test_reused_pid_is_another_process),
        cmocka_unit_test(test_double_fork_between_two_samples),
        cmocka_unit_test(test_new_session_leads_home_while_its_leader_is_known),
        cmocka_unit_test(test_strangers_in_the_session_stay_strangers),
        cmocka_unit_test(test_nested_agent_moves_to_its_own),
        cmocka_unit_test(test_exit_and_orphans),
        cmocka_unit_test(test_root_gone_before_the_first_sample),
        cmocka_unit_test(test_other_start_time_is_not_the_root),
        cmocka_unit_test(test_removal_forgets_members),
        cmocka_unit_test(test_nonsense_samples),
        cmocka_unit_test(test_failed_pass_is_covered_by_the_next),
        cmocka_unit_test(test_failed_add_changes_nothing),
    };
    return cmocka_run_group_tests_name("registry", tests, NULL, NULL);
}
