/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Command-line options as a table. One entry gives an option its name, type, range and help
 * text; parsing, --help, the machine-readable help and its errors come from it.
 *
 * Long options ("--name VALUE", "--name=VALUE") and one-letter forms ("-n VALUE", "-nVALUE").
 * "--" ends the options. No abbreviations, so that scripts do not break when an option is added.
 * Texts are borrowed from argv.
 */
#ifndef AC_CLI_OPTION_H
#define AC_CLI_OPTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/error.h"

enum opt_kind {
    OPT_FLAG,     /* bool */
    OPT_TEXT,     /* const char * */
    OPT_COUNT,    /* uint64_t */
    OPT_REAL,     /* double */
    OPT_BYTES,    /* uint64_t, with units: 512M */
    OPT_DURATION, /* uint64_t ns, with units: 30m */
    OPT_CHOICE,   /* unsigned: the place of the word in .argument, "auto|always|never" */
    OPT_LIST,     /* struct opt_list: may be given several times */
};

#define OPT_LIST_MAX 256

struct opt_list {
    const char *items[OPT_LIST_MAX];
    size_t n_items;
};

struct opt {
    const char *name;
    char letter; /* 0 = none */
    enum opt_kind kind;
    const char *argument; /* what --help shows behind the name; NULL for flags */
    const char *help;
    size_t offset;  /* of the field in the target */
    double minimum; /* COUNT, REAL, BYTES, and DURATION in seconds */
    double maximum; /* 0 = no range is checked */
};

/* A table (it ends with an entry without a name) and the struct that its offsets are of. */
struct opt_group {
    const char *title; /* heading in --help */
    const struct opt *table;
    void *target;
};

/* Parses argv[0..argc-1] (without the program's name). Operands are moved to the front of argv
 * in their order and counted in @ret_operands; with @stop_at_operand the first operand ends the
 * options. Returns 0, or -EINVAL with the reason in @error. */
int opt_parse(const struct opt_group *groups, size_t n_groups, int argc, char **argv,
    bool stop_at_operand, int *ret_operands, struct ac_error *error);

/* The lines of --help for one table. */
void opt_print_help(const struct opt_group *group, FILE *out);

/* The known word that @word is most likely a misspelling of, or NULL. @words ends with NULL. */
const char *opt_closest(const char *word, const char *const *words);

/* The place of @text among the words of "a|b|c". Returns 0 or -EINVAL. */
int opt_choice(const char *choices, const char *text, unsigned *ret_value);

#endif
