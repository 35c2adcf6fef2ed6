/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Hash maps: strmap from strings, u64map from 64-bit keys, both to pointers.
 *
 * Open addressing with stored hashes and backward-shift deletion; XXH3 with a seed taken at
 * creation, so that ids chosen by an agent cannot be made to collide. Values are borrowed; a
 * strmap's keys too: they must live as long as their entry (usually inside the value). Not safe
 * for concurrent use. Removing while iterating is not allowed.
 */
#ifndef AC_BASE_MAP_H
#define AC_BASE_MAP_H

#include <stddef.h>
#include <stdint.h>

struct strmap;
struct u64map;

/* Return 0 or -ENOMEM. free takes NULL. */
int strmap_new(uint64_t seed, struct strmap **ret_map);
void strmap_free(struct strmap *map);
size_t strmap_count(const struct strmap *map);

/* The value, or NULL. */
void *strmap_get(const struct strmap *map, const char *key);
void *strmap_get_n(const struct strmap *map, const char *key, size_t length);

/* Adds, or replaces the value of an equal key (whose old key pointer is replaced as well). Values
 * are not NULL. Returns 0 or -ENOMEM. */
int strmap_put(struct strmap *map, const char *key, void *value);

/* Returns the removed value, or NULL. */
void *strmap_remove(struct strmap *map, const char *key);

/* Iterates in no order: start with *cursor = 0; returns NULL at the end. */
void *strmap_next(const struct strmap *map, size_t *cursor);

int u64map_new(uint64_t seed, struct u64map **ret_map);
void u64map_free(struct u64map *map);
size_t u64map_count(const struct u64map *map);
void *u64map_get(const struct u64map *map, uint64_t key);
int u64map_put(struct u64map *map, uint64_t key, void *value);
void *u64map_remove(struct u64map *map, uint64_t key);
void *u64map_next(const struct u64map *map, size_t *cursor);
void u64map_clear(struct u64map *map);

#endif
