#include "api/head.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* What must not come twice, or not together. */
struct facts {
    bool is_1_0;
    unsigned n_fields, n_hosts, n_lengths, n_encodings;
    unsigned long long length;
};

static bool refuse(struct head_refusal *refusal, unsigned status, const char *detail, const char *next_step)
{
    *refusal = (struct head_refusal){.status = status, .detail = detail, .next_step = next_step};
    return false;
}

/* RFC 9110, 5.6.2: what methods and field names are made of. */
static bool is_token_char(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           (c != '\0' && strchr("!#$%&'*+-.^_`|~", c));
}

static size_t token_len(const char *text, size_t len)
{
    size_t n = 0;

    while (n < len && is_token_char(text[n]))
        n++;
    return n;
}

/* The first control character but a tab, or 'len'. */
static size_t find_control(const char *text, size_t len)
{
    size_t n = 0;

    while (n < len && (((unsigned char)text[n] >= ' ' && text[n] != 0x7F) || text[n] == '\t'))
        n++;
    return n;
}

/* METHOD SP /path SP HTTP/1.x */
static bool check_request_line(const char *line, size_t len, struct facts *facts,
                               struct head_refusal *refusal)
{
    static const char next_step[] = "send for example GET /v1 HTTP/1.1";
    size_t method = token_len(line, len), target = 0;
    const char *at = line + method + 1, *version;

    if (method == 0 || method == len || line[method] != ' ')
        return refuse(refusal, 400, "the request does not begin with a method", next_step);
    while (method + 1 + target < len && at[target] > ' ' && at[target] < 0x7F)
        target++;
    version = at + target + 1;
    if (target == 0 || method + 1 + target == len || at[target] != ' ' || line + len - version != 8 ||
        strncmp(version, "HTTP/", 5) != 0 || version[6] != '.')
        return refuse(refusal, 400, "the request line must be METHOD /path HTTP/1.1, in ASCII", next_step);
    if (strncmp(version, "HTTP/1.1", 8) != 0 && strncmp(version, "HTTP/1.0", 8) != 0)
        return refuse(refusal, 505, "only HTTP/1.1 and HTTP/1.0 are spoken here", "use curl --http1.1");
    if (*at != '/')
        return refuse(refusal, 400, "the request must name a path that begins with /", next_step);
    facts->is_1_0 = version[7] == '0';
    return true;
}

/* Digits and nothing else; what is too large for a number is too large for us. */
static bool check_length(const char *value, size_t len, struct facts *facts, struct head_refusal *refusal)
{
    while (len > 0 && *value == ' ') {
        value++;
        len--;
    }
    if (len == 0)
        return refuse(refusal, 400, "Content-Length is empty", "send the number of bytes of the body");
    for (size_t i = 0; i < len; i++) {
        if (value[i] < '0' || value[i] > '9')
            return refuse(refusal, 400, "Content-Length is not a number",
                          "send the number of bytes of the body");
        if (facts->length <= HEAD_BODY_MAX)
            facts->length = facts->length * 10 + (unsigned)(value[i] - '0');
    }
    return true;
}

static bool is_named(const char *line, size_t len, const char *name)
{
    return len == strlen(name) && strncasecmp(line, name, len) == 0;
}

static bool check_field(const char *line, size_t len, struct facts *facts, struct head_refusal *refusal)
{
    size_t name = token_len(line, len);

    if (++facts->n_fields > HEAD_FIELDS_MAX)
        return refuse(refusal, 431, "the head of the request has more than 64 fields", "send fewer");
    if (name == 0 || name == len || line[name] != ':')
        return refuse(refusal, 400, "a field in the head must be \"Name: value\", in one line", "send it so");
    if (is_named(line, name, "Upgrade"))
        return refuse(refusal, 400, "there is nothing to upgrade to", "leave the Upgrade field out");
    facts->n_hosts += is_named(line, name, "Host");
    facts->n_encodings += is_named(line, name, "Transfer-Encoding");
    if (!is_named(line, name, "Content-Length"))
        return true;
    facts->n_lengths++;
    return facts->n_lengths > 1 || check_length(line + name + 1, len - name - 1, facts, refusal);
}

static bool check_facts(const struct facts *facts, struct head_refusal *refusal)
{
    if (facts->n_hosts > 1 || (facts->n_hosts == 0 && !facts->is_1_0))
        return refuse(refusal, 400, "there must be one Host field", "send any, such as Host: x");
    if (facts->n_lengths > 1)
        return refuse(refusal, 400, "there is more than one Content-Length", "send one");
    if (facts->n_encodings && facts->n_lengths)
        return refuse(refusal, 400, "Content-Length and Transfer-Encoding exclude each other",
                      "send Content-Length alone");
    if (facts->n_encodings)
        return refuse(refusal, 411, "Transfer-Encoding is not taken here",
                      "send the body with a Content-Length");
    if (facts->length > HEAD_BODY_MAX)
        return refuse(refusal, 413, "the body is over 64 KiB", "send a smaller one");
    return true;
}

enum head_verdict head_check(const char *bytes, size_t len, struct head_refusal *ret_refusal)
{
    struct facts facts = {.n_fields = 0};
    size_t seen = len < HEAD_MAX ? len : HEAD_MAX, at = 0, n_lines = 0;

    for (;;) {
        const char *line = bytes + at;
        size_t line_len = find_control(line, seen - at), left = seen - at - line_len;
        bool is_good = true;
        if (left > 0 && (line[line_len] != '\r' || (left > 1 && line[line_len + 1] != '\n')))
            is_good = refuse(ret_refusal, 400,
                             "the request has a control character, or a line that ends without CRLF",
                             "speak HTTP/1.1, for example with curl --unix-socket");
        else if (left < 2)
            break;
        else if (line_len == 0 && n_lines > 0)
            return check_facts(&facts, ret_refusal) ? HEAD_GOOD : HEAD_BAD;
        else if (n_lines == 0)
            is_good = check_request_line(line, line_len, &facts, ret_refusal);
        else
            is_good = check_field(line, line_len, &facts, ret_refusal);
        if (!is_good)
            return HEAD_BAD;
        n_lines++;
        at += line_len + 2;
    }
    if (seen < HEAD_MAX)
        return HEAD_MORE;
    if (n_lines == 0)
        refuse(ret_refusal, 414, "the path is over 8 KiB", "use a path of GET /v1");
    else
        refuse(ret_refusal, 431, "the head of the request is over 8 KiB", "send fewer header fields");
    return HEAD_BAD;
}
