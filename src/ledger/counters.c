/*
 * ledger/counters.c: what is counted of each entrypoint since the server was started.
 */
#include "ledger/counters.h"
#include "ledger/book.h"
#include "ledger/shared_memory.h"

#include "apr_strings.h"

/* Counts the changes of what the bytes mean. */
#define LAYOUT 3

typedef struct {
    book lock;                  /* of all shared memory; not used here, where counters are atomic */
    apr_time_t began;
    entrypoint_counters entrypoints[COUNTED_ENTRYPOINTS];
} table;

static table *shared;           /* NULL until post_config has run */

static entrypoint_counters uncounted;      /* of entrypoints for which there is no place */

apr_status_t counters_open(apr_pool_t *process_pool)
{
    apr_status_t rv;

    shared = shared_memory_open(&rv, sizeof(table), process_pool, "counters %d", LAYOUT);
    if (shared && !shared->began)
        shared->began = apr_time_now();
    return rv;
}

apr_time_t counters_began(void)
{
    return shared->began;
}

int counters_place(const char *name, const char *url, int *is_new)
{
    int i;

    *is_new = 0;
    for (i = 0; i < COUNTED_ENTRYPOINTS; i++) {
        entrypoint_counters *place = &shared->entrypoints[i];

        /* Only post_config makes places, in one process: no race. */
        if (!place->name[0]) {
            apr_cpystrn(place->url, url, sizeof(place->url));
            apr_cpystrn(place->name, name, sizeof(place->name));
            *is_new = 1;
            return i;
        }
        if (strcmp(place->name, name) == 0 && strcmp(place->url, url) == 0)
            return i;
    }
    return -1;
}

entrypoint_counters *counters_at(int place)
{
    return place < 0 ? &uncounted : &shared->entrypoints[place];
}

entrypoint_counters *counters_of(const request_rec *r)
{
    return counters_at(walt_vpn_request_of(r)->entrypoint->place);
}
