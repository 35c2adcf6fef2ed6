/* SPDX-License-Identifier: Apache-2.0 */
/*
 * agentcore record: writes what a collector sees to a file, for replay. It meters by itself, beside
 * a daemon or without one: the agents are those of --attach and, where a daemon answers, the
 * daemon's, looked up again at every sample.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "apps/cli/cli.h"
#include "base/clock.h"
#include "base/io.h"
#include "base/parse.h"
#include "engine/collector.h"
#include "engine/core.h"
#include "engine/gpu_meter.h"
#include "engine/pss_meter.h"
#include "os/record.h"

#define RECORD_AGENTS_MAX 10000

struct record_options {
    struct opt_list attach;
    uint64_t interval_ns;
    uint64_t for_ns;
    uint64_t samples;
    unsigned collector; /* enum config_collector */
    const char *gpu;
    bool force;
    bool no_daemon;
};

#define RECORD(field) offsetof(struct record_options, field)

static const struct opt record_table[] = {
    {"attach", 'a', OPT_LIST, "ID=PID", "record this process tree as an agent (may be repeated)",
        RECORD(attach), 0, 0},
    {"interval", 'i', OPT_DURATION, "TIME", "between samples; 1s", RECORD(interval_ns), 0.05, 3600},
    {"for", 0, OPT_DURATION, "TIME", "end after this time (default: at an interrupt)",
        RECORD(for_ns), 0.05, 0},
    {"samples", 'n', OPT_COUNT, "COUNT", "end after so many samples", RECORD(samples), 1, 1e15},
    {"collector", 0, OPT_CHOICE, "auto|bpf|procfs", "how to measure", RECORD(collector), 0, 0},
    {"gpu", 0, OPT_TEXT, "LIBRARY", "read GPU use through it: a path, auto, or off", RECORD(gpu), 0,
        0},
    {"no-daemon", 0, OPT_FLAG, NULL, "do not ask a daemon for its agents", RECORD(no_daemon), 0, 0},
    {"force", 'f', OPT_FLAG, NULL, "replace FILE, once something is recorded", RECORD(force), 0, 0},
    {NULL},
};

static const struct record_options record_defaults = {.interval_ns = NS_PER_SEC, .gpu = "auto"};

struct recording {
    struct cli *cli;
    const struct record_options *options;
    struct collector_source *source;
    struct core *core;
    struct record_writer *writer;
    struct gpu_meter *gpu;  /* NULL = none */
    struct pss_reader *pss; /* NULL = none */
    int proc_fd;
    uint64_t samples;
    bool with_daemon;
    const char *path;
    struct buf part; /* what is written instead of a file that exists, up to the first sample */
};

/* Hands who came and went to the collector and to the file. Returns 0 or -errno. */
static int follow_agents(struct recording *recording)
{
    const struct collector_ops *ops = recording->source->ops;
    struct event event;
    int r = 0;
    while (r == 0 && core_next_event(recording->core, &event)) {
        const struct agent *agent = registry_get(core_registry(recording->core), event.agent_id);
        if (event.kind == EVENT_AGENT_ADDED && agent) {
            r = record_write_agent_added(recording->writer, agent->slot, &agent->spec);
            if (ops->adopt)
                (void)ops->adopt(recording->source, agent->slot, agent->spec.root_pid,
                    agent->spec.root_start_ticks);
        } else if (event.kind == EVENT_AGENT_REMOVED) {
            r = record_write_agent_removed(recording->writer, event.agent_slot);
            if (ops->release)
                ops->release(recording->source, event.agent_slot);
        }
    }
    return r;
}

/* Returns 0; -ESRCH; -EEXIST; -errno. */
static int add_agent(
    struct recording *recording, const struct agent_spec *named, struct ac_error *error)
{
    struct agent_spec spec = *named;
    int r = procfs_start_ticks(recording->proc_fd, spec.root_pid, &spec.root_start_ticks);
    if (r == 0)
        r = procfs_owner(recording->proc_fd, spec.root_pid, &spec.owner_uid);
    if (r < 0)
        return error_errno(error, r, "process %d", spec.root_pid);
    return core_agent_add(recording->core, &spec, clock_moment(), NULL, error);
}

static int parse_attach(const struct cli *cli, const char *item, struct agent_spec *ret_spec)
{
    const char *equals = strchr(item, '=');
    struct agent_spec spec = {0};
    uint64_t pid;
    if (!equals || equals == item || equals - item > AC_AGENT_ID_MAX ||
        parse_u64(equals + 1, strlen(equals + 1), &pid) < 0 || pid < 1 || pid > INT32_MAX)
        return cli_usage(cli, "--attach: \"%s\" is not ID=PID", item);
    snprintf(spec.id, sizeof(spec.id), "%.*s", (int)(equals - item), item);
    if (!ac_agent_id_valid(spec.id))
        return cli_check_id(cli, spec.id);
    spec.root_pid = (int32_t)pid;
    *ret_spec = spec;
    return 0;
}

/* Before anything is written. */
static int check_attached(const struct cli *cli, const struct opt_list *list)
{
    struct agent_spec spec;
    int code = 0;
    for (size_t i = 0; code == 0 && i < list->n_items; i++)
        code = parse_attach(cli, list->items[i], &spec);
    return code;
}

static int add_attached(struct recording *recording)
{
    const struct opt_list *list = &recording->options->attach;
    struct ac_error error = {0};
    for (size_t i = 0; i < list->n_items; i++) {
        struct agent_spec spec;
        int code = parse_attach(recording->cli, list->items[i], &spec);
        if (code != 0)
            return code;
        int r = add_agent(recording, &spec, &error);
        if (r < 0)
            return cli_fail(recording->cli,
                r == -ESRCH    ? EXIT_NOT_FOUND
                : r == -EINVAL ? EXIT_USAGE
                               : EXIT_FAILED,
                "--attach: %s", error.message);
    }
    return 0;
}

/* The daemon's agents that have processes and are not known yet. A daemon that goes away is no
 * reason to stop. */
static void add_daemons(struct recording *recording)
{
    json_t *answer cleanup_json = NULL;
    const json_t *agent;
    struct ac_error error;
    long status;
    size_t i;
    if (!recording->with_daemon || cli_connect(recording->cli) != 0)
        return;
    if (client_call(recording->cli->client, "GET", "/v1/agents", NULL, &status, &answer, &error) <
            0 ||
        status != 200) {
        recording->with_daemon = recording->samples > 0;
        return;
    }
    json_array_foreach(json_object_get(answer, "agents"), i, agent)
    {
        struct agent_spec spec = {0};
        const char *id = field_text(agent, "id"), *philosophy = field_text(agent, "philosophy");
        double pid = field_number(agent, "pid");
        if (!id || !(pid >= 1) || registry_get(core_registry(recording->core), id) ||
            strcmp(field_text(agent, "state"), "exited") == 0)
            continue;
        snprintf(spec.id, sizeof(spec.id), "%.128s", id);
        (void)ac_philosophy_from_name(philosophy, &spec.philosophy);
        spec.root_pid = (int32_t)pid;
        (void)add_agent(recording, &spec, &error);
    }
}

static int take_sample(struct recording *recording)
{
    struct sample sample;
    add_daemons(recording);
    int r = follow_agents(recording);
    if (r == 0)
        r = recording->source->ops->read(recording->source, &sample);
    if (r == 0) {
        (void)gpu_meter_fill(recording->gpu, &sample, NULL);
        pss_meter_fill(recording->pss, &sample);
        r = record_write_sample(recording->writer, &sample);
    }
    if (r == 0)
        r = core_tick(recording->core, &sample);
    if (r == 0) {
        recording->samples++;
        pss_meter_ask(recording->pss, core_registry(recording->core));
    }
    return r < 0 ? r : follow_agents(recording);
}

static void print_progress(const struct recording *recording, bool end)
{
    bool terminal = isatty(STDERR_FILENO);
    char size[TEXT_SHORT];
    if (!terminal && !end)
        return;
    uint32_t agents = registry_count(core_registry(recording->core));
    fprintf(stderr, "%s%llu sample%s, %u agent%s, %s%s", terminal ? "\r" : "",
        (unsigned long long)recording->samples, recording->samples == 1 ? "" : "s", agents,
        agents == 1 ? "" : "s",
        text_size_long(size, (double)record_writer_bytes(recording->writer) / 1048576),
        end ? "\n" : " ");
}

/* Waits for the next sample's time. Returns false at an interrupt. */
static bool wait_until(int signal_fd, uint64_t due_ns)
{
    struct pollfd poll_fd = {.fd = signal_fd, .events = POLLIN};
    for (;;) {
        uint64_t now = clock_mono().ns;
        if (now >= due_ns)
            return true;
        struct timespec left = {.tv_sec = (time_t)((due_ns - now) / NS_PER_SEC),
            .tv_nsec = (long)((due_ns - now) % NS_PER_SEC)};
        if (ppoll(&poll_fd, 1, &left, NULL) > 0)
            return false;
    }
}

/* What was recorded before is given up for something, not for nothing. */
static int put_in_place(struct recording *recording)
{
    if (recording->part.size > 0 && rename(recording->part.data, recording->path) < 0)
        return -errno;
    buf_clear(&recording->part);
    return 0;
}

static int record_loop(struct recording *recording)
{
    const struct record_options *options = recording->options;
    sigset_t mask;
    sigemptyset(&mask);
    sigaddset(&mask, SIGINT);
    sigaddset(&mask, SIGTERM);
    sigprocmask(SIG_BLOCK, &mask, NULL);
    int signal_fd cleanup_close = signalfd(-1, &mask, SFD_CLOEXEC);
    uint64_t start = clock_mono().ns, due = start;
    if (signal_fd < 0)
        return -errno;
    for (;;) {
        int r = take_sample(recording);
        if (r == 0)
            r = put_in_place(recording);
        if (r < 0)
            return r;
        print_progress(recording, false);
        due += options->interval_ns;
        due = MAX(due, clock_mono().ns); /* a late sample does not hurry the next ones */
        if ((options->samples && recording->samples >= options->samples) ||
            (options->for_ns && due - start > options->for_ns) || !wait_until(signal_fd, due))
            return 0;
    }
}

static bool record_wants(void *userdata, int32_t pid, uint64_t start_ticks, int32_t ppid)
{
    const struct registry *registry = core_registry(userdata);
    return registry_slot_of(registry, pid, start_ticks) != 0 ||
           registry_slot_of(registry, ppid, 0) != 0;
}

/* A library that was named must work; without another one GPU use is unknown. The first sample has
 * what GPUs are used for already, unless the driver is slow. */
static int open_gpu(struct recording *recording, struct ac_error *error)
{
    const char *library = recording->options->gpu;
    if (strcmp(library, "off") == 0)
        return 0;
    int r = gpu_meter_open(library, &recording->gpu, error);
    if (r < 0)
        return r == -ENOMEM || strcmp(library, "auto") != 0 ? r : 0;
    r = gpu_meter_start(recording->gpu);
    if (r < 0)
        return error_errno(error, r, "reading GPU use");
    gpu_meter_wait(recording->gpu, NS_PER_SEC);
    return 0;
}

static int open_meters(struct recording *recording, struct ac_error *error)
{
    int r = open_gpu(recording, error);
    if (r < 0)
        return r;
    r = pss_reader_new(recording->proc_fd, PSS_BUDGET_PERCENT, clock_mono(), &recording->pss);
    return r < 0 ? error_errno(error, r, "record") : 0;
}

static int record_open(struct recording *recording, int fd, struct ac_error *error)
{
    struct procfs_options procfs = {.processes = true};
    struct core_options core;
    char reason[COLLECTOR_REASON_MAX];
    core_options_init(&core);
    core.max_agents = RECORD_AGENTS_MAX;
    core.exited_retention_ns = 0;
    core.seed = clock_mono().ns;
    int r = core_new(&core, &recording->core);
    if (r < 0)
        return error_errno(error, r, "record");
    recording->proc_fd = io_openat(AT_FDCWD, "/proc", O_RDONLY | O_DIRECTORY, 0);
    if (recording->proc_fd < 0)
        return error_errno(error, recording->proc_fd, "/proc");
    r = collector_open((enum config_collector)recording->options->collector, &procfs,
        RECORD_AGENTS_MAX, &recording->source, reason, error);
    if (r < 0)
        return r;
    if (strcmp(recording->source->ops->name, "procfs") == 0)
        procfs_set_wanted(recording->source, record_wants, recording->core);
    r = open_meters(recording, error);
    if (r < 0)
        return r;
    r = record_writer_new(fd, recording->source->ops->name, &recording->writer);
    return r < 0 ? error_errno(error, r, "writing the recording") : 0;
}

static void record_close(struct recording *recording)
{
    record_writer_free(recording->writer);
    if (recording->source)
        recording->source->ops->free(recording->source);
    gpu_meter_close(recording->gpu);
    pss_reader_free(recording->pss);
    core_free(recording->core);
    buf_done(&recording->part);
    io_closep(&recording->proc_fd);
}

/* Returns 0 or an exit status after printing why. */
static int open_file(struct recording *recording, int *ret_fd)
{
    const struct cli *cli = recording->cli;
    const char *path = recording->path;
    struct stat status;
    int fd = io_openat(AT_FDCWD, path, O_WRONLY | O_CREAT | O_EXCL, 0600);
    if (fd == -EEXIST && !recording->options->force)
        return cli_fail(cli, EXIT_FAILED, "%s exists; --force overwrites it", path);
    if (fd == -EEXIST) {
        if (lstat(path, &status) < 0)
            return cli_fail(cli, EXIT_FAILED, "%s: %s", path, strerror(errno));
        if (!S_ISREG(status.st_mode))
            return cli_fail(cli, EXIT_FAILED, "%s is no regular file, and is left as it is", path);
        if (buf_printf(&recording->part, "%s.XXXXXX", path) < 0)
            return cli_fail(cli, EXIT_FAILED, "out of memory");
        fd = mkostemp(recording->part.data, O_CLOEXEC);
        if (fd < 0) {
            path = recording->part.data;
            fd = -errno;
        }
    }
    if (fd < 0)
        return cli_fail(cli, EXIT_FAILED, "%s: %s", path, strerror(-fd));
    *ret_fd = fd;
    return 0;
}

static int record_run(struct cli *cli, void *data, char **operands, int n_operands)
{
    const struct record_options *options = data;
    struct recording recording = {.cli = cli,
        .options = options,
        .proc_fd = -1,
        .with_daemon = !options->no_daemon,
        .path = operands[0]};
    struct ac_error error = {0};
    int fd cleanup_close = -1;
    (void)n_operands;
    int code = check_attached(cli, &options->attach);
    if (code == 0)
        code = open_file(&recording, &fd);
    if (code != 0) {
        buf_done(&recording.part);
        return code;
    }
    int r = record_open(&recording, fd, &error);
    code = r < 0 ? cli_fail(cli, EXIT_FAILED, "%s", error.message) : add_attached(&recording);
    if (code == 0) {
        r = record_loop(&recording);
        print_progress(&recording, true);
        if (r < 0)
            code = cli_fail(cli, EXIT_FAILED, "%s: %s", recording.path, strerror(-r));
    }
    if (recording.part.size > 0)
        unlink(recording.part.data);
    else if (recording.samples == 0)
        unlink(recording.path); /* nothing was recorded: leave nothing */
    record_close(&recording);
    return code;
}

const struct command cmd_record = {
    .name = "record",
    .operands = "FILE",
    .summary = "Write what is measured to a file, for replay",
    .details = "Measures by itself, beside a daemon or without one, until an interrupt. The agents "
               "are those of --attach and, where a daemon answers, the daemon's. The file holds "
               "every process of the machine with its name: keep it as private as that.",
    .options = record_table,
    .options_size = sizeof(struct record_options),
    .defaults = &record_defaults,
    .least_operands = 1,
    .most_operands = 1,
    .no_json = true,
    .run = record_run,
};
