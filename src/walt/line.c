/*
 * walt/line.c: the line in which questions for boot.sig stand before a WalT server.
 *
 * The WalT server computes a signature for each boot.sig that it is asked for before the first one
 * of that image is done, with the whole image in its memory each time (facts.md 2).  So the first
 * question goes alone.  As long as answers come fast, more and more go side by side, which is what
 * a long way to the WalT server needs; a slow one sends everybody back into single file.
 *
 * Who asks holds a place, and a place is a mutex in memory that all processes share: those who wait
 * sleep in the kernel, and it wakes one of them at once when the holder is done or dead, however it
 * died.  (Robust mutexes are what apr_proc_mutex is made of too; but it takes a page for each, and
 * does not tell that a holder has died.)  Nothing is counted that a dead process could leave wrong.
 */
#include "walt/line.h"
#include "ledger/shared_memory.h"
#include "ledger/waiting.h"
#include "request/times.h"

#include "apr_general.h"
#include "apr_strings.h"

#include <errno.h>
#include <pthread.h>
#include <stddef.h>
#include <time.h>

/* Counts the changes of what a line's bytes mean. */
#define LINE_LAYOUT 1

/* Most questions that are asked at once. */
#define PLACES 16

/*
 * Most questions of one client that stand in the line; its others wait until one of these is done.
 * Half of the places: so a stranger never has them all.  While fewer may ask, fewer are of use, one
 * more than that: so a fleet behind one address is asked for as fast as if it had many, and in
 * single file a stranger has two.  Clients share the passes of a group, by a hash that they can't
 * foretell: a table of all clients would have to be rid of the dead ones.
 */
#define PASSES (PLACES / 2)
#define GROUPS 128

/*
 * An answer is fast when it took at most so much longer than the fastest of late: 16 answers of
 * 2 ms each that wait for each other, and some delay.  A signature of tens of MiB takes 0.3 s.
 */
#define FAST_MARGIN apr_time_from_msec(50)

/* A server whose fastest answer takes longer than this may be computing in each of them. */
#define FASTEST_MAX apr_time_from_msec(250)
#define PLACES_THEN 2

/*
 * A question that has had so much of the time that its worker waits does not shut the line any
 * more: 8 s of 20, and the WalT server gives up itself after 6.  So many may be asked at once
 * then.  The second one tells whether the WalT server is silent altogether.
 */
#define SILENCE(timeout) ((timeout) * 2 / 5)
#define PLACES_IN_SILENCE 2

/*
 * A node whose question failed so while others were answered is in trouble of its own, such as an
 * image on a disk that hangs.  For a while its questions go beside the line, so that they hold up
 * each other and nobody else.
 */
#define PLACES_BESIDE 2
#define BESIDE_MAX 32

/* Longest sleep of a waiter before it looks what has become of the line. */
#define SLICE apr_time_from_msec(100)

/* A line whose book is held for so long by a process that was stopped is not waited for. */
#define BOOK_WAIT apr_time_from_sec(2)

/* Answers that are kept for those who wait for the same, and room for what and its type. */
#define ANSWERS 16
#define PATH_ROOM 64
#define TYPE_ROOM 64

/* Longest of them, in bytes: what a boot.sig may have (facts.md 1). */
#define ANSWER_MAX 4096

/* A place to ask from; all but the mutex is guarded by the line's book. */
typedef struct {
    pthread_mutex_t mutex;      /* held by the one who asks */
    apr_time_t began;           /* 0: nobody asks.  Not 0 and the mutex free: he is dead */
    char path[PATH_ROOM];       /* what for */
} line_place;

/* A whole answer. */
typedef struct {
    apr_time_t began;           /* when it was asked for; 0: none */
    char path[PATH_ROOM];       /* what for */
    int status;
    char type[TYPE_ROOM];       /* its Content-Type; "": none */
    apr_size_t length;          /* bytes of its body */
    char body[ANSWER_MAX];
} line_answer;

/* A failure that took long. */
typedef struct {
    apr_time_t began, ended;
    int status;
} line_failure;

/* What goes beside the line. */
typedef struct {
    apr_time_t until;           /* 0: a free entry */
    char path[PATH_ROOM];
} line_trouble;

/* A line.  Times in it are those of waiting_clock(). */
struct question_line {
    pthread_mutex_t book;       /* held for moments, to use all of this but the mutexes */
    unsigned salt;              /* of the clients' hash */
    unsigned came;              /* counts those who came, to spread them over what they wait for */
    int width;                  /* how many may ask at once, as long as answers are fast */
    apr_time_t awaited;         /* somebody may be waiting for a place until then */
    apr_time_t fastest;         /* answer since fastest_since, microseconds; 0: none yet */
    apr_time_t fastest_before;  /* likewise, before that */
    apr_time_t fastest_since;
    line_failure failure;       /* the last one */
    apr_time_t last_answer;     /* when it came; 0: none yet */
    line_trouble troubles[BESIDE_MAX];
    unsigned troubled;          /* counts them */
    line_place places[PLACES + PLACES_BESIDE];
    line_answer answers[ANSWERS];
    unsigned answered;          /* counts them */
    pthread_mutex_t passes[GROUPS][PASSES];
};

typedef struct question_line question_line;

/* How it stands with a question. */
typedef enum {
    TURN_NOT_YET,
    TURN_COME,                  /* to be asked now */
    TURN_ANSWERED,              /* another has the answer */
    TURN_FAILED                 /* another has failed, and this one would too */
} turn_state;

/* A question in the line. */
typedef struct {
    question_line *line;
    request_rec *r;
    const char *path;
    apr_time_t came;
    unsigned number;            /* among those who came; 0: not counted yet */
    pthread_mutex_t *passes;    /* those of its client */
    pthread_mutex_t *pass;      /* the one that it holds; NULL: none */
    pthread_mutex_t *next_pass; /* the one to wait for, when it lacks one */
    line_place *place;          /* likewise */
    line_place *awaits;         /* the one to wait for; NULL: it lacks a pass */
    const line_answer *answer;  /* of another, in r->pool */
    int status;                 /* of another's failure */
} turn;

/* ------------------------------------------------------------------ mutexes */

typedef enum { NOT_LOCKED, LOCKED, INHERITED } lock_state;

/* Lock within this time, 0: at once or not at all.  INHERITED: a process died that held it. */
static lock_state lock(pthread_mutex_t *mutex, apr_interval_time_t within)
{
    int rv = pthread_mutex_trylock(mutex);

    if (rv == EBUSY && within > 0) {
        apr_time_t until = waiting_clock() + within;
        struct timespec end = { apr_time_sec(until), apr_time_usec(until) * 1000 };

        rv = pthread_mutex_clocklock(mutex, CLOCK_MONOTONIC, &end);
    }
    if (rv == EOWNERDEAD) {
        pthread_mutex_consistent(mutex);
        return INHERITED;
    }
    return rv == 0 ? LOCKED : NOT_LOCKED;
}

/* Open the book; 0: it can't be had.  What a process was writing that died then is forgotten. */
static int open_book(question_line *line)
{
    lock_state state = lock(&line->book, BOOK_WAIT);

    if (state == INHERITED) {
        memset(&line->failure, 0, sizeof(line->failure));
        memset(line->answers, 0, sizeof(line->answers));
        memset(line->troubles, 0, sizeof(line->troubles));
        line->width = 1;
    }
    return state != NOT_LOCKED;
}

static void close_book(question_line *line)
{
    pthread_mutex_unlock(&line->book);
}

/* Make the mutexes of a new line. */
static apr_status_t make_mutexes(question_line *line)
{
    pthread_mutexattr_t kind;
    int i, k, rv = pthread_mutexattr_init(&kind);

    if (rv != 0)
        return rv;
    rv = pthread_mutexattr_setpshared(&kind, PTHREAD_PROCESS_SHARED);
    if (rv == 0)
        rv = pthread_mutexattr_setrobust(&kind, PTHREAD_MUTEX_ROBUST);
    if (rv == 0)
        rv = pthread_mutex_init(&line->book, &kind);
    for (i = 0; rv == 0 && i < PLACES + PLACES_BESIDE; i++)
        rv = pthread_mutex_init(&line->places[i].mutex, &kind);
    for (i = 0; i < GROUPS; i++) {
        for (k = 0; rv == 0 && k < PASSES; k++)
            rv = pthread_mutex_init(&line->passes[i][k], &kind);
    }
    pthread_mutexattr_destroy(&kind);
    return rv;
}

apr_status_t question_line_open(question_line **line, const char *url, apr_pool_t *process_pool)
{
    void *memory;
    int is_new;
    apr_status_t rv = shared_memory_open(&memory, &is_new, sizeof(**line), process_pool,
                                         "line %d before %s", LINE_LAYOUT, url);

    if (rv != APR_SUCCESS)
        return rv;
    *line = memory;
    if (!is_new)
        return APR_SUCCESS;
    /* If this fails httpd ends: nobody finds a half-made line. */
    (*line)->width = 1;
    rv = apr_generate_random_bytes((unsigned char *)&(*line)->salt, sizeof((*line)->salt));
    return rv == APR_SUCCESS ? make_mutexes(*line) : rv;
}

/* ------------------------------------------------------------------ how wide the line is */

/* How long the fastest answer of late took, microseconds; 0: there was none. */
static apr_time_t fastest_of(const question_line *line)
{
    if (line->fastest == 0 || line->fastest_before == 0)
        return line->fastest + line->fastest_before;
    return line->fastest < line->fastest_before ? line->fastest : line->fastest_before;
}

/* An answer came after this long: so much more, or so much less, may be asked at once. */
static void learn_from_answer(question_line *line, apr_time_t took, apr_time_t now)
{
    int most = fastest_of(line) > FASTEST_MAX ? PLACES_THEN : PLACES;

    if (took > fastest_of(line) + FAST_MARGIN)
        line->width = 1;
    else if (line->width > most)
        line->width = most;
    else if (line->width < most && now < line->awaited)
        line->width++;
    if (now - line->fastest_since > FASTEST_LASTS) {
        line->fastest_before = line->fastest;
        line->fastest = 0;
        line->fastest_since = now;
    }
    if (line->fastest == 0 || took < line->fastest)
        line->fastest = took;
}

/* How many are asking.  The place of a dead one is cleared; *oldest is when the first one began. */
static int count_asking(question_line *line, apr_time_t *oldest)
{
    int i, asking = 0;

    *oldest = 0;
    for (i = 0; i < PLACES; i++) {
        line_place *place = &line->places[i];

        if (place->began == 0)
            continue;
        if (lock(&place->mutex, 0) != NOT_LOCKED) {
            place->began = 0;
            pthread_mutex_unlock(&place->mutex);
            continue;
        }
        asking++;
        if (*oldest == 0 || place->began < *oldest)
            *oldest = place->began;
    }
    return asking;
}

/* How many may be asking now, when so many are and the first of them began then. */
static int places_open(const turn *turn, int asking, apr_time_t oldest, apr_time_t now)
{
    question_line *line = turn->line;
    apr_time_t silence = SILENCE(walt_vpn_request_of(turn->r)->entrypoint->timeout);

    /* A fleet that reboots onto a new image finds the line as idle as it left it. */
    if (asking == 0 && now >= line->awaited)
        line->width = 1;
    if (asking == 0 || now - oldest <= fastest_of(line) + FAST_MARGIN)
        return line->width;
    line->width = 1;
    return now - oldest <= silence ? 1 : PLACES_IN_SILENCE;
}

/* ------------------------------------------------------------------ one question */

/*
 * The passes of a client: its address; of IPv6 the network, in which a host has any address that it
 * likes.
 */
static pthread_mutex_t *passes_of(question_line *line, const apr_sockaddr_t *client)
{
    const unsigned char *address = client->ipaddr_ptr;
    int i, length = client->ipaddr_len;
    unsigned hash = line->salt;

    if (length == sizeof(struct in6_addr)
        && !IN6_IS_ADDR_V4MAPPED((const struct in6_addr *)client->ipaddr_ptr))
        length /= 2;
    for (i = 0; i < length; i++)
        hash = (hash ^ address[i]) * 16777619u;         /* FNV-1a */
    return line->passes[(hash ^ hash >> 16) % GROUPS];
}

/* An answer for the same, asked for since this one came: as fresh as its own would be; or NULL. */
static const line_answer *find_answer(const turn *turn)
{
    int i;

    for (i = 0; i < ANSWERS; i++) {
        const line_answer *answer = &turn->line->answers[i];

        if (answer->began >= turn->came && strcmp(answer->path, turn->path) == 0)
            return apr_pmemdup(turn->r->pool, answer,
                               offsetof(line_answer, body) + answer->length);
    }
    return NULL;
}

/* A place from which the same is being asked since this one came; or NULL. */
static line_place *find_same(const turn *turn)
{
    int i;

    for (i = 0; i < PLACES + PLACES_BESIDE; i++) {
        line_place *place = &turn->line->places[i];

        if (place->began >= turn->came && strcmp(place->path, turn->path) == 0)
            return place;
    }
    return NULL;
}

/* The entry of what is asked for beside the line; NULL: it is not. */
static line_trouble *find_trouble(const turn *turn, apr_time_t now)
{
    int i;

    for (i = 0; i < BESIDE_MAX; i++) {
        line_trouble *trouble = &turn->line->troubles[i];

        if (trouble->until > now && strcmp(trouble->path, turn->path) == 0)
            return trouble;
    }
    return NULL;
}

/* Has this one waited for at least half of a failure?  Then its own would not have gone better, and
 * it has had as long as that would have taken, or nearly so. */
static int shares_failure(const turn *turn)
{
    const line_failure *failure = &turn->line->failure;

    return failure->ended > turn->came
           && turn->came - failure->began <= (failure->ended - failure->began) / 2;
}

static void release_place(turn *turn)
{
    if (turn->place)
        pthread_mutex_unlock(&turn->place->mutex);
    turn->place = NULL;
}

static void release_pass(turn *turn)
{
    if (turn->pass)
        pthread_mutex_unlock(turn->pass);
    turn->pass = NULL;
}

/* Take one of the client's passes that are of use now; 0: all are taken. */
static int take_pass(turn *turn)
{
    int i, count = turn->line->width < PASSES ? turn->line->width + 1 : PASSES;

    turn->next_pass = &turn->passes[turn->number % (unsigned)count];
    for (i = 0; !turn->pass && i < count; i++) {
        if (lock(&turn->passes[i], 0) != NOT_LOCKED)
            turn->pass = &turn->passes[i];
    }
    return turn->pass != NULL;
}

/* The place to wait for when not one more may ask: one of those that are taken, whose holder will
 * wake one of those who wait for it. */
static line_place *taken_place(turn *turn, int asking, int open)
{
    line_place *place = turn->line->places;
    int skip;

    if (asking < open)          /* all that are open were given to others who have yet to begin */
        return &place[turn->number % (unsigned)open];
    for (skip = (int)(turn->number % (unsigned)asking); place->began == 0 || skip-- > 0; place++)
        ;
    return place;
}

/* Take one of so many places, unless one is held already; 0: all are taken. */
static int take_one(turn *turn, line_place *places, int count)
{
    int i;

    for (i = 0; !turn->place && i < count; i++) {
        if (lock(&places[i].mutex, 0) != NOT_LOCKED)
            turn->place = &places[i];
    }
    return turn->place != NULL;
}

/* Take a place in the line, unless as many ask as may; 0: wait for the one that this says. */
static int take_place(turn *turn, apr_time_t now)
{
    question_line *line = turn->line;
    apr_time_t oldest;
    int asking = count_asking(line, &oldest);
    int open = places_open(turn, asking, oldest, now);

    if (asking < open && take_one(turn, line->places, open))
        return 1;
    turn->awaits = taken_place(turn, asking, open);
    line->awaited = now + SLICE;
    return 0;
}

/* Likewise beside the line. */
static int take_place_beside(turn *turn)
{
    line_place *beside = &turn->line->places[PLACES];

    turn->awaits = &beside[turn->number % PLACES_BESIDE];
    if (turn->place && turn->place < beside)
        return 0;               /* it comes again without the line's */
    return take_one(turn, beside, PLACES_BESIDE);
}

/* Begin to ask, from a place in the line or beside it; 0: wait for what it lacks. */
static int begin(turn *turn, apr_time_t now)
{
    int beside = find_trouble(turn, now) != NULL;

    turn->awaits = NULL;
    if (beside)                 /* those in the line are to have it */
        release_pass(turn);
    else if (!take_pass(turn))
        return 0;
    if ((turn->awaits = find_same(turn)))
        return 0;
    if (!(beside ? take_place_beside(turn) : take_place(turn, now)))
        return 0;
    turn->place->began = now;
    apr_cpystrn(turn->place->path, turn->path, PATH_ROOM);
    return 1;
}

/* Look how it stands with a question, and let it begin if its turn has come. */
static turn_state look(turn *turn)
{
    question_line *line = turn->line;
    turn_state state = TURN_NOT_YET;

    if (!open_book(line))
        return TURN_COME;
    if (turn->number == 0)
        turn->number = ++line->came;
    if (turn->place)
        turn->place->began = 0;         /* it may be a dead one's */
    if ((turn->answer = find_answer(turn))) {
        state = TURN_ANSWERED;
    }
    else if (shares_failure(turn)) {
        turn->status = line->failure.status;
        state = TURN_FAILED;
    }
    else if (begin(turn, waiting_clock())) {
        state = TURN_COME;
    }
    close_book(line);
    return state;
}

/* Sleep until what it lacks, first a pass and then a place, is free and its own, or a slice is
 * over. */
static void sleep_for_it(turn *turn)
{
    pthread_mutex_t *mutex = turn->awaits ? &turn->awaits->mutex
                                          : turn->next_pass;

    if (lock(mutex, SLICE) == NOT_LOCKED)
        return;
    if (turn->awaits)
        turn->place = turn->awaits;
    else
        turn->pass = mutex;
}

/* Wait until the turn comes, or need not come any more.  TURN_COME: pass and place are held. */
static turn_state await_turn(turn *turn, apr_time_t deadline)
{
    turn_state state = look(turn);
    waiting waiting;

    if (state == TURN_NOT_YET) {
        waiting_begin(&waiting, turn->r);
        do {
            release_place(turn);
            sleep_for_it(turn);
        } while ((state = look(turn)) == TURN_NOT_YET
                 && waiting_clock() < deadline && !waiting_is_too_long(turn->came));
        waiting_end(&waiting);
    }
    if (state != TURN_COME) {
        release_place(turn);
        release_pass(turn);
    }
    return state;
}

/* ------------------------------------------------------------------ asking */

/* A copy of what an asker is given. */
typedef struct {
    walt_query *asker;
    apr_size_t length;          /* of the body; what is more than there is room for is not in it */
    char body[ANSWER_MAX];
} copied_answer;

static apr_status_t take_copy(walt_query *query, const char *bytes, apr_size_t length)
{
    copied_answer *copy = query->data;

    if (copy->length <= sizeof(copy->body) && length <= sizeof(copy->body) - copy->length)
        memcpy(copy->body + copy->length, bytes, length);
    copy->length += length;
    return copy->asker->take(copy->asker, bytes, length);
}

/*
 * Keep a whole answer for those who wait for the same, if it is a small one.  Other errors than a
 * 404 may be about the request, which has the header lines of a client: with 100 of them, or with
 * one that a firewall on the way dislikes, a stranger gets a 400 or a 403, and no node shall.
 */
static void keep_answer(turn *turn, const walt_query *query, const copied_answer *copy)
{
    line_answer *answer = &turn->line->answers[turn->line->answered % ANSWERS];
    const char *type = query->content_type ? query->content_type : "";

    if (copy->length > sizeof(answer->body) || strlen(type) >= TYPE_ROOM
        || (query->status != HTTP_OK && query->status != HTTP_NOT_FOUND))
        return;
    turn->line->answered++;
    answer->began = turn->place->began;
    answer->status = query->status;
    answer->length = copy->length;
    apr_cpystrn(answer->path, turn->path, PATH_ROOM);
    apr_cpystrn(answer->type, type, TYPE_ROOM);
    memcpy(answer->body, copy->body, copy->length);
}

/* Write down a failure that took long: those who have waited for it share it, unless the WalT
 * server was silent for this question alone. */
static void note_failure(turn *turn, int status, apr_time_t now)
{
    question_line *line = turn->line;
    line_trouble *trouble = find_trouble(turn, now);

    if (!trouble)
        line->width = 1;
    if (!trouble && line->last_answer > turn->place->began) {
        trouble = &line->troubles[line->troubled++ % BESIDE_MAX];
        apr_cpystrn(trouble->path, turn->path, PATH_ROOM);
    }
    if (trouble) {
        trouble->until = now + BESIDE_LASTS;
        return;
    }
    line->failure.began = turn->place->began;
    line->failure.ended = now;
    line->failure.status = status;
}

/* Write down what became of a question, for those behind it. */
static void write_down(turn *turn, const walt_query *query, const copied_answer *copy)
{
    question_line *line = turn->line;
    apr_time_t now = waiting_clock(), took = now - turn->place->began;
    line_trouble *trouble;

    if (query->whole && !ap_is_HTTP_SERVER_ERROR(query->status)) {
        line->last_answer = now;
        learn_from_answer(line, took, now);
        keep_answer(turn, query, copy);
        if ((trouble = find_trouble(turn, now)))
            trouble->until = 0;
    }
    else if (took >= LONG_FAILURE) {
        note_failure(turn, query->status, now);
    }
}

/* Leave the line. */
static void leave(turn *turn, const walt_query *query, const copied_answer *copy)
{
    if (turn->place && open_book(turn->line)) {
        write_down(turn, query, copy);
        turn->place->began = 0;
        release_place(turn);    /* before the next one looks who asks */
        close_book(turn->line);
    }
    release_place(turn);
    release_pass(turn);
}

/* Ask the WalT server itself. */
static void ask(turn *turn, walt_query *query)
{
    copied_answer copy;
    walt_query copying = *query;

    copy.asker = query;
    copy.length = 0;
    copying.take = take_copy;
    copying.data = &copy;
    walt_query_ask(turn->r, &copying);
    copying.take = query->take;
    copying.data = query->data;
    *query = copying;
    leave(turn, query, &copy);
}

/* Give an asker what another was given. */
static void give_answer(const turn *turn, walt_query *query)
{
    const line_answer *answer = turn->answer;

    query->status = answer->status;
    query->length = query->received = (apr_off_t)answer->length;
    query->headers = apr_table_make(turn->r->pool, 1);
    query->content_type = answer->type[0] ? answer->type : NULL;
    query->whole = query->take(query, answer->body, answer->length) == APR_SUCCESS;
}

int question_line_ask(request_rec *r, walt_query *query, apr_time_t deadline)
{
    turn turn = { 0 };

    turn.line = walt_vpn_request_of(r)->entrypoint->line;
    turn.r = r;
    turn.path = query->rest;
    turn.came = waiting_clock();
    turn.passes = passes_of(turn.line, r->useragent_addr);
    switch (await_turn(&turn, deadline)) {
    case TURN_COME:
        ask(&turn, query);
        return 1;
    case TURN_ANSWERED:
        give_answer(&turn, query);
        return 1;
    case TURN_FAILED:
        query->status = turn.status;
        query->whole = 0;
        return 1;
    default:
        query->status = HTTP_GATEWAY_TIME_OUT;
        query->whole = 0;
        return 0;
    }
}
