/*
 * ledger/histogram.h: how often a measure was how large.
 */
#ifndef WALT_VPN_LEDGER_HISTOGRAM_H
#define WALT_VPN_LEDGER_HISTOGRAM_H

#include "apr_time.h"

/* Bounds of a histogram: each counts the measures up to it that are above the bound before. */
#define HISTOGRAM_BOUNDS 16

/* All zero at first.  It may live in shared memory: it changes by atomic additions alone. */
typedef struct {
    _Atomic apr_uint64_t counts[HISTOGRAM_BOUNDS + 1];  /* the last: above all bounds */
    _Atomic apr_uint64_t sum;           /* of all measures */
} histogram;

typedef struct {
    apr_uint64_t most;                  /* as it is summed up */
    const char *text;                   /* as it is shown: the same number in any format */
} histogram_bound;

extern const histogram_bound histogram_times[HISTOGRAM_BOUNDS]; /* microseconds, in seconds */
extern const histogram_bound histogram_rates[HISTOGRAM_BOUNDS]; /* bytes a second */

/* Count a measure.  A time may be negative, when the clock was set back: then it is 0. */
void histogram_add_time(histogram *histogram, apr_interval_time_t time);
void histogram_add_rate(histogram *histogram, apr_uint64_t rate);

#endif
