/*
 * ledger/waiting.c: the waiting room: who waits on behalf of nodes, and how many may.
 *
 * A request that waits takes what the rest of the server needs: a thread, or one of the connections
 * that the MPM holds.  Half of them stay free.  Whoever takes most gives way first, the newest
 * before the others (fair queueing with the longest queue dropped): so a fleet behind one address
 * waits as long as nobody else needs the room, and a stranger's flood turns on itself.
 */
#include "ledger/waiting.h"
#include "ledger/book.h"
#include "ledger/counters.h"
#include "ledger/shared_memory.h"
#include "request/times.h"

#include "apr_general.h"
#include "ap_mpm.h"
#include "http_config.h"

#include <time.h>
#include <unistd.h>

/* Counts the changes of what the bytes mean. */
#define LAYOUT 3

/* Most seats of all kinds. */
#define SEATS 8192

/* Addresses are told apart by this many hashes. */
#define GROUPS 4096

struct seat {
    pid_t process;              /* 0: a free seat */
    apr_time_t began;
    unsigned group;             /* of the client's address */
    int entrypoint;             /* the place of its counters */
    seat_kind kind;
    volatile int is_sent_away;  /* read without the book */
};

typedef struct {
    book lock;
    unsigned salt;              /* of the addresses' hash, which nobody can foretell */
    unsigned taken[SEAT_KINDS]; /* by those who are not sent away */
    seat seats[SEATS];
} room;

static room *shared;            /* NULL until post_config has run */

static unsigned most[SEAT_KINDS];       /* seats of each kind */

/* The value of the first such directive in this part of the configuration, or in a section of it;
 * NULL: there is none. */
static const char *find_directive(const ap_directive_t *directive, const char *name)
{
    const char *found = NULL;

    for (; directive && !found; directive = directive->next) {
        if (ap_cstr_casecmp(directive->directive, name) == 0)
            found = directive->args;
        else if (directive->first_child)
            found = find_directive(directive->first_child, name);
    }
    return found;
}

/* Half of these, as far as there are seats. */
static unsigned half(double all)
{
    return all < 2 ? 1 : all > SEATS ? SEATS / 2 : (unsigned)(all / 2);
}

/* Half of the threads, and half of the connections that the event MPM holds with them. */
static void count_seats(void)
{
    const char *factor = find_directive(ap_conftree, "AsyncRequestWorkerFactor");
    int threads = 0, processes = 1;
    double all;

    ap_mpm_query(AP_MPMQ_MAX_THREADS, &threads);
    ap_mpm_query(AP_MPMQ_MAX_DAEMONS, &processes);
    all = (double)processes * (threads > 0 ? threads : 1);      /* prefork has none */
    most[SEAT_THREAD] = half(all);
    most[SEAT_SUSPENDED] = half(all * (1 + (factor ? atof(factor) : 2)));
}

apr_status_t waiting_open(apr_pool_t *process_pool)
{
    apr_status_t rv;

    count_seats();
    shared = shared_memory_open(&rv, sizeof(room), process_pool, "waiting room %d", LAYOUT);
    if (shared && !shared->salt)
        rv = apr_generate_random_bytes((unsigned char *)&shared->salt, sizeof(shared->salt));
    return rv;
}

apr_time_t waiting_clock(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return apr_time_from_sec(now.tv_sec) + now.tv_nsec / 1000;
}

/* ------------------------------------------------------------------ seats, in the open book */

unsigned waiting_hash(unsigned salt, const apr_sockaddr_t *client)
{
    const unsigned char *address = client->ipaddr_ptr;
    int i, length = client->ipaddr_len;
    unsigned hash = salt;

    if (length == sizeof(struct in6_addr)
        && !IN6_IS_ADDR_V4MAPPED((const struct in6_addr *)client->ipaddr_ptr))
        length /= 2;
    for (i = 0; i < length; i++)
        hash = (hash ^ address[i]) * 16777619u;         /* FNV-1a */
    return hash ^ hash >> 16;
}

/* Is this seat taken by somebody who is not sent away? */
static int is_taken(const seat *one, seat_kind kind)
{
    return one->process && one->kind == kind && !one->is_sent_away;
}

/* Give up a seat. */
static void free_seat(seat *taken)
{
    if (!taken->is_sent_away)
        shared->taken[taken->kind]--;
    taken->process = 0;
}

/* The seat that somebody of this group is to have: the newest of the address that has the most of
 * this kind, or if that is the group itself, its longest taken.  NULL: there is none, or for too
 * short a time yet.  Who sat there has had something, so that it does not lose one of the two
 * resumes that may bring nothing (facts.md 1). */
static seat *one_too_many(seat_kind kind, unsigned group)
{
    unsigned short seats[GROUPS] = { 0 };
    unsigned largest = group;
    seat *one, *found = NULL;
    int is_others;

    seats[group] = 1;           /* the one that is looked for */
    for (one = shared->seats; one < shared->seats + SEATS; one++) {
        if (is_taken(one, kind) && ++seats[one->group] > seats[largest])
            largest = one->group;
    }
    is_others = seats[largest] > seats[group];
    if (!is_others)
        largest = group;
    for (one = shared->seats; one < shared->seats + SEATS; one++) {
        if (is_taken(one, kind) && one->group == largest
            && (!found || (one->began > found->began) == is_others))
            found = one;
    }
    return found && (is_others || waiting_clock() - found->began >= TURN) ? found : NULL;
}

/* Have a seat for one more of this group; 0: it is the one too many. */
static int make_place(seat_kind kind, unsigned group)
{
    seat *other;

    if (shared->taken[kind] < most[kind])
        return 1;
    if (!(other = one_too_many(kind, group)))
        return 0;
    other->is_sent_away = 1;
    shared->taken[kind]--;
    return 1;
}

/* A seat that nobody has; NULL: there is none. */
static seat *find_free(void)
{
    int i;

    for (i = 0; i < SEATS; i++) {
        if (!shared->seats[i].process)
            return &shared->seats[i];
    }
    return NULL;
}

/* ------------------------------------------------------------------ waiting */

seat *waiting_begin(seat_kind kind, int entrypoint, const apr_sockaddr_t *client)
{
    unsigned group = waiting_hash(shared->salt, client) % GROUPS;
    seat *taken = NULL;

    if (book_open(&shared->lock) == BOOK_CLOSED)
        return NULL;
    if (make_place(kind, group) && (taken = find_free())) {
        *taken = (seat){ .process = getpid(), .began = waiting_clock(), .group = group,
                         .entrypoint = entrypoint, .kind = kind };
        shared->taken[kind]++;
    }
    book_close(&shared->lock);
    return taken;
}

int waiting_is_sent_away(const seat *taken)
{
    return taken && taken->is_sent_away;
}

void waiting_end(seat **taken)
{
    seat *left = *taken;

    if (!left || book_open(&shared->lock) == BOOK_CLOSED)
        return;
    histogram_add_time(&counters_at(left->entrypoint)->waiting_times,
                       waiting_clock() - left->began);
    free_seat(left);
    book_close(&shared->lock);
    *taken = NULL;
}

unsigned waiting_threads(int entrypoint)
{
    unsigned count = 0;
    int i;

    if (book_open(&shared->lock) == BOOK_CLOSED)
        return 0;
    for (i = 0; i < SEATS; i++)
        count += shared->seats[i].process && shared->seats[i].kind == SEAT_THREAD
                 && shared->seats[i].entrypoint == entrypoint;
    book_close(&shared->lock);
    return count;
}

void waiting_bury(pid_t process)
{
    int i;

    if (book_open(&shared->lock) == BOOK_CLOSED)
        return;
    for (i = 0; i < SEATS; i++) {
        if (shared->seats[i].process == process)
            free_seat(&shared->seats[i]);
    }
    book_close(&shared->lock);
}
