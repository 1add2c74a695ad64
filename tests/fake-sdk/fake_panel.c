#include "tests/fake-sdk/fake_panel.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

static struct fake_panel own, *shared;

/* At the start of the process: later it may not open the file any more. */
__attribute__((constructor)) static void map_panel(void)
{
    const char *path = getenv("FAKE_VMNET_PANEL");
    const int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    if (fd < 0)
        return;
    void *at = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (at == MAP_FAILED) {
        fprintf(stderr, "fake-sdk: no panel in %s\n", path);
        abort();
    }
    shared = at;
}

struct fake_panel *fake_panel(void)
{
    return shared ? shared : &own;
}

bool fake_panel_is_shared(void)
{
    return shared != NULL;
}
