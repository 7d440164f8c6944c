/*
 * walt/line.c: the line in which questions for boot.sig stand before a WalT server.
 *
 * The WalT server computes a signature for each boot.sig that it is asked for before the first one
 * of that image is done, with the whole image in its memory each time (facts.md 2).  So few
 * questions go at once.  More and more go side by side while answers come that were not computed,
 * which is what a long way to the WalT server needs: a signature that is a file, and one that took
 * little longer than its way, which the time to connect tells.
 *
 * Who asks holds a place, a row in a book that all processes share, and gives it back without the
 * book, which a stopped process may hold.  Who waits holds nothing, and looks again when something
 * has changed.
 */
#include "walt/line.h"
#include "ledger/book.h"
#include "ledger/shared_memory.h"
#include "ledger/waiting.h"
#include "request/times.h"

#include "apr_atomic.h"
#include "apr_general.h"
#include "apr_strings.h"
#include "mpm_common.h"

#include <stddef.h>
#include <unistd.h>

/* Counts the changes of what a line's bytes mean. */
#define LINE_LAYOUT 5

/* How many questions may be asked at once, at first and at most. */
#define WIDTH_AT_FIRST 4
#define WIDTH_MAX 32

/* Room for these, and for those that the WalT server seems not to answer: before the first of them
 * fail, after REPLY_TIMEOUT, there are SILENT and SILENT again. */
#define PLACES (3 * WIDTH_MAX)

/* A signature that takes so much longer than its way is being computed: 0.3 s for an image of
 * 50 MB (facts.md 2). */
#define COMPUTING apr_time_from_msec(200)

/* How often a line is looked at in which nothing seems to have changed. */
#define LOOK_AGAIN apr_time_from_msec(100)

/* Answers that are kept for those who wait for the same, and room for what, and for its type and
 * time. */
#define ANSWERS 16
#define PATH_ROOM 64
#define LINE_ROOM 64

/* Longest of them, in bytes: what a boot.sig may have (facts.md 1). */
#define ANSWER_MAX 4096

/* A place to ask from. */
typedef struct {
    _Atomic apr_time_t began;   /* 0: nobody asks; its holder writes that without the book */
    pid_t process;
    unsigned client;            /* hash of its address */
    char path[PATH_ROOM];       /* what for */
} line_place;

/* A whole answer. */
typedef struct {
    apr_time_t began;           /* when it was asked for; 0: none */
    char path[PATH_ROOM];       /* what for */
    int status;
    char type[LINE_ROOM];       /* its Content-Type; "": none */
    char modified[LINE_ROOM];   /* its Last-Modified; "": none */
    apr_size_t length;          /* bytes of its body */
    char body[ANSWER_MAX];
} line_answer;

/* A failure that took long. */
typedef struct {
    apr_time_t began, ended;
    int status;
} line_failure;

/* A line.  Times in it are those of waiting_clock(). */
struct question_line {
    book lock;
    volatile apr_uint32_t changes;      /* counts them, without the book */
    unsigned salt;              /* of the clients' hash, which nobody can foretell */
    int width;                  /* how many may ask at once */
    apr_time_t slow;            /* an answer that takes so long is being computed */
    apr_time_t longest_came;    /* of who has waited longest for a place */
    _Atomic apr_time_t longest_looked;  /* and when he looked last; 0: nobody is known to wait */
    apr_time_t last_answer;     /* when it came; 0: none yet */
    line_failure failure;       /* the last one */
    line_place places[PLACES];
    line_answer answers[ANSWERS];
    unsigned answered;          /* counts them */
};

typedef struct question_line question_line;

/* A question in the line. */
struct question_turn {
    question_line *line;
    walt_query *query;
    unsigned client;            /* hash of its address */
    apr_time_t came;
    apr_time_t looked;          /* when the book was opened last; 0: not yet */
    apr_uint32_t seen;          /* changes as of then */
    int has_come;               /* there is one of the next three, or the book can't be had */
    line_place *place;          /* to ask from */
    const line_answer *answer;  /* of another, in the query's pool */
    int failure;                /* of another: its status */
};

apr_status_t question_line_open(question_line **line, const char *url, apr_pool_t *process_pool)
{
    apr_status_t rv;

    *line = shared_memory_open(&rv, sizeof(**line), process_pool, "line %d before %s", LINE_LAYOUT,
                               url);
    if (!*line)
        return rv;
    if ((*line)->width)
        return APR_SUCCESS;
    (*line)->width = WIDTH_AT_FIRST;
    (*line)->slow = COMPUTING;
    return apr_generate_random_bytes((unsigned char *)&(*line)->salt, sizeof((*line)->salt));
}

/* Open the book; 0: it can't be had.  What a process was writing that died then is forgotten. */
static int open_book(question_line *line)
{
    book_state state = book_open(&line->lock);

    if (state == BOOK_INHERITED) {
        memset(&line->failure, 0, sizeof(line->failure));
        memset(line->answers, 0, sizeof(line->answers));
    }
    return state != BOOK_CLOSED;
}

/* ------------------------------------------------------------------ waiting for a turn */

/* Give back what the turn holds, and have those look who may be concerned. */
static apr_status_t end_turn(void *data)
{
    const question_turn *turn = data;
    question_line *line = turn->line;

    if (!turn->place && line->longest_came != turn->came)
        return APR_SUCCESS;
    if (line->longest_came == turn->came)
        line->longest_looked = 0;
    if (turn->place)
        turn->place->began = 0;
    apr_atomic_inc32(&line->changes);
    return APR_SUCCESS;
}

question_turn *question_line_come(walt_query *query)
{
    question_turn *turn = apr_pcalloc(query->pool, sizeof(*turn));

    turn->line = query->entrypoint->line;
    turn->query = query;
    turn->client = waiting_hash(turn->line->salt, query->client_addr);
    turn->came = waiting_clock();
    apr_pool_cleanup_register(query->pool, turn, end_turn, apr_pool_cleanup_null);
    return turn;
}

/* An answer for the same, asked for since this one came: as fresh as its own would be; or NULL. */
static const line_answer *find_answer(const question_turn *turn)
{
    int i;

    for (i = 0; i < ANSWERS; i++) {
        const line_answer *answer = &turn->line->answers[i];

        if (answer->began >= turn->came && strcmp(answer->path, turn->query->rest) == 0)
            return apr_pmemdup(turn->query->pool, answer,
                               offsetof(line_answer, body) + answer->length);
    }
    return NULL;
}

/* Has this one waited for at least half of a failure?  Then its own would not have gone better, and
 * it has had as long as that would have taken, or nearly so. */
static int shares_failure(const question_turn *turn)
{
    const line_failure *failure = &turn->line->failure;

    return failure->ended > turn->came
           && turn->came - failure->began <= (failure->ended - failure->began) / 2;
}

/* How many questions are being asked for that long, but for those to which the WalT server is
 * silent. */
static int count_slow(const question_line *line, apr_time_t now, apr_time_t slow)
{
    int i, count = 0;

    for (i = 0; i < PLACES; i++) {
        apr_time_t began = line->places[i].began;

        count += began && now - began >= slow && now - began < SILENT;
    }
    return count;
}

/* Has nobody waited longer for a place?  Whoever has says so when he looks, as he does all the time
 * until he goes. */
static int is_longest(const question_turn *turn, apr_time_t now)
{
    question_line *line = turn->line;

    if (turn->came > line->longest_came && now - line->longest_looked < 2 * LOOK_AGAIN)
        return 0;
    line->longest_came = turn->came;
    line->longest_looked = now;
    return 1;
}

/* A place to ask from; NULL: as many ask as may, or as many of this client's, or somebody who came
 * later asks for the same, or somebody has waited longer.  A question to which the WalT server is
 * silent counts for its client alone. */
static line_place *find_place(const question_turn *turn, apr_time_t now)
{
    question_line *line = turn->line;
    line_place *place = NULL;
    int i, asking = 0, ours = 0;

    for (i = 0; i < PLACES; i++) {
        line_place *one = &line->places[i];
        apr_time_t began = one->began;

        if (began == 0) {
            place = one;
            continue;
        }
        if (began >= turn->came && strcmp(one->path, turn->query->rest) == 0)
            return NULL;
        asking += now - began < SILENT;
        ours += one->client == turn->client;
    }
    if (asking == 0)            /* a fleet that reboots onto a new image finds the line so */
        line->width = WIDTH_AT_FIRST;
    return ours < line->width / 2 && is_longest(turn, now) && asking < line->width
           && count_slow(line, now, line->slow) < WIDTH_AT_FIRST ? place : NULL;
}

/* Look into the open book.  Is there an answer, a failure that is shared, or a place? */
static int look(question_turn *turn, apr_time_t now)
{
    line_place *place;

    if ((turn->answer = find_answer(turn)))
        return 1;
    if (shares_failure(turn)) {
        turn->failure = turn->line->failure.status;
        return 1;
    }
    if (!(place = find_place(turn, now)))
        return 0;
    place->process = getpid();
    place->client = turn->client;
    apr_cpystrn(place->path, turn->query->rest, PATH_ROOM);
    place->began = now;
    turn->place = place;
    turn->line->longest_looked = 0;
    apr_atomic_inc32(&turn->line->changes);     /* for who has waited longest now */
    return 1;
}

int question_line_look(question_turn *turn)
{
    question_line *line = turn->line;
    apr_time_t now = waiting_clock();

    if (turn->has_come
        || (turn->looked && turn->seen == line->changes && now - turn->looked < LOOK_AGAIN))
        return turn->has_come;
    if (!open_book(line))
        return turn->has_come = 1;
    turn->looked = now;
    turn->seen = line->changes;
    turn->has_come = look(turn, now);
    book_close(&line->lock);
    return turn->has_come;
}

/* ------------------------------------------------------------------ asking */

/* Keep a whole answer for those who wait for the same, if it is a small one. */
static void keep_answer(const question_turn *turn, const apr_array_header_t *body)
{
    const walt_query *query = turn->query;
    line_answer *answer = &turn->line->answers[turn->line->answered % ANSWERS];
    const char *type = query->content_type ? query->content_type : "";
    const char *modified = apr_table_get(query->headers, "Last-Modified");

    if (body->nelts > ANSWER_MAX || strlen(type) >= LINE_ROOM
        || (modified && strlen(modified) >= LINE_ROOM)
        || (query->status != HTTP_OK && query->status != HTTP_NOT_FOUND))
        return;
    turn->line->answered++;
    answer->began = turn->place->began;
    answer->status = query->status;
    answer->length = (apr_size_t)body->nelts;
    apr_cpystrn(answer->path, query->rest, PATH_ROOM);
    apr_cpystrn(answer->type, type, LINE_ROOM);
    apr_cpystrn(answer->modified, modified ? modified : "", LINE_ROOM);
    memcpy(answer->body, body->elts, answer->length);
}

/* Widen the line after an answer that was not computed, unless another takes much longer, and
 * narrow it after one that may have been.  So a way that is slow now and then does not narrow it,
 * nor does a signature that is known widen it for those that are not. */
static void note_pace(question_line *line, const walt_query *query, apr_time_t began,
                      apr_time_t now)
{
    apr_time_t took = now - began, longer;
    int is_file = apr_table_get(query->headers, "Last-Modified") != NULL;

    line->slow = is_file ? SILENT : COMPUTING + 2 * (query->sent - began);
    longer = 3 * took < line->slow ? 3 * took : line->slow;
    if (took >= line->slow)
        line->width -= line->width > WIDTH_AT_FIRST;
    else if (is_file || count_slow(line, now, longer) == 0)
        line->width += line->width < WIDTH_MAX;
}

/* Write down what became of a question, for those behind it. */
static void write_down(const question_turn *turn, const apr_array_header_t *body)
{
    const walt_query *query = turn->query;
    question_line *line = turn->line;
    apr_time_t began = turn->place->began, now = waiting_clock();

    if (query->whole && !ap_is_HTTP_SERVER_ERROR(query->status)) {
        line->last_answer = now;
        note_pace(line, query, began, now);
        keep_answer(turn, body);
        return;
    }
    /* If others were answered meanwhile this question alone has failed: whoever asks it has to find
     * that out himself. */
    if (line->last_answer > began)
        return;
    line->width = WIDTH_AT_FIRST;
    if (now - began >= LONG_FAILURE)
        line->failure = (line_failure){ began, now, query->status };
}

/* Give an asker what another was given. */
static void give_answer(const line_answer *answer, walt_query *query)
{
    query->status = answer->status;
    query->length = query->received = (apr_off_t)answer->length;
    query->headers = apr_table_make(query->pool, 1);
    if (answer->modified[0])
        apr_table_setn(query->headers, "Last-Modified", answer->modified);
    query->content_type = answer->type[0] ? answer->type : NULL;
    query->whole = query->take(query, answer->body, answer->length) == APR_SUCCESS;
}

void question_line_take(question_turn *turn, const apr_array_header_t *body)
{
    walt_query *query = turn->query;

    if (turn->answer) {
        give_answer(turn->answer, query);
    }
    else if (turn->failure) {
        query->status = turn->failure;
        query->whole = 0;
    }
    else {
        walt_query_ask(query);
        if (turn->place && open_book(turn->line)) {
            write_down(turn, body);
            book_close(&turn->line->lock);
        }
    }
    question_line_leave(turn);
}

void question_line_leave(question_turn *turn)
{
    apr_pool_cleanup_run(turn->query->pool, turn, end_turn);
}

/* ------------------------------------------------------------------ the dead */

/* This process has died: its places in the line are free. */
static void bury(question_line *line, pid_t process)
{
    int i;

    if (!open_book(line))
        return;
    for (i = 0; i < PLACES; i++) {
        if (line->places[i].process == process)
            line->places[i].began = 0;
    }
    apr_atomic_inc32(&line->changes);
    book_close(&line->lock);
}

/* A child has died. */
static void walt_vpn_child_status(server_rec *s, pid_t pid, ap_generation_t generation, int slot,
                                  mpm_child_status state)
{
    (void)generation;
    (void)slot;
    for (; state == MPM_CHILD_EXITED && s; s = s->next) {
        if (entrypoint_of(s))
            bury(entrypoint_of(s)->line, pid);
    }
}

void question_line_register_hooks(void)
{
    ap_hook_child_status(walt_vpn_child_status, NULL, NULL, APR_HOOK_MIDDLE);
}
