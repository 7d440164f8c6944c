/*
 * boot/feeder.c: nodes that are sent an image while it is fetched, without a thread each.
 *
 * A fetch over a slow link lasts minutes, and a whole fleet may wait for its bytes.  With the event
 * MPM a request can be suspended: the MPM lets go of the connection, and its thread is free.  One
 * thread of the process, the feeder, which lives as long as there is something to feed, then
 * advances all of these senders and does what is left to do for their connections, to the end:
 * httpd 2.4 knows no way to give one back.
 *
 * The MPM still counts a suspended connection, so a process that is to end gracefully waits for it;
 * the count goes down when the connection's pool is destroyed.  Where the MPM can't suspend, a
 * sender stays in its thread (image_sender_stay).
 */
#include "boot/feeder.h"
#include "ledger/waiting.h"
#include "request/times.h"

#include "apr_poll.h"
#include "apr_thread_mutex.h"
#include "apr_thread_proc.h"
#include "ap_mpm.h"
#include "http_connection.h"
#include "http_core.h"
#include "http_protocol.h"
#include "http_request.h"
#include "mpm_common.h"

/* Reads of a lingering connection at a time: others are to be fed, however much a client sends. */
#define LINGER_READS 16

/*
 * The MPM's thread says that it has suspended a connection a few instructions before it is done
 * with it, and nothing tells when those are over: the connection's memory stays for so long.
 */
#define SUSPENDING_TIME apr_time_from_sec(2)

typedef enum {
    FED_SENDING,                /* the image is not passed on whole yet */
    FED_FLUSHING,               /* the request is over but for what the node has yet to take */
    FED_LINGERING,              /* that too; the node is to close the connection */
    FED_CLOSED                  /* only the memory is left */
} fed_state;

/* A connection that is fed.  In its pool. */
typedef struct {
    conn_rec *c;
    apr_socket_t *socket;
    ap_sb_handle_t *sbh;        /* its place on the scoreboard, for what is counted and logged */
    image_sender *sender;       /* valid while FED_SENDING */
    apr_interval_time_t timeout;        /* that of the server, for a node that takes nothing */
    fed_state state;
    int holds;                  /* the node does not take all that it could have */
    int takes;                  /* but it does now */
    apr_time_t suspended;
    apr_time_t moved;           /* when the node took something last, or the state began */
} fed;

/* All that are fed, and the thread; guarded by mutex, but for what the thread itself is at. */
static struct {
    apr_pool_t *pool;           /* of this; NULL: there can be no feeder */
    apr_pool_t *thread_pool;    /* of the thread, and cleared for the next one */
    apr_thread_mutex_t *mutex;
    apr_array_header_t *arrivals;       /* fed *, new ones */
    apr_thread_t *thread;       /* the last one that was started */
    int running;                /* it is not about to end */
    int stopping;
} feeder;

static const char key[] = "walt_vpn fed connection";

/* ------------------------------------------------------------------ the end of a request */

/* The request has passed all it had, or is given up: log it when its last byte is written. */
static void end_request(fed *one)
{
    request_rec *r = one->sender->r;

    one->sender = NULL;
    one->c->sbh = one->sbh;
    ap_finalize_request_protocol(r);
    ap_process_request_after_handler(r);
    one->c->sbh = NULL;
    one->c->cs->state = CONN_STATE_SUSPENDED;   /* which that thinks to be over */
    one->state = FED_FLUSHING;
    one->moved = waiting_clock();
}

static void close_now(fed *one)
{
    (void)apr_socket_close(one->socket);
    one->state = FED_CLOSED;
}

/* The last byte is written, or there will be none: close, as the MPM would. */
static void begin_to_close(fed *one)
{
    if (ap_start_lingering_close(one->c)) {
        close_now(one);
        return;
    }
    (void)apr_socket_timeout_set(one->socket, 0);
    one->state = FED_LINGERING;
    one->moved = waiting_clock();
}

/* ------------------------------------------------------------------ feeding */

static void send_image(fed *one)
{
    image_sender *sender = one->sender;
    sender_state state = image_sender_advance(sender);
    int status;

    one->holds = state == SENDER_HOLDS;
    if (state == SENDER_WAITS || state == SENDER_HOLDS) {
        if (state == SENDER_WAITS)
            one->moved = waiting_clock();
        return;
    }
    status = image_sender_end(sender);
    if (status != OK && status != DONE)
        ap_die(status, sender->r);
    end_request(one);
}

static void flush_output(fed *one)
{
    conn_rec *c = one->c;

    c->sbh = one->sbh;
    if (!c->aborted && c->data_in_output_filters)
        image_sender_push(c);
    c->sbh = NULL;
    one->holds = !c->aborted && c->data_in_output_filters;
    if (!one->holds)
        begin_to_close(one);
}

/* Read what still comes, until the node closes. */
static void linger(fed *one)
{
    char rest[512];
    apr_size_t length;
    apr_status_t rv;
    int reads = 0;

    do {
        length = sizeof(rest);
        rv = apr_socket_recv(one->socket, rest, &length);
    } while (rv == APR_SUCCESS && ++reads < LINGER_READS);
    if ((rv != APR_SUCCESS && !APR_STATUS_IS_EAGAIN(rv))
        || waiting_clock() - one->moved >= LINGER_TIME)
        close_now(one);
}

/* Whatever is to be done for a connection now.  0: it is gone for good. */
static int feed(fed *one)
{
    apr_time_t now = waiting_clock();

    if (one->holds && now - one->moved >= one->timeout)
        one->c->aborted = 1;
    else if (one->holds && !one->takes)
        return 1;
    one->takes = 0;
    switch (one->state) {
    case FED_SENDING:
        send_image(one);
        break;
    case FED_FLUSHING:
        flush_output(one);
        break;
    case FED_LINGERING:
        linger(one);
        break;
    case FED_CLOSED:
        if (now - one->suspended < SUSPENDING_TIME)
            break;
        apr_pool_destroy(one->c->pool);
        return 0;
    }
    return 1;
}

/* Wait until a node takes more, or for a moment. */
static void wait_for_nodes(const apr_array_header_t *all, apr_pollfd_t *sockets)
{
    apr_int32_t count = 0, ready = 0;
    int i;

    for (i = 0; i < all->nelts; i++) {
        fed *one = APR_ARRAY_IDX(all, i, fed *);

        if (!one->holds)
            continue;
        sockets[count].desc_type = APR_POLL_SOCKET;
        sockets[count].reqevents = APR_POLLOUT;
        sockets[count].rtnevents = 0;
        sockets[count].desc.s = one->socket;
        sockets[count++].client_data = one;
    }
    if (count == 0 || apr_poll(sockets, count, &ready, SENDER_LOOK) != APR_SUCCESS) {
        if (count == 0)
            apr_sleep(SENDER_LOOK);
        return;
    }
    for (i = 0; i < count; i++) {
        fed *one = sockets[i].client_data;

        one->takes = sockets[i].rtnevents != 0;
        if (one->takes)
            one->moved = waiting_clock();
    }
}

/* Take those that have arrived.  0: there is nothing to feed (any more), and the thread ends. */
static int take_arrivals(apr_array_header_t *all)
{
    int goes_on;

    apr_thread_mutex_lock(feeder.mutex);
    apr_array_cat(all, feeder.arrivals);
    apr_array_clear(feeder.arrivals);
    goes_on = !feeder.stopping && all->nelts > 0;
    if (!goes_on)
        feeder.running = 0;
    apr_thread_mutex_unlock(feeder.mutex);
    return goes_on;
}

static void *APR_THREAD_FUNC run_feeder(apr_thread_t *thread, void *data)
{
    apr_pool_t *pool = apr_thread_pool_get(thread);
    apr_array_header_t *all = apr_array_make(pool, 64, sizeof(fed *));
    apr_pollfd_t *sockets = NULL;
    int room = 0, i, left;

    (void)data;
    while (take_arrivals(all)) {
        for (i = left = 0; i < all->nelts; i++) {
            fed *one = APR_ARRAY_IDX(all, i, fed *);

            if (feed(one))
                APR_ARRAY_IDX(all, left++, fed *) = one;
        }
        all->nelts = left;
        if (all->nelts > room) {
            room = all->nelts * 2;
            sockets = apr_pcalloc(pool, (apr_size_t)room * sizeof(*sockets));
        }
        wait_for_nodes(all, sockets);
    }
    return NULL;
}

/* ------------------------------------------------------------------ taking over from the MPM */

int image_feeder_take(image_sender *sender)
{
    conn_rec *c = sender->r->connection;
    const core_server_config *core = ap_get_core_module_config(c->base_server->module_config);
    int is_async = 0;
    fed *one;

    ap_mpm_query(AP_MPMQ_IS_ASYNC, &is_async);
    if (!is_async || !feeder.pool || !c->cs || c->clogging_input_filters || c->aborted)
        return 0;
    /* FlushMaxPipelined 0: httpd's core would have the feeder wait for a node's last byte. */
    if (core->flush_max_pipelined == 0)
        return 0;
    one = apr_pcalloc(c->pool, sizeof(*one));
    one->c = c;
    one->sbh = c->sbh;
    one->sender = sender;
    one->socket = ap_get_conn_socket(c);
    one->timeout = sender->r->server->timeout;
    /* There is no way back to the MPM for another request. */
    c->keepalive = AP_CONN_CLOSE;
    return apr_pool_userdata_setn(one, key, NULL, c->pool) == APR_SUCCESS;
}

/* Start the thread, if there is none.  Under the mutex. */
static apr_status_t start_feeder(void)
{
    apr_status_t rv, ended;

    if (feeder.running)
        return APR_SUCCESS;
    if (feeder.thread)
        apr_thread_join(&ended, feeder.thread);
    feeder.thread = NULL;
    apr_pool_clear(feeder.thread_pool); /* APR 1.7 leaves the pool of a thread in it */
    rv = apr_thread_create(&feeder.thread, NULL, run_feeder, NULL, feeder.thread_pool);
    feeder.running = rv == APR_SUCCESS;
    return rv;
}

/* The MPM has let go of a connection: if it is one of those taken, it is the feeder's from now. */
static void walt_vpn_suspend_connection(conn_rec *c, request_rec *r)
{
    void *data = NULL;
    apr_status_t rv;
    fed *one;

    (void)r;
    if (!c->cs || c->cs->state != CONN_STATE_SUSPENDED
        || apr_pool_userdata_get(&data, key, c->pool) != APR_SUCCESS || !data)
        return;
    one = data;
    one->suspended = one->moved = waiting_clock();
    apr_thread_mutex_lock(feeder.mutex);
    rv = start_feeder();
    APR_ARRAY_PUSH(feeder.arrivals, fed *) = one;
    apr_thread_mutex_unlock(feeder.mutex);
    if (rv != APR_SUCCESS)
        ap_log_cerror(APLOG_MARK, APLOG_ERR, rv, c, "can't start a thread: a node has to wait "
                      "until one can be started");
}

/* The process ends: so does the thread.  What it had at hand is reset by the kernel. */
static apr_status_t stop_feeder(void *data)
{
    apr_status_t ended;

    (void)data;
    apr_thread_mutex_lock(feeder.mutex);
    feeder.stopping = 1;
    apr_thread_mutex_unlock(feeder.mutex);
    if (feeder.thread)
        apr_thread_join(&ended, feeder.thread);
    feeder.thread = NULL;
    return APR_SUCCESS;
}

static void walt_vpn_child_init(apr_pool_t *pchild, server_rec *main_server)
{
    (void)main_server;
    memset(&feeder, 0, sizeof(feeder));
    if (apr_thread_mutex_create(&feeder.mutex, APR_THREAD_MUTEX_DEFAULT, pchild) != APR_SUCCESS
        || apr_pool_create(&feeder.thread_pool, pchild) != APR_SUCCESS
        || apr_pool_create(&feeder.pool, pchild) != APR_SUCCESS)
        return;
    feeder.arrivals = apr_array_make(feeder.pool, 64, sizeof(fed *));
    apr_pool_pre_cleanup_register(pchild, NULL, stop_feeder);
}

void image_feeder_register_hooks(void)
{
    ap_hook_child_init(walt_vpn_child_init, NULL, NULL, APR_HOOK_MIDDLE);
    /* When all other modules have let go of the connection. */
    ap_hook_suspend_connection(walt_vpn_suspend_connection, NULL, NULL, APR_HOOK_REALLY_LAST);
}
