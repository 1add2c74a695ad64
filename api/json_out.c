#include "api/json_out.h"

#include <stdlib.h>

char *json_out(const json_t *json)
{
    const size_t flags = JSON_INDENT(2);
    size_t len = json ? json_dumpb(json, NULL, 0, flags) : 0;
    char *text = len ? malloc(len + 2) : NULL;

    if (!text || json_dumpb(json, text, len, flags) != len) {
        free(text);
        return NULL;
    }
    text[len] = '\n';
    text[len + 1] = '\0';
    return text;
}
