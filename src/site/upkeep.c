/*
 * site/upkeep.c: what the processes keep beside answering requests.
 */
#include "site/upkeep.h"
#include "report/memory.h"
#include "request/entrypoint.h"

/* A child ends: what it knows of boots is kept. */
static apr_status_t keep_boots(void *main_server)
{
    const server_rec *s;

    for (s = main_server; s; s = s->next) {
        if (entrypoint_of(s))
            boot_memory_keep(entrypoint_of(s), 0);
    }
    return APR_SUCCESS;
}

static void walt_vpn_child_init(apr_pool_t *pchild, server_rec *main_server)
{
    apr_pool_cleanup_register(pchild, main_server, keep_boots, apr_pool_cleanup_null);
}

void upkeep_register_hooks(void)
{
    ap_hook_child_init(walt_vpn_child_init, NULL, NULL, APR_HOOK_MIDDLE);
}
