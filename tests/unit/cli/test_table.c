/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "apps/cli/table.h"
#include "apps/cli/text.h"
#include "base/fault.h"
#include "base/mem.h"

static const struct table_column columns[] = {
    {"ID", false, 4, 0},
    {"CPU", true, 0, 0},
    {"NET", true, 0, 2},
    {"COMMAND", false, 6, 1},
};

static struct table *filled(void)
{
    struct table *table;
    assert_int_equal(table_new(columns, ARRAY_SIZE(columns), &table), 0);
    table_row(table);
    table_cell(table, "agent-1", STYLE_BOLD);
    table_cell(table, "12.5", STYLE_NONE);
    table_cell(table, NULL, STYLE_NONE);
    table_cell(table, "a long command line", STYLE_DIM);
    table_row(table);
    table_cell(table, "b\033", STYLE_NONE);
    table_cell(table, "1", STYLE_NONE);
    return table;
}

static void assert_printed(unsigned width, bool colour, const char *wanted)
{
    struct table *table CLEANUP(table_freep) = filled();
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    assert_int_equal(table_print(table, out, width, colour), 0);
    fclose(out);
    assert_string_equal(text, wanted);
    free(text);
}

static void test_print(void **state)
{
    (void)state;
    setenv("LC_ALL", "C", 1);
    text_init();
    assert_printed(0, false,
        "ID        CPU  NET  COMMAND\n"
        "agent-1  12.5    -  a long command line\n"
        "b\\x1b       1       \n");
}

static void test_colours(void **state)
{
    (void)state;
    assert_printed(0, true,
        "\033[1mID     \033[0m  \033[1m CPU\033[0m  \033[1mNET\033[0m  \033[1mCOMMAND\033[0m\n"
        "\033[1magent-1\033[0m  12.5    -  \033[2ma long command line\033[0m\n"
        "b\\x1b       1       \n");
}

static void test_narrow(void **state)
{
    (void)state;
    assert_printed(30, false,
        "ID        CPU  NET  COMMAND\n"
        "agent-1  12.5    -  a long co~\n"
        "b\\x1b       1       \n");
    /* NET goes before COMMAND does. */
    assert_printed(20, false,
        "ID      CPU  COMMAND\n"
        "agen~  12.5  a long~\n"
        "b\\x1b     1  \n");
    assert_printed(12, false,
        "ID       CPU\n"
        "agent~  12.5\n"
        "b\\x1b      1\n");
    /* What may not be cut stays, whatever the width. */
    assert_printed(3, false,
        "ID     CPU\n"
        "age~  12.5\n"
        "b\\x~     1\n");
}

static void test_every_width(void **state)
{
    (void)state;
    for (unsigned width = 10; width < 120; width++) {
        struct table *table CLEANUP(table_freep) = filled();
        table_layout(table, width);
        for (size_t row = 0; row <= table_count(table); row++) {
            struct buf line CLEANUP(buf_done) = {0};
            table_line(table, row == 0 ? SIZE_MAX : row - 1, false, &line);
            assert_true(text_width(line.data) <= width);
        }
    }
}

static void test_bounds(void **state)
{
    struct table *table;
    (void)state;
    assert_int_equal(table_new(columns, TABLE_COLUMNS_MAX + 1, &table), -EINVAL);
    assert_int_equal(table_new(columns, ARRAY_SIZE(columns), &table), 0);
    table_cell(table, "no row yet", STYLE_NONE);
    assert_int_equal(table_count(table), 0);
    table_row(table);
    for (int i = 0; i < 100; i++)
        table_cell(table, "x", STYLE_NONE); /* further cells are dropped */
    assert_int_equal(table_count(table), 1);
    table_free(table);
    table_free(NULL);
}

static void test_no_memory(void **state)
{
    (void)state;
    for (unsigned n = 1;; n++) {
        struct table *table = NULL;
        FILE *out = fopen("/dev/null", "w");
        fault_arm(FAULT_ALLOC, n);
        int r = table_new(columns, ARRAY_SIZE(columns), &table);
        for (int i = 0; r == 0 && i < 40; i++) {
            table_row(table);
            table_cell(table, "text", STYLE_NONE);
            table_cell(table, "more text", STYLE_NONE);
        }
        if (r == 0)
            r = table_print(table, out, 80, true);
        bool hit = fault_disarm();
        fclose(out);
        table_free(table);
        if (!hit)
            break;
        assert_int_equal(r, -ENOMEM);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_print),
        cmocka_unit_test(test_colours),
        cmocka_unit_test(test_narrow),
        cmocka_unit_test(test_every_width),
        cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests_name("cli/table", tests, NULL, NULL);
}
