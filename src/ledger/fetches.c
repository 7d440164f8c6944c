/*
 * ledger/fetches.c: the fetches of images into a folder, running and remembered.
 *
 * A row tells how far a fetch has come, and what became of it.  Nothing else tells that: neither
 * the file's name nor its mode.  Rows of fetches that have ended stay until they are needed for
 * others, so that a node that resumes later is told whether its bytes were right.
 */
#include "ledger/fetches.h"
#include "ledger/book.h"
#include "ledger/counters.h"
#include "ledger/shared_memory.h"
#include "request/times.h"

#include "apr_hash.h"
#include "apr_strings.h"

#include <string.h>
#include <unistd.h>

/* Counts the changes of what the bytes mean. */
#define LAYOUT 3

typedef struct {
    book lock;
    apr_uint64_t last_id;
    fetch_row rows[FETCH_ROWS];
} table;

static table *shared;           /* NULL until post_config has run */

apr_status_t fetches_open(apr_pool_t *process_pool)
{
    apr_status_t rv;

    shared = shared_memory_open(&rv, sizeof(table), process_pool, "fetches %d", LAYOUT);
    return rv;
}

/* ------------------------------------------------------------------ rows, in the open book */

static apr_uint64_t hash_of(const char *folder)
{
    apr_ssize_t length = APR_HASH_KEY_STRING;

    return apr_hashfunc_default(folder, &length);
}

static fetch_row *held(fetch_hold hold)
{
    fetch_row *fetch = hold.row < 0 ? NULL : &shared->rows[hold.row];

    return fetch && fetch->id == hold.id ? fetch : NULL;
}

static int has_ended(const fetch_row *fetch)
{
    return fetch->fate == FATE_PUBLISHED || fetch->fate == FATE_BROKEN
           || fetch->fate == FATE_MISMATCH || fetch->fate == FATE_NO_ROOM;
}

/* Did it end less than this long ago?  A time ahead of now is from before the clock was set
 * back. */
static int lasts(const fetch_row *fetch, apr_interval_time_t lasting)
{
    apr_time_t now = apr_time_now();

    return now >= fetch->moved && now - fetch->moved < lasting;
}

/* The last fetch of this image into this folder; NULL: there is none. */
static fetch_row *find(apr_uint64_t folder, const char *digest)
{
    fetch_row *found = NULL;
    int i;

    for (i = 0; i < FETCH_ROWS; i++) {
        fetch_row *fetch = &shared->rows[i];

        if (fetch->fate != FATE_FREE && fetch->folder == folder
            && strcmp(fetch->digest, digest) == 0 && (!found || fetch->id > found->id))
            found = fetch;
    }
    return found;
}

/* A row for another fetch: a free one, or the one whose fetch ended first, or was given up first.
 * NULL: all are under way. */
static fetch_row *free_row(void)
{
    fetch_row *oldest = NULL;
    int i;

    for (i = 0; i < FETCH_ROWS; i++) {
        fetch_row *fetch = &shared->rows[i];

        if (fetch->fate == FATE_FREE)
            return fetch;
        if (fetch->fate != FATE_UNDER_WAY
            && (!oldest || has_ended(fetch) > has_ended(oldest)
                || (has_ended(fetch) == has_ended(oldest) && fetch->moved < oldest->moved)))
            oldest = fetch;
    }
    return oldest;
}

static fetch_hold hold_of(const fetch_row *fetch)
{
    return (fetch_hold){ (int)(fetch - shared->rows), fetch->id, 0 };
}

/* This process fetches the image into a new file.  NULL: there is no row. */
static fetch_row *begin(int entrypoint, apr_uint64_t folder, const char *digest)
{
    fetch_row *fetch = free_row();

    if (!fetch)
        return NULL;
    memset(fetch, 0, sizeof(*fetch));
    fetch->id = ++shared->last_id;
    fetch->entrypoint = entrypoint;
    fetch->folder = folder;
    apr_cpystrn(fetch->digest, digest, sizeof(fetch->digest));
    fetch->began = fetch->moved = fetch->wanted = apr_time_now();
    fetch->process = getpid();
    fetch->fate = FATE_UNDER_WAY;
    return fetch;
}

/* ------------------------------------------------------------------ claiming and following */

fetch_claim fetches_claim(int entrypoint, const char *folder, const char *digest,
                          fetch_hold *hold)
{
    apr_time_t now = apr_time_now();
    fetch_claim claim = CLAIM_OURS;
    fetch_row *fetch;

    *hold = (fetch_hold){ -1, 0, 0 };
    if (book_open(&shared->lock) == BOOK_CLOSED)
        return CLAIM_NO_ROOM;
    fetch = find(hash_of(folder), digest);
    if (fetch && fetch->fate == FATE_UNDER_WAY) {
        claim = CLAIM_FOLLOW;
    }
    else if (fetch && (fetch->fate == FATE_ORPHANED || fetch->fate == FATE_GIVEN_UP)) {
        fetch->process = getpid();
        fetch->fate = FATE_UNDER_WAY;
        fetch->moved = now;
    }
    else if (fetch && fetch->fate == FATE_MISMATCH && lasts(fetch, MISMATCH_LASTS)) {
        claim = CLAIM_MISMATCH;
    }
    else if (!(fetch = begin(entrypoint, hash_of(folder), digest))) {
        claim = CLAIM_NO_ROOM;
    }
    if (claim == CLAIM_OURS || claim == CLAIM_FOLLOW) {
        fetch->wanted = now;
        *hold = hold_of(fetch);
    }
    book_close(&shared->lock);
    return claim;
}

int fetches_follow(fetch_hold hold, fetch_row *copy)
{
    fetch_row *fetch;

    if (book_open(&shared->lock) == BOOK_CLOSED)
        return 0;
    if ((fetch = held(hold))) {
        fetch->wanted = apr_time_now();
        if (hold.needs)
            fetch->needed = fetch->wanted;
        *copy = *fetch;
    }
    book_close(&shared->lock);
    return fetch != NULL;
}

fetch_fate fetches_fate(apr_uint64_t id)
{
    fetch_fate fate = FATE_FREE;
    int i;

    if (id == 0 || book_open(&shared->lock) == BOOK_CLOSED)
        return FATE_FREE;
    for (i = 0; i < FETCH_ROWS; i++) {
        if (shared->rows[i].id == id)
            fate = shared->rows[i].fate;
    }
    book_close(&shared->lock);
    return fate;
}

/* ------------------------------------------------------------------ fetching */

void fetches_file(fetch_hold hold, dev_t device, ino_t inode, apr_off_t size, apr_off_t written)
{
    fetch_row *fetch;

    if (book_open(&shared->lock) == BOOK_CLOSED)
        return;
    if ((fetch = held(hold))) {
        fetch->device = device;
        fetch->inode = inode;
        fetch->size = size;
        fetch->written = written;
    }
    book_close(&shared->lock);
}

void fetches_progress(fetch_hold hold, apr_off_t written, apr_off_t position)
{
    fetch_row *fetch;

    if (book_open(&shared->lock) == BOOK_CLOSED)
        return;
    if ((fetch = held(hold))) {
        fetch->written = written;
        fetch->position = position;
        fetch->moved = apr_time_now();
    }
    book_close(&shared->lock);
}

apr_time_t fetches_wanted(fetch_hold hold)
{
    const fetch_row *fetch;
    apr_time_t wanted = 0;

    if (book_open(&shared->lock) == BOOK_CLOSED)
        return apr_time_now();
    if ((fetch = held(hold)))
        wanted = fetch->wanted;
    book_close(&shared->lock);
    return wanted;
}

int fetches_needed(fetch_hold hold, apr_time_t since)
{
    const fetch_row *fetch;
    int is_needed;

    if (book_open(&shared->lock) == BOOK_CLOSED)
        return 0;
    is_needed = (fetch = held(hold)) && fetch->needed >= since;
    book_close(&shared->lock);
    return is_needed;
}

void fetches_end(fetch_hold hold, fetch_fate fate)
{
    fetch_row *fetch;

    if (book_open(&shared->lock) == BOOK_CLOSED)
        return;
    if ((fetch = held(hold)) && !has_ended(fetch)) {
        fetch->fate = fate;
        fetch->process = 0;
        fetch->moved = apr_time_now();
    }
    book_close(&shared->lock);
}

void fetches_mismatch(fetch_hold hold, const char *found)
{
    fetch_row *fetch;

    if (book_open(&shared->lock) == BOOK_CLOSED)
        return;
    if ((fetch = held(hold))) {
        apr_cpystrn(fetch->found, found, sizeof(fetch->found));
        fetch->fate = FATE_MISMATCH;
        fetch->process = 0;
        fetch->moved = apr_time_now();
    }
    book_close(&shared->lock);
}

int fetches_mismatched(const char *folder, const char *digest, char *found)
{
    const fetch_row *fetch;
    int is_known = 0;

    if (book_open(&shared->lock) == BOOK_CLOSED)
        return 0;
    fetch = find(hash_of(folder), digest);
    if (fetch && fetch->fate == FATE_MISMATCH && lasts(fetch, MISMATCH_LASTS)) {
        apr_cpystrn(found, fetch->found, sizeof(fetch->found));
        is_known = 1;
    }
    book_close(&shared->lock);
    return is_known;
}

fetch_hold fetches_begin_anew(fetch_hold hold)
{
    fetch_hold anew = { -1, 0, 0 };
    fetch_row *fetch, *next;

    if (book_open(&shared->lock) == BOOK_CLOSED)
        return anew;
    if ((fetch = held(hold))) {
        fetch->fate = FATE_BROKEN;
        fetch->moved = apr_time_now();
        if ((next = begin(fetch->entrypoint, fetch->folder, fetch->digest))) {
            next->wanted = fetch->wanted;
            anew = hold_of(next);
        }
    }
    book_close(&shared->lock);
    return anew;
}

/* ------------------------------------------------------------------ upkeep and pages */

int fetches_bury(pid_t process)
{
    int i, buried = 0;

    if (book_open(&shared->lock) == BOOK_CLOSED)
        return 0;
    for (i = 0; i < FETCH_ROWS; i++) {
        fetch_row *fetch = &shared->rows[i];

        if (fetch->fate != FATE_UNDER_WAY || fetch->process != process)
            continue;
        fetch->fate = FATE_ORPHANED;
        fetch->process = 0;
        counters_at(fetch->entrypoint)->fetches[FETCH_BROKEN]++;    /* it could not count it */
        buried++;
    }
    book_close(&shared->lock);
    return buried;
}

void fetches_lost(const char *folder, const char *digest)
{
    fetch_row *fetch;

    if (book_open(&shared->lock) == BOOK_CLOSED)
        return;
    fetch = find(hash_of(folder), digest);
    if (fetch && (fetch->fate == FATE_ORPHANED || fetch->fate == FATE_GIVEN_UP))
        fetch->fate = FATE_BROKEN;
    book_close(&shared->lock);
}

apr_off_t fetches_size_of(const char *folder, const char *digest)
{
    const fetch_row *fetch;
    apr_off_t size = 0;

    if (book_open(&shared->lock) == BOOK_CLOSED)
        return 0;
    fetch = find(hash_of(folder), digest);
    if (fetch && fetch->fate == FATE_UNDER_WAY)
        size = fetch->size;
    book_close(&shared->lock);
    return size;
}

apr_array_header_t *fetches_list(apr_pool_t *p, int entrypoint)
{
    apr_array_header_t *fetches = apr_array_make(p, 4, sizeof(fetch_row));
    int i;

    if (book_open(&shared->lock) == BOOK_CLOSED)
        return fetches;
    for (i = 0; i < FETCH_ROWS; i++) {
        if (shared->rows[i].fate == FATE_UNDER_WAY && shared->rows[i].entrypoint == entrypoint)
            APR_ARRAY_PUSH(fetches, fetch_row) = shared->rows[i];
    }
    book_close(&shared->lock);
    return fetches;
}
