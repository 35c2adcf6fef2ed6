/* SPDX-License-Identifier: Apache-2.0 */
/* The most memory that agents had: up to their end, and nothing from before they were agents. */
#include "registry_fixture.h"

/* An agent whose root (10) has started @age ago, beside init (1), and one sample. */
static const struct agent *start(struct world *world, uint64_t age)
{
    world_init(world);
    world_fork(world, 1, 0);
    world_fork(world, 10, 1)->rss_anon_bytes = MIB(10);
    world_pass(world, age);
    const struct agent *agent = world_add(world, "a", 10);
    world_tick(world);
    world_pass(world, SEC(1));
    return agent;
}

static void tick_with_exit(struct world *world, agent_slot slot, int32_t pid, uint64_t peak)
{
    struct exit_record record = {.slot = slot,
        .pid = pid,
        .start_ticks = world_find(world, pid)->start_ticks,
        .rss_peak_bytes = peak,
        .processes = 1};
    world_vanish(world, pid);
    world->sample.exits = &record;
    world->sample.n_exits = 1;
    world_tick(world);
    world->sample.n_exits = 0;
}

static void test_the_exit_of_the_last_process_tells_its_peak(void **state)
{
    struct world world;
    (void)state;
    const struct agent *agent = start(&world, 0);
    tick_with_exit(&world, agent->slot, 10, MIB(800));
    assert_int_equal(world.changes.n_exited, 1);
    assert_int_equal(agent->totals.memory_peak_bytes, MIB(800));
    world_done(&world);
}

static void test_a_peak_that_comes_after_the_end_is_kept(void **state)
{
    struct world world;
    (void)state;
    const struct agent *agent = start(&world, 0);
    struct slot_record record = {
        .slot = agent->slot, .known = SLOT_KNOWN_EXITED_RSS, .exited_rss_peak_bytes = MIB(800)};
    struct group_record group = {.slot = agent->slot,
        .known = GROUP_KNOWN_MEMORY | GROUP_KNOWN_MEMORY_PEAK,
        .memory_bytes = MIB(900),
        .memory_peak_bytes = MIB(2000)};
    world_vanish(&world, 10);
    world_tick(&world);
    assert_int_equal(agent->state, AGENT_EXITED);
    assert_int_equal(agent->totals.memory_peak_bytes, MIB(10));
    world.sample.slots = &record;
    world.sample.n_slots = 1;
    world.sample.groups = &group; /* of whoever is in it now */
    world.sample.n_groups = 1;
    world_pass(&world, SEC(1));
    world_tick(&world);
    assert_int_equal(agent->totals.memory_peak_bytes, MIB(800));
    assert_int_equal(agent->measured.known, 0);
    world_done(&world);
}

static void test_an_attached_process_does_not_bring_its_past(void **state)
{
    struct world world;
    (void)state;
    const struct agent *agent = start(&world, SEC(60));
    world_fork(&world, 11, 10)->rss_anon_bytes = MIB(5);
    world_tick(&world);
    world_pass(&world, SEC(1));
    tick_with_exit(&world, agent->slot, 11, MIB(50)); /* its child was born into the agent */
    assert_int_equal(agent->totals.memory_peak_bytes, MIB(50));
    world_pass(&world, SEC(1));
    tick_with_exit(&world, agent->slot, 10, MIB(935));
    assert_int_equal(agent->state, AGENT_EXITED);
    assert_int_equal(agent->totals.memory_peak_bytes, MIB(50));
    world_done(&world);
}

static void test_a_peak_of_the_group_counts_for_attached_agents_too(void **state)
{
    struct world world;
    (void)state;
    const struct agent *agent = start(&world, SEC(60));
    struct group_record group = {.slot = agent->slot,
        .known = GROUP_KNOWN_MEMORY | GROUP_KNOWN_MEMORY_PEAK,
        .memory_bytes = MIB(20),
        .memory_peak_bytes = MIB(700)};
    world.sample.groups = &group;
    world.sample.n_groups = 1;
    world_tick(&world);
    assert_int_equal(agent->totals.memory_peak_bytes, MIB(700));
    world_done(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_exit_of_the_last_process_tells_its_peak),
        cmocka_unit_test(test_a_peak_that_comes_after_the_end_is_kept),
        cmocka_unit_test(test_an_attached_process_does_not_bring_its_past),
        cmocka_unit_test(test_a_peak_of_the_group_counts_for_attached_agents_too),
    };
    return cmocka_run_group_tests_name("the most memory that agents had", tests, NULL, NULL);
}
