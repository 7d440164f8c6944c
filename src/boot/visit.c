/*
 * boot/visit.c: one request for boot.sig or boot.img, from its handler to its end.
 *
 * boot.sig is asked for, held until it is whole, and sent as the WalT server gave it.  boot.img is
 * asked for only when no file with the digest in the node's current boot.sig is in the folder, once
 * for all nodes that want it, which are sent it as it comes.
 *
 * Where the next step has to be waited for, the visit says so rather than wait: who holds a thread
 * meanwhile, and who does not, is the business of boot/room.c.
 */
#include "boot/visit.h"
#include "boot/crew.h"
#include "boot/fetch.h"
#include "reply/headers.h"
#include "reply/relay.h"
#include "report/watch.h"
#include "request/times.h"
#include "store/digest.h"
#include "walt/server_fault.h"

#include "apr_portable.h"
#include "apr_strings.h"
#include "http_core.h"
#include "http_protocol.h"

#include <errno.h>
#include <sys/socket.h>

/* The visit is over with what the handler returns. */
static visit_state end(visit *its, int status)
{
    its->status = status;
    return its->state = VISIT_OVER;
}

/* The wait for a file was too long: the node is reset, and asks again. */
static visit_state end_late(visit *its)
{
    const char *why = its->state == VISIT_ASKS ? "still waiting for its turn"
                      : its->state == VISIT_FINDS ? "still being compared with its digest"
                      : "still being fetched";

    if (its->turn)
        question_line_leave(its->turn);
    boot_watch_send_away(its->r, its->request, why);
    return end(its, relay_give_up(its->r, its->sender && its->sender->begun));
}

/* The WalT server does not deliver. */
static visit_state end_failed(visit *its, int status)
{
    if (crew_is_leaving) {      /* nor is it waited for, as this process ends: the node is reset */
        its->r->connection->aborted = 1;
        return end(its, OK);
    }
    if (its->signature.query.reason)
        apr_table_setn(its->r->subprocess_env, "WALT_VPN_REASON", its->signature.query.reason);
    if (its->request->boot.file == BOOT_FILE_IMG && its->request->resume_from > 0)
        boot_watch_answer(its->r, WALT_VPN_FAILED,
                          "the rest can't be had from the WalT server now");
    return end(its, headers_error(its->request, status));
}

/* The rest of what the node is being sent will not come.  An error would be appended to the
 * image: a reset. */
static visit_state end_broken(visit *its)
{
    ap_log_rerror(APLOG_MARK, APLOG_INFO, 0, its->r, "the fetch of boot.img failed: the connection "
                  "is reset at byte %" APR_OFF_T_FMT, its->sender->at);
    boot_watch_answer(its->r, WALT_VPN_FAILED, "its fetch failed, so reset");
    return end(its, relay_give_up(its->r, its->sender->begun));
}

/* Is the client there?  None that closes before it has its file is a node. */
static int is_there(conn_rec *c)
{
    apr_os_sock_t fd;
    ssize_t got;
    char byte;

    if (c->master || apr_os_sock_get(&fd, ap_get_conn_socket(c)) != APR_SUCCESS)
        return 1;
    got = recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    return got > 0 || (got < 0 && errno == EAGAIN);
}

/* ------------------------------------------------------------------ boot.sig */

/* Send the boot.sig of the node as the WalT server gave it. */
static visit_state send_signature(visit *its)
{
    const walt_query *query = &its->signature.query;
    const apr_array_header_t *text = its->signature.text;
    request_rec *r = its->r;
    apr_bucket_brigade *bb;
    const char *digest;

    if (query->status == HTTP_PARTIAL_CONTENT)  /* of what was asked for as a whole */
        return end_failed(its, HTTP_BAD_GATEWAY);
    if (query->status == HTTP_OK) {
        if (!(digest = boot_signature_digest(&its->signature)))
            return end(its, server_fault_no_signature(r, its->request));
        server_fault_is_over(r, its->request);
        boot_watch_digest(r, digest, boot_signature_is_file(&its->signature));
    }
    r->status = query->status;
    if (query->headers)
        r->headers_out = apr_table_overlay(r->pool, query->headers, r->headers_out);
    if (query->content_type)
        ap_set_content_type(r, query->content_type);
    ap_set_content_length(r, text->nelts);
    bb = apr_brigade_create(r->pool, r->connection->bucket_alloc);
    if (!r->header_only)
        apr_brigade_write(bb, NULL, NULL, text->elts, (apr_size_t)text->nelts);
    APR_BRIGADE_INSERT_TAIL(bb, apr_bucket_eos_create(r->connection->bucket_alloc));
    (void)ap_pass_brigade(r->output_filters, bb);       /* a client that is gone is no error */
    return end(its, OK);
}

/* ------------------------------------------------------------------ boot.img */

/* Look what is known of the node, as of now. */
static void look_up(visit *its)
{
    boots_find(its->request->entrypoint->place, its->request->boot.node, its->r->useragent_ip,
               its->request->resume_from > 0, &its->known);
}

/* The fetch that the bytes came of which the node holds, unless they were proven; 0: none. */
static apr_uint64_t held_fetch(const visit *its)
{
    return its->request->resume_from > 0 ? boots_held_fetch(&its->known) : 0;
}

/* Send the image if it is in the folder, or have the visit wait until it is known to be.  0: it is
 * not. */
static int send_if_cached(visit *its)
{
    image found;
    apr_status_t rv = image_cache_open(its->r, its->digest, &found);

    if (rv == IMAGE_AWAITED)
        its->state = VISIT_FINDS;
    if (rv != APR_SUCCESS)
        return rv == IMAGE_AWAITED;
    boot_watch_digest(its->r, its->digest, 0);
    boot_watch_answer(its->r, its->has_fetched ? WALT_VPN_FETCHED
                              : its->fetch ? WALT_VPN_WAITED : WALT_VPN_CACHED, NULL);
    boot_watch_fetch(its->request, 0);
    its->fetch = 0;
    if (its->is_suspended && its->can_grow) {   /* the thread is none that may wait for a node */
        its->sender = image_sender_begin(its->r, its->request, &found);
        its->state = VISIT_SENDS;
        (void)visit_feed(its);
    }
    else {
        end(its, image_sender_send(its->r, its->request, &found));
    }
    return 1;
}

/* Look at the fetch that is followed, by a node that needs it or not. */
static void follow(visit *its, int needs)
{
    if (!fetches_follow(its->fetch, needs, &its->row))
        its->row = (fetch_row){ .fate = FATE_BROKEN };  /* it is forgotten */
}

/* What the WalT server has is not the image that its boot.sig vouches for. */
static visit_state end_mismatched(visit *its)
{
    follow(its, 0);
    boot_watch_mismatch(its->r, its->digest, its->row.found);
    return end(its, headers_error(its->request, HTTP_NOT_FOUND));
}

/* Is there something to be done about the fetch that is followed?  What was seen of its fate holds
 * until that is done. */
static int is_fetch_ready(visit *its)
{
    if (its->row.fate == FATE_UNDER_WAY)
        follow(its, its->needs && is_there(its->r->connection));
    return its->row.fate != FATE_UNDER_WAY || (its->can_grow && its->row.size > 0);
}

static visit_state look_at_fetch(visit *its);

/* Bytes have come of a fetch that this thread itself is at. */
static void step(void *data)
{
    visit *its = data;

    if (its->state == VISIT_SENDS)
        (void)visit_feed(its);
    if (its->state == VISIT_FOLLOWS && is_fetch_ready(its))
        (void)look_at_fetch(its);
}

/* Claim the fetch of the image. */
static fetch_claim claim_fetch(const visit *its, apr_uint64_t *fetch)
{
    const walt_vpn_entrypoint *entrypoint = its->request->entrypoint;

    return fetches_claim(entrypoint->place, entrypoint->folder->root, its->digest, fetch);
}

/* The fetch is this visit's to begin. */
static void fetch_image(visit *its, apr_uint64_t fetch)
{
    its->has_fetched = 1;
    image_fetch(its->r, its->digest, fetch, step, its);
}

/* Find the image in the folder, or follow its fetch, which is begun if need be. */
static visit_state find_image(visit *its)
{
    apr_uint64_t held = held_fetch(its);
    fetch_claim claim;

    if (held == FETCH_RELAYED)
        return end(its, DECLINED);      /* relayed as before */
    if (!held && send_if_cached(its))
        return its->state;
    if (!is_there(its->r->connection)) {        /* nothing is fetched for it, or relayed */
        its->request->is_strangers = 1;
        boot_watch_refuse(its->r, REASON_HUNG_UP);
        return end(its, relay_give_up(its->r, 0));
    }
    claim = claim_fetch(its, &its->fetch);
    if (held && (claim == CLAIM_NO_ROOM || claim == CLAIM_MISMATCH || held != its->fetch)) {
        if (claim == CLAIM_OURS)
            fetches_end(its->fetch, FATE_ORPHANED, "");
        boot_watch_refuse(its->r, REASON_FAILED_FETCH);
        return end(its, HTTP_NOT_FOUND);
    }
    if (claim == CLAIM_MISMATCH)
        return end_mismatched(its);
    if (claim == CLAIM_NO_ROOM)
        return end(its, DECLINED);
    its->state = VISIT_FOLLOWS;
    its->row.fate = FATE_UNDER_WAY;
    its->needs = its->known.took_signature;
    boot_watch_answer(its->r, claim == CLAIM_OURS ? WALT_VPN_FETCHED : WALT_VPN_STREAMED, NULL);
    if (claim == CLAIM_OURS)
        fetch_image(its, its->fetch);
    return its->state;
}

/* The answer for boot.sig has come: which image does the node need? */
static visit_state choose_image(visit *its)
{
    const walt_query *query = &its->signature.query;
    int resumes = its->request->resume_from > 0;

    look_up(its);               /* that may be another by now */
    if (query->status != HTTP_OK || !(its->digest = boot_signature_digest(&its->signature)))
        /* No digest: relay.  A node that holds cached bytes gets an error instead; they might be
         * another image's. */
        return !resumes || held_fetch(its) == FETCH_RELAYED ? end(its, DECLINED)
                                                            : end_failed(its, query->status);
    if (boots_changed(&its->known, its->digest)) {
        /* The rest of another image would only make it fail later, at its signature. */
        if (resumes) {
            boot_watch_refuse(its->r, REASON_CHANGED);
            return end(its, HTTP_NOT_FOUND);
        }
        /* Or one of the answers was one behind. */
        if (its->signature.tries < BOOT_SIGNATURE_TRIES)
            return its->state = VISIT_ASKS;
    }
    boot_watch_digest(its->r, its->digest, 0);
    return find_image(its);
}

/* The fetch has failed before the node was sent anything of it: ask again, if there is time. */
static visit_state ask_again(visit *its)
{
    its->signature.query.status = HTTP_BAD_GATEWAY;
    its->sender = NULL;
    if (!boot_signature_try_again(&its->signature, its->request->came))
        return end_failed(its, HTTP_BAD_GATEWAY);
    return its->state = VISIT_ASKS;
}

/* Nobody is at the fetch any more: somebody who follows is to go on with it. */
static visit_state go_on_with_fetch(visit *its)
{
    apr_uint64_t fetch;

    if (!its->sender)
        return find_image(its);
    its->state = VISIT_SENDS;
    if (claim_fetch(its, &fetch) == CLAIM_OURS)
        fetch_image(its, fetch);
    return its->state;
}

/* The fetch that is followed is not as it was at the look before: what is to be done? */
static visit_state look_at_fetch(visit *its)
{
    fetch_fate fate = its->row.fate;

    if (fate == FATE_UNDER_WAY && !its->sender
        && !(its->sender = image_sender_follow(its->r, its->request, &its->row))) {
        its->can_grow = 0;      /* it has just ended, or no file can be opened: wait for it */
        return its->state;
    }
    if (fate == FATE_UNDER_WAY || (fate == FATE_PUBLISHED && its->sender)) {
        its->state = VISIT_SENDS;
        return visit_feed(its);
    }
    /* A fetch of this visit's own is left when its node has another image by now. */
    if (fate == FATE_ORPHANED && !its->has_fetched)
        return go_on_with_fetch(its);
    if (its->sender && (its->sender->begun || its->request->resume_from > 0))
        return end_broken(its);
    switch (fate) {
    case FATE_PUBLISHED:        /* it may be gone again */
        return send_if_cached(its) ? its->state : ask_again(its);
    case FATE_NO_ROOM:
        boot_watch_answer(its->r, WALT_VPN_RELAYED, NULL);
        return end(its, DECLINED);
    case FATE_MISMATCH:
        return end_mismatched(its);
    case FATE_GIVEN_UP:         /* it was tried as long as a node waits */
        return end_failed(its, HTTP_BAD_GATEWAY);
    default:
        return ask_again(its);
    }
}

/* ------------------------------------------------------------------ its steps */

/*
 * The node has the boot.sig of an image that is in the folder, and got it as a file, which is never
 * another node's (facts.md 2): whatever the WalT server says by now, that image is what fits it.
 * Nobody is asked.
 */
static void send_vouched(visit *its)
{
    its->digest = apr_pstrdup(its->r->pool, boots_vouched(&its->known));
    if (its->digest && its->known.boot.is_file && !held_fetch(its))
        (void)send_if_cached(its);
}

/* The digest of the image's file is known. */
static visit_state find_again(visit *its)
{
    if (its->signature.query.whole)
        return find_image(its);
    its->state = VISIT_ASKS;            /* unless it is sent without a question */
    look_up(its);
    send_vouched(its);
    return its->state;
}

/* An image is asked for.  Without a folder it is relayed, unless the node holds bytes that were
 * relayed to it and found wrong at their end: the rest would complete them. */
static void begin_image(visit *its)
{
    look_up(its);
    if (held_fetch(its) == FETCH_WRONG) {
        its->request->fetch = FETCH_WRONG;
        boot_watch_refuse(its->r, REASON_FAILED_FETCH);
        end(its, HTTP_NOT_FOUND);
    }
    else if (!its->request->entrypoint->folder) {
        end(its, DECLINED);
    }
    else {
        its->can_grow = image_sender_can_grow(its->r, its->request);
        send_vouched(its);
    }
}

visit *visit_begin(request_rec *r, walt_vpn_request *request)
{
    visit *its = apr_pcalloc(r->pool, sizeof(*its));

    its->r = r;
    its->request = request;
    boot_signature_begin(&its->signature, r->pool, request->entrypoint, request->boot.node,
                         r->useragent_addr);
    if (request->boot.file == BOOT_FILE_IMG)
        begin_image(its);
    return its;
}

visit_state visit_feed(visit *its)
{
    int status;

    (void)image_sender_push(its->r->connection);
    if (its->r->connection->aborted)
        return end(its, OK);
    if (its->fetch) {
        follow(its, its->needs);
        if (its->row.fate != FATE_UNDER_WAY && its->row.fate != FATE_PUBLISHED)
            return its->state = VISIT_FOLLOWS;
        boot_watch_fetch(its->request, its->row.fate == FATE_PUBLISHED ? 0 : its->fetch);
    }
    status = image_sender_advance(its->sender, its->fetch ? &its->row : NULL);
    return status == SUSPENDED ? its->state : end(its, status);
}

/*
 * A node that has been here before is not there, says the WalT server: so it does of all nodes for
 * the moment in which their image changes (facts.md 2).  Is it to be asked once more, a moment
 * later?  Not about those that strangers make up.
 */
static int looks_again(visit *its)
{
    if (its->signature.query.status != HTTP_NOT_FOUND || its->look_at)
        return 0;
    look_up(its);
    if (!its->known.is_known)
        return 0;
    its->look_at = waiting_clock() + NOT_THERE_PAUSE;
    return 1;
}

/* The turn has come: ask, and go on with the answer. */
static visit_state ask(visit *its)
{
    boot_signature_take(&its->signature, its->turn);
    its->turn = NULL;
    if (looks_again(its))
        return its->state;
    if (!its->signature.query.whole)
        return boot_signature_try_again(&its->signature, its->request->came)
               ? its->state : end_failed(its, its->signature.query.status);
    return its->request->boot.file == BOOT_FILE_SIG ? send_signature(its) : choose_image(its);
}

/* Stand in the line.  Has the turn come? */
static int is_its_turn(visit *its)
{
    if (waiting_clock() < its->look_at)
        return 0;
    if (!its->turn)
        its->turn = question_line_come(&its->signature.query);
    return question_line_look(its->turn);
}

int visit_is_ready(visit *its)
{
    if (!its->sender && waiting_clock() - its->request->came >= WAIT_MAX)
        its->is_late = 1;
    if (its->is_late)
        return 1;
    switch (its->state) {
    case VISIT_ASKS:
        return is_its_turn(its);
    case VISIT_FINDS:
        return !image_digest_is_awaited(its->digest);
    case VISIT_FOLLOWS:
        return is_fetch_ready(its);
    default:
        return its->state == VISIT_OVER;
    }
}

int visit_is_urgent(const visit *its)
{
    return its->state == VISIT_ASKS || its->state == VISIT_FINDS;
}

visit_state visit_go_on(visit *its)
{
    while (its->state != VISIT_OVER && visit_is_ready(its)) {
        if (its->is_late)
            end_late(its);
        else if (its->state == VISIT_ASKS)
            ask(its);
        else if (its->state == VISIT_FINDS)
            find_again(its);
        else
            look_at_fetch(its);
    }
    return its->state;
}
