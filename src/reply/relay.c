/*
 * reply/relay.c: what the WalT server answers, passed on so that a node can trust it.
 *
 * A relayed reply (filter WALT_VPN_RELAY) is counted; one that breaks off resets the connection,
 * and one of up to 64 KiB is held until it is whole, so that it becomes a 502.  A resumed download
 * gets a 206 with the rest: the WalT server ignores Range, and its 200 would be appended to what
 * the node holds (facts.md 1, 2).  An image of which the first byte passes is compared with the
 * digest in the node's boot.sig, and never completed if it is another.
 */
#include "reply/relay.h"
#include "ledger/boots.h"
#include "ledger/counters.h"
#include "ledger/fetches.h"
#include "reply/headers.h"
#include "reply/promise.h"
#include "report/watch.h"
#include "store/digest.h"

#include "apr_strings.h"
#include "http_connection.h"
#include "http_core.h"
#include "http_protocol.h"
#include "http_request.h"
#include "util_filter.h"

/* A relayed reply of up to this many bytes is held until it is whole. */
#define HOLD_MAX (64 * 1024)

static ap_filter_rec_t *relay_filter;

typedef enum {
    RELAY_NEW,                  /* nothing has passed yet */
    RELAY_HOLDING,              /* kept back until it is whole or too large */
    RELAY_STREAMING,            /* the head has been passed on */
    RELAY_OVER                  /* ended or given up: nothing passes any more */
} relay_state;

typedef struct {
    relay_state state;
    apr_off_t length;           /* of the body that the WalT server announced; -1: it did not */
    apr_off_t received;         /* bytes of it so far */
    int has_ended;              /* and these are all */
    apr_off_t skip;             /* bytes of it that the node holds and is not sent again */
    apr_bucket_brigade *held;   /* in r->pool */
    const char *digest;         /* that the body is to have; NULL: it is not known */
    EVP_MD_CTX *hash;           /* of what has come of it; NULL: nothing is to be compared */
} relay;

/*
 * What comes is not the reply: an error of this status while there is time, else the reset that a
 * node understands.  Not an error bucket: the content-length filter would count that as the body,
 * and the text of the error would go out chunked.
 */
static apr_status_t break_relay(ap_filter_t *f, relay *state, int status)
{
    walt_vpn_request *request = walt_vpn_request_of(f->r);
    int has_begun = state->state == RELAY_STREAMING;

    state->state = RELAY_OVER;
    if (!has_begun) {
        status = headers_error(request, status);
        apr_brigade_cleanup(state->held);
        ap_die(status, f->r);
        request->replaced_by = status;
        return AP_FILTER_ERROR;
    }
    if (f->c->aborted)          /* it is the client that has gone, and mod_proxy ends the reply */
        return APR_ECONNABORTED;
    if (status == HTTP_BAD_GATEWAY) {
        boot_watch_answer(f->r, WALT_VPN_FAILED, "the WalT server broke off");
        ap_log_rerror(APLOG_MARK, APLOG_INFO, 0, f->r, "the WalT server broke off after %"
                      APR_OFF_T_FMT " of %" APR_OFF_T_FMT " bytes: the connection is reset",
                      state->received, state->length);
    }
    promise_reset(f->r);
    return APR_ECONNABORTED;
}

/*
 * Why this reply, whose body has this length (-1: it has none), is not for its client; NULL: it is.
 * Firmware is given what was asked for: the file, its rest, a file from which that can be cut, or
 * an error.  It would take the body of any other reply for the file, or append it (facts.md 1).
 */
static const char *fault_of(const request_rec *r, const walt_vpn_request *request,
                            apr_off_t length)
{
    apr_off_t from = r->header_only ? 0 : request->resume_from;

    if (!headers_are_for_firmware(request)
        || (r->status == HTTP_OK && (from == 0 || length >= 0))
        || (r->status == HTTP_PARTIAL_CONTENT && from > 0
            && headers_are_rest(r->pool, r->headers_out, from, length)))
        return NULL;
    if (ap_is_HTTP_ERROR(r->status) && r->status != HTTP_RANGE_NOT_SATISFIABLE)
        return headers_error(request, r->status) == r->status ? NULL
               : "the WalT server reports an error";
    return ap_is_HTTP_REDIRECT(r->status) && r->status != HTTP_NOT_MODIFIED
           ? "the WalT server redirects" : "what answers is not what was asked for";
}

/* ------------------------------------------------------------------ what was signed */

static apr_status_t free_hash(void *hash)
{
    EVP_MD_CTX_free(hash);
    return APR_SUCCESS;
}

/* A whole file is about to pass.  If it is an image, and known what was signed, it is compared. */
static void begin_to_compare(request_rec *r, relay *state, walt_vpn_request *request)
{
    known_node known;

    if (request->boot.file != BOOT_FILE_IMG)
        return;
    boot_watch_fetch(request, FETCH_RELAYED);
    state->digest = request->digest;
    if (!state->digest) {
        boots_find(request->entrypoint->place, request->boot.node, r->useragent_ip,
                   request->resume_from > 0, &known);
        state->digest = apr_pstrdup(r->pool, boots_vouched(&known));
    }
    if (r->status != HTTP_OK || !state->digest || !(state->hash = EVP_MD_CTX_new()))
        return;
    apr_pool_cleanup_register(r->pool, state->hash, free_hash, apr_pool_cleanup_null);
    if (!EVP_DigestInit_ex(state->hash, EVP_sha256(), NULL))
        state->hash = NULL;
}

/* The last byte is here, and not passed on.  Is the image another than the one that was signed? */
static int is_wrong(request_rec *r, relay *state, walt_vpn_request *request)
{
    EVP_MD_CTX *hash = state->hash;
    char found[IMAGE_DIGEST_LENGTH + 1];

    state->hash = NULL;
    if (!image_digest_is(hash, state->digest, found)) {
        counters_of(r)->mismatches++;
        boot_watch_fetch(request, FETCH_WRONG);
        boot_watch_mismatch(r, state->digest, found);
        return 1;
    }
    if (request->resume_from == 0)      /* what a node holds that resumes is another reply's */
        boot_watch_fetch(request, 0);
    return 0;
}

/* ------------------------------------------------------------------ relaying */

/* Read the head that mod_proxy_http left in r and decide how to relay the body.  OK, or the status
 * of the error instead. */
static int begin_relay(ap_filter_t *f, relay *state, walt_vpn_request *request)
{
    request_rec *r = f->r;
    const char *length = apr_table_get(r->headers_out, "Content-Length"), *fault;
    int status;

    headers_drop_what_is_none(r);
    state->held = apr_brigade_create(r->pool, f->c->bucket_alloc);
    state->length = -1;
    if (length && !ap_parse_strict_length(&state->length, length))
        state->length = -1;
    if ((fault = fault_of(r, request, state->length))) {
        boot_watch_answer(r, WALT_VPN_FAILED, fault);
        if (!ap_is_HTTP_ERROR(r->status))
            r->status = HTTP_OK;        /* not one that has no body: there will be another one */
        return HTTP_BAD_GATEWAY;
    }
    /* A relayed reply to a range is made here.  httpd's byterange filter would answer every form
     * of range, but only for a reply that comes whole in one brigade. */
    apr_table_unset(r->headers_in, "Range");
    apr_table_unset(r->headers_in, "Request-Range");
    if (state->length >= 0)
        ap_set_content_length(r, state->length);        /* once, in httpd's spelling */
    if (r->header_only || AP_STATUS_IS_HEADER_ONLY(r->status)) {
        state->length = -1;
        state->state = RELAY_STREAMING;
        return OK;
    }
    begin_to_compare(r, state, request);
    if (request->resume_from > 0 && r->status == HTTP_OK && state->length >= 0) {
        if ((status = headers_resume(r, state->length)) != OK)
            return status;
        state->skip = request->resume_from;
    }
    state->state = state->length <= HOLD_MAX ? RELAY_HOLDING : RELAY_STREAMING;
    return OK;
}

/* Count a data bucket.  One of unknown length becomes what was read of it, with the rest behind. */
static apr_status_t count_bucket(relay *state, const walt_vpn_request *request,
                                 apr_bucket *bucket)
{
    const char *data;
    apr_size_t length = bucket->length;
    apr_status_t rv;

    if ((length == (apr_size_t)-1 || state->hash)
        && (rv = apr_bucket_read(bucket, &data, &length, APR_BLOCK_READ)) != APR_SUCCESS)
        return rv;
    if (state->hash)
        EVP_DigestUpdate(state->hash, data, length);
    state->received += (apr_off_t)length;
    if (request->boot.file != BOOT_FILE_SIG)        /* counted when it was asked for */
        boot_watch_received(request->entrypoint, (apr_off_t)length);
    return APR_SUCCESS;
}

/* Drop what the node holds already of a bucket that was counted. */
static void drop_held(relay *state, apr_bucket *bucket)
{
    if (state->skip == 0)
        return;
    if (state->skip < (apr_off_t)bucket->length)
        apr_bucket_split(bucket, (apr_size_t)state->skip);
    state->skip -= (apr_off_t)bucket->length;
    apr_bucket_delete(bucket);
}

/* Walk a brigade of the relayed body.  OK, or HTTP_BAD_GATEWAY: the WalT server broke off. */
static int walk_brigade(relay *state, const walt_vpn_request *request, apr_bucket_brigade *bb)
{
    apr_bucket *bucket, *next;

    for (bucket = APR_BRIGADE_FIRST(bb); bucket != APR_BRIGADE_SENTINEL(bb); bucket = next) {
        next = APR_BUCKET_NEXT(bucket);
        if (AP_BUCKET_IS_ERROR(bucket) || AP_BUCKET_IS_EOC(bucket))
            return HTTP_BAD_GATEWAY;
        if (APR_BUCKET_IS_EOS(bucket)) {
            if (state->length >= 0 && state->received < state->length)
                return HTTP_BAD_GATEWAY;
            state->has_ended = 1;
            return OK;
        }
        if (APR_BUCKET_IS_METADATA(bucket)) {
            /* mod_proxy_http flushes whenever the WalT server pauses; what is held stays. */
            if (state->state == RELAY_HOLDING && APR_BUCKET_IS_FLUSH(bucket))
                apr_bucket_delete(bucket);
            continue;
        }
        if (count_bucket(state, request, bucket) != APR_SUCCESS)
            return HTTP_BAD_GATEWAY;
        next = APR_BUCKET_NEXT(bucket);
        drop_held(state, bucket);
    }
    return OK;
}

/* Take a brigade of the reply in.  OK, or the status of the error instead. */
static int take_brigade(ap_filter_t *f, relay *state, apr_bucket_brigade *bb)
{
    walt_vpn_request *request = walt_vpn_request_of(f->r);
    int status = state->state == RELAY_NEW ? begin_relay(f, state, request) : OK;

    if (status != OK || (status = walk_brigade(state, request, bb)) != OK)
        return status;
    boot_watch_relayed(f->r);
    return state->hash && (state->has_ended || state->received == state->length)
           && is_wrong(f->r, state, request) ? HTTP_NOT_FOUND : OK;
}

static apr_status_t filter_relay(ap_filter_t *f, apr_bucket_brigade *bb)
{
    relay *state = f->ctx;
    apr_status_t rv;
    int status;

    if (!state)
        state = f->ctx = apr_pcalloc(f->r->pool, sizeof(*state));
    if (state->state == RELAY_OVER) {
        apr_brigade_cleanup(bb);
        return f->c->aborted ? APR_ECONNABORTED : APR_SUCCESS;
    }
    if (state->state == RELAY_NEW && APR_BRIGADE_EMPTY(bb))
        return ap_pass_brigade(f->next, bb);
    if ((status = take_brigade(f, state, bb)) != OK) {
        apr_brigade_cleanup(bb);
        return break_relay(f, state, status);
    }
    if (state->state == RELAY_HOLDING) {
        if (ap_save_brigade(f, &state->held, &bb, f->r->pool) != APR_SUCCESS)
            return break_relay(f, state, HTTP_INTERNAL_SERVER_ERROR);
        if (!state->has_ended && state->received <= HOLD_MAX)
            return APR_SUCCESS;
        /* Without a Content-Length a node drops the data: it gets one, or an error. */
        if (state->length < 0 && headers_are_for_firmware(walt_vpn_request_of(f->r))) {
            if (!state->has_ended)
                return break_relay(f, state, HTTP_BAD_GATEWAY);
            ap_set_content_length(f->r, state->received);
        }
        bb = state->held;
    }
    state->state = state->has_ended ? RELAY_OVER : RELAY_STREAMING;
    if ((rv = ap_pass_brigade(f->next, bb)) != APR_SUCCESS && !state->has_ended)
        return break_relay(f, state, HTTP_INTERNAL_SERVER_ERROR);       /* no fault of WalT's */
    return rv;
}

/* ------------------------------------------------------------------ the filter chain */

/*
 * Take out of the chain what would change the body of a file: DEFLATE, SUBSTITUTE, INCLUDES and
 * their like.  mod_headers stays, and all that works on the wire.
 */
static void drop_content_filters(request_rec *r)
{
    ap_filter_t *f, *next;

    for (f = r->output_filters; f && f != r->proto_output_filters; f = next) {
        next = f->next;
        if (ap_cstr_casecmpn(f->frec->name, "WALT_VPN_", strlen("WALT_VPN_")) != 0
            && ap_cstr_casecmp(f->frec->name, "FIXUP_HEADERS_OUT") != 0
            && ap_cstr_casecmp(f->frec->name, "FIXUP_HEADERS_ERR") != 0)
            ap_remove_output_filter(f);
    }
}

void relay_begin(request_rec *r, walt_vpn_request *request)
{
    static const char *const names[] = {
        "Range", "Request-Range", "If-Range", "If-Match", "If-None-Match", "If-Modified-Since",
        "If-Unmodified-Since"
    };
    apr_size_t i;

    request->asked_at = apr_time_now();
    if (!headers_are_for_firmware(request))
        return;
    for (i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        apr_table_unset(r->headers_in, names[i]);
    if (request->resume_from > 0 && !r->header_only)
        apr_table_setn(r->headers_in, "Range", apr_psprintf(r->pool, "bytes=%" APR_OFF_T_FMT "-",
                                                            request->resume_from));
}

void relay_is_off(request_rec *r)
{
    ap_filter_t *f;

    for (f = r->output_filters; f; f = f->next) {
        if (f->frec == relay_filter) {
            ap_remove_output_filter(f);
            return;
        }
    }
}

int relay_give_up(request_rec *r, int begun)
{
    /* What ends the request passes its end on, which is not to be read as a relayed reply. */
    relay_is_off(r);
    if (!begun)
        r->status = HTTP_GATEWAY_TIME_OUT;
    promise_reset(r);
    return DONE;
}

static void walt_vpn_insert_filter(request_rec *r)
{
    const walt_vpn_request *request = walt_vpn_request_of(r);

    if (!request)
        return;
    ap_add_output_filter_handle(relay_filter, NULL, r, r->connection);
    /* The setup check compares what it gets, too, to the byte (facts.md 3). */
    if (headers_are_for_firmware(request) || request->boot.file == BOOT_FILE_SERVER)
        drop_content_filters(r);
    if (headers_are_for_firmware(request))
        headers_add_filter(r);
}

/*
 * An error is about to be sent.  When one was sent already in place of a broken reply, this is what
 * mod_proxy says of it afterwards: it would follow the first one on a connection that was kept.
 */
static void walt_vpn_insert_error_filter(request_rec *r)
{
    static relay over = { .state = RELAY_OVER };        /* stays so */
    const walt_vpn_request *request = walt_vpn_request_of(r);

    if (!request)
        return;
    if (request->replaced_by) {
        ap_add_output_filter_handle(relay_filter, &over, r, r->connection);
        r->status = request->replaced_by;       /* for the log */
    }
    headers_add_filter(r);
}

void relay_register_hooks(void)
{
    /* Before DEFLATE and its like (AP_FTYPE_CONTENT_SET), to count what the WalT server sent.
     * SUBSTITUTE and INCLUDES, of this type, come before it and take the length away: then the
     * reply is held, and counted when it is whole. */
    relay_filter = ap_register_output_filter("WALT_VPN_RELAY", filter_relay, NULL,
                                             AP_FTYPE_RESOURCE);
    /* Last, to see what all others inserted. */
    ap_hook_insert_filter(walt_vpn_insert_filter, NULL, NULL, APR_HOOK_REALLY_LAST);
    ap_hook_insert_error_filter(walt_vpn_insert_error_filter, NULL, NULL, APR_HOOK_REALLY_LAST);
}
