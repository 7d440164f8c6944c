/*
 * ledger/troubles.h: which troubles were met, so that a trouble that every request repeats is said
 * once.  Those of nodes are in ledger/failures.h.
 */
#ifndef WALT_VPN_LEDGER_TROUBLES_H
#define WALT_VPN_LEDGER_TROUBLES_H

#include "apr_pools.h"
#include "apr_time.h"

/* Kinds of trouble from this one on may be over when nobody has met them for a while. */
#define TROUBLE_PASSING 2048

/* Find the table that an earlier call, before a restart, made, or make it; called in
 * post_config. */
apr_status_t troubles_open(apr_pool_t *process_pool);

/*
 * Note that somebody or something has met trouble of this kind (below 4096) again, in whatever
 * process.  Returns how often they have met trouble since it was last forgotten; the kind is that
 * of the first time.
 */
unsigned troubles_met_before(const char *who, unsigned kind);

/* The kind of trouble that they have met, and that is not over; -1: there is none. */
int troubles_of(const char *who);

/* Is that of a passing kind, and was not met for this long? */
int troubles_have_passed(const char *who, apr_interval_time_t pause);

/* Their trouble is over.  Returns how often it was met. */
unsigned troubles_forget(const char *who);

/* As troubles_met_before(), for what is refused: strangers who try many things crowd out no
 * trouble. */
unsigned troubles_refused_before(const char *what);

#endif
