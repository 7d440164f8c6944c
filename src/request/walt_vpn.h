/*
 * request/walt_vpn.h: what the rooms of mod_walt_vpn share.
 */
#ifndef WALT_VPN_H
#define WALT_VPN_H

#include "httpd.h"
#include "http_config.h"
#include "http_log.h"

extern module AP_MODULE_DECLARE_DATA walt_vpn_module;
APLOG_USE_MODULE(walt_vpn);

#endif
