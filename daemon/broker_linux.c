/* daemon/broker_linux.c - where there are no network objects, there is nothing to broker */
#include "daemon/broker.h"

#include "daemon/roles.h"

bool broker_exists(void)
{
    return false;
}

int broker_main(const struct options *options)
{
    (void)options;
    return EXIT_USAGE;
}
