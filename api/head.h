/* api/head.h - is this the head of a request that we take? Asked before libmicrohttpd sees a byte of it
 *
 * libmicrohttpd 0.9.75 takes bare CR and LF, repeated and contradicting lengths, chunked bodies; on some
 * heads it closes without a word, and on others it sends the head of its own answer twice. So a head is
 * looked at while it still lies in the socket, and only a plain one gets there. This is a check, not a
 * parser: it understands nothing, and what it lets through, the library parses.
 */
#ifndef API_HEAD_H
#define API_HEAD_H

#include <stddef.h>

enum {
    HEAD_MAX = 8 * 1024,       /* a curl sends 200 bytes */
    HEAD_FIELDS_MAX = 64,      /* each costs the library memory beside its text; curl sends 4, browsers 20 */
    HEAD_BODY_MAX = 64 * 1024, /* the largest of ours is 5 KiB: 32 forwards */
};

enum head_verdict { HEAD_MORE, HEAD_GOOD, HEAD_BAD };

struct head_refusal {
    unsigned status;
    const char *detail, *next_step;
};

/* Looks at the first 'len' bytes of a connection. HEAD_MORE: no wrong yet, but it is not complete; more than
 * HEAD_MAX never are. HEAD_BAD: 'ret_refusal' says why. */
enum head_verdict head_check(const char *bytes, size_t len, struct head_refusal *ret_refusal);

#endif
