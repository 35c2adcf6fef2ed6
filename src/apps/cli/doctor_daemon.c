/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "apps/cli/doctor.h"
#include "engine/collector.h"
#include "model/usage.h"
#include "os/gpu_nvml.h"

#define LEAST_FREE_MIB 256.0
#define PATH_SIZE      512

/* Opens what a daemon of this user would measure with. */
void doctor_collector(struct doctor *doctor, struct doctor_result *ret_result)
{
    const struct procfs_options options = {.processes = true};
    struct collector_source *source = NULL;
    char reason[COLLECTOR_REASON_MAX] = "";
    struct ac_error error = {0};
    (void)doctor;
    int r = collector_open(CONFIG_COLLECTOR_AUTO, &options, 1, &source, reason, &error);
    if (r < 0) {
        doctor_say(ret_result, DOCTOR_MISSING, "Mount proc on /proc.", "%s", error.message);
        return;
    }
    bool best = strcmp(source->ops->name, "bpf") == 0;
    doctor_say(ret_result, best ? DOCTOR_OK : DOCTOR_LIMITED,
        best ? NULL
             : "What lives shorter than the interval between two samples may be missed, and "
               "network use stays unknown; see the points below for what is needed.",
        "%s: %s", source->ops->name, reason);
    source->ops->free(source);
}

/* A machine without a GPU lacks nothing. */
void doctor_gpu(struct doctor *doctor, struct doctor_result *ret_result)
{
    struct gpu_nvml *gpu = NULL;
    const struct gpu_process *processes;
    size_t count;
    struct ac_error error = {0};
    (void)doctor;
    int r = gpu_nvml_open(NULL, &gpu, &error);
    if (r < 0) {
        doctor_say(ret_result, r == -ENOENT ? DOCTOR_OK : DOCTOR_LIMITED,
            r == -ENOENT ? NULL
                         : "Load the NVIDIA driver that belongs to the library, or set gpu.library "
                           "to off: GPU use of agents stays unknown.",
            "unknown: %s", error.message);
        return;
    }
    uint32_t devices = gpu_nvml_devices(gpu), known = 0;
    if (gpu_nvml_read(gpu, &processes, &count) == 0)
        known = gpu_nvml_complete(gpu);
    bool memory = known & GPU_KNOWN_MEMORY, compute = known & GPU_KNOWN_COMPUTE;
    doctor_say(ret_result, memory && compute ? DOCTOR_OK : DOCTOR_LIMITED,
        memory && compute ? NULL : "A device or its driver does not tell: that stays unknown.",
        "libnvidia-ml.so.1: %u device%s; per process: memory %s, use %s", devices,
        devices == 1 ? "" : "s", memory ? "yes" : "unknown", compute ? "yes" : "unknown");
    gpu_nvml_close(gpu);
}

void doctor_daemon(struct doctor *doctor, struct doctor_result *ret_result)
{
    struct cli *cli = doctor->cli;
    struct client_options options = {.socket = cli->common.socket,
        .url = cli->common.url,
        .token_file = cli->common.token_file,
        .ca_file = cli->common.ca_file,
        .timeout_ms = 3000};
    struct ac_error error = {0};
    json_t *answer cleanup_json = NULL;
    long status = 0;
    static const char advice[] =
        "Start agentcored (systemctl start agentcored); without it, 'agentcore run' meters one "
        "command at a time.";
    int r = cli->client ? 0 : client_new(&options, &cli->client, &error);
    if (r == 0)
        r = client_call(cli->client, "GET", "/v1/system", NULL, &status, &answer, &error);
    if (r == 0)
        r = client_check(status, answer, &error);
    if (r < 0) {
        doctor_say(ret_result, DOCTOR_LIMITED, advice, "%s", error.message);
        return;
    }
    const char *version = field_text(answer, "version");
    const char *collector = field_text(answer, "collector");
    doctor_say(ret_result, DOCTOR_OK, NULL, "agentcored %.40s at %.100s measures by %.20s",
        version ? version : "-", client_target(cli->client), collector ? collector : "-");
}

/* Where a daemon of this user would keep its state. Returns false for none. */
static bool state_path(char out[PATH_SIZE])
{
    struct config config = {0};
    bool found = false;
    if (config_defaults(&config) < 0)
        return false;
    if (config.state && strcmp(config.state, "none") != 0 && strlen(config.state) < PATH_SIZE) {
        memcpy(out, config.state, strlen(config.state) + 1);
        found = true;
    }
    config_done(&config);
    return found;
}

/* Cuts the path to its deepest directory that exists. */
static void existing_part(char path[PATH_SIZE])
{
    while (access(path, F_OK) < 0) {
        char *slash = strrchr(path, '/');
        if (!slash || slash == path) {
            memcpy(path, "/", 2);
            return;
        }
        *slash = 0;
    }
}

void doctor_state_directory(struct doctor *doctor, struct doctor_result *ret_result)
{
    char path[PATH_SIZE], existing[PATH_SIZE];
    (void)doctor;
    if (!state_path(path)) {
        doctor_say(ret_result, DOCTOR_LIMITED,
            "Set HOME, or start agentcored with --state DIR: nothing outlives it otherwise.",
            "this user has no place for it");
        return;
    }
    memcpy(existing, path, sizeof(existing));
    existing_part(existing);
    if (access(existing, W_OK | X_OK) == 0)
        doctor_say(ret_result, DOCTOR_OK, NULL, "%s%s", path,
            strcmp(path, existing) == 0 ? "" : " (can be made)");
    else
        doctor_say(ret_result, DOCTOR_LIMITED,
            "Start agentcored with --state DIR for a directory that this user may write to.",
            "%s: %s", existing, strerror(errno));
}

void doctor_disk_space(struct doctor *doctor, struct doctor_result *ret_result)
{
    char path[PATH_SIZE], size[TEXT_SHORT];
    struct statvfs info;
    (void)doctor;
    if (!state_path(path))
        memcpy(path, "/", 2);
    existing_part(path);
    if (statvfs(path, &info) < 0) {
        doctor_say(
            ret_result, DOCTOR_LIMITED, "Check the file system.", "%s: %s", path, strerror(errno));
        return;
    }
    double free_mib = (double)info.f_bavail * (double)info.f_frsize / USAGE_MIB;
    bool enough = free_mib >= LEAST_FREE_MIB;
    doctor_say(ret_result, enough ? DOCTOR_OK : DOCTOR_LIMITED,
        enough ? NULL : "Free some space, or keep history elsewhere with --state DIR.",
        "%s free for history in %s", text_size_long(size, free_mib), path);
}
