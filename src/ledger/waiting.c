/*
 * ledger/waiting.c: threads that wait on behalf of nodes, and how long they may.
 *
 * A waiter holds its thread, or with the prefork MPM its process: some must stay free, so that the
 * rest of the server goes on.
 */
#include "ledger/waiting.h"
#include "ledger/counters.h"
#include "ledger/shared_memory.h"
#include "request/times.h"

#include "apr_atomic.h"
#include "ap_mpm.h"
#include "scoreboard.h"

#include <stdatomic.h>
#include <time.h>
#include <unistd.h>

/* Counts the changes of what the bytes in shared memory mean. */
#define LAYOUT 1

/* Most threads that are written down. */
#define WAITERS 1024

/* In front of the entrypoint's place, counted from 1, stands the process of a waiter. */
#define WAITER_PROCESS_SHIFT 32

/* Threads of this process that wait. */
static volatile apr_uint32_t waiters;

/* Threads of all processes: process and entrypoint, in one word; 0: free.  NULL until post_config
 * has run. */
static counter *shared_waiters;

apr_status_t waiting_open(apr_pool_t *process_pool)
{
    void *memory;
    int is_new;
    apr_status_t rv = shared_memory_open(&memory, &is_new, WAITERS * sizeof(counter), process_pool,
                                         "waiters %d", LAYOUT);

    if (rv == APR_SUCCESS)
        shared_waiters = memory;
    return rv;
}

apr_time_t waiting_clock(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return apr_time_from_sec(now.tv_sec) + now.tv_nsec / 1000;
}

/* A thread of this process begins to wait for this entrypoint; returns its place, or -1 when all
 * are taken. */
static int take_place(int entrypoint)
{
    apr_uint64_t waiter = (apr_uint64_t)getpid() << WAITER_PROCESS_SHIFT
                          | (apr_uint64_t)(entrypoint + 1);
    int i;

    for (i = 0; i < WAITERS; i++) {
        apr_uint64_t nobody = 0;

        if (shared_waiters[i] == 0
            && atomic_compare_exchange_strong(&shared_waiters[i], &nobody, waiter))
            return i;
    }
    return -1;
}

static void free_place(int place)
{
    if (place >= 0)
        shared_waiters[place] = 0;
}

void waiting_begin(waiting *waiting, const request_rec *r)
{
    apr_atomic_inc32(&waiters);
    waiting->entrypoint = walt_vpn_request_of(r)->entrypoint->place;
    waiting->place = take_place(waiting->entrypoint);
    waiting->began = waiting_clock();
}

void waiting_end(const waiting *waiting)
{
    apr_atomic_dec32(&waiters);
    free_place(waiting->place);
    histogram_add_time(&counters_at(waiting->entrypoint)->waiting_times,
                       waiting_clock() - waiting->began);
}

/* How many of how many processes are busy: for an MPM whose processes have one thread each. */
static int count_busy(int *processes)
{
    int busy = 0, limit = 0, i;

    ap_mpm_query(AP_MPMQ_HARD_LIMIT_DAEMONS, &limit);
    for (i = 0; i < limit; i++) {
        const worker_score *worker = ap_get_scoreboard_worker_from_indexes(i, 0);

        busy += worker && worker->status > SERVER_READY;
    }
    ap_mpm_query(AP_MPMQ_MAX_DAEMONS, processes);
    return busy;
}

waiting_state waiting_level(void)
{
    int all = 0, taken;

    ap_mpm_query(AP_MPMQ_MAX_THREADS, &all);
    taken = all > 1 ? (int)apr_atomic_read32(&waiters) : count_busy(&all);
    return taken * 4 >= all * 3 ? WAITING_FULL : taken * 2 > all ? WAITING_CROWDED
                                                                  : WAITING_LITTLE;
}

int waiting_is_too_long(apr_time_t began)
{
    return waiting_clock() - began >= CROWDED_WAIT && waiting_level() != WAITING_LITTLE;
}

unsigned waiting_count(int entrypoint)
{
    unsigned waiting = 0;
    int i;

    for (i = 0; i < WAITERS; i++)
        waiting += (apr_uint32_t)shared_waiters[i] == (apr_uint32_t)(entrypoint + 1);
    return waiting;
}

void waiting_bury(pid_t process)
{
    int i;

    for (i = 0; i < WAITERS; i++) {
        apr_uint64_t waiter = shared_waiters[i];

        if (waiter >> WAITER_PROCESS_SHIFT == (apr_uint64_t)process)
            (void)atomic_compare_exchange_strong(&shared_waiters[i], &waiter, 0);
    }
}
