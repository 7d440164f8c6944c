/*
 * ledger/waiting.h: the waiting room: who waits on behalf of nodes, and how many may.
 */
#ifndef WALT_VPN_LEDGER_WAITING_H
#define WALT_VPN_LEDGER_WAITING_H

#include "httpd.h"

#include <sys/types.h>

/* How a request waits. */
typedef enum {
    SEAT_THREAD,                /* it holds its thread, or with prefork its process */
    SEAT_SUSPENDED,             /* the event MPM has let go of its connection */
    SEAT_KINDS                  /* how many there are */
} seat_kind;

/* Find the room that an earlier call, before a restart, made, or make it; called in post_config. */
apr_status_t waiting_open(apr_pool_t *process_pool);

/* How many seats there are of a kind, all processes together; called in each child. */
void waiting_size(void);

/* Microseconds of a clock that nobody sets, and that is the same in all processes.  What lasts is
 * measured by it; a wait, and the deadline of one, is of this clock alone. */
apr_time_t waiting_clock(void);

/* A client's address as a number that nobody foretells who does not know the salt.  Of an IPv6
 * address the network alone counts, because a host has any address in it that it likes. */
unsigned waiting_hash(unsigned salt, const apr_sockaddr_t *client);

/* One wait. */
typedef struct {
    int row;                    /* of its seat; -1: none */
    apr_uint64_t number;        /* no two waits have the same */
    int entrypoint;             /* the place of its counters */
    apr_time_t began;
} waiting;

/*
 * A request from this address begins to wait.  When all seats of the kind are taken, the address
 * that has most of them loses its newest seat.  If that is the request's own address, the seat that
 * it has had for longest is lost instead, after TURN at the earliest.  0: there is no seat.
 */
int waiting_begin(waiting *wait, seat_kind kind, int entrypoint, const apr_sockaddr_t *client);

/* Was the seat given to another request?  Then this request is to end. */
int waiting_is_sent_away(const waiting *wait);

/* It waits no more; it may be said again. */
void waiting_end(waiting *wait);

/* How many wait so for this entrypoint, in all processes. */
unsigned waiting_count(seat_kind kind, int entrypoint);

/* This process has died: it waits no more. */
void waiting_bury(pid_t process);

#endif
