/*
 * ledger/shared_memory.c: memory that all processes of the server share, and a restart keeps.
 *
 * It is anonymous and made before the children are forked: it has no name in the file system that
 * anybody else could open, and it is gone with the last process.
 */
#include "ledger/shared_memory.h"
#include "ledger/book.h"

#include "apr_shm.h"
#include "apr_strings.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <string.h>

/* What lives there changes by atomic operations.  Where the compiler has none it takes a lock
 * instead, which each process has for itself. */
_Static_assert(ATOMIC_LLONG_LOCK_FREE == 2, "shared memory needs lock-free 64-bit atomics");

/* Room for a name and the size, as one key of the pool's. */
#define KEY_ROOM 512

void *shared_memory_open(apr_status_t *rv, apr_size_t size, apr_pool_t *process_pool,
                         const char *name, ...)
{
    char key[KEY_ROOM];
    apr_shm_t *segment;
    void *memory;
    va_list parts;
    int length = apr_snprintf(key, sizeof(key), "mod_walt_vpn: %" APR_SIZE_T_FMT " bytes of ",
                              size);

    va_start(parts, name);
    apr_vsnprintf(key + length, sizeof(key) - (apr_size_t)length, name, parts);
    va_end(parts);
    *rv = apr_pool_userdata_get(&memory, key, process_pool);
    if (*rv == APR_SUCCESS && memory)
        return memory;
    if ((*rv = apr_shm_create(&segment, size, NULL, process_pool)) != APR_SUCCESS)
        return NULL;
    memory = apr_shm_baseaddr_get(segment);
    memset(memory, 0, size);
    if ((*rv = book_make(memory)) == APR_SUCCESS)
        *rv = apr_pool_userdata_set(memory, key, apr_pool_cleanup_null, process_pool);
    return *rv == APR_SUCCESS ? memory : NULL;
}
