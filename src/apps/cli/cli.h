/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What all subcommands share: the table that describes them, the common options, the connection
 * to the daemon, exit statuses, and output.
 */
#ifndef AC_CLI_CLI_H
#define AC_CLI_CLI_H

#include <jansson.h>
#include <stdbool.h>

#include "apps/cli/field.h"
#include "apps/cli/option.h"
#include "apps/cli/table.h"
#include "apps/cli/text.h"
#include "base/mem.h"
#include "net/client.h"

/* Exit statuses; docs/cli.md tells users about them. */
enum {
    EXIT_DONE = 0,
    EXIT_FAILED = 1,
    EXIT_USAGE = 2,
    EXIT_NO_DAEMON = 3,
    EXIT_NOT_FOUND = 4,
    EXIT_REFUSED = 5,
    EXIT_CANNOT_RUN = 126, /* run: the command is there but cannot be executed */
    EXIT_NO_COMMAND = 127, /* run: there is no such command */
};

enum colour_choice { COLOUR_AUTO, COLOUR_ALWAYS, COLOUR_NEVER };

struct cli_common {
    const char *socket;
    const char *url;
    const char *token_file;
    const char *ca_file;
    unsigned colour; /* enum colour_choice */
    bool json;
    bool help;
};

struct command;

struct cli {
    const struct command *command; /* NULL before it is known */
    struct cli_common common;
    struct client *client; /* made at the first call */
    bool colour;           /* standard output takes colours */
    bool colour_errors;    /* standard error does */
    unsigned width;        /* columns of the terminal; 0 = output is no terminal */
};

/* A subcommand. */
struct command {
    const char *name;
    const char *operands; /* "ID...", for the usage line */
    const char *summary;  /* one line */
    const char *details;  /* paragraphs of --help; may be NULL */
    const struct opt *options;
    size_t options_size;  /* of the struct that the table fills; it starts zeroed */
    const void *defaults; /* a struct to start from instead */
    int least_operands;
    int most_operands; /* -1 = any number */
    bool stops_at_operand;
    bool no_json;
    int (*run)(struct cli *cli, void *options, char **operands, int n_operands);
};

extern const struct command cmd_run, cmd_attach, cmd_ps, cmd_show, cmd_top, cmd_status, cmd_alerts,
    cmd_ack, cmd_watch, cmd_history, cmd_usage, cmd_allocate, cmd_scale, cmd_predict, cmd_stop,
    cmd_doctor, cmd_discover, cmd_record, cmd_replay, cmd_help, cmd_version;

/* All commands, in the order of help; NULL at the end. */
extern const struct command *const cli_commands[];
extern const struct opt cli_common_options[];

const struct command *cli_command(const char *name); /* NULL where there is none */
void cli_print_usage(const struct command *command, FILE *out);
void cli_print_overview(FILE *out);

/* Prints "agentcore COMMAND: text" on standard error, made safe, and returns @status. */
int cli_fail(const struct cli *cli, int status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The same with a line behind it that names --help; returns EXIT_USAGE. */
int cli_usage(const struct cli *cli, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The exit status for a failed call or for an HTTP status. */
int cli_status_of(int r);
int cli_status_of_http(long status);

/* The client, connected to nothing yet. Returns 0 or an exit status after printing why. */
int cli_connect(struct cli *cli);

/* A call that must succeed (2xx). @ret_answer may be NULL; else json_decref it. Returns 0, or an
 * exit status after printing why. */
int cli_call(
    struct cli *cli, const char *method, const char *path, const json_t *body, json_t **ret_answer);

/* The same for GET of the history, whose answers may take their time, and may say in "error" that
 * they are not whole: EXIT_FAILED, too. */
int cli_ask_history(struct cli *cli, const char *path, json_t **ret_answer);

/* Prints a JSON value: indented, or on one line (@line, for streams). Returns an exit status. */
int cli_print_json(const struct cli *cli, const json_t *value, bool line);

/* Prints and frees a table; returns an exit status. */
int cli_print_table(const struct cli *cli, struct table *table);

/* "  Name:   text" on standard output, made safe. */
void cli_print_pair(const struct cli *cli, const char *name, const char *text, enum style style);

/* Agent ids of the command line are checked before they become part of a path. Returns 0 or
 * EXIT_USAGE after printing why. */
int cli_check_id(const struct cli *cli, const char *id);
int cli_check_philosophy(const struct cli *cli, const char *name);

/* Reads the width of the terminal anew. */
unsigned cli_terminal_width(void);

#define cleanup_json CLEANUP(json_decrefp)

#endif
