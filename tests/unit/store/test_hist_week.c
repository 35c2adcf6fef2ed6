/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A week of the history on a simulated clock: steady agents, agents that come and go, thousands of
 * short jobs, restarts, a clock that jumps, a suspend and a night switched off. At the end nothing
 * is damaged, every sample is counted, totals are what a model says, and the file has a bound.
 *
 * AGENTCORE_WEEK_STEP (seconds between ticks, 10) and AGENTCORE_WEEK_AGENTS (that come and go,
 * 12) make it larger: 1 and 60 is a week of a busy machine.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/parse.h"
#include "store/history.h"
#include "temporary.h"

#define SECOND      INT64_C(1000000000)
#define HOUR        (3600 * SECOND)
#define DAY         (24 * HOUR)
#define START_NS    (INT64_C(1700000000) * SECOND)
#define STEADY      6   /* the first of them is the machine */
#define JOB_SECONDS 120 /* one begins so often */
#define JOBS_OPEN   64
#define CPU_MOST    30000
#define ROW_TICKS   3600

/* What the history must say of a subject. */
struct subject {
    char name[24];
    uint32_t seed;
    bool counts; /* hands in exact totals */
    bool given;  /* had handed them in since the history was opened */
    bool present;
    int until; /* tick at which this changes, or a job ends */
    uint64_t samples;
    uint64_t cpu_ns;     /* its counter */
    uint64_t disk_bytes; /* its counter */
    uint64_t cpu_expected_ns;
    uint64_t disk_expected_bytes;
    double memory_expected; /* page seconds */
    uint32_t *cpu_seen;     /* samples of each value; NULL for jobs */
};

struct week {
    struct temporary directory;
    struct history *history;
    int step_s;
    int ticks;
    int n_agents; /* steady ones, then those that come and go */
    int n_jobs;
    int first_open; /* jobs before it have ended */
    int next_job;
    struct subject *subjects; /* agents, then jobs */
    int64_t now_ns;
    int64_t *times_ns; /* of the ticks */
    uint64_t random;
};

static uint64_t mix(uint64_t x)
{
    x ^= x >> 30;
    x *= 0xbf58476d1ce4e5b9ull;
    x ^= x >> 27;
    x *= 0x94d049bb133111ebull;
    return x ^ x >> 31;
}

/* ---- What agents use: functions of the tick, so that nothing need be remembered */

static uint32_t cpu_of(const struct subject *s, int tick)
{
    uint64_t r = mix((uint64_t)s->seed << 32 | (uint32_t)tick);
    uint64_t phase = mix((uint64_t)s->seed << 32 | 0x80000000u | (uint32_t)tick / 37);
    if (s->seed % 4 == 0)
        return 0; /* waits for ever */
    if (phase % 5 < 3)
        return r % 50 == 0 ? (uint32_t)(r >> 32) % 40 : 0;
    return (uint32_t)(r >> 20) % (CPU_MOST >> phase % 7);
}

static uint32_t memory_of(const struct subject *s, int tick)
{
    return 1000 + (uint32_t)(mix((uint64_t)s->seed * 977 + (uint32_t)tick / 80) % 100000);
}

static uint32_t disk_of(const struct subject *s, int tick)
{
    uint64_t r = mix((uint64_t)s->seed << 33 | (uint32_t)tick);
    return r % 20 == 0 ? (uint32_t)(r >> 40) : 0;
}

static bool is_known(const struct subject *s, int tick)
{
    return s->seed % 5 != 3 || tick / 300 % 4 != 1;
}

/* ---- The week */

static struct history *open_history(const char *path)
{
    struct history *history = NULL;
    struct ac_error error = {0};
    const struct history_options options = {
        .directory = path, .keep_minutes_ns = 3 * (uint64_t)DAY};
    if (history_open(NULL, &options, &history, &error) < 0)
        fail_msg("%s", error.message);
    return history;
}

static void reopen(struct week *week)
{
    history_close(week->history);
    week->history = open_history(week->directory.path);
    for (int i = 0; i < week->n_agents + week->n_jobs; i++)
        week->subjects[i].given = false;
}

static int number_from(const char *name, int usual, int least, int most)
{
    int64_t value = usual;
    const char *text = getenv(name);
    if (text != NULL && parse_i64(text, strlen(text), &value) != 0)
        fail_msg("%s: not a number", name);
    if (value < least || value > most)
        fail_msg("%s: %d to %d", name, least, most);
    return (int)value;
}

static struct week *week_new(void)
{
    struct week *week = mem_alloc(sizeof(*week));
    assert_non_null(week);
    week->directory = temporary_make();
    week->step_s = number_from("AGENTCORE_WEEK_STEP", 10, 1, 60);
    week->ticks = 7 * 86400 / week->step_s;
    week->n_agents = STEADY + number_from("AGENTCORE_WEEK_AGENTS", 12, 1, 10000);
    week->n_jobs = 7 * 86400 / JOB_SECONDS + 1;
    week->random = 88172645463325252ull;
    week->now_ns = START_NS;
    week->times_ns = mem_alloc_array((size_t)week->ticks, sizeof(*week->times_ns));
    week->subjects =
        mem_alloc_array((size_t)(week->n_agents + week->n_jobs), sizeof(*week->subjects));
    assert_true(week->times_ns != NULL && week->subjects != NULL);
    for (int i = 0; i < week->n_agents + week->n_jobs; i++) {
        struct subject *s = &week->subjects[i];
        s->seed = (uint32_t)i + 1;
        s->counts = i % 3 != 2;
        if (i < week->n_agents) {
            s->cpu_seen = mem_alloc_array(CPU_MOST, sizeof(*s->cpu_seen));
            assert_non_null(s->cpu_seen);
            if (i > 0)
                snprintf(s->name, sizeof(s->name), "agent-%d", i);
        } else {
            snprintf(s->name, sizeof(s->name), "job-%d", i - week->n_agents);
        }
    }
    week->history = open_history(week->directory.path);
    return week;
}

static void week_free(struct week *week)
{
    history_close(week->history);
    temporary_done(&week->directory);
    for (int i = 0; i < week->n_agents; i++)
        mem_free(week->subjects[i].cpu_seen);
    mem_free(week->subjects);
    mem_free(week->times_ns);
    mem_free(week);
}

/* Who is there at this tick. */
static void move_agents(struct week *week, int tick)
{
    for (int i = 0; i < week->n_agents; i++) {
        struct subject *s = &week->subjects[i];
        if (i < STEADY) {
            s->present = true;
        } else if (tick >= s->until) {
            week->random = mix(week->random + 1);
            s->present = !s->present;
            s->until = tick + 1 + (int)(week->random % (uint64_t)(s->present ? 4000 : 9000));
        }
    }
    int64_t elapsed = (int64_t)tick * week->step_s;
    while (week->next_job < week->n_jobs && elapsed >= (int64_t)week->next_job * JOB_SECONDS) {
        struct subject *job = &week->subjects[week->n_agents + week->next_job++];
        job->present = true;
        job->until = tick + 1 + (int)(mix(job->seed) % 300) / week->step_s;
    }
    for (int i = week->first_open; i < week->next_job; i++) {
        struct subject *job = &week->subjects[week->n_agents + i];
        job->present = tick < job->until;
        if (!job->present && i == week->first_open)
            week->first_open++;
    }
}

/* How the clock goes from one tick to the next, and how much time passed for agents. */
struct jump {
    int64_t clock_s;
    int64_t real_s;
    bool off; /* the daemon was not running */
};

static struct jump jump_before(const struct week *week, int tick)
{
    int64_t step = week->step_s;
    int hour = 3600 / week->step_s;
    struct jump usual = {step, step, false};
    const struct {
        int tick;
        struct jump jump;
    } jumps[] = {
        {50 * hour + 7, {-1200, step, false}},         /* NTP sets it back */
        {77 * hour + 11, {86400, step, false}},        /* somebody sets tomorrow, */
        {78 * hour + 23, {step - 86400, step, false}}, /* and notices after an hour */
        {101 * hour + 5, {1800, 1800, false}},         /* a suspend */
        {126 * hour + 3, {6 * 3600, 6 * 3600, true}},  /* switched off for a night */
        {140 * hour + 9, {-2, step, false}},           /* a leap of seconds */
    };
    for (size_t i = 0; i < ARRAY_SIZE(jumps); i++) {
        if (tick == jumps[i].tick)
            return jumps[i].jump;
    }
    return usual;
}

/* A value that was not integrated exactly stands for one usual step; none where the clock went
 * back. */
static int64_t integrated_s(const struct week *week, const struct jump *jump)
{
    if (jump->clock_s <= 0)
        return 0;
    return jump->clock_s > 3 * week->step_s ? week->step_s : jump->clock_s;
}

struct row {
    struct ac_usage usage;
    struct history_totals totals;
};

static void take_sample(struct week *week, struct subject *s, int tick, const struct jump *jump,
    struct row *row, struct history_row *ret_row)
{
    bool known = is_known(s, tick);
    uint32_t cpu = cpu_of(s, tick);
    uint32_t memory = memory_of(s, tick);
    uint32_t disk = disk_of(s, tick);
    struct ac_usage *u = &row->usage;
    uint64_t integrated = (uint64_t)integrated_s(week, jump);
    ac_usage_init(u);
    u->memory_mb = memory / 256.0;
    u->memory_percent = u->memory_mb * 100 / 16384;
    u->disk_io_mbps = disk / 1048576.0;
    u->known = AC_KNOWN_MEMORY_MB | AC_KNOWN_MEMORY_PERCENT | AC_KNOWN_DISK_IO;
    uint64_t cpu_grown = known ? (uint64_t)cpu * 100000 * (uint64_t)jump->real_s : 0;
    uint64_t disk_grown = (uint64_t)disk * (uint64_t)jump->real_s;
    s->cpu_ns += cpu_grown;
    s->disk_bytes += disk_grown;
    bool exact = s->counts && s->given;
    s->cpu_expected_ns += exact ? cpu_grown : known ? (uint64_t)cpu * 100000 * integrated : 0;
    s->disk_expected_bytes += exact ? disk_grown : disk * integrated;
    s->memory_expected += (double)memory * (double)(tick == 0 ? week->step_s : (int)integrated);
    s->samples++;
    if (known) {
        u->cpu_cores = cpu / 10000.0;
        u->cpu_percent = u->cpu_cores * 100 / 8;
        u->known |= AC_KNOWN_CPU_CORES | AC_KNOWN_CPU_PERCENT;
        if (s->cpu_seen != NULL)
            s->cpu_seen[cpu]++;
    }
    *ret_row = (struct history_row){.subject = s->name, .usage = u};
    if (!s->counts)
        return;
    row->totals =
        (struct history_totals){.known = 3, .cpu_ns = s->cpu_ns, .disk_bytes = s->disk_bytes};
    ret_row->totals = &row->totals;
    s->given = true;
}

static void run_tick(struct week *week, int tick)
{
    struct jump jump = jump_before(week, tick);
    size_t room = (size_t)week->n_agents + JOBS_OPEN;
    cleanup_free struct row *rows = mem_alloc_array(room, sizeof(*rows));
    cleanup_free struct history_row *out = mem_alloc_array(room, sizeof(*out));
    struct ac_error error;
    size_t n = 0;
    assert_true(rows != NULL && out != NULL);
    if (tick == 0)
        jump.clock_s = 0; /* the first of all has no step */
    if (jump.off)
        reopen(week);
    week->now_ns += jump.clock_s * SECOND;
    week->times_ns[tick] = week->now_ns;
    move_agents(week, tick);
    for (int i = 0; i < week->n_agents + week->next_job; i++) {
        if (i == week->n_agents)
            i += week->first_open;
        if (i >= week->n_agents + week->next_job)
            break;
        struct subject *s = &week->subjects[i];
        if (!s->present)
            continue;
        assert_true(n < room);
        take_sample(week, s, tick, &jump, &rows[n], &out[n]);
        n++;
    }
    if (history_tick(week->history, week->now_ns, out, n, &error) < 0)
        fail_msg("tick %d: %s", tick, error.message);
}

/* ---- Checks */

static void print_finding(void *userdata, const char *text)
{
    (void)userdata;
    print_message("# %s\n", text);
}

static void check_clean(struct history *history)
{
    struct ac_error error = {0};
    struct history_status status;
    int64_t findings = history_verify(history, print_finding, NULL, &error);
    if (findings != 0)
        fail_msg("%d findings: %s", (int)findings, error.message);
    history_status(history, &status);
    assert_int_equal(status.damaged, 0);
    assert_int_equal(status.last_error, 0);
}

/* What is on disk at this moment, as a crash would leave it, opens and is whole. */
static void check_copy(const struct week *week)
{
    static const char *const names[] = {"history.db", "history.db-wal"};
    struct temporary copy CLEANUP(temporary_done) = temporary_make();
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        char path[128];
        char bytes[65536];
        snprintf(path, sizeof(path), "%s/%s", week->directory.path, names[i]);
        int in = open(path, O_RDONLY | O_CLOEXEC);
        snprintf(path, sizeof(path), "%s/%s", copy.path, names[i]);
        int out = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        assert_true(in >= 0 && out >= 0);
        for (ssize_t n; (n = read(in, bytes, sizeof(bytes))) > 0;)
            assert_int_equal(write(out, bytes, (size_t)n), n);
        close(in);
        close(out);
    }
    struct history *history = open_history(copy.path);
    check_clean(history);
    history_close(history);
}

static void check_totals(struct week *week)
{
    int64_t from = START_NS - DAY;
    int64_t to = week->now_ns + 2 * DAY;
    for (int i = 0; i < week->n_agents + week->next_job; i += i < week->n_agents ? 1 : 17) {
        const struct subject *s = &week->subjects[i];
        struct history_usage usage;
        struct history_info info;
        assert_int_equal(
            history_usage(week->history, &(const struct history_whose){s->name, HISTORY_ANYBODY},
                from, to, &usage, &info, NULL),
            0);
        double cpu = (double)s->cpu_expected_ns * 1e-9;
        double memory = s->memory_expected / 256 / 1024 / 3600;
        if (usage.samples != s->samples)
            fail_msg("%s: %llu samples instead of %llu", s->name, (unsigned long long)usage.samples,
                (unsigned long long)s->samples);
        if (s->samples == 0)
            continue;
        if (!isnan(usage.cpu_seconds) && fabs(usage.cpu_seconds - cpu) > cpu * 1e-9 + 1e-6)
            fail_msg("%s: %.9g s of CPU instead of %.9g", s->name, usage.cpu_seconds, cpu);
        if (fabs(usage.disk_bytes - (double)s->disk_expected_bytes) > 1)
            fail_msg("%s: %.12g bytes instead of %.12g", s->name, usage.disk_bytes,
                (double)s->disk_expected_bytes);
        if (fabs(usage.memory_gib_hours - memory) > memory * 1e-3 + 1e-6)
            fail_msg("%s: %.9g GiB hours instead of %.9g", s->name, usage.memory_gib_hours, memory);
        assert_true(isnan(usage.network_bytes));
        assert_int_equal(info.damaged, 0);
    }
}

static void check_quantiles(struct week *week)
{
    static const double ranks[] = {0, 0.5, 0.95, 1};
    for (int i = 0; i < week->n_agents; i++) {
        const struct subject *s = &week->subjects[i];
        const struct history_whose whose = {s->name, HISTORY_ANYBODY};
        uint64_t n = 0;
        for (int v = 0; v < CPU_MOST; v++)
            n += s->cpu_seen[v];
        for (size_t q = 0; q < ARRAY_SIZE(ranks) && n > 0; q++) {
            struct history_info info;
            double value = 0;
            assert_int_equal(history_quantile(week->history, AC_CPU, &whose, 1, ranks[q],
                                 START_NS - DAY, week->now_ns + 2 * DAY, &value, &info, NULL),
                0);
            uint64_t rank = (uint64_t)fmax(ceil(ranks[q] * (double)n), 1);
            uint64_t seen = 0;
            int exact = 0;
            while (exact < CPU_MOST && (seen += s->cpu_seen[exact]) < rank)
                exact++;
            if (fabs(value - exact / 10000.0) > exact / 10000.0 * info.error_bound + 1e-9)
                fail_msg("%s: quantile %g is %g instead of %g (bound %g)", s->name, ranks[q], value,
                    exact / 10000.0, info.error_bound);
        }
    }
}

struct walk {
    const struct week *week;
    const struct subject *subject;
    int tick;
    uint64_t points;
};

static int check_point(void *userdata, const struct history_point *point)
{
    struct walk *w = userdata;
    while (w->tick < w->week->ticks && w->week->times_ns[w->tick] < point->from_ns)
        w->tick++;
    assert_true(w->tick < w->week->ticks && w->week->times_ns[w->tick] == point->from_ns);
    assert_int_equal(point->samples, 1);
    assert_int_equal(lround(point->mean.memory_mb * 256), memory_of(w->subject, w->tick));
    bool known = is_known(w->subject, w->tick);
    assert_int_equal((point->mean.known & AC_KNOWN_CPU_CORES) != 0, known);
    if (known)
        assert_int_equal(lround(point->mean.cpu_cores * 10000), cpu_of(w->subject, w->tick));
    w->points++;
    return 0;
}

/* The last 24 hours tick by tick. */
static void check_raw(struct week *week)
{
    int64_t from = week->now_ns - 24 * HOUR;
    uint64_t ticks = 0;
    for (int t = week->ticks - 1; t >= 0 && week->times_ns[t] >= from; t--)
        ticks++;
    for (int i = 0; i < week->n_agents; i++) {
        struct walk walk = {.week = week, .subject = &week->subjects[i]};
        struct ac_error error = {0};
        int r = history_range(week->history, walk.subject->name, from, week->now_ns + 1, 0, 1000000,
            check_point, &walk, &error);
        if (r < 0)
            fail_msg("%s: %s", walk.subject->name, error.message);
        if (i < STEADY)
            assert_int_equal(walk.points, ticks);
    }
}

static int check_coarse(void *userdata, const struct history_point *point)
{
    struct walk *w = userdata;
    if (point->step_ns < (uint64_t)w->tick * (uint64_t)SECOND)
        fail_msg("a step of %g s", (double)point->step_ns * 1e-9);
    w->points += point->samples;
    return 0;
}

/* What is older than a tier's time, and than a row of sixty chunks at most, comes from the next. */
static void check_tier(struct week *week, int64_t to, int step_s)
{
    struct walk walk = {.tick = step_s};
    uint64_t expected = 0;
    to -= to % HOUR;
    assert_int_equal(history_range(week->history, "agent-1", START_NS, to, 0, 1000000, check_coarse,
                         &walk, NULL),
        0);
    for (int t = 0; t < week->ticks; t++)
        expected += week->times_ns[t] < to;
    /* A row of an agent's 3,600 ticks is there as a whole or not, at either end. */
    if (walk.points > expected + ROW_TICKS || walk.points + ROW_TICKS < expected)
        fail_msg("%d samples instead of %d", (int)walk.points, (int)expected);
}

static void check_retention(struct week *week)
{
    check_tier(week, week->now_ns - 4 * DAY, 60);
    check_tier(week, START_NS + DAY, 3600);
}

static uint64_t bytes_now(struct week *week)
{
    struct history_status status;
    history_status(week->history, &status);
    return status.file_bytes;
}

static void a_week_passes(void **state)
{
    struct week *week = week_new();
    uint64_t bytes[8] = {0};
    int day = 0;
    (void)state;
    for (int tick = 0; tick < week->ticks; tick++) {
        run_tick(week, tick);
        int now = (int)((int64_t)(tick + 1) * week->step_s / 86400);
        if (now == day)
            continue;
        day = now;
        bytes[day] = bytes_now(week);
        if (day % 2 == 1)
            reopen(week);
        if (day == 4)
            check_copy(week);
        if (day == 5)
            check_totals(week);
    }
    check_clean(week->history);
    check_totals(week);
    check_quantiles(week);
    check_raw(week);
    check_retention(week);
    for (int i = 1; i <= 7; i++)
        print_message("# day %d: %llu bytes\n", i, (unsigned long long)bytes[i]);
    /* Ticks and minutes go as new ones come: only hours still add up. */
    assert_true(bytes[7] < bytes[4] + bytes[4] / 2);
    assert_true(bytes[7] - bytes[5] < bytes[1] / 2);
    reopen(week);
    check_clean(week->history);
    check_totals(week);
    week_free(week);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_week_passes),
    };
    return cmocka_run_group_tests_name("hist_week", tests, NULL, NULL);
}
