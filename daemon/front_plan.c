/* daemon/front_plan.c - from what clients write to a network that can run here */
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "api/offer.h"
#include "api/spec_json.h"
#include "daemon/dhcp_server.h"
#include "daemon/front.h"
#include "daemon/roles.h"

bool front_is_set(const char *value)
{
    return value && value[0] && strcmp(value, "<nil>") != 0;
}

static uint32_t add_to_hash(uint32_t hash, const char *text) /* FNV-1a */
{
    for (; *text; text++)
        hash = (hash ^ (uint8_t)*text) * 16777619U;
    return hash;
}

void front_make_name(const char *prefix, const char *path, char name[NETWORK_NAME_SIZE])
{
    uint32_t hash = 2166136261U;
    char folder[MESSAGE_PATH_SIZE];
    /* Rules and folders have this name: it must be another in each folder. */
    if (path[0] != '/' && getcwd(folder, sizeof(folder)))
        hash = add_to_hash(add_to_hash(hash, folder), "/");
    hash = add_to_hash(hash, path);
    snprintf(name, NETWORK_NAME_SIZE, "%s-%08x", prefix, hash);
}

static int find_uplink(const char *wanted, enum network_uplink *ret_uplink)
{
    *ret_uplink = WANT_AUTO;
    for (int i = 0; front_is_set(wanted) && i < WANT_N; i++) {
        if (strcmp(wanted, network_uplink_name((enum network_uplink)i)) == 0) {
            *ret_uplink = (enum network_uplink)i;
            return 0;
        }
    }
    return front_is_set(wanted) ? -1 : 0;
}

static enum network_uplink best_uplink(enum network_mode mode)
{
    if (vmnet_role_exists())
        return WANT_VMNET;
    return mode == MODE_SHARED ? WANT_USER : WANT_TAP;
}

void front_fit_to_tap(struct network_spec *spec)
{
    if (spec->uplink != WANT_TAP)
        return;
    if (spec->ipv6.has_prefix)
        log_info("the uplink tap has no IPv6: the prefix is ignored");
    spec->ipv6.has_prefix = false;
    if (spec->mode != MODE_HOST || !spec->ipv4.dhcp || dhcp_server_program())
        return;
    log_warn("guests get no address: dnsmasq is not installed (Debian: dnsmasq-base)");
    spec->ipv4.dhcp = false;
}

/* In what the program's users know: modes and addresses are options, the uplink is a variable. */
int front_check(const struct network_spec *spec, char *why, size_t why_size)
{
    struct network_spec checked = *spec;
    struct spec_error error;
    /* Both carry any mode here, in place of vmnet; the rules of an API network know them apart. */
    if (spec->uplink == WANT_TAP || spec->uplink == WANT_NONE)
        checked.uplink = WANT_AUTO;
    if (network_spec_check(&checked, &error) == 0)
        return 0;
    const char *field = strrchr(error.field, '/');
    snprintf(why, why_size, "%s %s", field ? field + 1 : "the network", error.rule);
    return -1;
}

int front_choose_uplink(struct network_spec *spec, const char *wanted, char *why, size_t why_size)
{
    const char *refusal = NULL;
    if (find_uplink(wanted, &spec->uplink) < 0) {
        char shown[40];
        snprintf(why, why_size, "VMSWITCH_UPLINK=%s: choose auto, tap, user, none or vmnet",
                 log_escape(wanted, shown, sizeof(shown)));
        return -1;
    }
    if (spec->uplink == WANT_AUTO)
        spec->uplink = best_uplink(spec->mode);
    if (spec->uplink == WANT_USER && spec->mode != MODE_SHARED)
        refusal = "it goes with shared mode only; choose tap or none";
    else if (spec->uplink == WANT_VMNET && !vmnet_role_exists())
        refusal = "vmnet exists on macOS only; choose tap, user or none";
    else if (spec->uplink != WANT_NONE)
        refusal = offer_refusal_of_uplink(spec->uplink);
    if (refusal) {
        snprintf(why, why_size, "VMSWITCH_UPLINK=%s: %s", network_uplink_name(spec->uplink), refusal);
        return -1;
    }
    return front_check(spec, why, why_size);
}
