/* SPDX-License-Identifier: Apache-2.0 */
/* agentcored: the daemon. Options, configuration, then daemon.c. */
#include <errno.h>
#include <malloc.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/resource.h>

#include "base/mem.h"
#include "daemon.h"
#include "options.h"

enum { EXIT_OK, EXIT_FAILED, EXIT_USAGE };

static int print_config(enum options_action action)
{
    struct buf text CLEANUP(buf_done) = {0};
    int r = action == OPTIONS_EXAMPLE ? config_write_example(&text) : config_write_markdown(&text);
    if (r < 0 || fwrite(text.data, 1, text.size, stdout) != text.size || fflush(stdout) != 0)
        return EXIT_FAILED;
    return EXIT_OK;
}

/* The soft limit is low for programs that use select(2), which we do not. */
static void raise_descriptors(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return;
    limit.rlim_cur = limit.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
}

static int run(const struct options *options, struct config *config)
{
    struct ac_error error;
    struct daemon *daemon;
    mallopt(M_ARENA_MAX, 1); /* the writer of history allocates little: no arena of its own */
    umask(0077);             /* what is made is ours alone; the socket's mode is set by itself */
    log_set_level(config->log_level);
    raise_descriptors();
    int r = daemon_new(options, config, &daemon, &error);
    if (r < 0) {
        fprintf(stderr, "agentcored: %s\n", error.message);
        return EXIT_FAILED;
    }
    r = daemon_run(daemon);
    daemon_free(daemon);
    return r < 0 ? EXIT_FAILED : EXIT_OK;
}

int main(int argc, char **argv)
{
    struct options options;
    struct config config;
    struct ac_error error;
    if (options_parse(argc, argv, &options) < 0)
        return EXIT_USAGE;
    if (options.action == OPTIONS_EXIT)
        return EXIT_OK;
    if (options.action == OPTIONS_EXAMPLE || options.action == OPTIONS_DOCS)
        return print_config(options.action);
    if (options_load_config(&options, &config, &error) < 0) {
        fprintf(stderr, "agentcored: %s\n", error.message);
        return EXIT_USAGE;
    }
    if (options.action == OPTIONS_CHECK) {
        printf("the configuration is fine\n");
        config_done(&config);
        return EXIT_OK;
    }
    return run(&options, &config);
}
