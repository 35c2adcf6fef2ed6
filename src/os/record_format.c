/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A payload is a row of sections: kind (2 bytes), size of one record (2), number of records (4),
 * records. A record is its fields in the order of the tables below, little-endian, without gaps.
 * New fields go to the end of a table: an old reader passes them over by the record's size, a new
 * reader finds 0 in an old record. Nothing is ever taken out or moved.
 */
#include "os/record_format.h"

#include <errno.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/mem.h"

enum section {
    SECTION_SAMPLE = 1,
    SECTION_MACHINE,
    SECTION_PROC,
    SECTION_EXIT,
    SECTION_SLOT,
    SECTION_GROUP,
    SECTION_AGENT,
    SECTION_GPU,
    SECTION_PSS,
    SECTION_COUNT
};

#define SECTION_HEAD 8

enum field_kind { F_U32, F_U64, F_F64, F_BOOL, F_BYTES, F_TEXT };

struct field {
    uint16_t offset;
    uint16_t size;
    enum field_kind kind;
};

struct layout {
    const struct field *fields;
    size_t n_fields;
    size_t struct_size;
};

#define FIELD(type, name, kind)                                                                    \
    {                                                                                              \
        offsetof(struct type, name), sizeof(((struct type *)0)->name), kind                        \
    }
#define U32(type, name)  FIELD(type, name, F_U32)
#define U64(type, name)  FIELD(type, name, F_U64)
#define F64(type, name)  FIELD(type, name, F_F64)
#define TEXT(type, name) FIELD(type, name, F_TEXT)

static const struct field sample_fields[] = {
    U64(sample, when.mono.ns),
    U64(sample, when.wall_ns),
    U64(sample, boot_ns),
    U64(sample, lost),
    U32(sample, gpus_known),
};

static const struct field machine_fields[] = {
    U32(machine_record, known),
    F64(machine_record, capacity_cores),
    U64(machine_record, capacity_memory_bytes),
    U64(machine_record, cpu_busy_ns),
    U64(machine_record, cpu_total_ns),
    U64(machine_record, memory_used_bytes),
    U64(machine_record, disk_read_bytes),
    U64(machine_record, disk_written_bytes),
    U64(machine_record, net_received_bytes),
    U64(machine_record, net_sent_bytes),
    U64(machine_record, fds),
    U64(machine_record, fds_max),
    F64(machine_record, memory_full_percent),
    F64(machine_record, cpu_boot_percent),
    U64(machine_record, boot_id),
};

static const struct field proc_fields[] = {
    U32(proc_record, pid),
    U32(proc_record, ppid),
    U32(proc_record, pgrp),
    U32(proc_record, session),
    U64(proc_record, start_ticks),
    U64(proc_record, cgroup_id),
    U64(proc_record, utime_ns),
    U64(proc_record, stime_ns),
    U64(proc_record, cutime_ns),
    U64(proc_record, cstime_ns),
    U64(proc_record, rss_anon_bytes),
    U64(proc_record, rss_file_bytes),
    U64(proc_record, rss_shmem_bytes),
    U64(proc_record, swap_bytes),
    U64(proc_record, read_bytes),
    U64(proc_record, written_bytes),
    U64(proc_record, mm_id),
    U32(proc_record, fds),
    U32(proc_record, threads),
    U32(proc_record, uid),
    U32(proc_record, known),
    U32(proc_record, slot),
    FIELD(proc_record, state, F_BYTES),
    TEXT(proc_record, name),
};

static const struct field exit_fields[] = {
    U32(exit_record, slot),
    U32(exit_record, pid),
    U64(exit_record, start_ticks),
    U64(exit_record, cpu_ns),
    U64(exit_record, read_bytes),
    U64(exit_record, written_bytes),
    U64(exit_record, rss_peak_bytes),
    U32(exit_record, processes),
};

static const struct field slot_fields[] = {
    U32(slot_record, slot),
    U32(slot_record, known),
    U64(slot_record, cpu_ns),
    U64(slot_record, read_bytes),
    U64(slot_record, written_bytes),
    U64(slot_record, processes_total),
    U64(slot_record, rss_min_bytes),
    U64(slot_record, rss_mean_bytes),
    U64(slot_record, rss_max_bytes),
    U64(slot_record, exited_rss_peak_bytes),
    U32(slot_record, rss_looks),
};

static const struct field group_fields[] = {
    U32(group_record, slot),
    U32(group_record, known),
    U64(group_record, cgroup_id),
    U64(group_record, cpu_ns),
    U64(group_record, memory_bytes),
    U64(group_record, memory_peak_bytes),
    U64(group_record, read_bytes),
    U64(group_record, written_bytes),
    U64(group_record, received_bytes),
    U64(group_record, sent_bytes),
    U64(group_record, loopback_bytes),
    U64(group_record, packets),
    U64(group_record, pids),
    U64(group_record, memory_high_events),
    U64(group_record, memory_max_events),
    U64(group_record, oom_kills),
    F64(group_record, memory_full_percent),
    U64(group_record, memory_min_bytes),
    U64(group_record, memory_mean_bytes),
    U64(group_record, memory_max_bytes),
};

static const struct field gpu_fields[] = {
    U32(gpu_process, pid),
    U32(gpu_process, device),
    U32(gpu_process, known),
    FIELD(gpu_process, memory_hidden, F_BOOL),
    U64(gpu_process, memory_bytes),
    F64(gpu_process, compute_percent),
};

static const struct field pss_fields[] = {
    U32(pss_record, pid),
    U32(pss_record, readable),
    U64(pss_record, start_ticks),
    U64(pss_record, pss_bytes),
    U64(pss_record, read_ns),
};

/* The slot is a member of the section alone. */
struct agent_section {
    agent_slot slot;
    struct agent_spec spec;
};

static const struct field agent_fields[] = {
    U32(agent_section, slot),
    TEXT(agent_section, spec.id),
    TEXT(agent_section, spec.agent_template),
    TEXT(agent_section, spec.command),
    U32(agent_section, spec.philosophy),
    F64(agent_section, spec.limits.max_cpu_cores),
    F64(agent_section, spec.limits.max_memory_mb),
    F64(agent_section, spec.limits.max_execution_time_seconds),
    U64(agent_section, spec.limits.max_file_descriptors),
    U32(agent_section, spec.owner_uid),
    U32(agent_section, spec.root_pid),
    U64(agent_section, spec.root_start_ticks),
    U32(agent_section, spec.labels_size),
    FIELD(agent_section, spec.labels, F_BYTES),
    FIELD(agent_section, spec.announced_itself, F_BOOL),
};

#define LAYOUT(fields, type)                                                                       \
    {                                                                                              \
        fields, ARRAY_SIZE(fields), sizeof(struct type)                                            \
    }

static const struct layout layouts[SECTION_COUNT] = {
    [SECTION_SAMPLE] = LAYOUT(sample_fields, sample),
    [SECTION_MACHINE] = LAYOUT(machine_fields, machine_record),
    [SECTION_PROC] = LAYOUT(proc_fields, proc_record),
    [SECTION_EXIT] = LAYOUT(exit_fields, exit_record),
    [SECTION_SLOT] = LAYOUT(slot_fields, slot_record),
    [SECTION_GROUP] = LAYOUT(group_fields, group_record),
    [SECTION_AGENT] = LAYOUT(agent_fields, agent_section),
    [SECTION_GPU] = LAYOUT(gpu_fields, gpu_process),
    [SECTION_PSS] = LAYOUT(pss_fields, pss_record),
};

/* ---- Bytes */

static void put(uint8_t *to, uint64_t value, size_t size)
{
    for (size_t i = 0; i < size; i++)
        to[i] = (uint8_t)(value >> (8 * i));
}

static uint64_t take(const uint8_t *from, size_t size)
{
    uint64_t value = 0;

    for (size_t i = 0; i < size; i++)
        value |= (uint64_t)from[i] << (8 * i);
    return value;
}

static size_t layout_size(const struct layout *layout)
{
    size_t size = 0;

    for (size_t i = 0; i < layout->n_fields; i++)
        size += layout->fields[i].size;
    return size;
}

static void field_encode(uint8_t *to, const struct field *field, const uint8_t *from)
{
    uint32_t u32;
    uint64_t u64;

    switch (field->kind) {
    case F_U32:
        memcpy(&u32, from, sizeof(u32));
        put(to, u32, sizeof(u32));
        return;
    case F_U64:
    case F_F64: /* IEEE 754, in the same order */
        memcpy(&u64, from, sizeof(u64));
        put(to, u64, sizeof(u64));
        return;
    case F_BOOL:
    case F_BYTES:
    case F_TEXT:
        memcpy(to, from, field->size);
        return;
    }
}

static void field_decode(uint8_t *to, const struct field *field, const uint8_t *from)
{
    uint32_t u32 = (uint32_t)take(from, MIN(field->size, sizeof(uint32_t)));
    uint64_t u64;

    switch (field->kind) {
    case F_U32:
        memcpy(to, &u32, sizeof(u32));
        return;
    case F_U64:
    case F_F64:
        u64 = take(from, sizeof(u64));
        memcpy(to, &u64, sizeof(u64));
        return;
    case F_BOOL:
        *to = *from != 0;
        return;
    case F_TEXT:
        memcpy(to, from, field->size);
        to[field->size - 1] = 0;
        return;
    case F_BYTES:
        memcpy(to, from, field->size);
        return;
    }
}

/* ---- Sections */

static int section_encode(struct buf *out, enum section kind, const void *records, size_t count)
{
    const struct layout *layout = &layouts[kind];
    size_t record_size = layout_size(layout);
    const uint8_t *from = records;

    if (count > (RECORD_FRAME_MAX - SECTION_HEAD) / record_size)
        return -E2BIG;
    int r = buf_reserve(out, SECTION_HEAD + count * record_size);
    if (r < 0)
        return r;
    uint8_t *to = (uint8_t *)out->data + out->size;
    put(to, kind, 2);
    put(to + 2, record_size, 2);
    put(to + 4, count, 4);
    to += SECTION_HEAD;
    for (size_t i = 0; i < count; i++, from += layout->struct_size) {
        for (size_t j = 0; j < layout->n_fields; j++) {
            field_encode(to, &layout->fields[j], from + layout->fields[j].offset);
            to += layout->fields[j].size;
        }
    }
    out->size += SECTION_HEAD + count * record_size;
    return 0;
}

int record_encode_sample(struct buf *out, const struct sample *sample)
{
    const struct {
        enum section kind;
        const void *records;
        size_t count;
    } sections[] = {
        {SECTION_SAMPLE, sample, 1},
        {SECTION_MACHINE, &sample->machine, 1},
        {SECTION_PROC, sample->procs, sample->n_procs},
        {SECTION_EXIT, sample->exits, sample->n_exits},
        {SECTION_SLOT, sample->slots, sample->n_slots},
        {SECTION_GROUP, sample->groups, sample->n_groups},
        {SECTION_GPU, sample->gpus, sample->n_gpus},
        {SECTION_PSS, sample->pss, sample->n_pss},
    };

    for (size_t i = 0; i < ARRAY_SIZE(sections); i++) {
        int r = section_encode(out, sections[i].kind, sections[i].records, sections[i].count);
        if (r < 0)
            return r;
    }
    return out->size > RECORD_FRAME_MAX ? -E2BIG : 0;
}

int record_encode_agent(struct buf *out, agent_slot slot, const struct agent_spec *spec)
{
    struct agent_section section = {.slot = slot};

    if (spec)
        section.spec = *spec;
    return section_encode(out, SECTION_AGENT, &section, 1);
}

/* A record that is shorter than ours lacks its last fields; one field is there or not. */
static void record_decode_one(
    const struct layout *layout, const uint8_t *from, size_t record_size, uint8_t *to)
{
    size_t at = 0;

    memset(to, 0, layout->struct_size);
    for (size_t i = 0; i < layout->n_fields; i++) {
        const struct field *field = &layout->fields[i];
        if (at + field->size > record_size)
            return;
        field_decode(to + field->offset, field, from + at);
        at += field->size;
    }
}

struct section_bytes {
    enum section kind;
    size_t record_size;
    size_t count;
    const uint8_t *records;
};

/* Cuts the next section off. Returns false where the rest is none. */
static bool section_take(const uint8_t **cursor, const uint8_t *end, struct section_bytes *ret)
{
    size_t left = (size_t)(end - *cursor);

    if (left < SECTION_HEAD)
        return false;
    ret->kind = (enum section)take(*cursor, 2);
    ret->record_size = (size_t)take(*cursor + 2, 2);
    ret->count = (size_t)take(*cursor + 4, 4);
    ret->records = *cursor + SECTION_HEAD;
    left -= SECTION_HEAD;
    if (ret->record_size == 0 || ret->count > left / ret->record_size)
        return false;
    *cursor = ret->records + ret->count * ret->record_size;
    return true;
}

/* @capacity counts records of the section's struct in *@array. */
static int section_decode_array(
    const struct section_bytes *section, void **array, size_t *capacity, size_t *ret_count)
{
    const struct layout *layout = &layouts[section->kind];

    if (section->count > *capacity) {
        void *larger = mem_resize_array(*array, section->count, layout->struct_size);
        if (!larger)
            return -ENOMEM;
        *array = larger;
        *capacity = section->count;
    }
    for (size_t i = 0; i < section->count; i++)
        record_decode_one(layout, section->records + i * section->record_size, section->record_size,
            (uint8_t *)*array + i * layout->struct_size);
    *ret_count = section->count;
    return 0;
}

static int section_decode_agent(const struct section_bytes *section, struct record_frame *frame)
{
    struct agent_section agent;

    record_decode_one(
        &layouts[SECTION_AGENT], section->records, section->record_size, (uint8_t *)&agent);
    if (agent.spec.labels_size > sizeof(agent.spec.labels) ||
        (unsigned)agent.spec.philosophy >= AC_PHILOSOPHY_COUNT ||
        !agent_labels_sound(agent.spec.labels, agent.spec.labels_size))
        return -EBADMSG;
    frame->slot = agent.slot;
    frame->spec = agent.spec;
    return 0;
}

static int section_decode(const struct section_bytes *section, struct record_frame *frame)
{
    struct sample *sample = &frame->sample;

    if (section->kind <= SECTION_MACHINE && section->count != 1)
        return -EBADMSG;
    switch (section->kind) {
    case SECTION_SAMPLE:
        record_decode_one(
            &layouts[SECTION_SAMPLE], section->records, section->record_size, (uint8_t *)sample);
        return 0;
    case SECTION_MACHINE:
        record_decode_one(&layouts[SECTION_MACHINE], section->records, section->record_size,
            (uint8_t *)&sample->machine);
        return 0;
    case SECTION_PROC:
        return section_decode_array(
            section, (void **)&frame->procs, &frame->capacity[0], &sample->n_procs);
    case SECTION_EXIT:
        return section_decode_array(
            section, (void **)&frame->exits, &frame->capacity[1], &sample->n_exits);
    case SECTION_SLOT:
        return section_decode_array(
            section, (void **)&frame->slots, &frame->capacity[2], &sample->n_slots);
    case SECTION_GROUP:
        return section_decode_array(
            section, (void **)&frame->groups, &frame->capacity[3], &sample->n_groups);
    case SECTION_GPU:
        return section_decode_array(
            section, (void **)&frame->gpus, &frame->capacity[4], &sample->n_gpus);
    case SECTION_PSS:
        return section_decode_array(
            section, (void **)&frame->pss, &frame->capacity[5], &sample->n_pss);
    case SECTION_AGENT:
        return section->count == 1 ? section_decode_agent(section, frame) : -EBADMSG;
    default:
        return 0; /* of a newer writer */
    }
}

int record_decode(uint32_t kind, const void *payload, size_t length, struct record_frame *ret_frame)
{
    const uint8_t *cursor = payload;
    const uint8_t *end = cursor + length;
    struct section_bytes section;
    enum section first = kind == RECORD_FRAME_SAMPLE ? SECTION_SAMPLE : SECTION_AGENT;
    bool started = false;

    memset(&ret_frame->sample, 0, sizeof(ret_frame->sample));
    while (cursor < end) {
        if (!section_take(&cursor, end, &section))
            return -EBADMSG;
        if (!started && section.kind != first)
            return -EBADMSG;
        started = true;
        int r = section_decode(&section, ret_frame);
        if (r < 0)
            return r;
    }
    ret_frame->sample.procs = ret_frame->procs;
    ret_frame->sample.exits = ret_frame->exits;
    ret_frame->sample.slots = ret_frame->slots;
    ret_frame->sample.groups = ret_frame->groups;
    ret_frame->sample.gpus = ret_frame->gpus;
    ret_frame->sample.pss = ret_frame->pss;
    return started ? 0 : -EBADMSG;
}

void record_frame_done(struct record_frame *frame)
{
    mem_free(frame->procs);
    mem_free(frame->exits);
    mem_free(frame->slots);
    mem_free(frame->groups);
    mem_free(frame->gpus);
    mem_free(frame->pss);
    *frame = (struct record_frame){0};
}

/* ---- Heads */

void record_head_encode(
    uint8_t head[RECORD_FRAME_HEAD], uint32_t kind, const void *payload, size_t length)
{
    put(head, RECORD_FRAME_MARK, 4);
    put(head + 4, length, 4);
    put(head + 8, XXH32(payload, length, kind), 4);
    put(head + 12, kind, 4);
}

int record_head_decode(const uint8_t head[RECORD_FRAME_HEAD], struct record_head *ret_head)
{
    struct record_head decoded = {
        .length = (uint32_t)take(head + 4, 4),
        .checksum = (uint32_t)take(head + 8, 4),
        .kind = (uint32_t)take(head + 12, 4),
    };

    if (take(head, 4) != RECORD_FRAME_MARK || decoded.length > RECORD_FRAME_MAX)
        return -EBADMSG;
    *ret_head = decoded;
    return 0;
}

bool record_checksum_holds(const struct record_head *head, const void *payload)
{
    return XXH32(payload, head->length, head->kind) == head->checksum;
}

void record_header_encode(uint8_t header[RECORD_HEADER_SIZE], const char *collector, int64_t now)
{
    memset(header, 0, RECORD_HEADER_SIZE);
    memcpy(header, RECORD_MAGIC, 8);
    put(header + 8, RECORD_VERSION, 4);
    put(header + 12, RECORD_HEADER_SIZE, 4);
    put(header + 16, (uint64_t)now, 8);
    memcpy(header + 24, collector, MIN(strlen(collector), (size_t)15));
}

int record_header_decode(const uint8_t header[RECORD_HEADER_SIZE])
{
    if (memcmp(header, RECORD_MAGIC, 8) != 0 || take(header + 12, 4) != RECORD_HEADER_SIZE)
        return -EINVAL;
    return take(header + 8, 4) == RECORD_VERSION ? 0 : -EPROTONOSUPPORT;
}
