/*
 * walt/race.c: which of several addresses takes a connection first.
 *
 * RFC 8305's "happy eyeballs": connections are begun one after the other, the families taking
 * turns, and the first that is made wins.  An address that is dead costs its head start.
 */
#include "walt/race.h"
#include "ledger/waiting.h"

#include "apr_poll.h"
#include "apr_portable.h"

#include <sys/socket.h>

/* RFC 8305's "connection attempt delay"; who fails ends it. */
#define HEAD_START apr_time_from_msec(250)

typedef struct {
    apr_pool_t *pool;           /* of the sockets */
    apr_sockaddr_t *const *addresses;
    int count;
    int started[RACE_MAX];      /* who is under way or done */
    int family;                 /* of the last one that was started */
    apr_pollfd_t running[RACE_MAX];
    int running_count;
} race;

/* Who is to start next: the first of the other family, or else the first; -1: all have. */
static int next_starter(const race *all)
{
    int i, first = -1;

    for (i = 0; i < all->count; i++) {
        if (all->started[i])
            continue;
        if (all->addresses[i]->family != all->family)
            return i;
        if (first < 0)
            first = i;
    }
    return first;
}

/* Begin to connect to this address.  Is it connected at once? */
static int start(race *all, int index)
{
    apr_sockaddr_t *address = all->addresses[index];
    apr_pollfd_t *runner = &all->running[all->running_count];
    apr_socket_t *socket;
    apr_status_t rv;

    all->started[index] = 1;
    all->family = address->family;
    if (apr_socket_create(&socket, address->family, SOCK_STREAM, APR_PROTO_TCP, all->pool)
        != APR_SUCCESS)
        return 0;               /* this machine may lack the family */
    (void)apr_socket_timeout_set(socket, 0);
    rv = apr_socket_connect(socket, address);
    if (APR_STATUS_IS_EINPROGRESS(rv)) {
        runner->desc_type = APR_POLL_SOCKET;
        runner->reqevents = APR_POLLOUT;
        runner->desc.s = socket;
        runner->client_data = (void *)&all->addresses[index];
        all->running_count++;
    }
    else {
        (void)apr_socket_close(socket);
    }
    return rv == APR_SUCCESS;
}

/* Has this one ended by being connected? */
static int is_connected(const apr_pollfd_t *runner)
{
    apr_os_sock_t descriptor;
    int error = 0;
    socklen_t size = sizeof(error);

    return apr_os_sock_get(&descriptor, runner->desc.s) == APR_SUCCESS
           && getsockopt(descriptor, SOL_SOCKET, SO_ERROR, &error, &size) == 0 && error == 0;
}

/* Wait so long for those that run.  Returns who is connected, or -1; who failed runs no more. */
static int await(race *all, apr_interval_time_t within)
{
    int i, ended;

    if (apr_poll(all->running, all->running_count, &ended, within) != APR_SUCCESS)
        return -1;
    for (i = all->running_count - 1; i >= 0; i--) {
        if (!all->running[i].rtnevents)
            continue;
        if (is_connected(&all->running[i]))
            return (int)((apr_sockaddr_t *const *)all->running[i].client_data - all->addresses);
        (void)apr_socket_close(all->running[i].desc.s);
        all->running[i] = all->running[--all->running_count];
    }
    return -1;
}

int race_winner(apr_pool_t *pool, apr_sockaddr_t *const *addresses, int count,
                apr_interval_time_t within)
{
    race all = { .addresses = addresses, .count = count, .family = APR_UNSPEC };
    apr_time_t now = waiting_clock(), end = now + within, next_start = now;
    int next, before, winner = -1;

    if (apr_pool_create(&all.pool, pool) != APR_SUCCESS)
        return -1;
    while (winner < 0 && (now = waiting_clock()) < end) {
        next = next_starter(&all);
        before = all.running_count;
        if (next >= 0 && now >= next_start) {
            winner = start(&all, next) ? next : -1;
            next_start = all.running_count > before ? now + HEAD_START : now;
        }
        else if (all.running_count) {
            winner = await(&all, next >= 0 && next_start < end ? next_start - now : end - now);
            if (all.running_count < before)
                next_start = now;
        }
        else {
            break;
        }
    }
    apr_pool_destroy(all.pool);
    return winner;
}
