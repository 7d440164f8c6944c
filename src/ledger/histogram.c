/*
 * ledger/histogram.c: how often a measure was how large.
 */
#include "ledger/histogram.h"

/* From an answer of the WalT server beside it to a boot over the slowest link. */
const histogram_bound histogram_times[HISTOGRAM_BOUNDS] = {
    { 5000, "0.005" }, { 10000, "0.01" }, { 25000, "0.025" }, { 50000, "0.05" },
    { 100000, "0.1" }, { 250000, "0.25" }, { 500000, "0.5" }, { 1000000, "1.0" },
    { 2500000, "2.5" }, { 5000000, "5.0" }, { 10000000, "10.0" }, { 25000000, "25.0" },
    { 60000000, "60.0" }, { 150000000, "150.0" }, { 600000000, "600.0" },
    { 1800000000, "1800.0" }
};

/* Doubling, from 8 KiB/s to 256 MiB/s. */
const histogram_bound histogram_rates[HISTOGRAM_BOUNDS] = {
    { 8192, "8192.0" }, { 16384, "16384.0" }, { 32768, "32768.0" }, { 65536, "65536.0" },
    { 131072, "131072.0" }, { 262144, "262144.0" }, { 524288, "524288.0" },
    { 1048576, "1048576.0" }, { 2097152, "2097152.0" }, { 4194304, "4194304.0" },
    { 8388608, "8388608.0" }, { 16777216, "16777216.0" }, { 33554432, "33554432.0" },
    { 67108864, "67108864.0" }, { 134217728, "134217728.0" }, { 268435456, "268435456.0" }
};

static void add(histogram *histogram, const histogram_bound *bounds, apr_uint64_t measure)
{
    int i = 0;

    while (i < HISTOGRAM_BOUNDS && measure > bounds[i].most)
        i++;
    histogram->counts[i]++;
    histogram->sum += measure;
}

void histogram_add_time(histogram *histogram, apr_interval_time_t time)
{
    add(histogram, histogram_times, time > 0 ? (apr_uint64_t)time : 0);
}

void histogram_add_rate(histogram *histogram, apr_uint64_t rate)
{
    add(histogram, histogram_rates, rate);
}
