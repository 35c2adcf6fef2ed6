/* SPDX-License-Identifier: Apache-2.0 */
#include "apps/cli/cli.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <agentcore.h>

__attribute__((format(printf, 2, 0))) static void print_line(
    const struct cli *cli, const char *format, va_list args)
{
    struct buf text CLEANUP(buf_done) = {0}, safe CLEANUP(buf_done) = {0};
    buf_vprintf(&text, format, args);
    text_safe(&safe, text.data);
    fprintf(stderr, "agentcore%s%s: %s\n", cli->command ? " " : "",
        cli->command ? cli->command->name : "", safe.data && !safe.failed ? safe.data : "?");
}

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
int cli_fail(const struct cli *cli, int status, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    print_line(cli, format, args);
    va_end(args);
    return status;
}

int cli_usage(const struct cli *cli, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    print_line(cli, format, args);
    va_end(args);
    fprintf(stderr, "Try 'agentcore %s%s--help'.\n", cli->command ? cli->command->name : "",
        cli->command ? " " : "");
    return EXIT_USAGE;
}
#pragma GCC diagnostic pop

int cli_status_of_http(long status)
{
    switch (status) {
    case 400:
    case 413:
    case 415:
        return EXIT_USAGE;
    case 401:
    case 403:
    case 409:
    case 429:
    case 503:
        return EXIT_REFUSED;
    case 404:
        return EXIT_NOT_FOUND;
    default:
        return status >= 200 && status < 300 ? EXIT_DONE : EXIT_FAILED;
    }
}

int cli_status_of(int r)
{
    switch (r) {
    case -ENOENT:
    case -ECONNREFUSED:
        return EXIT_NO_DAEMON;
    case -EACCES:
    case -EAGAIN:
        return EXIT_REFUSED;
    case -EINVAL:
        return EXIT_USAGE;
    default:
        return EXIT_FAILED;
    }
}

int cli_connect(struct cli *cli)
{
    struct client_options options = {.socket = cli->common.socket,
        .url = cli->common.url,
        .token_file = cli->common.token_file,
        .ca_file = cli->common.ca_file};
    struct ac_error error = {0};
    if (cli->client)
        return 0;
    int r = client_new(&options, &cli->client, &error);
    if (r < 0)
        return cli_fail(cli, r == -EINVAL ? EXIT_USAGE : EXIT_FAILED, "%s", error.message);
    return 0;
}

int cli_call(
    struct cli *cli, const char *method, const char *path, const json_t *body, json_t **ret_answer)
{
    struct ac_error error = {0};
    json_t *answer = NULL;
    long status = 0;
    int code = cli_connect(cli);
    if (code != 0)
        return code;
    int r = client_call(cli->client, method, path, body, &status, &answer, &error);
    if (r < 0)
        return cli_fail(cli, cli_status_of(r), "%s", error.message);
    r = client_check(status, answer, &error);
    if (r < 0) {
        json_decref(answer);
        return cli_fail(cli, cli_status_of_http(status), "%s", error.message);
    }
    if (ret_answer && !answer)
        return cli_fail(cli, EXIT_FAILED, "the daemon's answer to %s %s is empty", method, path);
    if (ret_answer)
        *ret_answer = answer;
    else
        json_decref(answer);
    return 0;
}

/* A query may run for 30 s, and wait for others before. */
#define HISTORY_TIMEOUT_MS 45000

int cli_ask_history(struct cli *cli, const char *path, json_t **ret_answer)
{
    json_t *answer cleanup_json = NULL;
    int code = cli_connect(cli);
    if (code != 0)
        return code;
    client_set_timeout(cli->client, HISTORY_TIMEOUT_MS);
    code = cli_call(cli, "GET", path, NULL, &answer);
    client_set_timeout(cli->client, 0);
    if (code != 0)
        return code;
    const char *error = field_text(answer, "error");
    if (error)
        return cli_fail(cli, EXIT_FAILED, "the daemon's answer is not whole: %s", error);
    *ret_answer = TAKE_PTR(answer);
    return 0;
}

int cli_print_json(const struct cli *cli, const json_t *value, bool line)
{
    /* A terminal gets no byte beyond ASCII: names in it are not ours. */
    size_t flags = JSON_ENCODE_ANY | JSON_REAL_PRECISION(15) | (cli->width ? JSON_ENSURE_ASCII : 0);
    flags |= line ? JSON_COMPACT : JSON_INDENT(2);
    if (json_dumpf(value, stdout, flags) < 0)
        return cli_fail(cli, EXIT_FAILED, "cannot write JSON");
    putchar('\n');
    if (line)
        fflush(stdout);
    return 0;
}

int cli_print_table(const struct cli *cli, struct table *table)
{
    int r = table_print(table, stdout, cli->width, cli->colour);
    return r < 0 ? cli_fail(cli, EXIT_FAILED, "%s", strerror(-r)) : 0;
}

void cli_print_pair(const struct cli *cli, const char *name, const char *text, enum style style)
{
    struct buf safe CLEANUP(buf_done) = {0};
    text_safe(&safe, text);
    printf("%-18s%s%s%s\n", name, style_on(style, cli->colour), safe.data ? safe.data : "",
        style_off(style, cli->colour));
}

int cli_check_id(const struct cli *cli, const char *id)
{
    if (ac_agent_id_valid(id))
        return 0;
    return cli_usage(
        cli, "'%.150s' is no agent id: 1 to %d of A-Z a-z 0-9 _ -", id, AC_AGENT_ID_MAX);
}

int cli_check_philosophy(const struct cli *cli, const char *name)
{
    enum ac_philosophy philosophy;
    if (ac_philosophy_from_name(name, &philosophy) == 0)
        return 0;
    return cli_usage(cli, "'%.60s' is no philosophy: react, cot, multi_agent or autonomous", name);
}

unsigned cli_terminal_width(void)
{
    struct winsize size = {0};
    if (!isatty(STDOUT_FILENO))
        return 0;
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) < 0 || size.ws_col == 0)
        return 80;
    return size.ws_col;
}
