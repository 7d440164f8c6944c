/*
 * site/resolver_check.h: have the WalT servers an address?
 */
#ifndef WALT_VPN_SITE_RESOLVER_CHECK_H
#define WALT_VPN_SITE_RESOLVER_CHECK_H

#include "request/entrypoint.h"

/*
 * What the resolver says of the WalT server of each of these entrypoints, an array of const
 * walt_vpn_entrypoint *: an array of const char *, in p, of the same length; NULL in it: nothing is
 * wrong.  Takes no longer than this many seconds, whatever the resolver does.
 */
apr_array_header_t *resolver_check_faults(apr_pool_t *p, const apr_array_header_t *entrypoints,
                                          int seconds);

#endif
