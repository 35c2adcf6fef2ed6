/* SPDX-License-Identifier: Apache-2.0 */
/* The inside of struct daemon, shared by the files of this folder only. Loop thread only. */
#ifndef AC_DAEMON_DAEMON_INTERNAL_H
#define AC_DAEMON_DAEMON_INTERNAL_H

#include <systemd/sd-event.h>

#include "daemon.h"
#include "engine/core.h"
#include "net/server.h"
#include "os/collector_ops.h"
#include "store/history.h"

struct followed;
struct gpu_meter;
struct pss_reader;
struct stop_request;

/* A database that refuses writes: the other one goes on. */
struct trouble {
    bool lasts;
    struct mono tried; /* when the last write was tried */
};

struct daemon {
    struct options options; /* for reloads */
    struct config config;
    sd_event *event;
    sd_event_source *tick_source;
    struct collector_source *collector;
    struct followed *followed; /* by slot: whom it follows */
    uint32_t n_followed;
    char collector_reason[256];
    struct core *core;
    struct store *store; /* NULL = memory only */
    struct history *history;
    struct net_context net;
    struct net_server *server;
    int proc_fd;
    int groups_fd;                  /* directory of the agents' cgroups; -1 = none */
    char groups_name[32];           /* its name in the root of the mount */
    bool restoring;                 /* agents that are added now were there before */
    struct trouble state_trouble;   /* everything is written again when the store works */
    struct trouble history_trouble; /* it has a gap until it works */
    bool history_cut;               /* the log told that it is over its budget */
    uint64_t events_lost;           /* as known when the store was last in step */
    struct mono opened;             /* when the start began */
    bool learnt;                    /* runs have ended since the learnt state was last written */
    struct mono saved;              /* when that was */
    struct mono totals_saved;
    bool totals_soon; /* an agent was added since */
    uint64_t totals_took_ns;
    struct mono started;
    uint64_t due_ns; /* when the next tick is due, monotonic */
    uint64_t ticks, ticks_missed, tick_last_ns, tick_max_ns, tick_sum_ns;
    uint64_t samples_lost;
    struct event_quota {
        struct mono since;
        uint32_t lines;
        uint32_t left_out;
    } event_quota; /* of log lines about events, per second */
    struct stop_request *stops;
    struct gpu_meter *gpu;              /* NULL = none, or off */
    struct pss_reader *pss;             /* NULL = off */
    struct daemon_discovery *discovery; /* NULL = off, or not begun */
    struct history_row *rows;           /* of one tick, kept between ticks */
    struct history_totals *rows_totals; /* beside them */
    size_t rows_capacity;
};

/* ---- persist.c */

/* Opens the state directory, unless it is "none". */
int persist_open(struct daemon *daemon, struct ac_error *error);

/* Puts back what was there before the restart: what was learnt and the machine's alerts before the
 * first sample, the agents after it. */
int persist_restore_machine(struct daemon *daemon, struct ac_error *error);
int persist_restore(struct daemon *daemon, struct ac_error *error);

/* Writes everything anew where events were lost. */
void persist_catch_up(struct daemon *daemon);

/* Between these, events are written in one commit. */
void persist_begin(struct daemon *daemon);
void persist_event(struct daemon *daemon, const struct event *event);
void persist_end(struct daemon *daemon);

/* Once per tick: history, and now and then what was learnt. Trouble is told by an alert. */
void persist_tick(struct daemon *daemon, struct moment now);
void persist_close(struct daemon *daemon);

/* ---- totals.c */

int totals_save(struct daemon *daemon, struct ac_error *error);
bool totals_due(const struct daemon *daemon, struct mono now);

/* After the agents were restored, before the first sample of them. */
void totals_restore(struct daemon *daemon);

/* ---- replay.c: what the history says of the time before a restart */

/* Before the first sample, after the machine's alerts were restored. */
void replay_machine(struct daemon *daemon);

/* After the agents and their alerts were restored. */
void replay_agents(struct daemon *daemon);

/* Learns from a run that ended while nobody looked. */
void replay_ended(struct daemon *daemon, const struct agent_spec *spec, int64_t added_ns);

/* ---- control.c */

/* Sends @signal to all processes of an agent, and KILL to what is left after the grace time.
 * Returns 0; -EALREADY (nothing runs); -ENOSPC (too many stops of ordinary users under way). */
int control_stop(struct daemon *daemon, const struct agent *agent, int signal, uint64_t grace_ns,
    uint32_t as_uid, uint32_t *ret_signalled, struct ac_error *error);
void control_free(struct daemon *daemon);

/* ---- privileges.c */

/* Gives up what is not needed from here on. Returns 0 or -errno. */
int privileges_drop(struct ac_error *error);

/* ---- follow.c */

/* Tells the collector and the cgroups of an agent that comes or goes. */
void follow_event(struct daemon *daemon, const struct event *event);

/* ---- groups.c */

/* Once the socket is ours: two daemons never share one, nor its groups. */
void groups_open(struct daemon *daemon);

/* Puts an agent that announced itself into its group; finds that of one that was restored, with
 * all that lives there. */
void groups_add(struct daemon *daemon, const struct agent *agent);

/* Whether a process lives in the group of @id. */
bool groups_populated(const struct daemon *daemon, const char *id);

/* The group of an agent whose processes are gone; one that is not empty stays. */
void groups_remove(struct daemon *daemon, const char *id);

/* All groups that are empty. */
void groups_tidy(struct daemon *daemon);
void groups_close(struct daemon *daemon);

/* ---- gpu.c */

/* Looks for GPUs, as the configuration says. Without one nothing is said in "auto". */
void gpu_open(struct daemon *daemon);

/* Begins to read them. Its thread has what privileges are left. */
void gpu_start(struct daemon *daemon);

/* Adds what processes use of GPUs to a sample. */
void gpu_fill(struct daemon *daemon, struct sample *sample);

/* ---- discovery.c */

/* After a tick with this sample: adds agents that rules find, where that is on and due. */
void discovery_tick(struct daemon *daemon, const struct sample *sample);

/* Begins anew with what the configuration says now; frees. */
void discovery_reset(struct daemon *daemon);

/* ---- daemon.c */

/* Hands queued events to the log, the store, the collector and the streams. */
void daemon_drain(struct daemon *daemon);

/* Takes a sample between two ticks. Returns 0 or -errno. */
int daemon_sample(struct daemon *daemon);

#endif
