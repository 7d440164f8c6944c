/*
 * site/leftover_check.h: what the configuration still passes on below /walt-vpn/ without
 * this module.
 */
#ifndef WALT_VPN_SITE_LEFTOVER_CHECK_H
#define WALT_VPN_SITE_LEFTOVER_CHECK_H

#include "request/entrypoint.h"

/* The directives of mod_proxy and mod_rewrite that do, with their places and what to do: an
 * array of const char *, in p. */
apr_array_header_t *leftover_check_faults(apr_pool_t *p);

#endif
