/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The registry against ground truth: random process trees that fork, work, do I/O, exit, wait,
 * double-fork, ignore SIGCHLD, adopt orphans and reuse pids, looked at now and then.
 *
 * Of every agent, after every look: never more is counted than was used; never less than what
 * looks showed; totals never go back; and where every child is waited for, all of it.
 */
#include "registry_fixture.h"

#include <stdbool.h>
#include <stdlib.h>

#include "base/mem.h"

#define SIM_PIDS   800
#define SIM_LIVING 100
#define SIM_AGENTS 3
#define TICK_NS    10000000ull

struct sim_proc {
    bool used;
    bool zombie;
    bool subreaper;
    bool ignores_children; /* SIGCHLD ignored: the kernel hands nothing on */
    int agent;             /* that it truly belongs to; -1 = none */
    uint64_t start_ticks;
    int ppid;
    int pgrp;
    int session;
    uint64_t own_ns;
    uint64_t children_ns;
    uint64_t io; /* its own, and of children it reaped */
    bool shown;
};

struct sim_rules {
    bool orphans;  /* parents may exit before their children */
    bool ignoring; /* some ignore SIGCHLD */
    bool reapers;  /* some adopt orphans */
    bool reuse;    /* pids come back within one look */
};

struct sim {
    struct sim_rules rules;
    struct sim_proc procs[SIM_PIDS]; /* by pid; 1 is init */
    uint64_t random;
    uint64_t boot_ns;
    int next_pid;
    int look;
    int used;
    int freed[SIM_PIDS]; /* the look before which a pid became free */
    uint64_t true_ns[SIM_AGENTS];
    uint64_t true_io[SIM_AGENTS];
    uint64_t last_ns[SIM_AGENTS];
    uint64_t last_io[SIM_AGENTS];
};

static uint32_t sim_random(struct sim *sim, uint32_t below)
{
    sim->random = sim->random * 6364136223846793005ull + 1442695040888963407ull;
    return (uint32_t)(sim->random >> 33) % below;
}

static int sim_pid(struct sim *sim)
{
    for (int i = 0; i < SIM_PIDS; i++) {
        int pid = sim->next_pid;
        sim->next_pid = pid + 1 < SIM_PIDS ? pid + 1 : 2;
        if (sim->procs[pid].used || (!sim->rules.reuse && sim->look < sim->freed[pid] + 2))
            continue;
        bool group_lives = false; /* the kernel keeps numbers of living groups and sessions */
        for (int p = 1; p < SIM_PIDS; p++)
            group_lives |=
                sim->procs[p].used && (sim->procs[p].pgrp == pid || sim->procs[p].session == pid);
        if (!group_lives)
            return pid;
    }
    return 0;
}

static int sim_fork(struct sim *sim, int parent)
{
    int pid = sim_pid(sim);
    if (pid == 0)
        return 0;
    const struct sim_proc *from = &sim->procs[parent];
    sim->used++;
    sim->procs[pid] = (struct sim_proc){.used = true,
        .agent = from->agent,
        .start_ticks = sim->boot_ns / TICK_NS,
        .ppid = parent,
        .pgrp = from->pgrp,
        .session = from->session};
    return pid;
}

static int sim_reaper(const struct sim *sim, int pid)
{
    for (int p = sim->procs[pid].ppid; p > 1; p = sim->procs[p].ppid) {
        if (sim->procs[p].subreaper && !sim->procs[p].zombie)
            return p;
    }
    return 1;
}

static void sim_reap(struct sim *sim, int pid, bool hand_on)
{
    struct sim_proc *proc = &sim->procs[pid], *parent = &sim->procs[proc->ppid];
    if (hand_on) {
        parent->children_ns += proc->own_ns + proc->children_ns;
        parent->io += proc->io;
    }
    *proc = (struct sim_proc){0};
    sim->freed[pid] = sim->look;
    sim->used--;
}

static void sim_exit(struct sim *sim, int pid)
{
    int reaper = sim_reaper(sim, pid);
    for (int p = 1; p < SIM_PIDS; p++) {
        if (sim->procs[p].used && sim->procs[p].ppid == pid) {
            sim->procs[p].ppid = reaper;
            if (sim->procs[p].zombie && reaper == 1)
                sim_reap(sim, p, true);
        }
    }
    int parent = sim->procs[pid].ppid;
    if (sim->procs[parent].ignores_children)
        sim_reap(sim, pid, false);
    else if (parent == 1)
        sim_reap(sim, pid, true);
    else
        sim->procs[pid].zombie = true;
}

static bool has_children(const struct sim *sim, int pid)
{
    for (int p = 1; p < SIM_PIDS; p++) {
        if (sim->procs[p].used && sim->procs[p].ppid == pid)
            return true;
    }
    return false;
}

static bool is_root(const struct sim *sim, int pid)
{
    return sim->procs[pid].agent >= 0 && sim->procs[pid].session == pid &&
           sim->procs[pid].pgrp == pid && pid <= 1 + SIM_AGENTS;
}

static void sim_work(struct sim *sim, int pid)
{
    struct sim_proc *proc = &sim->procs[pid];
    uint64_t ns = sim_random(sim, 40) * TICK_NS, io = sim_random(sim, 5) * 4096;
    proc->own_ns += ns;
    proc->io += io;
    if (proc->agent >= 0) {
        sim->true_ns[proc->agent] += ns;
        sim->true_io[proc->agent] += io;
    }
}

static void sim_step(struct sim *sim)
{
    int pid = 2 + (int)sim_random(sim, SIM_PIDS - 2);
    while (!sim->procs[pid].used) /* roots never end, so there are some */
        pid = 2 + (int)sim_random(sim, SIM_PIDS - 2);
    struct sim_proc *proc = &sim->procs[pid];
    sim->boot_ns += TICK_NS * (1 + sim_random(sim, 3));
    if (proc->zombie) {
        if (sim_random(sim, 3) == 0)
            sim_reap(sim, pid, true);
        return;
    }
    switch (sim_random(sim, 8)) {
    case 0:
    case 1: {
        int child = sim->used < SIM_LIVING ? sim_fork(sim, pid) : 0;
        if (child > 0 && sim->rules.ignoring && sim_random(sim, 12) == 0)
            sim->procs[child].ignores_children = true;
        if (child > 0 && sim->rules.reapers && sim_random(sim, 6) == 0)
            sim->procs[child].subreaper = true;
        break;
    }
    case 2:
        if (!is_root(sim, pid) && (sim->rules.orphans || !has_children(sim, pid)))
            sim_exit(sim, pid);
        break;
    case 3: /* a new session, or a new group in it */
        if (proc->pgrp != pid && sim->rules.orphans) {
            proc->pgrp = pid;
            if (sim_random(sim, 2) == 0 && proc->shown)
                proc->session = pid;
        }
        break;
    default:
        sim_work(sim, pid);
    }
}

static struct proc_record sim_record(const struct sim *sim, int pid)
{
    const struct sim_proc *proc = &sim->procs[pid];
    return (struct proc_record){.pid = pid,
        .ppid = pid == 1 ? 0 : proc->ppid,
        .pgrp = proc->pgrp,
        .session = proc->session,
        .start_ticks = proc->start_ticks,
        .utime_ns = proc->own_ns,
        .cutime_ns = proc->children_ns,
        .read_bytes = proc->io,
        .threads = 1,
        .state = proc->zombie ? 'Z' : 'S',
        .known = PROC_KNOWN_CPU | PROC_KNOWN_CHILDREN_CPU | PROC_KNOWN_IO | PROC_KNOWN_SESSION |
                 PROC_KNOWN_THREADS};
}

static void sim_look(struct sim *sim, struct registry *registry)
{
    static struct proc_record records[SIM_PIDS];
    struct registry_changes changes;
    struct sample sample = {.boot_ns = sim->boot_ns,
        .when = {.mono = {sim->boot_ns}, .wall_ns = (int64_t)sim->boot_ns},
        .procs = records};
    for (int pid = 1; pid < SIM_PIDS; pid++) {
        if (!sim->procs[pid].used)
            continue;
        records[sample.n_procs++] = sim_record(sim, pid);
        sim->procs[pid].shown = true;
    }
    assert_int_equal(registry_apply(registry, &sample, &changes), 0);
}

/* What living processes show of themselves is counted at the least. */
static void sim_check_agent(
    struct sim *sim, struct registry *registry, int a, const char *what, uint64_t seed)
{
    const char id[2] = {(char)('a' + a), 0};
    const struct agent *agent = registry_get(registry, id);
    uint64_t cpu = agent->totals.cpu_ns, io = agent->totals.disk_read_bytes, living = 0;
    for (int pid = 1; pid < SIM_PIDS; pid++) {
        const struct sim_proc *proc = &sim->procs[pid];
        if (!proc->used || proc->agent != a)
            continue;
        living += proc->own_ns;
        agent_slot slot = registry_slot_of(registry, pid, proc->start_ticks);
        if (slot != agent->slot && !sim->rules.reuse)
            fail_msg("%s, seed %lu: process %d is of agent %d, slot %u says the registry", what,
                (unsigned long)seed, pid, a, slot);
    }
    bool wrong = cpu < sim->last_ns[a] || io < sim->last_io[a];
    if (!sim->rules.reuse)
        wrong |= cpu > sim->true_ns[a] || io > sim->true_io[a] || cpu < living;
    if (wrong)
        fail_msg("%s, seed %lu, agent %d: cpu %lu of %lu (before %lu, living %lu), io %lu of %lu "
                 "(before %lu)",
            what, (unsigned long)seed, a, (unsigned long)cpu, (unsigned long)sim->true_ns[a],
            (unsigned long)sim->last_ns[a], (unsigned long)living, (unsigned long)io,
            (unsigned long)sim->true_io[a], (unsigned long)sim->last_io[a]);
    sim->last_ns[a] = cpu;
    sim->last_io[a] = io;
}

/* Where a pid is used twice within one look, a process may be taken for another agent's; but
 * nothing is counted in both. */
static void sim_check(struct sim *sim, struct registry *registry, const char *what, uint64_t seed)
{
    uint64_t counted = 0, truth = 0;
    for (int a = 0; a < SIM_AGENTS; a++) {
        sim_check_agent(sim, registry, a, what, seed);
        counted += sim->last_ns[a];
        truth += sim->true_ns[a];
    }
    if (counted > truth)
        fail_msg("%s, seed %lu: %lu of %lu", what, (unsigned long)seed, (unsigned long)counted,
            (unsigned long)truth);
}

static void sim_start(
    struct sim *sim, struct registry *registry, struct sim_rules rules, uint64_t seed)
{
    *sim =
        (struct sim){.rules = rules, .random = seed, .boot_ns = SEC(100), .next_pid = 2, .look = 2};
    sim->procs[1] = (struct sim_proc){.used = true, .agent = -1, .pgrp = 1, .session = 1};
    for (int a = 0; a < SIM_AGENTS; a++) {
        int pid = sim_fork(sim, 1);
        struct agent_spec spec = {.root_pid = pid, .root_start_ticks = sim->procs[pid].start_ticks};
        const struct agent *agent;
        sim->procs[pid].agent = a;
        sim->procs[pid].pgrp = sim->procs[pid].session = pid;
        sim->procs[pid].subreaper = rules.reapers && a == 0;
        spec.id[0] = (char)('a' + a);
        assert_int_equal(registry_add(registry, &spec,
                             (struct moment){.mono = {sim->boot_ns}, .wall_ns = 1}, &agent),
            0);
    }
}

/* Runs one world. Returns the share of true time that was counted. */
static double sim_run(struct sim_rules rules, const char *what, uint64_t seed, bool exact)
{
    static struct sim sim;
    struct registry *registry;
    double truth = 0, counted = 0;
    assert_int_equal(registry_new(10, seed, &registry), 0);
    sim_start(&sim, registry, rules, seed);
    for (; sim.look < 62; sim.look++) {
        uint32_t steps = 1 + sim_random(&sim, 400);
        for (uint32_t i = 0; i < steps; i++)
            sim_step(&sim);
        sim_look(&sim, registry);
        sim_check(&sim, registry, what, seed);
    }
    for (int a = 0; a < SIM_AGENTS; a++) {
        if (exact) {
            assert_int_equal(sim.last_ns[a], sim.true_ns[a]);
            assert_int_equal(sim.last_io[a], sim.true_io[a]);
        }
        truth += (double)sim.true_ns[a];
        counted += (double)sim.last_ns[a];
    }
    registry_free(registry);
    return truth > 0 ? counted / truth : 1;
}

static void test_waiting_parents_are_exact(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 25; seed++)
        sim_run((struct sim_rules){0}, "waiting", seed, true);
}

static void run_many(struct sim_rules rules, const char *what, double least)
{
    double share = 0;
    for (uint64_t seed = 1; seed <= 25; seed++)
        share += sim_run(rules, what, seed, false) / 25;
    print_message("# %s: %.1f %% of the time was counted\n", what, share * 100);
    assert_true(share > least);
}

static void test_orphans_are_never_counted_twice(void **state)
{
    (void)state;
    run_many((struct sim_rules){.orphans = true}, "orphans", 0.6);
}

static void test_reapers_inside_agents(void **state)
{
    (void)state;
    run_many((struct sim_rules){.orphans = true, .reapers = true}, "reapers", 0.6);
}

static void test_everything_at_once(void **state)
{
    (void)state;
    run_many(
        (struct sim_rules){.orphans = true, .reapers = true, .ignoring = true}, "everything", 0.5);
}

static void test_pids_that_come_back_at_once(void **state)
{
    (void)state;
    run_many((struct sim_rules){.orphans = true, .reapers = true, .ignoring = true, .reuse = true},
        "reused pids", 0.5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_waiting_parents_are_exact),
        cmocka_unit_test(test_orphans_are_never_counted_twice),
        cmocka_unit_test(test_reapers_inside_agents),
        cmocka_unit_test(test_everything_at_once),
        cmocka_unit_test(test_pids_that_come_back_at_once),
    };
    return cmocka_run_group_tests_name("registry against ground truth", tests, NULL, NULL);
}
