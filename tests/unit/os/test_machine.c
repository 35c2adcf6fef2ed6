/* SPDX-License-Identifier: Apache-2.0 */
/* The machine on bare metal, in containers of both kinds, on a hybrid host, and half missing. */
#include "tree.h"

#include <math.h>
#include <stdbool.h>

#include "base/fault.h"
#include "os/machine_internal.h"
#include "os/procfs.h"

#define MIB(n) ((uint64_t)(n) << 20)

/* Four CPUs, 16 GiB of which 10 are available, two disks with partitions, one network card. */
static void bare_machine(struct tree *tree)
{
    tree_init(tree);
    tree_write(tree, "proc/stat",
        "cpu  100 20 80 600 200 10 10 5 50 7\n" /* guest times are inside user times */
        "cpu0 25 5 20 150 50 3 3 1 0 0\ncpu1 25 5 20 150 50 3 3 1 0 0\n"
        "cpu2 25 5 20 150 50 2 2 1 0 0\ncpu3 25 5 20 150 50 2 2 2 0 0\n"
        "intr 12345 0 0\nctxt 1\n");
    tree_write(tree, "proc/meminfo",
        "MemTotal:       16777216 kB\nMemFree:         1000 kB\nMemAvailable:   10485760 kB\n");
    tree_write(tree, "proc/sys/fs/file-nr", "1234\t0\t100000\n");
    tree_write(tree, "proc/sys/kernel/random/boot_id", "d0c5d6ea-7a2b-4f0e-9d5d-111111111111\n");
    tree_write(tree, "proc/pressure/memory",
        "some avg10=5.00 avg60=0.00 avg300=0.00 total=1\nfull avg10=2.50 avg60=0.0 avg300=0 "
        "total=1\n");
    tree_write(tree, "proc/diskstats",
        "   8       0 sda 10 0 2000 5 20 0 4000 5 0 0 0 0 0 0 0 0 0\n"
        "   8       1 sda1 10 0 1999 5 20 0 3999 5 0 0 0 0 0 0 0 0 0\n"
        " 259       0 nvme0n1 10 0 100 5 20 0 200 5 0 0 0\n"
        " 259       1 nvme0n1p1 10 0 100 5 20 0 200 5 0 0 0\n"
        " 253       0 dm-0 10 0 2000 5 20 0 4000 5 0 0 0\n"
        "   9       0 md0 10 0 2000 5 20 0 4000 5 0 0 0\n"
        "   7       0 loop0 10 0 777 5 20 0 777 5 0 0 0\n"
        "   1       0 ram0 10 0 777 5 20 0 777 5 0 0 0\n"
        " 252       0 zram0 10 0 777 5 20 0 777 5 0 0 0\n"
        "nonsense\n");
    tree_write(tree, "proc/self/net/dev",
        "Inter-|   Receive                            |  Transmit\n"
        " face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs\n"
        "    lo: 9000 1 0 0 0 0 0 0 9000 1 0 0 0 0 0 0\n"
        "  eth0: 1000 1 0 0 0 0 0 0 500 1 0 0 0 0 0 0\n"
        "docker0: 800 1 0 0 0 0 0 0 400 1 0 0 0 0 0 0\n"
        "  tun0: 300 1 0 0 0 0 0 0 200 1 0 0 0 0 0 0\n");
    tree_write(tree, "sys/block/sda/slaves/", "");
    tree_write(tree, "sys/block/nvme0n1/size", "1\n");
    tree_write(tree, "sys/block/dm-0/slaves/sda1", "");
    tree_write(tree, "sys/block/md0/slaves/sda", "");
    tree_write(tree, "sys/block/loop0/size", "1\n");
    tree_write(tree, "sys/block/ram0/size", "1\n");
    tree_write(tree, "sys/block/zram0/size", "1\n");
    tree_write(tree, "sys/class/net/eth0/device/uevent", "");
    tree_write(tree, "sys/class/net/docker0/bridge/", "");
    tree_write(tree, "sys/class/net/tun0/mtu", "");
    tree_write(tree, "sys/class/net/lo/mtu", "");
}

static struct machine_reader *open_machine(struct tree *tree, const char *cgroup_path)
{
    char proc[256], sys[256];
    struct procfs_options options = {
        .proc_path = proc, .sys_path = sys, .cgroup_path = cgroup_path};
    struct machine_reader *reader = NULL;
    struct ac_error error = {0};
    snprintf(proc, sizeof(proc), "%s/proc", tree->root);
    snprintf(sys, sizeof(sys), "%s/sys", tree->root);
    int r = machine_reader_new(&options, &reader, &error);
    if (r < 0)
        fail_msg("%s", error.message);
    return reader;
}

static struct machine_record read_once(struct tree *tree, const char *cgroup_path)
{
    struct machine_reader *reader = open_machine(tree, cgroup_path);
    struct machine_record machine;
    assert_int_equal(machine_reader_read(reader, &machine), 0);
    machine_reader_free(reader);
    return machine;
}

static void test_bare_machine(void **state)
{
    struct tree tree;
    (void)state;
    bare_machine(&tree);
    struct machine_record machine = read_once(&tree, NULL);
    assert_int_equal(machine.known, MACHINE_KNOWN_CPU | MACHINE_KNOWN_MEMORY | MACHINE_KNOWN_DISK |
                                        MACHINE_KNOWN_NETWORK | MACHINE_KNOWN_FDS |
                                        MACHINE_KNOWN_PRESSURE);
    assert_float_equal(machine.capacity_cores, 4, 0);
    assert_int_equal(machine.cpu_busy_ns, 225 * 10000000ull);
    assert_int_equal(machine.cpu_total_ns, 1025 * 10000000ull);
    assert_float_equal(machine.cpu_boot_percent, 225.0 / 1025 * 100, 1e-9);
    assert_int_equal(machine.capacity_memory_bytes, MIB(16384));
    assert_int_equal(machine.memory_used_bytes, MIB(6144));
    assert_int_equal(machine.disk_read_bytes, 2100 * 512);
    assert_int_equal(machine.disk_written_bytes, 4200 * 512);
    assert_int_equal(machine.net_received_bytes, 1000);
    assert_int_equal(machine.net_sent_bytes, 500);
    assert_int_equal(machine.fds, 1234);
    assert_int_equal(machine.fds_max, 100000);
    assert_float_equal(machine.memory_full_percent, 2.5, 0);
    uint64_t boot_id = machine.boot_id;
    assert_true(boot_id != 0);
    tree_write(&tree, "proc/sys/kernel/random/boot_id", "d0c5d6ea-7a2b-4f0e-9d5d-111111111112\n");
    tree_write(&tree, "proc/sys/fs/file-nr", "1234\t0\t9223372036854775807\n");
    machine = read_once(&tree, "");
    assert_true(machine.boot_id != boot_id);
    assert_int_equal(machine.fds_max, 0);
    tree_done(&tree);
}

static void test_devices_that_come_and_go(void **state)
{
    struct tree tree;
    struct machine_record machine;
    (void)state;
    bare_machine(&tree);
    struct machine_reader *reader = open_machine(&tree, "");
    assert_int_equal(machine_reader_read(reader, &machine), 0);
    uint64_t before = machine.disk_read_bytes;
    /* One is unplugged, one appears with a past of its own, one grows. */
    tree_write(&tree, "sys/block/sdb/size", "1\n");
    tree_write(&tree, "proc/diskstats",
        " 259       0 nvme0n1 10 0 110 5 20 0 200 5 0 0 0\n"
        "   8      16 sdb 10 0 5000000 5 20 0 200 5 0 0 0\n");
    assert_int_equal(machine_reader_read(reader, &machine), 0);
    assert_int_equal(machine.disk_read_bytes, before + 10 * 512);
    /* The first is back and started anew; another's counter went back. */
    tree_write(&tree, "proc/diskstats",
        "   8       0 sda 10 0 7 5 20 0 4000 5 0 0 0 0 0 0 0 0 0\n"
        " 259       0 nvme0n1 10 0 4 5 20 0 200 5 0 0 0\n"
        "   8      16 sdb 10 0 5000001 5 20 0 200 5 0 0 0\n");
    assert_int_equal(machine_reader_read(reader, &machine), 0);
    assert_int_equal(machine.disk_read_bytes, before + 15 * 512);
    machine_reader_free(reader);
    tree_done(&tree);
}

/* Interfaces without hardware: a container's. */
static void test_network_of_a_container(void **state)
{
    struct tree tree;
    (void)state;
    bare_machine(&tree);
    tree_remove(&tree, "sys/class/net/eth0/device");
    tree_write(&tree, "proc/self/net/dev",
        "    lo: 9000 1 0 0 0 0 0 0 9000 1 0 0 0 0 0 0\n"
        "  eth0:1000 1 0 0 0 0 0 0 500 1 0 0 0 0 0 0\n" /* no space: a wide number */
        "docker0: 800 1 0 0 0 0 0 0 400 1 0 0 0 0 0 0\n"
        "vethab1: 700 1 0 0 0 0 0 0 400 1 0 0 0 0 0 0\n"
        "eth0:1: 3 1 0 0 0 0 0 0 4 1 0 0 0 0 0 0\n");
    tree_write(&tree, "sys/class/net/vethab1/brport/", "");
    struct machine_record machine = read_once(&tree, "");
    assert_int_equal(machine.net_received_bytes, 1003);
    assert_int_equal(machine.net_sent_bytes, 504);
    tree_done(&tree);
}

/* ---- Containers */

static void mountinfo(struct tree *tree, const char *format, const char *a, const char *b)
{
    char text[1024];
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    snprintf(text, sizeof(text), format, a, b);
#pragma GCC diagnostic pop
    tree_write(tree, "proc/self/mountinfo", text);
}

static void test_container_of_cgroup_v2(void **state)
{
    struct tree tree;
    (void)state;
    bare_machine(&tree);
    tree_write(&tree, "proc/self/cgroup", "0::/pod/box/job\n");
    mountinfo(&tree,
        "20 1 0:5 / /proc rw - proc proc rw\n"
        "30 24 0:27 /pod %s rw,nosuid shared:9 master:1 - cgroup2 cgroup2 rw,nsdelegate\n",
        tree_path(&tree, "cg\\040roup"), "");
    /* From the mount (/pod) down: pod, box, job. The tightest of each holds. */
    tree_write(&tree, "cg roup/cpu.max", "max 100000\n");
    tree_write(&tree, "cg roup/memory.max", "4294967296\n");
    tree_write(&tree, "cg roup/memory.current", "999\n");
    tree_write(&tree, "cg roup/box/cpu.max", "150000 100000\n");
    tree_write(&tree, "cg roup/box/cpu.stat", "usage_usec 5000000\nuser_usec 1\n");
    tree_write(&tree, "cg roup/box/memory.max", "1073741824\n");
    tree_write(&tree, "cg roup/box/memory.current", "536870912\n");
    tree_write(&tree, "cg roup/box/memory.stat", "anon 1\nfile 2\ninactive_file 134217728\n");
    tree_write(&tree, "cg roup/box/memory.pressure", "some avg10=9.00\nfull avg10=7.25 avg60=0\n");
    tree_write(&tree, "cg roup/box/job/cpu.max", "max 100000\n");
    tree_write(&tree, "cg roup/box/job/memory.max", "max\n");
    struct machine_record machine = read_once(&tree, NULL);
    assert_float_equal(machine.capacity_cores, 1.5, 1e-9);
    assert_int_equal(machine.cpu_busy_ns, 5000000000);
    assert_int_equal(machine.cpu_total_ns, 0);
    assert_true(isnan(machine.cpu_boot_percent));
    assert_int_equal(machine.capacity_memory_bytes, MIB(1024));
    assert_int_equal(machine.memory_used_bytes, MIB(384));
    assert_float_equal(machine.memory_full_percent, 7.25, 0);
    /* The same by an explicit path; ours then stands below it as a whole. */
    tree_write(&tree, "proc/self/cgroup", "0::/box\n");
    machine = read_once(&tree, tree_path(&tree, "cg roup"));
    assert_int_equal(machine.capacity_memory_bytes, MIB(1024));
    machine = read_once(&tree, "");
    assert_int_equal(machine.capacity_memory_bytes, MIB(16384));
    tree_done(&tree);
}

static void test_container_with_a_namespace_of_its_own(void **state)
{
    struct tree tree;
    (void)state;
    bare_machine(&tree);
    tree_write(&tree, "proc/self/cgroup", "0::/\n");
    mountinfo(&tree, "30 24 0:27 / %s rw - cgroup2 cgroup2 rw\n", tree_path(&tree, "cgroup"), "");
    tree_write(&tree, "cgroup/cpu.max", "50000 100000\n");
    tree_write(&tree, "cgroup/cpu.stat", "usage_usec 7\n");
    struct machine_record machine = read_once(&tree, NULL);
    assert_float_equal(machine.capacity_cores, 0.5, 1e-9);
    assert_int_equal(machine.cpu_busy_ns, 7000);
    tree_write(&tree, "proc/self/cgroup", "0::/../outside\n");
    machine = read_once(&tree, NULL);
    assert_float_equal(machine.capacity_cores, 0.5, 1e-9);
    tree_done(&tree);
}

static void test_container_of_cgroup_v1(void **state)
{
    struct tree tree;
    (void)state;
    bare_machine(&tree);
    tree_write(&tree, "proc/self/cgroup",
        "4:memory:/docker/abc\n3:cpu,cpuacct:/docker/abc\n2:cpuset:/\n1:name=systemd:/x\n");
    mountinfo(&tree,
        "31 1 0:28 /docker/abc %s ro - cgroup cgroup rw,cpu,cpuacct\n"
        "32 1 0:29 /docker/abc %s ro - cgroup cgroup rw,memory\n",
        tree_path(&tree, "cpu"), tree_path(&tree, "memory"));
    tree_write(&tree, "cpu/cpu.cfs_quota_us", "200000\n");
    tree_write(&tree, "cpu/cpu.cfs_period_us", "100000\n");
    tree_write(&tree, "cpu/cpuacct.usage", "123456789\n");
    tree_write(&tree, "memory/memory.limit_in_bytes", "2147483648\n");
    tree_write(&tree, "memory/memory.usage_in_bytes", "1073741824\n");
    tree_write(
        &tree, "memory/memory.stat", "cache 1\ninactive_file 5\ntotal_inactive_file 73741824\n");
    struct machine_record machine = read_once(&tree, NULL);
    assert_float_equal(machine.capacity_cores, 2, 1e-9);
    assert_int_equal(machine.cpu_busy_ns, 123456789);
    assert_int_equal(machine.capacity_memory_bytes, MIB(2048));
    assert_int_equal(machine.memory_used_bytes, 1000000000);
    assert_float_equal(machine.memory_full_percent, 2.5, 0); /* v1 has none: the machine's */
    tree_write(&tree, "cpu/cpu.cfs_quota_us", "-1\n");
    tree_write(&tree, "memory/memory.limit_in_bytes", "9223372036854771712\n");
    machine = read_once(&tree, NULL);
    assert_float_equal(machine.capacity_cores, 4, 0);
    assert_int_equal(machine.capacity_memory_bytes, MIB(16384));
    tree_done(&tree);
}

/* cgroup2 somewhere else, without controllers; memory limited through v1, cpuacct apart. */
static void test_hybrid_host(void **state)
{
    struct tree tree;
    (void)state;
    bare_machine(&tree);
    tree_write(&tree, "proc/self/cgroup", "5:cpuacct:/job\n4:memory:/job\n1:cpu:/job\n0::/user\n");
    char info[1024];
    snprintf(info, sizeof(info),
        "31 1 0:28 / %s/m/cpu rw - cgroup cgroup rw,cpu\n"
        "32 1 0:29 / %s/m/cpuacct rw - cgroup cgroup rw,cpuacct\n"
        "33 1 0:30 / %s/m/memory rw - cgroup cgroup rw,memory\n"
        "34 1 0:31 / %s/m/unified rw - cgroup2 cgroup2 rw\n",
        tree.root, tree.root, tree.root, tree.root);
    tree_write(&tree, "proc/self/mountinfo", info);
    tree_write(&tree, "m/unified/user/cgroup.procs", "1\n");
    tree_write(&tree, "m/cpu/job/cpu.cfs_quota_us", "100000\n");
    tree_write(&tree, "m/cpu/job/cpu.cfs_period_us", "100000\n");
    tree_write(&tree, "m/cpuacct/job/cpuacct.usage", "55\n");
    tree_write(&tree, "m/memory/job/memory.limit_in_bytes", "1073741824\n");
    struct machine_record machine = read_once(&tree, NULL);
    assert_float_equal(machine.capacity_cores, 1, 0);
    assert_int_equal(machine.cpu_busy_ns, 55);
    assert_int_equal(machine.capacity_memory_bytes, MIB(1024));
    assert_false(machine.known & MACHINE_KNOWN_MEMORY); /* its use is nowhere to be read */
    tree_done(&tree);
}

/* ---- Missing and broken */

static void test_missing_files_are_unknown(void **state)
{
    static const struct {
        const char *file;
        uint32_t known;
    } table[] = {
        {"proc/stat", MACHINE_KNOWN_CPU},
        {"proc/meminfo", MACHINE_KNOWN_MEMORY},
        {"proc/diskstats", MACHINE_KNOWN_DISK},
        {"proc/self/net/dev", MACHINE_KNOWN_NETWORK},
        {"proc/sys/fs/file-nr", MACHINE_KNOWN_FDS},
        {"proc/pressure/memory", MACHINE_KNOWN_PRESSURE},
    };
    struct tree tree;
    struct machine_record machine;
    (void)state;
    bare_machine(&tree);
    uint32_t left = read_once(&tree, NULL).known;
    struct machine_reader *reader = open_machine(&tree, NULL);
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        left &= ~table[i].known;
        tree_remove(&tree, table[i].file);
        machine.known = 0;
        assert_int_equal(machine_reader_read(reader, &machine), left ? 0 : -ENOENT);
        assert_int_equal(machine.known, left);
    }
    machine_reader_free(reader);
    machine_reader_free(NULL);
    tree_done(&tree);
    bare_machine(&tree);
    tree_remove(&tree, "sys");
    assert_false(read_once(&tree, NULL).known & MACHINE_KNOWN_DISK);
    tree_done(&tree);
}

static void test_broken_files_are_unknown(void **state)
{
    static const struct {
        const char *file, *text;
        uint32_t known;
    } table[] = {
        {"proc/stat", "", MACHINE_KNOWN_CPU},
        {"proc/stat", "cpu  1 2 3\ncpu0 1 2 3\n", MACHINE_KNOWN_CPU},
        {"proc/stat", "cpu  1 2 3 4 5 6 7 8 9 10", MACHINE_KNOWN_CPU},
        {"proc/stat", "cpu  1 2 99999999999999999999 4\ncpu0 1 2 3 4\n", MACHINE_KNOWN_CPU},
        {"proc/meminfo", "MemTotal: x kB\n", MACHINE_KNOWN_MEMORY},
        {"proc/meminfo", "MemTotal: 100 kB\nMemAvailable: 200 kB\n", MACHINE_KNOWN_MEMORY},
        {"proc/meminfo", "MemTotal: 18446744073709551615 kB\nMemAvailable: 2 kB\n",
            MACHINE_KNOWN_MEMORY},
        {"proc/sys/fs/file-nr", "1234", MACHINE_KNOWN_FDS},
        {"proc/pressure/memory", "some avg10=1.00\n", MACHINE_KNOWN_PRESSURE},
        {"proc/pressure/memory", "full avg10=\n", MACHINE_KNOWN_PRESSURE},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        struct tree tree;
        bare_machine(&tree);
        tree_write(&tree, table[i].file, table[i].text);
        assert_false(read_once(&tree, NULL).known & table[i].known);
        tree_done(&tree);
    }
}

static void test_device_lines(void **state)
{
    static const char *const disks[] = {"", "8", "8 0", "8 0 sda", "8 0 sda 1 2",
        "8 0 sda 1 2 x 4 5 6 7", "8 x sda 1 2 3 4 5 6 7", "8 0 .. 1 2 3 4 5 6 7",
        "8 0 \x01 1 2 3 4 5 6 7",
        "8 0 a-name-that-is-longer-than-any-of-the-kernels 1 2 3 4 5 6 7"};
    static const char *const interfaces[] = {
        "", "eth0", "eth0:", "eth0: 1 2 3", ": 1 2 3 4 5 6 7 8 9", "eth0: x 2 3 4 5 6 7 8 9"};
    char name[DEVICE_NAME_MAX];
    uint64_t in = 1, out = 2;
    (void)state;
    for (size_t i = 0; i < sizeof(disks) / sizeof(disks[0]); i++)
        assert_int_equal(disks_parse_line(disks[i], strlen(disks[i]), name, &in, &out), -EINVAL);
    for (size_t i = 0; i < sizeof(interfaces) / sizeof(interfaces[0]); i++)
        assert_int_equal(
            interfaces_parse_line(interfaces[i], strlen(interfaces[i]), name, &in, &out), -EINVAL);
    static const char big[] = "8 0 cciss/c0d0 1 2 18446744073709551615 4 5 6 7";
    assert_int_equal(disks_parse_line(big, strlen(big), name, &in, &out), 0);
    assert_string_equal(name, "cciss!c0d0");
    assert_int_equal(in, UINT64_MAX);
    assert_int_equal(out, 7 * 512);
}

static void test_each_failure(void **state)
{
    (void)state;
    struct tree tree;
    bare_machine(&tree);
    tree_write(&tree, "proc/self/cgroup", "0::/\n");
    mountinfo(&tree, "30 24 0:27 / %s rw - cgroup2 cgroup2 rw\n", tree_path(&tree, "cgroup"), "");
    tree_write(&tree, "cgroup/memory.max", "1073741824\n");
    unsigned before = open_descriptors();
    for (int kind = 0; kind < FAULT_KIND_COUNT; kind++) {
        for (unsigned n = 1;; n++) {
            char proc[256], sys[256];
            struct procfs_options options = {.proc_path = proc, .sys_path = sys};
            struct machine_reader *reader = NULL;
            struct machine_record machine;
            snprintf(proc, sizeof(proc), "%s/proc", tree.root);
            snprintf(sys, sizeof(sys), "%s/sys", tree.root);
            fault_arm((enum fault_kind)kind, n);
            int r = machine_reader_new(&options, &reader, NULL);
            if (r == 0)
                (void)machine_reader_read(reader, &machine);
            bool hit = fault_disarm();
            if (r == 0)
                assert_int_equal(machine_reader_read(reader, &machine), 0);
            machine_reader_free(reader);
            assert_int_equal(open_descriptors(), before);
            if (!hit)
                break;
        }
    }
    tree_done(&tree);
}

static void test_this_machine(void **state)
{
    struct procfs_options options = {0};
    struct machine_reader *reader;
    struct machine_record first, second;
    struct ac_error error;
    (void)state;
    assert_int_equal(machine_reader_new(&options, &reader, &error), 0);
    assert_int_equal(machine_reader_read(reader, &first), 0);
    assert_int_equal(machine_reader_read(reader, &second), 0);
    machine_reader_free(reader);
    uint32_t always = MACHINE_KNOWN_CPU | MACHINE_KNOWN_MEMORY | MACHINE_KNOWN_FDS;
    assert_int_equal(first.known & always, always);
    assert_true(first.capacity_cores > 0 && first.capacity_cores <= sysconf(_SC_NPROCESSORS_ONLN));
    assert_true(first.memory_used_bytes > 0);
    assert_true(first.memory_used_bytes <= first.capacity_memory_bytes);
    assert_true(second.cpu_busy_ns >= first.cpu_busy_ns);
    assert_true(second.disk_read_bytes >= first.disk_read_bytes);
    assert_true(first.boot_id == second.boot_id && first.boot_id != 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bare_machine),
        cmocka_unit_test(test_devices_that_come_and_go),
        cmocka_unit_test(test_network_of_a_container),
        cmocka_unit_test(test_container_of_cgroup_v2),
        cmocka_unit_test(test_container_with_a_namespace_of_its_own),
        cmocka_unit_test(test_container_of_cgroup_v1),
        cmocka_unit_test(test_hybrid_host),
        cmocka_unit_test(test_missing_files_are_unknown),
        cmocka_unit_test(test_broken_files_are_unknown),
        cmocka_unit_test(test_device_lines),
        cmocka_unit_test(test_each_failure),
        cmocka_unit_test(test_this_machine),
    };
    return cmocka_run_group_tests_name("machine", tests, NULL, NULL);
}
