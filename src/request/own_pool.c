/*
 * request/own_pool.c: memory for what no request owns.
 *
 * A question lasts for milliseconds, and APR asks the kernel for the memory of a pool without a
 * parent, and gives it back with the pool, which stops all threads of the process for a moment.  So
 * these pools share an allocator, which keeps what they had.
 */
#include "request/own_pool.h"

#include "apr_thread_mutex.h"
#include "httpd.h"
#include "http_config.h"
#include "http_main.h"
#include "mpm_common.h"

static apr_allocator_t *allocator;      /* of this process; NULL: each pool has its own */

apr_status_t own_pool_make(apr_pool_t **pool, const char *tag)
{
    apr_status_t rv = apr_pool_create_unmanaged_ex(pool, apr_pool_abort_get(ap_pglobal),
                                                   allocator);

    if (rv == APR_SUCCESS)
        apr_pool_tag(*pool, tag);
    return rv;
}

/* It is not freed: threads may use it until the process has ended. */
static void walt_vpn_child_init(apr_pool_t *pchild, server_rec *main_server)
{
    apr_pool_t *pool;
    apr_thread_mutex_t *mutex;

    (void)pchild;
    (void)main_server;
    if (apr_pool_create_unmanaged_ex(&pool, NULL, NULL) != APR_SUCCESS
        || apr_thread_mutex_create(&mutex, APR_THREAD_MUTEX_DEFAULT, pool) != APR_SUCCESS
        || apr_allocator_create(&allocator) != APR_SUCCESS)
        return;
    apr_allocator_mutex_set(allocator, mutex);
    apr_allocator_max_free_set(allocator, ap_max_mem_free);
}

void own_pool_register_hooks(void)
{
    ap_hook_child_init(walt_vpn_child_init, NULL, NULL, APR_HOOK_MIDDLE);
}
