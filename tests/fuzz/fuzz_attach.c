/* fuzz_attach - any line on attach.sock is refused with a reason, or gives valid names */
#include <stdlib.h>
#include <string.h>

#include "daemon/attach_line.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char why[ATTACH_WHY_SIZE] = "";
    struct attach_line line;
    if (attach_line_parse((const char *)data, size, &line, why) < 0) {
        if (!why[0] || !memchr(why, 0, sizeof(why)))
            abort();
    } else if (!port_name_is_valid(line.network) || (line.port[0] && !port_name_is_valid(line.port))) {
        abort();
    }
    return 0;
}
