/*
 * ledger/waiting.c: threads that wait on behalf of nodes, and how long they may.
 *
 * A waiter holds its thread, or with the prefork MPM its process: some must stay free, so that the
 * rest of the server goes on.
 */
#include "ledger/waiting.h"
#include "ledger/ledger.h"

#include "apr_atomic.h"
#include "ap_mpm.h"
#include "scoreboard.h"

#include <time.h>

/* When it is crowded a waiter gives up after this long. */
#define CROWDED_WAIT apr_time_from_sec(8)

/* Threads of this process that wait. */
static volatile apr_uint32_t waiters;

apr_time_t waiting_clock(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return apr_time_from_sec(now.tv_sec) + now.tv_nsec / 1000;
}

void waiting_begin(waiting *waiting, const request_rec *r)
{
    apr_atomic_inc32(&waiters);
    waiting->entrypoint = walt_vpn_request_of(r)->entrypoint->place;
    waiting->place = boot_ledger_wait(waiting->entrypoint);
    waiting->began = waiting_clock();
}

void waiting_end(const waiting *waiting)
{
    apr_atomic_dec32(&waiters);
    boot_ledger_wait_end(waiting->place);
    histogram_add_time(&boot_ledger_entrypoint(waiting->entrypoint)->waiting_times,
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
