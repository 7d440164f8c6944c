/*
 * site/checks.c: what in the configuration keeps nodes from booting, or opens more than they
 * need.
 *
 * Nothing of it is refused: it may be meant, or be about to be mended (a name that DNS will have).
 * It is said as a warning, on the terminal by configtest and in the error log at each start and
 * restart; there, too, which names do lead to an entrypoint, and what is missing of its folder is
 * made.
 */
#include "site/checks.h"
#include "request/entrypoint.h"
#include "request/judge.h"
#include "site/leftover_check.h"
#include "site/name_check.h"
#include "site/resolver_check.h"
#include "store/folder.h"

#include "http_core.h"

/*
 * How long the resolver may take, in seconds.  Between reading its configuration and starting its
 * children httpd accepts no connection, and the setup check gives up after 2 (facts.md 3).
 */
#define CONFIGTEST_LOOKUP 3
#define START_LOOKUP 1

static int is_configtest(void)
{
    return ap_state_query(AP_SQ_RUN_MODE) == AP_SQ_RM_CONFIG_TEST;
}

/* Said on the terminal it has no time and no level before it, as httpd's own complaints. */
static void warn(const server_rec *s, const char *where, const char *fault)
{
    int form = is_configtest() ? APLOG_STARTUP : 0;

    ap_log_error(APLOG_MARK, form | APLOG_WARNING, 0, s, "%s%s%s", where, *where ? ": " : "",
                 fault);
}

/* Say of an entrypoint that it is one, if requests for its name reach it, and warn of it;
 * no_address: what the resolver says of its WalT server, or NULL. */
static void check(apr_pool_t *p, const walt_vpn_entrypoint *entrypoint, const char *no_address)
{
    apr_array_header_t *faults = apr_array_make(p, 4, sizeof(const char *));
    const char *places = name_check(p, entrypoint, faults);
    const char *missing = entrypoint->folder ? image_folder_missing(p, entrypoint->folder,
                                                                    is_configtest()) : NULL;
    const server_rec *s = entrypoint->server;
    int i;

    if (places && !is_configtest())
        ap_log_error(APLOG_MARK, APLOG_NOTICE, 0, s, "%s is the WalT VPN HTTP entrypoint of %s at "
                     "%s, exposing %s", s->server_hostname, entrypoint->url, places,
                     entrypoint->boot_only ? "what nodes boot from"
                                           : "everything below " BOOT_PREFIX);
    if (no_address)
        APR_ARRAY_PUSH(faults, const char *) = no_address;
    if (entrypoint_config(s)->expose == EXPOSE_UNSET)
        APR_ARRAY_PUSH(faults, const char *) =
            "everything below " BOOT_PREFIX " is exposed; write WaltVpnExpose boot, which is all "
            "that nodes need, or WaltVpnExpose all if more is meant to be";
    for (i = 0; i < faults->nelts; i++)
        warn(s, entrypoint->where, APR_ARRAY_IDX(faults, i, const char *));
    if (missing)
        warn(s, entrypoint->folder->where, missing);
}

/* Warn of all entrypoints, and of what is left over: where there is none, nothing is. */
static void check_all(apr_pool_t *p, server_rec *main_server)
{
    apr_array_header_t *entrypoints = apr_array_make(p, 1, sizeof(const walt_vpn_entrypoint *));
    unsigned seconds = is_configtest() ? CONFIGTEST_LOOKUP : START_LOOKUP;
    const walt_vpn_entrypoint **its;
    const apr_array_header_t *leftovers;
    apr_proc_t *lookups;
    const server_rec *s;
    int i;

    for (s = main_server; s; s = s->next) {
        if (entrypoint_of(s))
            APR_ARRAY_PUSH(entrypoints, const walt_vpn_entrypoint *) = entrypoint_of(s);
    }
    if (entrypoints->nelts == 0)
        return;
    its = (const walt_vpn_entrypoint **)entrypoints->elts;
    lookups = apr_pcalloc(p, sizeof(*lookups) * (apr_size_t)entrypoints->nelts);
    for (i = 0; i < entrypoints->nelts; i++)
        resolver_check_begin(p, its[i], seconds, &lookups[i]);
    /* In the order in which they are written: httpd has virtual hosts last to first. */
    for (i = entrypoints->nelts; i-- > 0;)
        check(p, its[i], resolver_check_end(p, its[i], seconds, &lookups[i]));
    leftovers = leftover_check_faults(p);
    for (i = 0; i < leftovers->nelts; i++)
        warn(main_server, "", APR_ARRAY_IDX(leftovers, i, const char *));
}

/* For configtest, which goes no further; nobody has asked for it with "httpd -S". */
static void walt_vpn_test_config(apr_pool_t *pconf, server_rec *main_server)
{
    if (is_configtest())
        check_all(pconf, main_server);
}

static int walt_vpn_post_config(apr_pool_t *pconf, apr_pool_t *plog, apr_pool_t *ptemp,
                                server_rec *main_server)
{
    (void)pconf;
    (void)plog;
    /* At start the configuration is read twice; say it for the pass that stays. */
    if (ap_state_query(AP_SQ_MAIN_STATE) != AP_SQ_MS_CREATE_PRE_CONFIG)
        check_all(ptemp, main_server);
    return OK;
}

void site_check_register_hooks(void)
{
    ap_hook_test_config(walt_vpn_test_config, NULL, NULL, APR_HOOK_MIDDLE);
    /* Behind site/directives.c's, which may refuse. */
    ap_hook_post_config(walt_vpn_post_config, NULL, NULL, APR_HOOK_LAST);
}
