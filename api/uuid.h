/* api/uuid.h - a UUID as people write it */
#ifndef API_UUID_H
#define API_UUID_H

#include <stdbool.h>
#include <stdint.h>

#define UUID_SIZE 16
#define UUID_TEXT_SIZE 37 /* "8f14e45f-ceea-467f-a1d3-5f3c9b1d2e4a" */

/* Takes the whole text, in either case, and nothing else. */
bool uuid_parse_text(const char *text, uint8_t ret_uuid[UUID_SIZE]);
void uuid_format_text(const uint8_t uuid[UUID_SIZE], char text[UUID_TEXT_SIZE]);

#endif
