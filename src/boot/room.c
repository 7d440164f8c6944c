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
#include "apr_thread_proc.h"
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

/* Reads of a lingering connection at a time: others are to be fed, however much a client sends. */
#define LINGER_READS 16

/* The MPM's thread says that it has suspended a connection a few instructions before it is done
 * with it.  It is not touched while c->sbh is set, and its memory, which the MPM counts as a
 * connection, stays until that thread has begun something else, or for so long. */
#define SUSPENDING_TIME apr_time_from_sec(2)

/* Threads of the MPM that count what they begin. */
#define THREADS 1024

typedef enum {
    GUEST_VISITS,               /* the visit is not over yet */
    GUEST_AWAY,                 /* a thread of the crew has it */
    GUEST_FLUSHES,              /* the visit is over but for what the node has yet to take */
    GUEST_ENDS,                 /* that too: the request is to be ended and logged */
    GUEST_LINGERS,              /* its connection is closed when the node closes it */
    GUEST_CLOSED                /* only the memory is left */
} guest_state;

/* A suspended connection.  In its pool. */
typedef struct {
    conn_rec *c;
    apr_socket_t *socket;
    ap_sb_handle_t *sbh;        /* its place on the scoreboard, for what is counted there */
    const volatile apr_uint32_t *begun; /* what the thread has that suspends it; NULL: unknown */
    apr_uint32_t before;        /* as of then */
    visit *its;                 /* valid up to GUEST_ENDS */
    seat *seat;
    apr_interval_time_t timeout;        /* that of the server, for a node that takes nothing */
    guest_state state;
    guest_state next;           /* after GUEST_AWAY; set by the crew's thread, under the mutex */
    int holds;                  /* the node does not take all that it could have */
    int takes;                  /* but it does now */
    apr_time_t suspended;
    apr_time_t moved;           /* when the node took something last, or the state began */
} guest;

/* All of them, and the keeper; guarded by mutex, but for what the keeper itself is at. */
static struct {
    apr_pool_t *pool;           /* of this; NULL: there can be no keeper */
    apr_pool_t *thread_pool;    /* of the thread */
    apr_thread_mutex_t *mutex;
    apr_thread_cond_t *news;    /* somebody has arrived, or the process ends */
    apr_array_header_t *arrivals;       /* guest *, new ones */
    apr_thread_t *thread;       /* NULL: it was not needed yet, or can't be started */
    int stopping;
} room;

static const char key[] = "walt_vpn guest";

/* What threads of the MPM have begun, connections and requests: each counts its own. */
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

/* ------------------------------------------------------------------ with the crew's threads */

/* A thread of the crew is done with a guest. */
static void come_back(guest *one, guest_state next)
{
    apr_thread_mutex_lock(room.mutex);
    one->next = next;
    apr_thread_mutex_unlock(room.mutex);
}

/* All is written, or given up: end the request, which logs it. */
static void end_request(apr_pool_t *pool, void *data)
{
    guest *one = data;
    conn_rec *c = one->c;

    (void)pool;
    ap_finalize_request_protocol(one->its->r);
    /* Counted where the request began; its status there is another request's by now. */
    if (ap_extended_status)
        ap_increment_counts(one->sbh, one->its->r);
    ap_process_request_after_handler(one->its->r);
    c->cs->state = CONN_STATE_SUSPENDED;        /* which that thinks to be over */
    come_back(one, GUEST_LINGERS);
}

/* The visit is over.  Has the node taken all of it, or will it never? */
static int has_taken_all(guest *one)
{
    waiting_end(&one->seat);
    return image_sender_push(one->c);
}

/* Let a visit do what may take time. */
static void go_on(apr_pool_t *pool, void *data)
{
    guest *one = data;
    request_rec *r = one->its->r;
    visit_state state = visit_go_on(one->its);

    if (state != VISIT_OVER) {
        come_back(one, GUEST_VISITS);
        return;
    }
    if (one->its->status == DECLINED) {         /* relayed, by mod_proxy's handler */
        relay_begin(r, one->its->request);
        one->its->request->is_declined = 1;
        one->its->status = ap_run_handler(r);
    }
    if (one->its->status != OK && one->its->status != DONE)
        ap_die(one->its->status, r);
    if (has_taken_all(one))
        end_request(pool, one);
    else
        come_back(one, GUEST_FLUSHES);
}

/* Have the crew do this; if it can't now, the next look tries again. */
static void send_to_crew(guest *one, void (*work)(apr_pool_t *pool, void *data))
{
    guest_state before = one->state;

    one->holds = 0;
    one->state = one->next = GUEST_AWAY;
    if (crew_start(work, one) != APR_SUCCESS)
        one->state = before;
}

/* ------------------------------------------------------------------ looking after a guest */

static void close_now(guest *one)
{
    (void)apr_socket_close(one->socket);
    one->state = GUEST_CLOSED;
}

/* The request is ended: close, as the MPM would. */
static void begin_to_close(guest *one)
{
    if (ap_start_lingering_close(one->c)) {
        close_now(one);
        return;
    }
    (void)apr_socket_timeout_set(one->socket, 0);
    one->state = GUEST_LINGERS;
    one->moved = waiting_clock();
}

/* Look after a visit that is not over. */
static void look_after(guest *one)
{
    visit *its = one->its;

    if (waiting_is_sent_away(one->seat))
        its->is_late = 1;
    if (visit_is_ready(its)) {
        send_to_crew(one, go_on);
        return;
    }
    if (its->state != VISIT_SENDS)
        return;
    if (visit_feed(its) != VISIT_OVER) {
        one->holds = its->state == VISIT_SENDS && one->c->data_in_output_filters;
        if (!one->holds)
            one->moved = waiting_clock();
    }
    else if (its->status != OK && its->status != DONE) {
        send_to_crew(one, go_on);       /* with an error, whose text it passes on */
    }
    else {
        one->state = GUEST_FLUSHES;
    }
}

static void flush_output(guest *one)
{
    one->holds = !has_taken_all(one);
    if (!one->holds)
        one->state = GUEST_ENDS;
}

/* Read what still comes, until the node closes. */
static void linger(guest *one)
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

/* Has a thread of the crew come back with a guest?  Then it is the keeper's again. */
static void take_back(guest *one)
{
    guest_state next;

    apr_thread_mutex_lock(room.mutex);
    next = one->next;
    apr_thread_mutex_unlock(room.mutex);
    if (next == GUEST_AWAY)
        return;
    one->state = next;
    one->moved = waiting_clock();
    if (next == GUEST_LINGERS) {
        one->its = NULL;
        begin_to_close(one);
    }
}

/* Whatever is to be done for a connection now.  0: it is gone for good. */
static int attend(guest *one)
{
    apr_time_t now = waiting_clock();

    if (one->c->sbh)            /* the MPM is not done with it */
        return 1;
    if (one->holds && now - one->moved >= one->timeout)
        one->c->aborted = 1;
    else if (one->holds && !one->takes && !waiting_is_sent_away(one->seat))
        return 1;
    one->takes = 0;
    switch (one->state) {
    case GUEST_AWAY:
        take_back(one);
        break;
    case GUEST_VISITS:
        look_after(one);
        break;
    case GUEST_FLUSHES:
        flush_output(one);
        break;
    case GUEST_ENDS:
        send_to_crew(one, end_request);
        break;
    case GUEST_LINGERS:
        linger(one);
        break;
    case GUEST_CLOSED:
        if ((!one->begun || *one->begun == one->before)
            && now - one->suspended < SUSPENDING_TIME)
            break;
        apr_pool_destroy(one->c->pool);
        return 0;
    }
    return 1;
}

/* ------------------------------------------------------------------ the keeper */

/* Is it to be looked after soon, because others may be waiting for it? */
static int is_urgent(const guest *one)
{
    return one->state == GUEST_AWAY || one->state == GUEST_FLUSHES || one->state == GUEST_ENDS
           || (one->state == GUEST_VISITS && visit_is_urgent(one->its));
}

/* Wait until a node takes more, or for a moment. */
static void wait_for_nodes(const apr_array_header_t *all, apr_pollfd_t *sockets)
{
    apr_interval_time_t moment = LOOK;
    apr_int32_t count = 0, ready = 0;
    int i;

    for (i = 0; i < all->nelts; i++) {
        guest *one = APR_ARRAY_IDX(all, i, guest *);

        if (!one->holds) {
            if (is_urgent(one))
                moment = LOOK_SOON;
            continue;
        }
        sockets[count].desc_type = APR_POLL_SOCKET;
        sockets[count].reqevents = APR_POLLOUT;
        sockets[count].rtnevents = 0;
        sockets[count].desc.s = one->socket;
        sockets[count++].client_data = one;
    }
    if (count == 0 || apr_poll(sockets, count, &ready, moment) != APR_SUCCESS) {
        if (count == 0)
            apr_sleep(moment);
        return;
    }
    for (i = 0; i < count; i++) {
        guest *one = sockets[i].client_data;

        one->takes = sockets[i].rtnevents != 0;
        if (one->takes)
            one->moved = waiting_clock();
    }
}

/* Take those that have arrived, and wait for them when there is nobody to look after.  0: the
 * process ends. */
static int take_arrivals(apr_array_header_t *all)
{
    int goes_on;

    apr_thread_mutex_lock(room.mutex);
    while (!room.stopping && all->nelts == 0 && room.arrivals->nelts == 0)
        apr_thread_cond_wait(room.news, room.mutex);
    apr_array_cat(all, room.arrivals);
    apr_array_clear(room.arrivals);
    goes_on = !room.stopping;
    apr_thread_mutex_unlock(room.mutex);
    return goes_on;
}

static void *APR_THREAD_FUNC run_keeper(apr_thread_t *thread, void *data)
{
    apr_pool_t *pool = apr_thread_pool_get(thread);
    apr_array_header_t *all = apr_array_make(pool, 64, sizeof(guest *));
    apr_pollfd_t *sockets = NULL;
    int places = 0, i, left;

    (void)data;
    while (take_arrivals(all)) {
        for (i = left = 0; i < all->nelts; i++) {
            guest *one = APR_ARRAY_IDX(all, i, guest *);

            if (attend(one))
                APR_ARRAY_IDX(all, left++, guest *) = one;
        }
        all->nelts = left;
        if (all->nelts > places) {
            places = all->nelts * 2;
            sockets = apr_pcalloc(pool, (apr_size_t)places * sizeof(*sockets));
        }
        wait_for_nodes(all, sockets);
    }
    return NULL;
}

/* Start the keeper, if there is none.  0: that failed. */
static int start_keeper(void)
{
    int is_there;

    apr_thread_mutex_lock(room.mutex);
    if (!room.thread) {
        apr_pool_clear(room.thread_pool);       /* of what the last failure left in it */
        if (apr_thread_create(&room.thread, NULL, run_keeper, NULL, room.thread_pool)
            != APR_SUCCESS)
            room.thread = NULL;
    }
    is_there = room.thread != NULL;
    apr_thread_mutex_unlock(room.mutex);
    return is_there;
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
    if (!is_async || !room.pool || !c->cs || c->master || c->clogging_input_filters || c->aborted
        || !crew_is_possible())
        return 0;
    if (its->request->boot.file == BOOT_FILE_IMG && !its->can_grow && !r->header_only)
        return 0;
    /* FlushMaxPipelined 0: httpd's core would have the keeper wait for a node's last byte. */
    return core->flush_max_pipelined != 0 && !apr_table_get(r->headers_in, "Transfer-Encoding")
           && !apr_table_get(r->headers_in, "Content-Length");
}

/* Have a seat in the room, which has a keeper.  0: there is none. */
static int suspend(visit *its)
{
    conn_rec *c = its->r->connection;
    guest *one = apr_pcalloc(c->pool, sizeof(*one));

    if (!(one->seat = waiting_begin(SEAT_SUSPENDED, its->request->entrypoint->place,
                                    its->r->useragent_addr))) {
        its->is_late = 1;
        return 0;
    }
    one->c = c;
    one->sbh = c->sbh;
    if ((one->begun = begun_here()))
        one->before = *one->begun;
    one->its = its;
    one->socket = ap_get_conn_socket(c);
    one->timeout = its->r->server->timeout;
    its->is_suspended = 1;
    /* There is no way back to the MPM for another request. */
    c->keepalive = AP_CONN_CLOSE;
    apr_pool_userdata_setn(one, key, NULL, c->pool);
    return 1;
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
    one->suspended = one->moved = waiting_clock();
    apr_thread_mutex_lock(room.mutex);
    APR_ARRAY_PUSH(room.arrivals, guest *) = one;
    apr_thread_cond_signal(room.news);
    apr_thread_mutex_unlock(room.mutex);
}

/* ------------------------------------------------------------------ staying in a thread */

/* Wait a moment, or until the node takes more.  0: it has taken nothing for too long. */
static int wait_a_moment(const visit *its, apr_time_t *taken)
{
    request_rec *r = its->r;
    apr_pollfd_t socket = { r->pool, APR_POLL_SOCKET, APR_POLLOUT, 0, { NULL }, NULL };
    apr_int32_t ready;

    if (its->state != VISIT_SENDS || !r->connection->data_in_output_filters) {
        apr_sleep(visit_is_urgent(its) ? LOOK_SOON : LOOK);
        *taken = waiting_clock();
        return 1;
    }
    socket.desc.s = ap_get_conn_socket(r->connection);
    if (apr_poll(&socket, 1, &ready, LOOK) == APR_SUCCESS)
        *taken = waiting_clock();
    return waiting_clock() - *taken < r->server->timeout;
}

/* See a visit to its end in this thread. */
static void stay_here(visit *its)
{
    apr_time_t taken = waiting_clock();
    seat *own = NULL;

    if (its->is_late || !(own = waiting_begin(SEAT_THREAD, its->request->entrypoint->place,
                                              its->r->useragent_addr)))
        its->is_late = 1;
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

/* Most turns come soon: a suspended request would cost more than its thread does meanwhile. */
static visit_state wait_for_turn(visit *its)
{
    int looks;

    for (looks = 0; looks < LOOKS_FIRST && visit_is_urgent(its); looks++) {
        apr_sleep(LOOK_SOON);
        (void)visit_go_on(its);
    }
    return its->state;
}

int room_stay(visit *its)
{
    if (wait_for_turn(its) == VISIT_OVER)
        return its->status;
    if (can_suspend(its) && start_keeper() && suspend(its))
        return SUSPENDED;
    stay_here(its);
    return its->status;
}

/* ------------------------------------------------------------------ hooks */

/* The process ends: so does the keeper.  What it had at hand is reset by the kernel. */
static apr_status_t stop_keeper(void *data)
{
    apr_status_t ended;

    (void)data;
    apr_thread_mutex_lock(room.mutex);
    room.stopping = 1;
    apr_thread_cond_signal(room.news);
    apr_thread_mutex_unlock(room.mutex);
    if (room.thread)
        apr_thread_join(&ended, room.thread);
    room.thread = NULL;
    return APR_SUCCESS;
}

static void walt_vpn_child_init(apr_pool_t *pchild, server_rec *main_server)
{
    (void)main_server;
    memset(&room, 0, sizeof(room));
    if (apr_thread_mutex_create(&room.mutex, APR_THREAD_MUTEX_DEFAULT, pchild) != APR_SUCCESS
        || apr_thread_cond_create(&room.news, pchild) != APR_SUCCESS
        || apr_pool_create(&room.thread_pool, pchild) != APR_SUCCESS
        || apr_pool_create(&room.pool, pchild) != APR_SUCCESS)
        return;
    room.arrivals = apr_array_make(room.pool, 64, sizeof(guest *));
    apr_pool_pre_cleanup_register(pchild, NULL, stop_keeper);
}

/* A thread begins something: it is done with what it had before. */
static int walt_vpn_pre_connection(conn_rec *c, void *socket)
{
    volatile apr_uint32_t *counter = c->sbh && !c->master ? begun_here() : NULL;

    (void)socket;
    if (counter)
        ++*counter;
    return OK;
}

static int walt_vpn_create_request(request_rec *r)
{
    return walt_vpn_pre_connection(r->connection, NULL);
}

void room_register_hooks(void)
{
    ap_hook_child_init(walt_vpn_child_init, NULL, NULL, APR_HOOK_MIDDLE);
    ap_hook_pre_connection(walt_vpn_pre_connection, NULL, NULL, APR_HOOK_MIDDLE);
    ap_hook_create_request(walt_vpn_create_request, NULL, NULL, APR_HOOK_MIDDLE);
    /* When all other modules have let go of the connection. */
    ap_hook_suspend_connection(walt_vpn_suspend_connection, NULL, NULL, APR_HOOK_REALLY_LAST);
}
