/* tests/lib/finish_frame.c - what the switch makes of one frame that is not finished
 *
 * finish_frame              standard input: a virtio_net_hdr of 10 bytes, little-endian, and a frame
 * finish_frame --infer MTU  standard input: a frame of a sender that offloads and does not say so
 *
 * Prints each finished frame as a line of hexadecimal digits. The exit code is 1 if the frame is refused.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "switch/offload.h"

enum { HEADER_LEN = 10, PIECES = 16 };

static uint16_t little_endian(const uint8_t *bytes)
{
    return (uint16_t)(bytes[0] | bytes[1] << 8);
}

static struct frame_offload parse_header(const uint8_t *header)
{
    return (struct frame_offload){.flags = header[0],
                                  .gso_type = header[1],
                                  .header_len = little_endian(header + 2),
                                  .gso_size = little_endian(header + 4),
                                  .csum_start = little_endian(header + 6),
                                  .csum_offset = little_endian(header + 8)};
}

static void print_bytes(const uint8_t *bytes, uint32_t len)
{
    for (uint32_t i = 0; i < len; i++)
        printf("%02x", bytes[i]);
}

static void print_frame(const struct frame *frame)
{
    print_bytes(frame->head, frame->head_len);
    for (uint32_t i = 0; i < frame->n_rest; i++)
        print_bytes(frame->rest[i].base, frame->rest[i].len);
    printf("\n");
}

static void print_segments(const struct frame *frame)
{
    static struct offload_piece pieces[PIECES];
    struct offload_cut cut;
    size_t n;

    offload_cut_begin(&cut, frame);
    while ((n = offload_cut_next(&cut, pieces, PIECES)) > 0)
        for (size_t i = 0; i < n; i++)
            print_frame(&pieces[i].frame);
}

int main(int argc, char **argv)
{
    static uint8_t room[HEADER_LEN + FRAME_PREFIX + FRAME_LEN_MAX];
    bool infers = argc == 3 && strcmp(argv[1], "--infer") == 0;
    uint8_t *head = room + HEADER_LEN + FRAME_PREFIX;
    uint8_t header[HEADER_LEN];

    if (!infers && (argc != 1 || fread(header, 1, sizeof(header), stdin) != sizeof(header)))
        return 2;
    uint32_t len = (uint32_t)fread(head, 1, FRAME_LEN_MAX, stdin);
    if (len < FRAME_LEN_MIN)
        return 2;
    struct frame frame = {.head = head, .len = len, .head_len = len};
    if (!infers)
        frame.offload = parse_header(header);
    if (!(infers ? offload_infer(&frame, (uint32_t)atoi(argv[2])) : offload_accept(&frame)))
        return 1;
    if (offload_is_gso(&frame)) {
        print_segments(&frame);
    } else {
        offload_finish(&frame);
        print_frame(&frame);
    }
    return 0;
}
