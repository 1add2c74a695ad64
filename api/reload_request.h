/* api/reload_request.h - the body of POST /v1/reload */
#ifndef API_RELOAD_REQUEST_H
#define API_RELOAD_REQUEST_H

#include <jansson.h>

#include "api/api.h"
#include "api/spec_json.h"

/* {"restart": true}, {"restart": ["lab", ...]} or {}. Returns 0, or -1 with *ret_error filled. */
int reload_request_from_json(const json_t *object, struct api_reload *ret_request,
                             struct spec_error *ret_error);

#endif
