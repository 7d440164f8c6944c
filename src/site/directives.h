/*
 * site/directives.h: what the directives make of a server.
 */
#ifndef WALT_VPN_SITE_DIRECTIVES_H
#define WALT_VPN_SITE_DIRECTIVES_H

#include "request/walt_vpn.h"

/* For the module's structure: the configuration of a server, and its directives. */
void *entrypoint_create_config(apr_pool_t *p, server_rec *s);
void *entrypoint_merge_config(apr_pool_t *p, void *base_config, void *add_config);
extern const command_rec entrypoint_directives[];

/* What WaltVpnServer made of this server, or NULL: it is no entrypoint. */
const walt_vpn_entrypoint *entrypoint_of(const server_rec *s);

/* The entrypoint of this server, unless one before it is counted at the same place (the same name
 * for another port) or none is left for it: so each that is counted is shown once. */
const walt_vpn_entrypoint *entrypoint_to_show(const server_rec *s);

/* Has another entrypoint that is shown the name of this one, which is, for another WalT server? */
int entrypoint_shares_name(const server_rec *s);

/* Is host the ServerName of s or one of its ServerAlias names?  Ports do not matter. */
int entrypoint_is_named(const server_rec *s, const char *host);

/* Does this httpd listen on the port, at whatever address? */
int entrypoint_is_listened_on(apr_port_t port);

void entrypoint_register_hooks(void);

#endif
