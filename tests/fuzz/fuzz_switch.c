/* fuzz_switch - any operations on the switch and its naive double, see tests/unit/switch/model.h */
#include <stdio.h>
#include <stdlib.h>

#include "tests/unit/switch/model.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The two are compared whole after every operation: many short runs find more than few long ones. */
enum { SIZE_MAX_USED = 400 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (switch_ops_run(data, size < SIZE_MAX_USED ? size : SIZE_MAX_USED) < 0) {
        fprintf(stderr, "%s\n", switch_ops_mismatch());
        abort();
    }
    return 0;
}
