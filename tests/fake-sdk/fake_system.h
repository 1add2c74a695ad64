/* tests/fake-sdk/fake_system.h - which Mac the double is, see fake_system.c */
#ifndef TESTS_FAKE_SDK_FAKE_SYSTEM_H
#define TESTS_FAKE_SDK_FAKE_SYSTEM_H

int fake_system_version(void); /* 1504: 15.4 */

#endif
