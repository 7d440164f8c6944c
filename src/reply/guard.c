/*
 * reply/guard.c: the promises that every reply to a node keeps.
 *
 * 1. No clean close short of Content-Length: the socket is set to reset on close while a reply is
 *    under way, and back to normal by the cleanup of the request's pool, which httpd destroys when
 *    the last byte has been written.  So the promise holds even when the process is killed.  When
 *    a process ends of its own accord, the pools go too, but the connection's before the
 *    request's: then the socket stays as it is.  It begins before a request is read: once that is,
 *    the kernel would end the connection cleanly.
 * 2. A relayed reply (filter WALT_VPN_RELAY) is counted; one that breaks off resets the
 *    connection, and one of up to 64 KiB is held until it is whole, so that it becomes a 502.
 * 3. A resumed download of a relayed file gets a 206 with the rest: the WalT server ignores Range,
 *    and its 200 would be appended to what the node holds (facts.md 1, 2).
 * 4. The files that firmware reads have one Content-Length, no coding, and no header line that
 *    overruns its parser, whatever filters and headers the site configures
 *    (filter WALT_VPN_HEADERS).
 */
#include "reply/guard.h"
#include "ledger/troubles.h"
#include "report/watch.h"

#include "apr_strings.h"
#include "http_connection.h"
#include "http_core.h"
#include "http_protocol.h"
#include "http_request.h"
#include "util_filter.h"

#include <sys/socket.h>

/* A relayed reply of up to this many bytes is held until it is whole. */
#define HOLD_MAX (64 * 1024)

/* Longest header line, in bytes without its CRLF: older firmware's parser wedges at 200. */
#define HEADER_LINE_MAX 199

static ap_filter_rec_t *relay_filter, *headers_filter;

/* How many replies of a connection are under way (more than one only when pipelined). */
typedef struct {
    int unfinished;
    const request_rec *reading; /* what one of them stands for that may be another site's */
} connection_promise;

/* ------------------------------------------------------------------ no clean close */

/* Make close(2) on the connection's socket a reset (on) or what it normally is. */
static void set_reset_on_close(conn_rec *c, int on)
{
    struct linger linger = { on, 0 };
    apr_socket_t *socket = c->master ? NULL : ap_get_conn_socket(c);
    apr_os_sock_t descriptor;

    /* Only ever makes the close harsher than asked, so a failure is not worth a word. */
    if (socket && apr_os_sock_get(&descriptor, socket) == APR_SUCCESS)
        (void)setsockopt(descriptor, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
}

/* The connection's pool goes, and with it that of a request whose last byte is not written. */
static apr_status_t give_up(void *data)
{
    conn_rec *c = data;
    const connection_promise *promise = ap_get_module_config(c->conn_config, &walt_vpn_module);

    if (promise->unfinished)
        c->aborted = 1;
    return APR_SUCCESS;
}

/* The request's pool goes: its last byte is written, or the connection was given up. */
static apr_status_t keep_promise(void *data)
{
    conn_rec *c = data;
    connection_promise *promise = ap_get_module_config(c->conn_config, &walt_vpn_module);

    if (--promise->unfinished == 0 && !c->aborted)
        set_reset_on_close(c, 0);
    return APR_SUCCESS;
}

void reply_guard_promise(request_rec *r)
{
    conn_rec *c = r->connection;
    connection_promise *promise = ap_get_module_config(c->conn_config, &walt_vpn_module);

    if (!promise) {
        promise = apr_pcalloc(c->pool, sizeof(*promise));
        ap_set_module_config(c->conn_config, &walt_vpn_module, promise);
        /* Before its children go, which is when keep_promise runs at the latest. */
        apr_pool_pre_cleanup_register(c->pool, c, give_up);
    }
    if (promise->unfinished++ == 0)
        set_reset_on_close(c, 1);
    apr_pool_cleanup_register(r->pool, c, keep_promise, apr_pool_cleanup_null);
}

void reply_guard_begin_reading(request_rec *r)
{
    connection_promise *promise;

    reply_guard_promise(r);
    promise = ap_get_module_config(r->connection->conn_config, &walt_vpn_module);
    promise->reading = r;
}

void reply_guard_end_reading(request_rec *r)
{
    conn_rec *c = r->connection;
    connection_promise *promise = ap_get_module_config(c->conn_config, &walt_vpn_module);

    if (!promise || promise->reading != r)
        return;
    promise->reading = NULL;
    apr_pool_cleanup_run(r->pool, c, keep_promise);
}

/* Hand the kernel what httpd still holds of a reply, as much as it takes without waiting. */
static void send_rest(conn_rec *c)
{
    apr_socket_t *socket = ap_get_conn_socket(c);
    apr_interval_time_t timeout = -1;
    apr_bucket_brigade *bb;

    if (!socket)
        return;
    bb = apr_brigade_create(c->pool, c->bucket_alloc);
    APR_BRIGADE_INSERT_TAIL(bb, apr_bucket_flush_create(c->bucket_alloc));
    (void)apr_socket_timeout_get(socket, &timeout);
    (void)apr_socket_timeout_set(socket, 0);
    (void)ap_pass_brigade(c->output_filters, bb);       /* the caller sees whether it was all */
    (void)apr_socket_timeout_set(socket, timeout);
    apr_brigade_destroy(bb);
}

/*
 * Before its lingering close httpd would shut the socket down, which is a clean end too.  A reply
 * that only waits to be flushed (an error that was met while the request was read) is not broken.
 */
static int walt_vpn_pre_close_connection(conn_rec *c)
{
    const connection_promise *promise = ap_get_module_config(c->conn_config, &walt_vpn_module);

    if (promise && promise->unfinished && !c->aborted && !c->master)
        send_rest(c);
    if (promise && promise->unfinished)
        c->aborted = 1;
    return OK;
}

/* The reset itself, for a reply that can't be completed. */
static void reset(request_rec *r)
{
    conn_rec *c = r->connection;
    apr_bucket_brigade *bb;

    c->keepalive = AP_CONN_CLOSE;
    if (!c->master) {
        c->aborted = 1;
        return;
    }
    /* A stream of HTTP/2 has no socket.  mod_http2 resets it for this, and else leaves it open. */
    bb = apr_brigade_create(r->pool, c->bucket_alloc);
    APR_BRIGADE_INSERT_TAIL(bb, ap_bucket_error_create(HTTP_BAD_GATEWAY, NULL, r->pool,
                                                       c->bucket_alloc));
    APR_BRIGADE_INSERT_TAIL(bb, apr_bucket_eos_create(c->bucket_alloc));
    (void)ap_pass_brigade(r->proto_output_filters, bb);
}

void reply_guard_reset_now(request_rec *r)
{
    struct sockaddr nobody = { .sa_family = AF_UNSPEC };
    apr_socket_t *socket = r->connection->master ? NULL : ap_get_conn_socket(r->connection);
    apr_os_sock_t descriptor;

    /* A TCP socket that is taken away from its peer tells it so with a reset. */
    if (socket && apr_os_sock_get(&descriptor, socket) == APR_SUCCESS)
        (void)connect(descriptor, &nobody, sizeof(nobody));
    reset(r);
}

/* ------------------------------------------------------------------ errors */

void reply_guard_own_errors(request_rec *r)
{
    static const struct {
        int status;
        const char *text;
    } errors[] = {
        { HTTP_BAD_REQUEST, "Bad request.\n" },
        { HTTP_FORBIDDEN, "Forbidden.\n" },
        { HTTP_NOT_FOUND, "Not found.\n" },
        { HTTP_METHOD_NOT_ALLOWED, "Method not allowed.\n" },
        { HTTP_REQUEST_ENTITY_TOO_LARGE, "The request body is too large.\n" },
        { HTTP_RANGE_NOT_SATISFIABLE, "The file ends before this range.\n" },
        { HTTP_INTERNAL_SERVER_ERROR, "Internal error.\n" },
        { HTTP_NOT_IMPLEMENTED, "Not implemented.\n" },
        { HTTP_BAD_GATEWAY, "The WalT server's reply was broken.\n" },
        { HTTP_SERVICE_UNAVAILABLE, "The WalT server can't be reached.\n" },
        { HTTP_GATEWAY_TIME_OUT, "The WalT server did not answer in time.\n" }
    };
    int unnamed = ap_index_of_response(HTTP_INTERNAL_SERVER_ERROR);     /* as httpd takes others */
    apr_size_t i;
    int status;

    /* Whatever a module says, no document of the site stands for it: that may be a redirect. */
    for (status = HTTP_BAD_REQUEST; status <= HTTP_NETWORK_AUTHENTICATION_REQUIRED; status++) {
        if (ap_index_of_response(status) != unnamed)
            ap_custom_response(r, status, "Error.\n");
    }
    for (i = 0; i < sizeof(errors) / sizeof(errors[0]); i++)
        ap_custom_response(r, errors[i].status, errors[i].text);
}

/* ------------------------------------------------------------------ headers */

/* Does a reply of this status send its reader elsewhere? */
static int is_redirect(int status)
{
    return ap_is_HTTP_REDIRECT(status) && status != HTTP_NOT_MODIFIED;
}

/* Is the reply to this request one that firmware reads?  What was refused may be a node's,
 * misspelt. */
static int is_for_firmware(const walt_vpn_request *request)
{
    return request->boot.file == BOOT_FILE_SIG || request->boot.file == BOOT_FILE_IMG
           || request->boot.fault;
}

static int find_long_line(void *data, const char *name, const char *value)
{
    apr_array_header_t *long_lines = data;      /* the names of those found */

    if (strlen(name) + strlen(": ") + strlen(value) > HEADER_LINE_MAX)
        APR_ARRAY_PUSH(long_lines, const char *) = name;
    return 1;
}

static void drop_long_lines(request_rec *r, apr_table_t *headers)
{
    apr_array_header_t *long_lines = apr_array_make(r->pool, 2, sizeof(const char *));
    int i;

    apr_table_do(find_long_line, long_lines, headers, NULL);
    for (i = 0; i < long_lines->nelts; i++) {
        const char *name = APR_ARRAY_IDX(long_lines, i, const char *);

        if (!troubles_met_before(apr_pstrcat(r->pool, "header ", name, NULL), 0))
            ap_log_rerror(APLOG_MARK, APLOG_WARNING, 0, r, "header %s: line of 200 bytes or more "
                          "is left out of replies to nodes, whose firmware can't read it", name);
        apr_table_unset(headers, name);
    }
}

/* Leave no length and no coding but what the body has, whatever the site says about them. */
static void tidy_framing(request_rec *r)
{
    static const char *const names[] = { "Content-Length", "Content-Encoding",
                                         "Transfer-Encoding" };
    apr_size_t i;

    for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        apr_table_unset(r->headers_out, names[i]);
        apr_table_unset(r->err_headers_out, names[i]);
    }
    /* An empty or an error reply comes in one brigade: httpd's own filter counts that. */
    if (r->clength > 0)
        ap_set_content_length(r, r->clength);
}

/* Leave nothing in the head of this reply that firmware trips over. */
static void tidy_headers(request_rec *r)
{
    tidy_framing(r);
    /* httpd's own list would name TRACE, which is refused as well. */
    if (r->status == HTTP_METHOD_NOT_ALLOWED
        && walt_vpn_request_of(r)->answer == WALT_VPN_REFUSED)
        apr_table_setn(r->headers_out, "Allow", "GET, HEAD");
    drop_long_lines(r, r->headers_out);
    drop_long_lines(r, r->err_headers_out);
    if (r->status_line && strlen("HTTP/1.1 ") + strlen(r->status_line) > HEADER_LINE_MAX)
        r->status_line = NULL;
    if (r->content_type && strlen("Content-Type: ") + strlen(r->content_type) > HEADER_LINE_MAX)
        r->content_type = "application/octet-stream";
    r->content_languages = NULL;
    /* httpd writes its own Server line, of any length, behind all filters, unless the request is
     * a proxied one that has a line already. */
    if (!apr_table_get(r->headers_out, "Server")
        && strlen("Server: ") + strlen(ap_get_server_banner()) > HEADER_LINE_MAX) {
        r->proxyreq = PROXYREQ_REVERSE;
        apr_table_setn(r->headers_out, "Server", AP_SERVER_BASEPRODUCT);
    }
}

/* Tidies the head of the reply when it first passes, then leaves the chain. */
static apr_status_t filter_headers(ap_filter_t *f, apr_bucket_brigade *bb)
{
    ap_filter_t *next = f->next;

    tidy_headers(f->r);
    ap_remove_output_filter(f);
    return ap_pass_brigade(next, bb);
}

/* ------------------------------------------------------------------ resumed downloads */

int reply_guard_resume(request_rec *r, apr_off_t length)
{
    apr_off_t from = walt_vpn_request_of(r)->resume_from;

    if (from >= length) {
        apr_table_setn(r->err_headers_out, "Content-Range",
                       apr_psprintf(r->pool, "bytes */%" APR_OFF_T_FMT, length));
        return HTTP_RANGE_NOT_SATISFIABLE;
    }
    r->status = HTTP_PARTIAL_CONTENT;
    r->status_line = NULL;
    apr_table_setn(r->headers_out, "Content-Range",
                   apr_psprintf(r->pool, "bytes %" APR_OFF_T_FMT "-%" APR_OFF_T_FMT "/%"
                                APR_OFF_T_FMT, from, length - 1, length));
    ap_set_content_length(r, length - from);
    return OK;
}

int reply_guard_error(const walt_vpn_request *request, int status)
{
    return is_for_firmware(request) && request->resume_from > 0
           && status != HTTP_RANGE_NOT_SATISFIABLE ? HTTP_NOT_FOUND : status;
}

/* ------------------------------------------------------------------ relayed replies */

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
    apr_off_t skip;             /* bytes of it that the node holds and is not sent again */
    apr_bucket_brigade *held;   /* in r->pool */
} relay;

/*
 * Replace what was to be the reply by an error; only as long as its head has not been sent.  Not
 * by an error bucket: the content-length filter would count that as the body, and the text of the
 * error would go out chunked.
 */
static apr_status_t fail_relay(ap_filter_t *f, relay *state, int status)
{
    status = reply_guard_error(walt_vpn_request_of(f->r), status);
    state->state = RELAY_OVER;
    apr_brigade_cleanup(state->held);
    ap_die(status, f->r);
    walt_vpn_request_of(f->r)->replaced_by = status;
    return AP_FILTER_ERROR;
}

/* The WalT server broke off: a 502 while there is time, else the reset that a node understands. */
static apr_status_t break_relay(ap_filter_t *f, relay *state)
{
    if (state->state != RELAY_STREAMING)
        return fail_relay(f, state, HTTP_BAD_GATEWAY);
    state->state = RELAY_OVER;
    if (f->c->aborted)          /* it is the client that has gone, and mod_proxy ends the reply */
        return APR_ECONNABORTED;
    boot_watch_answer(f->r, WALT_VPN_FAILED, "the WalT server broke off");
    ap_log_rerror(APLOG_MARK, APLOG_INFO, 0, f->r, "the WalT server broke off after %"
                  APR_OFF_T_FMT " of %" APR_OFF_T_FMT " bytes: the connection is reset",
                  state->received, state->length);
    reset(f->r);
    return APR_ECONNABORTED;
}

/* Pass on what is to go out.  Without a client the relay is over; the WalT server is not to
 * blame. */
static apr_status_t pass_relayed(ap_filter_t *f, relay *state, apr_bucket_brigade *bb)
{
    apr_status_t rv = ap_pass_brigade(f->next, bb);

    if (rv != APR_SUCCESS && state->state == RELAY_STREAMING) {
        state->state = RELAY_OVER;
        if (!f->c->aborted)
            reset(f->r);
    }
    return rv;
}

/*
 * Is what answers a resumed download neither its rest nor the whole file, of this length (-1: it
 * has none), from which that can be cut?  The node would append it.  Errors are looked at apart.
 */
static int is_no_rest(const request_rec *r, const walt_vpn_request *request, apr_off_t length)
{
    if (!is_for_firmware(request) || request->resume_from == 0 || r->header_only)
        return 0;
    if (r->status == HTTP_OK)
        return length < 0;
    return r->status != HTTP_PARTIAL_CONTENT && r->status != HTTP_NOT_MODIFIED
           && !ap_is_HTTP_ERROR(r->status);
}

/* Read the head that mod_proxy_http left in r and decide how to relay the body. */
static apr_status_t begin_relay(ap_filter_t *f, relay *state, const walt_vpn_request *request)
{
    request_rec *r = f->r;
    const char *length = apr_table_get(r->headers_out, "Content-Length");

    state->held = apr_brigade_create(r->pool, f->c->bucket_alloc);
    state->length = -1;
    if (is_for_firmware(request) && is_redirect(r->status)) {
        boot_watch_answer(r, WALT_VPN_FAILED, "the WalT server redirects");
        return HTTP_BAD_GATEWAY;
    }
    if (ap_is_HTTP_ERROR(r->status) && reply_guard_error(request, r->status) != r->status) {
        boot_watch_answer(r, WALT_VPN_FAILED, "the WalT server reports an error");
        return r->status;
    }
    if (length && !ap_parse_strict_length(&state->length, length))
        state->length = -1;
    if (is_no_rest(r, request, state->length)) {
        boot_watch_answer(r, WALT_VPN_FAILED, "what answers is not the rest of the file");
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
        return APR_SUCCESS;
    }
    if (request->resume_from > 0 && r->status == HTTP_OK && state->length >= 0) {
        int status = reply_guard_resume(r, state->length);

        if (status != OK)
            return status;
        state->skip = request->resume_from;
    }
    state->state = state->length <= HOLD_MAX ? RELAY_HOLDING : RELAY_STREAMING;
    return APR_SUCCESS;
}

/* Count a data bucket, and drop what the node holds already. */
static apr_status_t count_bucket(relay *state, const walt_vpn_request *request,
                                 apr_bucket *bucket)
{
    const char *data;
    apr_size_t length = bucket->length;
    apr_status_t rv;

    if (length == (apr_size_t)-1
        && (rv = apr_bucket_read(bucket, &data, &length, APR_BLOCK_READ)) != APR_SUCCESS)
        return rv;
    state->received += (apr_off_t)length;
    if (request->boot.file != BOOT_FILE_SIG)        /* counted when it was asked for */
        boot_watch_received(request, (apr_off_t)length);
    if (state->skip > 0) {
        if (state->skip < (apr_off_t)length) {
            apr_bucket_split(bucket, (apr_size_t)state->skip);
            length = (apr_size_t)state->skip;
        }
        state->skip -= (apr_off_t)length;
        apr_bucket_delete(bucket);
    }
    return APR_SUCCESS;
}

/*
 * Walk a brigade of the relayed body.  Returns APR_SUCCESS, or APR_EGENERAL when the WalT server
 * broke off; *ended says that the reply is whole.
 */
static apr_status_t walk_brigade(relay *state, const walt_vpn_request *request,
                                 apr_bucket_brigade *bb, int *ended)
{
    apr_bucket *bucket, *next;

    for (bucket = APR_BRIGADE_FIRST(bb); bucket != APR_BRIGADE_SENTINEL(bb); bucket = next) {
        next = APR_BUCKET_NEXT(bucket);
        if (AP_BUCKET_IS_ERROR(bucket) || AP_BUCKET_IS_EOC(bucket))
            return APR_EGENERAL;
        if (APR_BUCKET_IS_EOS(bucket)) {
            if (state->length >= 0 && state->received < state->length)
                return APR_EGENERAL;
            *ended = 1;
            return APR_SUCCESS;
        }
        if (APR_BUCKET_IS_METADATA(bucket)) {
            /* mod_proxy_http flushes whenever the WalT server pauses; what is held stays. */
            if (state->state == RELAY_HOLDING && APR_BUCKET_IS_FLUSH(bucket))
                apr_bucket_delete(bucket);
            continue;
        }
        if (count_bucket(state, request, bucket) != APR_SUCCESS)
            return APR_EGENERAL;
    }
    return APR_SUCCESS;
}

/*
 * A reply that is held has come whole, or is too large to be held on: pass it on.  Without a
 * Content-Length a node drops the data: it gets one, or an error.
 */
static apr_status_t release(ap_filter_t *f, relay *state, const walt_vpn_request *request,
                            int ended)
{
    if (state->length < 0 && is_for_firmware(request)) {
        if (!ended)
            return fail_relay(f, state, HTTP_BAD_GATEWAY);
        ap_set_content_length(f->r, state->received);
    }
    state->state = ended ? RELAY_OVER : RELAY_STREAMING;
    return pass_relayed(f, state, state->held);
}

static apr_status_t filter_relay(ap_filter_t *f, apr_bucket_brigade *bb)
{
    const walt_vpn_request *request = walt_vpn_request_of(f->r);
    relay *state = f->ctx;
    apr_status_t rv;
    int ended = 0;

    if (!state)
        state = f->ctx = apr_pcalloc(f->r->pool, sizeof(*state));
    if (state->state == RELAY_OVER) {
        apr_brigade_cleanup(bb);
        return f->c->aborted ? APR_ECONNABORTED : APR_SUCCESS;
    }
    if (state->state == RELAY_NEW && !APR_BRIGADE_EMPTY(bb)) {
        int status = begin_relay(f, state, request);

        if (status != APR_SUCCESS) {
            apr_brigade_cleanup(bb);
            return fail_relay(f, state, status);
        }
    }
    if (walk_brigade(state, request, bb, &ended) != APR_SUCCESS) {
        apr_brigade_cleanup(bb);
        return break_relay(f, state);
    }
    boot_watch_relayed(f->r);
    if (state->state == RELAY_HOLDING) {
        rv = ap_save_brigade(f, &state->held, &bb, f->r->pool);
        if (rv != APR_SUCCESS)
            return fail_relay(f, state, HTTP_INTERNAL_SERVER_ERROR);
        if (!ended && state->received <= HOLD_MAX)
            return APR_SUCCESS;
        return release(f, state, request, ended);
    }
    if (ended)
        state->state = RELAY_OVER;
    return pass_relayed(f, state, bb);
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
        if (f->frec != relay_filter && f->frec != headers_filter
            && ap_cstr_casecmp(f->frec->name, "FIXUP_HEADERS_OUT") != 0
            && ap_cstr_casecmp(f->frec->name, "FIXUP_HEADERS_ERR") != 0)
            ap_remove_output_filter(f);
    }
}

void reply_guard_is_local(request_rec *r)
{
    ap_filter_t *f;

    for (f = r->output_filters; f; f = f->next) {
        if (f->frec == relay_filter) {
            ap_remove_output_filter(f);
            return;
        }
    }
}

int reply_guard_give_up(request_rec *r, int begun)
{
    /* What ends the request passes its end on, which is not to be read as a relayed reply. */
    reply_guard_is_local(r);
    if (!begun)
        r->status = HTTP_GATEWAY_TIME_OUT;
    reset(r);
    return DONE;
}

static void walt_vpn_insert_filter(request_rec *r)
{
    const walt_vpn_request *request = walt_vpn_request_of(r);

    if (!request)
        return;
    ap_add_output_filter_handle(relay_filter, NULL, r, r->connection);
    /* The setup check compares what it gets, too, to the byte (facts.md 3). */
    if (is_for_firmware(request) || request->boot.file == BOOT_FILE_SERVER)
        drop_content_filters(r);
    if (is_for_firmware(request))
        ap_add_output_filter_handle(headers_filter, NULL, r, r->connection);
}

/*
 * An error is about to be sent.  When one was sent already in place of a broken reply, this is what
 * mod_proxy says of it afterwards: it would follow the first one on a connection that was kept.
 */
static void walt_vpn_insert_error_filter(request_rec *r)
{
    const walt_vpn_request *request = walt_vpn_request_of(r);

    if (!request)
        return;
    if (request->replaced_by) {
        relay *state = apr_pcalloc(r->pool, sizeof(*state));

        state->state = RELAY_OVER;
        ap_add_output_filter_handle(relay_filter, state, r, r->connection);
        r->status = request->replaced_by;       /* for the log */
    }
    ap_add_output_filter_handle(headers_filter, NULL, r, r->connection);
}

void reply_guard_register_hooks(void)
{
    /* Before DEFLATE and its like (AP_FTYPE_CONTENT_SET), to count what the WalT server sent.
     * SUBSTITUTE and INCLUDES, of this type, come before it and take the length away: then the
     * reply is held, and counted when it is whole. */
    relay_filter = ap_register_output_filter("WALT_VPN_RELAY", filter_relay, NULL,
                                             AP_FTYPE_RESOURCE);
    /* Behind mod_headers (AP_FTYPE_CONTENT_SET), before the byterange filter and the one that
     * writes the head (AP_FTYPE_PROTOCOL). */
    headers_filter = ap_register_output_filter("WALT_VPN_HEADERS", filter_headers, NULL,
                                               AP_FTYPE_PROTOCOL - 1);
    /* Last, to see what all others inserted. */
    ap_hook_insert_filter(walt_vpn_insert_filter, NULL, NULL, APR_HOOK_REALLY_LAST);
    ap_hook_insert_error_filter(walt_vpn_insert_error_filter, NULL, NULL, APR_HOOK_REALLY_LAST);
    ap_hook_pre_close_connection(walt_vpn_pre_close_connection, NULL, NULL, APR_HOOK_MIDDLE);
}
