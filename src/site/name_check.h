/*
 * site/name_check.h: do the names of an entrypoint lead to it?
 */
#ifndef WALT_VPN_SITE_NAME_CHECK_H
#define WALT_VPN_SITE_NAME_CHECK_H

#include "request/entrypoint.h"

/*
 * What would keep requests for a name of this entrypoint from it, with the places of both and what
 * to change: an array of const char *, in p; empty: nothing.  Once the configuration is read.
 */
apr_array_header_t *name_check_faults(apr_pool_t *p, server_rec *main_server,
                                      const walt_vpn_entrypoint *entrypoint);

/*
 * The ports on which requests for its ServerName do reach it, as in "port 80" or "ports 80, 8080",
 * in p; NULL: none.
 */
const char *name_check_ports(apr_pool_t *p, server_rec *main_server,
                             const walt_vpn_entrypoint *entrypoint);

#endif
