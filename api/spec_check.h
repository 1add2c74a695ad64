/* api/spec_check.h - what the checks of one network have in common; for the files of api/ alone */
#ifndef API_SPEC_CHECK_H
#define API_SPEC_CHECK_H

#include "api/spec_json.h"

/* Fills *error: "<field> <sentence>". Returns -1. */
int spec_refuse(struct spec_error *error, const char *field, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
