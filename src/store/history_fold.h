/* SPDX-License-Identifier: Apache-2.0 */
/* Many usages in one: per field how many knew it, their sum, minimum and maximum. */
#ifndef AC_STORE_HISTORY_FOLD_H
#define AC_STORE_HISTORY_FOLD_H

#include "store/history.h"
#include "store/store_sqlite.h"

enum { FOLD_FIELDS = 7 };

struct fold {
    uint32_t samples;
    uint32_t n[FOLD_FIELDS]; /* 0 = unknown: the other three mean nothing */
    double sum[FOLD_FIELDS];
    double min[FOLD_FIELDS];
    double max[FOLD_FIELDS];
};

/* A known value that is no finite number counts as unknown. */
void fold_add(struct fold *fold, const struct ac_usage *usage);
void fold_merge(struct fold *fold, const struct fold *other);
void fold_point(const struct fold *fold, struct history_point *ret_point);

/* The columns from "samples" on of history_minute, as integers (see the scales in the source). */
void fold_bind(const struct fold *fold, struct binder *binder);
void fold_read(struct reader *reader, struct fold *ret_fold);

#endif
