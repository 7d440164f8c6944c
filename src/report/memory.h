/*
 * report/memory.h: what each node last took, kept over a restart.
 */
#ifndef WALT_VPN_REPORT_MEMORY_H
#define WALT_VPN_REPORT_MEMORY_H

#include "request/entrypoint.h"

/* The ledger knows nothing of this entrypoint yet: tell it of the boots that were kept. */
void boot_memory_recall(apr_pool_t *p, const walt_vpn_entrypoint *entrypoint);

/* Write down the boots that have ended, if some have ended since that was done last, and longer ago
 * than this. */
void boot_memory_keep(const walt_vpn_entrypoint *entrypoint, apr_interval_time_t pause);

#endif
