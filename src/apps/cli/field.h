/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading fields of the API's JSON objects (docs/http-api.md). @path may go down:
 * "usage.cpu_percent". A field that is missing, null or of another type is unknown: NaN, NULL, 0
 * for times.
 */
#ifndef AC_CLI_FIELD_H
#define AC_CLI_FIELD_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

const json_t *field_get(const json_t *object, const char *path);
double field_number(const json_t *object, const char *path);
const char *field_text(const json_t *object, const char *path); /* borrowed */
int64_t field_time(const json_t *object, const char *path);     /* wall ns */
bool field_true(const json_t *object, const char *path);

/* @value, or JSON's null for NaN. A new reference. */
json_t *field_real(double value);

#endif
