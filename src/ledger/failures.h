/*
 * ledger/failures.h: nodes that were not given what they asked for, and have not booted since.
 */
#ifndef WALT_VPN_LEDGER_FAILURES_H
#define WALT_VPN_LEDGER_FAILURES_H

#include "apr_pools.h"
#include "apr_tables.h"
#include "apr_time.h"

typedef struct {
    int entrypoint;             /* its place among the counters */
    char node[16];              /* with dots; "": a free row */
    char client[46];            /* the address that it came from last */
    char trouble[320];          /* the last one, in words */
    int is_known;               /* it has had a boot.sig: no stranger has made it up */
    unsigned kinds;             /* of the troubles that it had, a bit for each */
    apr_uint64_t times;         /* how often it had trouble */
    apr_time_t since;           /* when it began */
    apr_time_t last;            /* when that was */
} failure;

/* Find the table that an earlier call, before a restart, made, or make it; called in
 * post_config. */
apr_status_t failures_open(apr_pool_t *process_pool);

/*
 * The node was not given its file, or not all of it: what happened, as a bit for its kind, and in
 * words.  A known node is not forgotten to make room for an unknown node.  Returns
 * whether that is news: the node has not had trouble of this kind since it booted.
 */
int failures_note(int entrypoint, const char *node, int is_known, const char *client,
                  unsigned kind, const char *what);

/* The node has booted.  Returns how often it had trouble before. */
apr_uint64_t failures_are_over(int entrypoint, const char *node);

/* Copies of all rows of this entrypoint that are in use, as failure in p: the known
 * nodes first, and of these the latest. */
apr_array_header_t *failures_list(apr_pool_t *p, int entrypoint);

#endif
