/*
 * ledger/boots.c: the boots of nodes, running and remembered.
 */
#include "ledger/boots.h"
#include "ledger/book.h"
#include "ledger/counters.h"
#include "ledger/fetches.h"
#include "ledger/shared_memory.h"
#include "request/times.h"

#include "apr_hash.h"
#include "apr_strings.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A time that lies further ahead than this was written before the clock was set back. */
#define CLOCK_SLACK apr_time_from_sec(10)

typedef struct {
    book lock;
    apr_uint32_t keys[BOOT_ROWS];       /* hashes of the rows' nodes: close together, so that a
                                         * search reads few rows of other nodes */
    boot_row rows[BOOT_ROWS];
} table;

static table *shared;           /* NULL until post_config has run */

apr_status_t boots_open(apr_pool_t *process_pool)
{
    apr_status_t rv;

    shared = shared_memory_open(&rv, sizeof(table), process_pool, "boots %d", BOOT_LAYOUT);
    return rv;
}

/* ------------------------------------------------------------------ rows, in the open book */

/* A boot has ended so: that is counted once. */
static void count_result(boot_row *boot, boot_result result)
{
    if (!boot->counted)
        counters_at(boot->entrypoint)->boots[result]++;
    boot->counted = 1;
}

/* How long ago there was news of it. */
static apr_interval_time_t age_of(const boot_row *boot)
{
    apr_interval_time_t age = apr_time_now() - boot->touched;

    /* When the clock was set back nobody knows. */
    return age < -CLOCK_SLACK ? BOOT_FORGOTTEN : age;
}

/* A boot that had ended short counts as such when it was not resumed in time. */
static void count_short(boot_row *boot)
{
    if (boot->state == BOOT_SHORT && age_of(boot) >= BOOT_SILENT)
        count_result(boot, RESULT_SHORT);
}

/*
 * May a request of this node go on with this boot?  A resumed download goes on with one of which
 * something was sent, also with one whose last bytes were lost behind the kernel's back.  A new
 * one does not touch what another client is being sent, and none goes on with what a stranger is.
 */
static int may_go_on(const boot_row *boot, const char *client, int resumed)
{
    switch (boot->state) {
    case BOOT_RUNNING:
        return strcmp(boot->client, client) == 0 || (resumed && !boot->is_strangers);
    case BOOT_DONE:
        return resumed && age_of(boot) < BOOT_FORGOTTEN && strcmp(boot->client, client) == 0;
    case BOOT_SIGNED:
    case BOOT_SHORT:
        return age_of(boot) < BOOT_FORGOTTEN;
    default:
        return 0;
    }
}

/* A node's window, in bytes: so much of what it has acknowledged it may have lost (facts.md 1). */
#define NODE_WINDOW (64 * 1024)

/*
 * May a request of this client, which resumes at that byte (0: it does not), change what is written
 * down of the boot?  The address that took its boot.sig may, and one that goes on just where the
 * download was found to have ended: the node's link may have come back with another address.
 */
static int may_change(const boot_row *boot, const char *client, apr_off_t from)
{
    return !boot->is_strangers
           && (strcmp(boot->client, client) == 0
               || (boot->state == BOOT_SHORT && from > 0 && from <= boot->most
                   && from >= boot->position - NODE_WINDOW));
}

/* Of two boots of a node, is the first one more likely to be this client's? */
static int is_likelier(const boot_row *one, const boot_row *other, const char *client, int resumed)
{
    int ours = strcmp(one->client, client) == 0, others = strcmp(other->client, client) == 0;

    if (resumed && (one->size > 0) != (other->size > 0))
        return one->size > 0;
    return ours != others ? ours : one->began > other->began;
}

static apr_uint32_t key_of(int entrypoint, const char *node)
{
    apr_ssize_t length = APR_HASH_KEY_STRING;

    return apr_hashfunc_default(node, &length) + (apr_uint32_t)entrypoint;
}

/* Find out what is known of this node, apart from the boot itself.  One of its boots is this. */
static void learn(known_node *known, const boot_row *boot, const char *client)
{
    known->is_known |= !boot->is_strangers;
    known->is_known_here |= !boot->is_strangers && strcmp(boot->client, client) == 0;
    known->took_signature |= strcmp(boot->signer, client) == 0 && age_of(boot) < BOOT_FORGOTTEN;
}

/* Is this row a boot of the node, whose key this is? */
static int is_of(int row, apr_uint32_t key, int entrypoint, const char *node)
{
    const boot_row *boot = &shared->rows[row];

    return shared->keys[row] == key && boot->state != BOOT_FREE && boot->entrypoint == entrypoint
           && strcmp(boot->node, node) == 0;
}

/* The boot that a request of this node goes on with, or with to_change the one that it may change;
 * NULL: there is none.  Fills *known, but for the boot. */
static boot_row *find_boot(int entrypoint, const char *node, const char *client, apr_off_t from,
                           int to_change, known_node *known)
{
    apr_uint32_t key = key_of(entrypoint, node);
    boot_row *found = NULL;
    int i;

    memset(known, 0, sizeof(*known));
    for (i = 0; i < BOOT_ROWS; i++) {
        boot_row *boot = &shared->rows[i];

        if (!is_of(i, key, entrypoint, node))
            continue;
        learn(known, boot, client);
        if (may_go_on(boot, client, from > 0) && (!to_change || may_change(boot, client, from))
            && (!found || is_likelier(boot, found, client, from > 0)))
            found = boot;
    }
    if (found)
        count_short(found);
    return found;
}

/* The boot of this node and client that ended before their last one did; NULL: there is none. */
static boot_row *outlived_boot(int entrypoint, const char *node, const char *client)
{
    apr_uint32_t key = key_of(entrypoint, node);
    boot_row *oldest = NULL;
    int ended = 0, i;

    for (i = 0; i < BOOT_ROWS; i++) {
        boot_row *boot = &shared->rows[i];

        if (!is_of(i, key, entrypoint, node) || strcmp(boot->client, client) != 0
            || boot->process || boot->state == BOOT_SIGNED)
            continue;
        ended++;
        if (!oldest || boot->touched < oldest->touched)
            oldest = boot;
    }
    return ended > 1 ? oldest : NULL;
}

/* A row that is free, or that of the boot untouched for longest.  NULL: all are being sent. */
static boot_row *free_row(void)
{
    boot_row *oldest = NULL;
    int i;

    for (i = 0; i < BOOT_ROWS; i++) {
        boot_row *boot = &shared->rows[i];

        if (boot->state == BOOT_FREE)
            return boot;
        if (!boot->process && (!oldest || boot->touched < oldest->touched))
            oldest = boot;
    }
    return oldest;
}

/* The row for a boot to be, so that a node that boots again and again has few of them. */
static boot_row *row_for(int entrypoint, const char *node, const char *client)
{
    boot_row *boot = outlived_boot(entrypoint, node, client);

    if (!boot)
        boot = free_row();
    if (boot && boot->state == BOOT_SHORT)
        count_result(boot, RESULT_SHORT);
    return boot;
}

/* There is news of this boot.  One that begins in the future began when the clock was still
 * ahead. */
static void touch(boot_row *boot)
{
    boot->touched = apr_time_now();
    if (boot->began > boot->touched)
        boot->began = boot->touched;
    if (boot->sending > boot->touched)
        boot->sending = boot->touched;
}

/* Begin a boot in this row, or in one that is free or may go; NULL: there is none. */
static boot_row *begin_boot(boot_row *row, int entrypoint, const char *node, const char *client,
                            const char *digest)
{
    boot_row *boot = row ? row : row_for(entrypoint, node, client);
    unsigned generation = boot ? boot->generation + 1 : 0;

    if (!boot)
        return NULL;
    memset(boot, 0, sizeof(*boot));
    boot->generation = generation;
    boot->entrypoint = entrypoint;
    shared->keys[boot - shared->rows] = key_of(entrypoint, node);
    apr_cpystrn(boot->node, node, sizeof(boot->node));
    apr_cpystrn(boot->client, client, sizeof(boot->client));
    apr_cpystrn(boot->digest, digest ? digest : "", sizeof(boot->digest));
    boot->answer = WALT_VPN_RELAYED;
    boot->began = boot->sending = boot->touched = apr_time_now();
    return boot;
}

/* Open the book at the boot that is held.  NULL, and the book is closed: there is none, or it is
 * another request's by now. */
static boot_row *open_held(boot_hold hold)
{
    boot_row *boot = &shared->rows[hold % BOOT_ROWS];

    if (!hold || book_open(&shared->lock) == BOOK_CLOSED)
        return NULL;
    if (boot->generation == hold / BOOT_ROWS)
        return boot;
    book_close(&shared->lock);
    return NULL;
}

/* Copy a boot for who shows it: as much of its digest as is shown, and of a node that has its image
 * none unless it was computed of what that was sent. */
static void copy_to_show(boot_row *copy, const boot_row *boot)
{
    *copy = *boot;
    copy->digest[boot->state == BOOT_DONE && boot->fetch ? 0 : DIGEST_SHOWN] = '\0';
}

/* End a boot, and copy it.  0: it is a stranger's, and nothing is kept of it. */
static int end_boot(boot_row *boot, int whole, apr_off_t most, boot_row *copy)
{
    boot->process = 0;
    if (boot->is_strangers) {
        boot->state = BOOT_FREE;
        return 0;
    }
    boot->most = most;
    if (whole) {
        boot->position = boot->size;
        count_result(boot, RESULT_DONE);
    }
    boot->state = whole ? BOOT_DONE : BOOT_SHORT;
    copy_to_show(copy, boot);
    counters_at(boot->entrypoint)->ended++;
    return 1;
}

/* ------------------------------------------------------------------ the life of a boot */

/* The node has begun another boot than this, which keeps its line. */
static void start_over(boot_row *boot)
{
    count_result(boot, RESULT_STARTED_OVER);
    boot->state = BOOT_SHORT;
}

void boots_signed(int entrypoint, const char *node, const char *client, const char *digest,
                  int is_file)
{
    known_node known;
    boot_row *boot;

    if (book_open(&shared->lock) == BOOK_CLOSED)
        return;
    boot = find_boot(entrypoint, node, client, 0, 1, &known);
    if (boot && (boot->size > 0 || boot->status)) {
        start_over(boot);
        boot = NULL;
    }
    if ((boot = begin_boot(boot, entrypoint, node, client, digest))) {
        apr_cpystrn(boot->signer, client, sizeof(boot->signer));
        boot->is_file = is_file;
        boot->state = BOOT_SIGNED;
    }
    book_close(&shared->lock);
}

void boots_failed(int entrypoint, const char *node, const char *client, int status)
{
    known_node known;
    boot_row *boot;

    if (book_open(&shared->lock) == BOOK_CLOSED)
        return;
    boot = find_boot(entrypoint, node, client, 0, 1, &known);
    if (boot) {
        boot->status = status;
        touch(boot);
        boot->state = BOOT_SHORT;
    }
    book_close(&shared->lock);
}

/* The boot that a download goes on with, or a new one; NULL: there is no row. */
static boot_row *boot_for(int entrypoint, const char *node, const char *client, const char *digest,
                          apr_off_t from)
{
    known_node known;
    boot_row *boot = find_boot(entrypoint, node, client, from, 1, &known);

    if (boot && (boot->size == 0 || from > 0))
        return boot;
    if (boot)
        start_over(boot);
    if ((boot = begin_boot(NULL, entrypoint, node, client, digest)))
        boot->is_strangers = known.is_known && !known.is_known_here;
    return boot;
}

boot_hold boots_start(int entrypoint, const char *node, const char *client, const char *digest,
                      apr_off_t size, apr_off_t from, walt_vpn_answer answer, apr_uint64_t fetch)
{
    boot_hold hold = 0;
    boot_row *boot;

    if (book_open(&shared->lock) == BOOK_CLOSED)
        return hold;
    if ((boot = boot_for(entrypoint, node, client, digest, from))) {
        if (digest)
            apr_cpystrn(boot->digest, digest, sizeof(boot->digest));
        apr_cpystrn(boot->client, client, sizeof(boot->client));
        if (boot->size == 0)
            boot->answer = answer;
        boot->process = getpid();
        boot->status = 0;
        boot->size = size;
        boot->from = boot->position = from;
        boot->fetch = fetch;
        if (from > 0 && !boot->is_strangers) {
            boot->resumes++;
            boot->counted = 0;  /* whatever became of it, it goes on */
            counters_at(boot->entrypoint)->resumes++;
        }
        touch(boot);
        boot->sending = boot->touched;
        boot->state = BOOT_RUNNING;
        hold = (boot_hold)++boot->generation * BOOT_ROWS + (boot_hold)(boot - shared->rows);
    }
    book_close(&shared->lock);
    return hold;
}

void boots_progress(boot_hold hold, apr_off_t position)
{
    boot_row *boot = open_held(hold);

    if (!boot)
        return;
    boot->position = position;
    touch(boot);
    book_close(&shared->lock);
}

void boots_go_on(boot_hold hold, apr_uint64_t fetch)
{
    boot_row *boot = open_held(hold);

    if (!boot)
        return;
    boot->fetch = fetch;
    book_close(&shared->lock);
}

int boots_end(boot_hold hold, int whole, apr_off_t most, boot_row *copy)
{
    boot_row *boot = open_held(hold);
    int is_kept;

    if (!boot)
        return 0;
    touch(boot);
    is_kept = end_boot(boot, whole, most, copy);
    book_close(&shared->lock);
    return is_kept;
}

int boots_bury(pid_t process, int *row, boot_row *copy)
{
    int found = 0;

    if (book_open(&shared->lock) == BOOK_CLOSED)
        return 0;
    while (!found && *row < BOOT_ROWS) {
        boot_row *boot = &shared->rows[(*row)++];

        if (boot->process == process)
            found = end_boot(boot, 0, 0, copy);
    }
    book_close(&shared->lock);
    return found;
}

void boots_count_short(void)
{
    int i;

    if (book_open(&shared->lock) == BOOK_CLOSED)
        return;
    for (i = 0; i < BOOT_ROWS; i++)
        count_short(&shared->rows[i]);
    book_close(&shared->lock);
}

void boots_recall(const boot_row *boot)
{
    apr_time_t now = apr_time_now();
    boot_row *recalled;

    if (book_open(&shared->lock) == BOOK_CLOSED)
        return;
    recalled = begin_boot(NULL, boot->entrypoint, boot->node, boot->client, boot->digest);
    if (recalled) {
        apr_cpystrn(recalled->signer, boot->signer, sizeof(recalled->signer));
        recalled->answer = boot->answer;
        recalled->status = boot->status;
        recalled->size = boot->size;
        recalled->position = boot->position;
        recalled->resumes = boot->resumes;
        recalled->began = boot->began < now ? boot->began : now;
        recalled->touched = boot->touched < now ? boot->touched : now;
        recalled->counted = 1;  /* before the start */
        recalled->state = boot->state;
    }
    book_close(&shared->lock);
}

/* ------------------------------------------------------------------ what is known of a node */

void boots_find(int entrypoint, const char *node, const char *client, int resumed,
                known_node *known)
{
    const boot_row *found;

    memset(known, 0, sizeof(*known));
    if (book_open(&shared->lock) == BOOK_CLOSED)
        return;
    if ((found = find_boot(entrypoint, node, client, resumed, 0, known)))
        known->boot = *found;
    book_close(&shared->lock);
    known->is_part = found && (resumed || known->boot.state == BOOT_SIGNED);
    known->is_signers = found && strcmp(known->boot.signer, client) == 0;
}

int boots_changed(const known_node *known, const char *digest)
{
    return known->is_part && known->boot.digest[0]
           && strncmp(known->boot.digest, digest, DIGEST_SHOWN) != 0;
}

const char *boots_vouched(const known_node *known)
{
    const boot_row *boot = &known->boot;

    return known->is_part && known->is_signers && boot->digest[DIGEST_SHOWN]
           && (boot->state == BOOT_RUNNING || age_of(boot) < BOOT_SILENT) ? boot->digest : NULL;
}

apr_uint64_t boots_held_fetch(const known_node *known)
{
    fetch_row fetch;

    return fetches_look(known->boot.fetch, &fetch) && fetch.fate == FATE_PUBLISHED
           ? 0 : known->boot.fetch;
}

int boots_know_client(int entrypoint, const char *client)
{
    int are_known = 0, i;

    if (book_open(&shared->lock) == BOOK_CLOSED)
        return 0;
    for (i = 0; i < BOOT_ROWS && !are_known; i++) {
        const boot_row *boot = &shared->rows[i];

        are_known = boot->state != BOOT_FREE && boot->entrypoint == entrypoint
                    && !boot->is_strangers && strcmp(boot->client, client) == 0;
    }
    book_close(&shared->lock);
    return are_known;
}

/* ------------------------------------------------------------------ lists */

int boots_copy(int row, boot_row *copy)
{
    if (book_open(&shared->lock) == BOOK_CLOSED)
        return 0;
    copy_to_show(copy, &shared->rows[row]);
    book_close(&shared->lock);
    return copy->state != BOOT_FREE;
}

int boots_keep_claim(int entrypoint, apr_interval_time_t pause)
{
    entrypoint_counters *counters = counters_at(entrypoint);
    apr_uint64_t at = counters->kept_at, now = (apr_uint64_t)apr_time_now();

    /* A time ahead of now is from before the clock was set back. */
    if (counters->kept == counters->ended || (now >= at && now - at < (apr_uint64_t)pause)
        || !atomic_compare_exchange_strong(&counters->kept_at, &at, now))
        return 0;
    counters->kept = (apr_uint64_t)counters->ended;
    return 1;
}

/* In the order of the addresses as numbers. */
static int by_node_and_beginning(const void *a, const void *b)
{
    const boot_row *one = a, *other = b;
    apr_uint32_t number = ntohl(inet_addr(one->node)), others = ntohl(inet_addr(other->node));

    if (one->entrypoint != other->entrypoint)
        return one->entrypoint - other->entrypoint;
    if (number != others)
        return number < others ? -1 : 1;
    return one->began < other->began ? -1 : one->began > other->began;
}

static int latest_first(const void *a, const void *b)
{
    const boot_row *one = a, *other = b;

    return one->touched < other->touched ? 1 : one->touched > other->touched ? -1 : 0;
}

apr_array_header_t *boots_list(apr_pool_t *p, int entrypoint, int are_running)
{
    apr_array_header_t *boots = apr_array_make(p, 64, sizeof(boot_row));
    int i;

    if (book_open(&shared->lock) == BOOK_CLOSED)
        return boots;
    for (i = 0; i < BOOT_ROWS; i++) {
        const boot_row *boot = &shared->rows[i];

        if ((entrypoint < 0 || boot->entrypoint == entrypoint)
            && (are_running ? boot->state == BOOT_RUNNING
                            : boot->state == BOOT_DONE || boot->state == BOOT_SHORT))
            copy_to_show(apr_array_push(boots), boot);
    }
    book_close(&shared->lock);
    qsort(boots->elts, (size_t)boots->nelts, sizeof(boot_row), by_node_and_beginning);
    return boots;
}

apr_array_header_t *boots_last(apr_pool_t *p, int entrypoint)
{
    apr_array_header_t *boots = boots_list(p, entrypoint, 0);
    boot_row *all = (boot_row *)boots->elts;
    int i, kept = 0;

    for (i = 0; i < boots->nelts; i++) {
        if (i + 1 == boots->nelts || all[i].entrypoint != all[i + 1].entrypoint
            || strcmp(all[i].node, all[i + 1].node) != 0)
            memmove(&all[kept++], &all[i], sizeof(*all));
    }
    boots->nelts = kept;
    qsort(all, (size_t)kept, sizeof(*all), latest_first);
    return boots;
}
