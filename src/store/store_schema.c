/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The database's schema, as the steps that led to it. A step that was released is never changed:
 * what comes later is a further step.
 *
 * Times are nanoseconds since 1970. Enumerations are stored as the words of the public vocabulary,
 * unknown numbers as NULL, 64-bit unsigned values as the same bits.
 */
#include "store/store_sqlite.h"

#include "base/mem.h"

static const char version_1[] =
    "CREATE TABLE agent ("
    " id TEXT PRIMARY KEY, template TEXT NOT NULL, command TEXT NOT NULL,"
    " philosophy TEXT NOT NULL, max_cpu_cores REAL, max_memory_mb REAL,"
    " max_execution_time_seconds REAL, max_file_descriptors INTEGER NOT NULL,"
    " owner_uid INTEGER NOT NULL, root_pid INTEGER NOT NULL, root_start_ticks INTEGER NOT NULL,"
    " labels BLOB NOT NULL, added_ns INTEGER NOT NULL, boot_id INTEGER NOT NULL"
    ") WITHOUT ROWID;"
    "CREATE TABLE alert ("
    " alert_id TEXT PRIMARY KEY, agent_id TEXT NOT NULL, rule TEXT NOT NULL,"
    " resource TEXT NOT NULL, severity TEXT NOT NULL, state TEXT NOT NULL,"
    " acknowledged INTEGER NOT NULL, message TEXT NOT NULL, threshold REAL, current_value REAL,"
    " started_ns INTEGER NOT NULL, updated_ns INTEGER NOT NULL, ended_ns INTEGER NOT NULL"
    ") WITHOUT ROWID;"
    "CREATE INDEX alert_by_update ON alert (updated_ns);"
    "CREATE INDEX alert_live ON alert (updated_ns) WHERE state <> 'resolved';"
    "CREATE TABLE allocation ("
    " agent_id TEXT PRIMARY KEY, allocation_id TEXT NOT NULL, policy TEXT NOT NULL,"
    " status TEXT NOT NULL, cpu_percent REAL, memory_mb REAL, execution_time_seconds REAL,"
    " available_cpu_percent REAL, available_memory_percent REAL, available_memory_mb REAL,"
    " confidence REAL, queue_position INTEGER NOT NULL, created_ns INTEGER NOT NULL,"
    " expires_ns INTEGER NOT NULL, explanation TEXT NOT NULL"
    ") WITHOUT ROWID;"
    "CREATE TABLE blob (name TEXT PRIMARY KEY, bytes BLOB NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE history_subject ("
    " id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE,"
    " first_minute INTEGER NOT NULL, last_minute INTEGER NOT NULL);"
    "CREATE TABLE history_minute ("
    " minute INTEGER NOT NULL, subject INTEGER NOT NULL, samples INTEGER NOT NULL,"
    " cpu_percent_n, cpu_percent_mean, cpu_percent_min, cpu_percent_max,"
    " cpu_cores_n, cpu_cores_mean, cpu_cores_min, cpu_cores_max,"
    " memory_n, memory_mean, memory_min, memory_max,"
    " memory_percent_n, memory_percent_mean, memory_percent_min, memory_percent_max,"
    " disk_io_n, disk_io_mean, disk_io_min, disk_io_max,"
    " network_io_n, network_io_mean, network_io_min, network_io_max,"
    " file_descriptors_n, file_descriptors_mean, file_descriptors_min, file_descriptors_max,"
    " PRIMARY KEY (minute, subject)) WITHOUT ROWID;";

/* Usage over time is in a database of its own (hist_db.h). */
static const char version_2[] = "DROP TABLE history_minute; DROP TABLE history_subject;";

/* The clock of that boot, which also counts suspended time, when the agent was added; 0 = not
 * known. */
static const char version_3[] =
    "ALTER TABLE agent ADD COLUMN added_boot_ns INTEGER NOT NULL DEFAULT 0;";

/* Who may see and give back an allocation; 4294967295 = not known, the privileged alone. */
static const char version_4[] =
    "ALTER TABLE allocation ADD COLUMN owner_uid INTEGER NOT NULL DEFAULT 4294967295;"
    "UPDATE allocation SET owner_uid = (SELECT owner_uid FROM agent WHERE id = agent_id)"
    " WHERE agent_id IN (SELECT id FROM agent);";

/* The same of an alert. Those of agents that are known by now may have been another's of the name,
 * where they began before. */
static const char version_5[] =
    "ALTER TABLE alert ADD COLUMN owner_uid INTEGER NOT NULL DEFAULT 4294967295;"
    "UPDATE alert SET owner_uid = (SELECT owner_uid FROM agent WHERE id = agent_id)"
    " WHERE EXISTS (SELECT 1 FROM agent WHERE id = agent_id AND added_ns <= started_ns);";

const char *const store_migrations[] = {version_1, version_2, version_3, version_4, version_5};
const int store_schema_version = ARRAY_SIZE(store_migrations);
