/*
 * ledger/failures.c: nodes that were not given what they asked for, and have not booted since.
 */
#include "ledger/failures.h"
#include "ledger/book.h"
#include "ledger/shared_memory.h"

#include "apr_strings.h"

#include <stdlib.h>
#include <string.h>

/* Counts the changes of what the bytes mean. */
#define LAYOUT 4

/* Most nodes that are remembered. */
#define ROWS 256

typedef struct {
    book lock;
    failure rows[ROWS];
} table;

static table *shared;           /* NULL until post_config has run */

apr_status_t failures_open(apr_pool_t *process_pool)
{
    apr_status_t rv;

    shared = shared_memory_open(&rv, sizeof(table), process_pool, "failures %d", LAYOUT);
    return rv;
}

/* Whoever asks for many nodes that do not exist crowds out his own first. */
static int goes_before(const failure *a, const failure *b)
{
    if (a->is_known != b->is_known)
        return b->is_known;
    return a->times != b->times ? a->times < b->times : a->last < b->last;
}

static int is_of(const failure *row, int entrypoint, const char *node)
{
    return row->node[0] && row->entrypoint == entrypoint && strcmp(row->node, node) == 0;
}

/* The row of this node, or else the row that it is to have: a free one, or the first to go.  In the
 * open book. */
static failure *row_for(int entrypoint, const char *node)
{
    failure *place = &shared->rows[0];
    int i;

    for (i = 0; i < ROWS; i++) {
        failure *row = &shared->rows[i];

        if (is_of(row, entrypoint, node))
            return row;
        if (place->node[0] && (!row->node[0] || goes_before(row, place)))
            place = row;
    }
    return place;
}

int failures_note(int entrypoint, const char *node, int is_known, const char *client,
                  unsigned kind, const char *what)
{
    apr_time_t now = apr_time_now();
    failure *row;
    int news;

    /* Without the book it is said rather once too often than never. */
    if (book_open(&shared->lock) == BOOK_CLOSED)
        return 1;
    row = row_for(entrypoint, node);
    if (!is_of(row, entrypoint, node)) {
        *row = (failure){ .entrypoint = entrypoint, .since = now };
        apr_cpystrn(row->node, node, sizeof(row->node));
    }
    news = !(row->kinds & kind);
    row->kinds |= kind;
    row->is_known |= is_known;
    apr_cpystrn(row->client, client, sizeof(row->client));
    apr_cpystrn(row->trouble, what, sizeof(row->trouble));
    row->times++;
    row->last = now;
    if (row->since > now)       /* the clock was set back */
        row->since = now;
    book_close(&shared->lock);
    return news;
}

apr_uint64_t failures_are_over(int entrypoint, const char *node)
{
    apr_uint64_t times = 0;
    failure *row;

    if (book_open(&shared->lock) == BOOK_CLOSED)
        return times;
    row = row_for(entrypoint, node);
    if (is_of(row, entrypoint, node)) {
        times = row->times;
        row->node[0] = '\0';
    }
    book_close(&shared->lock);
    return times;
}

/* Those that may be invented come last. */
static int latest_first(const void *a, const void *b)
{
    const failure *one = a, *other = b;

    if (one->is_known != other->is_known)
        return one->is_known ? -1 : 1;
    return one->last < other->last ? 1 : one->last > other->last ? -1 : 0;
}

apr_array_header_t *failures_list(apr_pool_t *p, int entrypoint)
{
    apr_array_header_t *list = apr_array_make(p, 16, sizeof(failure));
    int i;

    if (book_open(&shared->lock) == BOOK_CLOSED)
        return list;
    for (i = 0; i < ROWS; i++) {
        if (shared->rows[i].node[0] && shared->rows[i].entrypoint == entrypoint)
            APR_ARRAY_PUSH(list, failure) = shared->rows[i];
    }
    book_close(&shared->lock);
    qsort(list->elts, (size_t)list->nelts, sizeof(failure), latest_first);
    return list;
}
