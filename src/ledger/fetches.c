/*
 * ledger/fetches.c: images on their way into a folder.
 */
#include "ledger/fetches.h"
#include "ledger/shared_memory.h"
#include "request/times.h"

#include "apr_strings.h"

#include <errno.h>
#include <signal.h>
#include <unistd.h>

/* Counts the changes of what the bytes mean. */
#define LAYOUT 1

/* Larger than any process's number can be. */
#define NO_PROCESS 0x7fffffffu

/* Runs that were proven and are remembered. */
#define PROVEN_MAX 256

/* A run whose first bytes, or all, are those of a proven one. */
typedef struct {
    counter run;         /* 0: none */
    counter until;       /* so many */
} proven_run;

typedef struct {
    fetch_row fetches[FETCH_ROWS];
    counter last_run;
    proven_run proven[PROVEN_MAX];      /* each at its number's place */
} table;

static table *shared;           /* NULL until post_config has run */

apr_status_t fetches_open(apr_pool_t *process_pool)
{
    void *memory;
    int is_new;
    apr_status_t rv = shared_memory_open(&memory, &is_new, sizeof(table), process_pool,
                                         "fetches %d", LAYOUT);

    if (rv == APR_SUCCESS)
        shared = memory;
    return rv;
}

static int is_alive(pid_t process)
{
    return kill(process, 0) == 0 || errno != ESRCH;
}

/* Take this place, if its process is still this one. */
static int take_fetch(fetch_row *fetch, apr_uint32_t process)
{
    return atomic_compare_exchange_strong(&fetch->process, &process, (apr_uint32_t)getpid());
}

/* A place for a new fetch: a free one, or one whose process is dead.  NULL: there is none. */
static fetch_row *take_fetch_place(void)
{
    int i;

    for (i = 0; i < FETCH_ROWS; i++) {
        if (take_fetch(&shared->fetches[i], 0))
            return &shared->fetches[i];
    }
    for (i = 0; i < FETCH_ROWS; i++) {
        apr_uint32_t process = shared->fetches[i].process;

        if (!is_alive((pid_t)process) && take_fetch(&shared->fetches[i], process))
            return &shared->fetches[i];
    }
    return NULL;
}

int fetches_begin(int entrypoint, const char *digest, dev_t device, ino_t inode)
{
    fetch_row *fetch = take_fetch_place();

    if (!fetch)
        return -1;
    fetch->run = ++shared->last_run;    /* first: what was read of it before is void */
    fetch->before = 0;
    fetch->size = 0;
    fetch->written = 0;
    fetch->position = 0;
    fetch->called = 0;
    fetch->entrypoint = entrypoint;
    apr_cpystrn(fetch->digest, digest, sizeof(fetch->digest));
    fetch->began = apr_time_now();
    fetch->touched = (apr_uint64_t)fetch->began;
    fetch->inode = inode;
    fetch->device = device;
    return (int)(fetch - shared->fetches);
}

/* Is somebody at this fetch, or may somebody go on with it? */
static int is_of_use(const fetch_row *fetch)
{
    return is_alive((pid_t)fetch->process)
           || apr_time_now() - (apr_time_t)fetch->touched < FETCH_FORGOTTEN;
}

int fetches_of(dev_t device, ino_t inode)
{
    int i;

    for (i = 0; i < FETCH_ROWS; i++) {
        const fetch_row *fetch = &shared->fetches[i];

        if (fetch->process && fetch->inode == inode && fetch->device == device
            && is_of_use(fetch))
            return i;
    }
    return -1;
}

void fetches_adopt(int place)
{
    shared->fetches[place].process = (apr_uint32_t)getpid();
    if (shared->fetches[place].run == 0)
        fetches_differ(place, 0);
}

void fetches_size(int place, apr_off_t size)
{
    if (place >= 0)
        shared->fetches[place].size = (apr_uint64_t)size;
}

void fetches_progress(int place, apr_off_t position)
{
    if (place < 0)
        return;
    shared->fetches[place].position = (apr_uint64_t)position;
    shared->fetches[place].touched = (apr_uint64_t)apr_time_now();
}

void fetches_written(int place, apr_off_t written)
{
    if (place >= 0)
        shared->fetches[place].written = (apr_uint64_t)written;
}

void fetches_differ(int place, apr_off_t position)
{
    fetch_row *fetch = place < 0 ? NULL : &shared->fetches[place];
    apr_uint64_t before;

    if (!fetch)
        return;
    before = fetch->run;
    fetch->run = 0;             /* meanwhile, also if this process dies here, nobody's */
    fetch->written = (apr_uint64_t)position;
    fetch->common = (apr_uint64_t)position;
    fetch->before = before;
    fetch->run = ++shared->last_run;
}

apr_uint64_t fetches_heir(int place, apr_uint64_t run, apr_off_t position)
{
    const fetch_row *fetch = &shared->fetches[place];
    apr_uint64_t heir = fetch->run;

    return heir && run != heir && run == fetch->before && (apr_uint64_t)position <= fetch->common
           && fetch->run == heir ? heir : run;
}

/* So many bytes of this run are proven. */
static void prove(apr_uint64_t run, apr_uint64_t until)
{
    proven_run *proven = &shared->proven[run % PROVEN_MAX];

    proven->run = 0;
    proven->until = until;
    proven->run = run;
}

void fetches_prove(int place)
{
    const fetch_row *fetch = place < 0 ? NULL : &shared->fetches[place];

    if (!fetch)
        return;
    if (fetch->before)
        prove(fetch->before, fetch->common);
    prove(fetch->run, ~(apr_uint64_t)0);
}

int fetches_is_proven(apr_uint64_t run, apr_off_t position)
{
    const proven_run *proven = &shared->proven[run % PROVEN_MAX];
    int is_it = run && proven->run == run && (apr_uint64_t)position <= proven->until;

    return is_it && proven->run == run;
}

int fetches_call(int place)
{
    fetch_row *fetch = &shared->fetches[place];
    apr_uint64_t called = fetch->called, now = (apr_uint64_t)apr_time_now();

    return now - called >= (apr_uint64_t)CALL_AGAIN
           && atomic_compare_exchange_strong(&fetch->called, &called, now);
}

void fetches_leave(int place)
{
    if (place >= 0)
        shared->fetches[place].process = NO_PROCESS;
}

/* Free the place of a fetch that this process, now dead, was at.  0: another one has it by now. */
static int free_fetch(fetch_row *fetch, apr_uint32_t process)
{
    int entrypoint = fetch->entrypoint;

    if (!atomic_compare_exchange_strong(&fetch->process, &process, 0))
        return 0;
    if (process != NO_PROCESS)          /* it died, and could not count it */
        counters_at(entrypoint)->fetches[FETCH_BROKEN]++;
    return 1;
}

int fetches_forget(void)
{
    int i, forgotten = 0;

    for (i = 0; i < FETCH_ROWS; i++) {
        fetch_row *fetch = &shared->fetches[i];
        apr_uint32_t process = fetch->process;

        if (process != 0 && !is_of_use(fetch))
            forgotten += free_fetch(fetch, process);
    }
    return forgotten;
}

void fetches_lost(dev_t device, ino_t inode)
{
    int place = fetches_of(device, inode);
    apr_uint32_t process = place < 0 ? 0 : (apr_uint32_t)shared->fetches[place].process;

    if (process != 0)
        (void)free_fetch(&shared->fetches[place], process);
}

void fetches_end(int place)
{
    if (place < 0)
        return;
    shared->fetches[place].run = 0;
    shared->fetches[place].inode = 0;
    shared->fetches[place].process = 0;
}

const fetch_row *fetches_at(int place)
{
    return &shared->fetches[place];
}

int fetches_copy(int place, fetch_row *copy)
{
    fetch_row *fetch = &shared->fetches[place];

    if (fetch->process == 0 || !is_alive((pid_t)fetch->process))
        return 0;
    memcpy(copy, fetch, sizeof(*copy));
    return 1;
}
