/*
 * walt/race.h: which of several addresses takes a connection first.
 */
#ifndef WALT_VPN_WALT_RACE_H
#define WALT_VPN_WALT_RACE_H

#include "apr_network_io.h"

/* Most addresses that race; of a name with more, the first ones alone are looked at. */
#define RACE_MAX 16

/*
 * The index of the address that takes a connection first; each address has a head start before the
 * next address.  -1: no address takes a connection within this time.  The connection is closed
 * again.
 */
int race_winner(apr_pool_t *pool, apr_sockaddr_t *const *addresses, int count,
                apr_interval_time_t within);

#endif
