#include "api/problem.h"

#include <microhttpd.h>

#include "api/json_fields.h"
#include "api/json_out.h"

const char *problem_title(const struct api_problem *problem)
{
    return problem->title ? problem->title : MHD_get_reason_phrase_for(problem->status);
}

char *problem_text(const struct api_problem *problem)
{
    json_t *json = json_pack("{s:s, s:o, s:i, s:o}", "type", "about:blank", "title",
                             json_text(problem_title(problem)), "status", (int)problem->status, "detail",
                             json_text(problem->detail ? problem->detail : problem_title(problem)));
    char *text;

    if (problem->field)
        json_object_set_new(json, "field", json_text(problem->field));
    if (problem->next_step)
        json_object_set_new(json, "next_step", json_text(problem->next_step));
    text = json_out(json);
    json_decref(json);
    return text;
}
