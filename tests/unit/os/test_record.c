/* SPDX-License-Identifier: Apache-2.0 */
/* Recordings: what was written is read back, whatever happened to the file. */
#include "os/record.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fault.h"
#include "base/io.h"
#include "os/record_format.h"

#define SAMPLES 3

static struct proc_record procs[50];
static struct exit_record exits[5];
static struct slot_record slots[4];
static struct group_record groups[3];
static struct gpu_process gpus[3];
static struct pss_record pss[2];
static struct agent_spec spec;

/* Different bytes everywhere, so that a field that is missing or moved shows. */
static void fill(void *memory, size_t size, unsigned seed)
{
    uint32_t state = seed * 2654435761u + 1;

    for (size_t i = 0; i < size; i++) {
        state = state * 1664525u + 1013904223u;
        ((uint8_t *)memory)[i] = (uint8_t)(state >> 24);
    }
}

/* Structs have gaps, which a recording does not keep: everything is set field by field by
 * decoding a sample of random bytes once. */
static void make_sample(struct sample *ret_sample, unsigned seed)
{
    struct sample sample = {0};

    fill(procs, sizeof(procs), seed);
    fill(exits, sizeof(exits), seed + 1);
    fill(slots, sizeof(slots), seed + 2);
    fill(groups, sizeof(groups), seed + 3);
    fill(gpus, sizeof(gpus), seed + 4);
    fill(pss, sizeof(pss), seed + 5);
    for (size_t i = 0; i < ARRAY_SIZE(gpus); i++)
        memset(&gpus[i].memory_hidden, (int)(i + seed) % 2, sizeof(gpus[i].memory_hidden));
    for (size_t i = 0; i < ARRAY_SIZE(procs); i++)
        procs[i].name[15] = '\0';
    sample.when = (struct moment){{seed * NS_PER_SEC}, (int64_t)seed * 1000};
    sample.boot_ns = seed + 5;
    sample.lost = seed + 6;
    sample.machine = (struct machine_record){.known = seed,
        .capacity_cores = 1.5 * seed,
        .boot_id = UINT64_MAX - seed,
        .cpu_boot_percent = -0.25};
    sample.procs = procs;
    sample.n_procs = ARRAY_SIZE(procs);
    sample.exits = exits;
    sample.n_exits = ARRAY_SIZE(exits);
    sample.slots = slots;
    sample.n_slots = ARRAY_SIZE(slots);
    sample.groups = groups;
    sample.n_groups = ARRAY_SIZE(groups);
    sample.gpus = gpus;
    sample.n_gpus = ARRAY_SIZE(gpus);
    sample.gpus_known = seed + 7;
    sample.pss = pss;
    sample.n_pss = ARRAY_SIZE(pss);
    *ret_sample = sample;
}

static void assert_same_encoding(const struct sample *a, const struct sample *b)
{
    struct buf x CLEANUP(buf_done) = {0};
    struct buf y CLEANUP(buf_done) = {0};

    assert_int_equal(record_encode_sample(&x, a), 0);
    assert_int_equal(record_encode_sample(&y, b), 0);
    assert_int_equal(x.size, y.size);
    assert_memory_equal(x.data, y.data, x.size);
}

static int recording_make(void)
{
    struct record_writer *writer = NULL;
    struct sample sample;
    int fd = memfd_create("recording", MFD_CLOEXEC);

    assert_true(fd >= 0);
    assert_int_equal(record_writer_new(fd, "bpf", &writer), 0);
    assert_int_equal(record_write_agent_added(writer, 7, &spec), 0);
    for (unsigned i = 1; i <= SAMPLES; i++) {
        make_sample(&sample, i);
        assert_int_equal(record_write_sample(writer, &sample), 0);
    }
    assert_int_equal(record_write_agent_removed(writer, 7), 0);
    make_sample(&sample, SAMPLES + 1);
    assert_int_equal(record_write_sample(writer, &sample), 0);
    assert_int_equal(record_writer_bytes(writer), lseek(fd, 0, SEEK_CUR));
    record_writer_free(writer);
    lseek(fd, 0, SEEK_SET);
    return fd;
}

static int setup(void **state)
{
    struct ac_error error;

    (void)state;
    spec = (struct agent_spec){.id = "builder",
        .command = "make -j2",
        .philosophy = AC_REACT,
        .limits = {.max_cpu_cores = 1.5, .max_file_descriptors = 100},
        .owner_uid = 1000,
        .root_pid = 1234,
        .root_start_ticks = 99999,
        .announced_itself = true};
    return agent_spec_set_label(&spec, "team", "blue", &error);
}

static unsigned n_told;
static agent_slot told_slot;
static struct agent_spec told_spec;

static void told(void *userdata, agent_slot slot, const struct agent_spec *about)
{
    *(unsigned *)userdata += 1;
    told_slot = slot;
    if (about)
        told_spec = *about;
    n_told += about != NULL;
}

static void test_what_was_written_is_read_back(void **state)
{
    struct collector_source *source = NULL;
    struct sample read, expected;
    unsigned calls = 0;

    (void)state;
    n_told = 0;
    assert_int_equal(replay_open(recording_make(), told, &calls, &source, NULL), 0);
    assert_string_equal(source->ops->name, "replay");
    for (unsigned i = 1; i <= SAMPLES + 1; i++) {
        assert_int_equal(source->ops->read(source, &read), 0);
        assert_int_equal(calls, i <= SAMPLES ? 1 : 2);
        make_sample(&expected, i);
        assert_int_equal(read.when.wall_ns, i * 1000);
        assert_true(read.machine.capacity_cores == 1.5 * i);
        assert_int_equal(read.n_procs, ARRAY_SIZE(procs));
        assert_string_equal(read.procs[9].name, procs[9].name);
        assert_int_equal(read.n_gpus, ARRAY_SIZE(gpus));
        assert_int_equal(read.gpus_known, i + 7);
        assert_int_equal(read.gpus[2].pid, gpus[2].pid);
        assert_int_equal(read.gpus[2].memory_bytes, gpus[2].memory_bytes);
        assert_int_equal(read.gpus[2].memory_hidden, gpus[2].memory_hidden);
        assert_int_equal(read.n_pss, ARRAY_SIZE(pss));
        assert_int_equal(read.pss[1].pss_bytes, pss[1].pss_bytes);
        assert_int_equal(read.pss[1].start_ticks, pss[1].start_ticks);
        assert_same_encoding(&read, &expected);
    }
    assert_int_equal(n_told, 1);
    assert_int_equal(told_slot, 7);
    assert_string_equal(told_spec.id, "builder");
    assert_string_equal(told_spec.command, "make -j2");
    assert_int_equal(told_spec.root_start_ticks, 99999);
    assert_true(told_spec.announced_itself);
    assert_int_equal(told_spec.labels_size, spec.labels_size);
    assert_memory_equal(told_spec.labels, spec.labels, spec.labels_size);
    assert_int_equal(source->ops->read(source, &read), -ENODATA);
    assert_int_equal(source->ops->read(source, &read), -ENODATA);
    assert_false(replay_was_cut(source));
    source->ops->free(source);
}

/* Reads all of a recording; returns how it ended. */
static int read_all(int fd, unsigned *ret_samples, bool *ret_cut)
{
    struct collector_source *source = NULL;
    struct sample sample;
    unsigned count = 0, calls = 0;
    int r = replay_open(fd, told, &calls, &source, NULL);

    *ret_cut = false;
    *ret_samples = 0;
    if (r < 0) {
        close(fd);
        return r;
    }
    do
        r = source->ops->read(source, &sample);
    while (r == 0 && ++count);
    *ret_samples = count;
    *ret_cut = replay_was_cut(source);
    source->ops->free(source);
    return r;
}

static void test_a_cut_file_is_read_up_to_the_cut(void **state)
{
    unsigned last = 0;

    (void)state;
    int whole cleanup_close = recording_make();
    off_t size = lseek(whole, 0, SEEK_END);
    for (off_t cut = 0; cut < size; cut += cut < 2000 ? 1 : 97) {
        unsigned samples;
        bool was_cut;
        int fd = recording_make();
        assert_int_equal(ftruncate(fd, cut), 0);
        int r = read_all(fd, &samples, &was_cut);
        if (cut < (off_t)RECORD_HEADER_SIZE) {
            assert_int_equal(r, -EINVAL);
            continue;
        }
        assert_int_equal(r, -ENODATA);
        assert_true(samples >= last);
        last = samples;
    }
    assert_int_equal(last, SAMPLES);
}

static void test_a_damaged_frame_is_told(void **state)
{
    (void)state;
    int whole cleanup_close = recording_make();
    off_t size = lseek(whole, 0, SEEK_END);
    for (off_t at = 0; at < size; at += at < 300 ? 1 : 131) {
        unsigned samples;
        bool was_cut;
        uint8_t byte;
        int fd = recording_make();
        assert_int_equal(pread(fd, &byte, 1, at), 1);
        byte ^= 0x40;
        assert_int_equal(pwrite(fd, &byte, 1, at), 1);
        int r = read_all(fd, &samples, &was_cut);
        if (at < 16)
            assert_int_equal(r, -EINVAL);
        else if (at < (off_t)RECORD_HEADER_SIZE)
            assert_int_equal(r, -ENODATA); /* date, name */
        else
            assert_true(r == -EBADMSG || (r == -ENODATA && was_cut));
    }
}

static void test_other_files_are_refused(void **state)
{
    static const char *const texts[] = {"", "x", "AgentRec", "SQLite format 3"};
    struct ac_error error;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
        struct collector_source *source = NULL;
        int fd cleanup_close = memfd_create("other", MFD_CLOEXEC);
        assert_int_equal(io_write_all(fd, texts[i], strlen(texts[i])), 0);
        lseek(fd, 0, SEEK_SET);
        assert_int_equal(replay_open(fd, NULL, NULL, &source, &error), -EINVAL);
        assert_null(source);
    }
    int newer cleanup_close = recording_make();
    assert_int_equal(pwrite(newer, "\x02", 1, 8), 1);
    struct collector_source *source = NULL;
    assert_int_equal(replay_open(newer, NULL, NULL, &source, &error), -EINVAL);
    assert_non_null(strstr(error.message, "newer"));
}

/* Appends a frame with these bytes as payload. */
static void append_frame(int fd, uint32_t kind, const void *payload, size_t size)
{
    uint8_t head[RECORD_FRAME_HEAD];

    lseek(fd, 0, SEEK_END);
    record_head_encode(head, kind, payload, size);
    assert_int_equal(io_write_all(fd, head, sizeof(head)), 0);
    assert_int_equal(io_write_all(fd, payload, size), 0);
    lseek(fd, 0, SEEK_SET);
}

static void test_frames_of_newer_writers_are_passed_over(void **state)
{
    unsigned samples;
    bool was_cut;

    (void)state;
    int fd = recording_make();
    append_frame(fd, 77, "future", 6);
    assert_int_equal(read_all(fd, &samples, &was_cut), -ENODATA);
    assert_int_equal(samples, SAMPLES + 1);
}

static void test_records_of_other_versions_keep_what_both_know(void **state)
{
    /* A sample section with one field only; one with a field too many; a section of no kind. */
    uint8_t payload[8 + 8 + 8 + 40 + 8 + 3] = {1, 0, 8, 0, 1, 0, 0, 0, 42};
    struct record_frame frame = {0};

    (void)state;
    assert_int_equal(record_decode(RECORD_FRAME_SAMPLE, payload, 16, &frame), 0);
    assert_int_equal(frame.sample.when.mono.ns, 42);
    assert_int_equal(frame.sample.boot_ns, 0);
    uint8_t *longer = payload + 16;
    longer[0] = 1;
    longer[2] = 40;
    longer[4] = 1;
    longer[8] = 43;
    longer[24] = 7;
    assert_int_equal(record_decode(RECORD_FRAME_SAMPLE, longer, 48, &frame), 0);
    assert_int_equal(frame.sample.when.mono.ns, 43);
    assert_int_equal(frame.sample.boot_ns, 7);
    uint8_t *unknown = longer + 48;
    unknown[0] = 200;
    unknown[2] = 3;
    unknown[4] = 1;
    assert_int_equal(record_decode(RECORD_FRAME_SAMPLE, longer, 59, &frame), 0);
    assert_int_equal(record_decode(RECORD_FRAME_SAMPLE, unknown, 11, &frame), -EBADMSG);
    assert_int_equal(record_decode(RECORD_FRAME_SAMPLE, longer, 58, &frame), -EBADMSG);
    /* Before there were GPUs: none is known. */
    assert_int_equal(frame.sample.gpus_known, 0);
    assert_int_equal(frame.sample.n_gpus, 0);
    record_frame_done(&frame);
}

/* The section of an agent as a writer of before announced_itself wrote it: a byte shorter. */
static void test_agents_of_older_writers_announced_nothing(void **state)
{
    struct buf payload CLEANUP(buf_done) = {0};
    struct record_frame frame = {0};

    (void)state;
    assert_int_equal(record_encode_agent(&payload, 3, &spec), 0);
    size_t size = payload.size - 1;
    payload.data[2] = (char)((size - 8) & 0xff);
    payload.data[3] = (char)((size - 8) >> 8);
    assert_int_equal(record_decode(RECORD_FRAME_ADDED, payload.data, size, &frame), 0);
    assert_int_equal(frame.slot, 3);
    assert_int_equal(frame.spec.labels_size, spec.labels_size);
    assert_memory_equal(frame.spec.labels, spec.labels, spec.labels_size);
    assert_false(frame.spec.announced_itself);
    record_frame_done(&frame);
}

/* Whoever walks labels trusts that they are keys and values in turn. */
static void test_labels_that_are_no_pairs_are_refused(void **state)
{
    static const struct {
        char labels[16];
        uint32_t size;
        int r;
    } rows[] = {
        {"", 0, 0},
        {"team\0blue", 10, 0},
        {"team\0", 6, 0}, /* an empty value */
        {"team", 5, -EBADMSG},
        {"team\0blue\0floor", 16, -EBADMSG},
        {"team\0blue", 9, -EBADMSG},
        {"team\0blue", AGENT_LABELS_MAX_BYTES + 1, -EBADMSG},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct agent_spec with = spec;
        struct buf payload CLEANUP(buf_done) = {0};
        struct record_frame frame = {0};
        memcpy(with.labels, rows[i].labels, sizeof(rows[i].labels));
        with.labels_size = rows[i].size;
        assert_int_equal(record_encode_agent(&payload, 1, &with), 0);
        assert_int_equal(
            record_decode(RECORD_FRAME_ADDED, payload.data, payload.size, &frame), rows[i].r);
        record_frame_done(&frame);
    }
}

/* A byte that is neither 0 nor 1 is no bool: it must not get into one. */
static void test_a_damaged_truth_is_true(void **state)
{
    uint8_t payload[8 + 32 + 8 + 29] = {1, 0, 32, 0, 1, 0, 0, 0, [40] = 8, 0, 29, 0, 1, 0, 0, 0};
    struct record_frame frame = {0};

    (void)state;
    payload[48 + 12] = 0x80;
    assert_int_equal(record_decode(RECORD_FRAME_SAMPLE, payload, sizeof(payload), &frame), 0);
    assert_int_equal(frame.sample.n_gpus, 1);
    assert_true(frame.sample.gpus[0].memory_hidden);
    record_frame_done(&frame);
}

static void test_every_failure_is_reported(void **state)
{
    (void)state;
    for (int kind = FAULT_ALLOC; kind <= FAULT_SYSCALL; kind++) {
        for (unsigned n = 1;; n++) {
            unsigned samples;
            bool was_cut;
            int fd = recording_make();
            fault_arm(kind, n);
            int r = read_all(fd, &samples, &was_cut);
            if (!fault_disarm())
                break;
            assert_true(r == -ENOMEM || r == -EIO);
        }
    }
}

static int write_one(int fd)
{
    struct record_writer *writer = NULL;
    struct sample sample;

    make_sample(&sample, 1);
    int r = record_writer_new(fd, "procfs", &writer);
    if (r == 0)
        r = record_write_sample(writer, &sample);
    record_writer_free(writer);
    return r;
}

static void test_every_failure_to_write_is_reported(void **state)
{
    (void)state;
    for (int kind = FAULT_ALLOC; kind <= FAULT_SYSCALL; kind++) {
        for (unsigned n = 1;; n++) {
            int fd cleanup_close = memfd_create("recording", MFD_CLOEXEC);
            fault_arm(kind, n);
            int r = write_one(fd);
            if (!fault_disarm()) {
                assert_int_equal(r, 0);
                break;
            }
            assert_true(r < 0);
        }
    }
    int full cleanup_close = io_openat(AT_FDCWD, "/dev/full", O_WRONLY, 0);
    assert_int_equal(write_one(full), -ENOSPC);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_was_written_is_read_back),
        cmocka_unit_test(test_a_cut_file_is_read_up_to_the_cut),
        cmocka_unit_test(test_a_damaged_frame_is_told),
        cmocka_unit_test(test_other_files_are_refused),
        cmocka_unit_test(test_frames_of_newer_writers_are_passed_over),
        cmocka_unit_test(test_records_of_other_versions_keep_what_both_know),
        cmocka_unit_test(test_agents_of_older_writers_announced_nothing),
        cmocka_unit_test(test_labels_that_are_no_pairs_are_refused),
        cmocka_unit_test(test_a_damaged_truth_is_true),
        cmocka_unit_test(test_every_failure_is_reported),
        cmocka_unit_test(test_every_failure_to_write_is_reported),
    };

    return cmocka_run_group_tests_name("record", tests, setup, NULL);
}
