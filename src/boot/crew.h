/*
 * boot/crew.h: threads of this process beside those of requests.
 */
#ifndef WALT_VPN_BOOT_CREW_H
#define WALT_VPN_BOOT_CREW_H

#include "apr_pools.h"

/*
 * Do this work in a thread of its own, with a pool that lives as long as the thread.  An error:
 * there can be no (further) thread now, and nothing was begun.
 */
apr_status_t crew_start(void (*work)(apr_pool_t *pool, void *data), void *data);

/* Not 0 as soon as the process ends, and what can be left is to be left. */
extern volatile int crew_is_leaving;

void crew_register_hooks(void);

#endif
