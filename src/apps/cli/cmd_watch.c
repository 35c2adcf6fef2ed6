/* SPDX-License-Identifier: Apache-2.0 */
/* agentcore watch: events as they happen. */
#include <errno.h>
#include <string.h>
#include <time.h>

#include "apps/cli/alert_table.h"
#include "base/clock.h"

#define KIND_WORDS                                                                                 \
    "alert|agent_added|agent_exited|agent_orphans|agent_removed|allocation|scale|config|lost"
#define WAIT_FIRST_NS (250 * NS_PER_MSEC)
#define WAIT_MOST_NS  (8 * NS_PER_SEC)
#define LAST_ID_MAX   63

struct watch_options {
    const char *kind;
    const char *agent;
    const char *after;
    uint64_t count;
};

#define WATCH(field) offsetof(struct watch_options, field)

static const struct opt watch_table[] = {
    {"kind", 'k', OPT_TEXT, KIND_WORDS, "only events of this kind", WATCH(kind), 0, 0},
    {"agent", 0, OPT_TEXT, "ID", "only events of this agent", WATCH(agent), 0, 0},
    {"after", 0, OPT_TEXT, "SEQUENCE", "begin after this event, as far as it is still kept",
        WATCH(after), 0, 0},
    {"count", 'n', OPT_COUNT, "N", "end after so many events", WATCH(count), 1, 1e15},
    {NULL},
};

struct watch {
    struct cli *cli;
    uint64_t left; /* events still wanted; 0 = no end */
    bool counted;
    bool connected;                /* the stream has been heard */
    char last_id[LAST_ID_MAX + 1]; /* to go on behind after a break */
    int result;
};

enum { STREAM_ENOUGH = 1 };

static enum style event_style(const json_t *event)
{
    const char *kind = field_text(event, "kind"), *state = field_text(event, "alert.state");
    if (kind && (strcmp(kind, "agent_orphans") == 0 || strcmp(kind, "lost") == 0))
        return STYLE_WARNING;
    if (state && strcmp(state, "resolved") == 0)
        return STYLE_GOOD;
    return alert_style(field_text(event, "alert.severity"));
}

/* "12:00:05  alert          agent-1  CPU of agent-1 ..." */
static void print_event(const struct cli *cli, const json_t *event)
{
    char time[TEXT_SHORT];
    struct buf line CLEANUP(buf_done) = {0}, kind CLEANUP(buf_done) = {0};
    enum style style = event_style(event);
    const char *agent = field_text(event, "agent_id"), *text = field_text(event, "text");
    if (!text || !*text)
        text = field_text(event, "alert.message");
    text_safe(&kind, field_text(event, "kind"));
    buf_append_str(&line, text_time_short(time, field_time(event, "time"), clock_wall_ns()));
    buf_append_str(&line, "  ");
    text_fit(&line, kind.data ? kind.data : "", 14, TEXT_PAD_RIGHT);
    buf_append_str(&line, style_on(style, cli->colour));
    if (field_get(event, "alert")) {
        buf_append_char(&line, ' ');
        text_safe(&line, field_text(event, "alert.severity"));
        buf_append_char(&line, ' ');
        text_safe(&line, alert_state(field_get(event, "alert")));
    }
    if (agent && *agent) {
        buf_append_char(&line, ' ');
        text_safe(&line, agent);
    }
    buf_append_str(&line, style_off(style, cli->colour));
    buf_append_str(&line, ": ");
    text_safe(&line, text);
    if (!line.failed)
        puts(line.data);
    fflush(stdout);
}

static int on_event(void *userdata, const struct client_event *event)
{
    struct watch *watch = userdata;
    watch->connected = true;
    if (!event)
        return 0;
    snprintf(watch->last_id, sizeof(watch->last_id), "%s", event->id ? event->id : "");
    if (watch->cli->common.json)
        watch->result = cli_print_json(watch->cli, event->data, true);
    else
        print_event(watch->cli, event->data);
    if (watch->result || ferror(stdout))
        return STREAM_ENOUGH;
    return watch->counted && --watch->left == 0 ? STREAM_ENOUGH : 0;
}

static void sleep_ns(uint64_t ns)
{
    const struct timespec time = {(time_t)(ns / NS_PER_SEC), (long)(ns % NS_PER_SEC)};
    nanosleep(&time, NULL);
}

/* A break after which another try makes sense: the daemon was restarted, or is about to be. */
static bool worth_retrying(int r)
{
    return r == 0 || r == -ENOENT || r == -ECONNREFUSED || r == -ETIMEDOUT || r == -EIO ||
           r == -EAGAIN;
}

static int follow(struct watch *watch, const char *path)
{
    uint64_t wait_ns = WAIT_FIRST_NS;
    bool ever = false;
    for (;;) {
        struct ac_error error = {0};
        watch->connected = false;
        int r = client_stream(watch->cli->client, path, watch->last_id[0] ? watch->last_id : NULL,
            on_event, watch, &error);
        if (r == STREAM_ENOUGH)
            return watch->result;
        if (watch->connected) {
            ever = true;
            wait_ns = WAIT_FIRST_NS;
        }
        if (!ever && r < 0)
            return cli_fail(watch->cli, cli_status_of(r), "%s", error.message);
        if (!worth_retrying(r))
            return cli_fail(watch->cli, cli_status_of(r), "%s", error.message);
        if (watch->connected)
            cli_fail(watch->cli, 0, "the stream broke off%s%s; connecting again",
                error.message[0] ? ": " : "", error.message);
        sleep_ns(wait_ns);
        wait_ns = MIN(wait_ns * 2, WAIT_MOST_NS);
    }
}

static int watch_path(const struct cli *cli, const struct watch_options *options, struct buf *path)
{
    unsigned place;
    if (options->kind && opt_choice(KIND_WORDS, options->kind, &place) < 0)
        return cli_usage(cli, "--kind: '%.60s' is not one of %s", options->kind, KIND_WORDS);
    int code = options->agent ? cli_check_id(cli, options->agent) : 0;
    if (code != 0)
        return code;
    if (options->after && strspn(options->after, "0123456789") != strlen(options->after))
        return cli_usage(cli, "--after: '%.60s' is not a whole number", options->after);
    buf_append_str(path, "/v1/events");
    if (options->kind)
        client_query_add(path, "kind", options->kind);
    if (options->agent)
        client_query_add(path, "agent", options->agent);
    return path->failed ? cli_fail(cli, EXIT_FAILED, "out of memory") : 0;
}

static int watch_run(struct cli *cli, void *data, char **operands, int n_operands)
{
    const struct watch_options *options = data;
    struct watch watch = {.cli = cli, .left = options->count, .counted = options->count > 0};
    struct buf path CLEANUP(buf_done) = {0};
    (void)operands;
    (void)n_operands;
    int code = watch_path(cli, options, &path);
    if (code == 0)
        code = cli_connect(cli);
    if (code != 0)
        return code;
    if (options->after)
        snprintf(watch.last_id, sizeof(watch.last_id), "%s", options->after);
    return follow(&watch, path.data);
}

const struct command cmd_watch = {
    .name = "watch",
    .summary = "Print events as they happen: alerts, agents, allocations, scaling",
    .details = "Connects again when the daemon is restarted, and goes on where it was.\n"
               "--json prints one event a line.",
    .options = watch_table,
    .options_size = sizeof(struct watch_options),
    .run = watch_run,
};
