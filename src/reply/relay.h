/*
 * reply/relay.h: what the WalT server answers, passed on so that a node can trust it.
 */
#ifndef WALT_VPN_REPLY_RELAY_H
#define WALT_VPN_REPLY_RELAY_H

#include "request/record.h"

/*
 * From here on r is mod_proxy's.  Of a node's files the WalT server is asked for the whole, or as a
 * node asks for the rest, whatever ranges and conditions a stranger knows: the coming version
 * answers some of these with what firmware can't read (facts.md 2).
 */
void relay_begin(request_rec *r, walt_vpn_request *request);

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
