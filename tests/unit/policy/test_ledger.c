/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/ledger.h"

#include "ledger_fixture.h"

static void recommend_gives_the_smaller_of_need_and_room(void **state)
{
    (void)state;
    struct ledger *ledger = new_ledger();
    assert_available(ledger, 90, 800);
    struct ac_allocation a = ask(ledger, "a", AC_POLICY_RECOMMEND, 50, 256, 1);
    assert_int_equal(a.status, AC_ALLOCATION_GRANTED);
    assert_close(a.cpu_percent, 50, 0);
    assert_close(a.memory_mb, 256, 0);
    assert_close(a.execution_time_seconds, 60, 0);
    assert_close(a.available_cpu_percent, 90, 0);
    assert_close(a.available_memory_mb, 800, 0);
    assert_close(a.available_memory_percent, 80, 1e-9);
    assert_close(a.confidence, 0.5, 0);
    assert_int_equal(a.created_ns, at_s(1).wall_ns);
    assert_int_equal(a.expires_ns, at_s(61).wall_ns);
    assert_int_equal(a.queue_position, 0);
    assert_string_equal(a.explanation,
        "CPU 50.0 % is as predicted; memory 256.0 MiB is as predicted. "
        "Predicted from 12 runs of its template, confidence 0.50.");
    /* In the same instant: what is promised is promised. */
    assert_available(ledger, 40, 544);
    struct ac_allocation b = ask(ledger, "b", AC_POLICY_RECOMMEND, 50, 800, 1);
    assert_int_equal(b.status, AC_ALLOCATION_GRANTED);
    assert_close(b.cpu_percent, 32, 0);
    assert_close(b.memory_mb, 435.2, 1e-6);
    assert_string_equal(b.explanation,
        "CPU 32.0 % is 80 % of the 40.0 % that are free (predicted: 50.0); memory 435.2 MiB is "
        "80 % of the 544.0 MiB that are free (predicted: 800.0). "
        "Predicted from 12 runs of its template, confidence 0.50.");
    assert_string_not_equal(a.allocation_id, b.allocation_id);
    ledger_free(ledger);
}

/* 10 % and 200 MiB are used by others than agents. */
static void set_machine(struct ledger *ledger, double agents_cpu, uint64_t agents_mib)
{
    struct ledger_machine machine = small_machine;
    machine.used_cpu_percent += agents_cpu;
    machine.used_memory_bytes += agents_mib * MIB;
    ledger_set_machine(ledger, &machine);
}

static void own_maxima_cap(void **state)
{
    (void)state;
    struct ledger *ledger = new_ledger();
    struct ledger_request request = request_of("a", AC_POLICY_RECOMMEND, 50, 256);
    request.limits.max_cpu_cores = 1; /* 25 % of 4 cores */
    request.limits.max_memory_mb = 100;
    struct ac_allocation a;
    assert_int_equal(ledger_request(ledger, &request, at_s(0), &a), 0);
    assert_close(a.cpu_percent, 25, 0);
    assert_close(a.memory_mb, 100, 0);
    assert_non_null(strstr(a.explanation,
        "CPU 25.0 % is the agent's own maximum (predicted: 50.0); memory 100.0 MiB is the agent's "
        "own maximum (predicted: 256.0)."));
    /* Even that does not fit. */
    ledger_set_used(ledger, "big", 80, 750 * MIB);
    set_machine(ledger, 80, 750);
    assert_int_equal(ledger_request(ledger, &request, at_s(0), &a), 0);
    assert_close(a.cpu_percent, 8, 0);
    assert_close(a.memory_mb, 40, 1e-6);
    assert_non_null(strstr(a.explanation, "its own maximum is 25.0"));
    ledger_free(ledger);
}

static void unknown_cpu_counts_as_none_and_is_said(void **state)
{
    (void)state;
    struct ledger *ledger = new_ledger();
    struct ledger_machine machine = small_machine;
    machine.used_cpu_percent = NAN;
    ledger_set_machine(ledger, &machine);
    assert_available(ledger, 100, 800);
    struct ac_allocation a = ask(ledger, "a", AC_POLICY_RECOMMEND, 90, 1, 0);
    assert_close(a.cpu_percent, 80, 0);
    assert_non_null(strstr(a.explanation, "CPU use is unknown and counted as none"));
    ledger_free(ledger);
}

static void nothing_is_promised_on_unknown_memory(void **state)
{
    (void)state;
    struct ledger *ledger = new_ledger();
    struct ledger_machine machine = small_machine;
    machine.used_memory_bytes = LEDGER_UNKNOWN_BYTES;
    ledger_set_machine(ledger, &machine);
    struct ac_allocation a = ask(ledger, "a", AC_POLICY_RECOMMEND, 10, 900, 0);
    assert_close(a.memory_mb, 800, 0);
    assert_non_null(strstr(a.explanation, "memory use is unknown and counted as none"));
    assert_int_equal(ledger_release(ledger, "a"), 0);
    a = ask(ledger, "a", AC_POLICY_STRICT, 10, 1, 0);
    assert_int_equal(a.status, AC_ALLOCATION_REFUSED);
    assert_non_null(strstr(a.explanation, "Nothing is promised while"));
    a = ask(ledger, "a", AC_POLICY_QUEUE, 10, 1, 0);
    assert_int_equal(a.status, AC_ALLOCATION_QUEUED);
    ledger_set_machine(ledger, &small_machine);
    assert_int_equal(pump(ledger, 1), 1);
    assert_int_equal(told[0].status, AC_ALLOCATION_GRANTED);
    ledger_free(ledger);
}

static void before_the_first_sample_nothing_is_free(void **state)
{
    (void)state;
    const struct ledger_options options = {.max_reservations = 10, .max_queue = 1, .headroom = 0.8};
    struct ledger *ledger;
    assert_int_equal(ledger_new(&options, &ledger), 0);
    assert_available(ledger, 0, 0);
    struct ledger_request request = request_of("a", AC_POLICY_RECOMMEND, 50, 256);
    request.limits.max_cpu_cores = 1;
    struct ac_allocation a;
    assert_int_equal(ledger_request(ledger, &request, at_s(0), &a), 0);
    assert_close(a.cpu_percent, 0, 0);
    assert_close(a.memory_mb, 0, 0);
    assert_close(a.available_memory_percent, 0, 0);
    request.agent_id = "b";
    request.policy = AC_POLICY_QUEUE;
    assert_int_equal(ledger_request(ledger, &request, at_s(0), &a), 0);
    assert_int_equal(a.status, AC_ALLOCATION_QUEUED);
    ledger_set_machine(ledger, &small_machine);
    assert_int_equal(pump(ledger, 1), 1);
    assert_close(told[0].memory_mb, 256, 0);
    ledger_free(ledger);
}

static void use_counts_once(void **state)
{
    (void)state;
    struct ledger *ledger = new_ledger();
    ask(ledger, "a", AC_POLICY_RECOMMEND, 20, 300, 0);
    assert_available(ledger, 70, 500);
    /* Below its reservation: the reservation counts. */
    ledger_set_used(ledger, "a", 5, 100 * MIB);
    set_machine(ledger, 5, 100);
    assert_available(ledger, 70, 500);
    /* Above it: the use counts, resource by resource. */
    ledger_set_used(ledger, "a", 30, 400 * MIB);
    set_machine(ledger, 30, 400);
    assert_available(ledger, 60, 400);
    ledger_set_used(ledger, "a", NAN, 0);
    set_machine(ledger, 0, 0);
    assert_available(ledger, 70, 500);
    /* An agent without a reservation; what it reports between two looks at the machine is taken
     * for a part of what the machine uses. */
    ledger_set_used(ledger, "b", 10, 50 * MIB);
    assert_available(ledger, 70, 500);
    set_machine(ledger, 10, 50);
    assert_available(ledger, 60, 450);
    ledger_set_used(ledger, "b", 30, 500 * MIB); /* more than the machine: never negative */
    assert_available(ledger, 50, 200);
    assert_int_equal(ledger_release(ledger, "b"), 0);
    assert_int_equal(ledger_release(ledger, "b"), -ENOENT);
    set_machine(ledger, 0, 0);
    assert_available(ledger, 70, 500);
    ledger_free(ledger);
}

static void hostile_use_does_not_break_sums(void **state)
{
    (void)state;
    struct ledger *ledger = new_ledger();
    const double cpus[] = {INFINITY, 1e308, -5, NAN, -INFINITY};
    char id[16];
    for (unsigned i = 0; i < 20000; i++) {
        snprintf(id, sizeof(id), "h%u", i);
        assert_int_equal(
            ledger_set_used(ledger, id, cpus[i % ARRAY_SIZE(cpus)], UINT64_MAX - i), 0);
    }
    assert_available(ledger, 0, 0);
    for (unsigned i = 0; i < 20000; i++) {
        snprintf(id, sizeof(id), "h%u", i);
        assert_int_equal(ledger_release(ledger, id), 0);
    }
    assert_available(ledger, 90, 800);
    ledger_free(ledger);
}

static void a_second_request_replaces_the_first(void **state)
{
    (void)state;
    struct ledger *ledger = new_ledger();
    struct ac_allocation first = ask(ledger, "a", AC_POLICY_RECOMMEND, 50, 600, 0);
    struct ac_allocation second = ask(ledger, "a", AC_POLICY_RECOMMEND, 60, 640, 1);
    assert_close(second.memory_mb, 640, 0); /* its own reservation is no obstacle */
    assert_close(second.available_memory_mb, 800, 0);
    assert_available(ledger, 30, 160);
    assert_null(ledger_get(ledger, first.allocation_id));
    assert_string_equal(ledger_get(ledger, "a")->allocation_id, second.allocation_id);
    /* A refused request leaves the reservation as it is. */
    struct ac_allocation third = ask(ledger, "a", AC_POLICY_STRICT, 60, 700, 2);
    assert_int_equal(third.status, AC_ALLOCATION_REFUSED);
    assert_string_equal(ledger_get(ledger, "a")->allocation_id, second.allocation_id);
    assert_available(ledger, 30, 160);
    ledger_free(ledger);
}

static void strict_refuses(void **state)
{
    (void)state;
    struct ledger *ledger = new_ledger();
    struct ac_allocation other = ask(ledger, "other", AC_POLICY_RECOMMEND, 40, 0, 0);
    assert_close(other.cpu_percent, 40, 0);
    struct ac_allocation a = ask(ledger, "a", AC_POLICY_STRICT, 40, 640, 0); /* just */
    assert_int_equal(a.status, AC_ALLOCATION_GRANTED);
    ledger_release(ledger, "a");
    a = ask(ledger, "a", AC_POLICY_STRICT, 40.001, 1, 0);
    assert_int_equal(a.status, AC_ALLOCATION_REFUSED);
    assert_int_equal(ledger_release(ledger, "other"), 0);
    a = ask(ledger, "a", AC_POLICY_STRICT, 10, 640.001, 0);
    assert_int_equal(a.status, AC_ALLOCATION_REFUSED);
    assert_close(a.cpu_percent, 0, 0);
    assert_close(a.memory_mb, 0, 0);
    assert_close(a.available_memory_mb, 800, 0);
    assert_string_equal(a.explanation,
        "Refused: needs CPU 10.0 % and memory 640.0 MiB; 80 % of what is free is CPU 72.0 % and "
        "memory 640.0 MiB. Predicted from 12 runs of its template, confidence 0.50.");
    assert_null(ledger_get(ledger, "a"));
    assert_null(ledger_get(ledger, a.allocation_id));
    assert_available(ledger, 90, 800);
    /* The own maximum is what must fit. */
    struct ledger_request request = request_of("a", AC_POLICY_STRICT, 10, 900);
    request.limits.max_memory_mb = 600;
    assert_int_equal(ledger_request(ledger, &request, at_s(0), &a), 0);
    assert_int_equal(a.status, AC_ALLOCATION_GRANTED);
    assert_close(a.memory_mb, 600, 0);
    a = ask(ledger, "b", AC_POLICY_STRICT, 1, 801, 0);
    assert_non_null(strstr(a.explanation, "never gives one agent more than 800.0 MiB"));
    ledger_free(ledger);
}

/* Predictions are of peaks: one that used all CPUs once must not wait for ever. */
static void all_cpus_are_not_waited_for(void **state)
{
    (void)state;
    const enum ac_allocation_policy policies[] = {AC_POLICY_STRICT, AC_POLICY_QUEUE};
    for (unsigned i = 0; i < ARRAY_SIZE(policies); i++) {
        struct ledger *ledger = new_ledger();
        struct ac_allocation a = ask(ledger, "a", policies[i], 100, 100, 0);
        assert_int_equal(a.status, AC_ALLOCATION_GRANTED);
        assert_close(a.cpu_percent, 64, 0);
        assert_non_null(strstr(
            a.explanation, "CPU 64.0 % is the most that has to be free (predicted: 100.0);"));
        a = ask(ledger, "b", policies[i], 100, 100, 0); /* not both at once */
        assert_int_equal(a.status,
            policies[i] == AC_POLICY_STRICT ? AC_ALLOCATION_REFUSED : AC_ALLOCATION_QUEUED);
        struct ledger_request request = request_of("c", policies[i], 100, 100);
        request.limits.max_cpu_cores = 0.2;
        ledger_release(ledger, "b");
        assert_int_equal(ledger_request(ledger, &request, at_s(0), &a), 0);
        assert_close(a.cpu_percent, 5, 0);
        assert_non_null(strstr(a.explanation, "the agent's own maximum"));
        ledger_free(ledger);
    }
}

static void queue_waits_in_order(void **state)
{
    (void)state;
    struct ledger *ledger = new_ledger();
    struct ac_allocation a = ask(ledger, "a", AC_POLICY_QUEUE, 10, 600, 0);
    assert_int_equal(a.status, AC_ALLOCATION_GRANTED);
    struct ac_allocation b = ask(ledger, "b", AC_POLICY_QUEUE, 10, 500, 1);
    assert_int_equal(b.status, AC_ALLOCATION_QUEUED);
    assert_int_equal(b.queue_position, 1);
    assert_close(b.memory_mb, 500, 0);
    assert_int_equal(strncmp(b.explanation, "Waits in the queue: needs CPU 10.0 %", 36), 0);
    /* Would fit, but the first in the line goes first. */
    struct ac_allocation c = ask(ledger, "c", AC_POLICY_QUEUE, 10, 100, 2);
    assert_int_equal(c.status, AC_ALLOCATION_QUEUED);
    assert_int_equal(c.queue_position, 2);
    struct ac_allocation d = ask(ledger, "d", AC_POLICY_QUEUE, 10, 600, 3);
    assert_int_equal(d.queue_position, 3);
    assert_available(ledger, 80, 200); /* waiting reserves nothing */
    ledger_set_used(ledger, "a", 10, 600 * MIB);
    assert_int_equal(pump(ledger, 4), 0);
    assert_int_equal(ledger_release(ledger, "a"), 0);
    assert_int_equal(pump(ledger, 5), 2);
    assert_string_equal(told[0].agent_id, "b");
    assert_int_equal(told[0].status, AC_ALLOCATION_GRANTED);
    assert_string_equal(told[0].allocation_id, b.allocation_id);
    assert_int_equal(told[0].queue_position, 0);
    assert_int_equal(told[0].created_ns, at_s(1).wall_ns);
    assert_int_equal(told[0].expires_ns, at_s(65).wall_ns);
    assert_string_equal(told[1].agent_id, "c");
    assert_int_equal(ledger_get(ledger, "d")->queue_position, 1);
    assert_int_equal(ledger_get(ledger, d.allocation_id)->status, AC_ALLOCATION_QUEUED);
    assert_available(ledger, 70, 200);
    ledger_free(ledger);
}

static void leaving_the_queue_moves_others_up(void **state)
{
    (void)state;
    struct ledger *ledger = new_ledger();
    ask(ledger, "a", AC_POLICY_QUEUE, 10, 640, 0);
    const char *const waiting[] = {"b", "c", "d", "e"};
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(ask(ledger, waiting[i], AC_POLICY_QUEUE, 1, 300, 1).queue_position, i + 1);
    struct ledger_request request = request_of("f", AC_POLICY_QUEUE, 1, 300);
    struct ac_allocation f;
    assert_int_equal(ledger_request(ledger, &request, at_s(2), &f), -ENOSPC);
    assert_null(ledger_get(ledger, "f"));
    /* Asking again keeps the place. */
    struct ac_allocation c = ask(ledger, "c", AC_POLICY_QUEUE, 1, 200, 3);
    assert_int_equal(c.status, AC_ALLOCATION_QUEUED);
    assert_int_equal(c.queue_position, 2);
    assert_int_equal(ledger_release(ledger, "b"), 0);
    assert_int_equal(ledger_get(ledger, "c")->queue_position, 1);
    assert_int_equal(ledger_get(ledger, "d")->queue_position, 2);
    assert_int_equal(ledger_get(ledger, "e")->queue_position, 3);
    /* The first one asks for less: it fits, and leaves the queue. */
    c = ask(ledger, "c", AC_POLICY_QUEUE, 1, 100, 4);
    assert_int_equal(c.status, AC_ALLOCATION_GRANTED);
    assert_int_equal(ledger_get(ledger, "d")->queue_position, 1);
    /* One in the middle takes what it can get now. */
    struct ac_allocation e = ask(ledger, "e", AC_POLICY_RECOMMEND, 1, 300, 5);
    assert_int_equal(e.status, AC_ALLOCATION_GRANTED);
    assert_close(e.memory_mb, 48, 1e-6);
    assert_int_equal(ledger_get(ledger, "d")->queue_position, 1);
    /* And one that holds something goes back to the end of the line. */
    c = ask(ledger, "c", AC_POLICY_QUEUE, 1, 500, 6);
    assert_int_equal(c.queue_position, 2);
    assert_available(ledger, 79, 112);
    ledger_free(ledger);
}

static void what_can_never_fit_does_not_block_the_queue(void **state)
{
    (void)state;
    struct ledger *ledger = new_ledger();
    struct ac_allocation a = ask(ledger, "a", AC_POLICY_QUEUE, 10, 801, 0);
    assert_int_equal(a.status, AC_ALLOCATION_REFUSED);
    assert_non_null(strstr(a.explanation, "never gives one agent more than"));
    a = ask(ledger, "a", AC_POLICY_QUEUE, 10, 700, 0); /* would fit an empty machine */
    assert_int_equal(a.status, AC_ALLOCATION_QUEUED);
    ask(ledger, "b", AC_POLICY_QUEUE, 10, 100, 0);
    struct ledger_machine machine = small_machine;
    machine.capacity_memory_bytes = 800 * MIB; /* the container shrinks */
    ledger_set_machine(ledger, &machine);
    assert_int_equal(pump(ledger, 1), 2);
    assert_string_equal(told[0].agent_id, "a");
    assert_int_equal(told[0].status, AC_ALLOCATION_REFUSED);
    assert_int_equal(told[0].queue_position, 0);
    assert_string_equal(told[1].agent_id, "b");
    assert_int_equal(told[1].status, AC_ALLOCATION_GRANTED);
    assert_null(ledger_get(ledger, "a"));
    ledger_free(ledger);
}

static void reservations_run_out_unless_the_agent_appears(void **state)
{
    (void)state;
    struct ledger *ledger = new_ledger();
    ask(ledger, "a", AC_POLICY_RECOMMEND, 10, 100, 0);
    ask(ledger, "b", AC_POLICY_RECOMMEND, 10, 100, 10);
    ask(ledger, "c", AC_POLICY_RECOMMEND, 10, 100, 20);
    ledger_set_used(ledger, "b", 0, 0); /* appears */
    assert_int_equal(ledger_get(ledger, "b")->expires_ns, 0);
    /* Appeared before it asked: no time limit either. */
    ledger_set_used(ledger, "d", 0, 0);
    assert_int_equal(ask(ledger, "d", AC_POLICY_RECOMMEND, 10, 100, 20).expires_ns, 0);
    assert_int_equal(pump(ledger, 59), 0);
    assert_int_equal(pump(ledger, 60), 1);
    assert_string_equal(told[0].agent_id, "a");
    assert_int_equal(told[0].status, AC_ALLOCATION_REFUSED);
    assert_string_equal(
        told[0].explanation, "The reservation ran out: the agent did not appear within 60 s.");
    assert_null(ledger_get(ledger, "a"));
    assert_int_equal(pump(ledger, 1000), 1);
    assert_string_equal(told[0].agent_id, "c");
    assert_available(ledger, 70, 600);
    /* What ran out makes room for who waits. */
    ask(ledger, "x", AC_POLICY_RECOMMEND, 10, 480, 1000);
    ask(ledger, "y", AC_POLICY_QUEUE, 10, 480, 1001);
    assert_int_equal(pump(ledger, 1060), 2);
    assert_string_equal(told[0].agent_id, "x");
    assert_string_equal(told[1].agent_id, "y");
    assert_int_equal(told[1].status, AC_ALLOCATION_GRANTED);
    ledger_free(ledger);
}

static void bad_requests_are_refused(void **state)
{
    (void)state;
    struct ledger *ledger = new_ledger();
    const struct ledger_request good = request_of("a", AC_POLICY_RECOMMEND, 1, 1);
    struct ledger_request bad[10];
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        bad[i] = good;
    bad[0].agent_id = "";
    bad[1].agent_id = "no spaces";
    bad[2].agent_id = NULL;
    bad[3].policy = (enum ac_allocation_policy)3;
    bad[4].predicted.cpu_percent = NAN;
    bad[5].predicted.memory_mb = -1;
    bad[6].predicted.execution_time_seconds = INFINITY;
    bad[7].limits.max_cpu_cores = -1;
    bad[8].limits.max_memory_mb = NAN;
    bad[9].policy = (enum ac_allocation_policy) - 1;
    struct ac_allocation a;
    memset(&a, 0x55, sizeof(a));
    struct ac_allocation before = a;
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        assert_int_equal(ledger_request(ledger, &bad[i], at_s(0), &a), -EINVAL);
    assert_memory_equal(&a, &before, sizeof(a));
    assert_available(ledger, 90, 800);
    /* Large values are no error; they are just not to be had. */
    struct ledger_request large = request_of("a", AC_POLICY_RECOMMEND, 1e300, 1e300);
    assert_int_equal(ledger_request(ledger, &large, at_s(0), &a), 0);
    assert_close(a.memory_mb, 640, 1e-6);
    ledger_free(ledger);
    struct ledger *none = NULL;
    const double headrooms[] = {0, -1, 1.01, NAN, INFINITY};
    for (size_t i = 0; i < ARRAY_SIZE(headrooms); i++) {
        struct ledger_options options = {.max_reservations = 1, .headroom = headrooms[i]};
        assert_int_equal(ledger_new(&options, &none), -EINVAL);
    }
    assert_null(none);
    ledger_free(NULL);
}

static int queue_one(struct ledger *ledger, const char *id, uint32_t owner)
{
    struct ledger_request request = request_of(id, AC_POLICY_QUEUE, 1, 300);
    struct ac_allocation allocation;
    request.owner_uid = owner;
    int r = ledger_request(ledger, &request, at_s(1), &allocation);
    assert_true(r < 0 || allocation.status == AC_ALLOCATION_QUEUED);
    return r;
}

/* One user's requests that wait leave places for those of others, all users' some for root's. */
static void owners_have_shares_of_the_queue(void **state)
{
    (void)state;
    struct ledger_options options = options_default();
    options.max_queue = 8;
    options.users = (struct quota_users){.several = true, .own_uid = 7};
    struct ledger *ledger = new_ledger_with(&options);
    ask(ledger, "full", AC_POLICY_RECOMMEND, 10, 640, 0);
    assert_int_equal(queue_one(ledger, "a1", 1000), 0);
    assert_int_equal(queue_one(ledger, "a2", 1000), 0);
    assert_int_equal(queue_one(ledger, "a3", 1000), -ENOSPC);
    assert_null(ledger_get(ledger, "a3"));
    assert_int_equal(queue_one(ledger, "a2", 1000), 0); /* keeps its place */
    assert_int_equal(queue_one(ledger, "b1", 1001), 0);
    struct ac_allocation stored = *ledger_get(ledger, "b1");
    assert_int_equal(ledger_release(ledger, "b1"), 0);
    assert_int_equal(ledger_restore(ledger, &stored, 1001, at_s(1)), 0);
    assert_int_equal(queue_one(ledger, "b2", 1001), 0);
    assert_int_equal(queue_one(ledger, "b3", 1001), -ENOSPC);
    assert_int_equal(queue_one(ledger, "c1", 1002), 0);
    assert_int_equal(queue_one(ledger, "r1", 0), 0);
    assert_int_equal(queue_one(ledger, "c2", 1002), 0);
    assert_int_equal(queue_one(ledger, "d1", 1003), -ENOSPC); /* three quarters are taken */
    assert_int_equal(queue_one(ledger, "own", 7), 0);
    assert_int_equal(queue_one(ledger, "r2", 0), -ENOSPC);
    assert_int_equal(ledger_release(ledger, "a1"), 0);
    assert_int_equal(queue_one(ledger, "d1", 1003), 0);
    ledger_free(ledger);
}

static void the_table_is_capped(void **state)
{
    (void)state;
    struct ledger *ledger = new_ledger();
    char id[16];
    struct ac_allocation a;
    for (unsigned i = 0; i < 100; i++) {
        snprintf(id, sizeof(id), "a%u", i);
        ask(ledger, id, AC_POLICY_RECOMMEND, 0.1, 1, 0);
    }
    struct ledger_request request = request_of("b", AC_POLICY_RECOMMEND, 0.1, 1);
    assert_int_equal(ledger_request(ledger, &request, at_s(0), &a), -ENOSPC);
    ask(ledger, "a5", AC_POLICY_RECOMMEND, 0.2, 1, 0); /* replacing needs no room */
    assert_int_equal(ledger_release(ledger, "a7"), 0);
    assert_int_equal(ledger_request(ledger, &request, at_s(0), &a), 0);
    size_t n = 0;
    for (size_t cursor = 0; ledger_next(ledger, &cursor);)
        n++;
    assert_int_equal(n, 100);
    ledger_free(ledger);
}

/* Nobody gets at another agent's reservation by calling himself by its id. */
static void an_agent_named_like_an_allocation(void **state)
{
    (void)state;
    struct ledger *ledger = new_ledger();
    struct ac_allocation victim = ask(ledger, "victim", AC_POLICY_RECOMMEND, 10, 100, 0);
    ask(ledger, victim.allocation_id, AC_POLICY_RECOMMEND, 5, 50, 0);
    assert_string_equal(ledger_get(ledger, victim.allocation_id)->agent_id, victim.allocation_id);
    assert_int_equal(ledger_release(ledger, victim.allocation_id), 0);
    assert_string_equal(ledger_get(ledger, victim.allocation_id)->agent_id, "victim");
    assert_string_equal(ledger_get(ledger, "victim")->allocation_id, victim.allocation_id);
    ledger_free(ledger);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(recommend_gives_the_smaller_of_need_and_room),
        cmocka_unit_test(own_maxima_cap),
        cmocka_unit_test(unknown_cpu_counts_as_none_and_is_said),
        cmocka_unit_test(nothing_is_promised_on_unknown_memory),
        cmocka_unit_test(before_the_first_sample_nothing_is_free),
        cmocka_unit_test(use_counts_once),
        cmocka_unit_test(hostile_use_does_not_break_sums),
        cmocka_unit_test(a_second_request_replaces_the_first),
        cmocka_unit_test(strict_refuses),
        cmocka_unit_test(all_cpus_are_not_waited_for),
        cmocka_unit_test(queue_waits_in_order),
        cmocka_unit_test(leaving_the_queue_moves_others_up),
        cmocka_unit_test(what_can_never_fit_does_not_block_the_queue),
        cmocka_unit_test(reservations_run_out_unless_the_agent_appears),
        cmocka_unit_test(bad_requests_are_refused),
        cmocka_unit_test(owners_have_shares_of_the_queue),
        cmocka_unit_test(the_table_is_capped),
        cmocka_unit_test(an_agent_named_like_an_allocation),
    };
    return cmocka_run_group_tests_name("policy/ledger", tests, NULL, NULL);
}
