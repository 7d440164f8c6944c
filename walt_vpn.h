/*
 * walt_vpn.h: what the rooms of mod_walt_vpn share.
 *
 * mod_walt_vpn.c   claiming a request and passing it on
 * entrypoint.c     what the directives make of a server: refusing to start, the generated worker
 * boot_request.c   what a request asks for, judged from its text
 * reply_guard.c    the promises that every reply to a node keeps
 * boot_files.c     answering boot.sig and boot.img, and trying again where the WalT server fails
 * walt_query.c     asking the WalT server on the entrypoint's own account
 * image_cache.c    the folder of verified boot images
 * boot_watch.c     what the administrator is told of each request
 * boot_ledger.c    what all processes of the server know together
 * status_page.c    the section on mod_status's page
 */
#ifndef WALT_VPN_H
#define WALT_VPN_H

#include "httpd.h"
#include "http_config.h"
#include "http_log.h"

#include "boot_request.h"

extern module AP_MODULE_DECLARE_DATA walt_vpn_module;
APLOG_USE_MODULE(walt_vpn);

/* What WaltVpnServer makes of a virtual host.  Lives in pconf. */
typedef struct {
    const char *value;          /* the argument of WaltVpnServer, as written */
    const char *host;           /* lower case, IPv6 without brackets */
    apr_port_t port;
    const char *url;            /* http://host[:port]/walt-vpn/, the worker's name */
    const ap_directive_t *directive;    /* where WaltVpnServer stands */
    const server_rec *server;   /* in which it stands */
    int boot_only;              /* WaltVpnExpose boot */
    const struct image_folder *folder;  /* WaltVpnCacheRoot; NULL: images are relayed */
    int place;                  /* of its counters in the ledger; -1: none */
} walt_vpn_entrypoint;

/* How a claimed request was answered. */
typedef enum {
    WALT_VPN_RELAYED,           /* by the WalT server */
    WALT_VPN_CACHED,            /* from the cache folder */
    WALT_VPN_FETCHED,           /* from the cache folder, into which it was fetched for this one */
    WALT_VPN_WAITED,            /* likewise, by a fetch for another one */
    WALT_VPN_REFUSED,           /* with an error, by this module's judgement */
    WALT_VPN_FAILED,            /* with an error: the WalT server did not deliver */
    WALT_VPN_ANSWERS            /* how many there are */
} walt_vpn_answer;

/* One claimed request, from judging it to its log line.  Lives in r->pool. */
typedef struct {
    const walt_vpn_entrypoint *entrypoint;
    boot_request boot;
    const char *rest;           /* path behind /walt-vpn/, as sent, judged */
    const char *query;          /* as sent, judged; NULL: none */
    char *path;                 /* that of r->parsed_uri, while it is out of mod_md's sight */
    const char *asked;          /* path that the entrypoint itself is asking for; NULL: none */
    apr_off_t resume_from;      /* N of a lone "Range: bytes=N-"; 0: no such range */
    int other_range;            /* it has a Range of another form */
    walt_vpn_answer answer;     /* known when WALT_VPN_ANSWER is set */
    int replaced_by;            /* error that was sent for a broken reply, a status; 0: none */
    const char *digest;         /* of the image, as far as it is known; else NULL */
    struct watch *watch;        /* of its reply; NULL until there is one (boot_watch.c) */
} walt_vpn_request;

/* The record of a claimed main request, or NULL for a request that is none of ours. */
walt_vpn_request *walt_vpn_request_of(const request_rec *r);

/* What WaltVpnServer made of this server, or NULL: it is no entrypoint. */
const walt_vpn_entrypoint *walt_vpn_entrypoint_of(const server_rec *s);

#endif
