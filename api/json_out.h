/* api/json_out.h - JSON as the API sends it: indented, for people with curl, and a newline at the end */
#ifndef API_JSON_OUT_H
#define API_JSON_OUT_H

#include <jansson.h>

/* Text for free(), or NULL if 'json' is NULL or memory is short. */
char *json_out(const json_t *json);

#endif
