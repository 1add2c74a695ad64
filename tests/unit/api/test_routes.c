/* Paths and names: which op a request becomes, and what is refused before one is called. */
#include "fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/routes.h"

static struct fixture *shared;

static int open_shared(void **state)
{
    (void)state;
    shared = malloc(sizeof(*shared));
    fixture_open(shared, NULL);
    return 0;
}

static int close_shared(void **state)
{
    (void)state;
    fixture_close(shared);
    free(shared);
    return 0;
}

static void assert_op(const char *method, const char *path, const char *body, const char *op,
                      const char *network, const char *port)
{
    unsigned status = fixture_ask(shared, method, path, body);

    if (status != 200 && status != 204)
        fail_msg("%s %s: %s", method, path, shared->answer);
    assert_string_equal(shared->op, op);
    assert_string_equal(shared->names.network, network);
    assert_string_equal(shared->names.port, port);
}

static void each_route_calls_its_op(void **state)
{
    (void)state;
    assert_op("GET", "/v1", NULL, "info", "", "");
    assert_op("GET", "/v1/health", NULL, "health", "", "");
    assert_op("GET", "/v1/networks", NULL, "networks", "", "");
    assert_op("POST", "/v1/networks", "{\"name\": \"lab\"}", "put_network", "lab", "");
    assert_true(shared->is_create);
    assert_op("GET", "/v1/networks/lab", NULL, "network", "lab", "");
    assert_op("PUT", "/v1/networks/lab", "{}", "put_network", "lab", "");
    assert_false(shared->is_create);
    assert_op("DELETE", "/v1/networks/lab", NULL, "delete_network", "lab", "");
    assert_op("GET", "/v1/networks/lab/ports", NULL, "ports", "lab", "");
    assert_op("GET", "/v1/networks/lab/ports/vm1", NULL, "port", "lab", "vm1");
    assert_op("PUT", "/v1/networks/lab/ports/vm1", "{\"isolated\": true}", "put_port", "lab", "vm1");
    assert_true(shared->port.isolated);
    assert_op("PUT", "/v1/networks/lab/ports/vm2", NULL, "put_port", "lab", "vm2");
    assert_true(shared->port.enabled);
    assert_op("PATCH", "/v1/networks/lab/ports/vm1", "{\"link\": \"down\"}", "patch_port", "lab", "vm1");
    assert_true(shared->change.has_enabled && !shared->change.enabled && !shared->change.has_isolated);
    assert_op("DELETE", "/v1/networks/lab/ports/vm1", NULL, "delete_port", "lab", "vm1");
    assert_op("GET", "/v1/networks/lab/fdb", NULL, "fdb", "lab", "");
    assert_op("DELETE", "/v1/networks/lab/fdb", NULL, "flush_fdb", "lab", "");
    assert_op("GET", "/v1/interfaces", NULL, "interfaces", "", "");
    assert_op("POST", "/v1/reload", NULL, "reload", "", "");
    assert_true(!shared->reload.all && shared->reload.n_names == 0);
    assert_op("POST", "/v1/reload", "{\"restart\": true}", "reload", "", "");
    assert_true(shared->reload.all);
    assert_op("POST", "/v1/reload", "{\"restart\": [\"lab\", \"web\"]}", "reload", "", "");
    assert_true(!shared->reload.all && shared->reload.n_names == 2);
    assert_string_equal(shared->reload.names[1], "web");
}

/* What the table says about itself: a handler, a sentence, and an example that its own op takes. */
static void each_route_has_a_sentence_and_a_good_example(void **state)
{
    (void)state;
    assert_int_equal(n_routes, 16);
    for (size_t i = 0; i < n_routes; i++) {
        const struct route *route = &routes[i];
        const char *path = strstr(route->path, "{port}")      ? "/v1/networks/lab/ports/vm1"
                           : strstr(route->path, "{network}") ? "/v1/networks/lab"
                                                              : route->path;
        assert_non_null(route->handle);
        assert_int_equal(route->sentence[strlen(route->sentence) - 1], '.');
        assert_int_equal(route->example != NULL, route->body != BODY_NONE);
        assert_int_equal(route->is_mutation, strcmp(route->method, "GET") != 0);
        if (route->example)
            assert_int_equal(fixture_ask(shared, route->method, path, route->example), 200);
    }
}

static void unknown_paths_are_not_found(void **state)
{
    static const char *const paths[] = {
        "/",
        "/v1/",
        "/v2",
        "//v1",
        "/v1//networks",
        "/v1/networks/",
        "/V1",
        "/v1/nets",
        "/v1/networks/a/",
        "/v1/networks/a/ports/",
        "/v1/networks//ports",
        "/v1/networks/a/ports/b/c",
        "/v1;x",
        "/v1/health;",
        "/v1/../v1",
        "/%76%31",
        "/v1%2fhealth",
        "/v1/networks/a/dbf",
        "/metrics",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
        if (fixture_ask(shared, "GET", paths[i], NULL) != 404)
            fail_msg("%s: %s", paths[i], shared->answer);
        assert_problem(shared, 404, NULL);
    }
}

/* A17, A18 */
static void bad_names_are_refused_with_the_rule(void **state)
{
    static const char *const names[] = {
        "..",       ".",    "%2e%2e%2f", "%252e%252e", "-rf",
        "_a",       "A",    "con%00",    "a;b",        "%s%n",
        "a%20b",    "a.b",  "a:b",       "a@b",        "a+b",
        "\xd0\xb0", "a\\b", "~",         "a\tb",       "0123456789abcdef0123456789abcdefg",
    };
    char path[160];
    int n_calls = shared->n_calls;

    (void)state;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        snprintf(path, sizeof(path), "/v1/networks/%s", names[i]);
        if (fixture_ask(shared, "GET", path, NULL) != 400)
            fail_msg("%s: %s", path, shared->answer);
        if (!strpbrk(names[i], "\t\xd0")) /* these fail before there is a name */
            assert_answer_has(shared, "a-z, 0-9, _ and -");
        snprintf(path, sizeof(path), "/v1/networks/a/ports/%s", names[i]);
        assert_int_equal(fixture_ask(shared, "PUT", path, NULL), 400);
    }
    assert_int_equal(shared->n_calls, n_calls);
    assert_int_equal(fixture_ask(shared, "GET", "/v1/networks/0123456789abcdef0123456789abcdef", NULL), 200);
    assert_int_equal(fixture_ask(shared, "GET", "/v1/networks/con", NULL),
                     200); /* a name like any other here */
}

/* A17 in a body */
static void bad_names_in_a_body_are_refused(void **state)
{
    static const char *const bodies[] = {
        "{\"name\": \"../x\"}",
        "{\"name\": \"a/b\"}",
        "{\"name\": \".\"}",
        "{\"name\": \"\"}",
        "{}",
        "{\"name\": \"a\\nb\"}",
        "{\"name\": \"0123456789abcdef0123456789abcdefg\"}",
        "{\"name\": 1}",
        "{\"name\": \"\xd0\xb0\"}",
        "{\"name\": null}",
        "{\"name\": \"-rf\"}",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++) {
        fixture_ask(shared, "POST", "/v1/networks", bodies[i]);
        assert_problem(shared, 400, "/name");
    }
}

static void methods_a_path_has_not_are_named(void **state)
{
    (void)state;
    fixture_ask(shared, "DELETE", "/v1", NULL);
    assert_problem(shared, 405, NULL);
    assert_answer_has(shared, "\r\nAllow: GET, HEAD\r\n");
    fixture_ask(shared, "BREW", "/v1/networks/a/ports/b", NULL);
    assert_problem(shared, 405, NULL);
    assert_answer_has(shared, "\r\nAllow: GET, HEAD, PUT, PATCH, DELETE\r\n");
}

static void bad_json_names_its_line(void **state)
{
    (void)state;
    fixture_ask(shared, "POST", "/v1/networks", "{\n  \"name\": \"a\",\n  oops\n}");
    assert_problem(shared, 400, NULL);
    assert_answer_has(shared, "line 3");
    fixture_ask(shared, "POST", "/v1/networks", "");
    assert_problem(shared, 400, NULL);
    fixture_ask(shared, "POST", "/v1/networks", "[]");
    assert_problem(shared, 400, "");
}

static void wrong_fields_are_named(void **state)
{
    (void)state;
    fixture_ask(shared, "POST", "/v1/networks", "{\"name\": \"a\", \"mtu\": \"1500\"}");
    assert_problem(shared, 400, "/mtu");
    assert_answer_has(shared, "must be an integer from 576 to 65535, not \\\"1500\\\"");
    fixture_ask(shared, "PUT", "/v1/networks/a", "{\"name\": \"b\"}");
    assert_problem(shared, 400, "/name");
    fixture_ask(shared, "PUT", "/v1/networks/a", "{\"pid\": 1}");
    assert_problem(shared, 400, "/pid");
    assert_answer_has(shared, "is read only");
    fixture_ask(shared, "PUT", "/v1/networks/a", "{\"needs_restart\": []}");
    assert_problem(shared, 400, "/needs_restart");
    fixture_ask(shared, "PATCH", "/v1/networks/a/ports/b", "{}");
    assert_problem(shared, 400, NULL);
    static const char *const bad[] = {"{\"restart\": 1}", "{\"restart\": [\"../x\"]}", "{\"restart\": [1]}"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        fixture_ask(shared, "POST", "/v1/reload", bad[i]);
        assert_problem(shared, 400, "/restart");
    }
    fixture_ask(shared, "POST", "/v1/reload", "{\"restrat\": true}");
    assert_problem(shared, 400, "/restrat");
    fixture_ask(shared, "PUT", "/v1/networks/a", "{\"mode\": \"internal\", \"uplink\": \"tap\"}");
    assert_problem(shared, 422, "/uplink");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_route_calls_its_op),
        cmocka_unit_test(each_route_has_a_sentence_and_a_good_example),
        cmocka_unit_test(unknown_paths_are_not_found),
        cmocka_unit_test(bad_names_are_refused_with_the_rule),
        cmocka_unit_test(bad_names_in_a_body_are_refused),
        cmocka_unit_test(methods_a_path_has_not_are_named),
        cmocka_unit_test(bad_json_names_its_line),
        cmocka_unit_test(wrong_fields_are_named),
    };

    return cmocka_run_group_tests(tests, open_shared, close_shared);
}
