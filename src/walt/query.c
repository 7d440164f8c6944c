/*
 * walt/query.c: asking the WalT server for a file on the entrypoint's own account.
 *
 * A sub-request, so that mod_proxy, its worker and the administrator's settings for it serve this
 * as they serve what is relayed.  Its output ends in a filter that hands it to the asker; nothing
 * of it reaches the client, and a client that goes away does not end it.
 */
#include "walt/query.h"
#include "report/watch.h"

#include "apr_strings.h"
#include "http_connection.h"
#include "http_protocol.h"
#include "http_request.h"
#include "util_filter.h"

static ap_filter_rec_t *query_filter;

typedef enum { QUERY_HEAD, QUERY_BODY, QUERY_OVER } query_state;

typedef struct {
    walt_query *query;
    request_rec *asker;
    query_state state;
    apr_time_t began;
    int is_answered;            /* its head has come */
    int is_gone;                /* the client of the asker is */
} query_context;

/* Whether the asker's client is still there does not matter: mod_proxy, which would end the
 * question, is not to see that it is gone, whoever has noticed, until that is over. */
static void hide_client(query_context *context)
{
    conn_rec *c = context->asker->connection;

    context->is_gone |= c->aborted;
    c->aborted = 0;
}

/* Note what the head of the reply says, before the sub-request's pool goes. */
static apr_status_t take_head(const request_rec *r, query_context *context)
{
    walt_query *query = context->query;
    apr_pool_t *pool = context->asker->pool;
    const char *length = apr_table_get(r->headers_out, "Content-Length");

    context->is_answered = 1;
    boot_watch_answered(context->asker, query->file, context->began);
    query->status = r->status;
    query->headers = apr_table_clone(pool, r->headers_out);
    query->content_type = apr_pstrdup(pool, r->content_type);
    if (!length || !ap_parse_strict_length(&query->length, length))
        query->length = -1;
    return query->begin ? query->begin(query) : APR_SUCCESS;
}

static apr_status_t take_bucket(const request_rec *asker, walt_query *query,
                                apr_bucket *bucket)
{
    const char *bytes;
    apr_size_t length;
    apr_status_t rv = apr_bucket_read(bucket, &bytes, &length, APR_BLOCK_READ);

    if (rv == APR_SUCCESS && length > 0) {
        query->received += (apr_off_t)length;
        boot_watch_received(walt_vpn_request_of(asker), (apr_off_t)length);
        rv = query->take(query, bytes, length);
    }
    return rv;
}

/* Hand a brigade of the reply to the asker. */
static apr_status_t take_brigade(ap_filter_t *f, apr_bucket_brigade *bb)
{
    query_context *context = f->ctx;
    walt_query *query = context->query;
    apr_bucket *bucket;
    apr_status_t rv;

    for (bucket = APR_BRIGADE_FIRST(bb); bucket != APR_BRIGADE_SENTINEL(bb);
         bucket = APR_BUCKET_NEXT(bucket)) {
        if (AP_BUCKET_IS_ERROR(bucket)) {
            query->status = ((ap_bucket_error *)bucket->data)->status;
            return APR_EGENERAL;
        }
        if (AP_BUCKET_IS_EOC(bucket))
            return APR_EGENERAL;
        /* mod_proxy_http flushes whenever the WalT server pauses. */
        if (APR_BUCKET_IS_FLUSH(bucket) && context->state == QUERY_BODY && query->pause)
            query->pause(query);
        if (APR_BUCKET_IS_METADATA(bucket) && !APR_BUCKET_IS_EOS(bucket))
            continue;
        if (context->state == QUERY_HEAD) {
            if ((rv = take_head(f->r, context)) != APR_SUCCESS)
                return rv;
            context->state = QUERY_BODY;
        }
        if (APR_BUCKET_IS_EOS(bucket)) {
            query->whole = query->length < 0 || query->received == query->length;
            context->state = QUERY_OVER;
            return APR_SUCCESS;
        }
        if ((rv = take_bucket(context->asker, query, bucket)) != APR_SUCCESS)
            return rv;
    }
    return APR_SUCCESS;
}

static apr_status_t filter_query(ap_filter_t *f, apr_bucket_brigade *bb)
{
    query_context *context = f->ctx;
    apr_status_t rv = APR_SUCCESS;

    if (context->state != QUERY_OVER) {
        rv = take_brigade(f, bb);
        if (rv != APR_SUCCESS)
            context->state = QUERY_OVER;
    }
    apr_brigade_cleanup(bb);
    hide_client(context);
    return rv;
}

/* Let mod_proxy answer the sub-request, and note what came of it. */
static void run(request_rec *sub, query_context *context)
{
    walt_query *query = context->query;
    int status;

    /* mod_proxy leaves out a sub-request's If-Match and its like, but not these: what is asked
     * for is the whole file. */
    apr_table_unset(sub->headers_in, "Range");
    apr_table_unset(sub->headers_in, "Request-Range");
    ap_add_output_filter_handle(query_filter, context, sub, sub->connection);
    /* Not ap_run_sub_req: it would end with an EOS what a handler failed to begin, and that looks
     * like a reply without a body. */
    hide_client(context);
    status = ap_invoke_handler(sub);
    hide_client(context);
    /* A reply without a length ends when the WalT server closes; where mod_proxy sees that late, it
     * passes on no EOS. */
    if (status == OK && context->state == QUERY_BODY && query->length < 0)
        query->whole = !context->is_gone;
    /* What broke first says it best: on a connection that was kept, mod_proxy calls a reply that
     * broke off before its head an error of its own. */
    if (ap_is_HTTP_ERROR(status) && !ap_is_HTTP_ERROR(query->status))
        query->status = status;
    if (!query->whole && !ap_is_HTTP_ERROR(query->status))
        query->status = HTTP_BAD_GATEWAY;
    /* What mod_proxy itself refuses, such as "Max-Forwards: 0", says nothing of the WalT server. */
    if (!context->is_answered && ap_is_HTTP_SERVER_ERROR(query->status))
        boot_watch_unanswered(context->asker);
}

void walt_query_ask(request_rec *r, walt_query *query)
{
    walt_vpn_request *request = walt_vpn_request_of(r);
    query_context context = { query, r, QUERY_HEAD, apr_time_now(), 0, 0 };
    request_rec *sub;

    query->status = 0;
    query->whole = 0;
    query->length = -1;
    query->received = 0;
    query->headers = NULL;
    query->content_type = NULL;

    request->asked = query->rest;
    sub = ap_sub_req_method_uri("GET", apr_pstrcat(r->pool, BOOT_PREFIX, query->rest, NULL), r,
                                NULL);
    request->asked = NULL;
    if (sub->status == HTTP_OK)
        run(sub, &context);
    else
        query->status = sub->status;
    ap_destroy_sub_req(sub);
    r->connection->aborted |= context.is_gone;
}

void walt_query_register_hooks(void)
{
    /* The first filter to see what the handler gives, ahead of any that a site sets: there are some
     * that come before others of AP_FTYPE_RESOURCE. */
    query_filter = ap_register_output_filter("WALT_VPN_QUERY", filter_query, NULL,
                                             AP_FTYPE_RESOURCE - 9);
}
