/*
 * ledger/shared_memory.h: memory that all processes of the server share, and a restart keeps.
 */
#ifndef WALT_VPN_LEDGER_SHARED_MEMORY_H
#define WALT_VPN_LEDGER_SHARED_MEMORY_H

#include "apr_pools.h"

/*
 * Find the memory of this size that an earlier call, before a restart of the server, made under the
 * same name, or make it in the pool of the process: a book, and all zero behind it.  NULL: *rv says
 * why not.  Called in post_config, before the children exist.  The name (a format and what goes
 * into it) counts the changes of what the bytes mean: a module of another version, loaded by a
 * restart, does not read this one's.
 */
void *shared_memory_open(apr_status_t *rv, apr_size_t size, apr_pool_t *process_pool,
                         const char *name, ...) __attribute__((format(printf, 4, 5)));

#endif
