/* SPDX-License-Identifier: Apache-2.0 */
/* Patterns, by the set of places in the pattern where one can be: no text is slow. */
#include "policy/discover.h"

#include <string.h>

struct glob {
    const char *pattern;
    size_t length;
    bool path;
    unsigned char at[DISCOVERY_PATTERN_MAX + 1];
    unsigned char next[DISCOVERY_PATTERN_MAX + 1];
};

/* Marks place @i, and those behind stars that may match nothing. */
static void mark(const struct glob *glob, unsigned char *set, size_t i)
{
    while (!set[i]) {
        set[i] = 1;
        if (i >= glob->length || glob->pattern[i] != '*')
            return;
        i++;
    }
}

/* "**": the star, or its second one, matches '/' too. */
static bool star_crosses(const struct glob *glob, size_t i)
{
    return !glob->path || (i + 1 < glob->length && glob->pattern[i + 1] == '*') ||
           (i > 0 && glob->pattern[i - 1] == '*');
}

/* Returns whether any place is left. */
static bool step(struct glob *glob, char c)
{
    bool any = false;
    memset(glob->next, 0, glob->length + 1);
    for (size_t i = 0; i < glob->length; i++) {
        if (!glob->at[i])
            continue;
        char p = glob->pattern[i];
        bool slash = glob->path && c == '/';
        if (p == '*' && (!slash || star_crosses(glob, i)))
            mark(glob, glob->next, i);
        else if (p != '*' && (p == c || (p == '?' && !slash)))
            mark(glob, glob->next, i + 1);
        else
            continue;
        any = true;
    }
    memcpy(glob->at, glob->next, glob->length + 1);
    return any;
}

bool discover_glob(const char *pattern, const char *text, size_t size, bool path)
{
    struct glob glob = {.pattern = pattern, .length = strlen(pattern), .path = path};
    if (glob.length > DISCOVERY_PATTERN_MAX)
        return false;
    mark(&glob, glob.at, 0);
    for (size_t i = 0; i < size; i++) {
        if (!step(&glob, text[i]))
            return false;
    }
    return glob.at[glob.length];
}
