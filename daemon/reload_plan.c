#include "daemon/reload_plan.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/shortage.h"
#include "api/spec_json.h"

enum { POINTER_SIZE = 160 };

/* ---- which fields ---- */

static void name_key(json_t *list, const char *base, const char *key, json_t *is, json_t *should)
{
    char pointer[POINTER_SIZE];
    if (is && should && json_equal(is, should))
        return;
    snprintf(pointer, sizeof(pointer), "%s/%s", base, key);
    if (json_is_object(is) && json_is_object(should))
        reload_plan_name_fields(list, pointer, is, should);
    else
        json_array_append_new(list, json_string(pointer));
}

void reload_plan_name_fields(json_t *list, const char *base, json_t *is, json_t *should)
{
    const char *key;
    json_t *value;
    json_object_foreach(is, key, value)
    {
        name_key(list, base, key, value, json_object_get(should, key));
    }
    json_object_foreach(should, key, value)
    {
        if (!json_object_get(is, key))
            name_key(list, base, key, NULL, value);
    }
}

/* What is said and what is the default are the same to a network. */
static json_t *spec_json(const struct network_spec *spec)
{
    struct network_spec said = *spec;
    said.ipv4.dhcp_is_set = true;
    return network_spec_to_json(&said);
}

static void name_spec_fields(json_t *list, const struct network_spec *is, const struct network_spec *should)
{
    json_t *left = spec_json(is), *right = spec_json(should);
    reload_plan_name_fields(list, "", left, right);
    json_decref(left);
    json_decref(right);
}

static void name_port(json_t *list, const char *name)
{
    char pointer[POINTER_SIZE];
    snprintf(pointer, sizeof(pointer), "/ports/%s", name);
    json_array_append_new(list, json_string(pointer));
}

static void name_port_fields(json_t *list, const struct port_spec *is, const struct port_spec *should)
{
    char base[POINTER_SIZE];
    json_t *left = port_spec_to_json(is), *right = port_spec_to_json(should);
    snprintf(base, sizeof(base), "/ports/%s", should->name);
    reload_plan_name_fields(list, base, left, right);
    json_decref(left);
    json_decref(right);
}

/* ---- the network ---- */

static void plan_spec(struct reload_plan *plan, const struct network_want *is,
                      const struct network_want *should)
{
    struct spec_error error;
    plan->live = is->spec;
    network_spec_take_live(&plan->live, &should->spec);
    /* The new forwards may make sense with the new subnet only. */
    if (network_spec_check(&plan->live, &error) < 0)
        plan->live = is->spec;
    name_spec_fields(plan->changed, &is->spec, &plan->live);
    plan->changes_spec = json_array_size(plan->changed) > 0;
    name_spec_fields(plan->needs_restart, &plan->live, &should->spec);
    if (is->uid != should->uid || is->gid != should->gid)
        json_array_append_new(plan->needs_restart, json_string("/user"));
}

/* ---- its ports ---- */

static const struct port_spec *find_port(const struct network_want *want, const char *name)
{
    for (uint32_t i = 0; i < want->n_ports; i++)
        if (strcmp(want->ports[i].name, name) == 0)
            return &want->ports[i];
    return NULL;
}

static void add_step(struct reload_plan *plan, enum reload_step_kind kind, const struct port_spec *port,
                     bool is_new)
{
    plan->steps[plan->n_steps++] = (struct reload_step){.kind = kind, .is_new = is_new, .port = *port};
}

static bool has_static(const struct port_spec *port, uint64_t address)
{
    for (uint32_t i = 0; i < port->n_statics; i++)
        if (port->statics[i] == address)
            return true;
    return false;
}

static void release(struct reload_plan *plan, const struct port_spec *is, const struct port_spec *should)
{
    struct port_spec kept = *is;
    kept.n_statics = 0;
    for (uint32_t i = 0; i < is->n_statics; i++)
        if (has_static(should, is->statics[i]))
            kept.statics[kept.n_statics++] = is->statics[i];
    if (kept.n_statics < is->n_statics)
        add_step(plan, RELOAD_RELEASE_PORT, &kept, false);
}

static void plan_ports(struct reload_plan *plan, const struct network_want *is,
                       const struct network_want *should)
{
    for (uint32_t i = 0; i < is->n_ports; i++) {
        if (find_port(should, is->ports[i].name))
            continue;
        add_step(plan, RELOAD_REMOVE_PORT, &is->ports[i], false);
        name_port(plan->changed, is->ports[i].name);
    }
    for (uint32_t i = 0; i < is->n_ports; i++) {
        const struct port_spec *wanted = find_port(should, is->ports[i].name);
        if (wanted)
            release(plan, &is->ports[i], wanted);
    }
    for (uint32_t i = 0; i < should->n_ports; i++) {
        const struct port_spec *wanted = &should->ports[i], *old = find_port(is, wanted->name);
        if (old && port_spec_is_same(old, wanted))
            continue;
        add_step(plan, RELOAD_PUT_PORT, wanted, !old);
        if (old)
            name_port_fields(plan->changed, old, wanted);
        else
            name_port(plan->changed, wanted->name);
    }
}

int reload_plan_make(struct reload_plan *ret_plan, const struct network_want *is,
                     const struct network_want *should)
{
    const uint64_t n_short = shortage_count();
    *ret_plan = (struct reload_plan){.changes_spec = false};
    /* Each port of 'is' is removed or released once at the most, each of 'should' put once. */
    ret_plan->steps = calloc(is->n_ports + should->n_ports + 1, sizeof(*ret_plan->steps));
    ret_plan->changed = json_array();
    ret_plan->needs_restart = json_array();
    if (!ret_plan->steps || !ret_plan->changed || !ret_plan->needs_restart) {
        reload_plan_free(ret_plan);
        return -ENOMEM;
    }
    plan_spec(ret_plan, is, should);
    plan_ports(ret_plan, is, should);
    if (shortage_count() == n_short)
        return 0;
    reload_plan_free(ret_plan);
    return -ENOMEM;
}

void reload_plan_free(struct reload_plan *plan)
{
    free(plan->steps);
    json_decref(plan->changed);
    json_decref(plan->needs_restart);
    *plan = (struct reload_plan){.changes_spec = false};
}
