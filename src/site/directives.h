/*
 * site/directives.h: what the directives make of a server.
 */
#ifndef WALT_VPN_SITE_DIRECTIVES_H
#define WALT_VPN_SITE_DIRECTIVES_H

#include "request/entrypoint.h"

/* For the module's structure: the configuration of a server, and its directives. */
void *directives_create_config(apr_pool_t *p, server_rec *s);
void *directives_merge_config(apr_pool_t *p, void *base_config, void *add_config);
extern const command_rec directives_table[];

void directives_register_hooks(void);

#endif
