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
#define LAYOUT 2

/* Most seats of all kinds. */
#define SEATS 8192

/* Addresses are told apart by this many hashes. */
#define GROUPS 4096

typedef struct {
    apr_uint64_t number;        /* 0: a free seat */
    apr_time_t began;
    pid_t process;
    unsigned group;             /* of the client's address */
    int entrypoint;             /* the place of its counters */
    seat_kind kind;
    volatile int is_sent_away;  /* read without the book */
} seat;

typedef struct {
    book lock;
    unsigned salt;              /* of the addresses' hash, which nobody can foretell */
    apr_uint64_t last_number;
    unsigned taken[SEAT_KINDS];
    unsigned short groups[SEAT_KINDS][GROUPS];  /* seats by address */
    seat seats[SEATS];
} room;

static room *shared;            /* NULL until post_config has run */

static unsigned most[SEAT_KINDS];       /* seats of each kind */

apr_status_t waiting_open(apr_pool_t *process_pool)
{
    apr_status_t rv;

    shared = shared_memory_open(&rv, sizeof(room), process_pool, "waiting room %d", LAYOUT);
    if (shared && !shared->salt)
        rv = apr_generate_random_bytes((unsigned char *)&shared->salt, sizeof(shared->salt));
    return rv;
}

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

/* Half of the threads, and half of the connections that the event MPM holds with them. */
void waiting_size(void)
{
    const char *factor = find_directive(ap_conftree, "AsyncRequestWorkerFactor");
    double connections = 1 + (factor ? atof(factor) : 2);
    int threads = 0, processes = 0, all;

    ap_mpm_query(AP_MPMQ_MAX_THREADS, &threads);
    ap_mpm_query(AP_MPMQ_MAX_DAEMONS, &processes);
    all = (threads > 0 ? threads : 1) * (processes > 0 ? processes : 1);
    most[SEAT_THREAD] = all > 3 ? (unsigned)all / 2 : 1;
    most[SEAT_SUSPENDED] = (unsigned)(all * connections / 2);
    if (most[SEAT_SUSPENDED] > SEATS / 2)
        most[SEAT_SUSPENDED] = SEATS / 2;
    if (most[SEAT_THREAD] > SEATS / 2)
        most[SEAT_THREAD] = SEATS / 2;
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

static void count_seat(const seat *taken, int change)
{
    shared->taken[taken->kind] += (unsigned)change;
    shared->groups[taken->kind][taken->group] += (unsigned short)change;
}

/* Give up a seat, unless it was sent away before: then that was done. */
static void free_seat(seat *taken)
{
    if (!taken->is_sent_away)
        count_seat(taken, -1);
    taken->number = 0;
}

/* The seat of this group that was taken last, or first; NULL: there is none. */
static seat *seat_of(seat_kind kind, unsigned group, int is_last)
{
    seat *found = NULL;
    int i;

    for (i = 0; i < SEATS; i++) {
        seat *taken = &shared->seats[i];

        if (taken->number && taken->kind == kind && taken->group == group && !taken->is_sent_away
            && (!found || (taken->number > found->number) == is_last))
            found = taken;
    }
    return found;
}

/* The seat that somebody of this group is to have: the newest of the address that has the most of
 * this kind, or if that is the group itself, its longest taken.  NULL: there is none, or for too
 * short a time yet.  Who sat there has had something, so that it does not lose one of the two
 * resumes that may bring nothing (facts.md 1). */
static seat *one_too_many(seat_kind kind, unsigned group)
{
    unsigned largest = group, mine = shared->groups[kind][group] + 1u;
    seat *oldest;
    int i;

    for (i = 0; i < GROUPS; i++) {
        if (shared->groups[kind][i] > shared->groups[kind][largest])
            largest = (unsigned)i;
    }
    if (shared->groups[kind][largest] > mine)
        return seat_of(kind, largest, 1);
    oldest = seat_of(kind, group, 0);
    return oldest && waiting_clock() - oldest->began >= TURN ? oldest : NULL;
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
    count_seat(other, -1);
    return 1;
}

/* The number of a free seat; -1: there is none. */
static int free_row(void)
{
    int i, start = (int)(shared->last_number % SEATS);

    for (i = 0; i < SEATS; i++) {
        if (shared->seats[(start + i) % SEATS].number == 0)
            return (start + i) % SEATS;
    }
    return -1;
}

/* ------------------------------------------------------------------ waiting */

int waiting_begin(waiting *wait, seat_kind kind, int entrypoint, const apr_sockaddr_t *client)
{
    unsigned group = waiting_hash(shared->salt, client) % GROUPS;

    wait->row = -1;
    wait->entrypoint = entrypoint;
    wait->began = waiting_clock();
    if (book_open(&shared->lock) == BOOK_CLOSED)
        return 0;
    if (make_place(kind, group) && (wait->row = free_row()) >= 0) {
        seat *taken = &shared->seats[wait->row];

        *taken = (seat){ .number = ++shared->last_number, .began = wait->began,
                         .process = getpid(), .group = group,
                         .entrypoint = entrypoint, .kind = kind };
        wait->number = taken->number;
        count_seat(taken, 1);
    }
    book_close(&shared->lock);
    return wait->row >= 0;
}

int waiting_is_sent_away(const waiting *wait)
{
    return wait->row >= 0 && shared->seats[wait->row].is_sent_away;
}

void waiting_end(waiting *wait)
{
    if (wait->row < 0 || book_open(&shared->lock) == BOOK_CLOSED)
        return;
    if (shared->seats[wait->row].number == wait->number)
        free_seat(&shared->seats[wait->row]);
    book_close(&shared->lock);
    wait->row = -1;
    histogram_add_time(&counters_at(wait->entrypoint)->waiting_times,
                       waiting_clock() - wait->began);
}

unsigned waiting_count(seat_kind kind, int entrypoint)
{
    unsigned count = 0;
    int i;

    if (book_open(&shared->lock) == BOOK_CLOSED)
        return 0;
    for (i = 0; i < SEATS; i++)
        count += shared->seats[i].number && shared->seats[i].kind == kind
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
        if (shared->seats[i].number && shared->seats[i].process == process)
            free_seat(&shared->seats[i]);
    }
    book_close(&shared->lock);
}
