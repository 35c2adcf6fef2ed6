/* SPDX-License-Identifier: Apache-2.0 */
/* TLS, seen with our own client: it takes what it can verify, and nothing else. */
#include "net/client.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "net/server.h"
#include "net_fixture.h"

struct files {
    char certificate[128], key[128], token[128];
};

/* A certificate of our own for 127.0.0.1. Returns whether openssl is here to make it. */
static bool make_certificate(const struct files *files)
{
    pid_t pid = fork();
    int status;
    if (pid == 0) {
        int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
        dup2(null, STDERR_FILENO);
        execlp("openssl", "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
            "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", "/CN=localhost",
            "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", files->key, "-out",
            files->certificate, (char *)NULL);
        _exit(127);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static void make_token(const struct files *files)
{
    int fd = open(files->token, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    assert_int_equal(write(fd, "0123456789abcdef\n", 17), 17);
    close(fd);
}

static void make_names(struct fixture *fixture, struct files *files)
{
    struct net_server_options options;
    fixture_options(fixture, &options);
    snprintf(files->certificate, sizeof(files->certificate), "%s/cert.pem", fixture->directory);
    snprintf(files->key, sizeof(files->key), "%s/key.pem", fixture->directory);
    snprintf(files->token, sizeof(files->token), "%s/token", fixture->directory);
}

static void remove_files(const struct files *files)
{
    unlink(files->certificate);
    unlink(files->key);
    unlink(files->token);
}

/* Calls from a process of its own; the exit code is 0 where the outcome is @expected: a negative
 * errno, or an HTTP status. */
static void expect_call(struct fixture *fixture, const char *scheme, const char *ca_file,
    const char *token_file, int expected)
{
    char url[64];
    int status;
    snprintf(url, sizeof(url), "%s://127.0.0.1:%u", scheme, net_server_port(fixture->server));
    pid_t pid = fork();
    if (pid == 0) {
        struct client_options options = {
            .url = url, .ca_file = ca_file, .token_file = token_file, .timeout_ms = 5000};
        struct client *client;
        struct ac_error error = {0};
        long answer = 0;
        int r = client_new(&options, &client, &error);
        if (r == 0)
            r = client_call(client, "GET", "/v1/system", NULL, &answer, NULL, &error);
        r = r == 0 ? (int)answer : r;
        if (r != expected)
            fprintf(stderr, "# %s: %d, not %d: %s\n", url, r, expected, error.message);
        _exit(r == expected ? 0 : 1);
    }
    while (waitpid(pid, &status, WNOHANG) == 0)
        fixture_pump(fixture, 5);
    assert_int_equal(status, 0);
}

/* A server with a certificate; false where there is none to be had. */
static bool serve_tls(struct fixture *f, struct files *files)
{
    struct net_server_options options;
    make_names(f, files);
    if (!make_certificate(files))
        return false;
    make_token(files);
    assert_int_equal(chmod(files->key, 0600), 0);
    fixture_options(f, &options);
    options.listen = "127.0.0.1:0";
    options.token_file = files->token;
    options.tls_certificate = files->certificate;
    options.tls_key = files->key;
    fixture_serve(f, &options);
    return true;
}

static void test_tls(void **state)
{
    struct fixture *f = *state;
    struct files files;
    if (!serve_tls(f, &files)) {
        print_message("# skipped: there is no openssl to make a certificate\n");
        skip();
    }
    expect_call(f, "https", files.certificate, files.token, 200);
    expect_call(f, "https", files.certificate, NULL, 401);
    expect_call(f, "https", NULL, files.token, -EACCES); /* nobody vouches for it */
    expect_call(f, "http", NULL, files.token, -EIO);     /* not without TLS */
    expect_call(f, "https", files.certificate, files.token, 200);
    remove_files(&files);
}

static int count_events(void *userdata, const struct client_event *event)
{
    unsigned *count = userdata;
    if (event)
        (*count)++;
    return *count == 300 ? 7 : 0;
}

/* A stream sleeps and wakes under TLS as well, and its end is noticed. */
static void test_tls_stream(void **state)
{
    struct fixture *f = *state;
    struct files files;
    char url[64];
    int status;
    if (!serve_tls(f, &files)) {
        print_message("# skipped: there is no openssl to make a certificate\n");
        skip();
    }
    snprintf(url, sizeof(url), "https://127.0.0.1:%u", net_server_port(f->server));
    pid_t pid = fork();
    if (pid == 0) {
        struct client_options options = {
            .url = url, .ca_file = files.certificate, .token_file = files.token};
        struct client *client;
        unsigned count = 0;
        if (client_new(&options, &client, NULL) < 0)
            _exit(1);
        int r = client_stream(client, "/v1/events", NULL, count_events, &count, NULL);
        client_free(client);
        _exit(r == 7 ? 0 : 1);
    }
    uint64_t sequence = 0;
    while (waitpid(pid, &status, WNOHANG) == 0) {
        fixture_pump(f, 5);
        struct event event = {.sequence = sequence + 1, .kind = EVENT_CONFIG};
        for (unsigned i = 0; stats_of(f).streams > 0 && sequence < 300 && i < 7; i++) {
            event.sequence = ++sequence;
            net_server_event(f->server, &event);
        }
    }
    assert_int_equal(status, 0);
    for (int i = 0; i < 1000 && stats_of(f).streams > 0; i++)
        fixture_pump(f, 10);
    assert_int_equal(stats_of(f).streams, 0);
    remove_files(&files);
}

static void test_key_for_all(void **state)
{
    struct fixture *f = *state;
    struct net_server_options options;
    struct files files;
    struct ac_error error = {0};
    make_names(f, &files);
    make_token(&files);
    int fd = open(files.key, O_CREAT | O_WRONLY | O_CLOEXEC, 0644);
    assert_int_equal(fchmod(fd, 0644), 0);
    close(fd);
    assert_int_equal(link(files.key, files.certificate), 0);
    assert_true(sd_event_new(&f->event) >= 0);
    fixture_options(f, &options);
    options.listen = "127.0.0.1:0";
    options.token_file = files.token;
    options.tls_certificate = files.certificate;
    options.tls_key = files.key;
    assert_int_equal(net_server_new(&options, f->event, &f->context, &f->server, &error), -EACCES);
    assert_non_null(strstr(error.message, "http.tls_key"));
    assert_non_null(strstr(error.message, "chmod 600"));
    remove_files(&files);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_TEST(test_tls),
        FIXTURE_TEST(test_tls_stream),
        FIXTURE_TEST(test_key_for_all),
    };
    return cmocka_run_group_tests_name("net/tls", tests, NULL, NULL);
}
