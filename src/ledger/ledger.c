/*
 * ledger/ledger.c: what all processes of the server know together, in shared memory.
 *
 * Each room keeps a table of its own, under a lock of its own (ledger/book.c) or of atomic words
 * alone.  What a killed child was at is cleared when its parent buries it.
 */
#include "ledger/ledger.h"
#include "ledger/boots.h"
#include "ledger/counters.h"
#include "ledger/failures.h"
#include "ledger/fetches.h"
#include "ledger/troubles.h"
#include "ledger/waiting.h"

apr_status_t ledger_open(apr_pool_t *process_pool)
{
    static apr_status_t (*const open[])(apr_pool_t *) = {
        counters_open, troubles_open, failures_open, boots_open, fetches_open, waiting_open
    };
    apr_status_t rv = APR_SUCCESS;
    apr_size_t i;

    for (i = 0; rv == APR_SUCCESS && i < sizeof(open) / sizeof(open[0]); i++)
        rv = open[i](process_pool);
    return rv;
}
