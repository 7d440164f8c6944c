/*
 * request/entrypoint.h: what an entrypoint is: a server that WaltVpnServer has made one, its names,
 * and its ports.
 */
#ifndef WALT_VPN_REQUEST_ENTRYPOINT_H
#define WALT_VPN_REQUEST_ENTRYPOINT_H

#include "request/walt_vpn.h"

/* What WaltVpnServer makes of a virtual host.  Lives in pconf. */
typedef struct {
    const char *host;           /* lower case, IPv6 without brackets */
    apr_port_t port;
    const char *url;            /* http://host[:port]/walt-vpn/, the worker's name */
    const ap_directive_t *directive;    /* where WaltVpnServer stands */
    const char *where;          /* the same for people: "WaltVpnServer value (file:line)" */
    const server_rec *server;   /* in which it stands */
    int boot_only;              /* WaltVpnExpose boot */
    const struct image_folder *folder;  /* WaltVpnCacheRoot; NULL: images are relayed */
    int place;                  /* of its counters in the ledger; -1: none */
    apr_interval_time_t timeout;        /* of its worker: how long an answer is waited for */
    struct question_line *line; /* before its WalT server; shared by all that name it */
    struct walt_address *address;       /* of its WalT server; NULL: host is an address */
} walt_vpn_entrypoint;

typedef enum { EXPOSE_UNSET, EXPOSE_ALL, EXPOSE_BOOT } expose_mode;

/* What the directives say of a server (site/directives.c).  Lives in pconf. */
typedef struct {
    walt_vpn_entrypoint *entrypoint;    /* NULL: this server is none; never inherited */
    expose_mode expose;
    const char *cache_root;     /* absolute; "": none; NULL: unset */
    apr_off_t cache_size;       /* bytes; 0: unset */
    const ap_directive_t *cache_directive;      /* where WaltVpnCacheRoot stands */
} walt_vpn_config;

/* What the directives say of this server. */
walt_vpn_config *entrypoint_config(const server_rec *s);

/* What WaltVpnServer made of this server, or NULL: it is no entrypoint. */
const walt_vpn_entrypoint *entrypoint_of(const server_rec *s);

/* The entrypoint of this server, if it is to be shown.  NULL: there is none, or an entrypoint
 * before it is counted at the same place (the same name for another port), or no place is left for
 * it.  So each place is shown once. */
const walt_vpn_entrypoint *entrypoint_to_show(const server_rec *s);

/* The entrypoint of this server is shown.  Is another entrypoint shown that has the same name, and
 * another WalT server? */
int entrypoint_shares_name(const server_rec *s);

/* Is host the ServerName of s or one of its ServerAlias names?  Ports do not matter. */
int entrypoint_is_named(const server_rec *s, const char *host);

/* Is host the ServerName of s, or a ServerAlias without a wildcard? */
int entrypoint_has_name(const server_rec *s, const char *host);

/* Does this httpd listen on the port, at whatever address? */
int entrypoint_is_listened_on(apr_port_t port);

/* Does s answer on this port?  A virtual host of *:* and the main server answer on all. */
int entrypoint_answers_on(const server_rec *s, apr_port_t port);

#endif
