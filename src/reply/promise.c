/*
 * reply/promise.c: no node sees a clean close short of Content-Length.
 *
 * The socket is set to reset on close while a reply is under way, and back to normal by the cleanup
 * of the request's pool, which httpd destroys when the last byte has been written.  So the promise
 * holds even when the process is killed.  When a process ends of its own accord, the pools go too,
 * but the connection's before the request's: then the socket stays as it is.  It begins before a
 * request is read: once that is, the kernel would end the connection cleanly.
 */
#include "reply/promise.h"

#include "http_connection.h"
#include "http_core.h"
#include "http_protocol.h"
#include "util_filter.h"

#include <sys/socket.h>

/* How many replies of a connection are under way (more than one only when pipelined). */
typedef struct {
    int unfinished;
    const request_rec *reading; /* what one of them stands for that may be another site's */
} connection_promise;

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

void promise_make(request_rec *r)
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

void promise_begin_reading(request_rec *r)
{
    connection_promise *promise;

    promise_make(r);
    promise = ap_get_module_config(r->connection->conn_config, &walt_vpn_module);
    promise->reading = r;
}

void promise_end_reading(request_rec *r)
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

void promise_reset(request_rec *r)
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

void promise_register_hooks(void)
{
    ap_hook_pre_close_connection(walt_vpn_pre_close_connection, NULL, NULL, APR_HOOK_MIDDLE);
}
