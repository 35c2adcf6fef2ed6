/* SPDX-License-Identifier: Apache-2.0 */
/* The sentence of an allocation: what bound the answer, and what the prediction rests on. */
#ifndef AC_POLICY_LEDGER_EXPLAIN_H
#define AC_POLICY_LEDGER_EXPLAIN_H

#include <agentcore.h>

/* What makes an agent want less than was predicted. */
enum ledger_bound {
    LEDGER_UNBOUND,
    LEDGER_OWN_MAXIMUM,
    LEDGER_MOST_WAITED_FOR, /* strict and queue: more CPU need not be free */
};

/* What is known when an allocation has been decided. */
struct ledger_case {
    struct ac_prediction predicted;
    double want_cpu_percent; /* predicted, or less by .cpu_bound */
    double want_memory_mb;
    enum ledger_bound cpu_bound;
    enum ledger_bound memory_bound;
    bool cpu_unknown;      /* the machine's CPU use is not known */
    bool memory_unknown;   /* the machine's memory use is not known */
    bool never;            /* more memory than the whole machine has to give */
    double headroom;       /* 0-1 */
    double most_memory_mb; /* headroom x capacity */
};

/* Fills .explanation from the other fields of @allocation. */
void ledger_explain(const struct ledger_case *of, struct ac_allocation *allocation);

/* The same for a reservation that ran out after @ttl_seconds. */
void ledger_explain_expired(struct ac_allocation *allocation, double ttl_seconds);

#endif
