/* api/vmnet_spec.h - "vmnet" of a network: what only macOS's vmnet knows
 *
 * Null, the default, and an object that says only what is so anyway are the same. What the running system
 * cannot do is refused by name, with the version that can.
 */
#ifndef API_VMNET_SPEC_H
#define API_VMNET_SPEC_H

#include "api/json_fields.h"
#include "api/network_spec.h"

void network_vmnet_init(struct network_vmnet *vmnet); /* 'vmnet' is all zero */
bool network_vmnet_is_same(const struct network_vmnet *a, const struct network_vmnet *b);

void network_vmnet_read(struct fields *network, struct network_vmnet *vmnet);
json_t *network_vmnet_write(const struct network_vmnet *vmnet); /* null if all is default */

/* Does it fit the mode and the uplink, and has this system what it asks for, ipv4 and reservations included?
 * Returns 0 or -1 with *error. */
int network_vmnet_check(const struct network_spec *spec, struct spec_error *error);

#endif
