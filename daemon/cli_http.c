/* daemon/cli_http.c - one request to the API over its unix socket
 *
 * One connection a request, as the daemon wants it. What comes back is bounded and must be JSON; everything
 * else than an answer is said on stderr and becomes an exit code.
 */
#include "daemon/cli.h"

#include <curl/curl.h>
#include <errno.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum {
    ANSWER_MAX = 64 * 1024 * 1024, /* bytes; 64 networks with their 4,096 addresses are 20 MiB */
    CONNECT_MS = 5 * 1000,
    ANSWER_MS = 30 * 1000, /* the API's own limit for one request */
};

/* Printable ASCII: what a VM's owner could put into a name must not reach the terminal. */
static const char *printable(const json_t *text, char *safe, size_t size)
{
    snprintf(safe, size, "%s", json_is_string(text) ? json_string_value(text) : "");
    for (char *byte = safe; *byte; byte++)
        if (*byte < ' ' || *byte > '~')
            *byte = '?';
    return safe;
}

void cli_print_problem(const json_t *problem)
{
    char text[1024];
    const json_t *detail = json_object_get(problem, "detail");

    if (!detail)
        detail = json_object_get(problem, "title");
    cli_complain("%s", printable(detail, text, sizeof text));
    if (json_is_string(json_object_get(problem, "field")))
        fprintf(stderr, "  field: %s\n", printable(json_object_get(problem, "field"), text, sizeof text));
    if (json_is_string(json_object_get(problem, "next_step")))
        fprintf(stderr, "  next step: %s\n",
                printable(json_object_get(problem, "next_step"), text, sizeof text));
}

/* The file says who: the group that may write to it, if there is one. */
static void say_who_may(const char *path)
{
    struct stat status;
    const bool is_open = stat(path, &status) == 0 && (status.st_mode & S_IWGRP) && status.st_gid != 0;
    const struct group *group = is_open ? getgrgid(status.st_gid) : NULL;

    if (group)
        fprintf(stderr, "  next step: have root add you to the group %s and log in again, or ",
                group->gr_name);
    else
        fputs("  next step: ask the owner of that socket for access, or ", stderr);
    fputs("start a vmswitchd of your own\n", stderr);
}

int cli_complain_unreachable(const char *path, int error)
{
    cli_complain("cannot reach vmswitchd at %s: %s", path, strerror(error));
    if (error == EACCES || error == EPERM)
        say_who_may(path);
    else
        fputs("  next step: start vmswitchd, or name its api.sock with --socket or VMSWITCH_SOCKET\n",
              stderr);
    return CLI_UNREACHABLE;
}

static size_t on_body(char *data, size_t size, size_t n, void *ctx)
{
    struct cli_answer *answer = ctx;
    size_t len = size * n;

    if (len > ANSWER_MAX - answer->len)
        return 0;
    char *text = realloc(answer->text, answer->len + len + 1);
    if (!text)
        return 0;
    memcpy(text + answer->len, data, len);
    answer->text = text;
    answer->len += len;
    text[answer->len] = '\0';
    return len;
}

/* Says why no answer came. */
static int complain(CURL *curl, const char *path, CURLcode code)
{
    long error = 0;

    curl_easy_getinfo(curl, CURLINFO_OS_ERRNO, &error);
    if (code == CURLE_COULDNT_CONNECT && error)
        return cli_complain_unreachable(path, (int)error);
    cli_complain("no answer from vmswitchd at %s: %s", path, curl_easy_strerror(code));
    return CLI_UNREACHABLE;
}

static int perform(CURL *curl, const struct cli *cli, const char *url, const char *method, const char *body,
                   struct cli_answer *answer)
{
    struct curl_slist *headers = curl_slist_append(NULL, "Expect:");
    long status = 0;

    if (body)
        headers = curl_slist_append(headers, "Content-Type: application/json");
    curl_easy_setopt(curl, CURLOPT_UNIX_SOCKET_PATH, cli->socket);
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, method);
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(curl, CURLOPT_PATH_AS_IS, 1L); /* the API judges a name like "..", not curl */
    curl_easy_setopt(curl, CURLOPT_PROXY, "");      /* http_proxy is not for a unix socket */
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, (long)CONNECT_MS);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, (long)ANSWER_MS);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, answer);
    if (body)
        curl_easy_setopt(curl, CURLOPT_POSTFIELDS, body);
    CURLcode code = curl_easy_perform(curl);
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
    answer->status = (unsigned)status;
    curl_slist_free_all(headers);
    return code == CURLE_OK ? CLI_OK : complain(curl, cli->socket, code);
}

/* 2xx is CLI_OK, everything else is said. */
static int judge(const struct cli *cli, struct cli_answer *answer)
{
    bool is_good = answer->status >= 200 && answer->status < 300;

    if (answer->len > 0)
        answer->json = json_loadb(answer->text, answer->len, 0, NULL);
    if (is_good && (answer->json || answer->len == 0))
        return CLI_OK;
    if (is_good || !json_is_object(answer->json)) {
        cli_complain("vmswitchd at %s answered with status %u and no JSON", cli->socket, answer->status);
        return is_good ? CLI_UNREACHABLE : CLI_REFUSED;
    }
    if (cli->json)
        fprintf(stderr, "%s\n", answer->text);
    else
        cli_print_problem(answer->json);
    return CLI_REFUSED;
}

int cli_request(const struct cli *cli, const char *method, const char *path, const json_t *body,
                struct cli_answer *ret_answer)
{
    char url[CLI_PATH_SIZE];
    char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;
    CURL *curl = curl_easy_init();
    int r = CLI_REFUSED;

    memset(ret_answer, 0, sizeof *ret_answer);
    ret_answer->text = calloc(1, 1);
    int n = snprintf(url, sizeof url, "http://localhost/v1%s", path);
    if (!curl || !ret_answer->text || (body && !text) || n < 0 || (size_t)n >= sizeof url)
        cli_complain("memory is short");
    else
        r = perform(curl, cli, url, method, text, ret_answer);
    if (r == CLI_OK)
        r = judge(cli, ret_answer);
    if (r != CLI_OK)
        cli_answer_free(ret_answer);
    curl_easy_cleanup(curl);
    free(text);
    return r;
}

void cli_answer_free(struct cli_answer *answer)
{
    json_decref(answer->json);
    free(answer->text);
    memset(answer, 0, sizeof *answer);
}

bool cli_path(char *path, size_t size, const char *network, const char *port, const char *tail)
{
    CURL *curl = curl_easy_init();
    char *safe_network = curl ? curl_easy_escape(curl, network, 0) : NULL;
    char *safe_port = curl && port ? curl_easy_escape(curl, port, 0) : NULL;
    int n = -1;

    if (safe_network && (safe_port || !port))
        n = snprintf(path, size, "/networks/%s%s%s%s", safe_network, port ? "/ports/" : "",
                     port ? safe_port : "", tail);
    curl_free(safe_network);
    curl_free(safe_port);
    curl_easy_cleanup(curl);
    return n > 0 && (size_t)n < size;
}
