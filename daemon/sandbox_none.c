/* daemon/sandbox_none.c - where a role has no more walls than its user and its privileges */
#include "daemon/sandbox.h"

int sandbox_filter_calls(enum sandbox sandbox, enum sandbox_mode mode, char *ret_why, size_t why_size)
{
    (void)sandbox;
    (void)mode;
    (void)ret_why; /* nothing is missing that there could be */
    (void)why_size;
    return -1;
}

int sandbox_confine_files(enum sandbox sandbox, const char *folder, char *ret_why, size_t why_size)
{
    (void)sandbox;
    (void)folder;
    (void)ret_why;
    (void)why_size;
    return -1;
}
