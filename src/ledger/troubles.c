/*
 * ledger/troubles.c: which troubles were met, so that one that every request repeats is said once.
 *
 * Who has met a trouble is known by a hash: texts would take more room than what a wrong match
 * could cost, which is one line in the log.
 */
#include "ledger/troubles.h"
#include "ledger/book.h"
#include "ledger/shared_memory.h"

#include "apr_hash.h"

#include <string.h>

/* Counts the changes of what the bytes mean. */
#define LAYOUT 3

/* Different troubles that are remembered; a new one takes the place of an old one when all are
 * taken. */
#define ROWS 256

typedef struct {
    apr_uint32_t who;           /* hash */
    apr_uint32_t kind;
    apr_uint32_t met;           /* how often; 0: a free row */
    apr_time_t last;            /* when that was */
} row;

typedef struct {
    book lock;
    row troubles[ROWS];         /* of the folder, the WalT server, the configuration */
    row refusals[ROWS];
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

/* The row of theirs, or else the row that they are to have: a free one, or another's.  In the open
 * book. */
static row *row_for(row *rows, apr_uint32_t who)
{
    row *place = &rows[who % ROWS];
    int i;

    for (i = 0; i < ROWS; i++) {
        if (rows[i].met && rows[i].who == who)
            return &rows[i];
        if (!rows[i].met)
            place = &rows[i];
    }
    return place;
}

/* Without the book it is said rather once too often than never: 0. */
static unsigned count(row *rows, const char *who, unsigned kind)
{
    apr_uint32_t hash = hash_of(who);
    unsigned before;
    row *place;

    if (book_open(&shared->lock) == BOOK_CLOSED)
        return 0;
    place = row_for(rows, hash);
    if (!place->met || place->who != hash)
        *place = (row){ .who = hash, .kind = kind };
    before = place->met++;
    place->last = apr_time_now();
    book_close(&shared->lock);
    return before;
}

unsigned troubles_met_before(const char *who, unsigned kind)
{
    return count(shared->troubles, who, kind);
}

unsigned troubles_refused_before(const char *what)
{
    return count(shared->refusals, what, 0);
}

/* A copy of their row, with met = 0 if they have no trouble.  is_over: from now on. */
static row look_up(const char *who, int is_over)
{
    apr_uint32_t hash = hash_of(who);
    row copy = { .met = 0 }, *place;

    if (book_open(&shared->lock) == BOOK_CLOSED)
        return copy;
    place = row_for(shared->troubles, hash);
    if (place->who == hash) {
        copy = *place;
        if (is_over)
            place->met = 0;
    }
    book_close(&shared->lock);
    return copy;
}

int troubles_of(const char *who)
{
    row theirs = look_up(who, 0);

    return theirs.met ? (int)theirs.kind : -1;
}

int troubles_have_passed(const char *who, apr_interval_time_t pause)
{
    row theirs = look_up(who, 0);
    apr_interval_time_t age = apr_time_now() - theirs.last;

    /* A time ahead of now is from before the clock was set back. */
    return theirs.met && theirs.kind >= TROUBLE_PASSING && (age < 0 || age >= pause);
}

unsigned troubles_forget(const char *who)
{
    return look_up(who, 1).met;
}
