/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The history under the load of data B: recorded process trees (bench/history/record-trees.py),
 * replicated with shifts in time to so many agents, at so many ticks of a second.
 *
 *     history_load FILE.csv [AGENTS [TICKS [DIRECTORY [FULL]]]]
 *
 * Prints the cost of a tick, the bytes per sample and the times of queries. Bytes count what
 * SQLite uses, with indexes, free space in pages, rollups and the ticks that are not compacted.
 */
#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"
#include "store/history.h"

#define TREES_MAX  200
#define TICKS_MAX  20000
#define COLUMNS    6 /* of data B; data A has 2 */
#define SECOND     INT64_C(1000000000)
#define START_NS   (INT64_C(1700000000) * SECOND)
#define QUERY_RUNS 30

static int32_t data[TREES_MAX][TICKS_MAX][COLUMNS];
static int lengths[TREES_MAX];
static int trees;
static int columns;

static double now_s(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static int load(const char *path)
{
    char line[256];
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return -errno;
    while (fgets(line, sizeof(line), file) != NULL) {
        int tree;
        int v[COLUMNS] = {0};
        int got = sscanf(
            line, "%*d,%d,%d,%d,%d,%d,%d,%d", &tree, &v[0], &v[1], &v[2], &v[3], &v[4], &v[5]);
        if (got < 3 || tree < 0 || tree >= TREES_MAX || lengths[tree] == TICKS_MAX)
            continue;
        columns = got - 1;
        memcpy(data[tree][lengths[tree]++], v, sizeof(v));
        trees = tree >= trees ? tree + 1 : trees;
    }
    fclose(file);
    return trees > 0 ? 0 : -ENODATA;
}

static const int32_t *sample(int agent, int tick)
{
    /* Where a recording ends, the next one goes on: nothing repeats soon. */
    int tree = agent % trees;
    int at = tick + agent / trees * 11;
    while (at >= lengths[tree]) {
        at -= lengths[tree];
        tree = (tree + 1) % trees;
    }
    return data[tree][at];
}

struct agent_row {
    char name[24];
    struct ac_usage usage;
};

static void fill(struct agent_row *rows, struct history_row *out, int agents, int tick)
{
    for (int a = 0; a < agents; a++) {
        const int32_t *v = sample(a, tick);
        struct ac_usage *u = &rows[a].usage;
        ac_usage_init(u);
        u->cpu_cores = v[0] / 10000.0;
        u->cpu_percent = u->cpu_cores * 100 / 8;
        u->memory_mb = v[1] / 256.0;
        u->memory_percent = u->memory_mb * 100 / 32768;
        u->disk_io_mbps = v[2] / 1048576.0;
        u->network_io_mbps = v[3] / 1048576.0;
        u->file_descriptors = (uint64_t)v[4];
        u->known = AC_KNOWN_ALL;
        out[a] =
            (struct history_row){.subject = rows[a].name, .usage = u, .processes = (uint32_t)v[5]};
    }
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

static void print_tables(const char *path, double samples)
{
    static const char *const tables[] = {
        "chunk", "merged", "minute", "hour", "day", "frame", "top", "tenure", "subject"};
    sqlite3 *db;
    if (sqlite3_open_v2(path, &db, SQLITE_OPEN_READONLY, NULL) != SQLITE_OK)
        return;
    for (size_t i = 0; i < ARRAY_SIZE(tables); i++) {
        char sql[160];
        sqlite3_stmt *statement;
        snprintf(sql, sizeof(sql),
            i < 7 ? "SELECT count(*), sum(length(data)) FROM %s"
                  : "SELECT count(*), count(*) * 40 FROM %s",
            tables[i]);
        if (sqlite3_prepare_v2(db, sql, -1, &statement, NULL) == SQLITE_OK &&
            sqlite3_step(statement) == SQLITE_ROW)
            printf("  %-8s %8lld rows %12lld bytes  %.4f per sample\n", tables[i],
                (long long)sqlite3_column_int64(statement, 0),
                (long long)sqlite3_column_int64(statement, 1),
                (double)sqlite3_column_int64(statement, 1) / samples);
        sqlite3_finalize(statement);
    }
    sqlite3_close(db);
}

static int count_point(void *userdata, const struct history_point *point)
{
    (void)point;
    ++*(long *)userdata;
    return 0;
}

/* Pages of the file leave the cache; SQLite's own cache goes with the connections. */
static void go_cold(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        fdatasync(fd);
        posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
        close(fd);
    }
}

static void time_queries(
    struct history *history, struct agent_row *rows, int agents, int64_t end_ns, const char *words)
{
    double hour[QUERY_RUNS];
    double p95[QUERY_RUNS];
    double top[QUERY_RUNS];
    long points = 0;
    for (int i = 0; i < QUERY_RUNS; i++) {
        const char *name = rows[(i * 977) % agents].name;
        struct history_top_row best[10];
        double value;
        double t = now_s(CLOCK_MONOTONIC);
        history_range(
            history, name, end_ns - 3600 * SECOND, end_ns, 0, 100000, count_point, &points, NULL);
        hour[i] = now_s(CLOCK_MONOTONIC) - t;
        t = now_s(CLOCK_MONOTONIC);
        history_quantile(history, AC_CPU, &name, 1, 0.95, end_ns - 7 * 86400 * SECOND, end_ns,
            &value, NULL, NULL);
        p95[i] = now_s(CLOCK_MONOTONIC) - t;
        t = now_s(CLOCK_MONOTONIC);
        history_top(history, AC_CPU, HISTORY_MEAN, end_ns - 3600 * SECOND, end_ns, 10, NULL, NULL,
            best, NULL, NULL);
        top[i] = now_s(CLOCK_MONOTONIC) - t;
    }
    printf("queries, %s: first / median ms: hour of an agent %.3f / %.3f (%ld points), p95 of all"
           " there is %.3f / %.3f, top 10 of an hour %.3f / %.3f\n",
        words, hour[0] * 1e3, median(hour, QUERY_RUNS) * 1e3, points / QUERY_RUNS, p95[0] * 1e3,
        median(p95, QUERY_RUNS) * 1e3, top[0] * 1e3, median(top, QUERY_RUNS) * 1e3);
}

static void run(const struct history_options *options, int agents, int ticks)
{
    struct history *history;
    struct ac_error error;
    struct history_status status;
    struct rusage usage;
    struct agent_row *rows = mem_alloc_array((size_t)agents, sizeof(*rows));
    struct history_row *out = mem_alloc_array((size_t)agents, sizeof(*out));
    double *times = mem_alloc_array((size_t)ticks, sizeof(*times));
    if (history_open(NULL, options, &history, &error) < 0) {
        fprintf(stderr, "%s\n", error.message);
        exit(1);
    }
    for (int a = 0; a < agents; a++)
        snprintf(rows[a].name, sizeof(rows[a].name), "agent-%d", a);
    double cpu = 0;
    for (int t = 0; t < ticks; t++) {
        fill(rows, out, agents, t);
        double wall = now_s(CLOCK_MONOTONIC);
        double before = now_s(CLOCK_PROCESS_CPUTIME_ID);
        int r = history_tick(history, START_NS + t * SECOND, out, (size_t)agents, &error);
        cpu += now_s(CLOCK_PROCESS_CPUTIME_ID) - before;
        times[t] = now_s(CLOCK_MONOTONIC) - wall;
        if (r < 0) {
            fprintf(stderr, "%s\n", error.message);
            exit(1);
        }
    }
    history_status(history, &status);
    double samples = (double)agents * ticks * columns;
    qsort(times, (size_t)ticks, sizeof(*times), compare_doubles);
    getrusage(RUSAGE_SELF, &usage);
    printf("%d agents, %d ticks, %d metrics%s\n", agents, ticks, columns,
        options->full_sync ? ", full sync" : "");
    printf("tick: median %.2f ms, P99 %.2f ms, max %.2f ms; CPU %.2f ms (%.2f %% of a core at 1"
           " Hz); %.1f million samples/s\n",
        times[ticks / 2] * 1e3, times[ticks * 99 / 100] * 1e3, times[ticks - 1] * 1e3,
        cpu / ticks * 1e3, cpu / ticks * 100, samples / cpu / 1e6);
    printf("memory of the store %.1f MiB (peak of this program %.1f MiB)\n",
        (double)status.memory_bytes / 1048576, (double)usage.ru_maxrss / 1024);
    printf("file %.1f MB: %.4f bytes per sample\n", (double)status.file_bytes / 1e6,
        (double)status.file_bytes / samples);
    char path[512];
    snprintf(path, sizeof(path), "%s/history.db", options->directory);
    print_tables(path, samples);
    int64_t end = START_NS + ticks * SECOND;
    time_queries(history, rows, agents, end, "warm");
    history_close(history);
    go_cold(path);
    double t = now_s(CLOCK_MONOTONIC);
    if (history_open(NULL, options, &history, &error) == 0) {
        printf("reopened in %.3f s\n", now_s(CLOCK_MONOTONIC) - t);
        go_cold(path);
        time_queries(history, rows, agents, end, "after reopening, file out of the cache");
        history_close(history);
    }
    mem_free(rows);
    mem_free(out);
    mem_free(times);
}

int main(int argc, char **argv)
{
    char directory[] = "/tmp/bench-history-XXXXXX";
    if (argc < 2 || load(argv[1]) < 0) {
        fprintf(stderr, "usage: %s FILE.csv [AGENTS [TICKS [DIRECTORY [FULL]]]]\n", argv[0]);
        return 2;
    }
    const char *where = argc > 4 ? argv[4] : mkdtemp(directory);
    struct history_options options = {.directory = where, .full_sync = argc > 5};
    int agents = argc > 2 ? (int)strtoll(argv[2], NULL, 10) : 10000;
    int ticks = argc > 3 ? (int)strtoll(argv[3], NULL, 10) : 4000;
    run(&options, agents, ticks);
    return 0;
}
