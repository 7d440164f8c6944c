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
#define LAYOUT 2

/* Most addresses of a name that are looked at. */
#define ADDRESSES 16

/* Room for an address as text: IPv6 with a zone. */
#define ADDRESS_ROOM 80

/* RFC 8305's "connection attempt delay". */
#define HEAD_START apr_time_from_msec(250)

/* So long after the name was found mod_proxy finds it as well, and fast. */
#define FOUND_LASTS apr_time_from_msec(500)

/* Between two looks at a lookup that is waited for. */
#define STEP apr_time_from_msec(2)

/* The one kind of trouble there is. */
#define TROUBLE_UNRESOLVED 1

/* The addresses of a name. */
typedef struct {
    int count;                  /* 0: none is known */
    int is_in_order;            /* as the resolver gives them, the first is the best */
    char text[ADDRESSES][ADDRESS_ROOM];         /* first the one that is to be asked */
} address_list;

/* What is known of a WalT server's name.  In shared memory. */
typedef struct {
    book lock;
    address_list list;          /* as last found */
    apr_time_t looking;         /* when the lookup under way began, by waiting_clock(); 0: none */
    apr_time_t ended;           /* when the last lookup did; 0: it is not trusted any more */
    apr_status_t fault;         /* of the last lookup */
} name_row;

/* What mod_proxy is told. */
typedef struct {
    char best[ADDRESS_ROOM];    /* "": nothing */
    int is_by_name;             /* the name, which it resolves itself: the order of that is right,
                                 * and a name server has just answered */
} choice;

/* The address of an entrypoint's WalT server.  In pconf, so each process has its own. */
typedef struct walt_address {
    const walt_vpn_entrypoint *entrypoint;
    name_row *row;
    const char *who;            /* its troubles are known under */
    pthread_mutex_t telling;
    choice told;                /* to this process's worker; under the mutex */
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
    address->who = apr_pstrcat(pconf, "address ", entrypoint->url, NULL);
    entrypoint->address = address;
    return pthread_mutex_init(&address->telling, NULL);
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
    if (apr_time_now() - row->ended >= LOOKUP_SHORT_WAIT)
        row->ended = 0;
    book_close(&row->lock);
}

/* ------------------------------------------------------------------ the race */

/*
 * RFC 8305's "happy eyeballs": connections are begun one after the other, and the first that is
 * made wins.  An address that is dead costs its head start, one that refuses nothing.
 */
typedef struct {
    apr_pool_t *pool;           /* of the sockets: who ends them all */
    apr_pollfd_t running[ADDRESSES];
    int count;
} race;

/* Begin to connect to this address.  0: this machine lacks its family, or a way there. */
static int start(race *all, char *address, apr_port_t port)
{
    apr_pollfd_t runner = { .desc_type = APR_POLL_SOCKET, .reqevents = APR_POLLOUT,
                            .client_data = address };
    apr_sockaddr_t *to;
    apr_status_t rv;

    if (apr_sockaddr_info_get(&to, address, APR_UNSPEC, port, 0, all->pool) != APR_SUCCESS
        || apr_socket_create(&runner.desc.s, to->family, SOCK_STREAM, APR_PROTO_TCP, all->pool)
           != APR_SUCCESS)
        return 0;
    (void)apr_socket_timeout_set(runner.desc.s, 0);
    rv = apr_socket_connect(runner.desc.s, to);
    if (rv != APR_SUCCESS && !APR_STATUS_IS_EINPROGRESS(rv))
        return 0;
    all->running[all->count++] = runner;
    return 1;
}

/* Wait until one of those that run has ended, or so long.  Returns the address that is connected,
 * or NULL; who failed runs no more. */
static char *await(race *all, apr_interval_time_t within)
{
    char *winner = NULL;
    int i, ended;

    if (!all->count || apr_poll(all->running, all->count, &ended, within) != APR_SUCCESS)
        return NULL;
    for (i = all->count - 1; i >= 0; i--) {
        if (all->running[i].rtnevents & (APR_POLLERR | APR_POLLHUP))
            all->running[i] = all->running[--all->count];
        else if (all->running[i].rtnevents)
            winner = all->running[i].client_data;
    }
    return winner;
}

/* The address of the list that takes a connection first; NULL: none does in time. */
static char *winner_of(apr_pool_t *pool, address_list *list, apr_port_t port)
{
    race all = { .pool = pool };
    apr_time_t now, end = waiting_clock() + RACE_TIME;
    char *winner = NULL;
    int next = 0;

    while (!winner && (next < list->count || all.count) && (now = waiting_clock()) < end) {
        if (next < list->count && !start(&all, list->text[next++], port))
            continue;
        winner = await(&all, next < list->count ? HEAD_START : end - now);
    }
    return winner;
}

/* ------------------------------------------------------------------ looking up */

/* Put the address first that is to be asked: where none takes a connection, the former one. */
static void put_best_first(const walt_vpn_entrypoint *entrypoint, address_list *list,
                           const char *former, apr_pool_t *pool)
{
    char *best = list->count > 1 ? winner_of(pool, list, entrypoint->port) : list->text[0];
    char first[ADDRESS_ROOM];
    int i;

    if (list->count > 1 && best && strcmp(best, former) != 0)
        ap_log_error(APLOG_MARK, APLOG_INFO, 0, entrypoint->server, "%s: of %d addresses it is %s "
                     "that takes a connection first", entrypoint->where, list->count, best);
    list->is_in_order = best == list->text[0];
    for (i = 0; !best && i < list->count; i++) {
        if (strcmp(list->text[i], former) == 0)
            best = list->text[i];
    }
    if (!best || best == list->text[0])
        return;
    memcpy(first, list->text[0], ADDRESS_ROOM);
    memcpy(list->text[0], best, ADDRESS_ROOM);
    memcpy(best, first, ADDRESS_ROOM);
}

/* Tell the administrator that the name has no address any more, or has one again. */
static void say(const walt_address *address, const char *best, apr_status_t fault)
{
    const walt_vpn_entrypoint *entrypoint = address->entrypoint;

    if (fault == APR_SUCCESS && troubles_forget(address->who))
        ap_log_error(APLOG_MARK, APLOG_NOTICE, 0, entrypoint->server, "%s: an address of its name "
                     "is found again", entrypoint->where);
    if (fault != APR_SUCCESS && *best && !troubles_met_before(address->who, TROUBLE_UNRESOLVED))
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
    address_list former, list = { .count = 0 };
    apr_sockaddr_t *found;
    apr_pool_t *pool;
    apr_status_t fault;

    if (book_open(&row->lock) == BOOK_CLOSED)
        return NULL;
    former = row->list;
    book_close(&row->lock);
    if (apr_pool_create_unmanaged_ex(&pool, NULL, NULL) != APR_SUCCESS)
        return NULL;
    /* As mod_proxy does. */
    fault = apr_sockaddr_info_get(&found, entrypoint->host, APR_UNSPEC, entrypoint->port, 0, pool);
    if (fault != APR_SUCCESS)
        list = former;
    for (; fault == APR_SUCCESS && found && list.count < ADDRESSES; found = found->next)
        (void)apr_sockaddr_ip_getbuf(list.text[list.count++], ADDRESS_ROOM, found);
    put_best_first(entrypoint, &list, former.text[0], pool);
    if (book_open(&row->lock) != BOOK_CLOSED) {
        if (list.count)         /* what was known once is never forgotten */
            row->list = list;
        row->fault = fault;
        row->ended = apr_time_now();
        row->looking = 0;
        book_close(&row->lock);
    }
    say(address, list.text[0], fault);
    apr_pool_destroy(pool);
    return NULL;
}

/* Have the name looked up, in a thread that nobody waits for: getaddrinfo() may take half a minute,
 * and its process may end before.  Where none can be started, this one does it. */
static void begin_lookup(walt_address *address)
{
    pthread_t thread;
    sigset_t all, former;
    int rv;

    sigfillset(&all);           /* httpd's signals are for its own threads */
    pthread_sigmask(SIG_SETMASK, &all, &former);
    rv = pthread_create(&thread, NULL, look_up, address);
    pthread_sigmask(SIG_SETMASK, &former, NULL);
    if (rv == 0)
        pthread_detach(thread);
    else
        (void)look_up(address);
}

/* ------------------------------------------------------------------ choosing */

/*
 * What mod_proxy is to be told, as far as it is known.  In the open book.  *is_mine: this request
 * is to begin a lookup; only at its first look.  Returns whether another look in a moment may show
 * what is better.
 */
static int look(name_row *row, choice *chosen, int is_first, int *is_mine)
{
    apr_time_t now = waiting_clock();
    apr_interval_time_t age = apr_time_now() - row->ended, patience = 0;

    if (age < 0)                /* the clock was set back */
        age = ADDRESS_TTL;
    if (!row->list.count)
        patience = LOOKUP_WAIT;
    else if (age >= ADDRESS_TTL && row->fault == APR_SUCCESS)
        patience = LOOKUP_SHORT_WAIT;
    *is_mine = is_first && (!row->list.count || age >= ADDRESS_AGEING)
               && (!row->looking || now - row->looking >= LOOKUP_LOST);
    if (*is_mine)
        row->looking = now;
    chosen->is_by_name = row->list.is_in_order && row->fault == APR_SUCCESS && age < FOUND_LASTS;
    apr_cpystrn(chosen->best, row->list.text[0], ADDRESS_ROOM);
    return row->looking && now - row->looking < patience;
}

/* Find out what mod_proxy is to be told, waiting for it as long as that helps.  0: no address is
 * known. */
static int choose(walt_address *address, choice *chosen)
{
    int waits = 0, is_mine;

    do {
        if (waits)
            apr_sleep(STEP);
        if (book_open(&address->row->lock) == BOOK_CLOSED) {
            *chosen->best = '\0';
            return 1;
        }
        waits = look(address->row, chosen, !waits, &is_mine);
        book_close(&address->row->lock);
        if (is_mine)
            begin_lookup(address);
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
                 const choice *chosen)
{
    const walt_vpn_entrypoint *entrypoint = address->entrypoint;
    choice *told = &address->told;
    int is_done = 0;

    if (!*chosen->best || !PROXY_WORKER_IS_USABLE(worker))
        return;
    pthread_mutex_lock(&address->telling);
    if (strcmp(told->best, chosen->best) != 0 || (chosen->is_by_name && !told->is_by_name)) {
        if (chosen->is_by_name)
            is_done = tell_host(r, worker, entrypoint->host, entrypoint->port, chosen->best);
        told->is_by_name = is_done;
        if (is_done || tell_host(r, worker, chosen->best, entrypoint->port, chosen->best))
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
    choice chosen;

    (void)conf;
    (void)url;
    (void)proxyport;
    if (!entrypoint || !entrypoint->address || proxyname || !is_to_be_told(worker, entrypoint))
        return DECLINED;
    if (!choose(entrypoint->address, &chosen))
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
