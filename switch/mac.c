/* switch/mac.c - addresses as text
 *
 * By hand and not by printf and scanf: the text comes from configuration files and the API, where
 * "5:4:0:1:2:3", blanks and a locale's idea of a digit have no business.
 */
#include "switch/mac.h"

void mac_format(uint64_t mac, char text[MAC_TEXT_SIZE])
{
    static const char digits[] = "0123456789abcdef";

    for (int i = 0; i < MAC_LEN; i++, text += 3) {
        unsigned byte = (unsigned)(mac >> (40 - 8 * i)) & 0xFF;
        text[0] = digits[byte >> 4];
        text[1] = digits[byte & 0xF];
        text[2] = i < MAC_LEN - 1 ? ':' : '\0';
    }
}

/* Returns 0 to 15, or -1 if 'c' is no hexadecimal digit. */
static int digit_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

bool mac_parse(const char *text, uint64_t *ret_mac)
{
    uint64_t mac = 0;

    for (int i = 0; i < MAC_LEN; i++, text += 3) {
        /* Stops at the first wrong character, so that it never reads past the NUL. */
        int high = digit_value(text[0]);
        int low = high < 0 ? -1 : digit_value(text[1]);
        if (low < 0 || text[2] != (i < MAC_LEN - 1 ? ':' : '\0'))
            return false;
        mac = mac << 8 | (uint64_t)(high << 4 | low);
    }
    *ret_mac = mac;
    return true;
}
