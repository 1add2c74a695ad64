/* switch/counters.c - the table of drop reasons, and sums */
#include "switch/counters.h"

static const char *const names[] = {
#define X(id, sentence) #id,
    DROP_REASONS(X)
#undef X
};

static const char *const sentences[] = {
#define X(id, sentence) sentence,
    DROP_REASONS(X)
#undef X
};

const char *drop_reason_name(enum drop_reason reason)
{
    return names[reason];
}

const char *drop_reason_sentence(enum drop_reason reason)
{
    return sentences[reason];
}

void counters_add(struct counters *to, const struct counters *from)
{
    to->frames_in += from->frames_in;
    to->bytes_in += from->bytes_in;
    to->frames_out += from->frames_out;
    to->bytes_out += from->bytes_out;
    to->flood_copies += from->flood_copies;
    to->segment_copies += from->segment_copies;
    for (int i = 0; i < DROP_N_REASONS; i++)
        to->drops[i] += from->drops[i];
}

uint64_t counters_dropped(const struct counters *counters)
{
    uint64_t sum = 0;

    for (int i = 0; i < DROP_N_REASONS; i++)
        sum += counters->drops[i];
    return sum;
}
