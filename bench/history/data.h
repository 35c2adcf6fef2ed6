/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The data of bench/history/run: whole numbers of recorded agents, replicated with shifts in time.
 * Columns of the file: time, series, then per second cpu (0.01 % of a core), memory (4 KiB), and,
 * in data B, read and written bytes/s, descriptors, processes.
 */
#ifndef BENCH_HISTORY_DATA_H
#define BENCH_HISTORY_DATA_H

#include "store/history.h"

#define DATA_COLUMNS 6

struct data;

/* Returns 0 or -errno. */
int data_load(const char *path, struct data **ret_data);
void data_free(struct data *data);
int data_columns(const struct data *data); /* how many are there */

/* DATA_COLUMNS numbers; where a recording ends, the next one goes on. */
const int32_t *data_at(const struct data *data, int agent, int tick);

struct data_row {
    char name[24];
    struct ac_usage usage;
};

/* The rows of a tick. Columns that the data lacks are unknown. */
void data_fill(const struct data *data, int agents, int tick, struct data_row *rows,
    struct history_row *ret_rows);

/* The exact quantile of an agent's cpu over ticks [from, to), in cores. NaN without memory. */
double data_cpu_quantile(const struct data *data, int agent, int from, int to, double q);

#endif
