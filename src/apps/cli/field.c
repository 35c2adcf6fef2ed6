/* SPDX-License-Identifier: Apache-2.0 */
#include "apps/cli/field.h"

#include <math.h>
#include <string.h>

#include "apps/cli/text.h"

const json_t *field_get(const json_t *object, const char *path)
{
    while (object) {
        size_t n = strcspn(path, ".");
        object = json_object_getn(object, path, n);
        if (path[n] == 0)
            return object;
        path += n + 1;
    }
    return NULL;
}

double field_number(const json_t *object, const char *path)
{
    const json_t *field = field_get(object, path);
    return json_is_number(field) ? json_number_value(field) : NAN;
}

const char *field_text(const json_t *object, const char *path)
{
    return json_string_value(field_get(object, path));
}

int64_t field_time(const json_t *object, const char *path)
{
    int64_t time = 0;
    text_parse_rfc3339(field_text(object, path), &time);
    return time;
}

bool field_true(const json_t *object, const char *path)
{
    return json_is_true(field_get(object, path));
}

json_t *field_real(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}
