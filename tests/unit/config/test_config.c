/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/io.h"
#include "base/mem.h"
#include "config/config.h"

static int parse(const char *text, struct config *ret_config, struct ac_error *error)
{
    return config_parse("f.yaml", text, strlen(text), ret_config, error);
}

static struct config good(const char *text)
{
    struct config config;
    struct ac_error error = {0};
    if (parse(text, &config, &error) != 0)
        fail_msg("%s", error.message);
    return config;
}

static void defaults_are_the_guides(void **state)
{
    (void)state;
    struct config config CLEANUP(config_done);
    struct ac_limits limits;
    ac_limits_init(&limits);
    assert_int_equal(config_defaults(&config), 0);
    assert_memory_equal(&config.limits, &limits, sizeof(limits));
    assert_true(config.interval_ns == NS_PER_SEC);
    assert_int_equal(config.collector, CONFIG_COLLECTOR_AUTO);
    assert_int_equal(config.log_level, LOG_LEVEL_INFO);
    assert_string_equal(config.group, "agentcore");
    assert_int_equal(config.caps.max_agents, 10000);
    assert_int_equal(config.caps.max_body_bytes, 65536);
    assert_true(config.allocation.headroom_percent == 80);
    assert_true(config.allocation.reservation_ttl_ns == 60 * NS_PER_SEC);
    assert_true(config.scaling.up_threshold == 75 && config.scaling.down_threshold == 25);
    assert_int_equal(config.scaling.minimum, 1);
    assert_true(config.history.recent_ns == 3600 * NS_PER_SEC);
    assert_true(config.history.recent_budget_bytes == 16 << 20);
    assert_true(config.history.raw_ns == 48 * 3600 * NS_PER_SEC);
    assert_true(config.history.minutes_ns == 14 * 86400 * NS_PER_SEC);
    assert_true(config.history.hours_ns == 30 * 86400 * NS_PER_SEC);
    assert_true(config.history.days_ns == 730 * 86400 * NS_PER_SEC);
    assert_int_equal(config.history.budget_bytes, 4ull << 30);
    assert_false(config.history.full_sync);
    assert_null(config.http.listen);
    assert_null(config.http.token_file);
    assert_true(config.report_timeout_ns == 600 * NS_PER_SEC);
    assert_true(config.exited_retention_ns == 600 * NS_PER_SEC);
}

static void every_setting_is_read(void **state)
{
    (void)state;
    struct config c CLEANUP(config_done) = good(
        "socket: /tmp/a.sock\nstate: none\ngroup: none\ninterval: 250ms\ncollector: procfs\n"
        "log_level: debug\nreport_timeout: 0s\nexited_retention: 1h30m\n"
        "limits:\n  max_cpu_percent: 90.5\n  max_memory_percent: 70\n  max_disk_io_mbps: 1e3\n"
        "  max_network_io_mbps: 0.5\n  max_file_descriptors: 65536\n  alert_threshold_percent: 0\n"
        "  emergency_memory_percent: 99\n  emergency_file_descriptor_percent: 98\n"
        "  clear_margin_percent: 0\n  for: 1500ms\n  renotify: 2h\n"
        "caps: {max_agents: 5, max_alerts: 6, max_connections: 7, max_streams: 8, max_body: 1M, "
        "max_queue: 0}\n"
        "allocation:\n  policy: queue\n  headroom_percent: 100\n  reservation_ttl: 5s\n"
        "scaling:\n  up_threshold: 80\n  down_threshold: 10\n  cooldown: 0\n  target_percent: 60\n"
        "  stabilization: 5m\n  step: 2\n  minimum: 3\n  maximum: 9\n"
        "history:\n  recent: 2h\n  recent_budget: 1.5G\n  minutes: 30d\n  full_sync: yes\n"
        "  raw: 72h\n  hours: 60d\n  days: 1000d\n  budget: 64M\n"
        "http:\n  listen: \"[::1]:9464\"\n  token_file: '/etc/t'\n  tls_certificate: /c\n"
        "  tls_key: /k\n");
    assert_string_equal(c.socket, "/tmp/a.sock");
    assert_string_equal(c.state, "none");
    assert_null(c.group);
    assert_true(c.interval_ns == 250 * NS_PER_MSEC);
    assert_int_equal(c.collector, CONFIG_COLLECTOR_PROCFS);
    assert_int_equal(c.log_level, LOG_LEVEL_DEBUG);
    assert_true(c.report_timeout_ns == 0);
    assert_true(c.exited_retention_ns == 5400 * NS_PER_SEC);
    assert_true(c.limits.max_cpu_percent == 90.5 && c.limits.max_memory_percent == 70);
    assert_true(c.limits.max_disk_io_mbps == 1000 && c.limits.max_network_io_mbps == 0.5);
    assert_true(c.limits.max_file_descriptors == 65536);
    assert_true(c.limits.alert_threshold_percent == 0 && c.limits.clear_margin_percent == 0);
    assert_true(c.limits.emergency_memory_percent == 99);
    assert_true(c.limits.emergency_file_descriptor_percent == 98);
    assert_int_equal(c.limits.for_ms, 1500);
    assert_int_equal(c.limits.renotify_ms, 7200000);
    assert_int_equal(c.caps.max_agents, 5);
    assert_int_equal(c.caps.max_alerts, 6);
    assert_int_equal(c.caps.max_connections, 7);
    assert_int_equal(c.caps.max_streams, 8);
    assert_int_equal(c.caps.max_body_bytes, 1 << 20);
    assert_int_equal(c.caps.max_queue, 0);
    assert_int_equal(c.allocation.policy, AC_POLICY_QUEUE);
    assert_true(c.allocation.headroom_percent == 100);
    assert_true(c.allocation.reservation_ttl_ns == 5 * NS_PER_SEC);
    assert_true(c.scaling.up_threshold == 80 && c.scaling.down_threshold == 10);
    assert_true(c.scaling.cooldown_ns == 0 && c.scaling.target_percent == 60);
    assert_true(c.scaling.stabilization_ns == 300 * NS_PER_SEC);
    assert_int_equal(c.scaling.step, 2);
    assert_int_equal(c.scaling.minimum, 3);
    assert_int_equal(c.scaling.maximum, 9);
    assert_true(c.history.recent_ns == 7200 * NS_PER_SEC);
    assert_true(c.history.recent_budget_bytes == 3ull << 29);
    assert_true(c.history.raw_ns == 72 * 3600 * NS_PER_SEC);
    assert_true(c.history.minutes_ns == 30 * 86400 * NS_PER_SEC);
    assert_true(c.history.hours_ns == 60 * 86400 * NS_PER_SEC);
    assert_true(c.history.days_ns == 1000 * 86400 * NS_PER_SEC);
    assert_int_equal(c.history.budget_bytes, 64 << 20);
    assert_true(c.history.full_sync);
    assert_string_equal(c.http.listen, "[::1]:9464");
    assert_string_equal(c.http.token_file, "/etc/t");
    assert_string_equal(c.http.tls_certificate, "/c");
    assert_string_equal(c.http.tls_key, "/k");
}

static void little_is_enough(void **state)
{
    (void)state;
    static const char *const texts[] = {"", "\n", "# nothing\n", "---\n", "---\n...\n",
        "\xef\xbb\xbf# with a byte order mark\n", "limits:\n", "limits: ~\nhttp:\n", "{}\n",
        "limits: {}\n", "%YAML 1.1\n---\n", "http:\n  listen:\n  token_file: ~\n",
        "interval: !!str 1s\n", "interval: &a 1s\n", "\"interval\": '1s'\r\n"};
    struct config expected CLEANUP(config_done);
    assert_int_equal(config_defaults(&expected), 0);
    for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
        struct config config CLEANUP(config_done) = good(texts[i]);
        assert_null(config_needs_restart(&expected, &config));
        assert_memory_equal(&config.limits, &expected.limits, sizeof(config.limits));
        assert_true(config.interval_ns == expected.interval_ns);
    }
}

static const struct {
    const char *text;
    const char *message; /* in full, or its beginning where it ends in "..." */
} bad_texts[] = {
    {"a: 1\n", "f.yaml:1: a: is not a setting"},
    {"limits:\n  max_cpu_percent: 140\n",
        "f.yaml:2: limits.max_cpu_percent: 140 is outside 1 to 100"},
    {"\n\nlimits:\n\n  max_cpu_percent: -1\n",
        "f.yaml:5: limits.max_cpu_percent: -1 is outside 1 to 100"},
    {"limits: {max_cpu_percent: nan}\n",
        "f.yaml:1: limits.max_cpu_percent: \"nan\" is not a number (1 to 100)"},
    {"limits: {max_cpu_percent: .inf}\n",
        "f.yaml:1: limits.max_cpu_percent: \".inf\" is not a number (1 to 100)"},
    {"limits: {max_cpu_percent: 1e999}\n",
        "f.yaml:1: limits.max_cpu_percent: 1e999 is outside 1 to 100"},
    {"limits: {max_cpu_percent: 0x20}\n",
        "f.yaml:1: limits.max_cpu_percent: \"0x20\" is not a number (1 to 100)"},
    {"limits: {max_cpu_percent: 80 %}\n",
        "f.yaml:1: limits.max_cpu_percent: \"80 %\" is not a number (1 to 100)"},
    {"limits: {max_cpu_percent: }\n", "f.yaml:1: limits.max_cpu_percent: has no value"},
    {"limits: {max_cpu_percent: ''}\n", "f.yaml:1: limits.max_cpu_percent: has no value"},
    {"limits: {max_cpu_percent: [80]}\n",
        "f.yaml:1: limits.max_cpu_percent: takes a single value, not a list"},
    {"limits: {max_cpu_percent: {a: b}}\n",
        "f.yaml:1: limits.max_cpu_percent: takes a single value, not a list"},
    {"limits: {max_file_descriptors: 18446744073709551616}\n",
        "f.yaml:1: limits.max_file_descriptors: 18446744073709551616 is outside 1 to 1000000000"},
    {"limits: {max_file_descriptors: -1}\n",
        "f.yaml:1: limits.max_file_descriptors: -1 is outside 1 to 1000000000"},
    {"limits: {max_file_descriptors: 1.5}\n",
        "f.yaml:1: limits.max_file_descriptors: \"1.5\" is not a whole number (1 to 1000000000)"},
    {"limits:\n- 1\n", "f.yaml:1: limits: is a section: settings belong below it, indented"},
    {"limits: 5\n", "f.yaml:1: limits: is a section: settings belong below it, indented"},
    {"limits:\n  max_cpu: 5\n", "f.yaml:2: limits.max_cpu: is not a setting"},
    {"limits:\n  max_cpu_precent: 5\n",
        "f.yaml:2: limits.max_cpu_precent: is not a setting; did you mean "
        "limits.max_cpu_percent?"},
    {"intervall: 5s\n", "f.yaml:1: intervall: is not a setting; did you mean interval?"},
    {"max_cpu_percent: 5\n",
        "f.yaml:1: max_cpu_percent: is not a setting; did you mean limits.max_cpu_percent?"},
    {"limit:\n  max_cpu_percent: 5\n", "f.yaml:1: limit: is not a setting; did you mean limits?"},
    {"limits.max_cpu_percent: 5\n", "f.yaml:1: limits.max_cpu_percent: is not a setting"},
    {"interval: 5x\n",
        "f.yaml:1: interval: \"5x\" is not a duration such as 250ms, 5s or 1h30m (100ms to 1h)"},
    {"interval: 99ms\n", "f.yaml:1: interval: 99ms is outside 100ms to 1h"},
    {"interval: 99999999999999999999w\n",
        "f.yaml:1: interval: 99999999999999999999w is outside 100ms to 1h"},
    {"limits: {for: -1s}\n",
        "f.yaml:1: limits.for: \"-1s\" is not a duration such as 250ms, 5s or 1h30m (0s to 1d)"},
    {"caps: {max_body: 17M}\n", "f.yaml:1: caps.max_body: 17M is outside 1K to 16M"},
    {"caps: {max_body: lots}\n",
        "f.yaml:1: caps.max_body: \"lots\" is not a size such as 64K or 16M (1K to 16M)"},
    {"caps: {max_agents: 4294967297}\n",
        "f.yaml:1: caps.max_agents: 4294967297 is outside 1 to 100000"},
    {"collector: magic\n", "f.yaml:1: collector: \"magic\" is not known (auto, bpf or procfs)"},
    {"log_level: INFO\n",
        "f.yaml:1: log_level: \"INFO\" is not known (error, warning, info or debug)"},
    {"history: {full_sync: 1}\n", "f.yaml:1: history.full_sync: \"1\" is not true or false"},
    {"socket: a.sock\n", "f.yaml:1: socket: \"a.sock\" is not an absolute path"},
    {"socket: none\n", "f.yaml:1: socket: \"none\" is not an absolute path"},
    {"state: state\n", "f.yaml:1: state: \"state\" is neither an absolute path nor none"},
    {"state: \"/a\\nb\"\n", "f.yaml:1: state: \"/a?b\" has a control character"},
    {"state: \"/a\\0b\"\n", "f.yaml:1: a value has a NUL"},
    {"\"sta\\0te\": /a\n", "f.yaml:1: a key is too long or has a NUL"},
    {"group: a b\n", "f.yaml:1: group: \"a b\" is not a group's name"},
    {"group: 12\n", "f.yaml:1: group: \"12\" is not a group's name"},
    {"http:\n  listen: 127.0.0.1:1\n", "f.yaml:2: http.listen: needs http.token_file"},
    {"http:\n  listen: 127.0.0.1:65536\n  token_file: /t\n",
        "f.yaml:2: http.listen: \"127.0.0.1:65536\" has a port outside 0 to 65535"},
    {"http: {listen: 'localhost:80', token_file: /t}\n",
        "f.yaml:1: http.listen: \"localhost:80\" is not an address and port such as ..."},
    {"http: {listen: '::1:80', token_file: /t}\n",
        "f.yaml:1: http.listen: \"::1:80\" is not an address and port such as ..."},
    {"http: {listen: ':80', token_file: /t}\n",
        "f.yaml:1: http.listen: \":80\" is not an address and port such as ..."},
    {"http: {listen: '[]:80', token_file: /t}\n",
        "f.yaml:1: http.listen: \"[]:80\" is not an address and port such as ..."},
    {"http: {listen: '80', token_file: /t}\n",
        "f.yaml:1: http.listen: \"80\" is not an address and port such as ..."},
    {"http: {listen: '[127.0.0.1]:80', token_file: /t}\n",
        "f.yaml:1: http.listen: \"[127.0.0.1]:80\" is not an address and port such as ..."},
    {"http: {token_file: /t, listen: '0.0.0.0:80'}\n",
        "f.yaml:1: http.listen: \"0.0.0.0:80\" is not a loopback address: needs "
        "http.tls_certificate and http.tls_key"},
    {"http: {token_file: /t, listen: '[::]:80'}\n",
        "f.yaml:1: http.listen: \"[::]:80\" is not a loopback address: needs ..."},
    {"http: {token_file: /t, listen: '[::ffff:10.0.0.1]:80'}\n",
        "f.yaml:1: http.listen: \"[::ffff:10.0.0.1]:80\" is not a loopback address: needs ..."},
    {"http:\n  token_file: /t\n  tls_key: /k\n",
        "f.yaml:3: http.tls_key: http.tls_certificate and http.tls_key are needed together"},
    {"scaling:\n  up_threshold: 20\n",
        "f.yaml: scaling.down_threshold: 25 is not below scaling.up_threshold, which is 20"},
    {"scaling:\n  down_threshold: 75\n",
        "f.yaml:2: scaling.down_threshold: 75 is not below scaling.up_threshold, which is 75"},
    {"scaling:\n  minimum: 5\n  maximum: 4\n",
        "f.yaml:3: scaling.maximum: 4 is below scaling.minimum, which is 5"},
    {"interval: 1h\nhistory: {recent: 1m}\n", "f.yaml:2: history.recent: is shorter than interval"},
    {"interval: 1s\nstate: /a\ninterval: 2s\n",
        "f.yaml:3: interval: is here twice (before in line 1)"},
    {"limits:\n  for: 1s\n  for: 1s\n", "f.yaml:3: limits.for: is here twice (before in line 2)"},
    {"limits:\n  for: 1s\nlimits:\n  renotify: 1s\n",
        "f.yaml:3: limits: is here twice (before in line 1)"},
    {"interval: 1s\n\tstate: /a\n", "f.yaml:2: not YAML: found a tab character ..."},
    {"interval: 1s: 2\n", "f.yaml:1: not YAML: mapping values are not allowed in this context"},
    {"interval: [1s\n", "f.yaml:2: not YAML: ..."},
    {"interval: \"1s\n", "f.yaml:2: not YAML: found unexpected end of stream"},
    {"interval: 1s\nstate: /a\xff\n", "f.yaml:2: not YAML: ..."},
    {"interval: 1s\n\x01\n", "f.yaml:2: not YAML: control characters are not allowed"},
    {"- interval\n", "f.yaml:1: a list of \"key: value\" lines belongs here"},
    {"interval\n", "f.yaml:1: a list of \"key: value\" lines belongs here"},
    {"interval: 1s\n---\ninterval: 2s\n", "f.yaml:2: a second document begins here; one is read"},
    {"---\n---\n", "f.yaml:2: a second document begins here; one is read"},
    {"interval: &a 1s\nexited_retention: *a\n", "f.yaml:2: aliases (*name) are not supported"},
    {"a: &a {x: 1}\nlimits:\n  <<: *a\n", "f.yaml:3: aliases (*name) are not supported"},
    {"? [a, b]\n: 1\n", "f.yaml:1: a key must be a word"},
    {"? {a: b}\n: 1\n", "f.yaml:1: a key must be a word"},
    {"\"\": 1\n", "f.yaml:1: : is not a setting"},
    {"a: [[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]\n", "f.yaml:1: nested too deeply"},
    {"<<: {interval: 1s}\n", "f.yaml:1: <<: is not a setting"},
};

static void errors_name_line_key_and_range(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(bad_texts); i++) {
        struct config config;
        struct config untouched;
        struct ac_error error = {0};
        memset(&config, 0xa5, sizeof(config));
        memset(&untouched, 0xa5, sizeof(untouched));
        int r = parse(bad_texts[i].text, &config, &error);
        assert_memory_equal(&config, &untouched, sizeof(config));
        size_t length = strlen(bad_texts[i].message);
        bool cut = length > 3 && strcmp(bad_texts[i].message + length - 3, "...") == 0;
        if (r >= 0 || error.code != r ||
            (cut ? strncmp(error.message, bad_texts[i].message, length - 3)
                 : strcmp(error.message, bad_texts[i].message)) != 0)
            fail_msg("%s\n  gave %d: %s\n  not: %s", bad_texts[i].text, r, error.message,
                bad_texts[i].message);
    }
}

static void fails_with(const char *text, size_t size, int code, const char *part)
{
    struct config config;
    struct ac_error error = {0};
    assert_int_equal(config_parse("big.yaml", text, size, &config, &error), code);
    if (!strstr(error.message, part))
        fail_msg("%s", error.message);
}

static void huge_texts_are_refused(void **state)
{
    (void)state;
    struct buf text CLEANUP(buf_done) = {0};
    for (int i = 0; i < (1 << 20) / 8 + 1; i++)
        buf_append_str(&text, "#234567\n");
    fails_with(text.data, text.size, -EFBIG, "big.yaml: larger than 1 MiB");
    struct config config CLEANUP(config_done) = {0};
    assert_int_equal(config_parse("f", text.data, 1 << 20, &config, NULL), 0);
    buf_clear(&text);
    for (int i = 0; i < 5000; i++)
        buf_printf(&text, "k%d: 1\n", i);
    fails_with(text.data, text.size, -EINVAL, "too many keys");
    buf_clear(&text);
    for (int i = 0; i < 500000; i++)
        buf_append_str(&text, "[");
    fails_with(text.data, text.size, -EINVAL, "belongs here");
    buf_clear(&text);
    buf_append_str(&text, "limits:\n  max_cpu_percent: ");
    for (int i = 0; i < 500000; i++)
        buf_append_str(&text, "8");
    fails_with(text.data, text.size, -EINVAL, "big.yaml:2: limits.max_cpu_percent: is too long");
    buf_clear(&text);
    buf_append_str(&text, "socket: /");
    for (int i = 0; i < 107; i++)
        buf_append_str(&text, "s");
    fails_with(text.data, text.size, -EINVAL, "longer than the 107 bytes");
    fails_with("interval: 1s\n\0\n", 15, -EINVAL, "big.yaml: byte 14 is NUL");
}

static void files_are_read(void **state)
{
    (void)state;
    char directory[] = "/tmp/test-config-XXXXXX", path[64];
    struct config config CLEANUP(config_done) = {0};
    struct ac_error error = {0};
    assert_non_null(mkdtemp(directory));
    snprintf(path, sizeof(path), "%s/c.yaml", directory);
    assert_int_equal(config_load(path, &config, &error), -ENOENT);
    assert_non_null(strstr(error.message, "c.yaml: No such file"));
    assert_int_equal(config_load(directory, &config, &error), -EINVAL);
    assert_non_null(strstr(error.message, "is not a regular file"));
    int fd = open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
    assert_int_equal(io_write_all(fd, "interval: 7s\n", 13), 0);
    assert_int_equal(config_load(path, &config, &error), 0);
    assert_true(config.interval_ns == 7 * NS_PER_SEC);
    assert_int_equal(ftruncate(fd, (1 << 20) + 1), 0);
    struct config other;
    assert_int_equal(config_load(path, &other, &error), -EFBIG);
    close(fd);
    unlink(path);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(config_load(path, &other, &error), -EINVAL);
    unlink(path);
    rmdir(directory);
}

static void restart_is_known(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *key;
    } cases[] = {
        {"interval: 2s\nlimits: {for: 1s}\nscaling: {step: 2}\nlog_level: debug\n", NULL},
        {"socket: /x\n", "socket"},
        {"state: none\n", "state"},
        {"collector: procfs\n", "collector"},
        {"caps: {max_queue: 1}\n", "caps.max_queue"},
        {"caps: {max_body: 1K}\n", "caps.max_body"},
        {"history: {full_sync: on}\n", "history.full_sync"},
        {"http: {listen: '127.0.0.1:0', token_file: /t}\n", "http.listen"},
    };
    struct config old CLEANUP(config_done) = good("");
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct config config CLEANUP(config_done) = good(cases[i].text);
        const char *key = config_needs_restart(&old, &config);
        if (cases[i].key)
            assert_string_equal(key, cases[i].key);
        else
            assert_null(key);
    }
}

static void ordinary_users_have_places_of_their_own(void **state)
{
    (void)state;
    if (geteuid() == 0 && seteuid(12345) != 0)
        skip();
    uid_t uid = geteuid();
    char expected[64];
    struct config c CLEANUP(config_done) = {0}, d CLEANUP(config_done) = {0};
    setenv("XDG_RUNTIME_DIR", "/run/user/7", 1);
    setenv("XDG_STATE_HOME", "/s", 1);
    assert_int_equal(config_defaults(&c), 0);
    setenv("XDG_RUNTIME_DIR", "relative", 1);
    unsetenv("XDG_STATE_HOME");
    setenv("HOME", "/home/x", 1);
    assert_int_equal(config_defaults(&d), 0);
    assert_int_equal(getuid() == uid ? 0 : seteuid(getuid()), 0);
    assert_string_equal(c.socket, "/run/user/7/agentcore.sock");
    assert_string_equal(c.state, "/s/agentcore");
    snprintf(expected, sizeof(expected), "/tmp/agentcore-%u/agentcore.sock", (unsigned)uid);
    assert_string_equal(d.socket, expected);
    assert_string_equal(d.state, "/home/x/.local/state/agentcore");
}

/* The example with the "#" before each setting taken away, without the http section. */
static void uncomment(const char *example, struct buf *out)
{
    for (const char *line = example; *line && strncmp(line, "http:", 5) != 0;) {
        size_t length = strcspn(line, "\n") + 1, indent = strspn(line, " ");
        if (line[indent] == '#' && line[indent + 1] != ' ' && line[indent + 1] != '\n') {
            buf_append(out, line, indent);
            buf_append(out, line + indent + 1, length - indent - 1);
        } else {
            buf_append(out, line, length);
        }
        line += length;
    }
}

static void example_is_the_defaults(void **state)
{
    (void)state;
    struct buf example CLEANUP(buf_done) = {0}, bare CLEANUP(buf_done) = {0};
    struct ac_error error = {0};
    assert_int_equal(config_write_example(&example), 0);
    struct config a CLEANUP(config_done) = good(example.data);
    uncomment(example.data, &bare);
    buf_append_str(&bare, "http:\n");
    struct config b CLEANUP(config_done) = {0};
    if (parse(bare.data, &b, &error) != 0)
        fail_msg("%s", error.message);
    mem_free(TAKE_PTR(b.socket));
    mem_free(TAKE_PTR(b.state));
    b.socket = mem_strdup(a.socket);
    b.state = mem_strdup(a.state);
    assert_null(config_needs_restart(&a, &b));
    assert_true(a.interval_ns == b.interval_ns);
    assert_memory_equal(&a.limits, &b.limits, sizeof(a.limits));
    assert_memory_equal(&a.scaling, &b.scaling, sizeof(a.scaling));
    assert_memory_equal(&a.allocation, &b.allocation, sizeof(a.allocation));
    for (const char *line = example.data; *line; line += strcspn(line, "\n") + 1)
        assert_true(strcspn(line, "\n") <= 100);
}

static void same_as_file(const char *path, const struct buf *made)
{
    size_t capacity = 1 << 20;
    char *text cleanup_free = mem_alloc(capacity);
    ssize_t size = io_read_file(AT_FDCWD, path, text, capacity);
    if (size != (ssize_t)made->size || memcmp(text, made->data, made->size) != 0)
        fail_msg("%s is not what the table says: run ninja -C build config-docs", path);
}

static void documents_are_up_to_date(void **state)
{
    (void)state;
    struct buf example CLEANUP(buf_done) = {0}, markdown CLEANUP(buf_done) = {0};
    assert_int_equal(config_write_example(&example), 0);
    assert_int_equal(config_write_markdown(&markdown), 0);
    same_as_file(SOURCE_ROOT "/packaging/agentcored.yaml", &example);
    same_as_file(SOURCE_ROOT "/docs/configuration.md", &markdown);
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "interval: 2s\nlimits: {for: 1s}\nhttp: {listen: '127.0.0.1:0', token_file: /t}\n",
        "limits: {max_cpu_percent: 140}\n",
        "limits: {max_cpu_procent: 14}\n",
    };
    for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
        unsigned failures = 0;
        for (unsigned n = 1;; n++) {
            struct config config CLEANUP(config_done) = {0};
            struct ac_error error = {0};
            fault_arm(FAULT_ALLOC, n);
            int r = parse(texts[i], &config, &error);
            if (!fault_disarm())
                break;
            if (r != -ENOMEM || error.code != -ENOMEM)
                fail_msg("text %zu, allocation %u: %d %s", i, n, r, error.message);
            failures++;
        }
        assert_true(failures >= 10);
    }
    for (unsigned n = 1;; n++) {
        struct buf out CLEANUP(buf_done) = {0};
        fault_arm(FAULT_ALLOC, n);
        int r = config_write_example(&out);
        if (!fault_disarm())
            break;
        assert_int_equal(r, -ENOMEM);
    }
}

static void every_read_may_fail(void **state)
{
    (void)state;
    for (unsigned n = 1;; n++) {
        struct config config CLEANUP(config_done) = {0};
        struct ac_error error = {0};
        fault_arm(FAULT_SYSCALL, n);
        int r = config_load(SOURCE_ROOT "/packaging/agentcored.yaml", &config, &error);
        if (!fault_disarm())
            break;
        assert_true(r == -EMFILE || r == -EIO);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_are_the_guides),
        cmocka_unit_test(every_setting_is_read),
        cmocka_unit_test(little_is_enough),
        cmocka_unit_test(errors_name_line_key_and_range),
        cmocka_unit_test(huge_texts_are_refused),
        cmocka_unit_test(files_are_read),
        cmocka_unit_test(restart_is_known),
        cmocka_unit_test(ordinary_users_have_places_of_their_own),
        cmocka_unit_test(example_is_the_defaults),
        cmocka_unit_test(documents_are_up_to_date),
        cmocka_unit_test(every_allocation_may_fail),
        cmocka_unit_test(every_read_may_fail),
    };
    return cmocka_run_group_tests_name("config", tests, NULL, NULL);
}
