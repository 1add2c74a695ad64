#include "daemon/message.h"

#include <string.h>

#include "daemon/channel.h"

static const struct {
    const char *name;
    uint32_t size;
} messages[MSG_N] = {
#define X(id, payload_size) [MSG_##id] = {#id, (uint32_t)(payload_size)},
    MESSAGES(X)
#undef X
};

_Static_assert(sizeof(struct ports_page) <= CHANNEL_PAYLOAD_MAX, "a page of ports fits a message");
_Static_assert(sizeof(struct fdb_page) <= CHANNEL_PAYLOAD_MAX, "a page of addresses fits a message");

bool message_size_is_valid(uint16_t type, uint32_t len)
{
    return type > MSG_NONE && type < MSG_N && messages[type].size == len;
}

const char *message_name(uint16_t type)
{
    return type > MSG_NONE && type < MSG_N ? messages[type].name : "?";
}

bool message_text_ok(const char *text, uint32_t size)
{
    return memchr(text, 0, size) != NULL;
}
