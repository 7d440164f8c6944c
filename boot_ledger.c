/*
 * boot_ledger.c: what all processes of the server know together, in shared memory.
 *
 * The memory is anonymous and made before the children are forked; they share it without a name
 * that anybody else could open.  Its fields change by atomic operations alone, so a child that is
 * killed in the middle of one leaves no lock behind.
 */
#include "boot_ledger.h"

#include "apr_atomic.h"
#include "apr_hash.h"
#include "apr_shm.h"

/* Different troubles that are remembered; what comes after them is logged each time. */
#define TROUBLES_MAX 256

typedef struct {
    volatile apr_uint32_t troubles[TROUBLES_MAX];       /* hashes of their texts; 0: free */
} ledger;

static ledger *shared;          /* NULL until post_config has run */

apr_status_t boot_ledger_open(apr_pool_t *pconf)
{
    apr_shm_t *memory;
    apr_status_t rv = apr_shm_create(&memory, sizeof(ledger), NULL, pconf);

    if (rv == APR_SUCCESS) {
        shared = apr_shm_baseaddr_get(memory);
        memset(shared, 0, sizeof(*shared));
    }
    return rv;
}

int boot_ledger_first_time(const char *trouble)
{
    apr_ssize_t length = APR_HASH_KEY_STRING;
    apr_uint32_t hash = apr_hashfunc_default(trouble, &length) | 1;
    int i;

    for (i = 0; i < TROUBLES_MAX; i++) {
        apr_uint32_t met = apr_atomic_cas32(&shared->troubles[i], hash, 0);

        if (met == 0)
            return 1;
        if (met == hash)
            return 0;
    }
    return 1;
}
