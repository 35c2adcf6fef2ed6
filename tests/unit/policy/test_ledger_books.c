/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/ledger.h"

#include "ledger_fixture.h"

static void restored_reservations_count_again(void **state)
{
    (void)state;
    struct ledger *ledger = new_ledger();
    struct ac_allocation a = ask(ledger, "a", AC_POLICY_RECOMMEND, 10, 100, 0);
    ledger_set_used(ledger, "b", 0, 0);
    struct ac_allocation b = ask(ledger, "b", AC_POLICY_RECOMMEND, 10, 500, 0);
    struct ac_allocation c = ask(ledger, "c", AC_POLICY_QUEUE, 10, 300, 0);
    struct ac_allocation d = ask(ledger, "d", AC_POLICY_QUEUE, 10, 60, 0);
    struct ac_allocation refused = ask(ledger, "e", AC_POLICY_STRICT, 10, 700, 0);
    ledger_free(ledger);

    /* In another order, after a while; the monotonic clock of a new boot means nothing. */
    ledger = new_ledger();
    struct moment later = {.mono = {5}, .wall_ns = at_s(50).wall_ns};
    assert_int_equal(ledger_restore(ledger, &d, 7, later), 0);
    assert_int_equal(ledger_restore(ledger, &c, 7, later), 0);
    assert_int_equal(ledger_restore(ledger, &b, 7, later), 0);
    assert_int_equal(ledger_restore(ledger, &a, 7, later), 0);
    assert_int_equal(ledger_restore(ledger, &a, 7, later), -EINVAL);
    assert_int_equal(ledger_owner(ledger, "a"), 7);
    assert_int_equal(ledger_owner(ledger, a.allocation_id), 7);
    assert_true(ledger_owner(ledger, "none") == UINT32_MAX);
    assert_int_equal(ledger_restore(ledger, &refused, 7, later), -EINVAL);
    assert_available(ledger, 70, 200);
    assert_int_equal(ledger_get(ledger, "a")->expires_ns, a.expires_ns);
    assert_int_equal(ledger_get(ledger, "b")->expires_ns, later.wall_ns + 60000000000ll);
    ledger_set_used(ledger, "b", 0, 0); /* is still there */
    assert_int_equal(ledger_get(ledger, "b")->expires_ns, 0);
    assert_int_equal(ledger_get(ledger, "c")->status, AC_ALLOCATION_QUEUED);
    n_told = 0;
    later.mono.ns += 10 * NS_PER_SEC;
    assert_int_equal(ledger_pump(ledger, later, sink, NULL), 1); /* 10 s were left of a's time */
    assert_string_equal(told[0].agent_id, "a");
    assert_int_equal(ledger_release(ledger, "b"), 0);
    n_told = 0;
    assert_int_equal(ledger_pump(ledger, later, sink, NULL), 2);
    assert_string_equal(told[0].agent_id, "c");
    assert_close(told[0].memory_mb, 300, 0);
    assert_non_null(strstr(told[0].explanation, "Predicted with confidence 0.50."));
    assert_string_equal(told[1].agent_id, "d");
    /* Ids go on behind the restored ones, although the seed is the same. */
    struct ac_allocation next = ask(ledger, "z", AC_POLICY_RECOMMEND, 1, 1, 100);
    const struct ac_allocation *const old[] = {&a, &b, &c, &d};
    for (size_t i = 0; i < ARRAY_SIZE(old); i++)
        assert_string_not_equal(next.allocation_id, old[i]->allocation_id);
    ledger_free(ledger);

    /* The one before it in the queue is gone: it moves up. */
    ledger = new_ledger();
    assert_int_equal(ledger_restore(ledger, &b, 7, at_s(100)), 0);
    assert_int_equal(ledger_restore(ledger, &d, 7, at_s(100)), 0);
    ask(ledger, "e", AC_POLICY_RECOMMEND, 1, 300, 100);
    assert_int_equal(pump(ledger, 100), 0);
    assert_int_equal(ledger_get(ledger, "d")->queue_position, 1);
    ledger_free(ledger);

    /* Whose time ran out while nobody looked goes at the first pump. */
    ledger = new_ledger();
    assert_int_equal(ledger_restore(ledger, &a, 7, at_s(1000)), 0);
    assert_int_equal(pump(ledger, 1001), 1);
    ledger_free(ledger);
}

/* ---- Property: over random operations the running sums equal recomputed ones, no grant takes
 * more than 0.8 of what the others leave, and grants never add up to more than the machine. */

#define AGENTS 60

struct shadow {
    bool granted, queued, seen;
    double cpu, memory, used_cpu, used_memory; /* percent, MiB */
};
static struct shadow shadows[AGENTS];

static void shadow_available(
    const struct ledger_machine *machine, int without, double *ret_cpu, double *ret_memory)
{
    double unmanaged_cpu = machine->used_cpu_percent;
    double unmanaged_memory = (double)machine->used_memory_bytes / MIB;
    for (int i = 0; i < AGENTS; i++) {
        unmanaged_cpu -= shadows[i].seen ? shadows[i].used_cpu : 0;
        unmanaged_memory -= shadows[i].seen ? shadows[i].used_memory : 0;
    }
    double cpu = 100 - fmax(0, unmanaged_cpu);
    double memory = (double)machine->capacity_memory_bytes / MIB - fmax(0, unmanaged_memory);
    for (int i = 0; i < AGENTS; i++) {
        const struct shadow *s = &shadows[i];
        if (i == without)
            continue;
        cpu -= fmax(s->granted ? s->cpu : 0, s->seen ? s->used_cpu : 0);
        memory -= fmax(s->granted ? s->memory : 0, s->seen ? s->used_memory : 0);
    }
    *ret_cpu = fmax(cpu, 0);
    *ret_memory = fmax(memory, 0);
}

static const struct ledger_machine *property_machine;

static void shadow_sink(void *userdata, const struct ac_allocation *allocation)
{
    (void)userdata;
    int i = (int)strtol(allocation->agent_id + 1, NULL, 10);
    double cpu, memory;
    shadow_available(property_machine, i, &cpu, &memory);
    if (allocation->status == AC_ALLOCATION_GRANTED) {
        assert_true(shadows[i].queued);
        assert_true(allocation->cpu_percent <= cpu * 0.8 + 0.001);
        assert_true(allocation->memory_mb <= memory * 0.8 + 0.001);
    }
    shadows[i].granted = allocation->status == AC_ALLOCATION_GRANTED;
    shadows[i].queued = false;
    shadows[i].cpu = allocation->cpu_percent;
    shadows[i].memory = allocation->memory_mb;
}

static void property_request(struct ledger *ledger, int i, uint64_t *seed, uint64_t step)
{
    char id[16];
    snprintf(id, sizeof(id), "p%d", i);
    struct ledger_request request = request_of(id, (enum ac_allocation_policy)random_below(seed, 3),
        random_below(seed, 60000) / 1000.0, random_below(seed, 4000));
    if (random_below(seed, 3) == 0)
        request.limits.max_memory_mb = 1 + random_below(seed, 2000);
    if (random_below(seed, 3) == 0)
        request.limits.max_cpu_cores = 0.1 + random_below(seed, 30) / 10.0;
    double cpu, memory;
    shadow_available(property_machine, i, &cpu, &memory);
    struct ac_allocation a;
    int r = ledger_request(ledger, &request, at_s(step), &a);
    if (r == -ENOSPC)
        return;
    assert_int_equal(r, 0);
    assert_close(a.available_cpu_percent, cpu, 0.001);
    assert_close(a.available_memory_mb, memory, 0.001);
    if (a.status == AC_ALLOCATION_REFUSED)
        return;
    if (a.status == AC_ALLOCATION_GRANTED) {
        assert_true(a.cpu_percent <= cpu * 0.8 + 0.001);
        assert_true(a.memory_mb <= memory * 0.8 + 0.001);
    }
    shadows[i].granted = a.status == AC_ALLOCATION_GRANTED;
    shadows[i].queued = a.status == AC_ALLOCATION_QUEUED;
    shadows[i].cpu = a.cpu_percent;
    shadows[i].memory = a.memory_mb;
}

static void property_step(
    struct ledger *ledger, struct ledger_machine *machine, uint64_t *seed, uint64_t step)
{
    int i = (int)random_below(seed, AGENTS);
    char id[16];
    snprintf(id, sizeof(id), "p%d", i);
    switch (random_below(seed, 8)) {
    case 0:
    case 1:
    case 2:
        property_request(ledger, i, seed, step);
        break;
    case 3:
    case 4:
        shadows[i].seen = true;
        shadows[i].used_cpu = random_below(seed, 20000) / 1000.0;
        shadows[i].used_memory = random_below(seed, 1500);
        assert_int_equal(ledger_set_used(ledger, id, shadows[i].used_cpu,
                             (uint64_t)shadows[i].used_memory * MIB),
            0);
        break;
    case 5: {
        bool there = shadows[i].granted || shadows[i].queued || shadows[i].seen;
        assert_int_equal(ledger_release(ledger, id), there ? 0 : -ENOENT);
        shadows[i] = (struct shadow){0};
        break;
    }
    case 6:
        ledger_pump(ledger, at_s(step), shadow_sink, NULL);
        break;
    case 7:
        machine->used_cpu_percent = random_below(seed, 100);
        machine->used_memory_bytes = random_below(seed, 8000) * MIB;
        ledger_set_machine(ledger, machine);
        break;
    }
}

static void property_check(const struct ledger *ledger, const struct ledger_machine *machine)
{
    double cpu, memory, cpu_percent;
    uint64_t bytes;
    shadow_available(machine, -1, &cpu, &memory);
    ledger_available(ledger, &cpu_percent, &bytes);
    assert_close(cpu_percent, cpu, 0.001);
    assert_close((double)bytes / MIB, memory, 0.001);
    double granted_cpu = 0, granted_memory = 0;
    size_t n = 0, expected = 0;
    const struct ac_allocation *a;
    for (size_t cursor = 0; (a = ledger_next(ledger, &cursor)); n++) {
        granted_cpu += a->status == AC_ALLOCATION_GRANTED ? a->cpu_percent : 0;
        granted_memory += a->status == AC_ALLOCATION_GRANTED ? a->memory_mb : 0;
    }
    for (int i = 0; i < AGENTS; i++)
        expected += shadows[i].granted || shadows[i].queued;
    assert_int_equal(n, expected);
    assert_true(granted_cpu <= 100.001);
    assert_true(granted_memory <= (double)machine->capacity_memory_bytes / MIB + 0.001);
}

static void random_operations_keep_the_books(void **state)
{
    (void)state;
    const struct ledger_options options = {.max_reservations = 50,
        .max_queue = 10,
        .reservation_ttl_ns = 200 * NS_PER_SEC,
        .headroom = 0.8};
    struct ledger_machine machine = {.capacity_cores = 8, .capacity_memory_bytes = 16 * GIB};
    struct ledger *ledger;
    uint64_t seed = 20260101;
    memset(shadows, 0, sizeof(shadows));
    property_machine = &machine;
    assert_int_equal(ledger_new(&options, &ledger), 0);
    ledger_set_machine(ledger, &machine);
    for (uint64_t step = 0; step < 100000; step++) {
        property_step(ledger, &machine, &seed, step);
        property_check(ledger, &machine);
    }
    for (int i = 0; i < AGENTS; i++) {
        char id[16];
        snprintf(id, sizeof(id), "p%d", i);
        ledger_release(ledger, id);
    }
    memset(shadows, 0, sizeof(shadows));
    property_check(ledger, &machine);
    ledger_free(ledger);
}

static void failing_allocations(void **state)
{
    (void)state;
    const struct ledger_options options = {
        .max_reservations = 100, .max_queue = 4, .headroom = 0.8};
    struct ledger *ledger;
    for (unsigned n = 1;; n++) {
        fault_arm(FAULT_ALLOC, n);
        int r = ledger_new(&options, &ledger);
        if (!fault_disarm()) {
            assert_int_equal(r, 0);
            ledger_free(ledger);
            break;
        }
        assert_int_equal(r, -ENOMEM);
    }
    /* 12 agents: the thirteenth makes both maps grow. */
    for (int operation = 0; operation < 3; operation++) {
        bool hit = true;
        for (unsigned n = 1; hit; n++) {
            char id[16];
            ledger = new_ledger();
            for (int i = 0; i < 12; i++) {
                snprintf(id, sizeof(id), "a%d", i);
                ask(ledger, id, AC_POLICY_RECOMMEND, 1, 10, 0);
            }
            struct ac_allocation stored = *ledger_get(ledger, "a1"), a;
            snprintf(stored.agent_id, sizeof(stored.agent_id), "s");
            snprintf(stored.allocation_id, sizeof(stored.allocation_id), "alloc-old-1");
            struct ledger_request request = request_of("s", AC_POLICY_RECOMMEND, 1, 10);
            fault_arm(FAULT_ALLOC, n);
            int r = operation == 0   ? ledger_request(ledger, &request, at_s(0), &a)
                    : operation == 1 ? ledger_restore(ledger, &stored, 7, at_s(0))
                                     : ledger_set_used(ledger, "s", 1, 10 * MIB);
            hit = fault_disarm();
            assert_int_equal(r, hit ? -ENOMEM : 0);
            /* What is used is a part of what the machine uses. */
            bool promised = !hit && operation < 2;
            assert_available(ledger, promised ? 77 : 78, promised ? 670 : 680);
            assert_int_equal(ledger_release(ledger, "s"), hit ? -ENOENT : 0);
            assert_available(ledger, 78, 680);
            ledger_free(ledger);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(restored_reservations_count_again),
        cmocka_unit_test(random_operations_keep_the_books),
        cmocka_unit_test(failing_allocations),
    };
    return cmocka_run_group_tests_name("policy/ledger_books", tests, NULL, NULL);
}
