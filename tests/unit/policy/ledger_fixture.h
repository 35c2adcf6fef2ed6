/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of the ledger share: a sink that remembers, and a small machine. */
#ifndef AC_TESTS_LEDGER_FIXTURE_H
#define AC_TESTS_LEDGER_FIXTURE_H

#include "policy_test.h"

#include <errno.h>

#include "policy/ledger.h"

#define MIB (1024ull * 1024)
#define GIB (1024 * MIB)

/* What pump told, in order. */
static struct ac_allocation told[256];
static size_t n_told;

static inline void sink(void *userdata, const struct ac_allocation *allocation)
{
    (void)userdata;
    assert_true(n_told < ARRAY_SIZE(told));
    told[n_told++] = *allocation;
}

static inline int pump(struct ledger *ledger, uint64_t s)
{
    n_told = 0;
    int n = ledger_pump(ledger, at_s(s), sink, NULL);
    assert_int_equal(n, n_told);
    return n;
}

/* 4 cores and 1000 MiB, of which 200 MiB and 10 % are used by others. */
static const struct ledger_machine small_machine = {
    .capacity_cores = 4,
    .capacity_memory_bytes = 1000 * MIB,
    .used_cpu_percent = 10,
    .used_memory_bytes = 200 * MIB,
};

static inline struct ledger_options options_default(void)
{
    return (struct ledger_options){
        .max_reservations = 100,
        .max_queue = 4,
        .id_seed = 36 * 36,
        .reservation_ttl_ns = 60 * NS_PER_SEC,
        .headroom = 0.8,
    };
}

static inline struct ledger *new_ledger_with(const struct ledger_options *options)
{
    struct ledger *ledger;
    assert_int_equal(ledger_new(options, &ledger), 0);
    ledger_set_machine(ledger, &small_machine);
    return ledger;
}

static inline struct ledger *new_ledger(void)
{
    struct ledger_options options = options_default();
    return new_ledger_with(&options);
}

static inline struct ledger_request request_of(
    const char *id, enum ac_allocation_policy policy, double cpu, double memory)
{
    return (struct ledger_request){.agent_id = id,
        .policy = policy,
        .predicted = {.cpu_percent = cpu,
            .memory_mb = memory,
            .execution_time_seconds = 60,
            .confidence = 0.5,
            .basis = AC_BASIS_TEMPLATE,
            .runs = 12}};
}

static inline struct ac_allocation ask(struct ledger *ledger, const char *id,
    enum ac_allocation_policy policy, double cpu, double memory, uint64_t s)
{
    struct ledger_request request = request_of(id, policy, cpu, memory);
    struct ac_allocation allocation;
    assert_int_equal(ledger_request(ledger, &request, at_s(s), &allocation), 0);
    assert_string_equal(allocation.agent_id, id);
    assert_int_equal(strncmp(allocation.allocation_id, "alloc-100-", 10), 0);
    assert_true(allocation.explanation[0] != 0);
    assert_int_equal(allocation.policy, policy);
    return allocation;
}

static inline void assert_available(const struct ledger *ledger, double cpu, double mib)
{
    double cpu_percent;
    uint64_t bytes;
    ledger_available(ledger, &cpu_percent, &bytes);
    assert_close(cpu_percent, cpu, 1e-9);
    assert_close((double)bytes / MIB, mib, 1e-9);
}

#endif
