/*
 * request/own_pool.h: memory for what no request owns.
 */
#ifndef WALT_VPN_REQUEST_OWN_POOL_H
#define WALT_VPN_REQUEST_OWN_POOL_H

#include "apr_pools.h"

/*
 * Make a pool without a parent, which one thread at a time may use.  Its maker destroys it before
 * the process ends.  What it had is given to the next such pool, as MaxMemFree allows.
 */
apr_status_t own_pool_make(apr_pool_t **pool, const char *tag);

void own_pool_register_hooks(void);

#endif
