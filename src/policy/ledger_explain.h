/* SPDX-License-Identifier: Apache-2.0 */
/* The sentence of an allocation: what bound the answer, and what the prediction rests on. */
#ifndef AC_POLICY_LEDGER_EXPLAIN_H
#define AC_POLICY_LEDGER_EXPLAIN_H

#include <agentcore.h>

/* What is known when an allocation has been decided. */
struct ledger_case {
    struct ac_prediction predicted;
    double want_cpu_percent; /* predicted, or the agent's own maximum where that is less */
    double want_memory_mb;
    bool own_cpu; /* the agent's own maximum is below the prediction */
    bool own_memory;
    bool cpu_unknown;        /* the machine's CPU use is not known */
    bool never;              /* more than the whole machine has to give */
    double headroom;         /* 0-1 */
    double most_cpu_percent; /* headroom x capacity */
    double most_memory_mb;
};

/* Fills .explanation from the other fields of @allocation. */
void ledger_explain(const struct ledger_case *of, struct ac_allocation *allocation);

/* The same for a reservation that ran out after @ttl_seconds. */
void ledger_explain_expired(struct ac_allocation *allocation, double ttl_seconds);

#endif
