/* SPDX-License-Identifier: Apache-2.0 */
#include "apps/cli/table.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>

#include "apps/cli/text.h"
#include "base/mem.h"

#define GAP 2 /* blanks between columns */

struct cell {
    char *text; /* safe */
    enum style style;
};

struct row {
    struct cell cells[TABLE_COLUMNS_MAX];
    unsigned n_cells;
};

struct table {
    const struct table_column *columns;
    unsigned n_columns;
    struct row **rows;
    size_t n_rows;
    size_t capacity;
    unsigned widths[TABLE_COLUMNS_MAX];
    bool shown[TABLE_COLUMNS_MAX];
    bool failed;
};

static const char *const style_codes[STYLE_COUNT] = {[STYLE_NONE] = "",
    [STYLE_DIM] = "\033[2m",
    [STYLE_BOLD] = "\033[1m",
    [STYLE_GOOD] = "\033[32m",
    [STYLE_WARNING] = "\033[33m",
    [STYLE_BAD] = "\033[31m",
    [STYLE_WORST] = "\033[1;31m"};

const char *style_on(enum style style, bool colour)
{
    return colour ? style_codes[style] : "";
}

const char *style_off(enum style style, bool colour)
{
    return colour && style != STYLE_NONE ? "\033[0m" : "";
}

int table_new(const struct table_column *columns, unsigned n_columns, struct table **ret_table)
{
    if (n_columns > TABLE_COLUMNS_MAX)
        return -EINVAL;
    struct table *table = mem_alloc(sizeof(*table));
    if (!table)
        return -ENOMEM;
    table->columns = columns;
    table->n_columns = n_columns;
    *ret_table = table;
    return 0;
}

void table_free(struct table *table)
{
    if (!table)
        return;
    for (size_t i = 0; i < table->n_rows; i++) {
        for (unsigned j = 0; j < table->rows[i]->n_cells; j++)
            mem_free(table->rows[i]->cells[j].text);
        mem_free(table->rows[i]);
    }
    mem_free(table->rows);
    mem_free(table);
}

void table_freep(struct table **table)
{
    table_free(*table);
}

size_t table_count(const struct table *table)
{
    return table->n_rows;
}

void table_row(struct table *table)
{
    if (table->n_rows == table->capacity) {
        size_t capacity = table->capacity ? table->capacity * 2 : 32;
        struct row **rows = mem_resize_array(table->rows, capacity, sizeof(struct row *));
        if (!rows) {
            table->failed = true;
            return;
        }
        table->rows = rows;
        table->capacity = capacity;
    }
    struct row *row = mem_alloc(sizeof(*row));
    if (row)
        table->rows[table->n_rows++] = row;
    else
        table->failed = true;
}

void table_cell(struct table *table, const char *text, enum style style)
{
    if (table->failed || table->n_rows == 0)
        return;
    struct row *row = table->rows[table->n_rows - 1];
    if (row->n_cells >= table->n_columns)
        return;
    struct buf safe CLEANUP(buf_done) = {0};
    text_safe(&safe, text);
    char *copy = safe.failed ? NULL : buf_take(&safe, NULL);
    if (copy)
        row->cells[row->n_cells++] = (struct cell){copy, style};
    else
        table->failed = true;
}

static unsigned natural_width(const struct table *table, unsigned column)
{
    unsigned width = text_width(table->columns[column].title);
    for (size_t i = 0; i < table->n_rows; i++) {
        if (column < table->rows[i]->n_cells)
            width = MAX(width, text_width(table->rows[i]->cells[column].text));
    }
    return width;
}

static unsigned total_width(const struct table *table)
{
    unsigned total = 0;
    for (unsigned i = 0; i < table->n_columns; i++)
        total += table->shown[i] ? table->widths[i] + GAP : 0;
    return total > GAP ? total - GAP : 0;
}

/* Takes what is too much from the widest of the columns that may be cut. */
static void shrink(struct table *table, unsigned width)
{
    while (total_width(table) > width) {
        unsigned *widest = NULL;
        for (unsigned i = 0; i < table->n_columns; i++) {
            unsigned least = table->columns[i].least;
            bool may = table->shown[i] && least > 0 &&
                       table->widths[i] > MAX(least, text_width(table->columns[i].title));
            if (may && (!widest || table->widths[i] > *widest))
                widest = &table->widths[i];
        }
        if (!widest)
            return;
        (*widest)--;
    }
}

static bool drop_one(struct table *table)
{
    int victim = -1;
    for (unsigned i = 0; i < table->n_columns; i++) {
        unsigned optional = table->shown[i] ? table->columns[i].optional : 0;
        if (optional > 0 && (victim < 0 || optional > table->columns[(unsigned)victim].optional))
            victim = (int)i;
    }
    if (victim >= 0)
        table->shown[victim] = false;
    return victim >= 0;
}

void table_layout(struct table *table, unsigned width)
{
    for (unsigned i = 0; i < table->n_columns; i++) {
        table->widths[i] = natural_width(table, i);
        table->shown[i] = true;
    }
    while (width > 0) {
        shrink(table, width);
        if (total_width(table) <= width || !drop_one(table))
            break;
        for (unsigned i = 0; i < table->n_columns; i++)
            table->widths[i] = natural_width(table, i);
    }
}

static unsigned last_shown(const struct table *table)
{
    unsigned last = 0;
    for (unsigned i = 0; i < table->n_columns; i++) {
        if (table->shown[i])
            last = i;
    }
    return last;
}

void table_line(const struct table *table, size_t row, bool colour, struct buf *out)
{
    unsigned last = last_shown(table);
    for (unsigned i = 0; i <= last && i < table->n_columns; i++) {
        if (!table->shown[i])
            continue;
        bool heading = row == SIZE_MAX;
        const struct row *cells = heading ? NULL : table->rows[row];
        bool empty = cells && i >= cells->n_cells;
        const char *text = heading ? table->columns[i].title : empty ? "" : cells->cells[i].text;
        enum style style = heading ? STYLE_BOLD : empty ? STYLE_NONE : cells->cells[i].style;
        enum text_pad pad = table->columns[i].right ? TEXT_PAD_LEFT
                            : i == last             ? TEXT_NO_PAD
                                                    : TEXT_PAD_RIGHT;
        buf_append_str(out, style_on(style, colour));
        text_fit(out, text, table->widths[i], pad);
        buf_append_str(out, style_off(style, colour));
        if (i < last)
            buf_append(out, "  ", GAP);
    }
}

int table_print(struct table *table, FILE *out, unsigned width, bool colour)
{
    struct buf text CLEANUP(buf_done) = {0};
    table_layout(table, width);
    table_line(table, SIZE_MAX, colour, &text);
    buf_append_char(&text, '\n');
    for (size_t i = 0; i < table->n_rows; i++) {
        table_line(table, i, colour, &text);
        buf_append_char(&text, '\n');
    }
    if (table->failed || text.failed)
        return -ENOMEM;
    fwrite(text.data, 1, text.size, out);
    return 0;
}
