/* SPDX-License-Identifier: Apache-2.0 */
/* Who has which slot. */
#include <errno.h>
#include <string.h>

#include <xxhash.h>

#include "store/hist_internal.h"

int hist_slots_reserve(struct history *history, uint32_t slots)
{
    if (slots > history->slots_room) {
        uint32_t room = MAX(slots, MAX(history->slots_room * 2, 64u));
        struct hist_slot *grown = mem_resize_array(history->slots, room, sizeof(*grown));
        if (grown == NULL)
            return -ENOMEM;
        memset(&grown[history->slots_room], 0, (room - history->slots_room) * sizeof(*grown));
        history->slots = grown;
        uint16_t *changed = mem_resize_array(history->changed, room, sizeof(*changed));
        if (changed == NULL)
            return -ENOMEM;
        history->changed = changed;
        uint8_t *exact = mem_resize_array(history->exact, room, sizeof(*exact));
        if (exact == NULL)
            return -ENOMEM;
        history->exact = exact;
        history->slots_room = room;
    }
    uint32_t groups = (slots + GROUP_SLOTS - 1) / GROUP_SLOTS;
    if (groups > history->n_groups) {
        struct hist_group *grown = mem_resize_array(history->groups, groups, sizeof(*grown));
        if (grown == NULL)
            return -ENOMEM;
        for (uint32_t i = history->n_groups; i < groups; i++)
            grown[i] = (struct hist_group){.first = history->sequence};
        history->groups = grown;
        history->n_groups = groups;
    }
    int r = frame_state_reserve(&history->states[0], slots);
    if (r == 0)
        r = frame_state_reserve(&history->states[1], slots);
    return r == 0 ? hist_top_reserve(history->top, slots) : r;
}

static void put_key(char *key, const char *name, int64_t owner)
{
    uint32_t uid = owner < 0 ? UINT32_MAX : (uint32_t)owner;
    for (unsigned i = 0; i < HIST_KEY_OWNER; i++, uid >>= 4)
        key[i] = (char)('a' + (uid & 15));
    size_t length = strnlen(name, AC_AGENT_ID_MAX);
    memcpy(key + HIST_KEY_OWNER, name, length);
    key[HIST_KEY_OWNER + length] = 0;
}

struct hist_subject *hist_subject_get(
    const struct history *history, const char *name, int64_t owner)
{
    char key[HIST_KEY_OWNER + AC_AGENT_ID_MAX + 1];
    put_key(key, name, owner);
    return strmap_get(history->by_key, key);
}

struct hist_subject *hist_subject_add(
    struct history *history, int64_t id, const char *name, int64_t owner)
{
    struct hist_subject *subject = mem_alloc(sizeof(*subject));
    if (subject == NULL)
        return NULL;
    subject->id = id;
    subject->slot = SLOT_NONE;
    subject->owner = owner;
    subject->name = subject->key + HIST_KEY_OWNER;
    put_key(subject->key, name, owner);
    if (strmap_put(history->by_key, subject->key, subject) < 0) {
        mem_free(subject);
        return NULL;
    }
    history->next_subject = MAX(history->next_subject, id + 1);
    return subject;
}

/* The id of a name that the database may know from before: 1, 0 where it does not, -errno. */
static int find_name(struct history *history, const char *name, int64_t owner, int64_t *ret_id,
    struct ac_error *error)
{
    sqlite3_stmt *statement cleanup_reset = NULL;
    if (history->blank)
        return 0;
    int r = hist_sql(&history->write, HIST_SUBJECT_FIND, &statement, error);
    /* One transaction for all of a tick: each of its own would take and give back locks. */
    if (r == 0 && sqlite3_get_autocommit(history->write.connection.db) != 0)
        r = hist_run(&history->write, HIST_BEGIN_READ, NULL, 0, error);
    if (r < 0)
        return r;
    struct binder binder = {.statement = statement};
    bind_text(&binder, name);
    bind_int(&binder, owner);
    r = sql_bound(&history->write.connection, &binder, error);
    return r < 0 ? r : hist_get_int(&history->write, statement, ret_id, error);
}

static int find_subject(struct history *history, const char *name, int64_t owner,
    struct hist_subject **ret_subject, struct ac_error *error)
{
    int64_t id = history->next_subject;
    int r = find_name(history, name, owner, &id, error);
    if (r < 0)
        return r;
    struct hist_subject *subject = hist_subject_add(history, id, name, owner);
    if (subject == NULL)
        return error_set(error, -ENOMEM, "no memory");
    subject->stored = r == 1;
    *ret_subject = subject;
    return 0;
}

int hist_slot_take(struct history *history, const char *name, int64_t owner, int64_t when_ms,
    uint32_t *ret_slot, struct ac_error *error)
{
    struct hist_subject *subject = hist_subject_get(history, name, owner);
    int r = 0;
    if (subject == NULL)
        r = find_subject(history, name, owner, &subject, error);
    if (r < 0)
        return r;
    if (subject->slot != SLOT_NONE) {
        *ret_slot = subject->slot;
        return 0;
    }
    uint32_t slot = history->lowest_free;
    while (slot < history->n_slots && history->slots[slot].subject != NULL)
        slot++;
    if (slot >= FRAME_SLOTS_MAX)
        return error_set(error, -ENOSPC, "history: more than %u agents", FRAME_SLOTS_MAX);
    r = hist_slots_reserve(history, slot + 1);
    if (r < 0)
        return error_set(error, r, "no memory");
    struct hist_slot *s = &history->slots[slot];
    s->subject = subject;
    s->tenure = history->next_tenure++;
    s->tenure_stored = false;
    history->slots_dirty = true;
    s->from_ms = s->seen_ms = when_ms;
    s->given_known = 0;
    memset(s->start, 0, sizeof(s->start));
    for (unsigned c = 0; c < HIST_COUNTERS; c++)
        history->before->counters[c][slot] = history->before->replayed[c][slot] = 0;
    subject->slot = slot;
    history->n_slots = MAX(history->n_slots, slot + 1);
    history->lowest_free = slot + 1;
    history->used_slots++;
    *ret_slot = slot;
    return 0;
}

void hist_slots_taken(struct history *history)
{
    if (sqlite3_get_autocommit(history->write.connection.db) == 0)
        hist_run(&history->write, HIST_ROLLBACK, NULL, 0, NULL);
}

static void subject_free(struct hist_subject *subject)
{
    mem_free((char *)subject->pending.labels);
    mem_free(subject);
}

/* The subject goes from memory with its slot; it is found again by name. */
void hist_slot_release(struct history *history, uint32_t slot)
{
    struct hist_subject *subject = history->slots[slot].subject;
    history->slots[slot].subject = NULL;
    history->lowest_free = MIN(history->lowest_free, slot);
    history->used_slots--;
    strmap_remove(history->by_key, subject->key);
    subject_free(subject);
}

/* ---- What is known of them ---------------------------------------------------------------- */

/* Never 0. */
static uint64_t hash_about(const struct history_about *about)
{
    uint64_t hash = XXH3_64bits_withSeed(about->labels, about->labels_size, about->philosophy);
    return hash == 0 ? 1 : hash;
}

int hist_slot_describe(struct history *history, uint32_t slot, const struct history_about *about)
{
    struct hist_subject *subject = history->slots[slot].subject;
    if (!about->known)
        return 0;
    uint64_t hash = hash_about(about);
    if (hash == subject->about_hash)
        return 0;
    char *labels = mem_alloc((size_t)about->labels_size + 1);
    if (labels == NULL)
        return -ENOMEM;
    if (about->labels_size > 0)
        memcpy(labels, about->labels, about->labels_size);
    mem_free((char *)subject->pending.labels);
    subject->pending = *about;
    subject->pending.labels = labels;
    subject->about_hash = hash;
    subject->about_stored = false;
    history->slots_dirty = true;
    return 0;
}

void hist_subject_note(struct hist_subject *subject, const struct history_about *about)
{
    subject->about_hash = about->known ? hash_about(about) : 0;
    subject->about_stored = about->known;
}

struct history_about hist_about_read(struct reader *reader, char *buffer)
{
    bool none = sqlite3_column_type(reader->statement, reader->next + 1) == SQLITE_NULL;
    bool owned = sqlite3_column_type(reader->statement, reader->next + 2) == SQLITE_INTEGER;
    struct history_about about = {.labels = buffer};
    struct reader mine = *reader;
    int64_t philosophy = read_int(&mine);
    about.labels_size = (uint32_t)read_bytes(&mine, buffer, AGENT_LABELS_MAX_BYTES);
    bool sound = !none && !mine.damaged && philosophy >= 0 && philosophy < AC_PHILOSOPHY_COUNT &&
                 agent_labels_sound(buffer, about.labels_size);
    about.owner = read_int(&mine);
    owned = owned && about.owner >= 0 && about.owner < UINT32_MAX;
    about.owner = owned ? about.owner : HISTORY_UNOWNED;
    reader->next += 3;
    if (!sound)
        return (struct history_about){.owner = about.owner};
    about.known = true;
    about.philosophy = (enum ac_philosophy)philosophy;
    return about;
}

/* Without labels nothing is known: a subject that is known to have none has empty ones. */
static void bind_about(struct binder *binder, const struct history_about *about)
{
    if (!about->known) {
        bind_null(binder);
        bind_null(binder);
        return;
    }
    bind_int(binder, about->philosophy);
    bind_bytes(binder, about->labels, about->labels_size);
}

static bool is_unsaid(const struct hist_subject *subject)
{
    return !subject->stored || (subject->about_hash != 0 && !subject->about_stored);
}

static void bind_subject(struct binder *binder, const struct history *history, uint32_t slot)
{
    const struct hist_subject *subject = history->slots[slot].subject;
    bind_int(binder, subject->id);
    bind_text(binder, subject->name);
    bind_about(binder, &subject->pending);
    if (subject->owner >= 0)
        bind_int(binder, subject->owner);
    else
        bind_null(binder);
}

static void bind_tenure(struct binder *binder, const struct history *history, uint32_t slot)
{
    const struct hist_slot *s = &history->slots[slot];
    bind_int(binder, s->tenure);
    bind_int(binder, s->subject->id);
    bind_int(binder, slot);
    bind_int(binder, s->from_ms);
}

static int put_rows(struct history *history, enum hist_sql which, const uint32_t *slots, uint32_t n,
    void (*bind)(struct binder *binder, const struct history *history, uint32_t slot),
    struct ac_error *error)
{
    sqlite3_stmt *statement cleanup_reset = NULL;
    int r = hist_sql(&history->write, which, &statement, error);
    if (r < 0)
        return r;
    struct binder binder = {.statement = statement};
    for (uint32_t i = 0; i < n; i++)
        bind(&binder, history, slots[i]);
    r = sql_bound(&history->write.connection, &binder, error);
    return r < 0 ? r : sql_run(&history->write.connection, statement, "writing history", error);
}

static int store_subjects(
    struct history *history, const uint32_t *slots, uint32_t n, struct ac_error *error)
{
    int r = 0;
    if (n == HIST_MANY)
        return put_rows(history, HIST_SUBJECT_PUT_MANY, slots, n, bind_subject, error);
    for (uint32_t i = 0; i < n && r == 0; i++)
        r = put_rows(history, HIST_SUBJECT_PUT, &slots[i], 1, bind_subject, error);
    return r;
}

static int store_tenures(
    struct history *history, const uint32_t *slots, uint32_t n, struct ac_error *error)
{
    int r = 0;
    if (n == HIST_MANY)
        return put_rows(history, HIST_TENURE_PUT_MANY, slots, n, bind_tenure, error);
    for (uint32_t i = 0; i < n && r == 0; i++)
        r = put_rows(history, HIST_TENURE_PUT, &slots[i], 1, bind_tenure, error);
    return r;
}

int hist_slots_store(struct history *history, struct ac_error *error)
{
    uint32_t subjects[HIST_MANY];
    uint32_t tenures[HIST_MANY];
    uint32_t n_subjects = 0;
    uint32_t n_tenures = 0;
    int r = 0;
    if (!history->slots_dirty)
        return 0;
    for (uint32_t i = 0; i < history->n_slots && r == 0; i++) {
        const struct hist_slot *slot = &history->slots[i];
        if (slot->subject == NULL)
            continue;
        if (is_unsaid(slot->subject))
            subjects[n_subjects++] = i;
        if (!slot->tenure_stored)
            tenures[n_tenures++] = i;
        if (n_subjects == HIST_MANY) {
            r = store_subjects(history, subjects, n_subjects, error);
            n_subjects = 0;
        }
        if (r == 0 && n_tenures == HIST_MANY) {
            r = store_tenures(history, tenures, n_tenures, error);
            n_tenures = 0;
        }
    }
    if (r == 0)
        r = store_subjects(history, subjects, n_subjects, error);
    return r == 0 ? store_tenures(history, tenures, n_tenures, error) : r;
}

void hist_slots_stored(struct history *history)
{
    for (uint32_t i = 0; history->slots_dirty && i < history->n_slots; i++) {
        struct hist_slot *slot = &history->slots[i];
        struct hist_subject *subject = slot->subject;
        slot->tenure_stored = true;
        if (subject == NULL)
            continue;
        subject->stored = true;
        subject->about_stored = subject->about_hash != 0;
        mem_free((char *)subject->pending.labels);
        subject->pending = (struct history_about){0};
    }
    history->slots_dirty = history->blank = false;
}

void hist_slots_done(struct history *history)
{
    for (uint32_t i = 0; i < history->slots_room; i++) {
        for (unsigned c = 0; c < FRAME_COLUMNS; c++)
            tail_done(&history->slots[i].streams[c]);
    }
    size_t cursor = 0;
    for (;;) { /* also those that never got a slot */
        struct hist_subject *subject =
            history->by_key == NULL ? NULL : strmap_next(history->by_key, &cursor);
        if (subject == NULL)
            break;
        subject_free(subject);
    }
    mem_free(history->slots);
    mem_free(history->changed);
    mem_free(history->exact);
    mem_free(history->row_slots);
    mem_free(history->groups);
    strmap_free(history->by_key);
}
