/*
 * report/values.h: what the status page and the metrics page tell, each value once.
 *
 * A value is a number or a text at its place in a record.  How it is written follows from its unit.
 */
#ifndef WALT_VPN_REPORT_VALUES_H
#define WALT_VPN_REPORT_VALUES_H

#include "ledger/counters.h"

#include "apr_tables.h"

#include <stddef.h>

typedef enum {
    UNIT_CHARS,                 /* texts: the bytes themselves */
    UNIT_DIGEST,                /* a digest as bytes: people are shown its beginning */
    UNIT_TEXT,                  /* a const char * */
    UNIT_TROUBLE,               /* a const char *: why the folder does not serve */
    UNIT_NUMBER,                /* apr_uint64_t */
    UNIT_COUNT,                 /* of an apr_array_header_t * */
    UNIT_PERCENT,
    UNIT_BYTES,
    UNIT_RATE,                  /* bytes a second */
    UNIT_SECONDS,               /* microseconds, shown in seconds */
    UNIT_MILLISECONDS,          /* microseconds, shown in milliseconds */
    UNIT_MOMENT,                /* microseconds since 1970 */
    UNIT_END,                   /* microseconds since 1970, and today as a rule */
    UNIT_STATE,                 /* a server_state */
    UNIT_INFO,                  /* the metrics page alone: what an entrypoint is */
    UNIT_TIMES,                 /* a histogram of microseconds */
    UNIT_RATES,                 /* a histogram of bytes a second */
    UNIT_NODES                  /* the last boot of each node */
} value_unit;

typedef enum { METRIC_GAUGE, METRIC_COUNTER, METRIC_HISTOGRAM } metric_type;

/* What a counter is counted apart by. */
typedef struct {
    const char *label;
    const char *const *names;
    int count;                  /* of names */
} value_dimension;

typedef struct {
    value_unit unit;
    int is_counted;             /* it stands among the counters of the record, a standing */
    const void *(*of)(apr_pool_t *p, const void *record);       /* makes, in p, the record in which
                                 * the value stands; NULL: it stands in the record itself */
    apr_size_t at;              /* in that record */
    const char *label;          /* a row's or a column's on the status page */
    const char *key;            /* in ?auto; NULL: it is not on the status page */
    const char *nothing;        /* what people are told for 0 or NULL, and programs nothing; NULL: 0
                                 * is a value like any number */
    int is_of_folder;           /* it is there if there is a folder */
    metric_type type;
    const char *name;           /* on the metrics page, a counter's without _total; NULL: it is not
                                 * there */
    const char *help;
    const value_dimension *by[4];       /* the last one is NULL */
    int is_sparse;              /* of its series only those are there that were counted */
} value;

/* What a value is called on the status page. */
#define SHOWN(its_label, its_key) .label = its_label, .key = its_key

/* How an entrypoint stands now. */
typedef struct {
    const walt_vpn_entrypoint *entrypoint;
    const entrypoint_counters *counters;
    const char *name;           /* with the WalT server if another entrypoint has the name, too */
    apr_array_header_t *downloads;      /* boot_row, by node, the earlier first */
    apr_array_header_t *fetches;        /* fetch_row */
    apr_array_header_t *images; /* folder_file, in its folder */
    const char *server;         /* URL */
    const char *exposed;
    const char *root;           /* of its folder */
    const char *trouble;        /* with that; NULL: none */
    apr_uint64_t since;         /* from then on all is counted */
    apr_uint64_t saved;         /* bytes */
    apr_uint64_t waiting;       /* threads */
    apr_uint64_t bytes;         /* that the images take */
    apr_uint64_t limit;         /* that they may */
} standing;

/* All values of a standing, in their order; behind the last is one without a name and a key. */
extern const value standing_values[];

/* How each entrypoint stands that is to be shown, as standing in p.  This stands between a name and
 * a WalT server. */
apr_array_header_t *standings_now(apr_pool_t *p, const char *between);

/* A value of a record on the status page: what people are shown, what programs. */
typedef struct {
    const char *shown;
    const char *plain;
} value_cell;

value_cell value_cell_of(apr_pool_t *p, const value *value, const void *record);

/* A number of a record. */
apr_uint64_t value_number(const value *value, const void *record);

#endif
