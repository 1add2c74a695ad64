/* tests/fake-sdk/fake_watch.c - what a test sets on the panel while an interface runs, and that is more than
 * the next call's answer */
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "tests/fake-sdk/fake_panel.h"
#include "tests/fake-sdk/fake_vmnet_internal.h"

enum { TURN_NS = 2 * 1000 * 1000, RUNT_LEN = 13 };

static void *watch(void *arg)
{
    static const uint8_t runt[RUNT_LEN];
    struct fake_script *script = &fake_panel()->script;
    vmnet_return_t gone = 0;
    unsigned n_spurious = script->n_spurious;
    (void)arg;
    for (;; nanosleep(&(struct timespec){.tv_nsec = TURN_NS}, NULL)) {
        if (script->gone != gone || script->n_spurious != n_spurious)
            fake_vmnet_notice();
        gone = script->gone;
        n_spurious = script->n_spurious;
        for (; script->n_runts > 0; script->n_runts--)
            fake_vmnet_inject(runt, sizeof(runt));
    }
    return NULL;
}

static void start(void)
{
    pthread_t thread;
    if (fake_panel_is_shared() && pthread_create(&thread, NULL, watch, NULL) != 0)
        abort();
}

void fake_watch_panel(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, start);
}
