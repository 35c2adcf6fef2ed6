/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "apps/cli/option.h"
#include "base/mem.h"

struct target {
    bool flag, other;
    const char *text;
    uint64_t count, bytes, duration;
    double real;
    unsigned choice;
    struct opt_list list;
};

#define AT(field) offsetof(struct target, field)

static const struct opt table[] = {
    {"flag", 'f', OPT_FLAG, NULL, "a flag", AT(flag), 0, 0},
    {"other", 'o', OPT_FLAG, NULL, "another", AT(other), 0, 0},
    {"text", 't', OPT_TEXT, "TEXT", "a text", AT(text), 0, 0},
    {"count", 'c', OPT_COUNT, "N", "a count", AT(count), 1, 100},
    {"bytes", 0, OPT_BYTES, "SIZE", "a size", AT(bytes), 0, 0},
    {"duration", 'd', OPT_DURATION, "TIME", "a time", AT(duration), 0.1, 60},
    {"real", 'r', OPT_REAL, "X", "a number", AT(real), 0, 0},
    {"choice", 0, OPT_CHOICE, "red|green|blue", "a choice", AT(choice), 0, 0},
    {"list", 'l', OPT_LIST, "ITEM", "a list", AT(list), 0, 0},
    {NULL},
};

#define WORDS_MAX 600

/* Parses the words of one line (separated by blanks) into @target. */
static int parse(const char *line, bool stop, struct target *target, char ***ret_words,
    int *ret_operands, struct ac_error *error)
{
    static char copy[4096], *words[WORDS_MAX];
    int n = 0;
    char *save = NULL;
    snprintf(copy, sizeof(copy), "%s", line);
    for (char *w = strtok_r(copy, " ", &save); w && n < WORDS_MAX; w = strtok_r(NULL, " ", &save))
        words[n++] = w;
    const struct opt_group group = {"Options", table, target};
    *ret_words = words;
    *ret_operands = -1;
    memset(error, 0, sizeof(*error));
    return opt_parse(&group, 1, n, words, stop, ret_operands, error);
}

static void test_values(void **state)
{
    struct target t = {0};
    struct ac_error error;
    char **words;
    int n;
    (void)state;
    assert_int_equal(parse("a -f --text=x=y --count 7 b --bytes 1.5K -d250ms --real -2.5e1 "
                           "--choice green -l one --list two c",
                         false, &t, &words, &n, &error),
        0);
    assert_int_equal(n, 3);
    assert_string_equal(words[0], "a");
    assert_string_equal(words[1], "b");
    assert_string_equal(words[2], "c");
    assert_true(t.flag && !t.other);
    assert_string_equal(t.text, "x=y");
    assert_int_equal(t.count, 7);
    assert_int_equal(t.bytes, 1536);
    assert_int_equal(t.duration, 250000000);
    assert_true(t.real == -25.0);
    assert_int_equal(t.choice, 1);
    assert_int_equal(t.list.n_items, 2);
    assert_string_equal(t.list.items[1], "two");
}

static void test_forms(void **state)
{
    struct target t = {0};
    struct ac_error error;
    char **words;
    int n;
    (void)state;
    assert_int_equal(parse("-fotvalue", false, &t, &words, &n, &error), 0);
    assert_true(t.flag && t.other);
    assert_string_equal(t.text, "value");
    assert_int_equal(parse("-t -f", false, &t, &words, &n, &error), 0);
    assert_string_equal(t.text, "-f"); /* a value may look like an option */
    assert_int_equal(parse("--text= x", false, &t, &words, &n, &error), 0);
    assert_string_equal(t.text, "");
    assert_int_equal(n, 1);
    assert_int_equal(parse("-- --flag -x -", false, &t, &words, &n, &error), 0);
    assert_int_equal(n, 3);
    assert_int_equal(parse("- x", false, &t, &words, &n, &error), 0);
    assert_int_equal(n, 2); /* a lone dash is an operand */
    assert_int_equal(parse("", false, &t, &words, &n, &error), 0);
    assert_int_equal(n, 0);
}

static void test_stop_at_operand(void **state)
{
    struct target t = {0};
    struct ac_error error;
    char **words;
    int n;
    (void)state;
    assert_int_equal(parse("-f program -o --nonsense -- x", true, &t, &words, &n, &error), 0);
    assert_true(t.flag && !t.other);
    assert_int_equal(n, 5);
    assert_string_equal(words[0], "program");
    assert_string_equal(words[3], "--");
    memset(&t, 0, sizeof(t));
    assert_int_equal(parse("-f -- -o x", true, &t, &words, &n, &error), 0);
    assert_true(t.flag && !t.other);
    assert_int_equal(n, 2);
    assert_string_equal(words[0], "-o");
}

static void test_errors(void **state)
{
    static const struct {
        const char *line, *wanted;
    } cases[] = {
        {"--nonsense", "unknown option '--nonsense'"},
        {"--flg", "did you mean --flag?"},
        {"--cuont=3", "did you mean --count?"},
        {"-x", "unknown option '-x'"},
        {"-fx", "unknown option '-x'"},
        {"--flag=yes", "takes no value"},
        {"--text", "--text needs a value"},
        {"-t", "--text needs a value"},
        {"--count 0", "outside 1 - 100"},
        {"--count 101", "outside 1 - 100"},
        {"--count -1", "is not a whole number"},
        {"--count 1.5", "is not a whole number"},
        {"--count 99999999999999999999", "too large"},
        {"--count=", "is not a whole number"},
        {"--bytes 5X", "is not a size"},
        {"--bytes 99999999999T", "too large"},
        {"--duration 0.05s", "outside 0.1 s - 60 s"},
        {"--duration 2m", "outside 0.1 s - 60 s"},
        {"--duration fast", "is not a duration"},
        {"--real nan", "is not a number"},
        {"--real inf", "is not a number"},
        {"--real 0x10", "is not a number"},
        {"--real 1e999", "too large"},
        {"--choice purple", "is not one of red|green|blue"},
        {"--choice re", "is not one of red|green|blue"},
        {"--choice red|green", "is not one of red|green|blue"},
        {"--choice=", "is not one of red|green|blue"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct target t = {0};
        struct ac_error error;
        char **words;
        int n;
        assert_int_equal(parse(cases[i].line, false, &t, &words, &n, &error), -EINVAL);
        assert_int_equal(n, -1);
        if (!strstr(error.message, cases[i].wanted))
            fail_msg("%s: %s", cases[i].line, error.message);
    }
}

static void test_caps(void **state)
{
    struct target t = {0};
    struct ac_error error;
    char **words, line[4096] = "", unknown[300];
    int n;
    (void)state;
    for (int i = 0; i < OPT_LIST_MAX; i++)
        strcat(line, "-l x ");
    assert_int_equal(parse(line, false, &t, &words, &n, &error), 0);
    assert_int_equal(t.list.n_items, OPT_LIST_MAX);
    memset(&t, 0, sizeof(t));
    strcat(line, "-l x");
    assert_int_equal(parse(line, false, &t, &words, &n, &error), -EINVAL);
    assert_non_null(strstr(error.message, "more than 256 times"));
    memset(unknown, 'x', sizeof(unknown) - 1);
    memcpy(unknown, "--", 2);
    unknown[sizeof(unknown) - 1] = 0;
    assert_int_equal(parse(unknown, false, &t, &words, &n, &error), -EINVAL);
    assert_true(strlen(error.message) < 200);
}

static void test_groups(void **state)
{
    static const struct opt other_table[] = {
        {"more", 'm', OPT_FLAG, NULL, "more", AT(flag), 0, 0}, {NULL}};
    struct target first = {0}, second = {0};
    const struct opt_group groups[] = {
        {"A", table, &first}, {"None", NULL, NULL}, {"B", other_table, &second}};
    char *words[] = {"--more", "-o", "x"};
    int n;
    (void)state;
    assert_int_equal(opt_parse(groups, 3, 3, words, false, &n, NULL), 0);
    assert_true(second.flag && first.other && !first.flag);
    assert_int_equal(n, 1);
    char *wrong[] = {"--nonsense"};
    assert_int_equal(opt_parse(groups, 3, 1, wrong, false, &n, NULL), -EINVAL);
}

static void test_closest(void **state)
{
    static const char *const words[] = {"status", "stop", "show", "ps", NULL};
    (void)state;
    assert_string_equal(opt_closest("satus", words), "status");
    assert_string_equal(opt_closest("stpo", words), "stop");
    assert_string_equal(opt_closest("p", words), "ps");
    assert_null(opt_closest("history", words));
    assert_null(opt_closest("xyz", words));
    assert_null(opt_closest("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", words));
}

static void test_help(void **state)
{
    const struct opt_group group = {"Options", table, NULL};
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    (void)state;
    opt_print_help(&group, out);
    fclose(out);
    assert_non_null(strstr(text, "\nOptions:\n  -f, --flag                    a flag\n"));
    assert_non_null(strstr(text, "      --bytes SIZE              a size\n"));
    assert_non_null(strstr(text, "--choice red|green|blue"));
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_forms),
        cmocka_unit_test(test_stop_at_operand),
        cmocka_unit_test(test_errors),
        cmocka_unit_test(test_caps),
        cmocka_unit_test(test_groups),
        cmocka_unit_test(test_closest),
        cmocka_unit_test(test_help),
    };
    return cmocka_run_group_tests_name("cli/option", tests, NULL, NULL);
}
