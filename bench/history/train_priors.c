/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Counts what the column codec codes and prints src/store/hist_priors_table.h: how likely a 1 is
 * in each of its models, in 1/256, and how firmly that is believed. The table is part of format
 * version 1: a new one needs a new version.
 *
 *     train_priors FILE.csv COLUMNS [FILE.csv COLUMNS ...]
 *
 * Files as of record-trees.py: time, series, then whole numbers. Chunks of 600.
 */
#define RANGE_TRAIN
#include <stdio.h>
#include <stdlib.h>

#include "store/hist_column.c"

#define SERIES_MAX  200
#define LENGTH_MAX  20000
#define COLUMNS_MAX 8
#define CHUNK       600
#define FIRMNESS    12

const uint16_t range_rates[RANGE_COUNT_MAX + 1];

static uint64_t seen[PRIOR_SET_COUNT][PRIOR_MODELS][2];
static enum prior_set set_now;
static const struct range_model *first_model;
static int64_t values[COLUMNS_MAX][SERIES_MAX][LENGTH_MAX];
static int lengths[SERIES_MAX];

void prior_load(enum prior_set set, struct column_models *ret_models)
{
    set_now = set;
    first_model = (const struct range_model *)ret_models;
    for (size_t i = 0; i < PRIOR_MODELS; i++)
        ((struct range_model *)ret_models)[i] = (struct range_model){32768, 0};
}

void range_train(const struct range_model *model, bool bit)
{
    if (model >= first_model && model < first_model + PRIOR_MODELS)
        seen[set_now][model - first_model][bit]++;
}

static void load(const char *path, int columns)
{
    char line[512];
    FILE *file = fopen(path, "re");
    memset(lengths, 0, sizeof(lengths));
    while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
        char *at = strchr(line, ',');
        long series = at == NULL ? -1 : strtol(at + 1, &at, 10);
        if (series < 0 || series >= SERIES_MAX || *at != ',' || lengths[series] == LENGTH_MAX)
            continue;
        for (int c = 0; c < columns && *at == ','; c++)
            values[c][series][lengths[series]] = strtoll(at + 1, &at, 10);
        lengths[series]++;
    }
    if (file != NULL)
        fclose(file);
}

static void count(int columns)
{
    for (int c = 0; c < columns; c++) {
        for (int s = 0; s < SERIES_MAX; s++) {
            for (int i = 0; i < lengths[s]; i += CHUNK) {
                struct buf out CLEANUP(buf_done) = {0};
                struct column_stats stats = {0};
                column_encode(
                    &values[c][s][i], (size_t)MIN(lengths[s] - i, CHUNK), &stats, 0, &out);
            }
        }
    }
}

static void print_set(enum prior_set set)
{
    size_t last = 0;
    for (size_t i = 0; i < PRIOR_MODELS; i++) {
        if (seen[set][i][0] + seen[set][i][1] > 0)
            last = i;
    }
    printf("    {");
    for (size_t i = 0; i <= last; i++) {
        double ones = (double)seen[set][i][1];
        double all = ones + (double)seen[set][i][0];
        int p = (int)((ones + 0.5) / (all + 1) * 256 + 0.5);
        printf("%s{%d, %d},", i % 9 == 0 ? "\n        " : " ", MIN(MAX(p, 1), 255),
            (int)MIN(all / 2, FIRMNESS));
    }
    printf("\n    },\n");
}

int main(int argc, char **argv)
{
    for (int i = 1; i + 1 < argc; i += 2) {
        int columns = (int)MIN(strtol(argv[i + 1], NULL, 10), COLUMNS_MAX);
        load(argv[i], columns);
        count(columns);
    }
    printf(
        "/* SPDX-License-Identifier: Apache-2.0 */\n/* clang-format off */\n"
        "/* Made by bench/history/train_priors.c: how likely a 1 is in 1/256, and how firmly that "
        "is\n * believed. */\n"
        "static const struct {\n    uint8_t p;\n    uint8_t count;\n"
        "} priors[PRIOR_SET_COUNT][PRIOR_MODELS] = {\n");
    for (unsigned set = 0; set < PRIOR_SET_COUNT; set++)
        print_set(set);
    printf("};\n");
    return 0;
}
