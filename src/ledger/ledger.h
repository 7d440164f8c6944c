/*
 * ledger/ledger.h: what all processes of the server know together, in shared memory.
 */
#ifndef WALT_VPN_LEDGER_LEDGER_H
#define WALT_VPN_LEDGER_LEDGER_H

#include "apr_pools.h"

/*
 * Open the tables of all rooms of the ledger, or make them; called in post_config, before the
 * children exist.  They live in the pool of the process, so restarts keep them.
 */
apr_status_t ledger_open(apr_pool_t *process_pool);

#endif
