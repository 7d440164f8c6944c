/*
 * boot/crew.c: threads of this process beside those of requests.
 *
 * One for each piece of work, started when it is there: a thread costs microseconds, the work
 * takes milliseconds or minutes, and a thread that can't be started is found out while something
 * else can be done.  A thread can't free what it runs in, so each one that starts frees those that
 * are done.  (apr_thread_pool queues what it has no thread for, and says neither.)
 *
 * With prefork there are none: what httpd's core and mod_proxy keep for a process has no locks
 * there.
 */
#include "boot/crew.h"
#include "request/own_pool.h"
#include "walt/query.h"

#include "apr_thread_mutex.h"
#include "apr_thread_proc.h"
#include "ap_mpm.h"
#include "mpm_common.h"

/* Most threads at once: the image fetches and questions of this process, the ends of its requests,
 * and the keeper of its room. */
#define CREW_MAX 64

typedef struct member {
    struct member *next;
    apr_pool_t *pool;           /* of the thread, and of this */
    apr_thread_t *thread;
    void (*work)(apr_pool_t *pool, void *data);
    void *data;
    _Atomic int is_done;
} member;

volatile int crew_is_leaving;

static apr_thread_mutex_t *mutex;       /* NULL: there can be no crew */
static member *crew;            /* under the mutex */
static int count;               /* of these */

static void *APR_THREAD_FUNC run(apr_thread_t *thread, void *data)
{
    member *self = data;

    (void)thread;
    self->work(self->pool, self->data);
    self->is_done = 1;
    return NULL;
}

/* Join a thread and free what it ran in. */
static void dismiss(member *done)
{
    apr_status_t ended;

    apr_thread_join(&ended, done->thread);
    apr_pool_destroy(done->pool);
}

/* Dismiss those that are done.  Under the mutex. */
static void dismiss_done(void)
{
    member **next = &crew;

    while (*next) {
        member *one = *next;

        if (one->is_done) {
            *next = one->next;
            count--;
            dismiss(one);
        }
        else {
            next = &one->next;
        }
    }
}

apr_status_t crew_start(void (*work)(apr_pool_t *pool, void *data), void *data)
{
    apr_pool_t *pool;
    member *next;
    apr_status_t rv;

    if (!mutex || own_pool_make(&pool, "walt_vpn crew") != APR_SUCCESS)
        return APR_ENOTIMPL;
    next = apr_pcalloc(pool, sizeof(*next));
    next->pool = pool;
    next->work = work;
    next->data = data;
    apr_thread_mutex_lock(mutex);
    dismiss_done();
    rv = crew_is_leaving || count >= CREW_MAX ? APR_EAGAIN
         : apr_thread_create(&next->thread, NULL, run, next, pool);
    if (rv == APR_SUCCESS) {
        next->next = crew;
        crew = next;
        count++;
    }
    apr_thread_mutex_unlock(mutex);
    if (rv != APR_SUCCESS)
        apr_pool_destroy(pool);
    return rv;
}

/* From now on nobody begins anything, and no answer is waited for. */
static void begin_to_leave(void)
{
    crew_is_leaving = 1;
    walt_query_end_all();
}

/* The process ends: so does all that the crew is at. */
static apr_status_t leave(void *data)
{
    member *one;

    (void)data;
    begin_to_leave();
    apr_thread_mutex_lock(mutex);       /* who comes too late dismisses those that are done */
    one = crew;
    crew = NULL;
    apr_thread_mutex_unlock(mutex);
    while (one) {
        member *next = one->next;

        dismiss(one);
        one = next;
    }
    return APR_SUCCESS;
}

static void walt_vpn_child_init(apr_pool_t *pchild, server_rec *main_server)
{
    int is_threaded = 0;

    (void)main_server;
    ap_mpm_query(AP_MPMQ_IS_THREADED, &is_threaded);
    if (is_threaded && apr_thread_mutex_create(&mutex, APR_THREAD_MUTEX_DEFAULT, pchild)
                       == APR_SUCCESS)
        apr_pool_pre_cleanup_register(pchild, NULL, leave);
}

/* The process is told to end at once.  First it waits for its threads, which would wait for the
 * WalT server. */
static void walt_vpn_child_stopping(apr_pool_t *pchild, int graceful)
{
    (void)pchild;
    if (mutex && !graceful)
        begin_to_leave();
}

void crew_register_hooks(void)
{
    ap_hook_child_stopping(walt_vpn_child_stopping, NULL, NULL, APR_HOOK_MIDDLE);
    ap_hook_child_init(walt_vpn_child_init, NULL, NULL, APR_HOOK_MIDDLE);
}
