/* SPDX-License-Identifier: Apache-2.0 */
#include "base/map.h"

#define XXH_INLINE_ALL
#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <xxhash.h>

#include "base/mem.h"

/* One table serves both maps: a strmap's slot has a key pointer, a u64map's its key. A slot is
 * empty where value is NULL. */
struct slot {
    uint64_t hash; /* strmap: of the string; u64map: of the key */
    union {
        const char *text;
        uint64_t number;
    } key;
    void *value;
};

struct table {
    struct slot *slots;
    size_t mask; /* slots - 1, a power of two less one */
    size_t count;
    uint64_t seed;
};

struct strmap {
    struct table table;
};

struct u64map {
    struct table table;
};

static int table_init(struct table *table, uint64_t seed, size_t slots)
{
    struct slot *memory = mem_alloc_array(slots, sizeof(*memory));
    if (!memory)
        return -ENOMEM;
    table->slots = memory;
    table->mask = slots - 1;
    table->count = 0;
    table->seed = seed;
    return 0;
}

/* Puts a slot that is known to be new. */
static void table_place(struct table *table, struct slot slot)
{
    size_t i = slot.hash & table->mask;
    while (table->slots[i].value)
        i = (i + 1) & table->mask;
    table->slots[i] = slot;
    table->count++;
}

static int table_grow(struct table *table)
{
    if ((table->count + 1) * 4 <= (table->mask + 1) * 3)
        return 0;
    struct table bigger;
    int r = table_init(&bigger, table->seed, (table->mask + 1) * 2);
    if (r < 0)
        return r;
    for (size_t i = 0; i <= table->mask; i++) {
        if (table->slots[i].value)
            table_place(&bigger, table->slots[i]);
    }
    mem_free(table->slots);
    *table = bigger;
    return 0;
}

/* Empties slot @i and closes the gap, so that no tombstones are needed. */
static void *table_remove_at(struct table *table, size_t i)
{
    void *value = table->slots[i].value;
    size_t hole = i;
    for (size_t j = (i + 1) & table->mask; table->slots[j].value; j = (j + 1) & table->mask) {
        size_t home = table->slots[j].hash & table->mask;
        if (((j - home) & table->mask) >= ((j - hole) & table->mask)) {
            table->slots[hole] = table->slots[j];
            hole = j;
        }
    }
    table->slots[hole].value = NULL;
    table->count--;
    return value;
}

static void *table_next(const struct table *table, size_t *cursor)
{
    while (*cursor <= table->mask) {
        void *value = table->slots[(*cursor)++].value;
        if (value)
            return value;
    }
    return NULL;
}

int strmap_new(uint64_t seed, struct strmap **ret_map)
{
    struct strmap *map cleanup_free = mem_alloc(sizeof(*map));
    if (!map || table_init(&map->table, seed, 16) < 0)
        return -ENOMEM;
    *ret_map = TAKE_PTR(map);
    return 0;
}

void strmap_free(struct strmap *map)
{
    if (map)
        mem_free(map->table.slots);
    mem_free(map);
}

size_t strmap_count(const struct strmap *map)
{
    return map->table.count;
}

static bool strmap_find(
    const struct strmap *map, const char *key, size_t length, uint64_t hash, size_t *ret_at)
{
    const struct table *table = &map->table;
    for (size_t i = hash & table->mask; table->slots[i].value; i = (i + 1) & table->mask) {
        const struct slot *slot = &table->slots[i];
        if (slot->hash == hash && strlen(slot->key.text) == length &&
            memcmp(slot->key.text, key, length) == 0) {
            *ret_at = i;
            return true;
        }
    }
    return false;
}

void *strmap_get_n(const struct strmap *map, const char *key, size_t length)
{
    size_t i;
    uint64_t hash = XXH3_64bits_withSeed(key, length, map->table.seed);
    return strmap_find(map, key, length, hash, &i) ? map->table.slots[i].value : NULL;
}

void *strmap_get(const struct strmap *map, const char *key)
{
    return strmap_get_n(map, key, strlen(key));
}

int strmap_put(struct strmap *map, const char *key, void *value)
{
    size_t i, length = strlen(key);
    uint64_t hash = XXH3_64bits_withSeed(key, length, map->table.seed);
    struct slot slot = {.hash = hash, .key.text = key, .value = value};
    if (strmap_find(map, key, length, hash, &i)) {
        map->table.slots[i] = slot;
        return 0;
    }
    int r = table_grow(&map->table);
    if (r < 0)
        return r;
    table_place(&map->table, slot);
    return 0;
}

void *strmap_remove(struct strmap *map, const char *key)
{
    size_t i, length = strlen(key);
    uint64_t hash = XXH3_64bits_withSeed(key, length, map->table.seed);
    return strmap_find(map, key, length, hash, &i) ? table_remove_at(&map->table, i) : NULL;
}

void *strmap_next(const struct strmap *map, size_t *cursor)
{
    return table_next(&map->table, cursor);
}

/* splitmix64's finaliser: a bijection, so equal hashes mean equal keys. */
static uint64_t u64_hash(const struct u64map *map, uint64_t key)
{
    uint64_t z = key ^ map->table.seed;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
}

int u64map_new(uint64_t seed, struct u64map **ret_map)
{
    struct u64map *map cleanup_free = mem_alloc(sizeof(*map));
    if (!map || table_init(&map->table, seed, 16) < 0)
        return -ENOMEM;
    *ret_map = TAKE_PTR(map);
    return 0;
}

void u64map_free(struct u64map *map)
{
    if (map)
        mem_free(map->table.slots);
    mem_free(map);
}

size_t u64map_count(const struct u64map *map)
{
    return map->table.count;
}

static bool u64map_find(const struct u64map *map, uint64_t hash, size_t *ret_at)
{
    const struct table *table = &map->table;
    for (size_t i = hash & table->mask; table->slots[i].value; i = (i + 1) & table->mask) {
        if (table->slots[i].hash == hash) {
            *ret_at = i;
            return true;
        }
    }
    return false;
}

void *u64map_get(const struct u64map *map, uint64_t key)
{
    size_t i;
    return u64map_find(map, u64_hash(map, key), &i) ? map->table.slots[i].value : NULL;
}

int u64map_put(struct u64map *map, uint64_t key, void *value)
{
    size_t i;
    struct slot slot = {.hash = u64_hash(map, key), .key.number = key, .value = value};
    if (u64map_find(map, slot.hash, &i)) {
        map->table.slots[i] = slot;
        return 0;
    }
    int r = table_grow(&map->table);
    if (r < 0)
        return r;
    table_place(&map->table, slot);
    return 0;
}

void *u64map_remove(struct u64map *map, uint64_t key)
{
    size_t i;
    return u64map_find(map, u64_hash(map, key), &i) ? table_remove_at(&map->table, i) : NULL;
}

void *u64map_next(const struct u64map *map, size_t *cursor)
{
    return table_next(&map->table, cursor);
}

void u64map_clear(struct u64map *map)
{
    memset(map->table.slots, 0, (map->table.mask + 1) * sizeof(*map->table.slots));
    map->table.count = 0;
}
