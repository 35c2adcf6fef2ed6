/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Parsing numbers and quantities from text of known length. All return 0, -EINVAL (not such a
 * number) or -ERANGE (too large), take the whole text or nothing, never skip white space, never
 * depend on the locale, and leave the result untouched on failure.
 */
#ifndef AC_BASE_PARSE_H
#define AC_BASE_PARSE_H

#include <stddef.h>
#include <stdint.h>

int parse_u64(const char *text, size_t length, uint64_t *ret_value);
int parse_i64(const char *text, size_t length, int64_t *ret_value);

/* A decimal number, optionally with fraction and exponent; finite; no hex, "nan" or "inf". */
int parse_double(const char *text, size_t length, double *ret_value);

/* Bytes: a number with K, M, G, T (powers of 1024; also Ki, KiB, KB) or none (bytes). "1.5G". */
int parse_bytes(const char *text, size_t length, uint64_t *ret_bytes);

/* A duration: "250ms", "5s", "1.5m", "2h", "7d", "1w"; "90" = seconds; "1h30m" sums up. */
int parse_duration(const char *text, size_t length, uint64_t *ret_ns);

/* Reads digits from *cursor on, moving it past them. For parsers of /proc, where a field may end
 * anywhere. Returns 0, -EINVAL without a digit, -ERANGE. */
int parse_digits(const char **cursor, const char *end, uint64_t *ret_value);

#endif
