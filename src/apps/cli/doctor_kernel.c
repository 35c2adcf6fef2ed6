/* SPDX-License-Identifier: Apache-2.0 */
#include <linux/capability.h>
#include <math.h>
#include <stdarg.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "apps/cli/doctor.h"
#include "base/io.h"
#include "base/parse.h"
#include "model/usage.h"

#define LEAST_MAJOR 5
#define LEAST_MINOR 11

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
void doctor_say(struct doctor_result *result, enum doctor_state state, const char *advice,
    const char *format, ...)
{
    struct buf text CLEANUP(buf_done) = {0}, safe CLEANUP(buf_done) = {0};
    va_list args;
    va_start(args, format);
    buf_vprintf(&text, format, args);
    va_end(args);
    text_safe(&safe, text.data);
    *result = (struct doctor_result){.state = state, .advice = advice};
    snprintf(result->found, sizeof(result->found), "%s", safe.data ? safe.data : "");
}
#pragma GCC diagnostic pop

void doctor_kernel(struct doctor *doctor, struct doctor_result *ret_result)
{
    struct utsname names;
    uint64_t major = 0, minor = 0;
    (void)doctor;
    uname(&names);
    const char *c = names.release, *end = c + strlen(c);
    bool parsed = parse_digits(&c, end, &major) == 0 && c < end && *c++ == '.' &&
                  parse_digits(&c, end, &minor) == 0;
    bool recent = major > LEAST_MAJOR || (major == LEAST_MAJOR && minor >= LEAST_MINOR);
    if (parsed && recent)
        doctor_say(ret_result, DOCTOR_OK, NULL, "Linux %s", names.release);
    else
        doctor_say(ret_result, DOCTOR_LIMITED,
            "Measuring in the kernel needs Linux 5.11 or newer; /proc is read instead.", "Linux %s",
            names.release);
}

void doctor_btf(struct doctor *doctor, struct doctor_result *ret_result)
{
    if (faccessat(doctor->sys_fd, "kernel/btf/vmlinux", R_OK, AT_EACCESS) == 0)
        doctor_say(ret_result, DOCTOR_OK, NULL, "/sys/kernel/btf/vmlinux");
    else
        doctor_say(ret_result, DOCTOR_LIMITED,
            "Use a kernel built with CONFIG_DEBUG_INFO_BTF; until then /proc is read instead of "
            "measuring in the kernel.",
            "no type information of the kernel");
}

static bool effective_capabilities(const struct doctor *doctor, uint64_t *ret_set)
{
    char text[8192];
    if (io_read_file(doctor->proc_fd, "self/status", text, sizeof(text)) < 0)
        return false;
    const char *line = strstr(text, "\nCapEff:");
    if (!line)
        return false;
    line += strlen("\nCapEff:");
    line += strspn(line, " \t");
    uint64_t set = 0;
    static const char digits[] = "0123456789abcdef";
    for (; *line && *line != '\n'; line++) {
        const char *digit = strchr(digits, *line);
        if (!digit || set >> 60)
            return false;
        set = set << 4 | (uint64_t)(digit - digits);
    }
    *ret_set = set;
    return true;
}

bool doctor_holds(const struct doctor *doctor, unsigned capability)
{
    uint64_t set;
    return effective_capabilities(doctor, &set) && (set >> capability & 1);
}

void doctor_capabilities(struct doctor *doctor, struct doctor_result *ret_result)
{
    uint64_t set = 0;
    static const char advice[] =
        "Run agentcored as root, or as a service with CAP_BPF and CAP_PERFMON (and CAP_NET_ADMIN "
        "for network per agent), to measure in the kernel.";
    if (!effective_capabilities(doctor, &set)) {
        doctor_say(ret_result, DOCTOR_LIMITED, advice, "cannot be read");
        return;
    }
    bool admin = set >> CAP_SYS_ADMIN & 1;
    bool bpf = admin || (set >> CAP_BPF & 1), perfmon = admin || (set >> CAP_PERFMON & 1);
    bool net = set >> CAP_NET_ADMIN & 1;
    enum doctor_state state = bpf && perfmon && net ? DOCTOR_OK : DOCTOR_LIMITED;
    doctor_say(ret_result, state, state == DOCTOR_OK ? NULL : advice,
        "this user: CAP_BPF %s, CAP_PERFMON %s, CAP_NET_ADMIN %s", bpf ? "yes" : "no",
        perfmon ? "yes" : "no", net ? "yes" : "no");
}

void doctor_psi(struct doctor *doctor, struct doctor_result *ret_result)
{
    char text[512];
    if (io_read_file(doctor->proc_fd, "pressure/memory", text, sizeof(text)) > 0)
        doctor_say(ret_result, DOCTOR_OK, NULL, "/proc/pressure");
    else
        doctor_say(ret_result, DOCTOR_LIMITED,
            "Boot with psi=1 (or a kernel with CONFIG_PSI): stalls for lack of memory cannot be "
            "seen otherwise.",
            "no pressure stall information");
}

/* ---- cgroup v2 */

/* The mount point of the first cgroup2 in mountinfo: " ... - cgroup2 ...", fifth field. */
static bool cgroup2_mount(const struct doctor *doctor, char *out, size_t size)
{
    char *text cleanup_free = mem_alloc(1 << 20);
    if (!text || io_read_file(doctor->proc_fd, "self/mountinfo", text, 1 << 20) < 0)
        return false;
    char *save = NULL;
    for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        char *field = line;
        if (!strstr(line, " - cgroup2 "))
            continue;
        for (int i = 0; field && i < 4; i++)
            field = strchr(field, ' ') ? strchr(field, ' ') + 1 : NULL;
        if (!field || strcspn(field, " ") >= size)
            return false;
        memcpy(out, field, strcspn(field, " "));
        out[strcspn(field, " ")] = 0;
        return true;
    }
    return false;
}

void doctor_find_cgroup(struct doctor *doctor)
{
    char mount[256], text[4096];
    doctor->cgroup_path[0] = 0;
    if (!cgroup2_mount(doctor, mount, sizeof(mount)))
        return;
    if (io_read_file(doctor->proc_fd, "self/cgroup", text, sizeof(text)) < 0)
        return;
    const char *own = strncmp(text, "0::", 3) == 0 ? text : strstr(text, "\n0::");
    if (!own)
        return;
    own += *own == '\n' ? 4 : 3;
    int n = (int)strcspn(own, "\n");
    snprintf(doctor->cgroup_path, sizeof(doctor->cgroup_path), "%s%.*s", mount, n, own);
}

void doctor_cgroup(struct doctor *doctor, struct doctor_result *ret_result)
{
    if (doctor->cgroup_path[0])
        doctor_say(ret_result, DOCTOR_OK, NULL, "our group is %s", doctor->cgroup_path);
    else
        doctor_say(ret_result, DOCTOR_MISSING,
            "Mount cgroup v2 (systemd: systemd.unified_cgroup_hierarchy=1 on the kernel's command "
            "line): limits cannot be enforced without it.",
            "cgroup v2 is not mounted");
}

static bool has_word(const char *text, const char *word)
{
    size_t length = strlen(word);
    while (*text) {
        size_t n = strcspn(text, " \n");
        if (n == length && memcmp(text, word, n) == 0)
            return true;
        text += n + (text[n] != 0);
    }
    return false;
}

void doctor_controllers(struct doctor *doctor, struct doctor_result *ret_result)
{
    static const char *const wanted[] = {"cpu", "memory", "io", "pids"};
    char path[600], text[512] = "", lacking[64] = "";
    size_t n_lacking = 0;
    snprintf(path, sizeof(path), "%s/cgroup.controllers", doctor->cgroup_path);
    if (doctor->cgroup_path[0])
        io_read_file(AT_FDCWD, path, text, sizeof(text));
    for (size_t i = 0; i < ARRAY_SIZE(wanted); i++) {
        if (!has_word(text, wanted[i]) && ++n_lacking)
            snprintf(lacking + strlen(lacking), sizeof(lacking) - strlen(lacking), "%s%s",
                lacking[0] ? ", " : "", wanted[i]);
    }
    if (!lacking[0])
        doctor_say(ret_result, DOCTOR_OK, NULL, "cpu, memory, io and pids");
    else
        doctor_say(ret_result, n_lacking == ARRAY_SIZE(wanted) ? DOCTOR_MISSING : DOCTOR_LIMITED,
            "Enable them in cgroup.subtree_control of the groups above (systemd: Delegate=yes), or "
            "leave them by v1 hierarchies: what they limit cannot be enforced.",
            "not here: %s", lacking);
}

void doctor_delegation(struct doctor *doctor, struct doctor_result *ret_result)
{
    static const char advice[] =
        "Run agentcored as root or as a systemd service with Delegate=yes, so that it may make "
        "groups for agents.";
    char path[600];
    if (!doctor->cgroup_path[0]) {
        doctor_say(ret_result, DOCTOR_MISSING, advice, "there is no cgroup v2");
        return;
    }
    snprintf(path, sizeof(path), "%s/cgroup.procs", doctor->cgroup_path);
    bool may = access(doctor->cgroup_path, W_OK) == 0 && access(path, W_OK) == 0;
    doctor_say(ret_result, may ? DOCTOR_OK : DOCTOR_LIMITED, may ? NULL : advice,
        may ? "this user may make groups below %s" : "this user may not make groups below %s",
        doctor->cgroup_path);
}

void doctor_capacity(struct doctor *doctor, struct doctor_result *ret_result)
{
    char size[TEXT_SHORT];
    double all = (double)sysconf(_SC_NPROCESSORS_ONLN);
    if (!doctor->have_machine) {
        doctor_say(ret_result, DOCTOR_MISSING, "Mount /proc.", "cannot be measured");
        return;
    }
    double cores = doctor->machine.capacity_cores;
    text_size_long(size, (double)doctor->machine.capacity_memory_bytes / USAGE_MIB);
    doctor_say(ret_result, DOCTOR_OK, NULL, "%g of %g cores, %s of memory%s", cores, all, size,
        cores < all ? ": what our container or cgroup allows" : "");
}
