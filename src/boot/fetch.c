/*
 * boot/fetch.c: fetching an image from the WalT server.
 *
 * One request does it, for all that wait, in whatever process: a question of its own
 * (walt/query.c), so that it goes on when its node goes away.  What breaks off is tried again: from
 * the first byte, because the WalT server knows no ranges (facts.md 2), while nodes keep what they
 * have.
 */
#include "boot/fetch.h"
#include "ledger/counters.h"
#include "ledger/fetches.h"
#include "ledger/waiting.h"
#include "reply/promise.h"
#include "report/watch.h"
#include "request/times.h"
#include "walt/signature.h"

/* Tries since the last new byte, the one that brought it included; then it is given up. */
#define TRIES_MAX 3

/* How often the node of a fetch is offered what it did not take. */
#define OFFER_EVERY apr_time_from_msec(2)

typedef struct {
    request_rec *r;
    walt_vpn_request *request;
    image *image;
    image_state state;          /* IMAGE_MISSING as long as there is room for it */
    image_sender **sender;      /* of its own node; NULL behind it: there is none (yet) */
    int can_grow;               /* there may be one */
    apr_uint64_t run;           /* that was under way when it began: what its node holds is of it */
    apr_time_t offered;         /* when it was advanced last */
    int *tries;                 /* questions of the request */
    apr_off_t reached;          /* most bytes that a try brought */
    apr_time_t moved;           /* when that became more */
    int fruitless;              /* tries since then */
    int is_left;                /* its node has another image by now; others may want this one */
} fetch;

static apr_status_t begin_image(walt_query *query)
{
    fetch *fetch = query->data;

    /* Without a length no room can be made for it, and relayed no node could read it. */
    if (query->status != HTTP_OK || query->length < 0)
        return APR_EGENERAL;
    fetch->state = image_part_reserve(&fetch->image->part, query->length);
    return fetch->state == IMAGE_MISSING ? APR_SUCCESS : APR_ENOSPC;
}

/* Send the fetch's own node what is there.  It never waits. */
static void offer(fetch *fetch)
{
    image_sender *sender = *fetch->sender;
    int resumes = fetch->request->resume_from > 0;

    if (!fetch->can_grow)
        return;
    if (!sender) {
        sender = image_sender_open(fetch->r, fetch->request, fetch->image);
        if (sender && resumes)
            sender->run = fetch->run;
        *fetch->sender = sender;
    }
    fetch->offered = waiting_clock();
    /* A node that holds what came to nothing is not to wait until this fetch is over. */
    if (sender && image_sender_advance(sender) == SENDER_BROKEN
        && (sender->begun || (resumes && fetch->state == IMAGE_MISSING)))
        promise_reset_now(fetch->r);
    fetch->can_grow = sender && (sender->state == SENDER_WAITS || sender->state == SENDER_HOLDS);
}

static apr_status_t take_image(walt_query *query, const char *bytes, apr_size_t length)
{
    fetch *fetch = query->data;
    apr_status_t rv = image_part_take(&fetch->image->part, bytes, length);

    if (rv != APR_SUCCESS) {
        fetch->state = IMAGE_NO_ROOM;
        return rv;
    }
    if (query->received > fetch->reached) {
        fetch->reached = query->received;
        fetch->moved = waiting_clock();
        fetch->fruitless = 0;
    }
    if (fetch->image->part.buffered == 0        /* written just now */
        || (*fetch->sender && (*fetch->sender)->state == SENDER_HOLDS
            && waiting_clock() - fetch->offered >= OFFER_EVERY))
        offer(fetch);
    return APR_SUCCESS;
}

/* The WalT server pauses: nodes have what is here. */
static void pause_image(walt_query *query)
{
    fetch *fetch = query->data;

    if (image_part_pause(&fetch->image->part) == APR_SUCCESS)   /* else the next bytes meet it */
        offer(fetch);
}

/* Does the WalT server still have this image for this node? */
static int is_still_wanted(const fetch *fetch)
{
    boot_signature signature = { 0 };
    walt_query query;
    const char *digest;

    (void)boot_signature_ask(fetch->r, &query, &signature, fetch->tries,
                             fetch->moved + SILENCE_MAX);
    if (!query.whole || query.status != HTTP_OK)
        return ap_is_HTTP_SERVER_ERROR(query.status);   /* not known: the image will tell */
    digest = boot_signature_digest(&signature);
    return digest && strcmp(digest, fetch->image->digest) == 0;
}

/* A try has ended short: is another one to be made, after a pause that this makes? */
static int try_again(fetch *fetch, const walt_query *query)
{
    int is_down = query->status == HTTP_SERVICE_UNAVAILABLE;
    apr_time_t now = waiting_clock();

    if (!ap_is_HTTP_SERVER_ERROR(query->status))
        return 0;
    if (fetch->reached == 0 && (is_down || now - fetch->request->came >= LAST_TRY))
        return 0;
    if (now - fetch->moved >= SILENCE_MAX || (!is_down && ++fetch->fruitless >= TRIES_MAX))
        return 0;
    apr_sleep(is_down ? PAUSE_DOWN : BOOT_SIGNATURE_PAUSE);
    if (!image_part_can_try_again(&fetch->image->part))
        return 0;
    fetch->is_left = !is_still_wanted(fetch);
    return !fetch->is_left;
}

/* Ask for the image until it has come whole, or there is no point in it any more.  1: whole. */
static int bring(fetch *fetch)
{
    walt_query query = { 0 };

    query.rest = boot_signature_path(fetch->r->pool, fetch->request, "boot.img");
    query.file = BOOT_FILE_IMG;
    query.begin = begin_image;
    query.take = take_image;
    query.pause = pause_image;
    query.data = fetch;
    do {
        walt_query_ask(fetch->r, &query);
        if (query.whole && image_part_is_right(&fetch->image->part))
            return 1;
        if (fetch->state != IMAGE_MISSING)
            return 0;
        if (query.whole) {
            counters_of(fetch->r)->mismatches++;
            query.status = HTTP_BAD_GATEWAY;
        }
        ap_log_rerror(APLOG_MARK, APLOG_INFO, 0, fetch->r, "fetch of boot.img ended with status "
                      "%d after %" APR_OFF_T_FMT " of %" APR_OFF_T_FMT " bytes%s", query.status,
                      query.received, query.length, query.whole ? ", which are not those of its "
                      "boot.sig" : "");
    } while (try_again(fetch, &query));
    /* What the cache holds open may be what a relay needs. */
    fetch->state = query.status == HTTP_SERVICE_UNAVAILABLE
                   && image_part_exhausted(&fetch->image->part) ? IMAGE_NO_ROOM : IMAGE_BROKEN;
    return 0;
}

/* The image does not come, or not by way of this node. */
static void give_up(fetch *fetch, image_state why)
{
    if (!fetch->is_left) {
        image_part_abandon(&fetch->image->part, why);
        return;
    }
    image_part_leave(&fetch->image->part);
    fetch->can_grow = 0;
    if (*fetch->sender)
        (*fetch->sender)->state = SENDER_BROKEN;
}

/* Count what became of it. */
static void count_fetch(const fetch *fetch, image_state state, apr_time_t began)
{
    entrypoint_counters *counters = counters_of(fetch->r);

    if (state == IMAGE_READY)
        histogram_add_time(&counters->fetch_times, waiting_clock() - began);
    counters->fetches[state == IMAGE_READY ? FETCH_DONE : fetch->is_left ? FETCH_LEFT
                      : state == IMAGE_NO_ROOM ? FETCH_NO_ROOM : FETCH_BROKEN]++;
}

image_state image_fetch(request_rec *r, walt_vpn_request *request, image *missing,
                        image_sender **sender, int *tries)
{
    fetch fetch = { .r = r, .request = request, .image = missing, .state = IMAGE_MISSING,
                    .sender = sender, .tries = tries, .moved = waiting_clock() };
    apr_time_t began = fetch.moved;
    image_state state;

    fetch.can_grow = image_sender_can_grow(r, request);
    image_part_begin(&missing->part, request->entrypoint->place);
    if (missing->part.place >= 0)
        fetch.run = fetches_at(missing->part.place)->run;
    if (bring(&fetch))
        state = image_part_publish(&missing->part);
    else
        give_up(&fetch, state = fetch.state);
    count_fetch(&fetch, state, began);
    /* Its node has the rest, or learns that there is none. */
    if (*sender)
        offer(&fetch);
    image_part_settle(&missing->part);
    if (*sender || state != IMAGE_READY)
        return state;
    return image_cache_reopen(missing);
}
