/* SPDX-License-Identifier: Apache-2.0 */
#include "model/agent.h"

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"

static void ids_table(void **state)
{
    (void)state;
    static const char *const good[] = {"a", "Z", "0", "_", "-", "agent-1", "A_b-9", "--help"};
    static const char *const bad[] = {"", " ", "a b", "a.b", "a/b", "../x", "a\n", "a;rm",
        "\xc3\xa4", "a\x7f", "a%", "a:b", "a@b", "`id`", "\xff"};
    for (size_t i = 0; i < ARRAY_SIZE(good); i++)
        assert_true(ac_agent_id_valid(good[i]));
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        assert_false(ac_agent_id_valid(bad[i]));
    assert_false(ac_agent_id_valid(NULL));
    char id[AC_AGENT_ID_MAX + 2] = "";
    memset(id, 'x', AC_AGENT_ID_MAX);
    assert_true(ac_agent_id_valid(id));
    id[AC_AGENT_ID_MAX] = 'x';
    assert_false(ac_agent_id_valid(id));
}

/* Of all bytes exactly the 64 documented ones make an id. */
static void every_byte_as_an_id(void **state)
{
    (void)state;
    int legal = 0;
    for (int c = 1; c < 256; c++) {
        char id[2] = {(char)c, 0};
        legal += ac_agent_id_valid(id);
    }
    assert_int_equal(legal, 64);
}

static struct ac_agent_config good_config(void)
{
    struct ac_agent_config config;
    ac_agent_config_init(&config);
    config.agent_id = "agent-1";
    return config;
}

static void a_config_becomes_a_spec(void **state)
{
    (void)state;
    struct ac_agent_config config = good_config();
    struct agent_spec spec;
    config.philosophy = AC_AUTONOMOUS;
    config.agent_template = "coder v2";
    config.max_cpu_cores = 1.5;
    config.max_memory_mb = 512;
    config.max_execution_time_seconds = 60;
    config.max_file_descriptors = 9;
    memset(&spec, 0xff, sizeof(spec));
    assert_int_equal(agent_spec_from_config(&config, &spec, NULL), 0);
    assert_string_equal(spec.id, "agent-1");
    assert_string_equal(spec.agent_template, "coder v2");
    assert_string_equal(spec.command, "");
    assert_int_equal(spec.philosophy, AC_AUTONOMOUS);
    assert_true(spec.limits.max_cpu_cores == 1.5 && spec.limits.max_memory_mb == 512);
    assert_true(spec.limits.max_execution_time_seconds == 60);
    assert_int_equal(spec.limits.max_file_descriptors, 9);
    assert_int_equal(spec.labels_size, 0);
    assert_int_equal(spec.root_pid, 0);
}

static void bad_configs_name_the_field(void **state)
{
    (void)state;
    static const double bad[] = {-1, NAN, INFINITY, 1e10};
    static const struct {
        const char *name;
        size_t offset;
    } numbers[] = {
        {"max_cpu_cores", offsetof(struct ac_agent_config, max_cpu_cores)},
        {"max_memory_mb", offsetof(struct ac_agent_config, max_memory_mb)},
        {"max_execution_time_seconds",
            offsetof(struct ac_agent_config, max_execution_time_seconds)},
    };
    for (size_t i = 0; i < ARRAY_SIZE(numbers); i++) {
        for (size_t k = 0; k < ARRAY_SIZE(bad); k++) {
            struct ac_agent_config config = good_config();
            struct ac_error error = {0};
            *(double *)((char *)&config + numbers[i].offset) = bad[k];
            assert_int_equal(ac_agent_config_validate(&config, &error), -EINVAL);
            assert_ptr_equal(strstr(error.message, numbers[i].name), error.message);
        }
    }
    struct ac_agent_config config = good_config();
    struct ac_error error = {0};
    config.agent_id = NULL;
    assert_int_equal(ac_agent_config_validate(&config, &error), -EINVAL);
    assert_non_null(strstr(error.message, "agent_id"));
    config.agent_id = "evil\n\x1b[2J";
    assert_int_equal(ac_agent_config_validate(&config, &error), -EINVAL);
    assert_null(strchr(error.message, '\n'));
    assert_null(strchr(error.message, '\x1b'));
    config = good_config();
    config.philosophy = AC_PHILOSOPHY_COUNT;
    assert_int_equal(ac_agent_config_validate(&config, &error), -EINVAL);
    config = good_config();
    config.size = 8;
    assert_int_equal(ac_agent_config_validate(&config, &error), -EINVAL);
    assert_int_equal(ac_agent_config_validate(NULL, &error), -EINVAL);
}

static void a_refused_config_leaves_the_spec_alone(void **state)
{
    (void)state;
    struct ac_agent_config config = good_config();
    struct agent_spec spec, before;
    memset(&spec, 0x5a, sizeof(spec));
    before = spec;
    config.max_memory_mb = -1;
    assert_int_equal(agent_spec_from_config(&config, &spec, NULL), -EINVAL);
    assert_memory_equal(&spec, &before, sizeof(spec));
}

static void templates_have_a_length(void **state)
{
    (void)state;
    char text[AGENT_TEMPLATE_MAX + 2] = "";
    struct ac_agent_config config = good_config();
    struct agent_spec spec;
    memset(text, 't', AGENT_TEMPLATE_MAX);
    config.agent_template = text;
    assert_int_equal(agent_spec_from_config(&config, &spec, NULL), 0);
    assert_string_equal(spec.agent_template, text);
    text[AGENT_TEMPLATE_MAX] = 't';
    assert_int_equal(agent_spec_from_config(&config, &spec, NULL), -EINVAL);
}

static const char *label_of(const struct agent_spec *spec, const char *key)
{
    const char *found, *value;
    size_t cursor = 0;
    do
        found = agent_spec_next_label(spec, &cursor, &value);
    while (found && strcmp(found, key) != 0);
    return found ? value : NULL;
}

static void labels_are_set_and_replaced(void **state)
{
    (void)state;
    struct agent_spec spec = {0};
    assert_int_equal(agent_spec_set_label(&spec, "team", "red", NULL), 0);
    assert_int_equal(agent_spec_set_label(&spec, "env", "", NULL), 0);
    assert_int_equal(agent_spec_set_label(&spec, "tier", "1", NULL), 0);
    assert_int_equal(agent_spec_set_label(&spec, "team", "a longer colour", NULL), 0);
    assert_int_equal(agent_spec_set_label(&spec, "tea", "x", NULL), 0);
    assert_string_equal(label_of(&spec, "team"), "a longer colour");
    assert_string_equal(label_of(&spec, "env"), "");
    assert_string_equal(label_of(&spec, "tier"), "1");
    assert_string_equal(label_of(&spec, "tea"), "x");
    assert_null(label_of(&spec, "te"));
    size_t n = 0;
    const char *value;
    for (size_t cursor = 0; agent_spec_next_label(&spec, &cursor, &value);)
        n++;
    assert_int_equal(n, 4);
}

static void label_keys_table(void **state)
{
    (void)state;
    static const char *const good[] = {"a", "_", "app.kubernetes.io-name", "A9", "_1"};
    static const char *const bad[] = {"", "9a", ".a", "-a", "a b", "a=b", "a\n", "\xc3\xa4", "a/b"};
    char key[AGENT_LABEL_KEY_MAX + 2] = "";
    for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
        struct agent_spec spec = {0};
        assert_int_equal(agent_spec_set_label(&spec, good[i], "v", NULL), 0);
    }
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        struct agent_spec spec = {0};
        assert_int_equal(agent_spec_set_label(&spec, bad[i], "v", NULL), -EINVAL);
        assert_int_equal(spec.labels_size, 0);
    }
    struct agent_spec spec = {0};
    memset(key, 'k', AGENT_LABEL_KEY_MAX);
    assert_int_equal(agent_spec_set_label(&spec, key, "v", NULL), 0);
    key[AGENT_LABEL_KEY_MAX] = 'k';
    assert_int_equal(agent_spec_set_label(&spec, key, "v", NULL), -EINVAL);
}

static void labels_have_a_cap_and_what_does_not_fit_changes_nothing(void **state)
{
    (void)state;
    struct agent_spec spec = {0};
    char key[16], big[AGENT_LABELS_MAX_BYTES + 1] = "";
    int r, n = 0;
    do {
        snprintf(key, sizeof(key), "key%d", n++);
        r = agent_spec_set_label(&spec, key, "0123456789", NULL);
    } while (r == 0);
    assert_int_equal(r, -ENOSPC);
    assert_true(n > 25);
    assert_true(spec.labels_size <= AGENT_LABELS_MAX_BYTES);
    struct agent_spec before = spec;
    memset(big, 'v', sizeof(big) - 1);
    assert_int_equal(agent_spec_set_label(&spec, "key0", big, NULL), -ENOSPC);
    assert_memory_equal(&spec, &before, sizeof(spec));
    assert_string_equal(label_of(&spec, "key0"), "0123456789");
    /* Replacing by something shorter makes room. */
    assert_int_equal(agent_spec_set_label(&spec, "key0", "", NULL), 0);
    assert_int_equal(agent_spec_set_label(&spec, "key1", "", NULL), 0);
    assert_int_equal(agent_spec_set_label(&spec, "key999", "12345", NULL), 0);

    struct agent_spec full = {0};
    big[AGENT_LABELS_MAX_BYTES - 3] = 0;
    assert_int_equal(agent_spec_set_label(&full, "k", big, NULL), 0);
    assert_int_equal(full.labels_size, AGENT_LABELS_MAX_BYTES);
    assert_string_equal(label_of(&full, "k"), big);
    assert_int_equal(agent_spec_set_label(&full, "l", "", NULL), -ENOSPC);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ids_table),
        cmocka_unit_test(every_byte_as_an_id),
        cmocka_unit_test(a_config_becomes_a_spec),
        cmocka_unit_test(bad_configs_name_the_field),
        cmocka_unit_test(a_refused_config_leaves_the_spec_alone),
        cmocka_unit_test(templates_have_a_length),
        cmocka_unit_test(labels_are_set_and_replaced),
        cmocka_unit_test(label_keys_table),
        cmocka_unit_test(labels_have_a_cap_and_what_does_not_fit_changes_nothing),
    };
    return cmocka_run_group_tests_name("model/agent", tests, NULL, NULL);
}
