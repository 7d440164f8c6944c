/*
 * walt_vpn.h: what the rooms of mod_walt_vpn share.
 *
 * From top to bottom; each uses only what stands below it:
 *
 * mod_walt_vpn.c     claiming a request and passing it on
 * status_page.c      the section on mod_status's page
 * metrics_page.c     the page that Prometheus reads
 * site_check.c       what in the configuration keeps nodes from booting, or opens too much
 * leftover_check.c   what is still passed on below /walt-vpn/ without this module
 * resolver_check.c   have the WalT servers an address?
 * name_check.c       do the names of an entrypoint lead to it?
 * upkeep.c           what the processes do for folders and ledger beside answering requests
 * entrypoint.c       what the directives make of a server: refusing to start, the generated worker
 * boot_files.c       answering boot.sig and boot.img
 * image_fetch.c      fetching an image from the WalT server, and trying again where that fails
 * image_feeder.c     nodes that are sent an image while it is fetched, without a thread each
 * image_sender.c     sending an image to a node, whole or while it is fetched
 * server_fault.c     what is wrong with the WalT server, as the administrator should hear it
 * boot_signature.c   asking the WalT server for a node's boot.sig
 * question_line.c    one question at a time, or as many as the WalT server answers fast
 * walt_query.c       asking the WalT server on the entrypoint's own account
 * image_cache.c      finding the image that a node wants
 * image_part.c       an image on its way into the folder
 * image_digest.c     is a file what its name says?
 * reply_guard.c      the promises that every reply to a node keeps
 * boot_watch.c       what the administrator is told of each request
 * boot_memory.c      what each node last took, kept over a restart
 * image_folder.c     the folder of boot images: is it fit for use, what is in it, what has to go
 * waiting.c          threads that wait on behalf of nodes, and how long they may
 * boot_ledger.c      what all processes of the server know together
 * histogram.c        how often a measure was how large
 * shared_memory.c    memory that all processes share, and a restart keeps
 * request_record.c   the record of a request that an entrypoint has claimed
 * boot_request.c     what a request asks for, judged from its text
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
