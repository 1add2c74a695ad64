#include "api/reload_request.h"

#include <stdio.h>
#include <string.h>

#include "api/json_fields.h"

static void read_names(struct fields *fields, const json_t *names, struct api_reload *request)
{
    if (json_array_size(names) > NETWORKS_MAX) {
        fields_fail(fields, "restart", "must have at most %d names", NETWORKS_MAX);
        return;
    }
    for (size_t i = 0; i < json_array_size(names); i++) {
        const char *name = json_string_value(json_array_get(names, i));
        if (!name || !port_name_is_valid(name)) {
            fields_fail(fields, "restart", "must be true, false, or an array of networks' names");
            return;
        }
        snprintf(request->names[request->n_names++], NETWORK_NAME_SIZE, "%s", name);
    }
}

int reload_request_from_json(const json_t *object, struct api_reload *ret_request,
                             struct spec_error *ret_error)
{
    static const char *const known[] = {"restart", NULL};
    struct fields fields;

    memset(ret_request, 0, sizeof(*ret_request));
    fields_open(&fields, object, "", known, NULL, ret_error);
    const json_t *restart = fields_get(&fields, "restart");
    if (json_is_array(restart))
        read_names(&fields, restart, ret_request);
    else if (restart && !json_is_boolean(restart))
        fields_fail(&fields, "restart", "must be true, false, or an array of networks' names");
    ret_request->all = json_is_true(restart);
    return fields.failed ? -1 : 0;
}
