/* io/dgram_address.c - see dgram_address.h */
#include "io/dgram_address.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "io/socket_platform.h"

enum { PATH_AT = offsetof(struct sockaddr_un, sun_path) };

bool dgram_address_of(struct dgram_address *address, const struct batch_slot *slot)
{
    size_t path_len;

    if (slot->from_len <= PATH_AT || slot->from_len > sizeof slot->from || slot->from.sun_path[0] == '\0')
        return false;
    path_len = slot->from_len - PATH_AT;
    *address = (struct dgram_address){.name = slot->from, .len = slot->from_len};
    memcpy(address->path, slot->from.sun_path, path_len);
    address->path[path_len] = '\0';
    return true;
}

static bool is_same(const struct sockaddr_un *a, socklen_t a_len, const struct sockaddr_un *b,
                    socklen_t b_len)
{
    return a_len == b_len && a_len > PATH_AT && memcmp(a->sun_path, b->sun_path, a_len - PATH_AT) == 0;
}

bool dgram_address_is_from(const struct dgram_address *address, const struct batch_slot *slot)
{
    return is_same(&address->name, address->len, &slot->from, slot->from_len);
}

int dgram_address_probe(const struct dgram_address *address)
{
    int fd = socket_open_cloexec(SOCK_DGRAM);
    int r;

    if (fd < 0)
        return fd;
    r = connect(fd, (const struct sockaddr *)&address->name, address->len) < 0 ? -errno : 0;
    close(fd);
    return r;
}

void dgram_address_make_question(uint8_t frame[DGRAM_QUESTION_LEN])
{
    static const uint8_t header[] = {0x02, 0x76, 0x6d, 0x73, 0x77, 0x01, 0x02,
                                     0x76, 0x6d, 0x73, 0x77, 0x02, 0x88, 0xb5};

    memset(frame, 0, DGRAM_QUESTION_LEN);
    memcpy(frame, header, sizeof header);
}

void dgram_address_note_file(struct dgram_address *address)
{
    struct stat st;

    address->has_file = stat(address->path, &st) == 0;
    if (!address->has_file)
        return;
    address->dev = st.st_dev;
    address->ino = st.st_ino;
    address->bound_at_ns = socket_file_time_ns(&st);
}

bool dgram_address_is_replaced(const struct dgram_address *address)
{
    struct stat st;

    return address->has_file && stat(address->path, &st) == 0 &&
           (st.st_dev != address->dev || st.st_ino != address->ino ||
            socket_file_time_ns(&st) != address->bound_at_ns);
}

bool dgram_refusals_hold(const struct dgram_refusals *refusals, const struct batch_slot *slot,
                         uint64_t now_ms)
{
    for (size_t i = 0; i < DGRAM_REFUSALS; i++)
        if (dgram_address_is_from(&refusals->last[i].address, slot))
            return now_ms - refusals->last[i].at_ms < DGRAM_REFUSAL_MS;
    return false;
}

/* The refusal of the same address, or the oldest place, emptied. */
static struct dgram_refusal *place_of(struct dgram_refusals *refusals, const struct dgram_address *address)
{
    struct dgram_refusal *oldest;

    for (size_t i = 0; i < DGRAM_REFUSALS; i++) {
        struct dgram_refusal *refusal = &refusals->last[i];

        if (is_same(&refusal->address.name, refusal->address.len, &address->name, address->len))
            return refusal;
    }
    oldest = &refusals->last[refusals->next];
    refusals->next = (refusals->next + 1) % DGRAM_REFUSALS;
    oldest->is_denied = false;
    return oldest;
}

bool dgram_refusals_note(struct dgram_refusals *refusals, const struct dgram_address *address, bool is_denied,
                         uint64_t now_ms)
{
    struct dgram_refusal *refusal = place_of(refusals, address);
    bool was_denied = refusal->is_denied;

    *refusal = (struct dgram_refusal){.address = *address, .at_ms = now_ms, .is_denied = is_denied};
    return is_denied && !was_denied;
}
