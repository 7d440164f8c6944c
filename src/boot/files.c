/*
 * boot/files.c: answering boot.sig and boot.img.
 *
 * boot.sig is asked for, held until it is whole, and sent as the WalT server gave it.  boot.img is
 * asked for only when no file with the digest in the node's current boot.sig is in the cache, once
 * for all nodes that want it, which are sent it as it comes.
 *
 * Whatever has no digest, and whatever the cache can't take, is left to mod_proxy and src/reply.
 */
#include "boot/files.h"
#include "boot/feeder.h"
#include "boot/fetch.h"
#include "boot/sender.h"
#include "ledger/boots.h"
#include "ledger/fetches.h"
#include "ledger/waiting.h"
#include "reply/headers.h"
#include "reply/relay.h"
#include "report/watch.h"
#include "request/times.h"
#include "store/cache.h"
#include "walt/server_fault.h"
#include "walt/signature.h"

#include "http_protocol.h"

/* A fetch whose image a request can't be sent has just ended; met so often, it may be that this
 * process can't open its file once more, and the request waits. */
#define GROWING_TRIES 3

/* A handler's result: it is worth asking again. */
#define ASK_AGAIN (-100)

/* Why a node is sent away before its question was asked. */
static const char not_its_turn[] = "still waiting for its turn";

/* The wait for a file was too long: the node is reset, and asks again. */
static int answer_late(request_rec *r, walt_vpn_request *request, const char *why)
{
    boot_watch_send_away(r, request, why);
    return relay_give_up(r, 0);
}

/* ------------------------------------------------------------------ boot.sig */

/* Send the boot.sig of the node of r as the WalT server gave it. */
static int answer_signature(request_rec *r, walt_vpn_request *request)
{
    boot_signature signature = { 0 };
    walt_query query;
    apr_bucket_brigade *bb;
    const char *digest;
    int tries = 0;

    if (!boot_signature_ask(r, &query, &signature, &tries, request->came + WAIT_MAX))
        return answer_late(r, request, not_its_turn);
    if (!query.whole)
        return headers_error(request, query.status);
    if (query.status == HTTP_OK) {
        if (!(digest = boot_signature_digest(&signature)))
            return server_fault_no_signature(r, request);
        server_fault_is_over(r, request);
        boot_watch_digest(r, digest);
    }
    r->status = query.status;
    r->headers_out = apr_table_overlay(r->pool, query.headers, r->headers_out);
    if (query.content_type)
        ap_set_content_type(r, query.content_type);
    ap_set_content_length(r, (apr_off_t)signature.length);
    bb = apr_brigade_create(r->pool, r->connection->bucket_alloc);
    if (!r->header_only)
        apr_brigade_write(bb, NULL, NULL, signature.text, signature.length);
    APR_BRIGADE_INSERT_TAIL(bb, apr_bucket_eos_create(r->connection->bucket_alloc));
    (void)ap_pass_brigade(r->output_filters, bb);       /* a client that is gone is no error */
    return OK;
}

/* ------------------------------------------------------------------ boot.img */

/* How an image was come by, for the administrator. */
static walt_vpn_answer answer_of(image_state found, const image *image)
{
    switch (found) {
    case IMAGE_MISSING:
        return WALT_VPN_FETCHED;
    case IMAGE_GROWING:
        return WALT_VPN_STREAMED;
    default:
        return image->waited ? WALT_VPN_WAITED : WALT_VPN_CACHED;
    }
}

/* The WalT server does not deliver. */
static int answer_failure(request_rec *r, const walt_vpn_request *request, int status)
{
    if (request->resume_from > 0)
        boot_watch_answer(r, WALT_VPN_FAILED, "the rest can't be had from the WalT server now");
    return headers_error(request, status);
}

/* The run that the bytes came of which the node holds, if they are unproven; 0: they are not. */
static apr_uint64_t held_run(const request_rec *r, const walt_vpn_request *request)
{
    return request->resume_from == 0 ? 0
           : boots_held_run(request->entrypoint->place, request->boot.node,
                                  r->useragent_ip, request->resume_from);
}

/* Does the node hold bytes, unproven, of another fetch than that at this place (-1: none)? */
static int holds_others(const request_rec *r, const walt_vpn_request *request, int place)
{
    apr_uint64_t held = held_run(r, request);

    if (held && place >= 0)
        held = fetches_heir(place, held, request->resume_from);
    return held && (place < 0 || held != fetches_at(place)->run);
}

/* Send an image that another request fetches. */
static int answer_growing(image_sender *sender)
{
    if (image_feeder_take(sender))
        return SUSPENDED;
    image_sender_stay(sender);
    return image_sender_end(sender);
}

/* Find the image, or another's fetch of it that r can be sent: then *sender is set. */
static image_state find_image(request_rec *r, walt_vpn_request *request, const char *digest,
                              image **found, image_sender **sender)
{
    int can_grow = image_sender_can_grow(r, request);
    image_state state;
    int tries = 0;

    do {
        state = image_cache_find(r, request->entrypoint->folder, digest,
                                 can_grow && tries++ < GROWING_TRIES, request->came + WAIT_MAX,
                                 found);
        if (state != IMAGE_GROWING)
            return state;
        *sender = image_sender_open(r, request, *found);
        image_cache_close(*found);
    } while (!*sender);
    return state;
}

/* Send r an image that it is to fetch. */
static int answer_missing(request_rec *r, walt_vpn_request *request, image *missing, int *tries)
{
    image_sender *sender = NULL;
    image_state state = image_fetch(r, request, missing, &sender, tries);

    /* A reply whose head is made is not relayed any more, nor made again. */
    if (sender && (state == IMAGE_READY || sender->begun || sender->state == SENDER_ANSWERS))
        return image_sender_end(sender);
    switch (state) {
    case IMAGE_READY:
        return image_sender_send(r, request, missing);
    case IMAGE_NO_ROOM:
        boot_watch_answer(r, WALT_VPN_RELAYED, NULL);
        return DECLINED;
    default:
        return ASK_AGAIN;
    }
}

/* Send r the image of this digest, DECLINED to have it relayed, or ASK_AGAIN. */
static int answer_digest(request_rec *r, walt_vpn_request *request, const char *digest, int *tries)
{
    image *image;
    image_sender *sender = NULL;
    image_state state = find_image(r, request, digest, &image, &sender);

    if (state == IMAGE_LATE)
        return answer_late(r, request, "still being fetched");
    if (state == IMAGE_NO_ROOM && held_run(r, request) == FETCH_RELAYED)
        return DECLINED;        /* relayed as before */
    if (holds_others(r, request, sender ? sender->place
                                        : state == IMAGE_MISSING ? image->part.place : -1)) {
        if (state == IMAGE_MISSING)
            image_part_leave(&image->part);
        boot_watch_answer(r, WALT_VPN_REFUSED, REASON_FAILED_FETCH);
        return HTTP_NOT_FOUND;
    }
    switch (state) {
    case IMAGE_NO_ROOM:
        return DECLINED;
    case IMAGE_BROKEN:
        return ASK_AGAIN;
    default:
        boot_watch_answer(r, answer_of(state, image), NULL);
    }
    switch (state) {
    case IMAGE_GROWING:
        return answer_growing(sender);
    case IMAGE_MISSING:
        return answer_missing(r, request, image, tries);
    default:
        return image_sender_send(r, request, image);
    }
}

/* Nobody vouches for the image: it is relayed, but not behind bytes that somebody did vouch for. */
static int answer_unsigned(request_rec *r, walt_vpn_request *request, int status)
{
    return request->resume_from == 0 || held_run(r, request) == FETCH_RELAYED
           ? DECLINED : answer_failure(r, request, status);
}

/* Has the image another digest than the boot.sig that this boot began with? */
static int has_changed(const request_rec *r, const walt_vpn_request *request, const char *digest)
{
    return boots_changed(request->entrypoint->place, request->boot.node, r->useragent_ip,
                               digest, request->resume_from > 0);
}

/* Send the boot.img of the node of r from the cache, or leave it to be relayed. */
static int answer_image(request_rec *r, walt_vpn_request *request)
{
    boot_signature signature = { 0 };
    walt_query query;
    int tries = 0, result;

    do {
        const char *digest;

        if (!boot_signature_ask(r, &query, &signature, &tries, request->came + WAIT_MAX))
            return answer_late(r, request, not_its_turn);
        if (!query.whole)
            return answer_failure(r, request, query.status);
        if (query.status != HTTP_OK || !(digest = boot_signature_digest(&signature)))
            return answer_unsigned(r, request, query.status);
        query.status = HTTP_BAD_GATEWAY;        /* unless it is known better, worth another try */
        if (has_changed(r, request, digest)) {
            /* The rest of another image would only make it fail later, at its signature. */
            if (request->resume_from > 0) {
                boot_watch_answer(r, WALT_VPN_REFUSED, REASON_CHANGED);
                return HTTP_NOT_FOUND;
            }
            /* Or one of the answers was one behind. */
            if (tries < BOOT_SIGNATURE_TRIES)
                continue;
        }
        boot_watch_digest(r, digest);
        if ((result = answer_digest(r, request, digest, &tries)) != ASK_AGAIN)
            return result;
    } while (boot_signature_try_again(r, &query, tries));
    return answer_failure(r, request, HTTP_BAD_GATEWAY);
}

/* ------------------------------------------------------------------ hooks */

/* Answer a node's request for one of its files, or decline it: then it is relayed. */
static int answer(request_rec *r, walt_vpn_request *request)
{
    if (r->method_number != M_GET)
        return DECLINED;
    if (request->boot.file == BOOT_FILE_SIG)
        return answer_signature(r, request);
    if (request->boot.file == BOOT_FILE_IMG && request->entrypoint->folder)
        return answer_image(r, request);
    return DECLINED;
}

static int walt_vpn_handler(request_rec *r)
{
    walt_vpn_request *request = walt_vpn_request_of(r);
    int result;

    if (!request || r->main)
        return DECLINED;
    request->came = waiting_clock();
    boot_watch_answer(r, WALT_VPN_RELAYED, NULL);       /* unless it is known better */
    if ((result = answer(r, request)) == DECLINED)
        request->asked_at = apr_time_now();
    return result;
}

void boot_files_register_hooks(void)
{
    /* Before mod_proxy's (FIRST), which relays what this declines. */
    ap_hook_handler(walt_vpn_handler, NULL, NULL, APR_HOOK_REALLY_FIRST);
}
