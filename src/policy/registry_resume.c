/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Totals across a restart: saved as bytes, and gone on with by the registry of the next start.
 *
 * A source that goes on by itself is asked for what it counted meanwhile: the agent's own cgroup,
 * where it is still the same one. Elsewhere the members tell. With
 *
 *     living(t) = sum over the members that were born before they were saved, and still live at
 *                 t, of what they and the children that they reaped have used in all their lives
 *
 * living(now) - living(saved) is what was used meanwhile, less all that members used who ended
 * without being reaped by one of these: never too much, and exact where none did. What was born
 * since counts whole. Only a bound remains for a member that is another agent's now: no agent uses
 * more than the machine has.
 *
 * The bytes, all numbers varints: version (1), number of agents, for each its id's length, the id
 * and the fields of struct resume in the order of the table below; then XXH3 of all that, 8 bytes.
 */
#include <errno.h>
#include <math.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/mem.h"
#include "policy/registry_internal.h"

#define VERSION     1
#define CHECK_SIZE  8
#define VARINT_MAX  10
#define TICK_NS     10000000ull
#define TOTALS_BITS 0x3fu

static const size_t fields[] = {
    offsetof(struct resume, added_ns),
    offsetof(struct resume, known),
    offsetof(struct resume, cpu_peak_bits),
    offsetof(struct resume, totals.cpu_ns),
    offsetof(struct resume, totals.disk_read_bytes),
    offsetof(struct resume, totals.disk_written_bytes),
    offsetof(struct resume, totals.net_received_bytes),
    offsetof(struct resume, totals.net_sent_bytes),
    offsetof(struct resume, totals.memory_peak_bytes),
    offsetof(struct resume, totals.fds_peak),
    offsetof(struct resume, totals.processes_total),
    offsetof(struct resume, since_ticks),
    offsetof(struct resume, living_known),
    offsetof(struct resume, living[COUNT_CPU]),
    offsetof(struct resume, living[COUNT_READ]),
    offsetof(struct resume, living[COUNT_WRITTEN]),
    offsetof(struct resume, debt_cpu),
    offsetof(struct resume, cgroup_id),
    offsetof(struct resume, group_known),
    offsetof(struct resume, group_seen[COUNT_CPU]),
    offsetof(struct resume, group_seen[COUNT_READ]),
    offsetof(struct resume, group_seen[COUNT_WRITTEN]),
};

/* ---- What members have used in all their lives */

static uint64_t member_used(
    const struct registry *registry, const struct member *member, enum counter which)
{
    const struct proc_record *last = &member->last;
    const uint64_t io[COUNT_COUNT] = {0, last->read_bytes, last->written_bytes};
    uint64_t own = saturating_add(last->utime_ns, last->stime_ns);
    uint64_t used = which == COUNT_CPU ? saturating_add(MAX(own, member->cpu_seen),
                                             saturating_add(last->cutime_ns, last->cstime_ns))
                                       : MAX(io[which], member->io_seen[which - COUNT_READ]);
    if (!member->flow)
        return used;
    /* Of children that vanished: it is counted, and still to come in what they were reaped into. */
    const struct flow *flow = &registry->flows[member->flow - 1];
    return saturating_add(used, saturating_add(flow->direct[which], flow->deep[which]));
}

static void used_add(
    const struct registry *registry, const struct member *member, uint64_t used[COUNT_COUNT])
{
    for (int k = 0; k < COUNT_COUNT; k++)
        used[k] = saturating_add(used[k], member_used(registry, member, (enum counter)k));
}

/* Where the collector tells of ends, children that were reaped are not counted with those who
 * reaped them: of what was born meanwhile they are added here. */
static uint64_t born_reaped(const struct member *member)
{
    const struct proc_record *last = &member->last;
    return last->known & PROC_KNOWN_SLOT ? saturating_add(last->cutime_ns, last->cstime_ns) : 0;
}

void resume_growth(const struct registry *registry, const struct account *account,
    const struct sample *sample, uint64_t growth[COUNT_COUNT])
{
    const struct resume *resume = account->resume;
    uint64_t now[COUNT_COUNT] = {0};
    for (uint32_t m = account->members; m; m = registry->members[m].next) {
        const struct member *member = &registry->members[m];
        if (member->flags & MEMBER_BORN)
            growth[COUNT_CPU] = saturating_add(growth[COUNT_CPU], born_reaped(member));
        else
            used_add(registry, member, now);
    }
    for (int k = 0; k < COUNT_COUNT; k++) {
        uint32_t needed = k == COUNT_CPU ? PROC_KNOWN_CPU : PROC_KNOWN_IO;
        if ((resume->living_known & needed) && now[k] > resume->living[k])
            growth[k] = saturating_add(growth[k], now[k] - resume->living[k]);
    }
    uint64_t since_ns = resume->since_ticks * TICK_NS;
    uint64_t away_ns = sample->boot_ns > since_ns ? sample->boot_ns - since_ns : 0;
    double most = ((double)away_ns + TICK_NS) * sample->machine.capacity_cores;
    if (most > 0 && (double)growth[COUNT_CPU] > most)
        growth[COUNT_CPU] = (uint64_t)most;
}

/* ---- Saving */

static struct resume resume_of(
    const struct registry *registry, const struct account *account, uint64_t boot_ns)
{
    const struct agent *agent = account->agent;
    struct resume resume = {0};
    if (account->resume) /* no sample since the last start */
        resume = *account->resume;
    resume.totals = agent->totals;
    resume.added_ns = (uint64_t)agent->added.wall_ns;
    resume.known = agent->totals.known;
    memcpy(&resume.cpu_peak_bits, &agent->totals.cpu_peak_percent, sizeof(resume.cpu_peak_bits));
    if (account->resume || !account->adopted)
        return resume;
    resume.since_ticks = boot_ns / TICK_NS + 1;
    resume.living_known = PROC_KNOWN_CPU | PROC_KNOWN_IO;
    for (uint32_t m = account->members; m; m = registry->members[m].next) {
        resume.living_known &= registry->members[m].last.known;
        used_add(registry, &registry->members[m], resume.living);
    }
    resume.debt_cpu = account->debt_cpu;
    resume.cgroup_id = account->cgroup_id;
    resume.group_known = account->group_known & (GROUP_KNOWN_CPU | GROUP_KNOWN_IO);
    memcpy(resume.group_seen, account->group_seen, sizeof(resume.group_seen));
    return resume;
}

static void put_varint(struct buf *out, uint64_t value)
{
    char bytes[VARINT_MAX];
    size_t n = 0;
    do {
        bytes[n++] = (char)((value & 0x7f) | (value > 0x7f ? 0x80 : 0));
        value >>= 7;
    } while (value > 0);
    buf_append(out, bytes, n);
}

static bool goes_on(const struct account *account)
{
    return account->agent && account->agent->state != AGENT_EXITED;
}

int registry_save_totals(const struct registry *registry, uint64_t boot_ns, struct buf *out)
{
    size_t start = out->size;
    uint64_t count = 0;
    for (uint32_t slot = 1; slot <= registry->high; slot++)
        count += goes_on(&registry->accounts[slot]);
    put_varint(out, VERSION);
    put_varint(out, count);
    for (uint32_t slot = 1; slot <= registry->high; slot++) {
        const struct account *account = &registry->accounts[slot];
        if (!goes_on(account))
            continue;
        const struct resume resume = resume_of(registry, account, boot_ns);
        put_varint(out, strlen(account->agent->spec.id));
        buf_append_str(out, account->agent->spec.id);
        for (size_t i = 0; i < ARRAY_SIZE(fields); i++)
            put_varint(out, *(const uint64_t *)((const char *)&resume + fields[i]));
    }
    if (out->failed)
        return -ENOMEM;
    uint64_t check = XXH3_64bits(out->data + start, out->size - start);
    return buf_append(out, &check, CHECK_SIZE);
}

/* ---- Going on */

struct reader {
    const unsigned char *at;
    const unsigned char *end;
    bool failed;
};

static uint64_t take_varint(struct reader *reader)
{
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 64 && reader->at < reader->end; shift += 7) {
        unsigned char byte = *reader->at++;
        value |= (uint64_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80))
            return value;
    }
    reader->failed = true;
    return 0;
}

static void take_entry(
    struct reader *reader, char ret_id[AC_AGENT_ID_MAX + 1], struct resume *ret_resume)
{
    uint64_t length = take_varint(reader);
    memset(ret_id, 0, AC_AGENT_ID_MAX + 1);
    if (length > AC_AGENT_ID_MAX || length > (size_t)(reader->end - reader->at)) {
        reader->failed = true;
        return;
    }
    memcpy(ret_id, reader->at, length);
    reader->at += length;
    for (size_t i = 0; i < ARRAY_SIZE(fields); i++)
        *(uint64_t *)((char *)ret_resume + fields[i]) = take_varint(reader);
    double peak;
    memcpy(&peak, &ret_resume->cpu_peak_bits, sizeof(peak));
    ret_resume->totals.known = (uint32_t)(ret_resume->known & TOTALS_BITS);
    ret_resume->totals.cpu_peak_percent = isfinite(peak) && peak > 0 ? peak : 0;
}

static int account_resume(struct account *account, const struct resume *from)
{
    struct agent *agent = account->agent;
    struct resume *resume = NULL;
    if (account->adopted || account->resume || (uint64_t)agent->added.wall_ns != from->added_ns)
        return 0; /* another one of that name */
    if (account->rooted && from->since_ticks > 0) {
        resume = mem_alloc(sizeof(*resume));
        if (!resume)
            return -ENOMEM;
        *resume = *from;
        account->debt_cpu = from->debt_cpu;
        account->cgroup_id = from->cgroup_id;
        /* Network is counted from when the cgroup is watched, which begins anew. */
        account->group_known = ((uint32_t)from->group_known & (GROUP_KNOWN_CPU | GROUP_KNOWN_IO)) |
                               GROUP_KNOWN_NETWORK;
        memcpy(account->group_seen, from->group_seen, sizeof(account->group_seen));
    }
    agent->totals = from->totals;
    account->resume = resume;
    return 0;
}

int registry_resume_totals(struct registry *registry, const void *bytes, size_t size)
{
    uint64_t check;
    char id[AC_AGENT_ID_MAX + 1];
    if (size < CHECK_SIZE)
        return -EINVAL;
    struct reader reader = {.at = bytes, .end = (const unsigned char *)bytes + size - CHECK_SIZE};
    memcpy(&check, reader.end, CHECK_SIZE);
    if (XXH3_64bits(bytes, size - CHECK_SIZE) != check || take_varint(&reader) != VERSION)
        return -EINVAL;
    uint64_t count = take_varint(&reader);
    for (uint64_t i = 0; i < count; i++) {
        struct resume resume = {0};
        take_entry(&reader, id, &resume);
        if (reader.failed)
            return -EINVAL;
        const struct agent *agent = strmap_get(registry->ids, id);
        int r = agent ? account_resume(&registry->accounts[agent->slot], &resume) : 0;
        if (r < 0)
            return r;
    }
    return reader.failed ? -EINVAL : 0;
}
