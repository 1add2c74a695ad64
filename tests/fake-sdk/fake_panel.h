/* tests/fake-sdk/fake_panel.h - the double's script and counts where a test of vmswitchd can reach them
 *
 * FAKE_VMNET_PANEL names a file that all processes of one vmswitchd map: a script for the fake_vmnet_...()
 * functions at its beginning, and what they count behind it. A test writes the one and reads the other while
 * frames pass (tests/system/fake_mac.py reads the declarations of fake_vmnet.h for where each field lies).
 * Without it both are the process's own.
 */
#ifndef TESTS_FAKE_SDK_FAKE_PANEL_H
#define TESTS_FAKE_SDK_FAKE_PANEL_H

#include "tests/fake-sdk/fake_vmnet.h"

struct fake_panel {
    struct fake_script script;
    struct fake_counts counts;
};

struct fake_panel *fake_panel(void);
/* Is it the test's? */
bool fake_panel_is_shared(void);

#endif
