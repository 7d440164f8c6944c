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
#include "walt/race.h"

#include "apr_strings.h"
#include "http_log.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>

/* Weak, as in site/directives.c. */
#pragma weak ap_proxy_acquire_connection
#pragma weak ap_proxy_determine_address
#pragma weak ap_proxy_release_connection
#pragma weak ap_proxyerror
#pragma weak proxy_hook_scheme_handler

/* Counts the changes of what the bytes in shared memory mean. */
#define LAYOUT 1

/* Room for an address as text: IPv6 with a zone. */
#define ADDRESS_ROOM 80

/* So long after the name was found mod_proxy finds it as well, and fast. */
#define FOUND_LASTS apr_time_from_msec(500)

/* Between two looks at a lookup that is waited for. */
#define STEP apr_time_from_msec(2)

/* The one kind of trouble there is. */
#define TROUBLE_UNRESOLVED 1

/* The addresses of a name. */
typedef struct {
    int count;                  /* 0: none is known */
    int best;                   /* the one that is to be asked */
    int is_proven;              /* which takes connections, or is the only one */
    char text[RACE_MAX][ADDRESS_ROOM];  /* in the resolver's order */
} address_list;

/* What is known of a WalT server's name.  In shared memory. */
typedef struct {
    book lock;
    address_list list;          /* as last found */
    apr_uint32_t serial;        /* counts what mod_proxy is to be told; 0: nothing */
    apr_uint32_t lookups;       /* that have ended */
    apr_time_t looking;         /* when the lookup under way began, by waiting_clock(); 0: none */
    apr_time_t ended;           /* when the last lookup did; 0: it is not trusted any more */
    apr_status_t fault;         /* of the last lookup */
} name_row;

/* The address of an entrypoint's WalT server.  In pconf, so each process has its own. */
typedef struct walt_address {
    const walt_vpn_entrypoint *entrypoint;
    name_row *row;
    const char *who;            /* its troubles are known under */
    pthread_mutex_t telling;    /* held by the thread that tells mod_proxy */
    atomic_uint told;           /* the serial of what this process's worker was told */
    atomic_int was_by_name;     /* that was the name */
} walt_address;

/* What mod_proxy is to be told. */
typedef struct {
    apr_uint32_t serial;
    int is_by_name;             /* the name, which it resolves itself: the order of that is right,
                                 * and a name server has just answered */
    char best[ADDRESS_ROOM];
} choice;

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

/* ------------------------------------------------------------------ what is known */

static const char *best_of(const address_list *list)
{
    return list->count ? list->text[list->best] : "";
}

static int has(const address_list *list, const char *text)
{
    int i;

    for (i = 0; i < list->count; i++) {
        if (strcmp(list->text[i], text) == 0)
            return 1;
    }
    return 0;
}

/* Are these the same addresses, in whatever order? */
static int are_same(const address_list *some, const address_list *others)
{
    int i;

    for (i = 0; i < some->count; i++) {
        if (!has(others, some->text[i]))
            return 0;
    }
    return some->count == others->count;
}

/* May mod_proxy go through the addresses as the resolver gives them? */
static int is_in_order(const address_list *list)
{
    return list->is_proven && list->best == 0;
}

/* Is mod_proxy to be told what was found, where it was told the former list? */
static int differs(const address_list *former, const address_list *found)
{
    return !are_same(former, found) || strcmp(best_of(former), best_of(found)) != 0
           || is_in_order(former) != is_in_order(found);
}

/* Write down what a lookup found, or that it found nothing; it is over, or goes on. */
static void publish(name_row *row, const address_list *found, apr_status_t fault, int is_over)
{
    /* Without the book the lookup counts as lost, in a while. */
    if (book_open(&row->lock) == BOOK_CLOSED)
        return;
    if (found->count && differs(&row->list, found))
        row->serial++;
    if (found->count)           /* what was known once is never forgotten */
        row->list = *found;
    row->fault = fault;
    if (is_over)
        row->ended = apr_time_now();
    row->looking = is_over ? 0 : waiting_clock();
    row->lookups += is_over;
    book_close(&row->lock);
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

/* ------------------------------------------------------------------ looking up */

/* Put the addresses that were found into a list.  Returns how many there are. */
static int list_them(address_list *list, apr_sockaddr_t **addresses, apr_sockaddr_t *found)
{
    for (; found && list->count < RACE_MAX; found = found->next) {
        if (apr_sockaddr_ip_getbuf(list->text[list->count], ADDRESS_ROOM, found) == APR_SUCCESS)
            addresses[list->count++] = found;
    }
    return list->count;
}

/* The name server told nothing: the addresses that it told last are those that there are. */
static void list_former(address_list *list, apr_sockaddr_t **addresses, const address_list *former,
                        apr_port_t port, apr_pool_t *pool)
{
    apr_sockaddr_t *found;
    int i;

    for (i = 0; i < former->count; i++) {
        if (apr_sockaddr_info_get(&found, former->text[i], APR_UNSPEC, port, 0, pool)
            == APR_SUCCESS)
            (void)list_them(list, addresses, found);
    }
}

/* Which of these is to be asked?  Where none takes a connection, the former one. */
static void choose_best(address_list *list, apr_sockaddr_t *const *addresses,
                        const address_list *former, apr_pool_t *pool)
{
    int i, winner = list->count > 1 ? race_winner(pool, addresses, list->count, RACE_TIME) : 0;

    list->is_proven = winner >= 0;
    list->best = winner >= 0 ? winner : 0;
    for (i = 0; winner < 0 && i < list->count; i++) {
        if (strcmp(list->text[i], best_of(former)) == 0)
            list->best = i;
    }
}

/* Tell the administrator what has changed. */
static void say(const walt_address *address, const address_list *former, const address_list *found,
                apr_status_t fault)
{
    const walt_vpn_entrypoint *entrypoint = address->entrypoint;

    if (fault == APR_SUCCESS && troubles_forget(address->who))
        ap_log_error(APLOG_MARK, APLOG_NOTICE, 0, entrypoint->server, "%s: an address of its name "
                     "is found again", entrypoint->where);
    if (fault != APR_SUCCESS && found->count
        && !troubles_met_before(address->who, TROUBLE_UNRESOLVED))
        ap_log_error(APLOG_MARK, APLOG_WARNING, fault, entrypoint->server, "%s: no address of its "
                     "name is found any more: the last one that worked, %s, serves until there is "
                     "one; try \"getent hosts %s\", and mend this machine's name server",
                     entrypoint->where, best_of(found), entrypoint->host);
    if (found->count > 1 && found->is_proven && strcmp(best_of(former), best_of(found)) != 0)
        ap_log_error(APLOG_MARK, APLOG_INFO, 0, entrypoint->server, "%s: of %d addresses it is %s "
                     "that takes a connection first", entrypoint->where, found->count,
                     best_of(found));
}

/* What is known from before this lookup. */
static address_list known_before(name_row *row)
{
    address_list list = { .count = 0 };

    if (book_open(&row->lock) != BOOK_CLOSED) {
        list = row->list;
        book_close(&row->lock);
    }
    return list;
}

/* Look the name up, in memory of its own: the process may end meanwhile. */
static void *look_up(void *data)
{
    const walt_address *address = data;
    const walt_vpn_entrypoint *entrypoint = address->entrypoint;
    address_list former = known_before(address->row), list = { .count = 0 };
    apr_sockaddr_t *addresses[RACE_MAX], *found;
    apr_pool_t *pool;
    apr_status_t fault = apr_pool_create_unmanaged_ex(&pool, NULL, NULL);

    if (fault != APR_SUCCESS) {
        publish(address->row, &former, fault, 1);
        return NULL;
    }
    /* As mod_proxy does. */
    fault = apr_sockaddr_info_get(&found, entrypoint->host, APR_UNSPEC, entrypoint->port, 0, pool);
    if (fault == APR_SUCCESS && list_them(&list, addresses, found) == 0)
        fault = APR_EGENERAL;
    if (fault != APR_SUCCESS)
        list_former(&list, addresses, &former, entrypoint->port, pool);
    /* Who waits for any address at all may have one now. */
    if (!former.count && list.count > 1)
        publish(address->row, &list, fault, 0);
    if (list.count)
        choose_best(&list, addresses, &former, pool);
    publish(address->row, &list, fault, 1);
    say(address, &former, &list, fault);
    apr_pool_destroy(pool);
    return NULL;
}

/* Have the name looked up, in a thread that nobody waits for: getaddrinfo() may take half a minute,
 * and its process may end before.  Where none can be started, this one does it. */
static void begin_lookup(walt_address *address)
{
    pthread_attr_t kind;
    pthread_t thread;
    sigset_t all, former;
    int rv = pthread_attr_init(&kind);

    if (rv == 0) {
        sigfillset(&all);       /* httpd's signals are for its own threads */
        pthread_sigmask(SIG_SETMASK, &all, &former);
        pthread_attr_setdetachstate(&kind, PTHREAD_CREATE_DETACHED);
        rv = pthread_create(&thread, &kind, look_up, address);
        pthread_sigmask(SIG_SETMASK, &former, NULL);
        pthread_attr_destroy(&kind);
    }
    if (rv != 0)
        (void)look_up(address);
}

/* ------------------------------------------------------------------ choosing */

/* What a request has seen of lookups while it waits. */
typedef struct {
    apr_time_t began;           /* by waiting_clock() */
    apr_uint32_t lookups;       /* that had ended when it came */
} patience;

/* Should this request have another look in a moment?  In the open book.  *is_mine: it is to begin a
 * lookup before that. */
static int is_to_wait(name_row *row, const patience *since, int *is_mine)
{
    apr_time_t now = waiting_clock();
    apr_interval_time_t age = apr_time_now() - row->ended;
    int is_old = age < 0 || age >= ADDRESS_TTL;

    *is_mine = 0;
    if (row->list.count ? !is_old && age < ADDRESS_AGEING : row->lookups != since->lookups)
        return 0;               /* there is nothing better to be had */
    if (!row->looking || now - row->looking >= LOOKUP_LOST) {
        row->looking = now;
        *is_mine = 1;
    }
    if (!row->list.count)
        return now - since->began < LOOKUP_WAIT;
    if (row->lookups == 0)      /* the first one has found addresses, and tries them */
        return now - row->looking < RACE_TIME;
    return is_old && row->fault == APR_SUCCESS && now - row->looking < LOOKUP_SHORT_WAIT;
}

/* Find out what mod_proxy is to be told, waiting for it as long as that helps.  0: no address is
 * known. */
static int choose(walt_address *address, choice *chosen)
{
    name_row *row = address->row;
    patience since = { 0, 0 };
    int waits, is_mine, count;

    do {
        if (since.began)
            apr_sleep(STEP);
        if (book_open(&row->lock) == BOOK_CLOSED) {
            *chosen = (choice){ .serial = atomic_load(&address->told) };        /* no news */
            return 1;
        }
        if (!since.began)
            since = (patience){ .began = waiting_clock(), .lookups = row->lookups };
        waits = is_to_wait(row, &since, &is_mine);
        count = row->list.count;
        chosen->serial = row->serial;
        chosen->is_by_name = is_in_order(&row->list) && row->fault == APR_SUCCESS
                             && apr_time_now() - row->ended < FOUND_LASTS;
        apr_cpystrn(chosen->best, best_of(&row->list), ADDRESS_ROOM);
        book_close(&row->lock);
        if (is_mine)
            begin_lookup(address);
    } while (waits);
    return count;
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

/* Is this news to the worker?  That it may resolve the name is, too: when it has all addresses it
 * can go on to the next, and its connections have the name by which they are kept. */
static int is_news(walt_address *address, const choice *chosen)
{
    apr_int32_t ahead = (apr_int32_t)(chosen->serial - atomic_load(&address->told));

    return ahead > 0 || (ahead == 0 && chosen->is_by_name && !atomic_load(&address->was_by_name));
}

static void tell(request_rec *r, proxy_worker *worker, walt_address *address, const choice *chosen)
{
    const walt_vpn_entrypoint *entrypoint = address->entrypoint;
    int is_done = 0;

    if (!is_news(address, chosen) || !PROXY_WORKER_IS_USABLE(worker))
        return;
    pthread_mutex_lock(&address->telling);
    if (is_news(address, chosen)) {
        if (chosen->is_by_name)
            is_done = tell_host(r, worker, entrypoint->host, entrypoint->port, chosen->best);
        atomic_store(&address->was_by_name, is_done);
        if (is_done || tell_host(r, worker, chosen->best, entrypoint->port, chosen->best))
            atomic_store(&address->told, chosen->serial);
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
