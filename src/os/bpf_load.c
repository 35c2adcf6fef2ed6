/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The kernel says why it refuses a program only on libbpf's log: the hook here keeps the last
 * warning, which becomes part of the error.
 */
#include "os/bpf_load.h"

#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/capability.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "base/io.h"
#include "base/mem.h"
#include "base/parse.h"
#include "model/sample.h"
#include "os/bpf/shared.h"

#include "agentcore.skel.h"

#define FIRST_PID_NAMESPACE 0xEFFFFFFCu /* its inode, fixed by the kernel */
#define PID_MAX_LIMIT       4194304u
#define EXACT_CPUS_MAX      16 /* as in bpf/usage.bpf.h */

bool bpf_has_capability(unsigned capability)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2] = {0};

    if (capability >= 64 || syscall(SYS_capget, &header, data) < 0)
        return false;
    return data[capability / 32].effective >> (capability % 32) & 1;
}

int bpf_usable(struct ac_error *error)
{
    struct stat namespace;
    bool admin = bpf_has_capability(CAP_SYS_ADMIN);

    if (!admin && !bpf_has_capability(CAP_BPF))
        return error_set(error, -EPERM,
            "no CAP_BPF: run as root, or give the program CAP_BPF and "
            "CAP_PERFMON");
    if (!admin && !bpf_has_capability(CAP_PERFMON))
        return error_set(error, -EPERM, "no CAP_PERFMON: it is needed beside CAP_BPF");
    if (access("/sys/kernel/btf/vmlinux", R_OK) < 0)
        return error_set(error, -ENOENT,
            "no /sys/kernel/btf/vmlinux: the kernel was built without "
            "type information (CONFIG_DEBUG_INFO_BTF)");
    if (stat("/proc/self/ns/pid", &namespace) == 0 && namespace.st_ino != FIRST_PID_NAMESPACE)
        return error_set(error, -EOPNOTSUPP,
            "this is a PID namespace of its own: run where the "
            "machine's processes are seen (hostPID)");
    return 0;
}

/* ---- libbpf's log */

static struct {
    char text[160];
} last_warning;

static int keep_warning(enum libbpf_print_level level, const char *format, va_list args)
    __attribute__((format(printf, 2, 0)));

static int keep_warning(enum libbpf_print_level level, const char *format, va_list args)
{
    char line[sizeof(last_warning.text)];

    if (level != LIBBPF_WARN)
        return 0;
    vsnprintf(line, sizeof(line), format, args);
    /* The first says what failed, those behind it only that everything did. A program's log is
     * long and not for people. */
    if (last_warning.text[0] || strstr(line, "BEGIN PROG LOAD LOG"))
        return 0;
    line[strcspn(line, "\n")] = '\0';
    memcpy(last_warning.text, line, sizeof(line));
    return 0;
}

/* ---- Loading */

static uint32_t pid_limit(void)
{
    char text[32];
    uint64_t value = PID_MAX_LIMIT;
    ssize_t n = io_read_file(AT_FDCWD, "/proc/sys/kernel/pid_max", text, sizeof(text));

    while (n > 0 && text[n - 1] == '\n')
        n--;
    if (n <= 0 || parse_u64(text, (size_t)n, &value) < 0)
        return PID_MAX_LIMIT;
    return (uint32_t)MIN(MAX(value, 1024u), PID_MAX_LIMIT) + 1;
}

static void set_constants(struct agentcore_bpf *object)
{
    long cpus = sysconf(_SC_NPROCESSORS_CONF);
    uint64_t secret = 0x9e3779b97f4a7c15u;

    if (getrandom(&secret, sizeof(secret), GRND_NONBLOCK) < 0)
        secret = 0x9e3779b97f4a7c15u;
    object->rodata->secret = secret | 1;
    object->rodata->page_shift = (uint32_t)__builtin_ctzl((unsigned long)sysconf(_SC_PAGESIZE));
    object->rodata->exact_cpus = cpus > 0 && cpus <= EXACT_CPUS_MAX ? (uint32_t)cpus : 0;
    object->rodata->known_process = PROC_KNOWN_CPU | PROC_KNOWN_CHILDREN_CPU | PROC_KNOWN_IO |
                                    PROC_KNOWN_THREADS | PROC_KNOWN_CGROUP | PROC_KNOWN_UID |
                                    PROC_KNOWN_SLOT | PROC_KNOWN_SESSION;
    object->rodata->known_memory = PROC_KNOWN_RSS | PROC_KNOWN_RSS_SPLIT | PROC_KNOWN_SWAP;
    object->rodata->known_mm = PROC_KNOWN_MM;
    object->rodata->known_files = PROC_KNOWN_FDS;
}

/* The function that a tracepoint's programs get: its arguments, and one before them. */
static const struct btf_type *tracepoint_type(const struct btf *btf, const char *name)
{
    int id = btf__find_by_name_kind(btf, name, BTF_KIND_TYPEDEF);
    const struct btf_type *type = id > 0 ? btf__type_by_id(btf, (uint32_t)id) : NULL;

    for (int i = 0; type && i < 2; i++)
        type = btf__type_by_id(btf, type->type); /* typedef, pointer */
    return type && btf_is_func_proto(type) ? type : NULL;
}

/* Whether the tracepoint of exits comes when the address space is gone (until 6.15; the commit
 * that moved it gave it a second argument), and there is a function to look before. */
static bool wants_exit_mm(void)
{
    struct btf *btf = btf__load_vmlinux_btf();
    const struct btf_type *exit = btf ? tracepoint_type(btf, "btf_trace_sched_process_exit") : NULL;
    bool wants = exit && btf_vlen(exit) == 2 &&
                 btf__find_by_name_kind(btf, "exit_mm_release", BTF_KIND_FUNC) > 0;

    btf__free(btf);
    return wants;
}

static int load(const struct bpf_load_options *options, bool exit_mm, struct agentcore_bpf *object)
{
    int r = bpf_map__set_max_entries(object->maps.members, pid_limit());
    if (r < 0)
        return r;
    r = bpf_map__set_max_entries(object->maps.slots, options->max_slot + 1);
    if (r < 0)
        return r;
    set_constants(object);
    if (!options->network) {
        bpf_program__set_autoload(object->progs.on_egress, false);
        bpf_program__set_autoload(object->progs.on_ingress, false);
    }
    bpf_program__set_autoload(object->progs.on_exit_mm, exit_mm);
    r = agentcore_bpf__load(object);
    if (r < 0)
        return r;
    /* The cgroup programs have no cgroup yet: they are attached as agents come. */
    bpf_program__set_autoattach(object->progs.on_egress, false);
    bpf_program__set_autoattach(object->progs.on_ingress, false);
    bpf_program__set_autoattach(object->progs.on_exit_mm, false);
    r = agentcore_bpf__attach(object);
    /* A help, not a must: not every kernel lets functions be traced. */
    if (r == 0 && exit_mm)
        object->links.on_exit_mm = bpf_program__attach(object->progs.on_exit_mm);
    return r;
}

static int open_and_load(
    const struct bpf_load_options *options, bool exit_mm, struct agentcore_bpf **ret_object)
{
    last_warning.text[0] = '\0';
    struct agentcore_bpf *object = agentcore_bpf__open();
    int r = object ? load(options, exit_mm, object) : -errno;

    if (r < 0) {
        agentcore_bpf__destroy(object);
        return r;
    }
    *ret_object = object;
    return 0;
}

int bpf_load(const struct bpf_load_options *options, struct agentcore_bpf **ret_object,
    struct ac_error *error)
{
    if (options->max_slot < 1 || options->max_slot > BPF_SLOTS_MAX)
        return error_set(error, -EINVAL, "at most %u agents can be told apart", BPF_SLOTS_MAX);
    libbpf_print_fn_t previous = libbpf_set_print(keep_warning);
    bool exit_mm = wants_exit_mm();
    int r = open_and_load(options, exit_mm, ret_object);
    if (r < 0 && exit_mm)
        r = open_and_load(options, false, ret_object);
    libbpf_set_print(previous);
    if (r < 0)
        return error_errno(error, r, "the kernel refuses the BPF programs (%s)",
            last_warning.text[0] ? last_warning.text : "no reason given");
    return 0;
}
