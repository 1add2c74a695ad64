#include "daemon/sandbox.h"

#include <stdio.h>
#include <string.h>

#include "io/log.h"

static const char *const mode_names[SANDBOX_N_MODES] = {"on", "log", "off"};

static enum sandbox_mode its_mode = SANDBOX_ON;

bool sandbox_mode_parse(const char *name, enum sandbox_mode *ret_mode)
{
    for (int i = 0; i < SANDBOX_N_MODES; i++) {
        if (strcmp(name, mode_names[i]) != 0)
            continue;
        *ret_mode = (enum sandbox_mode)i;
        return true;
    }
    return false;
}

const char *sandbox_mode_name(enum sandbox_mode mode)
{
    return mode_names[mode];
}

void sandbox_set_mode(enum sandbox_mode mode)
{
    its_mode = mode;
}

enum sandbox_mode sandbox_mode(void)
{
    return its_mode;
}

void sandbox_enter(enum sandbox sandbox, const char *folder, struct sandbox_state *ret_state)
{
    char files[SANDBOX_MISSING_SIZE / 2 - 2] = "", calls[SANDBOX_MISSING_SIZE / 2 - 2] = "";
    *ret_state = (struct sandbox_state){.filters_calls = false};
    /* Files first: the filter does not let that through. */
    if (its_mode == SANDBOX_ON)
        ret_state->confines_files = sandbox_confine_files(sandbox, folder, files, sizeof(files)) == 0;
    if (its_mode != SANDBOX_OFF)
        ret_state->filters_calls = sandbox_filter_calls(sandbox, its_mode, calls, sizeof(calls)) == 0;
    snprintf(ret_state->missing, sizeof(ret_state->missing), "%s%s%s", calls,
             calls[0] && files[0] ? "; " : "", files);
    log_debug("sandbox %s: system calls %s, files %s%s%s", mode_names[its_mode],
              ret_state->filters_calls ? "filtered" : "not filtered",
              ret_state->confines_files ? "confined" : "not confined", ret_state->missing[0] ? ": " : "",
              ret_state->missing);
}
