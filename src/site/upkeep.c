/*
 * site/upkeep.c: what the processes do for folders and ledger beside answering requests.
 */
#include "site/upkeep.h"
#include "ledger/fetches.h"
#include "report/memory.h"
#include "request/entrypoint.h"
#include "store/digest.h"
#include "store/folder.h"

#include "mpm_common.h"

/* Now and then, in the parent: what no process went on with is cleared. */
static int walt_vpn_monitor(apr_pool_t *p, server_rec *main_server)
{
    const server_rec *s;

    (void)p;
    if (!fetches_forget())
        return DECLINED;
    for (s = main_server; s; s = s->next) {
        if (entrypoint_of(s) && entrypoint_of(s)->folder)
            image_folder_sweep(entrypoint_of(s)->folder);
    }
    return DECLINED;
}

/* A child ends: what it knows of boots is kept. */
static apr_status_t keep_boots(void *main_server)
{
    const server_rec *s;

    for (s = main_server; s; s = s->next) {
        if (entrypoint_of(s))
            boot_memory_keep_last(entrypoint_of(s));
    }
    return APR_SUCCESS;
}

/* A child begins: what dead ones left is cleared. */
static void walt_vpn_child_init(apr_pool_t *pchild, server_rec *main_server)
{
    apr_status_t rv = image_digest_child_init(pchild);
    const server_rec *s;

    if (rv != APR_SUCCESS)
        ap_log_error(APLOG_MARK, APLOG_CRIT, rv, main_server, "can't make a mutex");
    apr_pool_cleanup_register(pchild, main_server, keep_boots, apr_pool_cleanup_null);
    for (s = main_server; s; s = s->next) {
        if (entrypoint_of(s) && entrypoint_of(s)->folder)
            image_folder_sweep(entrypoint_of(s)->folder);
    }
}

void upkeep_register_hooks(void)
{
    ap_hook_child_init(walt_vpn_child_init, NULL, NULL, APR_HOOK_MIDDLE);
    ap_hook_monitor(walt_vpn_monitor, NULL, NULL, APR_HOOK_MIDDLE);
}
