/*
 * reply/relay.h: what the WalT server answers, passed on so that a node can trust it.
 */
#ifndef WALT_VPN_REPLY_RELAY_H
#define WALT_VPN_REPLY_RELAY_H

#include "request/record.h"

/* The reply to r is a local file: nothing is relayed, and httpd's own filters serve the ranges of
 * it that are no resumed download. */
void relay_is_off(request_rec *r);

/*
 * Nothing (more) of a local reply to r is passed on, of which the head was, or was not: its
 * connection is reset.  Without a head it is logged with 504.  Returns what the handler returns.
 */
int relay_give_up(request_rec *r, int begun);

void relay_register_hooks(void);

#endif
