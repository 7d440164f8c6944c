/*
 * walt/address.c: at which address of its name the WalT server is asked.
 *
 * mod_proxy takes the addresses of a name in the order in which the resolver gives them, at every
 * connection anew, and forgets them when it looks the name up again and finds none.  So a first
 * address that is dead costs each question the connection timeout, and a name server that fails
 * stops all boots while the WalT server is well.  Here the name is looked up instead, in a thread
 * of its own, and where there are several addresses, the first that takes a connection is found
 * out.  mod_proxy's worker, which keeps an address for good, is given what was found, by the
 * function with which mod_proxy itself renews it: so the URL, the Host header, the worker's
 * settings and connections, and mod_proxy's messages are as ever.
 */
#include "walt/address.h"
#include "ledger/book.h"
#include "ledger/shared_memory.h"
#include "ledger/troubles.h"
#include "ledger/waiting.h"
#include "request/times.h"

#include "apr_poll.h"
#include "apr_strings.h"
#include "http_log.h"

#include <pthread.h>
#include <signal.h>

/* Weak, as in site/directives.c. */
#pragma weak ap_proxy_acquire_connection
#pragma weak ap_proxy_determine_address
#pragma weak ap_proxy_release_connection
#pragma weak ap_proxyerror
#pragma weak proxy_hook_scheme_handler

/* Counts the changes of what the bytes in shared memory mean. */
#define LAYOUT 3

/* Most addresses of a name that are remembered, and room for one as text: IPv6 with a zone. */
#define ADDRESSES 16
#define ADDRESS_ROOM 80

/* RFC 8305's "connection attempt delay". */
#define HEAD_START apr_time_from_msec(250)

/* Most addresses that are tried at a time: RACE_TIME has fewer head starts. */
#define RUNNERS 16

/* So long after the name was found mod_proxy finds it as well, and fast. */
#define FOUND_LASTS apr_time_from_msec(500)

/* Between two looks at a lookup that is waited for. */
#define STEP apr_time_from_msec(2)

/* The one kind of trouble there is. */
#define TROUBLE_UNRESOLVED 1

/* What is known of a name, as mod_proxy is told it. */
typedef struct {
    char best[ADDRESS_ROOM];    /* the address that is to be asked; "": none is known */
    int is_by_name;             /* mod_proxy resolves the name itself: the order of that is right,
                                 * or all refuse, and a name server has just answered */
    char all[ADDRESSES * ADDRESS_ROOM];         /* "a b ", as the resolver gives them */
} finding;

/* What is known of a WalT server's name.  In shared memory. */
typedef struct {
    book lock;
    finding found;              /* by the last lookup that found anything */
    apr_time_t looking;         /* when the lookup under way began, by waiting_clock(); 0: none */
    apr_time_t ended;           /* when the last lookup did; 0: it is not trusted any more */
    apr_status_t fault;         /* of the last lookup */
} name_row;

/* The address of an entrypoint's WalT server.  In pconf, so each process has its own. */
typedef struct walt_address {
    const walt_vpn_entrypoint *entrypoint;
    name_row *row;
    pthread_mutex_t telling;
    finding told;               /* to this process's worker; under the mutex */
} walt_address;

apr_status_t walt_address_open(apr_pool_t *pconf, apr_pool_t *process_pool,
                               walt_vpn_entrypoint *entrypoint)
{
    walt_address *address = apr_pcalloc(pconf, sizeof(*address));
    apr_status_t rv;

    address->row = shared_memory_open(&rv, sizeof(name_row), process_pool, "address %d of %s",
                                      LAYOUT, entrypoint->url);
    if (!address->row)
        return rv;
    address->entrypoint = entrypoint;
    entrypoint->address = address;
    return pthread_mutex_init(&address->telling, NULL);
}

/* So long ago the last lookup ended.  In the open book.  A clock that was set back makes it as long
 * as can be. */
static apr_uint64_t age_of(const name_row *row)
{
    return (apr_uint64_t)(apr_time_now() - row->ended);
}

apr_status_t walt_address_fault(const walt_vpn_entrypoint *entrypoint)
{
    name_row *row = entrypoint->address ? entrypoint->address->row : NULL;
    apr_status_t fault;

    if (!row || book_open(&row->lock) == BOOK_CLOSED)
        return APR_SUCCESS;
    fault = row->fault;
    book_close(&row->lock);
    return fault;
}

void walt_address_doubt(const walt_vpn_entrypoint *entrypoint)
{
    name_row *row = entrypoint->address ? entrypoint->address->row : NULL;

    if (!row || book_open(&row->lock) == BOOK_CLOSED)
        return;
    /* Not each of many requests that fail at once. */
    if (age_of(row) >= LOOKUP_SHORT_WAIT)
        row->ended = 0;
    book_close(&row->lock);
}

/* ------------------------------------------------------------------ the race */

/* Begin to connect to this address.  0: this machine lacks its family, or a way there. */
static int start(apr_pollset_t *set, apr_sockaddr_t *address, apr_pool_t *pool)
{
    apr_pollfd_t runner = { .desc_type = APR_POLL_SOCKET, .reqevents = APR_POLLOUT,
                            .client_data = address };
    apr_status_t rv;

    if (apr_socket_create(&runner.desc.s, address->family, SOCK_STREAM, APR_PROTO_TCP, pool)
        != APR_SUCCESS)
        return 0;
    (void)apr_socket_timeout_set(runner.desc.s, 0);
    rv = apr_socket_connect(runner.desc.s, address);
    return (rv == APR_SUCCESS || APR_STATUS_IS_EINPROGRESS(rv))
           && apr_pollset_add(set, &runner) == APR_SUCCESS;
}

/*
 * Which of these addresses takes a connection first; NULL: none does in time, or all refuse.
 * RFC 8305's "happy eyeballs": connections are begun one after the other.  An address that is dead
 * costs its head start, one that refuses nothing.  The pool is that of the sockets: who ends them
 * all.
 */
static apr_sockaddr_t *winner_of(apr_pool_t *pool, apr_sockaddr_t *next, int *all_refuse)
{
    apr_time_t now, end = waiting_clock() + RACE_TIME;
    apr_pollset_t *set;
    const apr_pollfd_t *runners;
    int i, ended, running = 0;

    *all_refuse = 0;
    if (apr_pollset_create(&set, RUNNERS, pool, 0) != APR_SUCCESS)
        return NULL;
    while ((next || running) && (now = waiting_clock()) < end) {
        if (next) {
            int runs = start(set, next, pool);

            next = next->next;
            running += runs;
            if (!runs)
                continue;
        }
        if (apr_pollset_poll(set, next ? HEAD_START : end - now, &ended, &runners) != APR_SUCCESS)
            ended = 0;
        for (i = 0; i < ended; i++) {
            if (!(runners[i].rtnevents & (APR_POLLERR | APR_POLLHUP)))
                return runners[i].client_data;
            (void)apr_pollset_remove(set, &runners[i]);
            running--;
        }
    }
    *all_refuse = !next && !running;
    return NULL;
}

/* ------------------------------------------------------------------ looking up */

/* The addresses of a list, "a b ", as the resolver would give them; NULL: it is empty. */
static apr_sockaddr_t *addresses_of(const char *list, apr_port_t port, apr_pool_t *pool)
{
    apr_sockaddr_t *first = NULL, **next = &first;

    while (*list) {
        if (apr_sockaddr_info_get(next, ap_getword_white(pool, &list), APR_UNSPEC, port, 0, pool)
            == APR_SUCCESS)
            next = &(*next)->next;
    }
    return first;
}

/* Choose from these addresses.  Where all refuse, mod_proxy tries them all, as any may be up again
 * first; where they are silent, the one that was chosen before, if it is among them. */
static void choose_from(const walt_vpn_entrypoint *entrypoint, apr_sockaddr_t *addresses,
                        apr_pool_t *pool, finding *its)
{
    apr_sockaddr_t *address, *former = NULL, *winner;
    char text[ADDRESS_ROOM], *all = "";
    int count = 0, all_refuse = 0;

    for (address = addresses; address; address = address->next) {
        (void)apr_sockaddr_ip_getbuf(text, sizeof(text), address);
        if (!former && strcmp(text, its->best) == 0)
            former = address;
        if (++count <= ADDRESSES)
            all = apr_pstrcat(pool, all, text, " ", NULL);
    }
    winner = count > 1 ? winner_of(pool, addresses, &all_refuse) : addresses;
    if (all_refuse)
        former = NULL;
    its->is_by_name = winner == addresses || all_refuse;
    apr_cpystrn(its->all, all, sizeof(its->all));
    (void)apr_sockaddr_ip_getbuf(its->best, ADDRESS_ROOM,
                                 winner ? winner : former ? former : addresses);
    if (count > 1 && winner && winner != former)
        ap_log_error(APLOG_MARK, APLOG_INFO, 0, entrypoint->server, "%s: of %d addresses it is %s "
                     "that takes a connection first", entrypoint->where, count, its->best);
}

/* Tell the administrator that the name has no address any more, or has one again. */
static void say(const walt_vpn_entrypoint *entrypoint, const char *best, apr_status_t fault,
                apr_pool_t *pool)
{
    const char *who = apr_pstrcat(pool, "address ", entrypoint->url, NULL);

    if (fault == APR_SUCCESS && troubles_forget(who))
        ap_log_error(APLOG_MARK, APLOG_NOTICE, 0, entrypoint->server, "%s: an address of its name "
                     "is found again", entrypoint->where);
    if (fault != APR_SUCCESS && *best && !troubles_met_before(who, TROUBLE_UNRESOLVED))
        ap_log_error(APLOG_MARK, APLOG_WARNING, fault, entrypoint->server, "%s: no address of its "
                     "name is found any more: the last one that worked, %s, serves until there is "
                     "one; try \"getent hosts %s\", and mend this machine's name server",
                     entrypoint->where, best, entrypoint->host);
}

/* Look the name up, in memory of its own: the process may end meanwhile.  Without that memory, or
 * the book, the lookup counts as lost, in a while. */
static void *look_up(void *data)
{
    const walt_address *address = data;
    const walt_vpn_entrypoint *entrypoint = address->entrypoint;
    name_row *row = address->row;
    apr_sockaddr_t *found;
    finding its;
    apr_pool_t *pool;
    apr_status_t fault;

    if (book_open(&row->lock) == BOOK_CLOSED)
        return NULL;
    its = row->found;
    book_close(&row->lock);
    if (apr_pool_create_unmanaged_ex(&pool, NULL, NULL) != APR_SUCCESS)
        return NULL;
    /* As mod_proxy does. */
    fault = apr_sockaddr_info_get(&found, entrypoint->host, APR_UNSPEC, entrypoint->port, 0, pool);
    if (fault != APR_SUCCESS)   /* what was known once is never forgotten */
        found = addresses_of(its.all, entrypoint->port, pool);
    if (found)
        choose_from(entrypoint, found, pool, &its);
    if (book_open(&row->lock) != BOOK_CLOSED) {
        if (found)
            row->found = its;
        row->fault = fault;
        row->ended = apr_time_now();
        row->looking = 0;
        book_close(&row->lock);
    }
    say(entrypoint, its.best, fault, pool);
    apr_pool_destroy(pool);
    return NULL;
}

/* Have the name looked up if that is due, in a thread that nobody waits for: getaddrinfo() may take
 * half a minute, and its process may end before.  Where none can be started, this one does it. */
static void begin_lookup(walt_address *address)
{
    name_row *row = address->row;
    apr_time_t now = waiting_clock();
    pthread_t thread;
    sigset_t all, former;
    int is_due, rv;

    if (book_open(&row->lock) == BOOK_CLOSED)
        return;
    is_due = (!*row->found.best || age_of(row) >= ADDRESS_AGEING)
             && (!row->looking || now - row->looking >= LOOKUP_LOST);
    if (is_due)
        row->looking = now;
    book_close(&row->lock);
    if (!is_due)
        return;
    sigfillset(&all);           /* httpd's signals are for its own threads */
    pthread_sigmask(SIG_SETMASK, &all, &former);
    rv = pthread_create(&thread, NULL, look_up, address);
    pthread_sigmask(SIG_SETMASK, &former, NULL);
    if (rv == 0)
        pthread_detach(thread);
    else
        (void)look_up(address);
}

/* See what mod_proxy is to be told, waiting for the lookup under way as long as that helps.  0: no
 * address is known. */
static int await_finding(name_row *row, finding *chosen)
{
    int waits;

    do {
        apr_interval_time_t patience = 0;

        if (book_open(&row->lock) == BOOK_CLOSED) {
            *chosen->best = '\0';
            return 1;
        }
        if (!*row->found.best)
            patience = LOOKUP_WAIT;
        else if (age_of(row) >= ADDRESS_TTL && row->fault == APR_SUCCESS)
            patience = LOOKUP_SHORT_WAIT;
        waits = row->looking && waiting_clock() - row->looking < patience;
        *chosen = row->found;
        if (row->fault != APR_SUCCESS || age_of(row) >= FOUND_LASTS)
            chosen->is_by_name = 0;
        book_close(&row->lock);
        if (waits)
            apr_sleep(STEP);
    } while (waits);
    return *chosen->best != '\0';
}

/* ------------------------------------------------------------------ telling mod_proxy */

int walt_address_is_worker_of(const proxy_worker *worker, const char *url)
{
    apr_size_t length = strlen(worker->s->name_ex);

    return strncmp(worker->s->name_ex, url, length) == 0 && length + 1 >= strlen(url);
}

/* Does this worker ask our WalT server at an address that it keeps for good?  One to which the
 * administrator gave an addressttl or disablereuse looks the name up itself. */
static int is_to_be_told(const proxy_worker *worker, const walt_vpn_entrypoint *entrypoint)
{
    return worker->s->is_address_reusable && worker->s->address_ttl < 0 && !*worker->s->uds_path
           && walt_address_is_worker_of(worker, entrypoint->url);
}

/* Have this process's worker connect to what host, a name or an address, stands for.  Is that the
 * best address, to begin with? */
static int tell_host(request_rec *r, proxy_worker *worker, const char *host, apr_port_t port,
                     const char *best)
{
    proxy_conn_rec *connection;
    apr_sockaddr_t *former, *none;
    char first[ADDRESS_ROOM] = "";

    /* What is resolved is compared with the connection's address, and dropped when they are the
     * same; but that may be a part of what the worker has. */
    if (apr_sockaddr_info_get(&none, "255.255.255.255", APR_INET, 0, 0, r->pool) != APR_SUCCESS
        || ap_proxy_acquire_connection("http", &connection, worker, r->server) != OK)
        return 0;
    former = connection->addr;
    connection->addr = none;
    if (ap_proxy_determine_address("http", connection, host, port, PROXY_DETERMINE_ADDRESS_CHECK,
                                   NULL, r->server) == APR_SUCCESS)
        (void)apr_sockaddr_ip_getbuf(first, sizeof(first), connection->addr);
    else
        connection->addr = former;
    ap_proxy_release_connection("http", connection, r->server);
    return strcmp(first, best) == 0;
}

/*
 * Tell this process's worker what is news to it.  That it may resolve the name is, too: when it has
 * all addresses it can go on to the next, and its connections have the name by which they are kept.
 */
static void tell(request_rec *r, proxy_worker *worker, walt_address *address,
                 const finding *chosen)
{
    const walt_vpn_entrypoint *entrypoint = address->entrypoint;
    finding *told = &address->told;

    if (!*chosen->best || !PROXY_WORKER_IS_USABLE(worker))
        return;
    pthread_mutex_lock(&address->telling);
    if (strcmp(told->best, chosen->best) != 0 || (chosen->is_by_name && !told->is_by_name)) {
        told->is_by_name = chosen->is_by_name
                           && tell_host(r, worker, entrypoint->host, entrypoint->port,
                                        chosen->best);
        if (told->is_by_name
            || tell_host(r, worker, chosen->best, entrypoint->port, chosen->best))
            apr_cpystrn(told->best, chosen->best, ADDRESS_ROOM);
    }
    pthread_mutex_unlock(&address->telling);
}

/* mod_proxy is about to ask a server; proxyname: by way of another proxy, whose address is none of
 * ours to choose. */
static int walt_vpn_scheme_handler(request_rec *r, proxy_worker *worker, proxy_server_conf *conf,
                                   char *url, const char *proxyname, apr_port_t proxyport)
{
    const walt_vpn_entrypoint *entrypoint = entrypoint_of(r->server);
    finding chosen;

    (void)conf;
    (void)url;
    (void)proxyport;
    if (!entrypoint || !entrypoint->address || proxyname || !is_to_be_told(worker, entrypoint))
        return DECLINED;
    begin_lookup(entrypoint->address);
    if (!await_finding(entrypoint->address->row, &chosen))
        return ap_proxyerror(r, HTTP_INTERNAL_SERVER_ERROR,
                             apr_pstrcat(r->pool, "DNS lookup failure for: ", entrypoint->host,
                                         NULL));
    tell(r, worker, entrypoint->address, &chosen);
    return DECLINED;
}

void walt_address_register_hooks(void)
{
    /* Before mod_proxy_http's (FIRST), which connects.  Without mod_proxy, check_config refuses to
     * start. */
    if (proxy_hook_scheme_handler)
        proxy_hook_scheme_handler(walt_vpn_scheme_handler, NULL, NULL, APR_HOOK_REALLY_FIRST);
}
