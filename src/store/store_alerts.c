/* SPDX-License-Identifier: Apache-2.0 */
#include "store/store.h"

#include <errno.h>
#include <string.h>

#include "store/store_sqlite.h"

int store_put_alert(
    struct store *store, const struct ac_alert *alert, uint32_t owner_uid, struct ac_error *error)
{
    sqlite3_stmt *statement cleanup_reset = NULL;
    int r = sql_get(store, SQL_PUT_ALERT, &statement, error);
    if (r < 0)
        return r;
    struct binder binder = {.statement = statement};
    bind_text(&binder, alert->alert_id);
    bind_text(&binder, alert->agent_id);
    bind_text(&binder, alert->rule);
    bind_text(&binder, ac_resource_name(alert->resource));
    bind_text(&binder, ac_severity_name(alert->severity));
    bind_text(&binder, ac_alert_state_name(alert->state));
    bind_int(&binder, alert->acknowledged);
    bind_text(&binder, alert->message);
    bind_real(&binder, alert->threshold);
    bind_real(&binder, alert->current_value);
    bind_int(&binder, alert->started_ns);
    bind_int(&binder, alert->updated_ns);
    bind_int(&binder, alert->ended_ns);
    bind_int(&binder, owner_uid);
    r = sql_bound(store, &binder, error);
    return r < 0 ? r : sql_run(store, statement, "storing an alert", error);
}

static int state_from_name(const char *name, enum ac_alert_state *ret_state)
{
    for (unsigned i = AC_ALERT_PENDING; i <= AC_ALERT_RESOLVED; i++) {
        if (strcmp(ac_alert_state_name((enum ac_alert_state)i), name) == 0) {
            *ret_state = (enum ac_alert_state)i;
            return 0;
        }
    }
    return -EINVAL;
}

static bool read_alert(sqlite3_stmt *statement, struct ac_alert *ret_alert, uint32_t *ret_owner)
{
    struct reader reader = {.statement = statement};
    memset(ret_alert, 0, sizeof(*ret_alert));
    read_text(&reader, ret_alert->alert_id, sizeof(ret_alert->alert_id));
    read_text(&reader, ret_alert->agent_id, sizeof(ret_alert->agent_id));
    read_text(&reader, ret_alert->rule, sizeof(ret_alert->rule));
    bool known = ac_resource_from_name(read_word(&reader), &ret_alert->resource) == 0;
    known = ac_severity_from_name(read_word(&reader), &ret_alert->severity) == 0 && known;
    known = state_from_name(read_word(&reader), &ret_alert->state) == 0 && known;
    ret_alert->acknowledged = read_int(&reader) != 0;
    read_text(&reader, ret_alert->message, sizeof(ret_alert->message));
    ret_alert->threshold = read_real(&reader);
    ret_alert->current_value = read_real(&reader);
    ret_alert->started_ns = read_int(&reader);
    ret_alert->updated_ns = read_int(&reader);
    ret_alert->ended_ns = read_int(&reader);
    *ret_owner = read_u32(&reader);
    return !reader.damaged && known;
}

int store_each_alert(struct store *store, bool live_only, int64_t since_ns, uint32_t limit,
    store_alert_fn each, void *userdata, struct ac_error *error)
{
    sqlite3_stmt *statement cleanup_reset = NULL;
    int r = sql_get(store, live_only ? SQL_EACH_LIVE_ALERT : SQL_EACH_ALERT, &statement, error);
    if (r < 0)
        return r;
    struct binder binder = {.statement = statement};
    bind_int(&binder, since_ns);
    bind_int(&binder, limit);
    r = sql_bound(store, &binder, error);
    if (r < 0)
        return r;
    for (;;) {
        struct ac_alert alert;
        uint32_t owner;
        r = sql_step(store, statement, "reading alerts", error);
        if (r <= 0)
            return r;
        if (!read_alert(statement, &alert, &owner))
            return error_set(error, -EUCLEAN,
                "%s: damaged (a row of alert); move it aside to start anew", store->path);
        r = each(userdata, &alert, owner);
        if (r != 0)
            return r;
    }
}

int store_trim_alerts(struct store *store, int64_t before_ns, struct ac_error *error)
{
    sqlite3_stmt *statement cleanup_reset = NULL;
    int r = sql_get(store, SQL_TRIM_ALERTS, &statement, error);
    if (r < 0)
        return r;
    struct binder binder = {.statement = statement};
    bind_int(&binder, before_ns);
    r = sql_bound(store, &binder, error);
    return r < 0 ? r : sql_run(store, statement, "trimming alerts", error);
}
