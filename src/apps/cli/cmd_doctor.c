/* SPDX-License-Identifier: Apache-2.0 */
/* agentcore doctor: what this machine lets us measure and enforce, and what to do about the rest.
 */
#include <string.h>

#include "apps/cli/doctor.h"
#include "base/io.h"

static const struct {
    const char *id;
    const char *title;
    bool essential; /* without it nothing can be metered */
    doctor_look look;
} checks[] = {
    {"proc", "Process files", true, doctor_proc},
    {"capacity", "Capacity", false, doctor_capacity},
    {"collector", "Measuring processes", true, doctor_collector},
    {"kernel", "Kernel", false, doctor_kernel},
    {"btf", "Kernel types (BTF)", false, doctor_btf},
    {"capabilities", "Capabilities", false, doctor_capabilities},
    {"devices", "Machine's disk and network", false, doctor_devices},
    {"hidepid", "Other users' processes", false, doctor_hidepid},
    {"io", "Disk use and open files", false, doctor_io},
    {"ptrace", "Ptrace scope", false, doctor_ptrace},
    {"descriptors", "Counting open files", false, doctor_descriptors},
    {"open_files", "Own open files", false, doctor_open_files},
    {"pss", "Shared memory (PSS)", false, doctor_pss},
    {"gpu", "GPU use", false, doctor_gpu},
    {"psi", "Pressure (PSI)", false, doctor_psi},
    {"cgroup", "cgroup v2", false, doctor_cgroup},
    {"controllers", "Controllers", false, doctor_controllers},
    {"delegation", "Delegation", false, doctor_delegation},
    {"daemon", "Daemon", false, doctor_daemon},
    {"state", "State directory", false, doctor_state_directory},
    {"disk_space", "Disk space", false, doctor_disk_space},
};

static const char *const state_names[] = {"ok", "limited", "missing"};
static const enum style state_styles[] = {STYLE_GOOD, STYLE_WARNING, STYLE_BAD};

static void look_at_machine(struct doctor *doctor)
{
    const struct procfs_options options = {.processes = false};
    struct machine_reader *reader = NULL;
    if (machine_reader_new(&options, &reader, NULL) < 0)
        return;
    doctor->have_machine = machine_reader_read(reader, &doctor->machine) == 0;
    machine_reader_free(reader);
}

static void print_result(const struct cli *cli, size_t i, const struct doctor_result *result)
{
    printf("%s%-8s%s%-28s%s\n", style_on(state_styles[result->state], cli->colour),
        state_names[result->state], style_off(state_styles[result->state], cli->colour),
        checks[i].title, result->found);
    if (result->advice)
        printf("%-8s%s\n", "", result->advice);
}

static json_t *result_json(size_t i, const struct doctor_result *result)
{
    json_t *object = json_object();
    json_object_set_new(object, "check", json_string(checks[i].id));
    json_object_set_new(object, "title", json_string(checks[i].title));
    json_object_set_new(object, "result", json_string(state_names[result->state]));
    json_object_set_new(object, "found", json_string(result->found));
    json_object_set_new(
        object, "advice", result->advice ? json_string(result->advice) : json_null());
    return object;
}

/* Looks at everything. Returns how many essential things are missing. */
static unsigned look_at_all(struct doctor *doctor, json_t *array, unsigned counts[3])
{
    unsigned essential = 0;
    for (size_t i = 0; i < ARRAY_SIZE(checks); i++) {
        struct doctor_result result = {0};
        checks[i].look(doctor, &result);
        counts[result.state]++;
        if (checks[i].essential && result.state == DOCTOR_MISSING)
            essential++;
        if (doctor->cli->common.json)
            json_array_append_new(array, result_json(i, &result));
        else
            print_result(doctor->cli, i, &result);
    }
    return essential;
}

static int doctor_run(struct cli *cli, void *data, char **operands, int n_operands)
{
    int proc cleanup_close = io_openat(AT_FDCWD, "/proc", O_RDONLY | O_DIRECTORY, 0);
    int sys cleanup_close = io_openat(AT_FDCWD, "/sys", O_RDONLY | O_DIRECTORY, 0);
    struct doctor doctor = {.cli = cli, .proc_fd = proc, .sys_fd = sys};
    json_t *array = json_array();
    json_t *out cleanup_json = json_object();
    unsigned counts[3] = {0};
    (void)data;
    (void)operands;
    (void)n_operands;
    json_object_set_new(out, "checks", array);
    doctor_find_cgroup(&doctor);
    look_at_machine(&doctor);
    unsigned essential = look_at_all(&doctor, array, counts);
    json_object_set_new(out, "metering", json_boolean(essential == 0));
    if (cli->common.json) {
        int code = cli_print_json(cli, out, false);
        return code ? code : essential > 0 ? EXIT_FAILED : 0;
    }
    printf("\n%u ok, %u limited, %u missing.\n", counts[DOCTOR_OK], counts[DOCTOR_LIMITED],
        counts[DOCTOR_MISSING]);
    return essential > 0 ? cli_fail(cli, EXIT_FAILED, "nothing can be metered on this machine") : 0;
}

const struct command cmd_doctor = {
    .name = "doctor",
    .summary = "Say what this machine can measure and enforce, and what to do about the rest",
    .details = "Looks as the user that runs it: run it as the daemon's user to know what the\n"
               "daemon will find. Exit status 1 only where nothing can be metered at all.",
    .run = doctor_run,
};
