/*
 * site/resolver_check.h: have the WalT servers an address?
 */
#ifndef WALT_VPN_SITE_RESOLVER_CHECK_H
#define WALT_VPN_SITE_RESOLVER_CHECK_H

#include "request/entrypoint.h"

#include "apr_thread_proc.h"

/* Have a process look the name of a WalT server up, for so many seconds at most. */
void resolver_check_begin(apr_pool_t *p, const walt_vpn_entrypoint *entrypoint,
                          unsigned seconds, apr_proc_t *process);

/* Wait for its end.  Returns what is wrong, in p; NULL: the name has an address. */
const char *resolver_check_end(apr_pool_t *p, const walt_vpn_entrypoint *entrypoint,
                               unsigned seconds, apr_proc_t *process);

#endif
