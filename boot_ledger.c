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

/* Swap a trouble in whichever slot holds it; was it there? */
static int replace_trouble(apr_uint32_t old, apr_uint32_t new)
{
    int i;

    for (i = 0; i < TROUBLES_MAX; i++) {
        if (shared->troubles[i] == old && apr_atomic_cas32(&shared->troubles[i], new, old) == old)
            return 1;
    }
    return 0;
}

static apr_uint32_t hash_of(const char *trouble)
{
    apr_ssize_t length = APR_HASH_KEY_STRING;

    return apr_hashfunc_default(trouble, &length) | 1;
}

int boot_ledger_first_time(const char *trouble)
{
    apr_uint32_t hash = hash_of(trouble);

    if (replace_trouble(hash, hash))
        return 0;
    (void)replace_trouble(0, hash);
    return 1;
}

int boot_ledger_forget(const char *trouble)
{
    return replace_trouble(hash_of(trouble), 0);
}
