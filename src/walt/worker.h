/*
 * walt/worker.h: handing a request to mod_proxy_http, whose worker leads to the WalT server.
 */
#ifndef WALT_VPN_WALT_WORKER_H
#define WALT_VPN_WALT_WORKER_H

#include "request/entrypoint.h"

/*
 * Hand r to mod_proxy_http for this path and query (NULL: none), which were judged: they go out as
 * they are.  is_for_firmware: the reply is a file that firmware reads.
 */
void walt_worker_take(request_rec *r, const walt_vpn_entrypoint *entrypoint, int is_for_firmware,
                      const char *rest, const char *query);

#endif
