/* SPDX-License-Identifier: Apache-2.0 */
/* Agents and what was allocated to them. */
#include "store/store.h"

#include <errno.h>
#include <string.h>

#include "store/store_sqlite.h"

static int fail_row(struct store *store, const char *table, struct ac_error *error)
{
    return error_set(error, -EUCLEAN, "%s: damaged (a row of %s); move it aside to start anew",
        store->path, table);
}

static int run_keyed(struct store *store, enum store_sql which, const char *key, const char *what,
    struct ac_error *error)
{
    sqlite3_stmt *statement cleanup_reset = NULL;
    int r = sql_get(store, which, &statement, error);
    if (r < 0)
        return r;
    struct binder binder = {.statement = statement};
    bind_text(&binder, key);
    r = sql_bound(store, &binder, error);
    return r < 0 ? r : sql_run(store, statement, what, error);
}

/* ---- Agents ------------------------------------------------------------------------------- */

int store_put_agent(struct store *store, const struct agent_spec *spec, struct moment added,
    uint64_t boot_id, struct ac_error *error)
{
    sqlite3_stmt *statement cleanup_reset = NULL;
    int r = sql_get(store, SQL_PUT_AGENT, &statement, error);
    if (r < 0)
        return r;
    struct binder binder = {.statement = statement};
    bind_text(&binder, spec->id);
    bind_text(&binder, spec->agent_template);
    bind_text(&binder, spec->command);
    bind_text(&binder, ac_philosophy_name(spec->philosophy));
    bind_real(&binder, spec->limits.max_cpu_cores);
    bind_real(&binder, spec->limits.max_memory_mb);
    bind_real(&binder, spec->limits.max_execution_time_seconds);
    bind_u64(&binder, spec->limits.max_file_descriptors);
    bind_int(&binder, spec->owner_uid);
    bind_int(&binder, spec->root_pid);
    bind_u64(&binder, spec->root_start_ticks);
    bind_bytes(&binder, spec->labels, spec->labels_size);
    bind_int(&binder, added.wall_ns);
    bind_u64(&binder, boot_id);
    bind_u64(&binder, added.boot_ns);
    r = sql_bound(store, &binder, error);
    return r < 0 ? r : sql_run(store, statement, "storing an agent", error);
}

int store_remove_agent(struct store *store, const char *id, struct ac_error *error)
{
    return run_keyed(store, SQL_REMOVE_AGENT, id, "removing an agent", error);
}

static bool read_agent(sqlite3_stmt *statement, struct agent_spec *ret_spec,
    struct moment *ret_added, uint64_t *ret_boot_id)
{
    struct reader reader = {.statement = statement};
    memset(ret_spec, 0, sizeof(*ret_spec));
    read_text(&reader, ret_spec->id, sizeof(ret_spec->id));
    read_text(&reader, ret_spec->agent_template, sizeof(ret_spec->agent_template));
    read_text(&reader, ret_spec->command, sizeof(ret_spec->command));
    bool known = ac_philosophy_from_name(read_word(&reader), &ret_spec->philosophy) == 0;
    ret_spec->limits.max_cpu_cores = read_real(&reader);
    ret_spec->limits.max_memory_mb = read_real(&reader);
    ret_spec->limits.max_execution_time_seconds = read_real(&reader);
    ret_spec->limits.max_file_descriptors = read_u64(&reader);
    ret_spec->owner_uid = read_u32(&reader);
    int64_t pid = read_int(&reader);
    ret_spec->root_pid = (int32_t)pid;
    ret_spec->root_start_ticks = read_u64(&reader);
    ret_spec->labels_size =
        (uint32_t)read_bytes(&reader, ret_spec->labels, sizeof(ret_spec->labels));
    *ret_added = (struct moment){.wall_ns = read_int(&reader)};
    *ret_boot_id = read_u64(&reader);
    ret_added->boot_ns = read_u64(&reader);
    return !reader.damaged && known && pid >= 0 && pid <= INT32_MAX &&
           ac_agent_id_valid(ret_spec->id) &&
           agent_labels_sound(ret_spec->labels, ret_spec->labels_size);
}

int store_each_agent(
    struct store *store, store_agent_fn each, void *userdata, struct ac_error *error)
{
    sqlite3_stmt *statement cleanup_reset = NULL;
    int r = sql_get(store, SQL_EACH_AGENT, &statement, error);
    if (r < 0)
        return r;
    for (;;) {
        struct agent_spec spec;
        struct moment added;
        uint64_t boot_id;
        r = sql_step(store, statement, "reading agents", error);
        if (r <= 0)
            return r;
        if (!read_agent(statement, &spec, &added, &boot_id))
            return fail_row(store, "agent", error);
        r = each(userdata, &spec, added, boot_id);
        if (r != 0)
            return r;
    }
}

/* ---- Allocations -------------------------------------------------------------------------- */

int store_put_allocation(struct store *store, const struct ac_allocation *allocation,
    uint32_t owner_uid, struct ac_error *error)
{
    sqlite3_stmt *statement cleanup_reset = NULL;
    int r = sql_get(store, SQL_PUT_ALLOCATION, &statement, error);
    if (r < 0)
        return r;
    struct binder binder = {.statement = statement};
    bind_text(&binder, allocation->agent_id);
    bind_text(&binder, allocation->allocation_id);
    bind_text(&binder, ac_allocation_policy_name(allocation->policy));
    bind_text(&binder, ac_allocation_status_name(allocation->status));
    bind_real(&binder, allocation->cpu_percent);
    bind_real(&binder, allocation->memory_mb);
    bind_real(&binder, allocation->execution_time_seconds);
    bind_real(&binder, allocation->available_cpu_percent);
    bind_real(&binder, allocation->available_memory_percent);
    bind_real(&binder, allocation->available_memory_mb);
    bind_real(&binder, allocation->confidence);
    bind_int(&binder, allocation->queue_position);
    bind_int(&binder, allocation->created_ns);
    bind_int(&binder, allocation->expires_ns);
    bind_text(&binder, allocation->explanation);
    bind_int(&binder, owner_uid);
    r = sql_bound(store, &binder, error);
    return r < 0 ? r : sql_run(store, statement, "storing an allocation", error);
}

int store_remove_allocation(struct store *store, const char *agent_id, struct ac_error *error)
{
    return run_keyed(store, SQL_REMOVE_ALLOCATION, agent_id, "removing an allocation", error);
}

static int status_from_name(const char *name, enum ac_allocation_status *ret_status)
{
    for (unsigned i = AC_ALLOCATION_GRANTED; i <= AC_ALLOCATION_QUEUED; i++) {
        if (strcmp(ac_allocation_status_name((enum ac_allocation_status)i), name) == 0) {
            *ret_status = (enum ac_allocation_status)i;
            return 0;
        }
    }
    return -EINVAL;
}

static bool read_allocation(
    sqlite3_stmt *statement, struct ac_allocation *ret_allocation, uint32_t *ret_owner)
{
    struct reader reader = {.statement = statement};
    memset(ret_allocation, 0, sizeof(*ret_allocation));
    read_text(&reader, ret_allocation->agent_id, sizeof(ret_allocation->agent_id));
    read_text(&reader, ret_allocation->allocation_id, sizeof(ret_allocation->allocation_id));
    bool known = ac_allocation_policy_from_name(read_word(&reader), &ret_allocation->policy) == 0;
    known = status_from_name(read_word(&reader), &ret_allocation->status) == 0 && known;
    ret_allocation->cpu_percent = read_real(&reader);
    ret_allocation->memory_mb = read_real(&reader);
    ret_allocation->execution_time_seconds = read_real(&reader);
    ret_allocation->available_cpu_percent = read_real(&reader);
    ret_allocation->available_memory_percent = read_real(&reader);
    ret_allocation->available_memory_mb = read_real(&reader);
    ret_allocation->confidence = read_real(&reader);
    ret_allocation->queue_position = read_u32(&reader);
    ret_allocation->created_ns = read_int(&reader);
    ret_allocation->expires_ns = read_int(&reader);
    read_text(&reader, ret_allocation->explanation, sizeof(ret_allocation->explanation));
    *ret_owner = read_u32(&reader);
    return !reader.damaged && known && ac_agent_id_valid(ret_allocation->agent_id);
}

int store_each_allocation(
    struct store *store, store_allocation_fn each, void *userdata, struct ac_error *error)
{
    sqlite3_stmt *statement cleanup_reset = NULL;
    int r = sql_get(store, SQL_EACH_ALLOCATION, &statement, error);
    if (r < 0)
        return r;
    for (;;) {
        struct ac_allocation allocation;
        uint32_t owner;
        r = sql_step(store, statement, "reading allocations", error);
        if (r <= 0)
            return r;
        if (!read_allocation(statement, &allocation, &owner))
            return fail_row(store, "allocation", error);
        r = each(userdata, &allocation, owner);
        if (r != 0)
            return r;
    }
}
