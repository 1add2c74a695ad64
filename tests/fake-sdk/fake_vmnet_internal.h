/* tests/fake-sdk/fake_vmnet_internal.h - shared by the files of the double of vmnet alone */
#ifndef TESTS_FAKE_SDK_FAKE_VMNET_INTERNAL_H
#define TESTS_FAKE_SDK_FAKE_VMNET_INTERNAL_H

#include "tests/fake-sdk/fake_vmnet.h"

void fake_vmnet_lock(void);
void fake_vmnet_unlock(void);
_Noreturn void fake_vmnet_misuse(const char *what);

/* From the first start on, where a test has a panel: looks at it on a thread of its own. */
void fake_watch_panel(void);
/* Something has happened to the interfaces: an event, also behind one that is on its way. */
void fake_vmnet_notice(void);

/* ---- locked ---- */

const struct fake_script *fake_vmnet_script(void);
/* What a call about forwards is answered with at once: VMNET_SUCCESS if the interface may have some. */
vmnet_return_t fake_vmnet_rules_refusal(interface_ref interface);
void *fake_rules_find(const char *symbol);
/* Is it one that can be bridged? Any thread. */
bool fake_interfaces_have(const char *name);
/* The interfaces are gone. */
void fake_rules_forget(void);

#endif
