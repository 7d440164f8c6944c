/*
 * waiting.c: threads that wait on behalf of nodes, and how long they may.
 *
 * A waiter holds its thread, or with the prefork MPM its process: some must stay free, so that the
 * rest of the server goes on.
 */
#include "waiting.h"

#include "apr_atomic.h"
#include "ap_mpm.h"
#include "scoreboard.h"

/* When it is crowded a waiter gives up after this long. */
#define CROWDED_WAIT apr_time_from_sec(8)

/* Threads of this process that wait. */
static volatile apr_uint32_t waiters;

void waiting_begin(void)
{
    apr_atomic_inc32(&waiters);
}

void waiting_end(void)
{
    apr_atomic_dec32(&waiters);
}

/* Are more than three quarters of all processes busy?  For an MPM whose processes have one thread
 * each. */
static int are_processes_busy(void)
{
    int processes = 0, busy = 0, i;

    ap_mpm_query(AP_MPMQ_HARD_LIMIT_DAEMONS, &processes);
    for (i = 0; i < processes; i++) {
        const worker_score *worker = ap_get_scoreboard_worker_from_indexes(i, 0);

        busy += worker && worker->status > SERVER_READY;
    }
    ap_mpm_query(AP_MPMQ_MAX_DAEMONS, &processes);
    return busy * 4 > processes * 3;
}

int waiting_is_crowded(void)
{
    int threads = 0;

    ap_mpm_query(AP_MPMQ_MAX_THREADS, &threads);
    if (threads <= 1)
        return are_processes_busy();
    return apr_atomic_read32(&waiters) * 2 > (apr_uint32_t)threads;
}

int waiting_is_too_long(apr_time_t began)
{
    return apr_time_now() - began >= CROWDED_WAIT && waiting_is_crowded();
}
