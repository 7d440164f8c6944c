/*
 * boot/room.c: visits that wait, or are sent an image piece by piece.
 *
 * With the event MPM a request can be suspended: the MPM lets go of the connection, and its thread
 * is free.  One thread of the process, the keeper, which starts with the first of these requests,
 * then feeds nodes and looks who can go on.  It never waits for anybody: what may take time
 * (an answer of the WalT server's, a name server or a piped log in the log phase) is done by
 * threads beside it (boot/crew.c).  httpd 2.4 knows no way to give a connection back: it is kept to
 * the end.
 *
 * The MPM still counts a suspended connection, so a process that is to end gracefully waits for it;
 * the count goes down when the connection's pool is destroyed.  Where there is no suspending (other
 * MPMs, TLS, HTTP/2) a visit stays in its thread.
 */
#include "boot/room.h"
#include "boot/crew.h"
#include "reply/promise.h"
#include "reply/relay.h"
#include "request/times.h"

#include "apr_atomic.h"
#include "apr_poll.h"
#include "apr_thread_cond.h"
#include "apr_thread_mutex.h"
#include "ap_mpm.h"
#include "http_connection.h"
#include "http_core.h"
#include "http_protocol.h"
#include "http_request.h"
#include "mpm_common.h"
#include "scoreboard.h"

/* How often a visit is looked after; and one whose turn may come at any moment. */
#define LOOK apr_time_from_msec(20)
#define LOOK_SOON apr_time_from_msec(3)

/* How often is looked for a turn before the request is suspended. */
#define LOOKS_FIRST 8

/* What a client still sends is read so many bytes at a time: others are to be fed. */
#define LINGER_READ (8 * 1024)

/* The MPM's thread says that it has suspended a connection a few instructions before it is done
 * with it.  It is not touched while c->sbh is set, and its memory, which the MPM counts as a
 * connection, stays until that thread has begun something else, or for so long. */
#define SUSPENDING_TIME apr_time_from_sec(2)

/* Threads of the MPM that count what they begin. */
#define THREADS 1024

typedef enum {
    GUEST_VISITS,               /* until the visit is over, and the node has taken all of it */
    GUEST_AWAY,                 /* a thread of the crew has it */
    GUEST_LINGERS,              /* its connection is closed when the node closes it */
    GUEST_CLOSED                /* only the memory is left */
} guest_state;

/* A suspended connection.  In its pool. */
typedef struct guest {
    struct guest *next;
    conn_rec *c;
    apr_socket_t *socket;
    ap_sb_handle_t *sbh;        /* its place on the scoreboard, for what is counted there */
    const volatile apr_uint32_t *begun; /* what the thread has that suspends it; NULL: unknown */
    apr_uint32_t before;        /* as of then */
    visit *its;                 /* valid up to GUEST_LINGERS */
    seat *seat;
    _Atomic guest_state state;  /* who ends GUEST_AWAY gives all of this back to the keeper */
    int holds;                  /* the node does not take all that it could have */
    apr_time_t suspended;
    apr_time_t moved;           /* when the node took something last, or it began to linger */
} guest;

/* What the keeper and others share, guarded by the mutex. */
static struct {
    apr_thread_mutex_t *mutex;
    apr_thread_cond_t *news;    /* somebody has arrived, or the process ends; NULL: there can be no
                                 * keeper */
    guest *arrivals;
    int is_kept;                /* there is a keeper */
    int stopping;
} room;

static const char key[] = "walt_vpn guest";

/* Requests that threads of the MPM have begun: each counts its own. */
static volatile apr_uint32_t begun[THREADS];

/* The counter of the thread that runs this; NULL: there are too many. */
static volatile apr_uint32_t *begun_here(void)
{
    static volatile apr_uint32_t last;
    static _Thread_local apr_uint32_t number;

    if (number == 0)
        number = apr_atomic_inc32(&last) + 1;
    return number <= THREADS ? &begun[number - 1] : NULL;
}

/* What to ask the kernel: does the node at this socket take more? */
static apr_pollfd_t taking(apr_socket_t *socket, guest *one)
{
    return (apr_pollfd_t){ .desc_type = APR_POLL_SOCKET, .reqevents = APR_POLLOUT,
                           .desc.s = socket, .client_data = one };
}

/* ------------------------------------------------------------------ with the crew's threads */

/* All is written, or given up: end the request, which logs it, and close as the MPM would. */
static guest_state end_request(guest *one)
{
    conn_rec *c = one->c;

    ap_finalize_request_protocol(one->its->r);
    /* Counted where the request began; its status there is another request's by now. */
    if (ap_extended_status)
        ap_increment_counts(one->sbh, one->its->r);
    ap_process_request_after_handler(one->its->r);
    c->cs->state = CONN_STATE_SUSPENDED;        /* which that thinks to be over */
    one->moved = waiting_clock();
    if (ap_start_lingering_close(c)) {
        (void)apr_socket_close(one->socket);
        return GUEST_CLOSED;
    }
    (void)apr_socket_timeout_set(one->socket, 0);
    return GUEST_LINGERS;
}

/* The visit is over.  Has the node taken all of it, or will it never? */
static int has_taken_all(guest *one)
{
    waiting_end(&one->seat);
    return image_sender_push(one->c);
}

/* A visit is over with what its handler returns: do what httpd's core does with that. */
static void answer(visit *its)
{
    if (its->status == DECLINED) {              /* relayed, by mod_proxy's handler */
        relay_begin(its->r, its->request);
        its->request->is_declined = 1;
        its->status = ap_run_handler(its->r);
    }
    if (its->status != OK && its->status != DONE)
        ap_die(its->status, its->r);
    its->status = OK;
}

/* Let a visit do what may take time. */
static void go_on(apr_pool_t *pool, void *data)
{
    guest *one = data;
    guest_state next = GUEST_VISITS;

    (void)pool;
    if (visit_go_on(one->its) == VISIT_OVER) {
        answer(one->its);
        if (has_taken_all(one))
            next = end_request(one);
    }
    one->state = next;
}

/* ------------------------------------------------------------------ looking after a guest */

/* Look after a visit: feed the node what it takes, and have the crew do what may take time.  If
 * the crew can't now, the next look tries again. */
static void look_after(guest *one)
{
    visit *its = one->its;

    its->is_late |= waiting_is_sent_away(one->seat);
    if (!one->holds)
        one->moved = waiting_clock();
    else if (waiting_clock() - one->moved >= its->r->server->timeout)
        one->c->aborted = 1;
    else if (!its->is_late)
        return;
    if (its->state == VISIT_SENDS && !its->is_late && visit_feed(its) != VISIT_OVER) {
        /* About its fetch something is done at the next look: who has left a fetch is to see that
         * before another visit goes on with it. */
        one->holds = its->state == VISIT_SENDS && one->c->data_in_output_filters;
        return;
    }
    one->holds = its->state == VISIT_OVER && its->status == OK && !has_taken_all(one);
    if (one->holds || !visit_is_ready(its))
        return;
    one->state = GUEST_AWAY;
    if (crew_start(go_on, one) != APR_SUCCESS)
        one->state = GUEST_VISITS;
}

/* Read what still comes, until the node closes. */
static void linger(guest *one)
{
    char rest[LINGER_READ];
    apr_size_t length = sizeof(rest);
    apr_status_t rv = apr_socket_recv(one->socket, rest, &length);

    if ((rv != APR_SUCCESS && !APR_STATUS_IS_EAGAIN(rv))
        || waiting_clock() - one->moved >= LINGER_TIME) {
        (void)apr_socket_close(one->socket);
        one->state = GUEST_CLOSED;
    }
}

/* Is the thread that suspended this connection done with it? */
static int is_let_go(const guest *one)
{
    return (one->begun && *one->begun != one->before)
           || waiting_clock() - one->suspended >= SUSPENDING_TIME;
}

/* Whatever is to be done for a connection now.  0: it is gone for good. */
static int attend(guest *one)
{
    guest_state state = one->state;

    if (one->c->sbh)            /* the MPM is not done with it */
        return 1;
    if (state == GUEST_VISITS)
        look_after(one);
    else if (state == GUEST_LINGERS)
        linger(one);
    else if (state == GUEST_CLOSED && is_let_go(one)) {
        apr_pool_destroy(one->c->pool);
        return 0;
    }
    return 1;
}

/* ------------------------------------------------------------------ the keeper */

/* Is it to be looked after soon, because others may be waiting for it? */
static int is_urgent(const guest *one)
{
    guest_state state = one->state;

    return state == GUEST_AWAY || (state == GUEST_VISITS && visit_is_urgent(one->its));
}

/* Wait for a moment, or until a node takes more of what it holds. */
static void wait_for_nodes(const apr_array_header_t *holding, apr_interval_time_t moment)
{
    apr_pollfd_t *sockets = (apr_pollfd_t *)holding->elts;
    apr_int32_t ready;
    int i;

    if (apr_poll(sockets, holding->nelts, &ready, moment) != APR_SUCCESS)
        return;
    for (i = 0; i < holding->nelts; i++) {
        if (sockets[i].rtnevents)
            ((guest *)sockets[i].client_data)->holds = 0;
    }
}

/* Take those that have arrived, and wait for them when there is nobody to look after.  0: the
 * process ends. */
static int take_arrivals(guest **all)
{
    int goes_on;

    apr_thread_mutex_lock(room.mutex);
    while (!room.stopping && !*all && !room.arrivals)
        apr_thread_cond_wait(room.news, room.mutex);
    while (room.arrivals) {
        guest *one = room.arrivals;

        room.arrivals = one->next;
        one->next = *all;
        *all = one;
    }
    goes_on = !room.stopping;
    apr_thread_mutex_unlock(room.mutex);
    return goes_on;
}

/* What the keeper does, in a thread of the crew. */
static void keep(apr_pool_t *pool, void *data)
{
    apr_array_header_t *holding = apr_array_make(pool, 64, sizeof(apr_pollfd_t));
    guest *all = NULL, **link;

    (void)data;
    while (take_arrivals(&all)) {
        apr_interval_time_t moment = LOOK;

        apr_array_clear(holding);
        for (link = &all; *link; ) {
            guest *one = *link, *next = one->next;

            if (!attend(one)) {
                *link = next;
                continue;
            }
            if (one->state == GUEST_VISITS && one->holds)
                APR_ARRAY_PUSH(holding, apr_pollfd_t) = taking(one->socket, one);
            else if (is_urgent(one))
                moment = LOOK_SOON;
            link = &one->next;
        }
        wait_for_nodes(holding, moment);
    }
}

/* Have a keeper.  0: there can be none now. */
static int have_keeper(void)
{
    int is_kept;

    apr_thread_mutex_lock(room.mutex);
    room.is_kept = room.is_kept || crew_start(keep, NULL) == APR_SUCCESS;
    is_kept = room.is_kept;
    apr_thread_mutex_unlock(room.mutex);
    return is_kept;
}

/* ------------------------------------------------------------------ taking over from the MPM */

/* Can this request be suspended?  Not if somebody would have to wait for its client: for its body,
 * or to take what other ranges than a node's bring. */
static int can_suspend(const visit *its)
{
    request_rec *r = its->r;
    conn_rec *c = r->connection;
    const core_server_config *core = ap_get_core_module_config(c->base_server->module_config);
    int is_async = 0;

    ap_mpm_query(AP_MPMQ_IS_ASYNC, &is_async);
    if (!is_async || !room.news || !c->cs || c->master || c->clogging_input_filters || c->aborted)
        return 0;
    if (its->request->boot.file == BOOT_FILE_IMG && !its->can_grow && !r->header_only)
        return 0;
    /* FlushMaxPipelined 0: httpd's core would have the keeper wait for a node's last byte. */
    return core->flush_max_pipelined != 0 && !apr_table_get(r->headers_in, "Transfer-Encoding")
           && !apr_table_get(r->headers_in, "Content-Length");
}

/* Make a guest of a visit that has a seat in the room. */
static void suspend(visit *its, seat *own)
{
    conn_rec *c = its->r->connection;
    guest *one = apr_pcalloc(c->pool, sizeof(*one));

    one->c = c;
    one->socket = ap_get_conn_socket(c);
    one->sbh = c->sbh;
    if ((one->begun = begun_here()))
        one->before = *one->begun;
    one->its = its;
    one->seat = own;
    its->is_suspended = 1;
    /* There is no way back to the MPM for another request. */
    c->keepalive = AP_CONN_CLOSE;
    apr_pool_userdata_setn(one, key, NULL, c->pool);
}

/* The MPM has let go of a connection: if it is a guest's, it is the keeper's from now. */
static void walt_vpn_suspend_connection(conn_rec *c, request_rec *r)
{
    void *data = NULL;
    guest *one;

    (void)r;
    if (!c->cs || c->cs->state != CONN_STATE_SUSPENDED
        || apr_pool_userdata_get(&data, key, c->pool) != APR_SUCCESS || !data)
        return;
    one = data;
    one->suspended = waiting_clock();
    apr_thread_mutex_lock(room.mutex);
    one->next = room.arrivals;
    room.arrivals = one;
    apr_thread_cond_signal(room.news);
    apr_thread_mutex_unlock(room.mutex);
}

/* ------------------------------------------------------------------ staying in a thread */

/* Wait a moment, or until the node takes more.  0: it has taken nothing for too long. */
static int wait_a_moment(const visit *its, apr_time_t *taken)
{
    conn_rec *c = its->r->connection;
    int holds = its->state == VISIT_SENDS && c->data_in_output_filters;
    apr_pollfd_t socket = taking(ap_get_conn_socket(c), NULL);
    apr_int32_t ready;

    if (apr_poll(&socket, holds, &ready, visit_is_urgent(its) ? LOOK_SOON : LOOK) == APR_SUCCESS
        || !holds)
        *taken = waiting_clock();
    return waiting_clock() - *taken < its->r->server->timeout;
}

/* See a visit to its end in this thread. */
static void stay_here(visit *its, seat *own)
{
    apr_time_t taken = waiting_clock();

    while (visit_go_on(its) != VISIT_OVER) {
        if (its->state == VISIT_SENDS && visit_feed(its) == VISIT_OVER)
            break;
        if (crew_is_leaving || !wait_a_moment(its, &taken)) {
            its->r->connection->aborted = 1;
            its->state = VISIT_OVER;
            its->status = OK;
        }
        its->is_late |= waiting_is_sent_away(own);
    }
    waiting_end(&own);
}

int room_stay(visit *its)
{
    seat_kind kind;
    seat *own;
    int looks;

    (void)visit_go_on(its);
    /* Most turns come soon: a suspended request would cost more than its thread does meanwhile. */
    for (looks = 0; looks < LOOKS_FIRST && visit_is_urgent(its); looks++) {
        apr_sleep(LOOK_SOON);
        (void)visit_go_on(its);
    }
    if (its->state == VISIT_OVER)
        return its->status;
    kind = can_suspend(its) && have_keeper() ? SEAT_SUSPENDED : SEAT_THREAD;
    own = waiting_begin(kind, its->request->entrypoint->place, its->r->useragent_addr);
    its->is_late = !own;
    if (own && kind == SEAT_SUSPENDED) {
        suspend(its, own);
        return SUSPENDED;
    }
    stay_here(its, own);
    return its->status;
}

/* ------------------------------------------------------------------ hooks */

/* The process ends: the keeper is to end, for whom the crew waits.  What it had at hand is reset by
 * the kernel. */
static apr_status_t stop_keeper(void *data)
{
    (void)data;
    apr_thread_mutex_lock(room.mutex);
    room.stopping = 1;
    apr_thread_cond_signal(room.news);
    apr_thread_mutex_unlock(room.mutex);
    return APR_SUCCESS;
}

static void walt_vpn_child_init(apr_pool_t *pchild, server_rec *main_server)
{
    (void)main_server;
    if (apr_thread_mutex_create(&room.mutex, APR_THREAD_MUTEX_DEFAULT, pchild) == APR_SUCCESS
        && apr_thread_cond_create(&room.news, pchild) == APR_SUCCESS)
        apr_pool_pre_cleanup_register(pchild, NULL, stop_keeper);
}

/* A thread begins a request: it is done with what it had before. */
static int walt_vpn_create_request(request_rec *r)
{
    const conn_rec *c = r->connection;
    volatile apr_uint32_t *counter = c->sbh && !c->master ? begun_here() : NULL;

    if (counter)
        ++*counter;
    return OK;
}

void room_register_hooks(void)
{
    /* After the crew's, whose cleanup so comes after this one's. */
    ap_hook_child_init(walt_vpn_child_init, NULL, NULL, APR_HOOK_LAST);
    ap_hook_create_request(walt_vpn_create_request, NULL, NULL, APR_HOOK_MIDDLE);
    /* When all other modules have let go of the connection. */
    ap_hook_suspend_connection(walt_vpn_suspend_connection, NULL, NULL, APR_HOOK_REALLY_LAST);
}
