/* SPDX-License-Identifier: Apache-2.0 */
#include "net/listen.h"

#include <errno.h>
#include <grp.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/io.h"
#include "net_fixture.h"

struct place {
    char directory[64];
    char path[96];
};

static int place_setup(void **state)
{
    struct place *place = calloc(1, sizeof(*place));
    snprintf(place->directory, sizeof(place->directory), "/tmp/agentcore-test-XXXXXX");
    assert_non_null(mkdtemp(place->directory));
    snprintf(place->path, sizeof(place->path), "%s/file", place->directory);
    *state = place;
    return 0;
}

static int place_teardown(void **state)
{
    struct place *place = *state;
    unlink(place->path);
    assert_int_equal(rmdir(place->directory), 0);
    free(place);
    return 0;
}

static void test_modes(void **state)
{
    struct place *place = *state;
    struct unix_listener listener;
    struct stat info;
    struct ac_error error;
    mode_t old = umask(0);
    assert_int_equal(listen_unix_open(place->path, 0640, (gid_t)-1, &listener, &error), 0);
    umask(old);
    assert_int_equal(stat(place->path, &info), 0);
    assert_int_equal(info.st_mode & 07777, 0640);
    assert_true(S_ISSOCK(info.st_mode));
    listen_unix_close(&listener);
    assert_int_equal(access(place->path, F_OK), -1);
    assert_int_equal(listener.fd, -1);
}

static void test_stale_socket(void **state)
{
    struct place *place = *state;
    struct unix_listener first, second;
    struct ac_error error = {0};
    assert_int_equal(listen_unix_open(place->path, 0600, (gid_t)-1, &first, &error), 0);
    /* One that answers is left alone. */
    assert_int_equal(listen_unix_open(place->path, 0600, (gid_t)-1, &second, &error), -EADDRINUSE);
    assert_non_null(strstr(error.message, "a daemon answers there already"));
    assert_int_equal(access(place->path, F_OK), 0);
    /* One whose daemon died is taken over. */
    close(first.fd);
    first.fd = -1;
    assert_int_equal(listen_unix_open(place->path, 0600, (gid_t)-1, &second, &error), 0);
    mem_free(first.path);
    /* A daemon whose file was removed and made anew by another leaves that one's alone. */
    first = second;
    assert_int_equal(unlink(place->path), 0);
    assert_int_equal(listen_unix_open(place->path, 0600, (gid_t)-1, &second, &error), 0);
    listen_unix_close(&first);
    assert_int_equal(access(place->path, F_OK), 0);
    listen_unix_close(&second);
    assert_int_equal(access(place->path, F_OK), -1);
}

static void test_in_the_way(void **state)
{
    struct place *place = *state;
    struct unix_listener listener;
    struct ac_error error = {0};
    int fd = open(place->path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    close(fd);
    assert_int_equal(listen_unix_open(place->path, 0600, (gid_t)-1, &listener, &error), -ENOTSOCK);
    assert_int_equal(access(place->path, F_OK), 0);
    unlink(place->path);
    assert_int_equal(symlink("/nowhere/at/all", place->path), 0);
    assert_int_equal(listen_unix_open(place->path, 0600, (gid_t)-1, &listener, &error), -ENOTSOCK);
    unlink(place->path);
    assert_int_equal(chmod(place->directory, 0777), 0);
    assert_int_equal(listen_unix_open(place->path, 0600, (gid_t)-1, &listener, &error), -EPERM);
    assert_non_null(strstr(error.message, "other users can replace"));
    assert_int_equal(chmod(place->directory, 0700), 0);
    if (geteuid() != 0)
        return;
    /* Root's socket in a user's directory. */
    assert_int_equal(chown(place->directory, 4711, (gid_t)-1), 0);
    assert_int_equal(listen_unix_open(place->path, 0600, (gid_t)-1, &listener, &error), -EPERM);
    assert_int_equal(chown(place->directory, 0, (gid_t)-1), 0);
}

static void test_bad_paths(void **state)
{
    struct unix_listener listener;
    struct ac_error error = {0};
    char path[200];
    (void)state;
    memset(path, 'a', sizeof(path));
    path[0] = '/';
    path[108] = 0;
    assert_int_equal(listen_unix_open(path, 0600, (gid_t)-1, &listener, &error), -ENAMETOOLONG);
    assert_int_equal(listen_unix_open("", 0600, (gid_t)-1, &listener, &error), -ENAMETOOLONG);
    assert_int_equal(listen_unix_open("/proc/none/s", 0600, (gid_t)-1, &listener, &error), -ENOENT);
    assert_int_equal(
        listen_unix_open("/no/such/parent/s", 0600, (gid_t)-1, &listener, &error), -ENOENT);
}

static void test_makes_directory(void **state)
{
    struct place *place = *state;
    struct unix_listener listener;
    struct ac_error error = {0};
    char path[128];
    snprintf(path, sizeof(path), "%s/run/s", place->directory);
    assert_int_equal(listen_unix_open(path, 0600, (gid_t)-1, &listener, &error), 0);
    listen_unix_close(&listener);
    snprintf(path, sizeof(path), "%s/run", place->directory);
    assert_int_equal(rmdir(path), 0);
}

static void test_listen_out_of_memory(void **state)
{
    struct place *place = *state;
    for (unsigned n = 1;; n++) {
        struct unix_listener listener;
        struct ac_error error = {0};
        fault_arm(FAULT_ALLOC, n);
        int r = listen_unix_open(place->path, 0600, (gid_t)-1, &listener, &error);
        bool hit = fault_disarm();
        assert_int_equal(r, hit ? -ENOMEM : 0);
        if (r == 0)
            listen_unix_close(&listener);
        assert_int_equal(access(place->path, F_OK), -1);
        if (!hit)
            break;
    }
}

/* ---- Peers */

static void peer_of_child(uid_t uid, gid_t gid, gid_t other, gid_t privileged, struct net_peer *ret)
{
    int pair[2], ready[2];
    char byte;
    assert_int_equal(pipe(ready), 0);
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_un address = {.sun_family = AF_UNIX}; /* autobind: abstract, no file */
    socklen_t size = sizeof(address);
    assert_int_equal(bind(listener, (struct sockaddr *)&address, sizeof(sa_family_t)), 0);
    assert_int_equal(listen(listener, 1), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&address, &size), 0);
    pid_t pid = fork();
    if (pid == 0) {
        pair[0] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (setgroups(1, &other) < 0 || setresgid(gid, gid, gid) < 0 ||
            setresuid(uid, uid, uid) < 0 || connect(pair[0], (struct sockaddr *)&address, size) < 0)
            _exit(1);
        _exit(read(ready[0], &byte, 1) == 1 ? 0 : 1);
    }
    pair[1] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    assert_int_equal(listen_peer(pair[1], privileged, ret), 0);
    assert_int_equal(write(ready[1], "x", 1), 1);
    int status;
    waitpid(pid, &status, 0);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    close(pair[1]);
    close(listener);
    close(ready[0]);
    close(ready[1]);
}

static void test_peers(void **state)
{
    struct net_peer peer;
    (void)state;
    if (geteuid() != 0) {
        print_message("# skipped: changing users needs root\n");
        skip();
    }
    peer_of_child(0, 0, 0, (gid_t)-1, &peer);
    assert_true(peer.authenticated && peer.privileged && peer.uid == 0);
    peer_of_child(OTHER_UID, 4243, 4244, (gid_t)-1, &peer);
    assert_true(peer.authenticated && !peer.privileged && peer.uid == OTHER_UID);
    peer_of_child(OTHER_UID, 4243, 4244, 4243, &peer); /* main group */
    assert_true(peer.privileged);
    peer_of_child(OTHER_UID, 4243, 4244, 4244, &peer); /* supplementary group */
    assert_true(peer.privileged);
    peer_of_child(OTHER_UID, 4243, 4244, 4245, &peer);
    assert_false(peer.privileged);
}

/* ---- TCP */

static void test_addresses(void **state)
{
    static const char *const bad[] = {"", ":", "9464", "127.0.0.1", "127.0.0.1:", ":9464",
        "127.0.0.1:65536", "127.0.0.1:-1", "127.0.0.1:9464 ", "::1:9464", "[::1]", "[]:1",
        "[::1:9464", "example.org:80", "127.0.0.256:1", "127.1:80", "[127.0.0.1]:80",
        "0x7f.0.0.1:80"};
    struct ac_error error;
    int fd;
    uint16_t port;
    bool loopback;
    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        int r = listen_tcp_open(bad[i], &fd, &port, &loopback, &error);
        if (r != -EINVAL)
            print_message("%s: %d\n", bad[i], r);
        assert_int_equal(r, -EINVAL);
    }
    assert_int_equal(listen_tcp_open("127.0.0.1:0", &fd, &port, &loopback, &error), 0);
    assert_true(port > 0 && loopback);
    char again[32];
    int other;
    uint16_t unused;
    snprintf(again, sizeof(again), "127.0.0.1:%u", port);
    assert_int_equal(listen_tcp_open(again, &other, &unused, &loopback, &error), -EADDRINUSE);
    close(fd);
    assert_int_equal(listen_tcp_open("localhost:0", &fd, &port, &loopback, &error), 0);
    assert_true(loopback);
    close(fd);
}

/* ---- Secrets */

static void write_file(const char *path, const char *text, size_t size, mode_t mode)
{
    unlink(path);
    int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, mode);
    assert_true(fd >= 0);
    assert_int_equal(fchmod(fd, mode), 0);
    assert_int_equal(write(fd, text, size), (ssize_t)size);
    close(fd);
}

static void test_token_files(void **state)
{
    static const struct {
        const char *text;
        mode_t mode;
        int result;
    } cases[] = {
        {"0123456789abcdef", 0600, 0},
        {"0123456789abcdef\n", 0400, 0},
        {"0123456789abcdef\r\n", 0600, 0},
        {"0123456789abcde\n", 0600, -EINVAL},
        {"", 0600, -EINVAL},
        {"\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n", 0600, -EINVAL},
        {"0123456789 abcdef", 0600, -EINVAL},
        {"0123456789\nabcdef", 0600, -EINVAL},
        {"0123456789\xc3\xbc"
         "abcdef",
            0600, -EINVAL},
        {"0123456789abcdef", 0640, -EACCES},
        {"0123456789abcdef", 0604, -EACCES},
    };
    struct place *place = *state;
    struct ac_error error;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char *token = NULL;
        write_file(place->path, cases[i].text, strlen(cases[i].text), cases[i].mode);
        assert_int_equal(listen_read_token(place->path, &token, &error), cases[i].result);
        if (token)
            assert_string_equal(token, "0123456789abcdef");
        mem_free(token);
    }
    char *token = NULL;
    static char huge[4096];
    memset(huge, 'a', sizeof(huge));
    write_file(place->path, huge, sizeof(huge), 0600);
    assert_int_equal(listen_read_token(place->path, &token, &error), -EINVAL);
    write_file(place->path, "0123456789abcdef\0x", 18, 0600);
    assert_int_equal(listen_read_token(place->directory, &token, &error), -EINVAL);
    assert_int_equal(listen_read_token("/no/such/file", &token, &error), -ENOENT);
}

static void test_token_compare(void **state)
{
    static const struct {
        const char *header;
        bool matches;
    } cases[] = {
        {"Bearer 0123456789abcdef", true},
        {"bearer 0123456789abcdef", true},
        {NULL, false},
        {"", false},
        {"Bearer", false},
        {"Bearer ", false},
        {"Bearer 0123456789abcde", false},
        {"Bearer 0123456789abcdeX", false},
        {"Bearer 0123456789abcdef0", false},
        {"Bearer 0123456789abcdef0123456789abcdef", false},
        {"Bearer  0123456789abcdef", false},
        {"Basic 0123456789abcdef", false},
        {"0123456789abcdef", false},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        assert_true(token_matches("0123456789abcdef", cases[i].header) == cases[i].matches);
}

int main(void)
{
#define PLACE_TEST(test) cmocka_unit_test_setup_teardown(test, place_setup, place_teardown)
    const struct CMUnitTest tests[] = {
        PLACE_TEST(test_modes),
        PLACE_TEST(test_stale_socket),
        PLACE_TEST(test_in_the_way),
        cmocka_unit_test(test_bad_paths),
        PLACE_TEST(test_makes_directory),
        PLACE_TEST(test_listen_out_of_memory),
        cmocka_unit_test(test_peers),
        cmocka_unit_test(test_addresses),
        PLACE_TEST(test_token_files),
        cmocka_unit_test(test_token_compare),
    };
    return cmocka_run_group_tests_name("net/listen", tests, NULL, NULL);
}
