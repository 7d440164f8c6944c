/*
 * site/checks.c: what in the configuration keeps nodes from booting, or opens more than they
 * need.
 *
 * Nothing of it is refused: it may be meant, or be about to be mended (a name that DNS will have).
 * It is said as a warning, on the terminal by configtest and in the error log at each start and
 * restart; there, too, which names do lead to an entrypoint.
 */
#include "site/checks.h"
#include "request/entrypoint.h"
#include "request/judge.h"
#include "site/leftover_check.h"
#include "site/name_check.h"
#include "site/resolver_check.h"

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

static void warn_of(const walt_vpn_entrypoint *entrypoint, const char *fault)
{
    warn(entrypoint->server, entrypoint->where, fault);
}

/* All entrypoints, const walt_vpn_entrypoint *, in p; httpd has virtual hosts last to first. */
static apr_array_header_t *entrypoints_of(apr_pool_t *p, const server_rec *s)
{
    apr_array_header_t *entrypoints = apr_array_make(p, 1, sizeof(const walt_vpn_entrypoint *));

    for (; s; s = s->next) {
        if (entrypoint_of(s))
            APR_ARRAY_PUSH(entrypoints, const walt_vpn_entrypoint *) = entrypoint_of(s);
    }
    return entrypoints;
}

/* Warn of one entrypoint; no_address: what the resolver says of its WalT server, or NULL. */
static void check(apr_pool_t *p, server_rec *main_server, const walt_vpn_entrypoint *entrypoint,
                  const char *no_address)
{
    const apr_array_header_t *faults = name_check_faults(p, main_server, entrypoint);
    int i;

    for (i = 0; i < faults->nelts; i++)
        warn_of(entrypoint, APR_ARRAY_IDX(faults, i, const char *));
    if (no_address)
        warn_of(entrypoint, no_address);
    if (entrypoint->exposed_unsaid)
        warn_of(entrypoint, "everything below " BOOT_PREFIX " is exposed; write WaltVpnExpose "
                "boot, which is all that nodes need, or WaltVpnExpose all if more is meant to be");
}

/* Where there is no entrypoint, nothing is left over either. */
static void check_all(apr_pool_t *p, server_rec *main_server)
{
    const apr_array_header_t *entrypoints = entrypoints_of(p, main_server);
    const apr_array_header_t *no_address, *leftovers;
    int i;

    if (entrypoints->nelts == 0)
        return;
    no_address = resolver_check_faults(p, entrypoints,
                                       is_configtest() ? CONFIGTEST_LOOKUP : START_LOOKUP);
    for (i = entrypoints->nelts; i-- > 0;)
        check(p, main_server, APR_ARRAY_IDX(entrypoints, i, const walt_vpn_entrypoint *),
              APR_ARRAY_IDX(no_address, i, const char *));
    leftovers = leftover_check_faults(p);
    for (i = 0; i < leftovers->nelts; i++)
        warn(main_server, "", APR_ARRAY_IDX(leftovers, i, const char *));
}

/* Say of each entrypoint that it is one, if requests for its name reach it. */
static void announce(apr_pool_t *p, server_rec *main_server)
{
    const apr_array_header_t *entrypoints = entrypoints_of(p, main_server);
    int i;

    for (i = entrypoints->nelts; i-- > 0;) {
        const walt_vpn_entrypoint *entrypoint = APR_ARRAY_IDX(entrypoints, i,
                                                              const walt_vpn_entrypoint *);
        const server_rec *s = entrypoint->server;
        const char *ports = name_check_ports(p, main_server, entrypoint);

        if (ports)
            ap_log_error(APLOG_MARK, APLOG_NOTICE, 0, s, "%s is the WalT VPN HTTP entrypoint of %s "
                         "on %s, exposing %s", s->server_hostname, entrypoint->url, ports,
                         entrypoint->boot_only ? "what nodes boot from"
                                               : "everything below " BOOT_PREFIX);
    }
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
    if (ap_state_query(AP_SQ_MAIN_STATE) != AP_SQ_MS_CREATE_PRE_CONFIG) {
        announce(ptemp, main_server);
        check_all(ptemp, main_server);
    }
    return OK;
}

void site_check_register_hooks(void)
{
    ap_hook_test_config(walt_vpn_test_config, NULL, NULL, APR_HOOK_MIDDLE);
    /* Behind site/directives.c's, which may refuse. */
    ap_hook_post_config(walt_vpn_post_config, NULL, NULL, APR_HOOK_LAST);
}
