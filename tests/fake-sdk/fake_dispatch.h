/* tests/fake-sdk/fake_dispatch.h - the double of libdispatch, besides what dispatch.h declares */
#ifndef TESTS_FAKE_SDK_FAKE_DISPATCH_H
#define TESTS_FAKE_SDK_FAKE_DISPATCH_H

#include <dispatch/dispatch.h>
#include <stdbool.h>

/* Queues that have not been released, or still run something; and delays that have not ended. */
int fake_dispatch_alive(void);

/* True if the calling thread runs a block of this queue. */
bool fake_dispatch_is_on(dispatch_queue_t queue);
/* True if the calling thread is a queue's. */
bool fake_dispatch_is_on_any(void);
/* True if the calling thread is a concurrent queue's. */
bool fake_dispatch_is_on_concurrent(void);

#endif
