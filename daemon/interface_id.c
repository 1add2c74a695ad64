#include "daemon/interface_id.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <uv.h>

static bool is_dash_at(size_t at)
{
    return at == 8 || at == 13 || at == 18 || at == 23;
}

static unsigned digit_of(char c)
{
    return (unsigned)(c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10);
}

bool interface_id_parse(const char *text, uint8_t ret_id[INTERFACE_ID_SIZE])
{
    uint8_t id[INTERFACE_ID_SIZE] = {0};
    size_t n_digits = 0;
    if (strlen(text) != INTERFACE_ID_TEXT_SIZE - 1)
        return false;
    for (size_t i = 0; i < INTERFACE_ID_TEXT_SIZE - 1; i++) {
        if (is_dash_at(i) && text[i] == '-')
            continue;
        if (is_dash_at(i) || !isxdigit((unsigned char)text[i]))
            return false;
        id[n_digits / 2] = (uint8_t)((unsigned)id[n_digits / 2] << 4 | digit_of(text[i]));
        n_digits++;
    }
    memcpy(ret_id, id, sizeof(id));
    return true;
}

void interface_id_format(const uint8_t id[INTERFACE_ID_SIZE], char text[INTERFACE_ID_TEXT_SIZE])
{
    char *at = text;
    for (size_t i = 0; i < INTERFACE_ID_SIZE; i++)
        at += snprintf(at, 4, "%s%02X", i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "", id[i]);
}

int interface_id_make(uint8_t ret_id[INTERFACE_ID_SIZE])
{
    int r = uv_random(NULL, NULL, ret_id, INTERFACE_ID_SIZE, 0, NULL);
    ret_id[6] = (uint8_t)((ret_id[6] & 0x0F) | 0x40);
    ret_id[8] = (uint8_t)((ret_id[8] & 0x3F) | 0x80);
    return r;
}

/* FNV-1a, then mixed so that ids that differ in one digit differ everywhere. Not a secret: a guest's address
 * is seen by its neighbours anyway. */
static uint64_t hash(const uint8_t id[INTERFACE_ID_SIZE], uint64_t salt)
{
    uint64_t h = 14695981039346656037ULL ^ salt;
    for (size_t i = 0; i < INTERFACE_ID_SIZE; i++)
        h = (h ^ id[i]) * 1099511628211ULL;
    h = (h ^ (h >> 33)) * 0xff51afd7ed558ccdULL;
    return h ^ (h >> 33);
}

uint64_t interface_id_mac(const uint8_t id[INTERFACE_ID_SIZE])
{
    const uint64_t group = 1ULL << 40, local = 2ULL << 40;
    return (((hash(id, 0) >> 16) & 0xFFFFFFFFFFFFULL) & ~group) | local;
}

void interface_id_prefix(const uint8_t id[INTERFACE_ID_SIZE], uint8_t ret_prefix[16])
{
    const uint64_t h = hash(id, 6);
    memset(ret_prefix, 0, 16);
    ret_prefix[0] = 0xFD;
    for (size_t i = 1; i < 6; i++)
        ret_prefix[i] = (uint8_t)(h >> (8 * i));
}
