/*
 * boot_ledger.c: what all processes of the server know together, in shared memory.
 *
 * The memory is anonymous and made before the children are forked; they share it without a name
 * that anybody else could open.  It changes by atomic operations alone: a child that is killed in
 * the middle of one leaves no lock behind, at worst a line about a boot that never ended, which is
 * recognised by its dead process.
 */
#include "boot_ledger.h"

#include "apr_hash.h"
#include "apr_shm.h"
#include "apr_strings.h"

#include <errno.h>
#include <signal.h>
#include <unistd.h>

/* Different troubles that are remembered; what comes after them is logged each time. */
#define TROUBLES_MAX 256

typedef struct {
    _Atomic apr_uint32_t hash;          /* of its text; 0: a free place */
    _Atomic apr_uint32_t met;           /* how often */
} ledger_trouble;

typedef struct {
    ledger_trouble troubles[TROUBLES_MAX];
    ledger_entrypoint entrypoints[LEDGER_ENTRYPOINTS];
    ledger_boot boots[LEDGER_BOOTS];
    ledger_fetch fetches[LEDGER_FETCHES];
} ledger;

static ledger *shared;          /* NULL until post_config has run */

apr_status_t boot_ledger_open(apr_pool_t *process_pool)
{
    /* A module of another version, loaded by a restart, does not read this one's ledger. */
    const char *key = apr_psprintf(process_pool, "mod_walt_vpn ledger of %lu bytes",
                                   (unsigned long)sizeof(ledger));
    apr_shm_t *memory;
    void *kept;
    apr_status_t rv = apr_pool_userdata_get(&kept, key, process_pool);

    if (rv == APR_SUCCESS && kept) {
        shared = kept;
        return APR_SUCCESS;
    }
    rv = apr_shm_create(&memory, sizeof(ledger), NULL, process_pool);
    if (rv != APR_SUCCESS)
        return rv;
    shared = apr_shm_baseaddr_get(memory);
    memset(shared, 0, sizeof(*shared));
    return apr_pool_userdata_setn(shared, key, apr_pool_cleanup_null, process_pool);
}

static int is_alive(pid_t process)
{
    return kill(process, 0) == 0 || errno != ESRCH;
}

/* ------------------------------------------------------------------ troubles */

static apr_uint32_t hash_of(const char *trouble)
{
    apr_ssize_t length = APR_HASH_KEY_STRING;

    return apr_hashfunc_default(trouble, &length) | 1;
}

static ledger_trouble *find_trouble(apr_uint32_t hash)
{
    int i;

    for (i = 0; i < TROUBLES_MAX; i++) {
        if (shared->troubles[i].hash == hash)
            return &shared->troubles[i];
    }
    return NULL;
}

unsigned boot_ledger_met_before(const char *trouble)
{
    apr_uint32_t hash = hash_of(trouble);
    ledger_trouble *found = find_trouble(hash);
    int i;

    for (i = 0; !found && i < TROUBLES_MAX; i++) {
        apr_uint32_t none = 0;

        if (atomic_compare_exchange_strong(&shared->troubles[i].hash, &none, hash)
            || none == hash)
            found = &shared->troubles[i];
    }
    return found ? found->met++ : 0;
}

unsigned boot_ledger_forget(const char *trouble)
{
    ledger_trouble *found = find_trouble(hash_of(trouble));
    unsigned met = 0;

    if (found) {
        met = atomic_exchange(&found->met, 0);
        found->hash = 0;
    }
    return met;
}

/* ------------------------------------------------------------------ counters */

int boot_ledger_entrypoint_place(const char *name, const char *url)
{
    int i;

    for (i = 0; i < LEDGER_ENTRYPOINTS; i++) {
        ledger_entrypoint *entrypoint = &shared->entrypoints[i];

        /* Only post_config makes places, in one process: no race. */
        if (!entrypoint->name[0]) {
            apr_cpystrn(entrypoint->url, url, sizeof(entrypoint->url));
            apr_cpystrn(entrypoint->name, name, sizeof(entrypoint->name));
            return i;
        }
        if (strcmp(entrypoint->name, name) == 0 && strcmp(entrypoint->url, url) == 0)
            return i;
    }
    return -1;
}

ledger_entrypoint *boot_ledger_entrypoint(int place)
{
    return place < 0 ? NULL : &shared->entrypoints[place];
}

/* ------------------------------------------------------------------ boots */

/* Take a boot in this state for writing; 0: it has another state by now. */
static int take(ledger_boot *boot, apr_uint32_t state)
{
    return atomic_compare_exchange_strong(&boot->state, &state, BOOT_WRITING);
}

/* The latest unfinished boot of this node, taken for writing; NULL: there is none. */
static ledger_boot *take_boot_of(int entrypoint, const char *node)
{
    ledger_boot *latest = NULL;
    apr_uint32_t state = BOOT_FREE;
    int i;

    for (i = 0; i < LEDGER_BOOTS; i++) {
        ledger_boot *boot = &shared->boots[i];
        apr_uint32_t now = boot->state;

        if ((now == BOOT_SIGNED || now == BOOT_RUNNING || now == BOOT_SHORT)
            && boot->entrypoint == entrypoint && strcmp(boot->node, node) == 0
            && (!latest || boot->began > latest->began)) {
            latest = boot;
            state = now;
        }
    }
    return latest && take(latest, state) ? latest : NULL;
}

/* May the place of this boot be given to another one? */
static int can_go(const ledger_boot *boot, apr_uint32_t state)
{
    return state == BOOT_FREE || state == BOOT_SIGNED || state == BOOT_SHORT || state == BOOT_DONE
           || (state == BOOT_RUNNING && !is_alive(boot->process));
}

/* The place of a boot to be, taken for writing: a free one, or the one untouched for longest. */
static ledger_boot *take_place(void)
{
    ledger_boot *oldest = NULL;
    apr_uint32_t state = BOOT_FREE;
    int i;

    for (i = 0; i < LEDGER_BOOTS; i++) {
        ledger_boot *boot = &shared->boots[i];
        apr_uint32_t now = boot->state;

        if (now == BOOT_FREE && take(boot, BOOT_FREE))
            return boot;
        if (can_go(boot, now) && (!oldest || boot->touched < oldest->touched)) {
            oldest = boot;
            state = now;
        }
    }
    return oldest && take(oldest, state) ? oldest : NULL;
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
    boot->size = 0;
    boot->position = 0;
    boot->resumes = 0;
    boot->process = getpid();
    boot->began = boot->touched = apr_time_now();
    boot->generation++;
}

void boot_ledger_signed(int entrypoint, const char *node, const char *client, const char *digest)
{
    ledger_boot *boot = take_boot_of(entrypoint, node);

    /* A download that ended short keeps its line: the node has started over. */
    if (boot && boot->size > 0) {
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

ledger_hold boot_ledger_start(int entrypoint, const char *node, const char *client,
                              const char *digest, apr_off_t size, apr_off_t from,
                              walt_vpn_answer answer)
{
    ledger_hold hold = { -1, 0 };
    ledger_boot *boot = take_boot_of(entrypoint, node);

    if (boot && boot->size > 0 && from == 0) {
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
    boot->process = getpid();
    boot->answer = answer;
    boot->size = size;
    boot->position = (apr_uint64_t)from;
    boot->resumes += from > 0;
    boot->touched = apr_time_now();
    hold.place = (int)(boot - shared->boots);
    hold.generation = ++boot->generation;
    boot->state = BOOT_RUNNING;
    return hold;
}

/* The boot that is held, as long as no other request has taken over; else NULL. */
static ledger_boot *held_boot(ledger_hold hold)
{
    ledger_boot *boot = hold.place < 0 ? NULL : &shared->boots[hold.place];

    return boot && boot->generation == hold.generation ? boot : NULL;
}

void boot_ledger_progress(ledger_hold hold, apr_off_t position)
{
    ledger_boot *boot = held_boot(hold);

    if (boot)
        boot->position = (apr_uint64_t)position;
}

int boot_ledger_end(ledger_hold hold, int whole, ledger_boot *copy)
{
    ledger_boot *boot = held_boot(hold);

    if (!boot || !take(boot, BOOT_RUNNING))
        return 0;
    boot->touched = apr_time_now();
    if (whole)
        boot->position = (apr_uint64_t)boot->size;
    memcpy(copy, boot, sizeof(*copy));
    boot->state = whole ? BOOT_DONE : BOOT_SHORT;
    return 1;
}

int boot_ledger_changed(int entrypoint, const char *node, const char *digest)
{
    ledger_boot *boot = take_boot_of(entrypoint, node);
    int changed;

    if (!boot)
        return 0;
    changed = boot->digest[0] && strncmp(boot->digest, digest, LEDGER_DIGEST) != 0;
    boot->state = boot->size > 0 ? BOOT_SHORT : BOOT_SIGNED;
    return changed;
}

int boot_ledger_boot(int place, ledger_boot *copy)
{
    ledger_boot *boot = &shared->boots[place];
    apr_uint32_t state = boot->state, generation = boot->generation;

    if (state == BOOT_FREE || state == BOOT_WRITING)
        return 0;
    memcpy(copy, boot, sizeof(*copy));
    if (boot->state == BOOT_WRITING || boot->generation != generation)
        return 0;               /* it has changed meanwhile; the next look will show it */
    copy->state = state == BOOT_RUNNING && !is_alive(copy->process) ? BOOT_SHORT : state;
    return 1;
}

/* ------------------------------------------------------------------ fetches */

int boot_ledger_fetch_begin(const char *digest)
{
    int i;

    for (i = 0; i < LEDGER_FETCHES; i++) {
        ledger_fetch *fetch = &shared->fetches[i];
        apr_uint32_t process = fetch->process;

        if ((process == 0 || !is_alive((pid_t)process))
            && atomic_compare_exchange_strong(&fetch->process, &process,
                                              (apr_uint32_t)getpid())) {
            apr_cpystrn(fetch->digest, digest, sizeof(fetch->digest));
            fetch->size = -1;
            fetch->position = 0;
            fetch->began = apr_time_now();
            return i;
        }
    }
    return -1;
}

void boot_ledger_fetch_size(int place, apr_off_t size)
{
    if (place >= 0)
        shared->fetches[place].size = size;
}

void boot_ledger_fetch_progress(int place, apr_off_t position)
{
    if (place >= 0)
        shared->fetches[place].position = (apr_uint64_t)position;
}

void boot_ledger_fetch_end(int place)
{
    if (place >= 0)
        shared->fetches[place].process = 0;
}

int boot_ledger_fetch(int place, ledger_fetch *copy)
{
    ledger_fetch *fetch = &shared->fetches[place];

    if (fetch->process == 0 || !is_alive((pid_t)fetch->process))
        return 0;
    memcpy(copy, fetch, sizeof(*copy));
    return 1;
}
