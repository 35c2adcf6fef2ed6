/* SPDX-License-Identifier: Apache-2.0 */
/* What the routes of the history's statistics share: the span, whose history is meant and may be
 * seen, and the fields that say what an answer is made of. */
#ifndef AC_NET_STATS_H
#define AC_NET_STATS_H

#include "base/map.h"
#include "net/query.h"
#include "store/history.h"

#define STATS_SUBJECTS_MAX 10000

struct stats_span {
    int64_t since, until;
};

/* The span that was asked for, the last hour by default. False: the reply is a problem. */
bool stats_take_span(struct net_call *call, struct stats_span *ret_span);

/* Whether there is a history on disk; else the reply is a problem. */
bool stats_stored(struct net_call *call);

/* Whom this peer may see and the filters of the query let through, as copies. Of a subject that is
 * no longer known, or that had another owner before, owner, philosophy and labels are those that
 * the history keeps. */
struct stats_scope {
    int64_t owner;       /* whose samples the peer may see: see history.h */
    bool all;            /* everybody; .who then has only those with a group */
    bool listed;         /* only those in .who */
    bool filtered;       /* by philosophy or labels */
    bool of_philosophy;  /* .philosophy counts */
    unsigned philosophy; /* enum ac_philosophy */
    struct strmap *who;  /* id -> struct stats_agent; NULL = nobody */
    struct buf agents;   /* of struct stats_agent */
    struct buf text;     /* ids and names of groups */
    struct buf labels;   /* "k=v" or "k" that must fit, each with its NUL */
};

/* What the group of an agent of that kind is called; NULL = it has no name. */
typedef const char *(*stats_group_fn)(void *userdata, const struct history_about *about);

/* @group: NULL = none. Returns 0 or -ENOMEM. */
int stats_scope_take(
    struct net_call *call, stats_group_fn group, void *userdata, struct stats_scope *ret_scope);
void stats_scope_done(struct stats_scope *scope);
bool stats_scope_has(const struct stats_scope *scope, const struct history_subject *subject);
const char *stats_scope_group(const struct stats_scope *scope,
    const struct history_subject *subject, stats_group_fn group, void *userdata);

struct stats_subject {
    char name[AC_AGENT_ID_MAX + 1]; /* "" = the machine */
    int64_t owner;                  /* whose samples of that name */
    unsigned missing;               /* the status where there are none; 0 = an empty answer */
};

struct stats_subjects {
    struct stats_subject *list;
    size_t count, room;
};
void stats_subjects_done(struct stats_subjects *subjects);
int stats_subjects_add(
    struct stats_subjects *subjects, const char *name, int64_t owner); /* 0 or -ENOMEM */

/* Whether the query names anybody: by id, philosophy or label. */
bool stats_named(const struct net_call *call);

/* The subjects that the query names: by id, else all registered ones that the filters let through;
 * the machine where it names nobody. Returns 0, 1 where the reply is a problem (more than @most is
 * one), or -errno. */
int stats_subjects_take(struct net_call *call, size_t most, struct stats_subjects *ret_subjects);

/* By the query itself: looks whether those that were named by id have something that this peer may
 * see, and adds who is no longer known, has history in the span and passes the filters of @scope
 * (none where nobody was filtered). Returns 0, 1 where the reply is a problem (more than @most is
 * one), or -errno. */
int stats_subjects_complete(struct net_query *query, const struct stats_scope *scope,
    const struct stats_span *span, size_t most, struct stats_subjects *subjects,
    struct ac_error *error);

/* Makes the reply say why @name (.missing: 403 or 404) is not answered. Returns 0. */
int stats_missing(struct net_query *query, unsigned missing, const char *name);

/* The fields of INFO_FIELDS. */
void stats_write_info(struct json_writer *w, const struct history_info *info);
void stats_write_span(struct json_writer *w, const struct stats_span *span);

/* Adds what another part of an answer is made of. */
void stats_info_add(struct history_info *sum, const struct history_info *info);

/* "cores", "MiB", "MiB/s", "count". */
const char *stats_unit(enum ac_resource resource);

#endif
