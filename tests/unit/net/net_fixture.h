/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the tests of net share: a core on a machine of 4 cores and 8 GiB whose time a test sets by
 * hand, a context around it, and a server that is driven step by step on one thread, with clients
 * that are plain sockets.
 */
#ifndef AC_TESTS_NET_FIXTURE_H
#define AC_TESTS_NET_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <jansson.h>

#include "net/route.h"

#define FIXTURE_WALL 1700000000000000000ll /* 2023-11-14T22:13:20Z */
#define OTHER_UID    4242

struct fixture {
    struct core *core;
    struct net_context context;
    struct net_request request; /* the next one: peer and time are preset to root */
    struct sample sample;
    struct proc_record procs[8];
    struct net_daemon_stats daemon;
    struct net_server *server;
    sd_event *event;
    char directory[64];
    char socket[96];

    /* What the hooks saw, and what they should answer. */
    unsigned added, removing, stopped, changed, sampled;
    int added_result, changed_result;
    int last_signal;
    uint64_t last_grace_ns;
};

/* cmocka group setup and teardown: *state is the fixture. */
int fixture_setup(void **state);
int fixture_teardown(void **state);

/* One tick a second later, with the processes that were added. */
void fixture_tick(struct fixture *fixture);
struct proc_record *fixture_proc(struct fixture *fixture, int32_t pid, int32_t ppid);

/* Dispatches without transport. Returns the body as JSON (json_decref it; NULL = no body) and
 * checks the status. @body may be NULL. */
json_t *fixture_call(struct fixture *fixture, const char *method, const char *target,
    const char *body, unsigned status);

/* The same where the answer does not matter beyond its status and, for problems, a part of the
 * detail and the field (NULL = not looked at). */
void fixture_expect(struct fixture *fixture, const char *method, const char *target,
    const char *body, unsigned status, const char *detail, const char *field);

/* Becomes an ordinary user, or root again, in what follows. */
void fixture_user(struct fixture *fixture, uint32_t uid);

/* ---- A server on a unix socket in a directory of its own */

void fixture_serve(struct fixture *fixture, const struct net_server_options *options);
void fixture_options(struct fixture *fixture, struct net_server_options *ret_options);
void fixture_pump(struct fixture *fixture, unsigned ms); /* one turn of the loop */

/* A client's end. connect pumps until it is accepted. */
int client_connect(struct fixture *fixture);
void client_send(struct fixture *fixture, int fd, const char *text, size_t size);

/* Reads, pumping, until @until is in the text, the server closes, or @ms passed. Returns a text
 * to free(); *ret_closed (may be NULL) = end of file was seen. */
char *client_receive(
    struct fixture *fixture, int fd, const char *until, unsigned ms, bool *ret_closed);

/* Sends a request on a connection of its own and returns the whole answer, to free(). */
char *client_exchange(struct fixture *fixture, const char *text);

/* ---- HTTP texts */

#define GET(target) "GET " target " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"

/* The status of an answer's text, 0 = it is none. */
unsigned status_of(const char *answer);

/* Sends a request on a connection of its own, and checks the status and a part of the answer. */
void expect(struct fixture *fixture, const char *request, unsigned status, const char *part);

/* A server with fixture_options. */
void serve(struct fixture *fixture);
struct net_server_stats stats_of(struct fixture *fixture);

#define FIXTURE_TEST(test) cmocka_unit_test_setup_teardown(test, fixture_setup, fixture_teardown)

#endif
