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

/* What WaltVpnServer makes of a virtual host.  Lives in pconf. */
typedef struct {
    const char *value;          /* the argument of WaltVpnServer, as written */
    const char *host;           /* lower case, IPv6 without brackets */
    apr_port_t port;
    const char *url;            /* http://host[:port]/walt-vpn/, the worker's name */
    const ap_directive_t *directive;    /* where WaltVpnServer stands */
    const char *where;          /* the same for people: "WaltVpnServer value (file:line)" */
    const server_rec *server;   /* in which it stands */
    int boot_only;              /* WaltVpnExpose boot */
    int exposed_unsaid;         /* no WaltVpnExpose: all is the default */
    const struct image_folder *folder;  /* WaltVpnCacheRoot; NULL: images are relayed */
    int place;                  /* of its counters in the ledger; -1: none */
    apr_interval_time_t timeout;        /* of its worker: how long an answer is waited for */
    struct question_line *line; /* before its WalT server; shared by all who name that one */
} walt_vpn_entrypoint;

#endif
