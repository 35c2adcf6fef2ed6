/* SPDX-License-Identifier: Apache-2.0 */
#include "options.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/parse.h"

#define DEFAULT_CONFIG "/etc/agentcore/agentcored.yaml"

static const char help_text[] =
    "Usage: agentcored [OPTION]...\n"
    "Meters AI agents, alerts, keeps history, predicts and allocates; serves agentcore(1).\n"
    "\n"
    "  -c, --config FILE     read this configuration (default: " DEFAULT_CONFIG ",\n"
    "                        where it exists)\n"
    "      --check-config    check the configuration and exit\n"
    "      --print-config    print a commented example configuration and exit\n"
    "      --print-config-docs  print the table of all keys in Markdown and exit\n"
    "  -s, --socket PATH     listen on this unix socket\n"
    "      --state DIR|none  keep durable state there, or nowhere\n"
    "  -i, --interval TIME   sample every TIME, such as 1s or 500ms\n"
    "      --log-level LEVEL error, warning, info or debug\n"
    "  -h, --help            show this help\n"
    "  -V, --version         show the version\n"
    "\n"
    "SIGHUP reads the configuration again and keeps the old one when the new one is wrong;\n"
    "SIGTERM and SIGINT stop. Exit status: 0 stopped, 1 failed, 2 wrong usage or configuration.\n";

enum { OPTION_CHECK = 256, OPTION_PRINT, OPTION_DOCS, OPTION_STATE, OPTION_LOG_LEVEL };

static const struct option long_options[] = {
    {"config", required_argument, NULL, 'c'},
    {"check-config", no_argument, NULL, OPTION_CHECK},
    {"print-config", no_argument, NULL, OPTION_PRINT},
    {"print-config-docs", no_argument, NULL, OPTION_DOCS},
    {"socket", required_argument, NULL, 's'},
    {"state", required_argument, NULL, OPTION_STATE},
    {"interval", required_argument, NULL, 'i'},
    {"log-level", required_argument, NULL, OPTION_LOG_LEVEL},
    {"help", no_argument, NULL, 'h'},
    {"version", no_argument, NULL, 'V'},
    {NULL, 0, NULL, 0},
};

static int options_take(struct options *options, int option)
{
    switch (option) {
    case 'c':
        options->config_path = optarg;
        return 0;
    case OPTION_CHECK:
        options->action = OPTIONS_CHECK;
        return 0;
    case OPTION_PRINT:
        options->action = OPTIONS_EXAMPLE;
        return 0;
    case OPTION_DOCS:
        options->action = OPTIONS_DOCS;
        return 0;
    case 's':
        options->socket = optarg;
        return 0;
    case OPTION_STATE:
        options->state = optarg;
        return 0;
    case 'i':
        options->interval = optarg;
        return 0;
    case OPTION_LOG_LEVEL:
        options->log_level = optarg;
        return 0;
    case 'h':
        fputs(help_text, stdout);
        options->action = OPTIONS_EXIT;
        return 0;
    case 'V':
        printf("agentcored %s\n", ac_version());
        options->action = OPTIONS_EXIT;
        return 0;
    default:
        return -EINVAL;
    }
}

int options_parse(int argc, char **argv, struct options *ret_options)
{
    struct options options = {.action = OPTIONS_RUN};
    int option, r = 0;
    while (r == 0 && options.action != OPTIONS_EXIT &&
           (option = getopt_long(argc, argv, "c:s:i:hV", long_options, NULL)) != -1)
        r = options_take(&options, option);
    if (r == 0 && options.action != OPTIONS_EXIT && optind < argc) {
        fprintf(stderr, "agentcored: unexpected argument \"%s\"\n", argv[optind]);
        r = -EINVAL;
    }
    if (r < 0) {
        fputs("Try 'agentcored --help'.\n", stderr);
        return r;
    }
    *ret_options = options;
    return 0;
}

static int replace_string(char **target, const char *value, struct ac_error *error)
{
    if (!value)
        return 0;
    char *copy = mem_strdup(value);
    if (!copy)
        return error_errno(error, -ENOMEM, "configuration");
    mem_free(*target);
    *target = copy;
    return 0;
}

static int options_override(
    const struct options *options, struct config *config, struct ac_error *error)
{
    uint64_t ns;
    int r = replace_string(&config->socket, options->socket, error);
    if (r == 0)
        r = replace_string(&config->state, options->state, error);
    if (r < 0)
        return r;
    if (config->socket[0] == 0)
        return error_set(error, -EINVAL, "--socket: the path is empty");
    if (config->state[0] == 0)
        return error_set(error, -EINVAL, "--state: neither a directory nor \"none\"");
    if (options->log_level && log_level_from_name(options->log_level, &config->log_level) < 0)
        return error_set(error, -EINVAL, "--log-level: \"%s\" is not error, warning, info or debug",
            options->log_level);
    if (!options->interval)
        return 0;
    if (parse_duration(options->interval, strlen(options->interval), &ns) < 0 ||
        ns < 100 * NS_PER_MSEC || ns > 3600 * NS_PER_SEC)
        return error_set(error, -EINVAL,
            "--interval: \"%s\" is not a duration of 100ms to 1h, such as 1s", options->interval);
    config->interval_ns = ns;
    return 0;
}

int options_load_config(
    const struct options *options, struct config *ret_config, struct ac_error *error)
{
    struct config config;
    const char *path = options->config_path;
    if (!path && access(DEFAULT_CONFIG, R_OK) == 0)
        path = DEFAULT_CONFIG;
    int r = path ? config_load(path, &config, error) : config_defaults(&config);
    if (r < 0)
        return r;
    r = options_override(options, &config, error);
    if (r < 0) {
        config_done(&config);
        return r;
    }
    *ret_config = config;
    return 0;
}
