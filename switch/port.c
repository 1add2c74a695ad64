/* switch/port.c - names of ports and networks */
#include "switch/port.h"

bool port_name_is_valid(const char *name)
{
    size_t len = 0;

    for (; name[len]; len++) {
        char c = name[len];
        bool is_alnum = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
        if (len == PORT_NAME_SIZE - 1 || !(is_alnum || (len > 0 && (c == '_' || c == '-'))))
            return false;
    }
    return len > 0;
}

const char *port_offload_name(enum port_offload offload)
{
    static const char *const names[] = {"off", "raw", "virtio"};

    _Static_assert(sizeof names / sizeof *names == OFFLOAD_N, "a name per offload");
    return names[offload];
}
