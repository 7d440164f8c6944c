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

/* Microseconds of a clock that nobody sets, and that is the same in all processes.  What lasts is
 * measured by it; a wait, and the deadline of one, is of this clock alone. */
apr_time_t waiting_clock(void);

/* A client's address as a number that nobody foretells who does not know the salt.  Of an IPv6
 * address the network alone counts, because a host has any address in it that it likes. */
unsigned waiting_hash(unsigned salt, const apr_sockaddr_t *client);

/* A seat in the room; NULL: none. */
typedef struct seat seat;

/*
 * A request from this address begins to wait.  When all seats of the kind are taken, the address
 * that has most of them loses its newest seat.  If that is the request's own address, the seat that
 * it has had for longest is lost instead, after TURN at the earliest.  NULL: there is no seat.
 */
seat *waiting_begin(seat_kind kind, int entrypoint, const apr_sockaddr_t *client);

/* Was the seat given to another request?  Then the request that has it is to end. */
int waiting_is_sent_away(const seat *taken);

/* Who had this seat waits no more, and has none. */
void waiting_end(seat **taken);

/* How many threads wait for this entrypoint, in all processes. */
unsigned waiting_threads(int entrypoint);

/* This process has died: it waits no more. */
void waiting_bury(pid_t process);

#endif
