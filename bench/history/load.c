/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The history under load (bench/history/run starts it and prints its figures): data of one file
 * replicated to so many agents, at so many ticks of a second.
 *
 *     history_load FILE.csv DIRECTORY [--agents N] [--ticks N] [--background] [--full-sync]
 *                  [--crashes N] [--no-queries]
 *
 * Prints "name value" lines; progress goes to standard error. Bytes are those of the database's
 * pages: everything that a table and its indexes occupy.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <malloc.h>
#include <math.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"
#include "data.h"

#define SECOND    INT64_C(1000000000)
#define START_NS  (INT64_C(1700000000) * SECOND)
#define HOUR      3600
#define WEEK      (7 * 86400)
#define WARM_RUNS 30
#define COLD_RUNS 7

struct load {
    const struct data *data;
    struct history_options options;
    char path[512];
    int agents;
    int ticks;
    int crashes;
    bool no_queries;
    struct data_row *rows;
    struct history_row *out;
    struct history *history;
};

static double now_s(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void fail(const char *text)
{
    fprintf(stderr, "history_load: %s\n", text);
    exit(1);
}

static void figure(const char *name, double value)
{
    printf("%s %.9g\n", name, value);
    fflush(stdout);
}

static double open_history(struct load *load)
{
    struct ac_error error;
    double t = now_s(CLOCK_MONOTONIC);
    if (history_open(NULL, &load->options, &load->history, &error) < 0)
        fail(error.message);
    return now_s(CLOCK_MONOTONIC) - t;
}

static void close_history(struct load *load)
{
    history_close(load->history);
    load->history = NULL;
}

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static double median(double *values, int n)
{
    qsort(values, (size_t)n, sizeof(*values), compare_doubles);
    return values[n / 2];
}

/* ---- Ticks */

static void tick(struct load *load, int number)
{
    struct ac_error error;
    int64_t when = START_NS + number * SECOND;
    if (history_tick(load->history, when, load->out, (size_t)load->agents, &error) < 0)
        fail(error.message);
}

static void print_times(const char *name, double *times, int n)
{
    char text[64];
    static const struct {
        const char *name;
        double rank;
    } ranks[] = {{"p50", 0.5}, {"p99", 0.99}, {"max", 1}};
    snprintf(text, sizeof(text), "%s_first_ms", name);
    figure(text, times[0] * 1e3);
    qsort(times + 1, (size_t)n - 1, sizeof(*times), compare_doubles);
    for (size_t i = 0; i < ARRAY_SIZE(ranks); i++) {
        snprintf(text, sizeof(text), "%s_%s_ms", name, ranks[i].name);
        figure(text, times[1 + (int)(ranks[i].rank * (n - 2))] * 1e3);
    }
}

static void progress(const char *what, int at, int all, double *next)
{
    if (now_s(CLOCK_MONOTONIC) < *next)
        return;
    *next = now_s(CLOCK_MONOTONIC) + 10;
    fprintf(stderr, "  ... %s %d of %d\n", what, at, all);
}

static double heap_bytes(void)
{
    struct mallinfo2 info = mallinfo2();
    return (double)(info.uordblks + info.hblkhd);
}

/* Until a tick's transaction is committed ("commit"), and until the log has been checkpointed too
 * ("tick"). With a worker thread also what the caller waits ("call"); ticks come one after the
 * other then, as at 1 Hz there is time enough between two. */
static void run_ticks(struct load *load)
{
    size_t n = (size_t)load->ticks;
    double *calls = mem_alloc_array(n, sizeof(*calls));
    double *times = mem_alloc_array(n, sizeof(*times));
    double *cpu = mem_alloc_array(n, sizeof(*cpu));
    double *own_cpu = mem_alloc_array(n, sizeof(*own_cpu));
    double *commits = mem_alloc_array(n, sizeof(*commits));
    struct history_status status;
    double next = now_s(CLOCK_MONOTONIC) + 10;
    struct ac_error error;
    if (calls == NULL || times == NULL || cpu == NULL || own_cpu == NULL || commits == NULL)
        fail("no memory");
    double heap = heap_bytes();
    double heap_most = 0;
    double used = 0;
    open_history(load);
    for (int t = 0; t < load->ticks; t++) {
        data_fill(load->data, load->agents, t, load->rows, load->out);
        double before = now_s(CLOCK_PROCESS_CPUTIME_ID);
        double own = now_s(CLOCK_THREAD_CPUTIME_ID);
        double wall = now_s(CLOCK_MONOTONIC);
        tick(load, t);
        calls[t] = now_s(CLOCK_MONOTONIC) - wall;
        own_cpu[t] = now_s(CLOCK_THREAD_CPUTIME_ID) - own;
        if (load->options.background && history_flush(load->history, &error) < 0)
            fail(error.message);
        times[t] = now_s(CLOCK_MONOTONIC) - wall;
        cpu[t] = now_s(CLOCK_PROCESS_CPUTIME_ID) - before;
        used += cpu[t];
        history_status(load->history, &status);
        commits[t] = (double)status.commit_last_ns / 1e9;
        if (t % 16 == 15)
            heap_most = fmax(heap_most, heap_bytes() - heap);
        progress("ticks", t, load->ticks, &next);
    }
    history_status(load->history, &status);
    double samples = (double)load->agents * load->ticks * data_columns(load->data);
    figure("samples", samples);
    figure("cpu_ns_per_sample", used / samples * 1e9);
    figure("cpu_percent_at_1hz", used / load->ticks * 100);
    if (load->options.background) {
        print_times("call", calls, load->ticks);
        print_times("call_cpu", own_cpu, load->ticks);
    }
    print_times("commit", commits, load->ticks);
    print_times("tick", times, load->ticks);
    print_times("tick_cpu", cpu, load->ticks);
    figure("memory_own_account_bytes", (double)status.memory_bytes);
    figure("memory_heap_bytes", heap_most);
    mem_free(calls);
    mem_free(times);
    mem_free(cpu);
    mem_free(own_cpu);
    mem_free(commits);
}

/* ---- Size */

static sqlite3_int64 number_of(sqlite3 *db, const char *sql)
{
    sqlite3_stmt *statement = NULL;
    sqlite3_int64 value = -1;
    if (sqlite3_prepare_v2(db, sql, -1, &statement, NULL) == SQLITE_OK &&
        sqlite3_step(statement) == SQLITE_ROW)
        value = sqlite3_column_int64(statement, 0);
    sqlite3_finalize(statement);
    return value;
}

/* Pages of each table with its indexes, from SQLite's dbstat. */
static void print_sizes(const struct load *load)
{
    sqlite3 *db;
    sqlite3_stmt *statement = NULL;
    struct stat file;
    if (stat(load->path, &file) == 0)
        figure("file_bytes", (double)file.st_size);
    if (sqlite3_open_v2(load->path, &db, SQLITE_OPEN_READWRITE, NULL) != SQLITE_OK)
        fail("cannot open the database");
    figure("size_free",
        (double)(number_of(db, "PRAGMA freelist_count") * number_of(db, "PRAGMA page_size")));
    static const char sql[] =
        "SELECT coalesce(s.tbl_name, d.name), sum(d.pgsize), sum(d.payload) FROM dbstat d"
        " LEFT JOIN sqlite_schema s ON s.name = d.name GROUP BY 1 ORDER BY 2 DESC";
    if (sqlite3_prepare_v2(db, sql, -1, &statement, NULL) != SQLITE_OK)
        fail("this SQLite has no dbstat");
    while (sqlite3_step(statement) == SQLITE_ROW) {
        printf("size_%s %lld\n", (const char *)sqlite3_column_text(statement, 0),
            (long long)sqlite3_column_int64(statement, 1));
        printf("payload_%s %lld\n", (const char *)sqlite3_column_text(statement, 0),
            (long long)sqlite3_column_int64(statement, 2));
    }
    sqlite3_finalize(statement);
    sqlite3_close(db);
}

/* ---- Queries */

/* The file's pages leave the cache. Returns the share that stayed. */
static double go_cold(const char *path)
{
    struct stat file;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &file) < 0 || file.st_size == 0)
        return NAN;
    fdatasync(fd);
    posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    size_t pages = ((size_t)file.st_size + 4095) / 4096;
    size_t stayed = 0;
    unsigned char *in_cache = mem_alloc(pages);
    void *map = mmap(NULL, (size_t)file.st_size, PROT_READ, MAP_SHARED, fd, 0);
    if (in_cache != NULL && map != MAP_FAILED &&
        mincore(map, (size_t)file.st_size, in_cache) == 0) {
        for (size_t i = 0; i < pages; i++)
            stayed += in_cache[i] & 1;
    }
    if (map != MAP_FAILED)
        munmap(map, (size_t)file.st_size);
    mem_free(in_cache);
    close(fd);
    return (double)stayed / (double)pages;
}

static int count_point(void *userdata, const struct history_point *point)
{
    (void)point;
    ++*(long *)userdata;
    return 0;
}

enum query { HOUR_OF_ONE, P95_OF_WEEK, TOP_OF_HOUR, QUERY_COUNT };
static const char *const query_names[] = {"hour", "p95", "top"};

static double off; /* the worst of the quantiles, relative, and what they promise */
static double bound;

static double ask(struct load *load, enum query which, int agent)
{
    const char *name = load->rows[agent].name;
    int64_t end = START_NS + load->ticks * SECOND;
    struct history_top_row best[10];
    struct history_info info = {0};
    double value = 0;
    long points = 0;
    int r = 0;
    double t = now_s(CLOCK_MONOTONIC);
    if (which == HOUR_OF_ONE)
        r = history_range(
            load->history, name, end - HOUR * SECOND, end, 0, 100000, count_point, &points, NULL);
    else if (which == P95_OF_WEEK)
        r = history_quantile(load->history, AC_CPU,
            &(const struct history_whose){name, HISTORY_ANYBODY}, 1, 0.95, end - WEEK * SECOND, end,
            &value, &info, NULL);
    else
        r = history_top(load->history, AC_CPU, HISTORY_MEAN, end - HOUR * SECOND, end, 10, NULL,
            NULL, best, NULL, NULL);
    t = now_s(CLOCK_MONOTONIC) - t;
    if (r < 0 || (which == HOUR_OF_ONE && points < MIN(load->ticks, HOUR) - 2) ||
        (which == TOP_OF_HOUR && r < MIN(load->agents, 10)))
        fail("a query has no answer");
    if (which == P95_OF_WEEK) {
        double exact = data_cpu_quantile(
            load->data, agent, load->ticks > WEEK ? load->ticks - WEEK : 0, load->ticks, 0.95);
        off = fmax(off, exact > 0 ? fabs(value / exact - 1) : fabs(value));
        bound = fmax(bound, info.error_bound);
    }
    return t * 1e3;
}

static void time_queries(struct load *load)
{
    char text[64];
    double stayed = 0;
    for (enum query q = 0; q < QUERY_COUNT; q++) {
        double times[WARM_RUNS];
        for (int i = 0; i < WARM_RUNS; i++)
            times[i] = ask(load, q, i * 977 % load->agents);
        snprintf(text, sizeof(text), "%s_warm_ms", query_names[q]);
        figure(text, median(times, WARM_RUNS));
    }
    for (enum query q = 0; q < QUERY_COUNT; q++) {
        double times[COLD_RUNS];
        for (int i = 0; i < COLD_RUNS; i++) {
            close_history(load);
            open_history(load);
            stayed = fmax(stayed, go_cold(load->path));
            times[i] = ask(load, q, (i * 977 + 13) % load->agents);
        }
        snprintf(text, sizeof(text), "%s_cold_ms", query_names[q]);
        figure(text, median(times, COLD_RUNS));
    }
    figure("cold_stayed_percent", stayed * 100);
    figure("p95_off_percent", off * 100);
    figure("p95_bound_percent", bound * 100);
}

/* ---- Crashes */

static void tick_until_killed(struct load *load, int from, int told)
{
    open_history(load);
    for (int t = from;; t++) {
        data_fill(load->data, load->agents, t, load->rows, load->out);
        tick(load, t);
        if (write(told, "", 1) != 1)
            _exit(1);
    }
}

/* Kills a writer in the middle of its 16th tick, just before its log would be checkpointed.
 * Returns how many ticks it had told of. */
static int crash(struct load *load, int from, int round)
{
    int pipes[2];
    if (pipe(pipes) < 0)
        fail("no pipe");
    pid_t pid = fork();
    if (pid == 0) {
        close(pipes[0]);
        tick_until_killed(load, from, pipes[1]);
    }
    close(pipes[1]);
    int told = 0;
    char byte;
    int last = 15 + 16 * (round % 3) + (16 - from % 16) % 16; /* the log is longest there */
    while (told < last && read(pipes[0], &byte, 1) == 1)
        told++;
    usleep((useconds_t)(round * 700 % 5000));
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    while (read(pipes[0], &byte, 1) == 1)
        told++;
    close(pipes[0]);
    return told;
}

static void run_crashes(struct load *load)
{
    double worst[2] = {0}; /* with the files in the cache, and out of it */
    double worst_cpu = 0;
    double log_bytes = 0;
    int lost = 0;
    int from = load->ticks;
    char log[520];
    snprintf(log, sizeof(log), "%s-wal", load->path);
    close_history(load);
    for (int i = 0; i < load->crashes; i++) {
        struct stat file;
        from += crash(load, from, i);
        if (stat(log, &file) == 0)
            log_bytes = fmax(log_bytes, (double)file.st_size);
        if (i % 2 == 1) {
            go_cold(log);
            go_cold(load->path);
        }
        double cpu = now_s(CLOCK_PROCESS_CPUTIME_ID);
        worst[i % 2] = fmax(worst[i % 2], open_history(load));
        worst_cpu = fmax(worst_cpu, now_s(CLOCK_PROCESS_CPUTIME_ID) - cpu);
        long points = 0;
        history_range(load->history, load->rows[0].name, START_NS, START_NS + from * SECOND, 0,
            10000000, count_point, &points, NULL);
        lost += from - (int)points;
        close_history(load);
    }
    open_history(load);
    figure("crash_damage", (double)history_verify(load->history, NULL, NULL, NULL));
    figure("crashes", load->crashes);
    figure("crash_lost_ticks", lost > 0 ? lost : 0);
    figure("crash_log_bytes", log_bytes);
    figure("recover_warm_ms", worst[0] * 1e3);
    figure("recover_cold_ms", worst[1] * 1e3);
    figure("recover_cpu_ms", worst_cpu * 1e3);
}

/* ---- The whole */

static void parse(int argc, char **argv, struct load *load)
{
    static const struct option table[] = {{"agents", required_argument, NULL, 'a'},
        {"ticks", required_argument, NULL, 't'}, {"background", no_argument, NULL, 'b'},
        {"full-sync", no_argument, NULL, 'f'}, {"crashes", required_argument, NULL, 'c'},
        {"no-queries", no_argument, NULL, 'n'}, {0}};
    int option;
    while ((option = getopt_long(argc, argv, "", table, NULL)) != -1) {
        int number = optarg == NULL ? 0 : (int)strtoll(optarg, NULL, 10);
        load->agents = option == 'a' ? number : load->agents;
        load->ticks = option == 't' ? number : load->ticks;
        load->crashes = option == 'c' ? number : load->crashes;
        load->options.background |= option == 'b';
        load->options.full_sync |= option == 'f';
        load->no_queries |= option == 'n';
        if (option == '?')
            exit(2);
    }
    if (argc - optind != 2 || load->agents < 10 || load->ticks < 100)
        fail("usage: history_load FILE.csv DIRECTORY [OPTION...]");
}

int main(int argc, char **argv)
{
    struct load load = {.agents = 10000, .ticks = 4000};
    struct data *data;
    parse(argc, argv, &load);
    if (data_load(argv[optind], &data) < 0)
        fail("cannot read the data");
    load.data = data;
    load.options.directory = argv[optind + 1];
    snprintf(load.path, sizeof(load.path), "%s/history.db", load.options.directory);
    load.rows = mem_alloc_array((size_t)load.agents, sizeof(*load.rows));
    load.out = mem_alloc_array((size_t)load.agents, sizeof(*load.out));
    if (load.rows == NULL || load.out == NULL)
        fail("no memory");
    for (int a = 0; a < load.agents; a++)
        snprintf(load.rows[a].name, sizeof(load.rows[a].name), "agent-%d", a);
    run_ticks(&load);
    close_history(&load);
    print_sizes(&load);
    figure("reopen_ms", open_history(&load) * 1e3);
    if (!load.no_queries)
        time_queries(&load);
    if (load.crashes > 0)
        run_crashes(&load);
    close_history(&load);
    mem_free(load.rows);
    mem_free(load.out);
    data_free(data);
    return 0;
}
