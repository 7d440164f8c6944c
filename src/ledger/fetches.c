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
#define LAYOUT 4

typedef struct {
    book lock;
    apr_uint64_t begun;         /* fetches, ever */
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

/* Has the WalT server shown a moment ago that what it has is not the image?  A time ahead of now is
 * from before the clock was set back. */
static int is_mismatched(const fetch_row *fetch)
{
    apr_time_t now = apr_time_now();

    return fetch->fate == FATE_MISMATCH && now >= fetch->moved
           && now - fetch->moved < MISMATCH_LASTS;
}

/* The last fetch of this image into this folder; NULL: there is none. */
static fetch_row *find(apr_uint64_t folder, const char *digest)
{
    fetch_row *found = NULL;
    int i;

    for (i = 0; i < FETCH_ROWS; i++) {
        fetch_row *fetch = &shared->rows[i];

        if (fetch->folder == folder && strcmp(fetch->digest, digest) == 0
            && (!found || fetch->id > found->id))
            found = fetch;
    }
    return found;
}

/* A row for another fetch: a free one, or the one whose fetch was under way least recently.  NULL:
 * all are. */
static fetch_row *free_row(void)
{
    fetch_row *oldest = NULL;
    int i;

    for (i = 0; i < FETCH_ROWS; i++) {
        fetch_row *fetch = &shared->rows[i];

        if (fetch->fate != FATE_UNDER_WAY && (!oldest || fetch->moved < oldest->moved))
            oldest = fetch;
    }
    return oldest;
}

/* This process fetches the image into a new file.  NULL: there is no row. */
static fetch_row *begin(int entrypoint, apr_uint64_t folder, const char *digest)
{
    fetch_row *fetch = free_row();

    if (!fetch)
        return NULL;
    memset(fetch, 0, sizeof(*fetch));
    fetch->id = ++shared->begun * FETCH_ROWS + (apr_uint64_t)(fetch - shared->rows);
    fetch->entrypoint = entrypoint;
    fetch->folder = folder;
    apr_cpystrn(fetch->digest, digest, sizeof(fetch->digest));
    fetch->began = fetch->moved = fetch->wanted = apr_time_now();
    fetch->process = getpid();
    fetch->fate = FATE_UNDER_WAY;
    return fetch;
}

/* Open the book at the row of this fetch.  NULL, and the book is closed: it is forgotten. */
static fetch_row *open_row(apr_uint64_t id)
{
    fetch_row *fetch = &shared->rows[id % FETCH_ROWS];

    if (!id || book_open(&shared->lock) == BOOK_CLOSED)
        return NULL;
    if (fetch->id == id)
        return fetch;
    book_close(&shared->lock);
    return NULL;
}

/* ------------------------------------------------------------------ claiming and following */

fetch_claim fetches_claim(int entrypoint, const char *folder, const char *digest,
                          apr_uint64_t *id)
{
    apr_time_t now = apr_time_now();
    fetch_claim claim = CLAIM_OURS;
    fetch_row *fetch;

    *id = 0;
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
    else if (fetch && is_mismatched(fetch)) {
        claim = CLAIM_MISMATCH;
    }
    else if (!(fetch = begin(entrypoint, hash_of(folder), digest))) {
        claim = CLAIM_NO_ROOM;
    }
    if (fetch) {
        fetch->wanted = now;
        *id = fetch->id;
    }
    book_close(&shared->lock);
    return claim;
}

int fetches_look(apr_uint64_t id, fetch_row *copy)
{
    const fetch_row *fetch = open_row(id);

    if (!fetch)
        return 0;
    *copy = *fetch;
    book_close(&shared->lock);
    return 1;
}

int fetches_follow(apr_uint64_t id, int needs, fetch_row *copy)
{
    fetch_row *fetch = open_row(id);

    if (!fetch)
        return 0;
    fetch->wanted = apr_time_now();
    if (needs)
        fetch->needed = fetch->wanted;
    *copy = *fetch;
    book_close(&shared->lock);
    return 1;
}

/* ------------------------------------------------------------------ fetching */

void fetches_file(apr_uint64_t id, dev_t device, ino_t inode, apr_off_t size, apr_off_t written)
{
    fetch_row *fetch = open_row(id);

    if (!fetch)
        return;
    fetch->device = device;
    fetch->inode = inode;
    fetch->size = size;
    fetch->written = written;
    book_close(&shared->lock);
}

void fetches_progress(apr_uint64_t id, apr_off_t written, apr_off_t position)
{
    fetch_row *fetch = open_row(id);

    if (!fetch)
        return;
    fetch->written = written;
    fetch->position = position;
    fetch->moved = apr_time_now();
    book_close(&shared->lock);
}

void fetches_end(apr_uint64_t id, fetch_fate fate, const char *found)
{
    fetch_row *fetch = open_row(id);

    if (!fetch)
        return;
    apr_cpystrn(fetch->found, found, sizeof(fetch->found));
    fetch->fate = fate;
    fetch->process = 0;
    fetch->moved = apr_time_now();
    book_close(&shared->lock);
}

apr_uint64_t fetches_begin_anew(apr_uint64_t id)
{
    fetch_row *fetch = open_row(id), *next;

    if (!fetch)
        return 0;
    next = begin(fetch->entrypoint, fetch->folder, fetch->digest);     /* in another row */
    fetch->fate = FATE_BROKEN;
    fetch->moved = apr_time_now();
    if (next)
        next->wanted = fetch->wanted;
    book_close(&shared->lock);
    return next ? next->id : 0;
}

/* ------------------------------------------------------------------ upkeep and pages */

void fetches_bury(pid_t process)
{
    int i;

    if (book_open(&shared->lock) == BOOK_CLOSED)
        return;
    for (i = 0; i < FETCH_ROWS; i++) {
        fetch_row *fetch = &shared->rows[i];

        if (fetch->fate != FATE_UNDER_WAY || fetch->process != process)
            continue;
        fetch->fate = FATE_ORPHANED;
        fetch->process = 0;
        counters_at(fetch->entrypoint)->fetches[FETCH_BROKEN]++;    /* it could not count it */
    }
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
