/* SPDX-License-Identifier: Apache-2.0 */
/* Proportional memory: whose turn it is to be read, and what readings say of an agent. */
#include "registry_small.h"

#define KIB 1024u
#define MIB (1024u * KIB)

static struct proc_record *resident(struct world *world, int32_t pid, int32_t ppid, uint64_t rss)
{
    struct proc_record *proc = process(world, pid, ppid);
    proc->known |= PROC_KNOWN_RSS;
    proc->rss_anon_bytes = rss;
    return proc;
}

/* Goes in with the next sample. */
static void reading(struct world *world, int32_t pid, uint64_t bytes, uint64_t age_ms)
{
    world->pss[world->sample.n_pss++] = (struct pss_record){.pid = pid,
        .readable = 1,
        .start_ticks = (uint64_t)pid,
        .pss_bytes = bytes,
        .read_ns = at_ms(world->ms + 1000 - age_ms).mono.ns};
}

/* Asserts who is wanted, in this order. */
static void assert_wants(const struct world *world, size_t capacity, const int32_t *pids, size_t n)
{
    struct pss_want wants[PSS_WANTS_MAX];
    assert_int_equal(registry_pss_wants(world->registry, wants, capacity), n);
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(wants[i].pid, pids[i]);
        assert_int_equal(wants[i].start_ticks, pids[i]);
    }
}
#define ASSERT_WANTS(world, capacity, ...)                                                         \
    do {                                                                                           \
        const int32_t pids_[] = {__VA_ARGS__};                                                     \
        assert_wants(world, capacity, pids_, ARRAY_SIZE(pids_));                                   \
    } while (0)

static void unknown_until_all_have_been_read(void **state)
{
    struct world *world = *state;
    resident(world, 10, 1, 8 * MIB);
    resident(world, 11, 10, 6 * MIB);
    const struct agent *agent = add(world, "a", 10);
    assert_true(isnan(agent->pss_mb) && isnan(agent->pss_age_seconds));
    apply(world);
    assert_true(isnan(agent->pss_mb) && isnan(agent->pss_age_seconds));
    reading(world, 10, 5 * MIB, 300);
    apply(world);
    assert_true(isnan(agent->pss_mb));
    reading(world, 11, 2 * MIB, 100);
    apply(world);
    assert_true(agent->pss_mb == 7);
    assert_true(fabs(agent->pss_age_seconds - 1.3) < 1e-9); /* of the first one */
    apply(world);
    assert_true(agent->pss_mb == 7 && fabs(agent->pss_age_seconds - 2.3) < 1e-9);
    reading(world, 10, 4 * MIB, 0);
    apply(world);
    assert_true(agent->pss_mb == 6 && fabs(agent->pss_age_seconds - 2.1) < 1e-9);
    resident(world, 12, 11, MIB); /* a new child */
    apply(world);
    assert_true(isnan(agent->pss_mb));
    world->sample.n_procs--; /* ends */
    apply(world);
    assert_true(agent->pss_mb == 6);
}

static void one_that_may_not_be_read_leaves_it_unknown(void **state)
{
    struct world *world = *state;
    resident(world, 10, 1, 8 * MIB);
    resident(world, 11, 10, 6 * MIB);
    const struct agent *agent = add(world, "a", 10);
    apply(world);
    reading(world, 10, 5 * MIB, 0);
    reading(world, 11, 0, 0);
    world->pss[1].readable = 0;
    apply(world);
    assert_true(isnan(agent->pss_mb) && isnan(agent->pss_age_seconds));
    world->procs[1].rss_anon_bytes = 60 * MIB; /* it is not asked for again and again */
    apply(world);
    assert_wants(world, 64, NULL, 0);
    world->ms += 10000;
    apply(world);
    ASSERT_WANTS(world, 64, 10, 11);
    reading(world, 11, 3 * MIB, 0); /* gave up its privileges */
    apply(world);
    assert_true(agent->pss_mb == 8);
}

static void readings_of_others_are_passed_over(void **state)
{
    struct world *world = *state;
    resident(world, 10, 1, 8 * MIB);
    resident(world, 20, 1, 8 * MIB);
    const struct agent *agent = add(world, "a", 10);
    apply(world);
    reading(world, 20, MIB, 0); /* no agent's */
    reading(world, 999, MIB, 0);
    reading(world, -1, MIB, 0);
    reading(world, 10, MIB, 0);
    world->pss[3].start_ticks = 9; /* who had the pid before */
    apply(world);
    assert_true(isnan(agent->pss_mb));
    reading(world, 10, MIB, 0);
    world->pss[0].read_ns = 0; /* from a damaged recording */
    apply(world);
    assert_true(agent->pss_mb == 1);
}

static void one_address_space_counts_once(void **state)
{
    struct world *world = *state;
    struct proc_record *first = resident(world, 10, 1, 8 * MIB);
    struct proc_record *second = resident(world, 11, 10, 8 * MIB);
    first->mm_id = second->mm_id = 77;
    first->known |= PROC_KNOWN_MM;
    second->known |= PROC_KNOWN_MM;
    const struct agent *agent = add(world, "a", 10);
    apply(world);
    reading(world, 10, 5 * MIB, 0);
    apply(world);
    assert_true(agent->pss_mb == 5);
    reading(world, 11, 5 * MIB, 0);
    apply(world);
    assert_true(agent->pss_mb == 5);
}

static void what_has_no_memory_is_not_waited_for(void **state)
{
    struct world *world = *state;
    resident(world, 10, 1, 8 * MIB);
    resident(world, 11, 10, 0);
    struct proc_record *zombie = resident(world, 12, 10, 4 * MIB);
    zombie->state = 'Z';
    const struct agent *agent = add(world, "a", 10);
    apply(world);
    ASSERT_WANTS(world, 64, 10);
    reading(world, 10, 5 * MIB, 0);
    apply(world);
    assert_true(agent->pss_mb == 5);
    world->sample.n_procs = 0; /* a sample without processes changes nothing */
    apply(world);
    assert_true(agent->pss_mb == 5);
}

static void an_agent_that_ended_has_none(void **state)
{
    struct world *world = *state;
    resident(world, 20, 1, MIB);
    resident(world, 10, 1, 8 * MIB);
    const struct agent *agent = add(world, "a", 10);
    apply(world);
    reading(world, 10, 5 * MIB, 0);
    apply(world);
    assert_true(agent->pss_mb == 5);
    world->sample.n_procs = 1;
    apply(world);
    assert_int_equal(agent->state, AGENT_EXITED);
    assert_true(isnan(agent->pss_mb) && isnan(agent->pss_age_seconds));
    assert_wants(world, 64, NULL, 0);
}

static void the_largest_change_comes_first(void **state)
{
    struct world *world = *state;
    resident(world, 10, 1, 10 * MIB);
    resident(world, 11, 10, 30 * MIB);
    resident(world, 12, 10, 20 * MIB);
    resident(world, 20, 1, 90 * MIB); /* no agent's */
    add(world, "a", 10);
    assert_wants(world, 64, NULL, 0);
    apply(world);
    assert_wants(world, 0, NULL, 0);
    ASSERT_WANTS(world, 2, 11, 12); /* what was never read changed by all that it has */
    ASSERT_WANTS(world, 64, 11, 12, 10);
    for (int32_t pid = 10; pid < 13; pid++)
        reading(world, pid, MIB, 0);
    apply(world);
    assert_wants(world, 64, NULL, 0);
    world->procs[0].rss_anon_bytes += 3 * MIB;
    world->procs[1].rss_anon_bytes -= 5 * MIB; /* giving back is a change, too */
    world->procs[2].rss_anon_bytes += 4 * MIB;
    apply(world);
    ASSERT_WANTS(world, 2, 11, 10 + 2);
    reading(world, 11, MIB, 0);
    apply(world);
    /* Three were read and one more: the next ones are by change until the fourth turn again. */
    ASSERT_WANTS(world, 64, 12, 10);
}

static void the_oldest_gets_every_fourth_turn(void **state)
{
    struct world *world = *state;
    for (int32_t pid = 10; pid < 20; pid++)
        resident(world, pid, pid == 10 ? 1 : 10, 10 * MIB);
    add(world, "a", 10);
    apply(world);
    for (int32_t pid = 10; pid < 18; pid++) /* 18 and 19 never */
        reading(world, pid, MIB, (uint64_t)(20 - pid));
    apply(world);
    for (int i = 0; i < 8; i++)
        world->procs[i].rss_anon_bytes += (uint64_t)(100 + i) * MIB;
    apply(world);
    ASSERT_WANTS(world, 4, 17, 16, 15, 18); /* eight readings so far: the turn begins */
    ASSERT_WANTS(world, 8, 17, 16, 15, 18, 14, 13, 12, 19);
    /* One a time goes on where the last ones ended, so that nobody is left out for ever. */
    reading(world, 17, MIB, 0);
    reading(world, 16, MIB, 0);
    reading(world, 15, MIB, 0);
    apply(world);
    ASSERT_WANTS(world, 1, 18);
}

static void what_does_not_change_is_read_again_later(void **state)
{
    struct world *world = *state;
    resident(world, 10, 1, 10 * MIB);
    resident(world, 11, 10, 10 * MIB);
    add(world, "a", 10);
    apply(world);
    reading(world, 10, MIB, 0);
    reading(world, 11, MIB, 0);
    apply(world);
    world->ms += 8999;
    apply(world);
    assert_wants(world, 64, NULL, 0);
    reading(world, 11, MIB, 0);
    apply(world);
    ASSERT_WANTS(world, 64, 10);
}

static void no_more_than_the_largest_batch(void **state)
{
    struct world *world = *state;
    for (int32_t pid = 10; pid < 110; pid++)
        resident(world, pid, pid == 10 ? 1 : 10, (uint64_t)pid * MIB);
    add(world, "a", 10);
    apply(world);
    struct pss_want wants[PSS_WANTS_MAX + 1];
    bool seen[128] = {false};
    assert_int_equal(registry_pss_wants(world->registry, wants, ARRAY_SIZE(wants)), PSS_WANTS_MAX);
    for (size_t i = 0; i < PSS_WANTS_MAX; i++) {
        assert_false(seen[wants[i].pid]); /* each once */
        seen[wants[i].pid] = true;
    }
    for (int32_t pid = 65; pid < 110; pid++)
        assert_true(seen[pid]);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, begin, finish)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(unknown_until_all_have_been_read),
        TEST(one_that_may_not_be_read_leaves_it_unknown),
        TEST(readings_of_others_are_passed_over),
        TEST(one_address_space_counts_once),
        TEST(what_has_no_memory_is_not_waited_for),
        TEST(an_agent_that_ended_has_none),
        TEST(the_largest_change_comes_first),
        TEST(the_oldest_gets_every_fourth_turn),
        TEST(what_does_not_change_is_read_again_later),
        TEST(no_more_than_the_largest_batch),
    };
    return cmocka_run_group_tests_name("registry_pss", tests, NULL, NULL);
}
