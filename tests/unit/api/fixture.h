/* tests/unit/api/fixture.h - an API server on a unix socket, with ops that only note what they were asked
 *
 * Server and clients share one thread: fixture_turn() runs the loop, clients never block.
 */
#ifndef TESTS_API_FIXTURE_H
#define TESTS_API_FIXTURE_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "api/server.h"

#define ANSWER_SIZE (256 * 1024)

struct fixture {
    uv_loop_t loop;
    struct api_server *server;
    char dir[64], path[96];

    /* What the ops do. */
    bool hold;      /* keep the call: answered by fixture_answer_held() */
    size_t padding; /* bytes of an answer beside its op */
    struct api_call *held[API_CONNECTIONS_MAX];
    int n_held;

    /* What they saw last. */
    int n_calls;
    char op[32];
    struct network_names {
        char network[64], port[64];
    } names;
    struct network_spec network;
    struct port_spec port;
    struct port_change change;
    struct peer peer;
    bool is_create;
    struct api_reload reload;

    /* The answer fixture_ask() got. */
    char answer[ANSWER_SIZE];
    size_t answer_len;
    unsigned status; /* 0: closed without one */
    const char *body;
};

/* Opens with these limits (NULL: the default); room for 'uid' "privileged" comes with them. */
void fixture_open(struct fixture *f, const struct api_limits *limits);
/* Closes everything and fails if anything of the server is left. */
void fixture_close(struct fixture *f);

/* Runs the loop for 'ms', or until 'ms' have passed with nothing to do. */
void fixture_turn(struct fixture *f, unsigned ms);

int fixture_connect(struct fixture *f);
void client_send(int fd, const void *bytes, size_t len);

/* Runs the loop until 'fd' is at its end or 'ms' have passed; fills the answer. Returns false if time ran
 * out. */
bool fixture_receive(struct fixture *f, int fd, unsigned ms);

/* One whole exchange. Returns the status; 0 if it was closed without an answer. */
unsigned fixture_send_raw(struct fixture *f, const void *bytes, size_t len);
unsigned fixture_ask(struct fixture *f, const char *method, const char *path, const char *body);

/* The first occurrence in the answer, or a failed test. */
void assert_answer_has(const struct fixture *f, const char *text);
/* The answer is problem+json with these members, and a next step. */
void assert_problem(const struct fixture *f, unsigned status, const char *field);

void fixture_answer_held(struct fixture *f);

int count_fds(void);

#endif
