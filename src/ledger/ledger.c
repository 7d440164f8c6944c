/*
 * ledger/ledger.c: what all processes of the server know together, in shared memory.
 *
 * It changes by atomic operations alone, without a lock that a killed child could leave behind;
 * what such a child was at is freed when its parent buries it.
 */
#include "ledger/ledger.h"
#include "ledger/shared_memory.h"

#include "apr_hash.h"
#include "apr_strings.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

/* Counts the changes of what the ledger's bytes mean. */
#define LEDGER_LAYOUT 4

/* Different troubles that are remembered, and different refusals; a new one takes the place of an
 * old one when all are taken. */
#define TROUBLES_MAX 256

/*
 * A trouble in one word, so that it changes at once: the hash of whose it is, its kind, and how
 * often it was met.  0: a free place.
 */
typedef _Atomic apr_uint64_t trouble;

#define TROUBLE_WHO_SHIFT 32
#define TROUBLE_KIND_SHIFT 20
#define TROUBLE_KIND_MASK 0xfff
#define TROUBLE_MET_MASK 0xfffff

/* A boot that nothing was heard of for this long does not go on: a node resumes within 50 s. */
#define BOOT_FORGOTTEN apr_time_from_sec(600)

/* A download that ended short and was not resumed for this long counts as short. */
#define BOOT_SILENT apr_time_from_sec(60)

/* What a fetch of a dead process left is of use for so long: nodes resume within 50 s. */
#define FETCH_FORGOTTEN apr_time_from_sec(60)

/* Larger than any process's number can be. */
#define NO_PROCESS 0x7fffffffu

/* A node that was sent away to fetch an image is back by then, or another one is sent. */
#define CALL_AGAIN apr_time_from_sec(1)

/* Runs that were proven and are remembered. */
#define PROVEN_MAX 256

/* What others are changing is looked at so often before it is given up. */
#define TRIES 100

/* A time that lies further ahead than this was written before the clock was set back. */
#define CLOCK_SLACK apr_time_from_sec(10)

/* Behind this many bits of BOOT_WRITING stands the process that writes. */
#define STATE_BITS 3
#define STATE_MASK 7

/* A run whose first bytes, or all, are those of a proven one. */
typedef struct {
    ledger_counter run;         /* 0: none */
    ledger_counter until;       /* so many */
} proven_run;

typedef struct {
    apr_time_t began;
    trouble troubles[TROUBLES_MAX];
    trouble refusals[TROUBLES_MAX];
    ledger_counter passing;     /* when a kind of trouble that passes was met last; 0: never */
    ledger_entrypoint entrypoints[LEDGER_ENTRYPOINTS];
    ledger_boot boots[LEDGER_BOOTS];
    ledger_failure failures[LEDGER_FAILURES];
    ledger_fetch fetches[LEDGER_FETCHES];
    ledger_counter last_run;
    proven_run proven[PROVEN_MAX];      /* each at its number's place */
    ledger_counter waiters[LEDGER_WAITERS];     /* process and entrypoint, in one word; 0: free */
} ledger;

/* In front of the entrypoint's place, counted from 1, stands the process of a waiter. */
#define WAITER_PROCESS_SHIFT 32

static ledger *shared;          /* NULL until post_config has run */

static ledger_entrypoint uncounted;     /* of entrypoints for which there is no place */

apr_status_t boot_ledger_open(apr_pool_t *process_pool)
{
    void *memory;
    int is_new;
    apr_status_t rv = shared_memory_open(&memory, &is_new, sizeof(ledger), process_pool,
                                         "ledger %d", LEDGER_LAYOUT);

    if (rv != APR_SUCCESS)
        return rv;
    shared = memory;
    if (is_new)
        shared->began = apr_time_now();
    return APR_SUCCESS;
}

apr_time_t boot_ledger_began(void)
{
    return shared->began;
}

static int is_alive(pid_t process)
{
    return kill(process, 0) == 0 || errno != ESRCH;
}

/* ------------------------------------------------------------------ troubles */

static apr_uint64_t hash_of(const char *who)
{
    apr_ssize_t length = APR_HASH_KEY_STRING;

    return (apr_uint64_t)apr_hashfunc_default(who, &length) << TROUBLE_WHO_SHIFT;
}

/* The place of this trouble in a table, or NULL. */
static trouble *find_trouble(trouble *table, apr_uint64_t name)
{
    int i;

    for (i = 0; i < TROUBLES_MAX; i++) {
        if ((table[i] & ~(apr_uint64_t)TROUBLE_MET_MASK) == name)
            return &table[i];
    }
    return NULL;
}

/* Count this trouble in a table.  Returns how often it was met before. */
static unsigned meet(trouble *table, apr_uint64_t name)
{
    trouble *found = find_trouble(table, name);
    apr_uint64_t word;
    int i;

    if (found) {
        word = *found;
        while ((word & ~(apr_uint64_t)TROUBLE_MET_MASK) == name) {
            if ((word & TROUBLE_MET_MASK) == TROUBLE_MET_MASK
                || atomic_compare_exchange_weak(found, &word, word + 1))
                return (unsigned)(word & TROUBLE_MET_MASK);
        }
    }
    for (i = 0; i < TROUBLES_MAX; i++) {
        word = 0;
        if (atomic_compare_exchange_strong(&table[i], &word, name | 1))
            return 0;
    }
    table[(name >> TROUBLE_WHO_SHIFT) % TROUBLES_MAX] = name | 1;
    return 0;
}

/* A trouble's word, without how often it was met. */
static apr_uint64_t trouble_name(const char *who, unsigned kind)
{
    return hash_of(who) | (apr_uint64_t)(kind & TROUBLE_KIND_MASK) << TROUBLE_KIND_SHIFT;
}

unsigned boot_ledger_met_before(const char *who, unsigned kind)
{
    if (kind >= LEDGER_PASSING)
        shared->passing = (apr_uint64_t)apr_time_now();
    return meet(shared->troubles, trouble_name(who, kind));
}

int boot_ledger_may_have_passed(apr_interval_time_t pause)
{
    apr_time_t last = (apr_time_t)shared->passing, now = last ? apr_time_now() : 0;

    /* A time ahead of now is from before the clock was set back. */
    return last && (now < last || now - last >= pause);
}

int boot_ledger_trouble_of(const char *who)
{
    apr_uint64_t hash = hash_of(who);
    int i;

    for (i = 0; i < TROUBLES_MAX; i++) {
        apr_uint64_t word = shared->troubles[i];

        if (word && word >> TROUBLE_WHO_SHIFT == hash >> TROUBLE_WHO_SHIFT)
            return (int)(word >> TROUBLE_KIND_SHIFT & TROUBLE_KIND_MASK);
    }
    return -1;
}

unsigned boot_ledger_forget(const char *who)
{
    apr_uint64_t hash = hash_of(who);
    unsigned met = 0;
    int i;

    for (i = 0; i < TROUBLES_MAX; i++) {
        apr_uint64_t word = shared->troubles[i];

        while (word >> TROUBLE_WHO_SHIFT == hash >> TROUBLE_WHO_SHIFT) {
            if (atomic_compare_exchange_weak(&shared->troubles[i], &word, 0)) {
                met += (unsigned)(word & TROUBLE_MET_MASK);
                break;
            }
        }
    }
    return met;
}

unsigned boot_ledger_refused_before(const char *what)
{
    return meet(shared->refusals, hash_of(what));
}

/* ------------------------------------------------------------------ counters */

int boot_ledger_entrypoint_place(const char *name, const char *url, int *is_new)
{
    int i;

    *is_new = 0;
    for (i = 0; i < LEDGER_ENTRYPOINTS; i++) {
        ledger_entrypoint *entrypoint = &shared->entrypoints[i];

        /* Only post_config makes places, in one process: no race. */
        if (!entrypoint->name[0]) {
            apr_cpystrn(entrypoint->url, url, sizeof(entrypoint->url));
            apr_cpystrn(entrypoint->name, name, sizeof(entrypoint->name));
            *is_new = 1;
            return i;
        }
        if (strcmp(entrypoint->name, name) == 0 && strcmp(entrypoint->url, url) == 0)
            return i;
    }
    return -1;
}

ledger_entrypoint *boot_ledger_entrypoint(int place)
{
    return place < 0 ? &uncounted : &shared->entrypoints[place];
}

ledger_entrypoint *boot_ledger_counters(const request_rec *r)
{
    return boot_ledger_entrypoint(walt_vpn_request_of(r)->entrypoint->place);
}

/* ------------------------------------------------------------------ boots */

static boot_state state_of(const ledger_boot *boot)
{
    return (boot_state)(boot->state & STATE_MASK);
}

/* Take what is in this state for writing; 0: it has another state by now. */
static int take(_Atomic apr_uint32_t *place, apr_uint32_t state)
{
    return atomic_compare_exchange_strong(place, &state, BOOT_WRITING
                                          | (apr_uint32_t)getpid() << STATE_BITS);
}

/* Take what still has this state and this generation; 0: it is another one's by now. */
static int take_unchanged(_Atomic apr_uint32_t *place, apr_uint32_t state,
                          const _Atomic apr_uint32_t *generation, apr_uint32_t known)
{
    if (!take(place, state))
        return 0;
    if (*generation == known)
        return 1;
    *place = state;
    return 0;
}

/* A boot that was taken has ended so: that is counted once. */
static void count_result(ledger_boot *boot, boot_result result)
{
    if (!boot->counted)
        boot_ledger_entrypoint(boot->entrypoint)->boots[result]++;
    boot->counted = 1;
}

/* How long ago there was news of it. */
static apr_interval_time_t age_of(const ledger_boot *boot)
{
    apr_interval_time_t age = apr_time_now() - boot->touched;

    /* When the clock was set back nobody knows. */
    return age < -CLOCK_SLACK ? BOOT_FORGOTTEN : age;
}

/* A boot that was taken and had ended short counts as such when it was not resumed in time. */
static void count_short(ledger_boot *boot)
{
    if (age_of(boot) >= BOOT_SILENT)
        count_result(boot, RESULT_SHORT);
}

/*
 * May a request of this node go on with this boot?  A resumed download goes on with one of which
 * something was sent, also with one whose last bytes were lost behind the kernel's back.  A new
 * one does not touch what another client is being sent.
 */
static int may_go_on(const ledger_boot *boot, const char *client, int resumed)
{
    switch (state_of(boot)) {
    case BOOT_RUNNING:
        return resumed || strcmp(boot->client, client) == 0;
    case BOOT_DONE:
        return resumed && age_of(boot) < BOOT_FORGOTTEN;
    case BOOT_SIGNED:
    case BOOT_SHORT:
        return age_of(boot) < BOOT_FORGOTTEN;
    default:
        return 0;
    }
}

/* Of two boots of a node, is the first one more likely to be this client's? */
static int is_likelier(const ledger_boot *one, const ledger_boot *other, const char *client,
                       int resumed)
{
    int ours = strcmp(one->client, client) == 0, others = strcmp(other->client, client) == 0;

    if (resumed && (one->size > 0) != (other->size > 0))
        return one->size > 0;
    return ours != others ? ours : one->began > other->began;
}

/* The boot that a request of this node goes on with; NULL: there is none. */
static ledger_boot *find_boot(int entrypoint, const char *node, const char *client, int resumed)
{
    ledger_boot *found = NULL;
    int i;

    for (i = 0; i < LEDGER_BOOTS; i++) {
        ledger_boot *boot = &shared->boots[i];

        if (state_of(boot) != BOOT_FREE && boot->entrypoint == entrypoint
            && strcmp(boot->node, node) == 0 && may_go_on(boot, client, resumed)
            && (!found || is_likelier(boot, found, client, resumed)))
            found = boot;
    }
    return found;
}

/* The same, taken for writing; NULL also when somebody else has just taken it. */
static ledger_boot *take_boot(int entrypoint, const char *node, const char *client, int resumed)
{
    ledger_boot *boot = find_boot(entrypoint, node, client, resumed);
    apr_uint32_t state = boot ? (apr_uint32_t)state_of(boot) : BOOT_FREE;

    if (!boot || state == BOOT_FREE || state == BOOT_WRITING || !take(&boot->state, state))
        return NULL;
    if (boot->entrypoint == entrypoint && strcmp(boot->node, node) == 0) {
        if (state == BOOT_SHORT)
            count_short(boot);
        return boot;
    }
    boot->state = state;        /* its place was given to another node meanwhile */
    return NULL;
}

/* May the place of this boot be given to another one? */
static int can_go(const ledger_boot *boot, apr_uint32_t state)
{
    switch (state & STATE_MASK) {
    case BOOT_WRITING:
        return !is_alive((pid_t)(state >> STATE_BITS));
    case BOOT_RUNNING:
        return !is_alive(boot->process);
    default:
        return 1;
    }
}

/* The place for a boot to be, with its state and its generation: a free one, or the one
 * untouched for longest.  NULL: none can go. */
static ledger_boot *find_place(apr_uint32_t *state, apr_uint32_t *generation)
{
    ledger_boot *oldest = NULL;
    int i;

    for (i = 0; i < LEDGER_BOOTS && !(oldest && *state == BOOT_FREE); i++) {
        ledger_boot *boot = &shared->boots[i];
        apr_uint32_t before = boot->generation, now = boot->state;

        if (now == BOOT_FREE
            || ((!oldest || boot->touched < oldest->touched) && can_go(boot, now))) {
            oldest = boot;
            *state = now;
            *generation = before;
        }
    }
    return oldest;
}

/* The same, taken for writing.  Of those who find the same one all but the first look again. */
static ledger_boot *take_place(void)
{
    int tries;

    for (tries = 0; tries < TRIES; tries++) {
        apr_uint32_t state = BOOT_FREE, generation = 0;
        ledger_boot *boot = find_place(&state, &generation);

        if (!boot)
            return NULL;
        if (!take_unchanged(&boot->state, state, &boot->generation, generation))
            continue;
        if ((state & STATE_MASK) == BOOT_SHORT || (state & STATE_MASK) == BOOT_RUNNING)
            count_result(boot, RESULT_SHORT);
        return boot;
    }
    return NULL;
}

void boot_ledger_count_short(void)
{
    int i;

    for (i = 0; i < LEDGER_BOOTS; i++) {
        ledger_boot *boot = &shared->boots[i];

        if (boot->state == BOOT_SHORT && !boot->counted && age_of(boot) >= BOOT_SILENT
            && take(&boot->state, BOOT_SHORT)) {
            count_short(boot);
            boot->state = BOOT_SHORT;
        }
    }
}

/* There is news of this boot.  One that begins in the future began when the clock was still
 * ahead. */
static void touch(ledger_boot *boot)
{
    boot->touched = apr_time_now();
    if (boot->began > boot->touched)
        boot->began = boot->touched;
    if (boot->sending > boot->touched)
        boot->sending = boot->touched;
}

/* Write the first lines of a boot; its place was taken. */
static void begin_boot(ledger_boot *boot, int entrypoint, const char *node, const char *client,
                       const char *digest)
{
    boot->entrypoint = entrypoint;
    apr_cpystrn(boot->node, node, sizeof(boot->node));
    apr_cpystrn(boot->client, client, sizeof(boot->client));
    apr_cpystrn(boot->digest, digest ? digest : "", sizeof(boot->digest));
    boot->answer = WALT_VPN_RELAYED;
    boot->status = 0;
    boot->size = 0;
    boot->from = 0;
    boot->position = 0;
    boot->resumes = 0;
    boot->run = 0;
    boot->counted = 0;
    boot->process = getpid();
    boot->began = boot->sending = boot->touched = apr_time_now();
    boot->generation++;
}

void boot_ledger_signed(int entrypoint, const char *node, const char *client, const char *digest)
{
    ledger_boot *boot = take_boot(entrypoint, node, client, 0);

    /* A download that ended short keeps its line: the node has started over. */
    if (boot && (boot->size > 0 || boot->status)) {
        count_result(boot, RESULT_STARTED_OVER);
        boot->state = BOOT_SHORT;
        boot = NULL;
    }
    if (!boot)
        boot = take_place();
    if (boot) {
        begin_boot(boot, entrypoint, node, client, digest);
        boot->state = BOOT_SIGNED;
    }
}

void boot_ledger_failed(int entrypoint, const char *node, const char *client, int status)
{
    ledger_boot *boot = take_boot(entrypoint, node, client, 0);

    if (boot) {
        boot->status = status;
        touch(boot);
        boot->state = BOOT_SHORT;
    }
}

ledger_hold boot_ledger_start(int entrypoint, const char *node, const char *client,
                              const char *digest, apr_off_t size, apr_off_t from,
                              walt_vpn_answer answer, apr_uint64_t run)
{
    ledger_hold hold = { -1, 0 };
    ledger_boot *boot = take_boot(entrypoint, node, client, from > 0);

    if (boot && boot->size > 0 && from == 0) {
        count_result(boot, RESULT_STARTED_OVER);
        boot->state = BOOT_SHORT;
        boot = NULL;
    }
    if (!boot && (boot = take_place()))
        begin_boot(boot, entrypoint, node, client, digest);
    if (!boot)
        return hold;
    if (digest)
        apr_cpystrn(boot->digest, digest, sizeof(boot->digest));
    apr_cpystrn(boot->client, client, sizeof(boot->client));
    if (boot->size == 0)
        boot->answer = answer;
    boot->process = getpid();
    boot->status = 0;
    boot->size = size;
    boot->from = from;
    boot->position = (apr_uint64_t)from;
    if (from > 0) {
        boot->resumes++;
        boot->counted = 0;      /* whatever became of it, it goes on */
        boot_ledger_entrypoint(entrypoint)->resumes++;
    }
    boot->run = run;
    touch(boot);
    boot->sending = boot->touched;
    hold.place = (int)(boot - shared->boots);
    hold.generation = ++boot->generation;
    boot->state = BOOT_RUNNING;
    return hold;
}

void boot_ledger_progress(ledger_hold hold, apr_off_t position)
{
    ledger_boot *boot = hold.place < 0 ? NULL : &shared->boots[hold.place];

    if (boot && boot->generation == hold.generation) {
        boot->position = (apr_uint64_t)position;
        touch(boot);
    }
}

void boot_ledger_goes_on(ledger_hold hold, apr_uint64_t run)
{
    ledger_boot *boot = hold.place < 0 ? NULL : &shared->boots[hold.place];

    if (boot && boot->generation == hold.generation)
        boot->run = run;
}

/* End a boot that was taken, and copy it. */
static void end_boot(ledger_boot *boot, int whole, ledger_boot *copy)
{
    if (whole) {
        boot->position = (apr_uint64_t)boot->size;
        count_result(boot, RESULT_DONE);
    }
    memcpy(copy, boot, sizeof(*copy));
    copy->state = whole ? BOOT_DONE : BOOT_SHORT;
    boot->state = copy->state;
    boot_ledger_entrypoint(boot->entrypoint)->ended++;
}

int boot_ledger_end(ledger_hold hold, int whole, ledger_boot *copy)
{
    ledger_boot *boot = hold.place < 0 ? NULL : &shared->boots[hold.place];
    apr_uint32_t state = BOOT_RUNNING;

    if (!boot || boot->generation != hold.generation)
        return 0;
    /* A download that its node gave up by starting over is BOOT_SHORT already. */
    if (!take(&boot->state, state) && !take(&boot->state, state = BOOT_SHORT))
        return 0;
    if (boot->generation != hold.generation) {
        boot->state = state;
        return 0;
    }
    touch(boot);
    end_boot(boot, whole, copy);
    return 1;
}

/* A copy of the boot that a download of this node goes on with; 0: none is known. */
static int copy_boot(int entrypoint, const char *node, const char *client, int resumed,
                     ledger_boot *boot)
{
    const ledger_boot *found = find_boot(entrypoint, node, client, resumed);

    return found && boot_ledger_boot((int)(found - shared->boots), boot)
           && strcmp(boot->node, node) == 0;
}

int boot_ledger_changed(int entrypoint, const char *node, const char *client, const char *digest,
                        int resumed)
{
    ledger_boot boot;

    return copy_boot(entrypoint, node, client, resumed, &boot) && boot.digest[0]
           && (resumed || boot.state == BOOT_SIGNED)
           && strncmp(boot.digest, digest, LEDGER_DIGEST) != 0;
}

apr_uint64_t boot_ledger_held_run(int entrypoint, const char *node, const char *client,
                                  apr_off_t position)
{
    ledger_boot boot;

    return copy_boot(entrypoint, node, client, 1, &boot) && boot.run
           && !boot_ledger_is_proven(boot.run, position) ? boot.run : 0;
}

void boot_ledger_recall(const ledger_boot *boot)
{
    ledger_boot *recalled = take_place();
    apr_time_t now = apr_time_now();

    if (!recalled)
        return;
    begin_boot(recalled, boot->entrypoint, boot->node, boot->client, boot->digest);
    recalled->answer = boot->answer;
    recalled->status = boot->status;
    recalled->size = boot->size;
    recalled->position = boot->position;
    recalled->resumes = boot->resumes;
    recalled->began = boot->began < now ? boot->began : now;
    recalled->touched = boot->touched < now ? boot->touched : now;
    recalled->counted = 1;      /* before the start */
    recalled->state = boot->state;
}

int boot_ledger_keep_claim(int entrypoint, apr_interval_time_t pause)
{
    ledger_entrypoint *counters = &shared->entrypoints[entrypoint];
    apr_uint64_t at = counters->kept_at, now = (apr_uint64_t)apr_time_now();

    /* A time ahead of now is from before the clock was set back. */
    if (counters->kept == counters->ended || (now >= at && now - at < (apr_uint64_t)pause)
        || !atomic_compare_exchange_strong(&counters->kept_at, &at, now))
        return 0;
    counters->kept = (apr_uint64_t)counters->ended;
    return 1;
}

/*
 * Copy what stands at a place, a boot or a failure, whose state and generation are these, as it is
 * between two changes.  0: it is free, or its writer was stopped, and the next look will show it.
 */
static int copy_place(void *copy, const void *place, apr_size_t size,
                      const _Atomic apr_uint32_t *state, const _Atomic apr_uint32_t *generation)
{
    int tries;

    for (tries = 0; tries < TRIES; tries++) {
        apr_uint32_t now = *state, before = *generation;

        if (now == BOOT_FREE)
            return 0;
        if ((now & STATE_MASK) == BOOT_WRITING)
            continue;
        memcpy(copy, place, size);
        atomic_thread_fence(memory_order_acquire);
        if (*state == now && *generation == before)
            return 1;
    }
    return 0;
}

int boot_ledger_boot(int place, ledger_boot *copy)
{
    const ledger_boot *boot = &shared->boots[place];

    if (!copy_place(copy, boot, sizeof(*boot), &boot->state, &boot->generation))
        return 0;
    if (copy->state == BOOT_RUNNING && !is_alive(copy->process))
        copy->state = BOOT_SHORT;
    return 1;
}

static int by_node_and_beginning(const void *a, const void *b)
{
    const ledger_boot *one = a, *other = b;
    int order = one->entrypoint != other->entrypoint ? one->entrypoint - other->entrypoint
                : strcmp(one->node, other->node);

    if (order)
        return order;
    return one->began < other->began ? -1 : one->began > other->began;
}

static int latest_first(const void *a, const void *b)
{
    const ledger_boot *one = a, *other = b;

    return one->touched < other->touched ? 1 : one->touched > other->touched ? -1 : 0;
}

apr_array_header_t *boot_ledger_last_boots(apr_pool_t *p, int entrypoint)
{
    apr_array_header_t *boots = apr_array_make(p, 64, sizeof(ledger_boot));
    ledger_boot boot, *all;
    int place, i, kept = 0;

    for (place = 0; place < LEDGER_BOOTS; place++) {
        if (boot_ledger_boot(place, &boot) && (entrypoint < 0 || boot.entrypoint == entrypoint)
            && (boot.state == BOOT_DONE || boot.state == BOOT_SHORT))
            memcpy(apr_array_push(boots), &boot, sizeof(boot));
    }
    all = (ledger_boot *)boots->elts;
    qsort(all, (size_t)boots->nelts, sizeof(boot), by_node_and_beginning);
    for (i = 0; i < boots->nelts; i++) {
        if (i + 1 == boots->nelts || all[i].entrypoint != all[i + 1].entrypoint
            || strcmp(all[i].node, all[i + 1].node) != 0)
            memmove(&all[kept++], &all[i], sizeof(boot));
    }
    boots->nelts = kept;
    qsort(all, (size_t)kept, sizeof(boot), latest_first);
    return boots;
}

/* Free the places that a dead process was writing, or waiting at.  Its fetches are gone on with, or
 * forgotten. */
static void free_places(pid_t process)
{
    int i;

    for (i = 0; i < LEDGER_BOOTS; i++) {
        apr_uint32_t state = BOOT_WRITING | (apr_uint32_t)process << STATE_BITS;

        (void)atomic_compare_exchange_strong(&shared->boots[i].state, &state, BOOT_FREE);
    }
    for (i = 0; i < LEDGER_WAITERS; i++) {
        apr_uint64_t waiter = shared->waiters[i];

        if (waiter >> WAITER_PROCESS_SHIFT == (apr_uint64_t)process)
            (void)atomic_compare_exchange_strong(&shared->waiters[i], &waiter, 0);
    }
    for (i = 0; i < LEDGER_FAILURES; i++) {
        apr_uint32_t state = BOOT_WRITING | (apr_uint32_t)process << STATE_BITS;

        (void)atomic_compare_exchange_strong(&shared->failures[i].state, &state, BOOT_FREE);
    }
}

int boot_ledger_bury(pid_t process, int *place, ledger_boot *copy)
{
    if (*place == 0)
        free_places(process);
    while (*place < LEDGER_BOOTS) {
        ledger_boot *boot = &shared->boots[(*place)++];

        if (state_of(boot) != BOOT_RUNNING || boot->process != process
            || !take(&boot->state, BOOT_RUNNING))
            continue;
        if (boot->process == process) {
            end_boot(boot, 0, copy);
            return 1;
        }
        boot->state = BOOT_RUNNING;
    }
    return 0;
}

/* ------------------------------------------------------------------ nodes that fail */

/* The failure of this node, taken for writing; NULL: there is none, or somebody has just taken
 * it. */
static ledger_failure *take_failure(int entrypoint, const char *node)
{
    int i;

    for (i = 0; i < LEDGER_FAILURES; i++) {
        ledger_failure *failure = &shared->failures[i];

        if (failure->state != BOOT_SHORT || failure->entrypoint != entrypoint
            || strcmp(failure->node, node) != 0 || !take(&failure->state, BOOT_SHORT))
            continue;
        if (failure->entrypoint == entrypoint && strcmp(failure->node, node) == 0)
            return failure;
        failure->state = BOOT_SHORT;    /* its place was given to another node meanwhile */
    }
    return NULL;
}

/* Whoever asks for many nodes that do not exist crowds out his own first: a node tries again. */
static int goes_before(const ledger_failure *one, const ledger_failure *other)
{
    return one->times != other->times ? one->times < other->times : one->last < other->last;
}

/* The place for a failure to be, with its state and its generation: a free one, or the one that
 * goes first.  NULL: others are writing all of them. */
static ledger_failure *find_failure_place(apr_uint32_t *state, apr_uint32_t *generation)
{
    ledger_failure *first = NULL;
    int i;

    for (i = 0; i < LEDGER_FAILURES && !(first && *state == BOOT_FREE); i++) {
        ledger_failure *failure = &shared->failures[i];
        apr_uint32_t before = failure->generation, now = failure->state;

        if (now == BOOT_FREE || (now == BOOT_SHORT && (!first || goes_before(failure, first)))) {
            first = failure;
            *state = now;
            *generation = before;
        }
    }
    return first;
}

/* The same, taken for writing, like take_place(). */
static ledger_failure *take_failure_place(void)
{
    int tries;

    for (tries = 0; tries < TRIES; tries++) {
        apr_uint32_t state = BOOT_FREE, generation = 0;
        ledger_failure *failure = find_failure_place(&state, &generation);

        if (failure && take_unchanged(&failure->state, state, &failure->generation, generation))
            return failure;
    }
    return NULL;
}

void boot_ledger_trouble(int entrypoint, const char *node, const char *client, const char *what)
{
    ledger_failure *failure = take_failure(entrypoint, node);
    apr_time_t now = apr_time_now();

    if (!failure) {
        if (!(failure = take_failure_place()))
            return;
        failure->entrypoint = entrypoint;
        apr_cpystrn(failure->node, node, sizeof(failure->node));
        failure->times = 0;
        failure->since = now;
    }
    apr_cpystrn(failure->client, client, sizeof(failure->client));
    apr_cpystrn(failure->trouble, what, sizeof(failure->trouble));
    failure->times++;
    failure->last = now;
    if (failure->since > now)           /* the clock was set back */
        failure->since = now;
    failure->generation++;
    failure->state = BOOT_SHORT;
}

void boot_ledger_recovered(int entrypoint, const char *node)
{
    ledger_failure *failure;

    while ((failure = take_failure(entrypoint, node))) {
        failure->generation++;
        failure->state = BOOT_FREE;
    }
}

int boot_ledger_failure(int place, ledger_failure *copy)
{
    const ledger_failure *failure = &shared->failures[place];

    return copy_place(copy, failure, sizeof(*failure), &failure->state, &failure->generation);
}

/* ------------------------------------------------------------------ fetches */

/* Take this place, if its process is still this one. */
static int take_fetch(ledger_fetch *fetch, apr_uint32_t process)
{
    return atomic_compare_exchange_strong(&fetch->process, &process, (apr_uint32_t)getpid());
}

/* A place for a new fetch: a free one, or one whose process is dead.  NULL: there is none. */
static ledger_fetch *take_fetch_place(void)
{
    int i;

    for (i = 0; i < LEDGER_FETCHES; i++) {
        if (take_fetch(&shared->fetches[i], 0))
            return &shared->fetches[i];
    }
    for (i = 0; i < LEDGER_FETCHES; i++) {
        apr_uint32_t process = shared->fetches[i].process;

        if (!is_alive((pid_t)process) && take_fetch(&shared->fetches[i], process))
            return &shared->fetches[i];
    }
    return NULL;
}

int boot_ledger_fetch_begin(int entrypoint, const char *digest, dev_t device, ino_t inode)
{
    ledger_fetch *fetch = take_fetch_place();

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
static int is_of_use(const ledger_fetch *fetch)
{
    return is_alive((pid_t)fetch->process)
           || apr_time_now() - (apr_time_t)fetch->touched < FETCH_FORGOTTEN;
}

int boot_ledger_fetch_of(dev_t device, ino_t inode)
{
    int i;

    for (i = 0; i < LEDGER_FETCHES; i++) {
        const ledger_fetch *fetch = &shared->fetches[i];

        if (fetch->process && fetch->inode == inode && fetch->device == device
            && is_of_use(fetch))
            return i;
    }
    return -1;
}

void boot_ledger_fetch_adopt(int place)
{
    shared->fetches[place].process = (apr_uint32_t)getpid();
    if (shared->fetches[place].run == 0)
        boot_ledger_fetch_differs(place, 0);
}

void boot_ledger_fetch_size(int place, apr_off_t size)
{
    if (place >= 0)
        shared->fetches[place].size = (apr_uint64_t)size;
}

void boot_ledger_fetch_progress(int place, apr_off_t position)
{
    if (place < 0)
        return;
    shared->fetches[place].position = (apr_uint64_t)position;
    shared->fetches[place].touched = (apr_uint64_t)apr_time_now();
}

void boot_ledger_fetch_written(int place, apr_off_t written)
{
    if (place >= 0)
        shared->fetches[place].written = (apr_uint64_t)written;
}

void boot_ledger_fetch_differs(int place, apr_off_t position)
{
    ledger_fetch *fetch = place < 0 ? NULL : &shared->fetches[place];
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

apr_uint64_t boot_ledger_fetch_heir(int place, apr_uint64_t run, apr_off_t position)
{
    const ledger_fetch *fetch = &shared->fetches[place];
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

void boot_ledger_fetch_proven(int place)
{
    const ledger_fetch *fetch = place < 0 ? NULL : &shared->fetches[place];

    if (!fetch)
        return;
    if (fetch->before)
        prove(fetch->before, fetch->common);
    prove(fetch->run, ~(apr_uint64_t)0);
}

int boot_ledger_is_proven(apr_uint64_t run, apr_off_t position)
{
    const proven_run *proven = &shared->proven[run % PROVEN_MAX];
    int is_it = run && proven->run == run && (apr_uint64_t)position <= proven->until;

    return is_it && proven->run == run;
}

int boot_ledger_fetch_call(int place)
{
    ledger_fetch *fetch = &shared->fetches[place];
    apr_uint64_t called = fetch->called, now = (apr_uint64_t)apr_time_now();

    return now - called >= (apr_uint64_t)CALL_AGAIN
           && atomic_compare_exchange_strong(&fetch->called, &called, now);
}

void boot_ledger_fetch_leave(int place)
{
    if (place >= 0)
        shared->fetches[place].process = NO_PROCESS;
}

/* Free the place of a fetch that this process, now dead, was at.  0: another one has it by now. */
static int free_fetch(ledger_fetch *fetch, apr_uint32_t process)
{
    int entrypoint = fetch->entrypoint;

    if (!atomic_compare_exchange_strong(&fetch->process, &process, 0))
        return 0;
    if (process != NO_PROCESS)          /* it died, and could not count it */
        boot_ledger_entrypoint(entrypoint)->fetches[FETCH_BROKEN]++;
    return 1;
}

int boot_ledger_fetch_forget(void)
{
    int i, forgotten = 0;

    for (i = 0; i < LEDGER_FETCHES; i++) {
        ledger_fetch *fetch = &shared->fetches[i];
        apr_uint32_t process = fetch->process;

        if (process != 0 && !is_of_use(fetch))
            forgotten += free_fetch(fetch, process);
    }
    return forgotten;
}

void boot_ledger_fetch_lost(dev_t device, ino_t inode)
{
    int place = boot_ledger_fetch_of(device, inode);
    apr_uint32_t process = place < 0 ? 0 : (apr_uint32_t)shared->fetches[place].process;

    if (process != 0)
        (void)free_fetch(&shared->fetches[place], process);
}

void boot_ledger_fetch_end(int place)
{
    if (place < 0)
        return;
    shared->fetches[place].run = 0;
    shared->fetches[place].inode = 0;
    shared->fetches[place].process = 0;
}

const ledger_fetch *boot_ledger_fetch_at(int place)
{
    return &shared->fetches[place];
}

int boot_ledger_fetch(int place, ledger_fetch *copy)
{
    ledger_fetch *fetch = &shared->fetches[place];

    if (fetch->process == 0 || !is_alive((pid_t)fetch->process))
        return 0;
    memcpy(copy, fetch, sizeof(*copy));
    return 1;
}

/* ------------------------------------------------------------------ threads that wait */

int boot_ledger_wait(int entrypoint)
{
    apr_uint64_t waiter = (apr_uint64_t)getpid() << WAITER_PROCESS_SHIFT
                          | (apr_uint64_t)(entrypoint + 1);
    int i;

    for (i = 0; i < LEDGER_WAITERS; i++) {
        apr_uint64_t nobody = 0;

        if (shared->waiters[i] == 0
            && atomic_compare_exchange_strong(&shared->waiters[i], &nobody, waiter))
            return i;
    }
    return -1;
}

void boot_ledger_wait_end(int place)
{
    if (place >= 0)
        shared->waiters[place] = 0;
}

unsigned boot_ledger_waiting(int entrypoint)
{
    unsigned waiting = 0;
    int i;

    for (i = 0; i < LEDGER_WAITERS; i++)
        waiting += (apr_uint32_t)shared->waiters[i] == (apr_uint32_t)(entrypoint + 1);
    return waiting;
}
