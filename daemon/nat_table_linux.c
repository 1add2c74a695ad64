#include "daemon/nat_table.h"

#include <errno.h>
#include <nftables/libnftables.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/log.h"

struct nat_table {
    struct nft_ctx *nft; /* its socket is what owns the table */
};

struct nat_table *nat_table_create(void)
{
    struct nat_table *table = calloc(1, sizeof(*table));
    if (!table)
        return NULL;
    table->nft = nft_ctx_new(NFT_CTX_DEFAULT);
    if (table->nft && nft_ctx_buffer_error(table->nft) == 0 && nft_ctx_buffer_output(table->nft) == 0)
        return table;
    nat_table_destroy(table);
    return NULL;
}

void nat_table_destroy(struct nat_table *table)
{
    if (!table)
        return;
    if (table->nft)
        nft_ctx_free(table->nft);
    free(table);
}

int nat_table_apply(struct nat_table *table, const char *text, char *ret_why, size_t why_size)
{
    char line[200], shown[4 * sizeof(line)];
    if (nft_run_cmd_from_buffer(table->nft, text) == 0)
        return 0;
    const char *said = nft_ctx_get_error_buffer(table->nft);
    /* "Error: Could not process rule: Operation not permitted", then the rule. */
    const char *colon = said ? strstr(said, "rule: ") : NULL;
    snprintf(line, sizeof(line), "%.*s", (int)strcspn(said ? said : "", "\n"), said ? said : "");
    log_error("nftables: %s", log_escape(line, shown, sizeof(shown)));
    if (said && strstr(said, strerror(EPERM))) {
        snprintf(ret_why, why_size,
                 "another vmswitchd of this host has a network of this name, and its rules: take another");
        return -EPERM;
    }
    snprintf(ret_why, why_size, "nftables does not take its rules (%.*s); Linux 5.12 or later is needed",
             colon ? (int)strcspn(colon + 6, "\n") : (int)strlen("the log says more"),
             colon ? colon + 6 : "the log says more");
    return -EIO;
}
