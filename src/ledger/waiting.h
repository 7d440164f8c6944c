/*
 * ledger/waiting.h: threads that wait on behalf of nodes, and how long they may.
 */
#ifndef WALT_VPN_LEDGER_WAITING_H
#define WALT_VPN_LEDGER_WAITING_H

#include "httpd.h"

#include <sys/types.h>

/* Find what an earlier call, before a restart, made, or make it; called in post_config. */
apr_status_t waiting_open(apr_pool_t *process_pool);

/* Microseconds of a clock that nobody sets, and that is the same in all processes.  What lasts is
 * measured by it; a wait, and the deadline of one, is of this clock alone. */
apr_time_t waiting_clock(void);

/* One wait of a thread. */
typedef struct {
    int entrypoint;             /* the place of its counters */
    int place;                  /* among those who wait, of all processes; -1: none */
    apr_time_t began;
} waiting;

/* The thread begins to wait for something that another request than r brings about, and has ended:
 * counted for r's entrypoint. */
void waiting_begin(waiting *waiting, const request_rec *r);
void waiting_end(const waiting *waiting);

typedef enum {
    WAITING_LITTLE,
    WAITING_CROWDED,            /* more than half of the threads do: one more does not for long */
    WAITING_FULL                /* three quarters of them: the rest is for the rest of the server */
} waiting_state;

waiting_state waiting_level(void);

/* Has one that began to wait then waited for too long, as crowded as it is now? */
int waiting_is_too_long(apr_time_t began);

/* How many threads wait for this entrypoint, in all processes. */
unsigned waiting_count(int entrypoint);

/* This process has died: its threads wait no more. */
void waiting_bury(pid_t process);

#endif
