/*
 * boot/sender.c: sending an image to a node, whole or while it is fetched.
 *
 * A node is sent what is in the .part as it grows, but for a last piece that goes out only when
 * the digest is right: a short image can't boot, so no node ever completes one that the WalT
 * server did not sign.  Pieces are FILE buckets: httpd's core passes them to the kernel and sets
 * aside what that does not take, so nobody waits for a node, and least of all the fetch.
 *
 * This is sound where nothing but httpd's own filters is between here and the socket.  A client of
 * another kind (TLS, HTTP/2, ranges, HEAD) waits for the verified file.
 */
#include "boot/sender.h"
#include "ledger/fetches.h"
#include "ledger/waiting.h"
#include "reply/headers.h"
#include "reply/relay.h"
#include "report/watch.h"
#include "request/times.h"

#include "apr_poll.h"
#include "apr_portable.h"
#include "apr_strings.h"
#include "http_core.h"
#include "http_protocol.h"
#include "http_ssl.h"
#include "util_filter.h"

#include <sys/file.h>
#include <sys/stat.h>

/* A piece has so many bytes: each costs a walk through all that is pending.  On a slow link what
 * there is goes out after a while, so that the node sees the image come. */
#define PIECE (256 * 1024)
#define PIECE_EVERY apr_time_from_msec(250)

/* Most that is passed on before the node has taken it: with what differs in there it would start
 * over when a second try brings other bytes, though it holds none of them. */
#define AHEAD_MAX (1024 * 1024)

/* Bytes at the end that go out only when the digest is right: without them no image can boot. */
#define HELD_BACK (64 * 1024)

/* How often is seen whether somebody still fetches. */
#define FETCHER_LOOK apr_time_from_msec(200)

/* ------------------------------------------------------------------ the head */

/*
 * Make the head of the reply with an image of this size, whole or from *from on.  OK, or the
 * status of the reply that is sent instead.
 */
static int make_head(request_rec *r, const walt_vpn_request *request, apr_off_t size,
                     const char *digest, apr_off_t *from)
{
    int status;

    relay_is_off(r);
    ap_set_content_type(r, "application/octet-stream");
    ap_set_content_length(r, size);
    apr_table_setn(r->headers_out, "ETag", apr_pstrcat(r->pool, "\"", digest, "\"", NULL));
    ap_set_accept_ranges(r);
    *from = 0;
    if ((status = ap_meets_conditions(r)) != OK || r->header_only || request->resume_from == 0)
        return status;
    *from = request->resume_from;
    return headers_resume(r, size);
}

/* Append bytes of an open file, which is in the connection's pool, to a brigade.  One that may
 * become shorter yet is not to be mapped. */
static void append_file(request_rec *r, apr_bucket_brigade *bb, apr_file_t *file, apr_off_t from,
                        apr_off_t until, int may_shrink)
{
    apr_bucket *bucket = apr_brigade_insert_file(bb, file, from, until - from, r->pool);
    const core_dir_config *core = ap_get_core_module_config(r->per_dir_config);

    if (may_shrink || core->enable_mmap == ENABLE_MMAP_OFF)
        (void)apr_bucket_file_enable_mmap(bucket, 0);
}

int image_sender_send(request_rec *r, walt_vpn_request *request, const image *image)
{
    apr_bucket_brigade *bb;
    apr_off_t from;
    int status = make_head(r, request, image->size, image->digest, &from);

    if (status != OK)
        return status;
    /* One brigade with the file and EOS, in r->pool: the byterange filter answers other ranges by
     * itself, and the file stays open until the last byte is sent. */
    bb = apr_brigade_create(r->pool, r->connection->bucket_alloc);
    append_file(r, bb, image->file, from, image->size, 0);
    APR_BRIGADE_INSERT_TAIL(bb, apr_bucket_eos_create(r->connection->bucket_alloc));
    (void)ap_pass_brigade(r->output_filters, bb);       /* a client that is gone is no error */
    return OK;
}

/* ------------------------------------------------------------------ while it is fetched */

/* Is this filter one that passes FILE buckets on at once and as they are? */
static int is_transparent(const ap_filter_t *f)
{
    static const char *const names[] = {
        "http_header", "content_length", "byterange", "http_outerror", "core", "fixup_headers_out",
        "fixup_headers_err", "logio_ttfb_out", "reqtimeout", "walt_vpn_relay", "walt_vpn_headers",
        "walt_vpn_watch"
    };
    apr_size_t i;

    for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (ap_cstr_casecmp(f->frec->name, names[i]) == 0)
            return 1;
    }
    return 0;
}

int image_sender_can_grow(const request_rec *r, const walt_vpn_request *request)
{
    const ap_filter_t *f;

    if (r->header_only || apr_table_get(r->headers_in, "If-Range")
        || (request->resume_from == 0 && apr_table_get(r->headers_in, "Range"))
        || r->connection->master || ap_ssl_conn_is_ssl(r->connection))
        return 0;
    /* A folder that fails in the middle again would make nodes start over for ever. */
    if (image_folder_trouble_of(r->pool, request->entrypoint->folder))
        return 0;
    for (f = r->output_filters; f; f = f->next) {
        if (!is_transparent(f))
            return 0;
    }
    return 1;
}

image_sender *image_sender_open(request_rec *r, walt_vpn_request *request, const image *image)
{
    image_sender *sender = apr_pcalloc(r->pool, sizeof(*sender));
    const fetch_row *fetch;
    struct stat st;

    if (image->part.place < 0
        || image_part_open_again(&image->part, image_cache_open_flags(r), r->connection->pool,
                                 &sender->file) != APR_SUCCESS)
        return NULL;
    image_cache_close_with(r, sender->file);
    fetch = fetches_at(image->part.place);
    sender->r = r;
    sender->request = request;
    sender->digest = image->digest;
    sender->place = image->part.place;
    sender->run = fetch->run;
    sender->at = request->resume_from;
    sender->looked = waiting_clock();
    apr_os_file_get(&sender->fd, sender->file);
    /* The place may have been given to another fetch meanwhile. */
    return sender->run && fstat(sender->fd, &st) == 0 && fetch->inode == st.st_ino
           && fetch->device == st.st_dev && fetch->run == sender->run ? sender : NULL;
}

/* Bytes of the image that the node may have by now; -1: those that it was sent came to nothing. */
static apr_off_t available(image_sender *sender)
{
    const fetch_row *fetch = fetches_at(sender->place);
    apr_off_t written, most;
    int is_under_way, is_proven;
    struct stat st;

    sender->run = fetches_heir(sender->place, sender->run, sender->at);
    /* In this order: what is written is of this run if that is still under way afterwards, and a
     * fetch that is not may have been proven, but not after that. */
    written = (apr_off_t)fetch->written;
    is_under_way = fetch->run == sender->run;
    is_proven = fetches_is_proven(sender->run, sender->at);
    boot_watch_run(sender->request, is_proven ? 0 : sender->run);
    /* Until the head is passed on, another try may bring a file of another size. */
    if (!sender->begun && fstat(sender->fd, &st) == 0)
        sender->size = st.st_size;
    if (sender->size == 0)      /* somebody has emptied the file */
        return -1;
    if (is_proven)
        return sender->size;
    if (!is_under_way)
        return -1;
    most = sender->size > HELD_BACK ? sender->size - HELD_BACK : 0;
    return written < most ? written : most;
}

void image_sender_push(conn_rec *c)
{
    ap_filter_t *core = c->output_filters;

    while (core->next)
        core = core->next;
    (void)core->frec->filter_func.out_func(core, NULL);         /* an error is in c->aborted */
}

/* Pass the image on up to this byte, with its head if need be. */
static sender_state pass(image_sender *sender, apr_off_t until)
{
    request_rec *r = sender->r;
    conn_rec *c = r->connection;
    apr_bucket_brigade *bb;
    apr_off_t from;

    if (!sender->begun) {
        if ((sender->status = make_head(r, sender->request, sender->size, sender->digest, &from)))
            return SENDER_ANSWERS;
        sender->begun = 1;
    }
    bb = apr_brigade_create(r->pool, c->bucket_alloc);
    if (until > sender->at)
        append_file(r, bb, sender->file, sender->at, until, until < sender->size);
    if (until == sender->size)
        APR_BRIGADE_INSERT_TAIL(bb, apr_bucket_eos_create(c->bucket_alloc));
    sender->at = until;
    sender->passed = waiting_clock();
    if (ap_pass_brigade(r->output_filters, bb) != APR_SUCCESS || c->aborted)
        return SENDER_GONE;
    return until == sender->size ? SENDER_DONE : c->data_in_output_filters ? SENDER_HOLDS
                                                                          : SENDER_WAITS;
}

/* Likewise, as far as the node takes it. */
static sender_state pass_unproven(image_sender *sender, apr_off_t until)
{
    sender_state state;

    do {
        state = pass(sender, until - sender->at > AHEAD_MAX ? sender->at + AHEAD_MAX : until);
    } while (state == SENDER_WAITS && sender->at < until);
    return state;
}

/*
 * Has the one who fetches died?  Then the lock on the file is free, and one node is sent away: when
 * it is back, its request goes on with the fetch.
 */
static int is_called(image_sender *sender)
{
    apr_time_t now = waiting_clock();
    int orphaned;

    if (now - sender->looked < FETCHER_LOOK)
        return 0;
    sender->looked = now;
    if (flock(sender->fd, LOCK_EX | LOCK_NB) != 0)
        return 0;
    orphaned = !fetches_is_proven(sender->run, sender->at)
               && fetches_at(sender->place)->run == sender->run;
    flock(sender->fd, LOCK_UN);
    return orphaned && fetches_call(sender->place);
}

/* What image_sender_advance() is to come to. */
static sender_state advance(image_sender *sender)
{
    conn_rec *c = sender->r->connection;
    apr_off_t until;

    if (c->data_in_output_filters && !c->aborted)
        image_sender_push(c);
    if (c->aborted)
        return SENDER_GONE;
    if ((until = available(sender)) < 0)
        return SENDER_BROKEN;
    if (until == sender->size)
        return pass(sender, until);
    if (c->data_in_output_filters)
        return SENDER_HOLDS;
    if (until - sender->at >= PIECE
        || (until > sender->at && waiting_clock() - sender->passed >= PIECE_EVERY))
        return pass_unproven(sender, until);
    return is_called(sender) ? SENDER_CALLED : SENDER_WAITS;
}

sender_state image_sender_advance(image_sender *sender)
{
    return sender->state = advance(sender);
}

/* Wait a moment, or until the node takes more.  0: it has taken nothing for too long. */
static int wait_for_node(const image_sender *sender, apr_time_t *taken)
{
    request_rec *r = sender->r;
    apr_pollfd_t socket = { r->pool, APR_POLL_SOCKET, APR_POLLOUT, 0, { NULL }, NULL };
    apr_int32_t ready;

    if (sender->state == SENDER_WAITS) {
        apr_sleep(SENDER_LOOK);
        *taken = waiting_clock();
        return 1;
    }
    socket.desc.s = ap_get_conn_socket(r->connection);
    if (apr_poll(&socket, 1, &ready, SENDER_LOOK) == APR_SUCCESS)
        *taken = waiting_clock();
    return waiting_clock() - *taken < r->server->timeout;
}

/* Is the node to make room for another one, or for the rest of the server? */
static int is_its_turn_over(const image_sender *sender, apr_off_t first, apr_time_t began)
{
    switch (waiting_level()) {
    case WAITING_LITTLE:
        return 0;
    case WAITING_CROWDED:
        if (waiting_clock() - began < TURN)
            return 0;
        /* fall through */
    default:
        return waiting_is_too_long(began)
               || (sender->at > first && boot_watch_on_its_way(sender->r->connection) == 0);
    }
}

sender_state image_sender_stay(image_sender *sender)
{
    apr_time_t began = waiting_clock(), taken = began;
    apr_off_t first = sender->at;
    waiting waiting;

    waiting_begin(&waiting, sender->r);
    while (image_sender_advance(sender) == SENDER_WAITS || sender->state == SENDER_HOLDS) {
        if (sender->state == SENDER_WAITS && is_its_turn_over(sender, first, began)) {
            sender->state = SENDER_CALLED;
            break;
        }
        if (!wait_for_node(sender, &taken)) {
            sender->r->connection->aborted = 1;
            sender->state = SENDER_GONE;
            break;
        }
    }
    waiting_end(&waiting);
    return sender->state;
}

int image_sender_end(image_sender *sender)
{
    request_rec *r = sender->r;
    walt_vpn_request *request = sender->request;

    switch (sender->state) {
    case SENDER_ANSWERS:
        return sender->status;
    case SENDER_BROKEN:
        /* An error that answers a resume would be appended to the image: there, a reset. */
        if (!sender->begun && request->resume_from == 0)
            return HTTP_BAD_GATEWAY;
        ap_log_rerror(APLOG_MARK, APLOG_INFO, 0, r, "the fetch of boot.img failed: the connection "
                      "is reset at byte %" APR_OFF_T_FMT, sender->at);
        boot_watch_answer(r, WALT_VPN_FAILED, "its fetch failed, so reset");
        break;
    case SENDER_CALLED:
        boot_watch_send_away(r, request, "still being fetched");
        break;
    default:
        return OK;
    }
    return relay_give_up(r, sender->begun);
}
