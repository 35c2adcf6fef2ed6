/* SPDX-License-Identifier: Apache-2.0 */
#include "apps/cli/option.h"

#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/parse.h"

#define CANDIDATES_MAX 64

static size_t distance_step(size_t replaced, size_t removed, size_t added)
{
    size_t least = MIN(removed, added) + 1;
    return MIN(least, replaced);
}

/* Levenshtein's distance of two words below 32 letters. */
static size_t word_distance(const char *a, const char *b)
{
    size_t row[32], length_b = strlen(b);
    if (strlen(a) >= ARRAY_SIZE(row) || length_b >= ARRAY_SIZE(row))
        return ARRAY_SIZE(row);
    for (size_t j = 0; j <= length_b; j++)
        row[j] = j;
    for (size_t i = 0; a[i]; i++) {
        size_t diagonal = row[0];
        row[0] = i + 1;
        for (size_t j = 0; j < length_b; j++) {
            size_t next = distance_step(diagonal + (a[i] != b[j]), row[j + 1], row[j]);
            diagonal = row[j + 1];
            row[j + 1] = next;
        }
    }
    return row[length_b];
}

const char *opt_closest(const char *word, const char *const *words)
{
    const char *best = NULL;
    size_t best_distance = strlen(word) <= 3 ? 2 : 3; /* beyond that it is another word */
    for (; *words; words++) {
        size_t d = word_distance(word, *words);
        if (d < best_distance) {
            best = *words;
            best_distance = d;
        }
    }
    return best;
}

int opt_choice(const char *choices, const char *text, unsigned *ret_value)
{
    size_t length = strlen(text);
    unsigned place = 0;
    for (const char *c = choices; length > 0; place++) {
        size_t n = strcspn(c, "|");
        if (n == length && memcmp(c, text, n) == 0) {
            *ret_value = place;
            return 0;
        }
        if (c[n] == 0)
            break;
        c += n + 1;
    }
    return -EINVAL;
}

static int range_error(const struct opt *opt, const char *text, struct ac_error *error)
{
    const char *unit = opt->kind == OPT_DURATION ? " s" : "";
    return error_set(error, -EINVAL, "--%s: %s is outside %.15g%s - %.15g%s", opt->name, text,
        opt->minimum, unit, opt->maximum, unit);
}

static int parse_quantity(
    const struct opt *opt, const char *text, uint64_t *ret_integer, double *ret_real)
{
    size_t length = strlen(text);
    int r = -EINVAL;
    if (opt->kind == OPT_REAL)
        return parse_double(text, length, ret_real);
    if (opt->kind == OPT_COUNT)
        r = parse_u64(text, length, ret_integer);
    else if (opt->kind == OPT_BYTES)
        r = parse_bytes(text, length, ret_integer);
    else if (opt->kind == OPT_DURATION)
        r = parse_duration(text, length, ret_integer);
    if (r < 0)
        return r;
    *ret_real = (double)*ret_integer / (opt->kind == OPT_DURATION ? (double)NS_PER_SEC : 1.0);
    return 0;
}

static int set_quantity(
    const struct opt *opt, void *field, const char *text, struct ac_error *error)
{
    static const char *const wanted[] = {[OPT_COUNT] = "a whole number",
        [OPT_REAL] = "a number",
        [OPT_BYTES] = "a size such as 512M or 1.5G",
        [OPT_DURATION] = "a duration such as 90s, 30m or 1h30m"};
    uint64_t integer = 0;
    double real = 0;
    int r = parse_quantity(opt, text, &integer, &real);
    if (r == -ERANGE)
        return error_set(error, -EINVAL, "--%s: %s is too large", opt->name, text);
    if (r < 0)
        return error_set(
            error, -EINVAL, "--%s: '%s' is not %s", opt->name, text, wanted[opt->kind]);
    if (opt->maximum > opt->minimum && (real < opt->minimum || real > opt->maximum))
        return range_error(opt, text, error);
    if (opt->kind == OPT_REAL)
        *(double *)field = real;
    else
        *(uint64_t *)field = integer;
    return 0;
}

static int set_list(
    const struct opt *opt, struct opt_list *list, const char *text, struct ac_error *error)
{
    if (list->n_items >= OPT_LIST_MAX)
        return error_set(error, -EINVAL, "--%s: given more than %d times", opt->name, OPT_LIST_MAX);
    list->items[list->n_items++] = text;
    return 0;
}

static int set_value(const struct opt *opt, void *target, const char *text, struct ac_error *error)
{
    void *field = (char *)target + opt->offset;
    switch (opt->kind) {
    case OPT_FLAG:
        *(bool *)field = true;
        return 0;
    case OPT_TEXT:
        *(const char **)field = text;
        return 0;
    case OPT_LIST:
        return set_list(opt, field, text, error);
    case OPT_CHOICE:
        if (opt_choice(opt->argument, text, field) < 0)
            return error_set(
                error, -EINVAL, "--%s: '%s' is not one of %s", opt->name, text, opt->argument);
        return 0;
    default:
        return set_quantity(opt, field, text, error);
    }
}

/* What is being parsed: the rest of argv. */
struct scan {
    const struct opt_group *groups;
    size_t n_groups;
    char **next;
    char **end;
    struct ac_error *error;
};

static const struct opt *find_option(
    const struct scan *scan, const char *name, size_t length, char letter, void **ret_target)
{
    for (size_t i = 0; i < scan->n_groups; i++) {
        for (const struct opt *o = scan->groups[i].table; o && o->name; o++) {
            bool same = letter ? o->letter == letter
                               : strlen(o->name) == length && memcmp(o->name, name, length) == 0;
            if (same) {
                *ret_target = scan->groups[i].target;
                return o;
            }
        }
    }
    return NULL;
}

static int unknown_option(const struct scan *scan, const char *name, size_t length)
{
    const char *words[CANDIDATES_MAX + 1] = {0};
    size_t n = 0;
    char copy[32];
    for (size_t i = 0; i < scan->n_groups; i++) {
        for (const struct opt *o = scan->groups[i].table; o && o->name && n < CANDIDATES_MAX; o++)
            words[n++] = o->name;
    }
    const char *closest = NULL;
    if (length < sizeof(copy)) {
        memcpy(copy, name, length);
        copy[length] = 0;
        closest = opt_closest(copy, words);
    }
    if (closest)
        return error_set(scan->error, -EINVAL, "unknown option '--%.*s' (did you mean --%s?)",
            (int)MIN(length, 100u), name, closest);
    return error_set(scan->error, -EINVAL, "unknown option '--%.*s'", (int)MIN(length, 100u), name);
}

/* Takes the next word as the value of an option that has none attached. */
static int next_value(struct scan *scan, const struct opt *opt, const char **ret_text)
{
    if (scan->next >= scan->end)
        return error_set(scan->error, -EINVAL, "--%s needs a value: %s", opt->name, opt->argument);
    *ret_text = *scan->next++;
    return 0;
}

static int parse_long(struct scan *scan, const char *word)
{
    size_t length = strcspn(word, "=");
    const char *value = word[length] ? word + length + 1 : NULL;
    void *target;
    const struct opt *opt = find_option(scan, word, length, 0, &target);
    if (!opt)
        return unknown_option(scan, word, length);
    if (opt->kind == OPT_FLAG && value)
        return error_set(scan->error, -EINVAL, "--%s takes no value", opt->name);
    if (opt->kind != OPT_FLAG && !value) {
        int r = next_value(scan, opt, &value);
        if (r < 0)
            return r;
    }
    return set_value(opt, target, value, scan->error);
}

static int parse_letters(struct scan *scan, const char *letters)
{
    for (const char *c = letters; *c; c++) {
        void *target;
        const struct opt *opt = find_option(scan, NULL, 0, *c, &target);
        if (!opt)
            return error_set(scan->error, -EINVAL, "unknown option '-%c'", *c);
        if (opt->kind == OPT_FLAG) {
            *(bool *)((char *)target + opt->offset) = true;
            continue;
        }
        const char *value = c + 1;
        int r = *value ? 0 : next_value(scan, opt, &value);
        return r < 0 ? r : set_value(opt, target, value, scan->error);
    }
    return 0;
}

int opt_parse(const struct opt_group *groups, size_t n_groups, int argc, char **argv,
    bool stop_at_operand, int *ret_operands, struct ac_error *error)
{
    struct scan scan = {groups, n_groups, argv, argv + argc, error};
    char **operands = argv;
    bool only_operands = false;
    while (scan.next < scan.end) {
        char *word = *scan.next++;
        int r = 0;
        if (only_operands || word[0] != '-' || word[1] == 0) {
            *operands++ = word;
            only_operands = only_operands || stop_at_operand;
        } else if (strcmp(word, "--") == 0) {
            only_operands = true;
        } else {
            r = word[1] == '-' ? parse_long(&scan, word + 2) : parse_letters(&scan, word + 1);
        }
        if (r < 0)
            return r;
    }
    *ret_operands = (int)(operands - argv);
    return 0;
}

void opt_print_help(const struct opt_group *group, FILE *out)
{
    fprintf(out, "\n%s:\n", group->title);
    for (const struct opt *o = group->table; o && o->name; o++) {
        char left[160]; /* with room for the longest list of choices */
        int n = o->letter ? snprintf(left, sizeof(left), "  -%c, --%s", o->letter, o->name)
                          : snprintf(left, sizeof(left), "      --%s", o->name);
        if (o->argument && n > 0 && (size_t)n < sizeof(left))
            snprintf(left + n, sizeof(left) - (size_t)n, " %s", o->argument);
        if (strlen(left) > 30)
            fprintf(out, "%s\n%-32s%s\n", left, "", o->help);
        else
            fprintf(out, "%-32s%s\n", left, o->help);
    }
}
