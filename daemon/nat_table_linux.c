#include "daemon/nat_table.h"

#include <dlfcn.h>
#include <errno.h>
#include <nftables/libnftables.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/log.h"

#define LIBRARY "libnftables.so.1"

/* Loaded by the one process that needs it: linked to the program, it and what it needs would cost every
 * process of every daemon most of a MB. */
struct nft {
    void *library; /* stays loaded: it has globals that own memory */
    struct nft_ctx *(*ctx_new)(uint32_t flags);
    void (*ctx_free)(struct nft_ctx *ctx);
    int (*buffer_error)(struct nft_ctx *ctx);
    int (*buffer_output)(struct nft_ctx *ctx);
    int (*run)(struct nft_ctx *ctx, const char *text);
    const char *(*error)(struct nft_ctx *ctx);
};

struct nat_table {
    struct nft nft;
    struct nft_ctx *ctx; /* its socket is what owns the table */
};

/* A function's address out of dlsym()'s, between which C has no cast. */
static bool find(const struct nft *nft, const char *name, void *ret_function)
{
    void *const found = dlsym(nft->library, name);
    memcpy(ret_function, &found, sizeof(found));
    if (!found)
        log_error("%s has no %s", LIBRARY, name);
    return found != NULL;
}

static bool load(struct nft *nft, char *why, size_t size)
{
    nft->library = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
    if (!nft->library) {
        snprintf(why, size, "%s cannot be loaded: install it (Debian: libnftables1)", LIBRARY);
        return false;
    }
    return find(nft, "nft_ctx_new", &nft->ctx_new) && find(nft, "nft_ctx_free", &nft->ctx_free) &&
           find(nft, "nft_ctx_buffer_error", &nft->buffer_error) &&
           find(nft, "nft_ctx_buffer_output", &nft->buffer_output) &&
           find(nft, "nft_run_cmd_from_buffer", &nft->run) &&
           find(nft, "nft_ctx_get_error_buffer", &nft->error);
}

struct nat_table *nat_table_create(char *ret_why, size_t why_size)
{
    struct nat_table *table = calloc(1, sizeof(*table));
    snprintf(ret_why, why_size, "nftables: out of memory, or %s is another one", LIBRARY);
    if (!table)
        return NULL;
    if (load(&table->nft, ret_why, why_size))
        table->ctx = table->nft.ctx_new(NFT_CTX_DEFAULT);
    if (table->ctx && table->nft.buffer_error(table->ctx) == 0 && table->nft.buffer_output(table->ctx) == 0)
        return table;
    nat_table_destroy(table);
    return NULL;
}

void nat_table_destroy(struct nat_table *table)
{
    if (!table)
        return;
    if (table->ctx)
        table->nft.ctx_free(table->ctx);
    free(table);
}

int nat_table_apply(struct nat_table *table, const char *text, char *ret_why, size_t why_size)
{
    char line[200], shown[4 * sizeof(line)];
    if (table->nft.run(table->ctx, text) == 0)
        return 0;
    const char *said = table->nft.error(table->ctx);
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
