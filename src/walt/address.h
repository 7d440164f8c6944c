/*
 * walt/address.h: at which address of its name the WalT server is asked.
 */
#ifndef WALT_VPN_WALT_ADDRESS_H
#define WALT_VPN_WALT_ADDRESS_H

#include "request/entrypoint.h"

#include "mod_proxy.h"

/*
 * Keep the address of this entrypoint's WalT server from here on; called in post_config, before the
 * children exist.  What is known lives in the pool of the process: restarts keep it, and all
 * virtual hosts that name that server share it.
 */
apr_status_t walt_address_open(apr_pool_t *pconf, apr_pool_t *process_pool,
                               walt_vpn_entrypoint *entrypoint);

/* Is this the worker for exactly this URL, with or without its last slash? */
int walt_address_is_worker_of(const proxy_worker *worker, const char *url);

/* Why the last lookup of the name found nothing; APR_SUCCESS: it found addresses, or there was no
 * lookup. */
apr_status_t walt_address_fault(const walt_vpn_entrypoint *entrypoint);

/* mod_proxy could not connect: the next request looks where the WalT server is. */
void walt_address_doubt(const walt_vpn_entrypoint *entrypoint);

void walt_address_register_hooks(void);

#endif
