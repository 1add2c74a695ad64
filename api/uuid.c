#include "api/uuid.h"

#include <string.h>

static int digit_of(char c)
{
    static const char digits[] = "0123456789abcdef";
    const char *at;

    if (c >= 'A' && c <= 'F')
        c = (char)(c - 'A' + 'a');
    at = c ? strchr(digits, c) : NULL;
    return at ? (int)(at - digits) : -1;
}

/* In front of these bytes there is a hyphen. */
static bool has_hyphen(int byte)
{
    return byte == 4 || byte == 6 || byte == 8 || byte == 10;
}

bool uuid_parse_text(const char *text, uint8_t ret_uuid[UUID_SIZE])
{
    for (int i = 0; i < UUID_SIZE; i++) {
        int high, low;

        if (has_hyphen(i) && *text++ != '-')
            return false;
        high = digit_of(text[0]);
        low = high < 0 ? -1 : digit_of(text[1]);
        if (low < 0)
            return false;
        ret_uuid[i] = (uint8_t)(high << 4 | low);
        text += 2;
    }
    return !*text;
}

void uuid_format_text(const uint8_t uuid[UUID_SIZE], char text[UUID_TEXT_SIZE])
{
    static const char digits[] = "0123456789abcdef";

    for (int i = 0; i < UUID_SIZE; i++) {
        if (has_hyphen(i))
            *text++ = '-';
        *text++ = digits[uuid[i] >> 4];
        *text++ = digits[uuid[i] & 0xF];
    }
    *text = 0;
}
