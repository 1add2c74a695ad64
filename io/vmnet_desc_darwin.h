/* io/vmnet_desc_darwin.h - between our structs and the dictionaries that vmnet takes and gives */
#ifndef IO_VMNET_DESC_DARWIN_H
#define IO_VMNET_DESC_DARWIN_H

#include <xpc/xpc.h>

#include "io/uplink_vmnet.h"

enum { VMNET_CALL_BYTES = 256 * 1024 }; /* of one read or write, by Apple's documentation */

/* Returns 0, or -EINVAL and the pair that vmnet does not have in 'why'. */
int vmnet_desc_check(const struct vmnet_settings *settings, char why[UPLINK_REASON_SIZE]);

/* What vmnet_start_interface() takes: to be released. 'settings' have been checked. NULL: no memory. */
xpc_object_t vmnet_desc_make(const struct vmnet_settings *settings);
/* The same of an interface on a network object, which has addresses, MTU and all that itself. */
xpc_object_t vmnet_desc_make_member(const struct vmnet_settings *settings);

/* The part of it that says how frames are to be, for a start with a network object too. */
void vmnet_desc_add_offload(xpc_object_t desc, const struct vmnet_settings *settings);

/* Reads what it gave, NULL included, to whoever asked for 'settings'. Returns false if nothing can be done
 * with an interface like that. */
bool vmnet_desc_read(xpc_object_t param, const struct vmnet_settings *settings,
                     struct vmnet_facts *ret_facts);

#endif
