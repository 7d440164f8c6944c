/*
 * walt/query.c: asking the WalT server for a file on the entrypoint's own account.
 *
 * A question is a request that nobody sent: its record and that of a connection are made here, so
 * that mod_proxy, its worker and the administrator's settings for it serve this as they serve what
 * is relayed.  No client is part of it: not its header lines, of which some would break what others
 * wait for, not its connection, whose end would be the question's, and not its thread.  So it lives
 * in memory of its own.  Its output ends in a filter that hands it to the asker.
 */
#include "walt/query.h"
#include "ledger/waiting.h"
#include "report/watch.h"
#include "request/own_pool.h"
#include "walt/worker.h"

#include "apr_optional_hooks.h"
#include "apr_portable.h"
#include "apr_strings.h"
#include "http_core.h"
#include "http_protocol.h"
#include "http_request.h"
#include "mod_proxy.h"
#include "util_filter.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

static ap_filter_rec_t *query_filter;

/* A question under way, on the stack of its asker's thread. */
typedef struct walt_question {
    walt_query *query;
    int is_over;                /* nothing of the reply is taken any more */
    /* What other threads use, under the mutex of those that are under way. */
    int socket;                 /* a descriptor of our own for what leads to the WalT server; -1:
                                 * none yet */
    struct walt_question *next;
} walt_question;

/* The questions of this process that are under way. */
static struct {
    pthread_mutex_t mutex;
    walt_question *first;
    volatile int are_over;      /* the process ends: no answer is wanted any more */
} under_way = { PTHREAD_MUTEX_INITIALIZER, NULL, 0 };

/* ------------------------------------------------------------------ the end, from outside */

static void enter(walt_question *question)
{
    pthread_mutex_lock(&under_way.mutex);
    question->next = under_way.first;
    under_way.first = question;
    pthread_mutex_unlock(&under_way.mutex);
}

static void leave(walt_question *question)
{
    walt_question **link = &under_way.first;

    pthread_mutex_lock(&under_way.mutex);
    while (*link != question)
        link = &(*link)->next;
    *link = question->next;
    if (question->socket >= 0)
        close(question->socket);
    pthread_mutex_unlock(&under_way.mutex);
}

/* Who waits for bytes on this connection meets its end. */
static void end_connection(const walt_question *question)
{
    if (question->socket >= 0)
        (void)shutdown(question->socket, SHUT_RDWR);    /* or it has ended by itself */
}

void walt_query_end_all(void)
{
    walt_question *question;

    pthread_mutex_lock(&under_way.mutex);
    under_way.are_over = 1;
    for (question = under_way.first; question; question = question->next)
        end_connection(question);
    pthread_mutex_unlock(&under_way.mutex);
}

/*
 * mod_proxy is about to wait for the reply to r, on the connection of answer.  That is its own to
 * close, whenever it likes: what another thread may shut down is a duplicate.
 */
static int walt_vpn_create_req(request_rec *r, request_rec *answer)
{
    const walt_vpn_request *request = walt_vpn_request_of(r);
    walt_question *question = request ? request->question : NULL;
    apr_socket_t *socket = question ? ap_get_conn_socket(answer->connection) : NULL;
    apr_os_sock_t descriptor;

    if (!socket || apr_os_sock_get(&descriptor, socket) != APR_SUCCESS)
        return DECLINED;
    question->query->sent = waiting_clock();
    pthread_mutex_lock(&under_way.mutex);
    if (question->socket >= 0)
        close(question->socket);
    question->socket = fcntl(descriptor, F_DUPFD_CLOEXEC, 0);
    if (under_way.are_over)
        end_connection(question);
    pthread_mutex_unlock(&under_way.mutex);
    return DECLINED;
}

/* ------------------------------------------------------------------ the answer */

/* Note what the head of the reply says, before the question's memory goes. */
static apr_status_t take_head(const request_rec *r, walt_question *question)
{
    walt_query *query = question->query;
    const char *length = apr_table_get(r->headers_out, "Content-Length");

    boot_watch_answered(query->entrypoint, walt_vpn_request_of(r)->boot.file, r->request_time);
    query->status = r->status;
    query->headers = apr_table_clone(query->pool, r->headers_out);
    query->content_type = apr_pstrdup(query->pool, r->content_type);
    if (!length || !ap_parse_strict_length(&query->length, length))
        query->length = -1;
    return query->begin ? query->begin(query) : APR_SUCCESS;
}

static apr_status_t take_bucket(walt_query *query, apr_bucket *bucket)
{
    const char *bytes;
    apr_size_t length;
    apr_status_t rv = apr_bucket_read(bucket, &bytes, &length, APR_BLOCK_READ);

    if (rv == APR_SUCCESS && length > 0) {
        query->received += (apr_off_t)length;
        boot_watch_received(query->entrypoint, (apr_off_t)length);
        rv = query->take(query, bytes, length);
    }
    return rv;
}

/* Hand a brigade of the reply to the asker. */
static apr_status_t take_brigade(ap_filter_t *f, apr_bucket_brigade *bb)
{
    walt_question *question = f->ctx;
    walt_query *query = question->query;
    apr_bucket *bucket;
    apr_status_t rv;

    for (bucket = APR_BRIGADE_FIRST(bb); bucket != APR_BRIGADE_SENTINEL(bb);
         bucket = APR_BUCKET_NEXT(bucket)) {
        if (AP_BUCKET_IS_ERROR(bucket)) {
            query->status = ((ap_bucket_error *)bucket->data)->status;
            return APR_EGENERAL;
        }
        /* mod_proxy_http flushes whenever the WalT server pauses. */
        if (APR_BUCKET_IS_FLUSH(bucket) && query->headers && query->pause)
            query->pause(query);
        if (APR_BUCKET_IS_METADATA(bucket) && !APR_BUCKET_IS_EOS(bucket))
            continue;
        if (!query->headers && (rv = take_head(f->r, question)) != APR_SUCCESS)
            return rv;
        if (APR_BUCKET_IS_EOS(bucket)) {
            query->whole = query->length < 0 || query->received == query->length;
            question->is_over = 1;
            return APR_SUCCESS;
        }
        if ((rv = take_bucket(query, bucket)) != APR_SUCCESS)
            return rv;
    }
    return APR_SUCCESS;
}

static apr_status_t filter_query(ap_filter_t *f, apr_bucket_brigade *bb)
{
    walt_question *question = f->ctx;
    apr_status_t rv = APR_SUCCESS;

    if (!question->is_over) {
        rv = under_way.are_over ? APR_ECONNABORTED : take_brigade(f, bb);
        question->is_over |= rv != APR_SUCCESS;
    }
    apr_brigade_cleanup(bb);
    return rv;
}

/* ------------------------------------------------------------------ the question */

/*
 * Make the record of a connection that is none: from whom the question is asked for to the
 * entrypoint.  It has no socket, and no place in the scoreboard.  NULL: it can't be made.
 */
static conn_rec *make_connection(apr_pool_t *pool, const walt_query *query)
{
    conn_rec *c = apr_pcalloc(pool, sizeof(*c));

    c->pool = pool;
    c->base_server = (server_rec *)query->entrypoint->server;
    c->bucket_alloc = apr_bucket_alloc_create(pool);
    c->conn_config = ap_create_conn_config(pool);
    c->notes = apr_table_make(pool, 5);
    c->keepalive = AP_CONN_CLOSE;
    c->outgoing = 1;            /* for modules that would take it for a client's */
    c->local_ip = "127.0.0.1";
    /* A copy, because a lookup of the client's name writes into it. */
    return apr_sockaddr_info_get(&c->local_addr, c->local_ip, APR_INET, 0, 0, pool) == APR_SUCCESS
           && apr_sockaddr_info_copy(&c->client_addr, query->client_addr, pool) == APR_SUCCESS
           && apr_sockaddr_ip_get(&c->client_ip, c->client_addr) == APR_SUCCESS ? c : NULL;
}

/* Its record says what it is to every hook of ours that meets it. */
static void make_record(request_rec *r, walt_question *question)
{
    walt_vpn_request *request = walt_vpn_request_make(r);

    request->entrypoint = question->query->entrypoint;
    request->rest = question->query->rest;
    request->question = question;
    boot_request_judge(&request->boot, request->rest, NULL);
    boot_watch_judged(r);
}

/* Make the record of the request, as httpd makes that of one that it reads. */
static request_rec *make_request(conn_rec *c, walt_question *question)
{
    const walt_query *query = question->query;
    request_rec *r = ap_create_request(c);

    r->request_time = apr_time_now();
    r->method = "GET";
    r->method_number = M_GET;
    r->protocol = "HTTP/1.1";
    r->proto_num = HTTP_VERSION(1, 1);
    r->uri = apr_pstrcat(r->pool, BOOT_PREFIX, query->rest, NULL);
    r->unparsed_uri = apr_pstrdup(r->pool, r->uri);
    r->parsed_uri.path = apr_pstrdup(r->pool, r->uri);
    r->the_request = apr_pstrcat(r->pool, r->method, " ", r->uri, " ", r->protocol, NULL);
    r->hostname = r->server->server_hostname;
    apr_table_setn(r->headers_in, "Host", r->hostname);
    if (query->from > 0)
        apr_table_setn(r->headers_in, "Range",
                       apr_psprintf(r->pool, "bytes=%" APR_OFF_T_FMT "-", query->from));
    if (query->if_range)
        apr_table_setn(r->headers_in, "If-Range", query->if_range);
    /* Instead of those that httpd's core gave it, which would write the reply to a client. */
    r->output_filters = r->proto_output_filters = NULL;
    ap_add_output_filter_handle(query_filter, question, r, c);
    /* mod_proxy reads the body of any request that is no sub-request: this says there is none. */
    ap_add_input_filter("HTTP_IN", NULL, r, c);
    make_record(r, question);
    return r;
}

/*
 * Find what the configuration says of such a request, as ap_process_request_internal() does.  Only
 * access control is left out: it is for clients, and one was let in before anything was asked.
 */
static int configure(request_rec *r)
{
    const core_dir_config *core;
    int status = ap_run_map_to_storage(r);      /* mod_proxy's, which finds <Proxy> */

    if (status == OK)
        status = ap_location_walk(r);
    if (status == OK)
        status = ap_if_walk(r);
    if (status != OK)
        return status;
    core = ap_get_core_module_config(r->per_dir_config);
    if (core->log)
        r->log = core->log;
    status = ap_run_post_perdir_config(r);
    return status == OK ? ap_run_fixups(r) : status;
}

/* Let mod_proxy answer.  Returns what it does. */
static int run(request_rec *r, const walt_query *query)
{
    int status;

    walt_worker_take(r, query->entrypoint, 1, query->rest, NULL);
    /* What is left to be reused might be reused already when it is interrupted. */
    apr_table_setn(r->subprocess_env, "proxy-nokeepalive", "1");
    if ((status = configure(r)) != OK)
        return status;
    /* To make a tunnel mod_proxy would need the client's socket. */
    apr_table_unset(r->headers_in, "Upgrade");
    status = ap_run_handler(r);
    return status == DECLINED ? HTTP_INTERNAL_SERVER_ERROR : status;
}

/* Note what came of it, when mod_proxy is done. */
static void conclude(const request_rec *r, walt_question *question, int status)
{
    walt_query *query = question->query;
    int is_ended = under_way.are_over;

    /* A reply without a length ends when the WalT server closes; where mod_proxy sees that late, it
     * passes on no EOS. */
    if (status == OK && query->headers && !question->is_over && query->length < 0)
        query->whole = !is_ended;
    if (ap_is_HTTP_ERROR(status) && !ap_is_HTTP_ERROR(query->status))
        query->status = status;
    if (!query->whole && !ap_is_HTTP_ERROR(query->status))
        query->status = HTTP_BAD_GATEWAY;
    query->reason = apr_pstrdup(query->pool, apr_table_get(r->subprocess_env, "WALT_VPN_REASON"));
    /* What mod_proxy itself refuses says nothing of the WalT server. */
    if (!query->headers && !is_ended && ap_is_HTTP_SERVER_ERROR(query->status))
        boot_watch_unanswered(query->entrypoint);
}

/* Ask, in memory of its own: no thread but this one knows the pool. */
static void ask(walt_question *question)
{
    walt_query *query = question->query;
    apr_pool_t *pool;
    conn_rec *c;

    if (own_pool_make(&pool, "walt_query") != APR_SUCCESS)
        return;
    if ((c = make_connection(pool, query))) {
        request_rec *r = make_request(c, question);

        conclude(r, question, run(r, query));
    }
    apr_pool_destroy(pool);
}

void walt_query_ask(walt_query *query)
{
    walt_question question = { .query = query, .socket = -1 };

    query->status = 0;
    query->whole = 0;
    query->length = -1;
    query->received = 0;
    query->headers = NULL;
    query->content_type = NULL;
    query->sent = waiting_clock();
    query->reason = NULL;
    enter(&question);
    if (!under_way.are_over)
        ask(&question);
    leave(&question);
    if (query->status == 0)     /* it was not even begun */
        query->status = HTTP_BAD_GATEWAY;
}

void walt_query_register_hooks(void)
{
    query_filter = ap_register_output_filter("WALT_VPN_QUERY", filter_query, NULL,
                                             AP_FTYPE_RESOURCE);
    /* Optional, because mod_proxy may be missing: then configtest says so (site/directives.c). */
    APR_OPTIONAL_HOOK(proxy, create_req, walt_vpn_create_req, NULL, NULL, APR_HOOK_MIDDLE);
}
