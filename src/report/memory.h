/*
 * report/memory.h: what each node last took, kept over a restart.
 */
#ifndef WALT_VPN_REPORT_MEMORY_H
#define WALT_VPN_REPORT_MEMORY_H

#include "request/entrypoint.h"

/* The ledger knows nothing of this entrypoint yet: tell it of the boots that were kept. */
void boot_memory_recall(apr_pool_t *p, const walt_vpn_entrypoint *entrypoint);

/* A boot has ended: keep it, with the others, unless they were kept less than a minute ago. */
void boot_memory_keep(const walt_vpn_entrypoint *entrypoint);

/* This process ends: keep what has ended since. */
void boot_memory_keep_last(const walt_vpn_entrypoint *entrypoint);

#endif
