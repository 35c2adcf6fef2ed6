/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tables for people: columns as wide as their content, cut and dropped where the terminal is
 * narrow. Cells are made safe when they are added. At most TABLE_COLUMNS_MAX columns.
 */
#ifndef AC_CLI_TABLE_H
#define AC_CLI_TABLE_H

#include <stdbool.h>
#include <stdio.h>

#include "base/buf.h"

#define TABLE_COLUMNS_MAX 24

enum style {
    STYLE_NONE,
    STYLE_DIM,
    STYLE_BOLD,
    STYLE_GOOD,
    STYLE_WARNING,
    STYLE_BAD,
    STYLE_WORST,
    STYLE_COUNT
};

/* The escape sequences around styled text; "" with @colour false. */
const char *style_on(enum style style, bool colour);
const char *style_off(enum style style, bool colour);

struct table_column {
    const char *title;
    bool right;        /* numbers */
    unsigned least;    /* may be cut to this width; 0 = never cut */
    unsigned optional; /* dropped where it does not fit, the highest first; 0 = never */
};

struct table;

/* @columns is borrowed. Returns 0 or -ENOMEM. */
int table_new(const struct table_column *columns, unsigned n_columns, struct table **ret_table);
void table_free(struct table *table);
void table_freep(struct table **table);

/* Adds a row, then its cells one by one; missing cells are empty. NULL is "-". Failures stick
 * and come out of table_print. */
void table_row(struct table *table);
void table_cell(struct table *table, const char *text, enum style style);

size_t table_count(const struct table *table);

/* Fits the columns into @width (0 = without limit). Before table_line. */
void table_layout(struct table *table, unsigned width);

/* Appends one line without its newline: row SIZE_MAX is the heading. */
void table_line(const struct table *table, size_t row, bool colour, struct buf *out);

/* Lays out and prints everything. Returns 0 or -ENOMEM. */
int table_print(struct table *table, FILE *out, unsigned width, bool colour);

#endif
