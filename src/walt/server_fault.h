/*
 * walt/server_fault.h: what is wrong with the WalT server, as the administrator should hear it.
 */
#ifndef WALT_VPN_WALT_SERVER_FAULT_H
#define WALT_VPN_WALT_SERVER_FAULT_H

#include "request/record.h"

/*
 * What came for a node's boot.sig is no signature: warn of it, count it, and return the status that
 * the node is answered with.
 */
int server_fault_no_signature(request_rec *r, const walt_vpn_request *request);

/* A boot.sig has come that is a signature: the next answer that is none is warned of again. */
void server_fault_is_over(const request_rec *r, const walt_vpn_request *request);

void server_fault_register_hooks(void);

#endif
