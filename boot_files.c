/*
 * boot_files.c: answering boot.sig and boot.img, and trying again where the WalT server fails.
 *
 * boot.sig is asked for, held until it is whole, and sent as the WalT server gave it.  boot.img is
 * asked for only when no file with the digest in the node's current boot.sig is in the cache, once
 * for all nodes that wait for it.  So a WalT server that breaks off, stalls or answers with
 * another node's file costs a second try, which the node does not notice, and no wrong byte.
 *
 * Whatever has no digest, and whatever the cache can't take, is left to mod_proxy and the guard.
 */
#include "boot_files.h"
#include "boot_ledger.h"
#include "boot_watch.h"
#include "image_cache.h"
#include "reply_guard.h"
#include "walt_query.h"

#include "apr_lib.h"
#include "apr_strings.h"
#include "http_core.h"
#include "http_protocol.h"
#include "http_request.h"

/* How often a file is tried, and since when (after the request came) no more: a stall lasts up to
 * the worker's 20 s, and the node's patience is 50 s (facts.md 1). */
#define TRIES_MAX 3
#define LAST_TRY apr_time_from_sec(25)

/* How long a request may wait for another's fetch: a little less than the node waits for it. */
#define WAIT_MAX apr_time_from_sec(45)

/* Pause before a second try: a WalT server that has just broken off may be restarting. */
#define PAUSE apr_time_from_msec(100)

/* Most bytes of a boot.sig; what is larger is another file, answered one behind (facts.md 2). */
#define SIGNATURE_MAX (64 * 1024)

/* Room that a signature gets at first: it lasts as long as the node's download. */
#define SIGNATURE_USUAL 1024

/* ------------------------------------------------------------------ boot.sig */

/* A boot.sig on its way: its bytes, in pool. */
typedef struct {
    apr_pool_t *pool;
    char *text;                 /* NULL: no room was made yet */
    apr_size_t room;
    apr_size_t length;
} signature;

static apr_status_t take_signature(walt_query *query, const char *bytes, apr_size_t length)
{
    signature *signature = query->data;

    if (length > SIGNATURE_MAX - signature->length)
        return APR_ENOSPC;
    if (length > signature->room - signature->length) {
        char *text = signature->text;

        while (length > signature->room - signature->length)
            signature->room *= 2;
        signature->text = apr_palloc(signature->pool, signature->room);
        memcpy(signature->text, text, signature->length);
    }
    memcpy(signature->text + signature->length, bytes, length);
    signature->length += length;
    return APR_SUCCESS;
}

/* May a failed question be asked again, after a pause, and the node still be there? */
static int try_again(const request_rec *r, const walt_query *query, int tries)
{
    /* A refusal of the site's or the WalT server's is an answer; and when mod_proxy could not connect,
     * that the WalT server is down is said at once. */
    if (!ap_is_HTTP_SERVER_ERROR(query->status) || query->status == HTTP_SERVICE_UNAVAILABLE)
        return 0;
    if (tries >= TRIES_MAX || apr_time_now() - r->request_time >= LAST_TRY)
        return 0;
    apr_sleep(PAUSE * tries);
    return 1;
}

/* Path behind /walt-vpn/ of a file of the node of r, in the plain spelling, in r->pool. */
static const char *path_of(const request_rec *r, const char *file)
{
    char *node = apr_pstrdup(r->pool, walt_vpn_request_of(r)->boot.node), *dot;

    for (dot = node; (dot = strchr(dot, '.')); )
        *dot = '-';
    return apr_pstrcat(r->pool, "per-ip/", node, "/", file, NULL);
}

/* Ask for the boot.sig of the node of r, again if need be.  query->whole: it arrived. */
static void ask_signature(request_rec *r, walt_query *query, signature *signature, int *tries)
{
    memset(query, 0, sizeof(*query));
    query->rest = path_of(r, "boot.sig");
    query->take = take_signature;
    query->data = signature;
    if (!signature->text) {
        signature->pool = r->pool;
        signature->room = SIGNATURE_USUAL;
        signature->text = apr_palloc(r->pool, SIGNATURE_USUAL);
    }
    do {
        signature->length = 0;
        walt_query_ask(r, query);
        ++*tries;
    } while (!query->whole && try_again(r, query, *tries));
}

/* The digest in line 1 of a boot.sig, in lower case in pool; NULL: there is none. */
static const char *digest_in(apr_pool_t *pool, const signature *signature)
{
    char *digest;
    apr_size_t i;

    if (signature->length <= IMAGE_DIGEST_LENGTH
        || !apr_isspace(signature->text[IMAGE_DIGEST_LENGTH]))
        return NULL;
    digest = apr_pstrmemdup(pool, signature->text, IMAGE_DIGEST_LENGTH);
    for (i = 0; i < IMAGE_DIGEST_LENGTH; i++) {
        if (!apr_isxdigit(digest[i]))
            return NULL;
    }
    ap_str_tolower(digest);
    return digest;
}

/* Send the boot.sig of the node of r as the WalT server gave it. */
static int answer_signature(request_rec *r)
{
    signature signature = { 0 };
    walt_query query;
    apr_bucket_brigade *bb;
    const char *digest;
    int tries = 0;

    ask_signature(r, &query, &signature, &tries);
    if (!query.whole)
        return query.status;
    if (query.status == HTTP_OK && (digest = digest_in(r->pool, &signature)))
        boot_watch_digest(r, digest);
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

/* A fetch of an image: where its bytes go, and how that stands. */
typedef struct {
    image *image;
    image_state state;          /* IMAGE_MISSING as long as there is room for it */
    int place;                  /* in the ledger */
} image_fetch;

static apr_status_t begin_image(walt_query *query)
{
    image_fetch *fetch = query->data;

    /* Without a length no room can be made for it, and relayed no node could read it. */
    if (query->status != HTTP_OK || query->length < 0)
        return APR_EGENERAL;
    fetch->state = image_cache_reserve(fetch->image, query->length);
    boot_ledger_fetch_size(fetch->place, query->length);
    return fetch->state == IMAGE_MISSING ? APR_SUCCESS : APR_ENOSPC;
}

static apr_status_t take_image(walt_query *query, const char *bytes, apr_size_t length)
{
    image_fetch *fetch = query->data;
    apr_status_t rv = image_cache_write(fetch->image, bytes, length);

    if (rv != APR_SUCCESS)
        fetch->state = IMAGE_NO_ROOM;
    boot_ledger_fetch_progress(fetch->place, query->received);
    return rv;
}

/* Fetch a missing image from the WalT server; the state says how it ended. */
static image_state fetch_image(request_rec *r, image *missing, const char *digest)
{
    int place = walt_vpn_request_of(r)->entrypoint->place;
    image_fetch fetch = { missing, IMAGE_MISSING, boot_ledger_fetch_begin(place, digest) };
    walt_query query = { 0 };

    query.rest = path_of(r, "boot.img");
    query.begin = begin_image;
    query.take = take_image;
    query.data = &fetch;
    walt_query_ask(r, &query);
    boot_ledger_fetch_end(fetch.place);
    if (query.whole)
        return image_cache_finish(missing);
    if (fetch.state == IMAGE_MISSING) {
        ap_log_rerror(APLOG_MARK, APLOG_INFO, 0, r, "fetch of boot.img ended with status %d after "
                      "%" APR_OFF_T_FMT " of %" APR_OFF_T_FMT " bytes", query.status,
                      query.received, query.length);
        /* What the cache holds open may be what a relay needs. */
        fetch.state = query.status == HTTP_SERVICE_UNAVAILABLE && image_cache_exhausted(missing)
                      ? IMAGE_NO_ROOM : IMAGE_BROKEN;
    }
    image_cache_abandon(missing, fetch.state);
    return fetch.state;
}

/* Send a verified image, or the rest of it; other ranges and HEAD are httpd's own filters' work. */
static int send_image(request_rec *r, const image *image, const char *digest)
{
    const core_dir_config *core = ap_get_core_module_config(r->per_dir_config);
    apr_bucket_brigade *bb;
    apr_bucket *file;
    apr_off_t from = 0;
    int status;

    reply_guard_is_local(r);
    ap_set_content_type(r, "application/octet-stream");
    ap_set_content_length(r, image_cache_size(image));
    apr_table_setn(r->headers_out, "ETag", apr_pstrcat(r->pool, "\"", digest, "\"", NULL));
    ap_set_accept_ranges(r);
    if ((status = ap_meets_conditions(r)) != OK)
        return status;
    if (!r->header_only && walt_vpn_request_of(r)->resume_from > 0) {
        from = walt_vpn_request_of(r)->resume_from;
        if ((status = reply_guard_resume(r, image_cache_size(image))) != OK)
            return status;
    }
    /* One brigade with the file and EOS, in r->pool: the byterange filter answers other ranges by
     * itself, and the file stays open until the last byte is sent. */
    bb = apr_brigade_create(r->pool, r->connection->bucket_alloc);
    file = apr_brigade_insert_file(bb, image_cache_file(image), from,
                                   image_cache_size(image) - from, r->pool);
    if (core->enable_mmap == ENABLE_MMAP_OFF)
        (void)apr_bucket_file_enable_mmap(file, 0);
    APR_BRIGADE_INSERT_TAIL(bb, apr_bucket_eos_create(r->connection->bucket_alloc));
    (void)ap_pass_brigade(r->output_filters, bb);       /* a client that is gone is no error */
    return OK;
}

/* How an image was come by, for the administrator. */
static walt_vpn_answer answer_of(image_state found, int waited)
{
    if (found == IMAGE_MISSING)
        return WALT_VPN_FETCHED;
    return waited ? WALT_VPN_WAITED : WALT_VPN_CACHED;
}

/* Send the boot.img of the node of r from the cache, or leave it to be relayed. */
static int answer_image(request_rec *r)
{
    const walt_vpn_request *request = walt_vpn_request_of(r);
    signature signature = { 0 };
    walt_query query;
    int tries = 0;

    do {
        const char *digest;
        image_state found, state;
        image *image;
        int waited;

        ask_signature(r, &query, &signature, &tries);
        if (!query.whole)
            return query.status;
        if (query.status != HTTP_OK || !(digest = digest_in(r->pool, &signature)))
            return DECLINED;
        boot_watch_digest(r, digest);
        /* The rest of another image would only make it fail later, at its signature. */
        if (request->resume_from > 0
            && boot_ledger_changed(request->entrypoint->place, request->boot.node,
                                   r->useragent_ip, digest)) {
            boot_watch_answer(r, WALT_VPN_REFUSED, "its image has changed since it began");
            return HTTP_NOT_FOUND;
        }
        found = state = image_cache_find(r, request->entrypoint->folder, digest,
                                         r->request_time + WAIT_MAX, &image, &waited);
        if (state == IMAGE_MISSING)
            state = fetch_image(r, image, digest);
        switch (state) {
        case IMAGE_READY:
            boot_watch_answer(r, answer_of(found, waited), NULL);
            return send_image(r, image, digest);
        case IMAGE_NO_ROOM:
            return DECLINED;
        case IMAGE_LATE:
            ap_log_rerror(APLOG_MARK, APLOG_INFO, 0, r, "boot.img is still being fetched: the "
                          "connection is reset, so that the node asks again");
            boot_watch_answer(r, WALT_VPN_FAILED, "still being fetched, so reset");
            r->status = HTTP_GATEWAY_TIME_OUT;          /* for the log alone */
            reply_guard_reset(r);
            return DONE;
        default:
            query.status = HTTP_BAD_GATEWAY;
        }
    } while (try_again(r, &query, tries));
    return HTTP_BAD_GATEWAY;
}

/* ------------------------------------------------------------------ hooks */

static int walt_vpn_handler(request_rec *r)
{
    const walt_vpn_request *request = walt_vpn_request_of(r);

    if (!request || r->main)
        return DECLINED;
    boot_watch_answer(r, WALT_VPN_RELAYED, NULL);       /* unless it is known better */
    if (r->method_number != M_GET)
        return DECLINED;
    if (request->boot.file == BOOT_FILE_SIG)
        return answer_signature(r);
    if (request->boot.file == BOOT_FILE_IMG && request->entrypoint->folder)
        return answer_image(r);
    return DECLINED;
}

void boot_files_register_hooks(void)
{
    /* Before mod_proxy's (FIRST), which relays what this declines. */
    ap_hook_handler(walt_vpn_handler, NULL, NULL, APR_HOOK_REALLY_FIRST);
}
