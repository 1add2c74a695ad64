/* tests/fake-sdk/fake_vmnet_internal.h - shared by the files of the double of vmnet alone */
#ifndef TESTS_FAKE_SDK_FAKE_VMNET_INTERNAL_H
#define TESTS_FAKE_SDK_FAKE_VMNET_INTERNAL_H

#include "tests/fake-sdk/fake_vmnet.h"

void fake_vmnet_lock(void);
void fake_vmnet_unlock(void);
_Noreturn void fake_vmnet_misuse(const char *what);

/* ---- locked ---- */

const struct fake_script *fake_vmnet_script(void);
/* What a call about forwards is answered with at once: VMNET_SUCCESS if the interface may have some. */
vmnet_return_t fake_vmnet_rules_refusal(interface_ref interface);
void *fake_rules_find(const char *symbol);
/* The interfaces are gone. */
void fake_rules_forget(void);

#endif
