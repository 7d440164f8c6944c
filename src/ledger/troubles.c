/*
 * ledger/troubles.c: which troubles were met, so that one that every request repeats is said once.
 *
 * A trouble is known by a hash of whose it is, and its kind: texts would take more room than what
 * a wrong match could cost, which is one line in the log.
 */
#include "ledger/troubles.h"
#include "ledger/book.h"
#include "ledger/shared_memory.h"

#include "apr_hash.h"

#include <string.h>

/* Counts the changes of what the bytes mean. */
#define LAYOUT 2

/* Different troubles that are remembered; a new one takes the place of an old one when all are
 * taken. */
#define ROWS 256

typedef struct {
    apr_uint32_t who;           /* hash */
    apr_uint32_t kind;
    apr_uint32_t met;           /* how often; 0: a free row */
} row;

typedef struct {
    book lock;
    row troubles[ROWS];         /* of the folder, the WalT server, the configuration */
    row nodes[ROWS];            /* of nodes, invented ones too: they crowd out none of those */
    row refusals[ROWS];
    apr_time_t passing;         /* when a kind of trouble that passes was met last; 0: never */
} table;

static table *shared;           /* NULL until post_config has run */

apr_status_t troubles_open(apr_pool_t *process_pool)
{
    apr_status_t rv;

    shared = shared_memory_open(&rv, sizeof(table), process_pool, "troubles %d", LAYOUT);
    return rv;
}

static apr_uint32_t hash_of(const char *who)
{
    apr_ssize_t length = APR_HASH_KEY_STRING;

    return apr_hashfunc_default(who, &length);
}

/* Count this trouble.  Returns how often it was met before.  In the open book. */
static unsigned meet(row *rows, apr_uint32_t who, apr_uint32_t kind)
{
    row *place = NULL;
    int i;

    for (i = 0; i < ROWS; i++) {
        if (rows[i].met && rows[i].who == who && rows[i].kind == kind)
            return rows[i].met++;
        if (!rows[i].met && !place)
            place = &rows[i];
    }
    if (!place)
        place = &rows[who % ROWS];
    *place = (row){ .who = who, .kind = kind, .met = 1 };
    return 0;
}

/* Without the book it is said rather once too often than never: 0. */
static unsigned count(row *rows, const char *who, unsigned kind)
{
    unsigned before;

    if (book_open(&shared->lock) == BOOK_CLOSED)
        return 0;
    if (kind >= TROUBLE_PASSING)
        shared->passing = apr_time_now();
    before = meet(rows, hash_of(who), kind);
    book_close(&shared->lock);
    return before;
}

/* Where the troubles of these are counted. */
static row *rows_of(const char *who)
{
    return strncmp(who, TROUBLE_OF_NODE, strlen(TROUBLE_OF_NODE)) == 0 ? shared->nodes
                                                                      : shared->troubles;
}

unsigned troubles_met_before(const char *who, unsigned kind)
{
    return count(rows_of(who), who, kind);
}

unsigned troubles_refused_before(const char *what)
{
    return count(shared->refusals, what, 0);
}

int troubles_may_have_passed(apr_interval_time_t pause)
{
    apr_time_t last = shared->passing, now = last ? apr_time_now() : 0;

    /* A time ahead of now is from before the clock was set back. */
    return last && (now < last || now - last >= pause);
}

int troubles_of(const char *who)
{
    const row *rows = rows_of(who);
    apr_uint32_t hash = hash_of(who);
    int i, kind = -1;

    if (book_open(&shared->lock) == BOOK_CLOSED)
        return kind;
    for (i = 0; kind < 0 && i < ROWS; i++) {
        if (rows[i].met && rows[i].who == hash)
            kind = (int)rows[i].kind;
    }
    book_close(&shared->lock);
    return kind;
}

unsigned troubles_forget(const char *who)
{
    row *rows = rows_of(who);
    apr_uint32_t hash = hash_of(who);
    unsigned met = 0;
    int i;

    if (book_open(&shared->lock) == BOOK_CLOSED)
        return 0;
    for (i = 0; i < ROWS; i++) {
        if (rows[i].who == hash) {
            met += rows[i].met;
            rows[i].met = 0;
        }
    }
    book_close(&shared->lock);
    return met;
}
