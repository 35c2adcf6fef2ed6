/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Quotas: how much of a cap each of its users may take. An ordinary user gets a quarter, all of
 * them together three quarters, the privileged all of it: so nobody locks root or the others out.
 * Pure; not safe for concurrent use.
 */
#ifndef AC_POLICY_QUOTA_H
#define AC_POLICY_QUOTA_H

#include <stdbool.h>
#include <stdint.h>

static inline uint32_t quota_of(uint32_t cap)
{
    return cap / 4 > 0 ? cap / 4 : 1;
}

/* Whose agents have a share of a cap, and whose all of it: root's, and those of the user that the
 * daemon runs as. Zero-initialised: everybody's. */
struct quota_users {
    bool several; /* there may be others */
    uint32_t own_uid;
};

static inline bool quota_ordinary(const struct quota_users *users, uint32_t uid)
{
    return users->several && uid != 0 && uid != users->own_uid;
}

/* Whether an ordinary user who has @own places of @cap, of @ordinary that all of them have, may
 * have no further one. Of a single place the privileged leave nothing: then one user may have it.
 */
static inline bool quota_spent(uint32_t cap, uint32_t own, uint32_t ordinary)
{
    uint32_t share = quota_of(cap), all = cap > share ? cap - share : 1;
    return own >= share || ordinary >= all;
}

/* The places that ordinary users have, for caps with too many places to count them each time. */
struct quota;
int quota_new(uint64_t seed, struct quota **ret_quota); /* 0, -ENOMEM */
void quota_free(struct quota *quota);

/* Takes a place of @cap. Returns 0, -ENOSPC, -ENOMEM. */
int quota_take(struct quota *quota, uint32_t cap, uint32_t uid);
void quota_give(struct quota *quota, uint32_t uid);

#endif
