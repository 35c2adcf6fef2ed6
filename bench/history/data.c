/* SPDX-License-Identifier: Apache-2.0 */
#include "data.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

#define SERIES_MAX 1000
#define SHIFT      11 /* ticks between two agents of one recording */

struct data {
    int series;
    int columns;
    int starts[SERIES_MAX];
    int total;
    int32_t (*ring)[DATA_COLUMNS]; /* all series, one behind the other */
};

struct line {
    int series;
    int32_t values[DATA_COLUMNS];
};

static int columns_of(const char *text, struct line *ret_line)
{
    int32_t *v = ret_line->values;
    *ret_line = (struct line){.series = -1};
    return sscanf(text, "%*d,%d,%d,%d,%d,%d,%d,%d", &ret_line->series, &v[0], &v[1], &v[2], &v[3],
               &v[4], &v[5]) -
           1;
}

static int read_lines(FILE *file, struct line **ret_lines, int *ret_n, int *ret_columns)
{
    char text[256];
    struct line *lines = NULL;
    int n = 0;
    int room = 0;
    while (fgets(text, sizeof(text), file) != NULL) {
        struct line line;
        int columns = columns_of(text, &line);
        if (columns < 2 || line.series < 0 || line.series >= SERIES_MAX)
            continue;
        if (n == room) {
            room = MAX(2 * room, 4096);
            struct line *more = mem_resize_array(lines, (size_t)room, sizeof(*lines));
            if (more == NULL) {
                mem_free(lines);
                return -ENOMEM;
            }
            lines = more;
        }
        *ret_columns = columns;
        lines[n++] = line;
    }
    *ret_lines = lines;
    *ret_n = n;
    return n > 0 ? 0 : -ENODATA;
}

/* Sorted by series, and within one as in the file. */
static int arrange(struct data *data, const struct line *lines, int n)
{
    int next[SERIES_MAX + 1] = {0};
    data->ring = mem_alloc_array((size_t)n, sizeof(*data->ring));
    if (data->ring == NULL)
        return -ENOMEM;
    for (int i = 0; i < n; i++)
        next[lines[i].series + 1]++;
    for (int s = 0; s < SERIES_MAX; s++) {
        if (next[s + 1] > 0)
            data->starts[data->series++] = next[s]; /* numbers may have holes */
        next[s + 1] += next[s];
    }
    for (int i = 0; i < n; i++)
        memcpy(data->ring[next[lines[i].series]++], lines[i].values, sizeof(*data->ring));
    data->total = n;
    return 0;
}

int data_load(const char *path, struct data **ret_data)
{
    struct line *lines = NULL;
    int n = 0;
    struct data *data = mem_alloc(sizeof(*data));
    FILE *file = fopen(path, "re");
    int r = data == NULL ? -ENOMEM : file == NULL ? -errno : 0;
    if (r == 0)
        r = read_lines(file, &lines, &n, &data->columns);
    if (r == 0)
        r = arrange(data, lines, n);
    mem_free(lines);
    if (file != NULL)
        fclose(file);
    if (r == 0)
        *ret_data = data;
    else
        data_free(data);
    return r;
}

void data_free(struct data *data)
{
    if (data == NULL)
        return;
    mem_free(data->ring);
    mem_free(data);
}

int data_columns(const struct data *data)
{
    return data->columns;
}

const int32_t *data_at(const struct data *data, int agent, int tick)
{
    int64_t start = data->starts[agent % data->series];
    return data->ring[(start + tick + (int64_t)(agent / data->series) * SHIFT) % data->total];
}

void data_fill(const struct data *data, int agents, int tick, struct data_row *rows,
    struct history_row *ret_rows)
{
    for (int a = 0; a < agents; a++) {
        const int32_t *v = data_at(data, a, tick);
        struct ac_usage *u = &rows[a].usage;
        ac_usage_init(u);
        u->cpu_cores = v[0] / 10000.0;
        u->cpu_percent = u->cpu_cores * 100 / 8;
        u->memory_mb = v[1] / 256.0;
        u->memory_percent = u->memory_mb * 100 / 32768;
        u->known = AC_KNOWN_CPU_CORES | AC_KNOWN_CPU_PERCENT | AC_KNOWN_MEMORY_MB |
                   AC_KNOWN_MEMORY_PERCENT;
        if (data->columns == DATA_COLUMNS) {
            u->disk_io_mbps = v[2] / 1048576.0;
            u->network_io_mbps = v[3] / 1048576.0; /* written, as its own metric */
            u->file_descriptors = (uint64_t)v[4];
            u->known = AC_KNOWN_ALL;
        }
        ret_rows[a] =
            (struct history_row){.subject = rows[a].name, .usage = u, .processes = (uint32_t)v[5]};
    }
}

static int compare(const void *a, const void *b)
{
    int32_t x = *(const int32_t *)a;
    int32_t y = *(const int32_t *)b;
    return x < y ? -1 : x > y;
}

double data_cpu_quantile(const struct data *data, int agent, int from, int to, double q)
{
    size_t n = (size_t)(to - from);
    int32_t *values = mem_alloc_array(n, sizeof(*values));
    if (values == NULL)
        return NAN;
    for (size_t i = 0; i < n; i++)
        values[i] = data_at(data, agent, from + (int)i)[0];
    qsort(values, n, sizeof(*values), compare);
    double value = values[(size_t)fmax(ceil(q * (double)n) - 1, 0)] / 10000.0;
    mem_free(values);
    return value;
}
