#include "io/system_version_darwin.h"

#include <stdlib.h>
#include <sys/sysctl.h>

enum {
    OLDEST = 1300,
    COMPAT_FIRST = 16, /* there was no macOS 16 to 25: the number was made the year's */
    COMPAT_LAST = 25,
    COMPAT_SHIFT = 10,
};

static int pretended;

int system_version_parse(const char *text)
{
    char *end;
    const long major = strtol(text, &end, 10);
    long minor = 0;
    if (end == text || major < 1 || major > 99)
        return 0;
    if (*end == '.')
        minor = strtol(end + 1, NULL, 10);
    if (minor < 0 || minor > 99)
        minor = 0;
    const long shift = major >= COMPAT_FIRST && major <= COMPAT_LAST ? COMPAT_SHIFT : 0;
    return (int)((major + shift) * 100 + minor);
}

int system_version(void)
{
    char text[32] = "";
    size_t size = sizeof(text) - 1;
    if (pretended)
        return pretended;
    if (sysctlbyname("kern.osproductversion", text, &size, NULL, 0) < 0)
        return OLDEST;
    const int version = system_version_parse(text);
    return version ? version : OLDEST;
}

void system_version_pretend(int version)
{
    pretended = version;
}
