/*
 * boot_ledger.h: what all processes of the server know together, in shared memory.
 */
#ifndef WALT_VPN_BOOT_LEDGER_H
#define WALT_VPN_BOOT_LEDGER_H

#include "walt_vpn.h"

/* Make the ledger; called in post_config, before the children exist. */
apr_status_t boot_ledger_open(apr_pool_t *pconf);

/*
 * Is this the first time, in any process since the last (re)start, that this trouble is met?
 * So a trouble that every request repeats is logged once.
 */
int boot_ledger_first_time(const char *trouble);

/* This trouble is over: its next time is a first time again.  Was it met at all? */
int boot_ledger_forget(const char *trouble);

#endif
