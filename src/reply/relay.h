/*
 * reply/relay.h: what the WalT server answers, passed on so that a node can trust it.
 */
#ifndef WALT_VPN_REPLY_RELAY_H
#define WALT_VPN_REPLY_RELAY_H

#include "request/record.h"

/*
 * From here on r is mod_proxy's.  Of a node's files the WalT server is asked for the whole, or for
 * the rest as a node asks for it, whatever ranges and conditions a stranger sends: the coming
 * version answers some of these with what firmware can't read (facts.md 2).
 */
void relay_begin(request_rec *r, walt_vpn_request *request);

/* The reply to r is a local file: nothing is relayed, and httpd's own filters serve the ranges of
 * it that are no resumed download. */
void relay_is_off(request_rec *r);

/*
 * Nothing (more) of a local reply to r is passed on: its connection is reset.  begun: the head was
 * passed on; otherwise the request is logged with 504.  Returns what the handler returns.
 */
int relay_give_up(request_rec *r, int begun);

void relay_register_hooks(void);

#endif
