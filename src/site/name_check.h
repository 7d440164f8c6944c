/*
 * site/name_check.h: do the names of an entrypoint lead to it?
 */
#ifndef WALT_VPN_SITE_NAME_CHECK_H
#define WALT_VPN_SITE_NAME_CHECK_H

#include "request/entrypoint.h"

/*
 * Once the configuration is read: add to faults, an empty array of const char *, what would keep
 * requests for a name of this entrypoint from it, and what to change, in p.  Returns the addresses
 * and ports at which requests for its ServerName do reach it, as in "*:80", in p; NULL: none.
 */
const char *name_check(apr_pool_t *p, const walt_vpn_entrypoint *entrypoint,
                       apr_array_header_t *faults);

#endif
