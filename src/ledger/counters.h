/*
 * ledger/counters.h: what is counted of each entrypoint since the server was started.
 */
#ifndef WALT_VPN_LEDGER_COUNTERS_H
#define WALT_VPN_LEDGER_COUNTERS_H

#include "ledger/histogram.h"
#include "request/record.h"

#include <stdatomic.h>

/* Most entrypoints that are counted. */
#define COUNTED_ENTRYPOINTS 32

/* Statuses of replies that are counted apart; report/watch.h lists them. */
#define COUNTED_CODES 11

/* What became of a boot. */
typedef enum {
    RESULT_DONE,                /* the last byte was sent */
    RESULT_SHORT,               /* its download ended before that, and was not resumed in time */
    RESULT_UNSIGNED,            /* its boot.sig was answered with an error */
    RESULT_UNKNOWN,             /* the same, of a node that is not known at that address: it may be
                                 * invented */
    RESULT_STARTED_OVER,        /* the node began another boot before that */
    BOOT_RESULTS                /* how many there are */
} boot_result;

/* What became of a fetch. */
typedef enum {
    FETCH_DONE,
    FETCH_BROKEN,               /* the WalT server did not bring the image */
    FETCH_NO_ROOM,              /* the folder can't take it */
    FETCH_LEFT,                 /* its node has another image by now; other visits may go on with
                                 * it */
    FETCH_RESULTS               /* how many there are */
} fetch_result;

/* Does the WalT server answer? */
typedef enum {
    SERVER_UNKNOWN,             /* it was not asked yet */
    SERVER_ANSWERS,
    SERVER_SILENT               /* or it can't be reached */
} server_state;

/* In shared memory; each changes by atomic operations alone. */
typedef _Atomic apr_uint64_t counter;

typedef struct {
    char name[256];             /* its ServerName, NUL: a free place */
    char url[320];              /* its WalT server */
    counter answers[WALT_VPN_ANSWERS];  /* requests by how they were answered */
    counter to_nodes;           /* bytes of bodies sent */
    counter from_server;        /* bytes of bodies received from the WalT server */
    counter no_signatures;      /* boot.sig that were none */
    counter misnamed;           /* requests below /walt-vpn/ under a name of no entrypoint */
    counter requests[BOOT_FILES][WALT_VPN_ANSWERS][COUNTED_CODES];      /* that have ended */
    counter refusals[BOOT_REASONS];
    counter boots[BOOT_RESULTS];
    counter resumes;
    counter fetches[FETCH_RESULTS];
    counter mismatches;         /* images whose digest was not right */
    counter evictions;          /* of images from its folder */
    counter server;             /* a server_state: what the last question to it showed */
    counter server_since;       /* when that began */
    counter answered;           /* when it answered last */
    counter took;               /* how long that took, in microseconds */
    histogram boot_times;       /* from the boot.sig to the last byte */
    histogram download_rates;   /* of replies that brought the last byte */
    histogram answer_times[BOOT_FILES]; /* until the head of the WalT server's reply came */
    histogram fetch_times;      /* of those that are FETCH_DONE */
    histogram waiting_times;    /* of requests that wait, in a thread or suspended */
    counter ended;              /* boots, whole or short */
    counter kept;               /* how many of these are written down in a file */
    counter kept_at;            /* when that was done */
} entrypoint_counters;

/* Find the counters that an earlier call, before a restart, made, or make them; called in
 * post_config. */
apr_status_t counters_open(apr_pool_t *process_pool);

/* When they were made: since then everything is counted. */
apr_time_t counters_began(void);

/* The place of an entrypoint's counters, made if need be, which *is_new tells; -1: all places are
 * taken. */
int counters_place(const char *name, const char *url, int *is_new);

/* The counters at a place; for -1 some that nobody reads. */
entrypoint_counters *counters_at(int place);

/* Those of the entrypoint of r, a main request that was claimed. */
entrypoint_counters *counters_of(const request_rec *r);

#endif
