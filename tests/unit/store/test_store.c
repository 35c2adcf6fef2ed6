/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "base/io.h"
#include "content.h"
#include "store/history.h"
#include "store/store_sqlite.h"

static void fails(const struct temporary *directory, int code, const char *part)
{
    struct store *store = NULL;
    struct ac_error error = {0};
    int r = try_open(directory, &store, &error);
    if (r != code || error.code != code || !strstr(error.message, part) || store)
        fail_msg("%d, not %d: %s", r, code, error.message);
}

static void path_in(const struct temporary *directory, const char *name, char path[128])
{
    snprintf(path, 128, "%s/%s", directory->path, name);
}

/* Runs SQL beside the store, as somebody with the sqlite3 tool would. */
static void run_sql(const struct temporary *directory, const char *sql)
{
    char path[128];
    sqlite3 *db;
    path_in(directory, "agentcore.db", path);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

/* ---- Agents, alerts, allocations ---------------------------------------------------------- */

static int see_alert(void *userdata, const struct ac_alert *alert, uint32_t owner)
{
    struct seen *seen = userdata;
    seen->owner = owner;
    if (seen->count < ARRAY_SIZE(seen->alerts))
        seen->alerts[seen->count] = *alert;
    return ++seen->count == seen->stop_at ? 7 : 0;
}

static int see_allocation(void *userdata, const struct ac_allocation *allocation, uint32_t owner)
{
    struct seen *seen = userdata;
    seen->allocation = *allocation;
    seen->owner = owner;
    return ++seen->count == seen->stop_at ? 7 : 0;
}

static void agents_survive(void **state)
{
    (void)state;
    struct temporary directory cleanup_directory = temporary_make();
    struct store *store = open_good(&directory);
    struct agent_spec spec = make_agent("a-1"), other = make_agent("b_2");
    assert_int_equal(store_put_agent(store, &spec, at(5), UINT64_MAX, NULL), 0);
    assert_int_equal(store_put_agent(store, &other, at(6), 1, NULL), 0);
    assert_int_equal(store_remove_agent(store, "b_2", NULL), 0);
    assert_int_equal(store_remove_agent(store, "never", NULL), 0);
    spec.root_pid = 0;
    assert_int_equal(store_put_agent(store, &spec, at(7), UINT64_MAX - 1, NULL), 0);
    store_close(store);
    store = open_good(&directory);
    struct seen seen = {0};
    assert_int_equal(store_each_agent(store, see_agent, &seen, NULL), 0);
    assert_int_equal(seen.count, 1);
    assert_memory_equal(&seen.agent, &spec, sizeof(spec));
    assert_true(seen.added.wall_ns == 7 && seen.added.boot_ns == at(7).boot_ns);
    assert_true(seen.boot_id == UINT64_MAX - 1);
    store_put_agent(store, &other, at(9), 1, NULL);
    seen = (struct seen){.stop_at = 1};
    assert_int_equal(store_each_agent(store, see_agent, &seen, NULL), 7);
    store_close(store);
}

static void alerts_survive(void **state)
{
    (void)state;
    struct temporary directory cleanup_directory = temporary_make();
    struct store *store = open_good(&directory);
    for (int n = 1; n <= 6; n++) {
        struct ac_alert alert = make_alert(n, AC_ALERT_FIRING);
        assert_int_equal(store_put_alert(store, &alert, 1000u + (uint32_t)n, NULL), 0);
        alert = make_alert(n, n % 2 ? AC_ALERT_RESOLVED : AC_ALERT_FIRING);
        alert.acknowledged = n == 4;
        assert_int_equal(store_put_alert(store, &alert, 1000u + (uint32_t)n, NULL), 0);
    }
    store_close(store);
    store = open_good(&directory);
    struct seen seen = {0};
    assert_int_equal(store_each_alert(store, false, 0, 100, see_alert, &seen, NULL), 0);
    assert_int_equal(seen.count, 6);
    struct ac_alert expected = make_alert(6, AC_ALERT_FIRING);
    assert_true(isnan(seen.alerts[0].threshold));
    seen.alerts[0].threshold = expected.threshold;
    assert_memory_equal(&seen.alerts[0], &expected, sizeof(expected));
    assert_true(seen.alerts[2].acknowledged && !seen.alerts[1].acknowledged);
    seen = (struct seen){0};
    assert_int_equal(store_each_alert(store, true, 104, 100, see_alert, &seen, NULL), 0);
    assert_int_equal(seen.count, 2);
    assert_string_equal(seen.alerts[1].alert_id, "alert-4");
    assert_int_equal(seen.owner, 1004);
    seen = (struct seen){0};
    assert_int_equal(store_each_alert(store, false, 0, 3, see_alert, &seen, NULL), 0);
    assert_int_equal(seen.count, 3);
    assert_int_equal(store_trim_alerts(store, 104, NULL), 0); /* 1 and 3; not 2, which lives */
    seen = (struct seen){0};
    assert_int_equal(store_each_alert(store, false, 0, 100, see_alert, &seen, NULL), 0);
    assert_int_equal(seen.count, 4);
    assert_string_equal(seen.alerts[3].alert_id, "alert-2");
    store_close(store);
}

static void allocations_survive(void **state)
{
    (void)state;
    struct temporary directory cleanup_directory = temporary_make();
    struct store *store = open_good(&directory);
    struct ac_allocation allocation = {.policy = AC_POLICY_QUEUE,
        .status = AC_ALLOCATION_QUEUED,
        .allocation_id = "al-1",
        .agent_id = "agent",
        .cpu_percent = 12.5,
        .memory_mb = 256,
        .execution_time_seconds = 60,
        .available_cpu_percent = 1,
        .available_memory_percent = 2,
        .available_memory_mb = 3,
        .confidence = 0.25,
        .queue_position = 4,
        .created_ns = 5,
        .expires_ns = 6,
        .explanation = "because"};
    assert_int_equal(store_put_allocation(store, &allocation, 1000, NULL), 0);
    struct ac_allocation other = allocation;
    snprintf(other.agent_id, sizeof(other.agent_id), "other");
    assert_int_equal(store_put_allocation(store, &other, UINT32_MAX, NULL), 0);
    assert_int_equal(store_remove_allocation(store, "other", NULL), 0);
    store_close(store);
    store = open_good(&directory);
    struct seen seen = {0};
    assert_int_equal(store_each_allocation(store, see_allocation, &seen, NULL), 0);
    assert_int_equal(seen.count, 1);
    assert_memory_equal(&seen.allocation, &allocation, sizeof(allocation));
    assert_int_equal(seen.owner, 1000);
    store_close(store);
}

static void bytes_survive(void **state)
{
    (void)state;
    struct temporary directory cleanup_directory = temporary_make();
    struct store *store = open_good(&directory);
    struct ac_error error = {0};
    void *bytes = NULL;
    size_t size = 99;
    assert_int_equal(store_get_blob(store, "p", &bytes, &size, &error), -ENOENT);
    assert_true(!bytes && size == 99);
    assert_int_equal(store_put_blob(store, "p", "a\0b", 3, NULL), 0);
    assert_int_equal(store_put_blob(store, "empty", NULL, 0, NULL), 0);
    assert_int_equal(store_get_blob(store, "p", &bytes, &size, NULL), 0);
    assert_int_equal(size, 3);
    assert_memory_equal(bytes, "a\0b", 3);
    mem_free(bytes);
    assert_int_equal(store_get_blob(store, "empty", &bytes, &size, NULL), 0);
    assert_int_equal(size, 0);
    mem_free(bytes);
    store_close(store);
}

static void commits_nest(void **state)
{
    (void)state;
    struct temporary directory cleanup_directory = temporary_make();
    struct store *store = open_good(&directory);
    struct agent_spec a = make_agent("a"), b = make_agent("b");
    struct ac_error error = {0};
    assert_int_equal(store_commit(store, &error), -EINVAL);
    store_rollback(store);
    assert_int_equal(store_begin(store, NULL), 0);
    assert_int_equal(store_begin(store, NULL), 0);
    assert_int_equal(store_put_agent(store, &a, at(1), 1, NULL), 0);
    assert_int_equal(store_commit(store, NULL), 0);
    store_rollback(store);
    assert_int_equal(count_agents(store), 0);
    assert_int_equal(store_begin(store, NULL), 0);
    assert_int_equal(store_begin(store, NULL), 0);
    store_rollback(store); /* the inner part fails: so does the whole */
    assert_int_equal(store_put_agent(store, &a, at(1), 1, NULL), 0);
    assert_int_equal(store_commit(store, &error), -ECANCELED);
    assert_int_equal(count_agents(store), 0);
    assert_int_equal(store_begin(store, NULL), 0);
    assert_int_equal(store_put_agent(store, &a, at(1), 1, NULL), 0);
    assert_int_equal(store_put_agent(store, &b, at(1), 1, NULL), 0);
    assert_int_equal(store_commit(store, NULL), 0);
    assert_int_equal(count_agents(store), 2);
    store_close(store);
}

/* ---- Opening ------------------------------------------------------------------------------ */

static mode_t mode_of(const struct temporary *directory, const char *name)
{
    char path[128];
    struct stat status;
    path_in(directory, name, path);
    assert_int_equal(stat(path, &status), 0);
    return status.st_mode & 07777;
}

static struct history *open_history(struct store *store)
{
    struct history *history = NULL;
    struct ac_error error = {0};
    if (history_open(store, &(struct history_options){0}, &history, &error) != 0)
        fail_msg("%s", error.message);
    return history;
}

static void record(struct history *history, int second)
{
    struct ac_usage usage;
    ac_usage_init(&usage);
    const struct history_row row = {.subject = "a", .usage = &usage};
    assert_int_equal(history_tick(history, second * 1000000000ll, &row, 1, NULL), 0);
}

static int count_points(void *userdata, const struct history_point *point)
{
    (void)point;
    (*(int *)userdata)++;
    return 0;
}

static int points_of(struct history *history)
{
    int count = 0;
    assert_int_equal(
        history_range(history, "a", 0, INT64_MAX, 0, 100, count_points, &count, NULL), 0);
    return count;
}

/* While one query has the connection that stays open, another one needs its own. */
static int ask_again(void *userdata, const struct history_point *point)
{
    (void)point;
    return points_of(userdata);
}

/* What was checked is what is used, whatever has its name by now. */
static void a_directory_that_is_moved_is_followed(void **state)
{
    (void)state;
    struct temporary directory cleanup_directory = temporary_make();
    struct agent_spec spec = make_agent("a");
    struct store *store = NULL, *reader = NULL;
    char here[128], moved[128], left[128];
    path_in(&directory, "state", here);
    path_in(&directory, "moved", moved);
    struct store_options options = {.directory = here};
    assert_int_equal(store_open(&options, &store, NULL), 0);
    struct history *history = open_history(store);
    record(history, 1);
    assert_int_equal(rename(here, moved), 0);
    assert_int_equal(mkdir(here, 0700), 0);
    assert_int_equal(store_put_agent(store, &spec, at(1), 1, NULL), 0);
    assert_int_equal(store_open_reader(store, &reader, NULL), 0);
    assert_int_equal(count_agents(reader), 1);
    store_close(reader);
    record(history, 2);
    assert_int_equal(history_range(history, "a", 0, INT64_MAX, 0, 1, ask_again, history, NULL), 2);
    history_close(history);
    store_close(store);
    assert_int_equal(rmdir(here), 0); /* nothing came into it */
    path_in(&directory, "moved/agentcore.db-wal", left);
    assert_int_equal(access(left, F_OK), -1);
    path_in(&directory, "moved/history.db-wal", left);
    assert_int_equal(access(left, F_OK), -1);
    options.directory = moved;
    assert_int_equal(store_open(&options, &store, NULL), 0);
    history = open_history(store);
    assert_int_equal(count_agents(store), 1);
    assert_int_equal(points_of(history), 2);
    history_close(history);
    store_close(store);
}

static void files_are_private(void **state)
{
    (void)state;
    struct temporary directory cleanup_directory = temporary_make();
    char path[128];
    path_in(&directory, "deep/state", path);
    mode_t mask = umask(0);
    struct store *store = NULL;
    const struct store_options options = {.directory = path, .full_sync = true};
    assert_int_equal(store_open(&options, &store, NULL), 0);
    struct history *history = open_history(store);
    umask(mask);
    assert_int_equal(mode_of(&directory, "deep/state/history.db"), 0600);
    assert_int_equal(mode_of(&directory, "deep/state/history.db-wal"), 0600);
    assert_int_equal(mode_of(&directory, "deep/state/history.db.lock"), 0600);
    history_close(history);
    assert_int_equal(mode_of(&directory, "deep"), 0700);
    assert_int_equal(mode_of(&directory, "deep/state"), 0700);
    assert_int_equal(mode_of(&directory, "deep/state/lock"), 0600);
    assert_int_equal(mode_of(&directory, "deep/state/agentcore.db"), 0600);
    assert_int_equal(mode_of(&directory, "deep/state/agentcore.db-wal"), 0600);
    store_close(store);
    chmod(path, 0777);
    struct ac_error error = {0};
    assert_int_equal(store_open(&options, &store, &error), -EPERM);
    assert_non_null(strstr(error.message, "everybody may write to it"));
}

static void second_open_is_refused(void **state)
{
    (void)state;
    struct temporary directory cleanup_directory = temporary_make();
    struct store *store = open_good(&directory);
    char expected[64];
    snprintf(expected, sizeof(expected), "in use by another agentcored (pid %d)", (int)getpid());
    fails(&directory, -EBUSY, expected);
    store_close(store);
    store_close(open_good(&directory));
}

static void newer_schema_is_refused(void **state)
{
    (void)state;
    struct temporary directory cleanup_directory = temporary_make();
    struct agent_spec spec = make_agent("a");
    struct store *store = open_good(&directory);
    assert_int_equal(store_put_agent(store, &spec, at(1), 1, NULL), 0);
    store_close(store);
    run_sql(&directory, "PRAGMA user_version = 1000");
    fails(&directory, -EPROTONOSUPPORT, "has schema version 1000");
    char pragma[64];
    snprintf(pragma, sizeof(pragma), "PRAGMA user_version = %d", store_schema_version);
    run_sql(&directory, pragma);
    store = open_good(&directory);
    assert_int_equal(count_agents(store), 1);
    store_close(store);
}

/* What the first schema had is kept, but for the tables that a database of its own replaced. */
static void first_schema_is_taken_over(void **state)
{
    (void)state;
    struct temporary directory cleanup_directory = temporary_make();
    char identity[96];
    run_sql(&directory, store_migrations[0]);
    snprintf(identity, sizeof(identity), "PRAGMA application_id = %d; PRAGMA user_version = 1",
        STORE_APPLICATION_ID);
    run_sql(&directory, identity);
    run_sql(&directory,
        "INSERT INTO agent VALUES ('a', '', '', 'react', 0, 0, 0, 0, 7, 0, 0, x'', 1, 1);"
        "INSERT INTO allocation VALUES ('a', 'alloc-1', 'strict', 'granted', 1, 1, 1, 1, 1, 1, 1, "
        "0,"
        " 1, 0, ''), ('b', 'alloc-2', 'strict', 'granted', 1, 1, 1, 1, 1, 1, 1, 0, 2, 0, '');"
        "INSERT INTO alert VALUES ('al-1', 'a', 'r', 'cpu', 'info', 'resolved', 0, '', 0, 0, 1, 1, "
        "1),"
        " ('al-2', 'a', 'r', 'cpu', 'info', 'resolved', 0, '', 0, 0, 0, 2, 2);"
        "INSERT INTO history_subject VALUES (1, 'a', 5, 6);"
        "INSERT INTO history_minute (minute, subject, samples) VALUES (5, 1, 60)");
    struct store *store = open_good(&directory);
    struct seen seen = {0};
    assert_int_equal(store_each_agent(store, see_agent, &seen, NULL), 0);
    assert_int_equal(seen.count, 1);
    assert_true(seen.added.wall_ns == 1 && seen.added.boot_ns == 0);
    seen = (struct seen){.stop_at = 1};
    assert_int_equal(store_each_allocation(store, see_allocation, &seen, NULL), 7);
    assert_int_equal(seen.owner, 7); /* of the agent that has it */
    seen.stop_at = 0;
    assert_int_equal(store_each_allocation(store, see_allocation, &seen, NULL), 0);
    assert_true(seen.owner == UINT32_MAX); /* nobody's that is known */
    assert_int_equal(store_each_alert(store, false, 2, 1, see_alert, &seen, NULL), 0);
    assert_true(seen.owner == UINT32_MAX); /* began before the agent of that name did */
    assert_int_equal(store_each_alert(store, false, 0, 2, see_alert, &seen, NULL), 0);
    assert_int_equal(seen.owner, 7);
    assert_int_equal(store_verify(store, NULL), 0);
    store_close(store);
    run_sql(&directory, "CREATE TABLE history_subject (x); CREATE TABLE history_minute (x);"
                        "DROP TABLE history_subject; DROP TABLE history_minute");
    store_close(open_good(&directory));
}

static void another_programs_database_is_refused(void **state)
{
    (void)state;
    struct temporary directory cleanup_directory = temporary_make();
    run_sql(&directory, "CREATE TABLE t (x); PRAGMA application_id = 7");
    fails(&directory, -EUCLEAN, "is a database of another program");
    run_sql(&directory, "PRAGMA application_id = 0");
    fails(&directory, -EUCLEAN, "is a database of another program");
}

static void fill(const struct temporary *directory, int agents)
{
    struct store *store = open_good(directory);
    assert_int_equal(store_begin(store, NULL), 0);
    for (int i = 0; i < agents; i++) {
        char id[32];
        snprintf(id, sizeof(id), "agent-%d", i);
        struct agent_spec spec = make_agent(id);
        assert_int_equal(store_put_agent(store, &spec, at(i), 1, NULL), 0);
    }
    assert_int_equal(store_commit(store, NULL), 0);
    assert_int_equal(store_verify(store, NULL), 0);
    store_close(store);
}

static void overwrite(const struct temporary *directory, long offset, int byte, size_t size)
{
    char path[128], *bytes cleanup_free = mem_alloc(size);
    path_in(directory, "agentcore.db", path);
    memset(bytes, byte, size);
    int fd cleanup_close = open(path, O_WRONLY | O_CLOEXEC);
    assert_int_equal(pwrite(fd, bytes, size, offset), size);
}

static void damage_is_found(void **state)
{
    (void)state;
    struct temporary directory cleanup_directory = temporary_make();
    struct ac_error error = {0};
    fill(&directory, 500);
    overwrite(&directory, 20 * 4096, 0xff, 30 * 4096);
    struct store *store = open_good(&directory);
    assert_int_equal(store_verify(store, &error), -EUCLEAN);
    assert_non_null(strstr(error.message, "move it aside to start anew"));
    struct seen seen = {0};
    assert_int_equal(store_each_agent(store, see_agent, &seen, &error), -EUCLEAN);
    store_close(store);
    overwrite(&directory, 0, 'x', 16);
    fails(&directory, -EUCLEAN, "damaged");
}

static void rows_that_make_no_sense_are_damage(void **state)
{
    (void)state;
    static const char *const changes[] = {"philosophy = 'sceptic'", "id = 'a b'", "id = ''",
        "root_pid = -1", "root_pid = 5000000000", "labels = x'4141'", "labels = x'4100'",
        "labels = zeroblob(513)", "owner_uid = -1", "command = printf('%.256c', 'x')"};
    struct temporary directory cleanup_directory = temporary_make();
    for (size_t i = 0; i < ARRAY_SIZE(changes); i++) {
        char sql[200];
        struct ac_error error = {0};
        struct seen seen = {0};
        fill(&directory, 1);
        snprintf(sql, sizeof(sql), "UPDATE agent SET %s", changes[i]);
        run_sql(&directory, sql);
        struct store *store = open_good(&directory);
        if (store_each_agent(store, see_agent, &seen, &error) != -EUCLEAN || seen.count > 0)
            fail_msg("%s: read", changes[i]);
        store_close(store);
        run_sql(&directory, "DELETE FROM agent");
    }
}

static void read_only_directory_is_told(void **state)
{
    (void)state;
    if (geteuid() == 0 && seteuid(12345) != 0)
        skip();
    struct temporary directory cleanup_directory = temporary_make();
    assert_int_equal(chmod(directory.path, 0500), 0);
    fails(&directory, -EACCES, "Permission denied");
    assert_int_equal(chmod(directory.path, 0700), 0);
    fill(&directory, 1);
    char path[128];
    path_in(&directory, "agentcore.db", path);
    assert_int_equal(chmod(path, 0400), 0);
    fails(&directory, -EACCES, "agentcore.db");
    assert_int_equal(chmod(path, 0600), 0);
    store_close(open_good(&directory));
    if (getuid() == 0)
        assert_int_equal(seteuid(0), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(agents_survive),
        cmocka_unit_test(alerts_survive),
        cmocka_unit_test(allocations_survive),
        cmocka_unit_test(bytes_survive),
        cmocka_unit_test(commits_nest),
        cmocka_unit_test(a_directory_that_is_moved_is_followed),
        cmocka_unit_test(files_are_private),
        cmocka_unit_test(second_open_is_refused),
        cmocka_unit_test(newer_schema_is_refused),
        cmocka_unit_test(first_schema_is_taken_over),
        cmocka_unit_test(another_programs_database_is_refused),
        cmocka_unit_test(damage_is_found),
        cmocka_unit_test(rows_that_make_no_sense_are_damage),
        cmocka_unit_test(read_only_directory_is_told),
    };
    temporary_inject_sqlite();
    return cmocka_run_group_tests_name("store", tests, NULL, NULL);
}
