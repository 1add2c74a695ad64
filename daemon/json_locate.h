/* daemon/json_locate.h - the line of a JSON pointer in a text, for error messages */
#ifndef DAEMON_JSON_LOCATE_H
#define DAEMON_JSON_LOCATE_H

#include <stddef.h>

/* Returns the line (from 1) of what 'pointer' (RFC 6901, "" is the whole) names in the JSON text: of the key
 * of a member, of the first byte of an element. Where the pointer leads nowhere, the line of the deepest part
 * that exists: a missing field is reported at its object. Reads 'text' at most once from start to end plus
 * once to count lines, never past 'len', whatever the text is. */
int json_locate(const char *text, size_t len, const char *pointer);

/* Writes a pointer as people say it: "/networks/1/ipv4/netmask" -> "networks[1].ipv4.netmask"; "" -> "the
 * file". Bytes that could disturb a terminal become '?'. Cut to fit. */
void json_pointer_say(const char *pointer, char *said, size_t size);

#endif
