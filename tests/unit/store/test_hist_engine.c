/* SPDX-License-Identifier: Apache-2.0 */
/* The history against an oracle that simply remembers every value: ticks, restarts, compaction,
 * agents that come and go, quantiles, totals, the largest of all, and verification. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <errno.h>
#include <math.h>

#include "base/mem.h"
#include "store/history.h"
#include "temporary.h"

#define SECOND   INT64_C(1000000000)
#define START_NS (INT64_C(1700000000) * SECOND)
#define AGENTS   40
#define TICKS    9000

struct oracle {
    uint8_t present[TICKS][AGENTS];
    uint8_t known[TICKS][AGENTS];
    uint32_t cpu[TICKS][AGENTS];    /* 0.01 % of a core */
    uint32_t memory[TICKS][AGENTS]; /* pages */
    int64_t when_ns[TICKS];
    int n;
    uint64_t random;
};

static struct oracle oracle;

static uint64_t next_random(struct oracle *o)
{
    o->random ^= o->random << 13;
    o->random ^= o->random >> 7;
    o->random ^= o->random << 17;
    return o->random;
}

static struct history *open_history(const char *directory)
{
    struct history *history = NULL;
    struct ac_error error = {0};
    const struct history_options options = {.directory = directory};
    int r = history_open(NULL, &options, &history, &error);
    if (r < 0)
        fail_msg("%s", error.message);
    return history;
}

static const char *name_of(int agent)
{
    static char name[32];
    snprintf(name, sizeof(name), "agent-%d", agent);
    return agent == 0 ? "" : name;
}

/* Agents are there for a while, away for a while; cpu is noisy, memory steps. */
static void make_tick(struct oracle *o, int64_t when_ns)
{
    int t = o->n++;
    o->when_ns[t] = when_ns;
    for (int a = 0; a < AGENTS; a++) {
        uint64_t r = next_random(o);
        bool was = t > 0 && o->present[t - 1][a];
        if (a < 5)
            o->present[t][a] = 1;
        else if (a < 20)
            o->present[t][a] = was ? r % 900 != 0 : r % 700 == 0;
        else
            o->present[t][a] = was ? r % 4000 != 0 : r % 2000 == 0;
        if (!o->present[t][a])
            continue;
        o->known[t][a] = a % 7 == 3 && t / 50 % 5 == 1 ? 0 : 1;
        o->cpu[t][a] = a % 3 == 0 ? 0 : (uint32_t)(r >> 20) % (a * 100 + 1);
        uint32_t last = was ? o->memory[t - 1][a] : 1000;
        o->memory[t][a] = (r >> 50) % 8 == 0 ? last + (uint32_t)(r >> 40) % 50 : last;
    }
}

static int feed(struct history *history, const struct oracle *o, int t, struct ac_error *error)
{
    struct ac_usage usages[AGENTS];
    char names[AGENTS][32];
    struct history_row rows[AGENTS] = {0};
    size_t n = 0;
    for (int a = 0; a < AGENTS; a++) {
        if (!o->present[t][a])
            continue;
        struct ac_usage *u = &usages[n];
        ac_usage_init(u);
        u->memory_mb = o->memory[t][a] / 256.0;
        u->memory_percent = u->memory_mb * 100.0 / 16384;
        u->known = AC_KNOWN_MEMORY_MB | AC_KNOWN_MEMORY_PERCENT;
        if (o->known[t][a]) {
            u->cpu_cores = o->cpu[t][a] / 10000.0;
            u->cpu_percent = u->cpu_cores * 100.0 / 8;
            u->known |= AC_KNOWN_CPU_CORES | AC_KNOWN_CPU_PERCENT;
        }
        strcpy(names[n], name_of(a));
        rows[n] = (struct history_row){.subject = names[n], .usage = u};
        n++;
    }
    return history_tick(history, o->when_ns[t], rows, n, error);
}

struct check {
    const struct oracle *o;
    int agent;
    int64_t from_ns;
    int64_t to_ns;
    int64_t step_ns;
    int64_t last_ns;
    uint64_t samples;
};

static int check_point(void *userdata, const struct history_point *point)
{
    struct check *c = userdata;
    const struct oracle *o = c->o;
    int64_t end = point->from_ns + (int64_t)(point->step_ns ? point->step_ns : 1000000);
    double cpu = 0;
    double cpu_max = 0;
    double memory = 0;
    double memory_min = INFINITY;
    uint32_t samples = 0;
    uint32_t known = 0;
    assert_true(point->from_ns > c->last_ns);
    assert_true(point->from_ns >= c->from_ns && point->from_ns < c->to_ns);
    c->last_ns = point->from_ns;
    int t = (int)((point->from_ns - START_NS) / SECOND) - 1;
    for (t = t < 0 ? 0 : t; t < o->n && o->when_ns[t] < end; t++) {
        int64_t at = o->when_ns[t];
        if (!o->present[t][c->agent] || at < point->from_ns || at >= c->to_ns)
            continue;
        samples++;
        memory += o->memory[t][c->agent] / 256.0;
        memory_min = fmin(memory_min, o->memory[t][c->agent] / 256.0);
        if (!o->known[t][c->agent])
            continue;
        known++;
        cpu += o->cpu[t][c->agent] / 10000.0;
        cpu_max = fmax(cpu_max, o->cpu[t][c->agent] / 10000.0);
    }
    assert_int_equal(point->samples, samples);
    assert_true(fabs(point->mean.memory_mb - memory / samples) < 1e-6);
    assert_true(fabs(point->min.memory_mb - memory_min) < 1e-6);
    assert_int_equal((point->mean.known & AC_KNOWN_CPU_CORES) != 0, known > 0);
    if (known > 0) {
        assert_true(fabs(point->mean.cpu_cores - cpu / known) < 1e-6);
        assert_true(fabs(point->max.cpu_cores - cpu_max) < 1e-9);
        assert_true(fabs(point->mean.cpu_percent - cpu / known * 100 / 8) < 0.02);
    }
    c->samples += samples;
    return 0;
}

static void check_range(struct history *history, const struct oracle *o, int agent, int64_t from_ns,
    int64_t to_ns, int64_t step_ns)
{
    struct check c = {.o = o,
        .agent = agent,
        .from_ns = from_ns,
        .to_ns = to_ns,
        .step_ns = step_ns,
        .last_ns = INT64_MIN};
    struct ac_error error = {0};
    int r = history_range(history, name_of(agent), from_ns, to_ns, (uint64_t)step_ns, 1000000,
        check_point, &c, &error);
    if (r != 0)
        fail_msg("%s", error.message);
    uint64_t expected = 0;
    for (int t = 0; t < o->n; t++) {
        int64_t start = step_ns == 0 ? o->when_ns[t] : o->when_ns[t] / step_ns * step_ns;
        expected += o->present[t][agent] && start >= from_ns && o->when_ns[t] < to_ns;
    }
    if (c.samples != expected)
        fail_msg("agent %d: %llu samples instead of %llu", agent, (unsigned long long)c.samples,
            (unsigned long long)expected);
}

static void check_all(struct history *history, struct oracle *o)
{
    int64_t end = o->when_ns[o->n - 1] + SECOND;
    for (int a = 0; a < AGENTS; a += 3) {
        check_range(history, o, a, START_NS, end, 0);
        int64_t from = START_NS + (int64_t)(next_random(o) % (uint64_t)(end - START_NS));
        check_range(history, o, a, from, from + 700 * SECOND, 0);
        check_range(history, o, a, from, end, 7 * SECOND);
        /* Minutes are whole: start at one. */
        int64_t minute = from / (60 * SECOND) * 60 * SECOND;
        check_range(history, o, a, minute, minute + 3600 * SECOND, 300 * SECOND);
    }
}

static void print_finding(void *userdata, const char *text)
{
    (void)userdata;
    print_message("# %s\n", text);
}

static void check_clean(struct history *history)
{
    struct ac_error error = {0};
    assert_int_equal(history_verify(history, print_finding, NULL, &error), 0);
}

static void every_value_comes_back(void **state)
{
    (void)state;
    struct temporary directory CLEANUP(temporary_done) = temporary_make();
    struct ac_error error = {0};
    memset(&oracle, 0, sizeof(oracle));
    oracle.random = 88172645463325252ull;
    struct history *history = open_history(directory.path);
    for (int t = 0; t < TICKS; t++) {
        int64_t jitter = (int64_t)(next_random(&oracle) % 5) * 1000000;
        make_tick(&oracle, START_NS + t * SECOND + jitter);
        if (feed(history, &oracle, t, &error) < 0)
            fail_msg("tick %d: %s", t, error.message);
        if (t % 1777 == 1776) {
            check_all(history, &oracle);
            history_close(history);
            history = open_history(directory.path);
            check_all(history, &oracle);
        }
    }
    check_clean(history);
    history_close(history);
}

static int compare_u32(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a;
    uint32_t y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

/* Uses what every_value_comes_back left in the oracle. */
static struct history *refill(const char *directory)
{
    struct history *history = open_history(directory);
    for (int t = 0; t < oracle.n; t++)
        assert_int_equal(feed(history, &oracle, t, NULL), 0);
    return history;
}

static void check_quantile(struct history *history, int agent, int from_t, int to_t)
{
    static uint32_t values[TICKS];
    size_t n = 0;
    for (int t = from_t; t < to_t; t++) {
        if (oracle.present[t][agent] && oracle.known[t][agent])
            values[n++] = oracle.cpu[t][agent];
    }
    qsort(values, n, sizeof(values[0]), compare_u32);
    const struct history_whose subject = {name_of(agent), HISTORY_ANYBODY};
    for (double q = 0; q <= 1; q += 0.19) {
        double got;
        struct history_info info;
        assert_int_equal(history_quantile(history, AC_CPU, &subject, 1, q, oracle.when_ns[from_t],
                             oracle.when_ns[to_t - 1] + 1, &got, &info, NULL),
            0);
        if (n == 0) {
            assert_true(isnan(got));
            continue;
        }
        size_t rank = (size_t)ceil(q * (double)n);
        double exact = values[rank == 0 ? 0 : rank - 1] / 10000.0;
        if (fabs(got - exact) > exact * info.error_bound + 1e-9)
            fail_msg("q %g: %g instead of %g (bound %g)", q, got, exact, info.error_bound);
    }
}

static void quantiles_keep_their_bound(void **state)
{
    (void)state;
    struct temporary directory CLEANUP(temporary_done) = temporary_make();
    struct history *history = refill(directory.path);
    for (int a = 0; a < AGENTS; a += 3) {
        check_quantile(history, a, 0, 5000);  /* exact */
        check_quantile(history, a, 0, TICKS); /* sketches and open chunks */
    }
    double got;
    const struct history_whose subject = {"agent-1", HISTORY_ANYBODY};
    assert_int_equal(
        history_quantile(history, AC_CPU, &subject, 1, 1.5, 0, 1, &got, NULL, NULL), -EINVAL);
    history_close(history);
}

static void totals_add_up(void **state)
{
    (void)state;
    struct temporary directory CLEANUP(temporary_done) = temporary_make();
    struct history *history = refill(directory.path);
    for (int a = 0; a < AGENTS; a += 3) {
        double cpu = 0;
        double memory = 0;
        uint64_t samples = 0;
        for (int t = 0; t < oracle.n; t++) {
            if (!oracle.present[t][a])
                continue;
            double step = t == 0 ? 1 : (double)(oracle.when_ns[t] - oracle.when_ns[t - 1]) * 1e-9;
            samples++;
            memory += oracle.memory[t][a] / 256.0 / 1024 * step / 3600;
            if (oracle.known[t][a])
                cpu += oracle.cpu[t][a] / 10000.0 * step;
        }
        struct history_usage usage;
        assert_int_equal(
            history_usage(history, &(const struct history_whose){name_of(a), HISTORY_ANYBODY},
                START_NS, oracle.when_ns[oracle.n - 1] + SECOND, &usage, NULL, NULL),
            0);
        assert_int_equal(usage.samples, samples);
        if (samples == 0) {
            assert_true(isnan(usage.cpu_seconds) && isnan(usage.memory_gib_hours));
            continue;
        }
        assert_true(fabs(usage.memory_gib_hours - memory) <= memory * 1e-3 + 1e-6);
        assert_true(fabs(usage.cpu_seconds - cpu) <= cpu * 2e-3 + 0.1);
        assert_true(isnan(usage.network_bytes));
    }
    history_close(history);
}

static bool is_even(void *userdata, const struct history_subject *subject)
{
    (void)userdata;
    return atoi(subject->name + strlen("agent-")) % 2 == 0;
}

/* Means and maxima over whole minutes against the oracle. */
static void check_top(struct history *history, int from_t, int to_t, bool even)
{
    struct history_top_row rows[5];
    int64_t from = oracle.when_ns[from_t] / (60 * SECOND) * 60 * SECOND;
    int64_t to = oracle.when_ns[to_t] / (60 * SECOND) * 60 * SECOND;
    for (int aggregate = HISTORY_MEAN; aggregate <= HISTORY_MAX; aggregate++) {
        struct ac_error error = {0};
        int n = history_top(history, AC_MEMORY, aggregate, from, to, 5, even ? is_even : NULL, NULL,
            rows, NULL, &error);
        if (n != 5)
            fail_msg("%d rows: %s", n, error.message);
        double values[AGENTS] = {0};
        for (int a = 1; a < AGENTS; a++) {
            double sum = 0;
            double max = 0;
            int count = 0;
            for (int t = 0; t < oracle.n; t++) {
                if (!oracle.present[t][a] || oracle.when_ns[t] < from || oracle.when_ns[t] >= to)
                    continue;
                sum += oracle.memory[t][a] / 256.0;
                max = fmax(max, oracle.memory[t][a] / 256.0);
                count++;
            }
            bool in = count > 0 && !(even && a % 2);
            values[a] = !in ? 0 : aggregate == HISTORY_MEAN ? sum / count : max;
        }
        for (int i = 0; i < 5; i++) {
            int best = 0;
            for (int a = 1; a < AGENTS; a++)
                best = values[a] > values[best] ? a : best;
            assert_true(fabs(rows[i].value - values[best]) < 1e-6);
            values[best] = 0;
        }
    }
}

static void largest_are_found(void **state)
{
    (void)state;
    struct temporary directory CLEANUP(temporary_done) = temporary_make();
    struct history *history = refill(directory.path);
    check_top(history, 5000, 8600, false);
    check_top(history, 100, 4000, false);
    check_top(history, 8000, TICKS - 1, true);
    history_close(history);
    history = open_history(directory.path);
    check_top(history, 5000, TICKS - 1, false);
    history_close(history);
}

/* Rows of all slots may hold more slots than there are since the last start. */
static void largest_of_before_a_restart_are_found(void **state)
{
    (void)state;
    struct temporary directory CLEANUP(temporary_done) = temporary_make();
    struct history *history = open_history(directory.path);
    struct ac_usage usage[100];
    struct history_row rows[100];
    char names[100][16];
    for (int i = 0; i < 100; i++) {
        ac_usage_init(&usage[i]);
        usage[i].memory_mb = 100 + i;
        usage[i].known = AC_KNOWN_MEMORY_MB;
        snprintf(names[i], sizeof(names[i]), "a%d", i);
        rows[i] = (struct history_row){.subject = names[i], .usage = &usage[i]};
    }
    int64_t now = START_NS / (60 * SECOND) * 60 * SECOND;
    const int64_t from = now;
    for (int t = 0; t < 600; t++, now += SECOND)
        assert_int_equal(history_tick(history, now, rows, 100, NULL), 0);
    for (int t = 0; t < 1300; t++, now += SECOND)
        assert_int_equal(history_tick(history, now, rows, 1, NULL), 0);
    history_close(history);
    history = open_history(directory.path);
    struct history_info info;
    struct history_top_row top[3];
    assert_int_equal(history_top(history, AC_MEMORY, HISTORY_MEAN, from, INT64_MAX, 3, NULL, NULL,
                         top, &info, NULL),
        3);
    assert_int_equal(info.damaged, 0);
    assert_string_equal(top[0].subject, "a99");
    assert_true(top[0].value == 199);
    assert_string_equal(top[2].subject, "a97");
    check_clean(history);
    history_close(history);
}

/* Each alone, and undone behind it where that can be. */
static void damage_of_what_rows_rest_on_is_found(void **state)
{
    (void)state;
    static const char *const damages[][2] = {
        {"UPDATE tenure SET slot = slot + 160", "UPDATE tenure SET slot = slot - 160"},
        {"INSERT INTO tenure SELECT 999999, subject, slot, from_ms + 1, to_ms FROM tenure WHERE "
         "to_ms > from_ms + 1 LIMIT 1",
            "DELETE FROM tenure WHERE id = 999999"},
        {"UPDATE tenure SET subject = subject + 5000 WHERE id = (SELECT min(id) FROM tenure)",
            "UPDATE tenure SET subject = subject - 5000 WHERE id = (SELECT min(id) FROM tenure)"},
        {"UPDATE top SET data = zeroblob(length(data)) WHERE id = (SELECT max(id) FROM top)", NULL},
    };
    struct temporary directory CLEANUP(temporary_done) = temporary_make();
    struct history *history = refill(directory.path);
    check_clean(history);
    history_close(history);
    for (size_t i = 0; i < ARRAY_SIZE(damages); i++) {
        temporary_history_sql(&directory, damages[i][0]);
        history = open_history(directory.path);
        if (history_verify(history, NULL, NULL, NULL) <= 0)
            fail_msg("not found: %s", damages[i][0]);
        history_close(history);
        if (damages[i][1] == NULL)
            break;
        temporary_history_sql(&directory, damages[i][1]);
        history = open_history(directory.path);
        check_clean(history);
        history_close(history);
    }
}

static int collect_name(void *userdata, const struct history_subject *subject)
{
    int *count = userdata;
    (void)subject;
    (*count)++;
    return 0;
}

static void slots_are_reused(void **state)
{
    (void)state;
    struct temporary directory CLEANUP(temporary_done) = temporary_make();
    struct history *history = open_history(directory.path);
    struct ac_usage usage;
    ac_usage_init(&usage);
    usage.memory_mb = 100;
    usage.known = AC_KNOWN_MEMORY_MB;
    /* 30 agents at a time, each for 20 seconds: 3,000 in all. */
    for (int t = 0; t < 2000; t++) {
        char names[30][32];
        struct history_row rows[30] = {0};
        for (int i = 0; i < 30; i++) {
            snprintf(names[i], sizeof(names[i]), "short-%d", i + 30 * (t / 20));
            rows[i] = (struct history_row){.subject = names[i], .usage = &usage};
        }
        assert_int_equal(history_tick(history, START_NS + t * SECOND, rows, 30, NULL), 0);
    }
    struct history_status status;
    history_status(history, &status);
    assert_true(status.subjects < 2500); /* what is open, not all that ever was */
    int count = 0;
    assert_int_equal(history_subjects(history, HISTORY_ANYBODY, START_NS, START_NS + 2000 * SECOND,
                         100000, collect_name, &count, NULL),
        0);
    assert_int_equal(count, 3000);
    struct history_usage used;
    for (int i = 0; i < 3000; i += 123) {
        char name[32];
        snprintf(name, sizeof(name), "short-%d", i);
        assert_int_equal(
            history_usage(history, &(const struct history_whose){name, HISTORY_ANYBODY}, START_NS,
                START_NS + 2000 * SECOND, &used, NULL, NULL),
            0);
        assert_int_equal(used.samples, 20);
    }
    check_clean(history);
    history_close(history);
}

/* 40 agents of twenty minutes, then nobody but one: what there is of the others becomes minutes
 * and hours, and their ticks go when it is time. */
static void groups_without_agents_are_merged(void **state)
{
    (void)state;
    struct temporary directory CLEANUP(temporary_done) = temporary_make();
    struct history *history;
    const uint64_t hour_ns = 3600 * (uint64_t)SECOND;
    const struct history_options options = {.directory = directory.path,
        .keep_raw_ns = 2 * hour_ns,
        .keep_minutes_ns = 3 * hour_ns,
        .keep_hours_ns = 48 * hour_ns};
    assert_int_equal(history_open(NULL, &options, &history, NULL), 0);
    struct ac_usage usage;
    ac_usage_init(&usage);
    usage.memory_mb = 100;
    usage.known = AC_KNOWN_MEMORY_MB;
    char names[40][32];
    struct history_row rows[40] = {0};
    for (int i = 0; i < 40; i++) {
        snprintf(names[i], sizeof(names[i]), "a%d", i);
        rows[i] = (struct history_row){.subject = names[i], .usage = &usage};
    }
    int64_t now = START_NS;
    for (int t = 0; t < 1200; t++, now += SECOND)
        assert_int_equal(history_tick(history, now, rows, 40, NULL), 0);
    struct history_usage used;
    const struct history_whose gone = {"a39", HISTORY_ANYBODY};
    struct history_info info;
    for (int t = 0; t < 6000; t++, now += 5 * SECOND)
        assert_int_equal(history_tick(history, now, rows, 1, NULL), 0);
    struct history_tier tiers[HISTORY_TIERS];
    assert_int_equal(history_tiers(history, tiers, NULL), 0);
    assert_true(tiers[HISTORY_RAW].oldest_ns > now - 7 * (int64_t)hour_ns);
    int64_t minutes = tiers[HISTORY_MINUTES].oldest_ns; /* none yet of the one that goes on */
    assert_true(minutes == 0 || minutes > now - 7 * (int64_t)hour_ns);
    assert_int_equal(history_usage(history, &gone, START_NS, now, &used, &info, NULL), 0);
    assert_int_equal(used.samples, 1200); /* from hours */
    assert_true(used.memory_gib_hours > 0.032 && used.memory_gib_hours < 0.033);
    check_clean(history);
    history_close(history);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_value_comes_back),
        cmocka_unit_test(quantiles_keep_their_bound),
        cmocka_unit_test(totals_add_up),
        cmocka_unit_test(largest_are_found),
        cmocka_unit_test(largest_of_before_a_restart_are_found),
        cmocka_unit_test(damage_of_what_rows_rest_on_is_found),
        cmocka_unit_test(slots_are_reused),
        cmocka_unit_test(groups_without_agents_are_merged),
    };
    return cmocka_run_group_tests_name("hist_engine", tests, NULL, NULL);
}
