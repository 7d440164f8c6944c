/*
 * boot/fetch.c: fetching an image from the WalT server.
 *
 * What breaks off goes on at its byte, where the WalT server knows ranges.  Where it does not, it
 * sends the whole image again, and what is in the file already is compared.  Where bytes are others
 * than before, twice, the image goes into a new file, as another fetch: who holds bytes of the
 * former starts over.  Only the digest of the whole decides, before the last piece goes out to
 * anybody.
 *
 * A fetch asks on the entrypoint's own account: no client's connection, header lines, thread or
 * patience is part of it.
 */
#include "boot/fetch.h"
#include "boot/crew.h"
#include "ledger/counters.h"
#include "ledger/waiting.h"
#include "reply/headers.h"
#include "request/own_pool.h"
#include "request/times.h"
#include "store/part.h"
#include "walt/signature.h"

#include "apr_strings.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

/* Tries in a row that may bring no new byte; then it is given up. */
#define TRIES_MAX 3

/* Pause after a try that brought something.  After others it doubles, up to PAUSE_MAX. */
#define PAUSE apr_time_from_msec(100)

/* A process that lets a file go has it for a moment yet. */
#define BUSY_TRIES 100
#define BUSY_PAUSE apr_time_from_msec(20)

/* Whoever follows a fetch looks at it every 20 ms, and is given so many times as long. */
#define NEED_LOOKS 50
#define NEED_PAUSE apr_time_from_msec(20)

/* A fetch as its thread has it. */
typedef struct {
    apr_pool_t *pool;           /* of the fetch */
    const walt_vpn_entrypoint *entrypoint;
    const char *node;           /* whose image it is */
    const apr_sockaddr_t *client_addr;  /* on whose behalf it is asked for */
    const char *digest;
    apr_uint64_t id;            /* of the fetch as everybody knows it; 0: there was no row */
    open_folder open;
    image_part part;
    fetch_step step;            /* NULL: nobody waits in this thread */
    void *data;
    fetch_fate fate;            /* FATE_UNDER_WAY until it is known better */
    apr_time_t began;
    apr_time_t moved;           /* when a new byte came last */
    apr_off_t reached;          /* most bytes that the file had */
    int fruitless;              /* tries since then */
    int from_start;             /* the next try is to begin at byte 0 */
    int is_doubtful;            /* the WalT server's image may be another by now */
    int is_confirmed;           /* its boot.sig says that it is not */
    const char *validator;      /* of the reply that brought the bytes; NULL: none */
    char wrong[IMAGE_DIGEST_LENGTH + 1];        /* digest of a whole image that was not right */
} fetch;

/* Go on as another fetch, in a new file. */
static apr_status_t begin_anew(fetch *its)
{
    its->id = fetches_begin_anew(its->id);
    its->began = waiting_clock();
    its->reached = its->fruitless = 0;
    if (its->id && image_part_begin_anew(&its->part) == APR_SUCCESS)
        return APR_SUCCESS;
    its->fate = FATE_NO_ROOM;
    return APR_ENOSPC;
}

/* ------------------------------------------------------------------ one try */

/*
 * Where the bytes of this reply belong, and how many the image has.  0: they are not the rest that
 * was asked for, or of another file than before (the coming WalT server ignores If-Range, so that
 * its validator is compared: facts.md 2).
 */
static int place_reply(fetch *its, const walt_query *query, apr_off_t *from, apr_off_t *size)
{
    const char *validator = apr_table_get(query->headers, "ETag");

    if (!validator)
        validator = apr_table_get(query->headers, "Last-Modified");
    *from = query->status == HTTP_OK ? 0 : query->from;
    *size = *from + query->length;
    if (query->status == HTTP_OK || !its->validator)
        its->validator = validator;
    return query->status == HTTP_OK
           || (query->status == HTTP_PARTIAL_CONTENT
               && (!validator || strcmp(validator, its->validator) == 0)
               && headers_are_rest(query->pool, query->headers, *from, query->length)
               && (its->part.size == 0 || its->part.size == *size));
}

/* What comes is not what came before.  Is it certain that the node still needs this image?  If it
 * needs another, somebody else goes on with what there is. */
static int is_sure(fetch *its)
{
    its->is_doubtful = !its->is_confirmed;
    return its->is_confirmed;
}

/* Bytes of an image come: make room, and tell which file they are in. */
static apr_status_t begin_image(walt_query *query)
{
    fetch *its = query->data;
    apr_off_t from, size;
    struct stat st;

    /* Without a length no room can be made for it, and relayed no node could read it. */
    if (query->length < 0)
        return APR_EGENERAL;
    if (!place_reply(its, query, &from, &size)) {
        its->from_start = its->is_doubtful = query->from > 0;
        return APR_EGENERAL;
    }
    if (its->part.size > 0 && its->part.size != size) {         /* another file than before */
        if (!is_sure(its))
            return APR_EGENERAL;
        if (begin_anew(its) != APR_SUCCESS)
            return APR_ENOSPC;
    }
    if (image_part_begin(&its->part, size, from) != APR_SUCCESS) {
        its->fate = FATE_NO_ROOM;
        return APR_ENOSPC;
    }
    if (fstat(its->part.fd, &st) == 0)
        fetches_file(its->id, st.st_dev, st.st_ino, size, its->part.written);
    return APR_SUCCESS;
}

/* Have bytes in the file.  If they differ from what it has, the next try fills another one. */
static apr_status_t take_bytes(fetch *its, const char *bytes, apr_size_t length)
{
    apr_status_t rv = image_part_take(&its->part, bytes, length);

    if (rv == PART_DIFFERS) {
        if (!is_sure(its))
            return rv;
        ap_log_error(APLOG_MARK, APLOG_INFO, 0, its->open.server, "the WalT server's boot.img "
                     "differs from what it sent before, behind byte %" APR_OFF_T_FMT ": nodes that "
                     "hold bytes of that start over", its->part.position);
        (void)begin_anew(its);
    }
    else if (rv != APR_SUCCESS) {
        its->fate = FATE_NO_ROOM;
    }
    return rv;
}

/* Is it to end, because the process does, or because nobody wants what others had to make room
 * for? */
static int is_to_be_left(const fetch *its)
{
    fetch_row row;

    return crew_is_leaving
           || (its->part.evicted > 0 && fetches_look(its->id, &row)
               && apr_time_now() - row.wanted >= UNWANTED);
}

/* Bytes have come, or a pause has begun: tell whoever follows. */
static void tell(fetch *its)
{
    if (its->part.position > its->reached) {
        its->reached = its->part.position;
        its->moved = waiting_clock();
        its->fruitless = 0;
    }
    fetches_progress(its->id, its->part.written, its->part.position);
    if (its->step)
        its->step(its->data);
}

static apr_status_t take_image(walt_query *query, const char *bytes, apr_size_t length)
{
    fetch *its = query->data;
    apr_status_t rv = take_bytes(its, bytes, length);

    if (rv != APR_SUCCESS)
        return rv;
    tell(its);
    return is_to_be_left(its) ? APR_EGENERAL : APR_SUCCESS;
}

/* The WalT server pauses: nodes have what is here. */
static void pause_image(walt_query *query)
{
    fetch *its = query->data;

    if (image_part_flush(&its->part, 0) == APR_SUCCESS)         /* else the next bytes meet it */
        tell(its);
}

/* Ask for the image once, or for the rest of it.  1: it has come whole. */
static int try_once(fetch *its, walt_query *query)
{
    *query = (walt_query){
        .entrypoint = its->entrypoint,
        .pool = its->pool,
        .client_addr = its->client_addr,
        .rest = boot_signature_path(its->pool, its->node, "boot.img"),
        .from = its->from_start ? 0 : its->part.written,
        .begin = begin_image,
        .take = take_image,
        .pause = pause_image,
        .data = its
    };
    if (query->from > 0)
        query->if_range = its->validator;
    its->from_start = 0;
    walt_query_ask(query);
    if (its->fate == FATE_UNDER_WAY && its->part.size > 0
        && image_part_flush(&its->part, 1) != APR_SUCCESS)
        its->fate = FATE_NO_ROOM;
    tell(its);
    return query->whole && its->part.size > 0 && its->part.written == its->part.size;
}

/* ------------------------------------------------------------------ all tries */

/* The whole image is not what its boot.sig vouches for.  Another fetch tells whether that is what
 * the WalT server has. */
static void meet_wrong_image(fetch *its, const char *found)
{
    counters_at(its->entrypoint->place)->mismatches++;
    if (strcmp(its->wrong, found) == 0) {
        its->fate = FATE_MISMATCH;
        return;
    }
    ap_log_error(APLOG_MARK, APLOG_INFO, 0, its->open.server, "boot.img of node %s has come whole, "
                 "with digest %.12s, which is not that of its boot.sig, %.12s", its->node, found,
                 its->digest);
    if (its->wrong[0])
        its->fate = FATE_BROKEN;        /* each time something else */
    apr_cpystrn(its->wrong, found, sizeof(its->wrong));
    if (its->fate == FATE_UNDER_WAY && begin_anew(its) == APR_SUCCESS)
        its->is_doubtful = 1;
}

/* Does the WalT server still have this image for this node? */
static int is_still_wanted(fetch *its)
{
    boot_signature signature;
    const char *digest;

    boot_signature_begin(&signature, its->pool, its->entrypoint, its->node, its->client_addr);
    (void)boot_signature_ask(&signature, its->moved + SILENCE_MAX);
    if (!signature.query.whole || signature.query.status != HTTP_OK)
        return ap_is_HTTP_SERVER_ERROR(signature.query.status); /* the image will tell */
    digest = boot_signature_digest(&signature);
    return digest && strcmp(digest, its->digest) == 0;
}

/* A try has ended short: what is to become of the fetch?  FATE_UNDER_WAY: another try. */
static fetch_fate judge_failure(fetch *its, const walt_query *query)
{
    int is_down = query->status == HTTP_SERVICE_UNAVAILABLE;
    apr_time_t now = waiting_clock();

    if (is_to_be_left(its))
        return FATE_ORPHANED;
    if (!its->from_start && !ap_is_HTTP_SERVER_ERROR(query->status))
        return its->reached == 0 ? FATE_BROKEN : FATE_GIVEN_UP;
    if (its->reached == 0 && (is_down || now - its->began >= LAST_TRY))
        return FATE_GIVEN_UP;
    if (now - its->moved >= SILENCE_MAX || (!is_down && its->fruitless >= TRIES_MAX))
        return FATE_GIVEN_UP;
    return image_part_is_there(&its->part) ? FATE_UNDER_WAY : FATE_BROKEN;
}

/* Pause before the next try: longer, the longer nothing comes. */
static void pause_before_try(const fetch *its, const walt_query *query)
{
    apr_interval_time_t pause = query->status == HTTP_SERVICE_UNAVAILABLE ? PAUSE_DOWN : PAUSE;
    int i;

    for (i = 1; i < its->fruitless && pause < PAUSE_MAX; i++)
        pause *= 2;
    apr_sleep(pause < PAUSE_MAX ? pause : PAUSE_MAX);
}

/* Ask until the image has come whole, or there is no point in it any more. */
static void bring(fetch *its)
{
    walt_query query;
    char found[IMAGE_DIGEST_LENGTH + 1];

    while (its->fate == FATE_UNDER_WAY) {
        its->fruitless++;
        if (try_once(its, &query)) {
            if (image_part_is_right(&its->part, found))
                return;
            meet_wrong_image(its, found);
        }
        else if (its->fate == FATE_UNDER_WAY) {
            ap_log_error(APLOG_MARK, APLOG_INFO, 0, its->open.server, "fetch of boot.img ended "
                         "with status %d after %" APR_OFF_T_FMT " of %" APR_OFF_T_FMT " bytes",
                         query.status, its->part.written, its->part.size);
            its->fate = judge_failure(its, &query);
            if (its->fate == FATE_UNDER_WAY)
                pause_before_try(its, &query);
        }
        its->is_confirmed = 0;
        if (its->fate == FATE_UNDER_WAY && (its->is_doubtful || its->fruitless > 1)
            && !(its->is_confirmed = is_still_wanted(its)))
            its->fate = FATE_ORPHANED;
        its->is_doubtful = 0;
    }
}

/* Count what became of it. */
static void count(const fetch *its)
{
    entrypoint_counters *counters = counters_at(its->entrypoint->place);

    if (its->fate == FATE_PUBLISHED)
        histogram_add_time(&counters->fetch_times, waiting_clock() - its->began);
    counters->fetches[its->fate == FATE_PUBLISHED ? FETCH_DONE
                      : its->fate == FATE_ORPHANED ? FETCH_LEFT
                      : its->fate == FATE_NO_ROOM ? FETCH_NO_ROOM : FETCH_BROKEN]++;
}

/*
 * Does a node look for the image now that took its boot.sig and has not hung up?  Images are
 * evicted for no other: what asks for boot.img alone may be anybody, and ask for each node's.
 */
static int is_needed(void *data)
{
    fetch *its = data;
    apr_time_t since = apr_time_now();
    fetch_row row;
    int looks;

    for (looks = 0; looks < NEED_LOOKS; looks++) {
        if (its->step)
            its->step(its->data);
        if (its->part.evicted > 0 || (fetches_look(its->id, &row) && row.needed >= since))
            return 1;
        apr_sleep(NEED_PAUSE);
    }
    ap_log_error(APLOG_MARK, APLOG_INFO, 0, its->open.server, "no image is evicted for boot.img of "
                 "node %s, as nobody waits who took its boot.sig: it is relayed", its->node);
    return 0;
}

/* Open the file, with what an earlier fetch has left.  0: there is none to be had. */
static int open_part(fetch *its)
{
    apr_status_t rv;
    fetch_row row;
    apr_off_t held = fetches_look(its->id, &row) ? row.written : 0;
    int tries = 0;

    while ((rv = image_part_open(&its->part, &its->open, its->digest, held, is_needed, its))
           == EBUSY && ++tries < BUSY_TRIES)
        apr_sleep(BUSY_PAUSE);
    if (rv != APR_SUCCESS)
        return 0;
    its->reached = its->part.written;
    /* Nodes hold bytes that the file does not have: it is another's, or somebody has emptied it. */
    if (held > its->part.written)
        return begin_anew(its) == APR_SUCCESS;
    return 1;
}

/* See the fetch to its end; the folder is open. */
static void see_through(fetch *its)
{
    image_name published = image_name_of(its->digest, ".img");
    char found[IMAGE_DIGEST_LENGTH + 1];

    if (faccessat(its->open.fd, published.text, F_OK, 0) == 0) {
        its->fate = FATE_PUBLISHED;     /* by another fetch, since it was looked for */
        return;
    }
    if (!open_part(its))
        return;
    its->fate = FATE_UNDER_WAY;
    if (its->part.written == 0 || !image_part_is_right(&its->part, found))
        bring(its);
    if (its->fate == FATE_UNDER_WAY) {
        /* All bytes are right, so those who follow have them, whatever the folder says. */
        image_part_publish(&its->part);
        its->fate = FATE_PUBLISHED;
    }
    if (its->fate != FATE_PUBLISHED && its->fate != FATE_ORPHANED
        && (its->fate != FATE_GIVEN_UP || its->part.written == 0))
        image_part_remove(&its->part);
    count(its);
}

/* The fetch, from its beginning to its end.  Its memory outlives the pool of its thread. */
static void run(apr_pool_t *pool, void *data)
{
    fetch *its = data;

    (void)pool;
    its->began = its->moved = waiting_clock();
    its->fate = FATE_NO_ROOM;
    its->part.fd = -1;
    if (image_folder_open(&its->open, its->pool, its->entrypoint))
        see_through(its);
    fetches_end(its->id, its->fate, its->wrong);
    if (its->step)
        its->step(its->data);
    if (its->fate == FATE_PUBLISHED && its->part.fd >= 0)
        image_part_settle(&its->part);
    image_part_close(&its->part);
    image_folder_close(&its->open);
    apr_pool_destroy(its->pool);
}

/* Copy what the fetch needs of r. */
static fetch *make_fetch(request_rec *r, apr_pool_t *pool, const char *digest, apr_uint64_t id)
{
    const walt_vpn_request *request = walt_vpn_request_of(r);
    fetch *its = apr_pcalloc(pool, sizeof(*its));
    apr_sockaddr_t *client;

    its->pool = pool;
    its->entrypoint = request->entrypoint;
    its->node = apr_pstrdup(pool, request->boot.node);
    if (apr_sockaddr_info_copy(&client, r->useragent_addr, pool) == APR_SUCCESS)
        its->client_addr = client;
    its->digest = apr_pstrdup(pool, digest);
    its->id = id;
    return its;
}

void image_fetch(request_rec *r, const char *digest, apr_uint64_t id, fetch_step step, void *data)
{
    apr_pool_t *pool;
    fetch *its;

    if (own_pool_make(&pool, "walt_vpn fetch") != APR_SUCCESS) {
        fetches_end(id, FATE_NO_ROOM, "");
        return;
    }
    its = make_fetch(r, pool, digest, id);
    if (crew_start(run, its) == APR_SUCCESS)
        return;
    its->step = step;
    its->data = data;
    run(pool, its);
}
