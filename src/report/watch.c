/*
 * report/watch.c: what the administrator is told of each request: variables, log lines, counters.
 *
 * How far a download has come is known by marks: metadata buckets between the pieces of a file
 * (filter WALT_VPN_WATCH), which httpd's core destroys when it has written what stands before
 * them.  The file itself is not touched, so it still goes out by sendfile, without a thread.
 */
#include "report/watch.h"
#include "ledger/boots.h"
#include "ledger/counters.h"
#include "ledger/failures.h"
#include "ledger/fetches.h"
#include "ledger/troubles.h"
#include "ledger/waiting.h"
#include "report/memory.h"
#include "request/times.h"

#include "ap_mpm.h"
#include "apr_strings.h"
#include "http_core.h"
#include "http_protocol.h"
#include "http_request.h"
#include "util_filter.h"

#include <linux/sockios.h>
#include <stdlib.h>
#include <sys/ioctl.h>

/* A reply is marked so often, but not more often than after this many bytes.  A hundred marks made
 * 400 slow downloads cost 40 MiB instead of 25. */
#define MARKS 20
#define MARK_MIN (256 * 1024)

static ap_filter_rec_t *watch_filter;
static apr_bucket_type_t mark_type;

/* ------------------------------------------------------------------ variables */

void boot_watch_answer(request_rec *r, walt_vpn_answer answer, const char *reason)
{
    walt_vpn_request *request = walt_vpn_request_of(r);

    request->answer = answer;
    apr_table_setn(r->subprocess_env, "WALT_VPN_ANSWER", walt_vpn_answer_names[answer]);
    if (reason)
        apr_table_setn(r->subprocess_env, "WALT_VPN_REASON", reason);
    else
        apr_table_unset(r->subprocess_env, "WALT_VPN_REASON");
}

void boot_watch_refuse(request_rec *r, boot_reason reason)
{
    walt_vpn_request_of(r)->refused_for = reason;
    boot_watch_answer(r, WALT_VPN_REFUSED, boot_reason_texts[reason]);
}

/*
 * Does this come from a browser?  Another site's page may have it ask for anything, so that is said
 * in words that fail2ban does not look for: it would ban the page's reader, with all nodes behind
 * the same address.
 */
static int is_browsers(const request_rec *r)
{
    static const char *const names[] = { "Accept-Language", "Referer", "Origin", "Sec-Fetch-Mode" };
    const char *accepted = apr_table_get(r->headers_in, "Accept");
    apr_size_t i;

    for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (apr_table_get(r->headers_in, names[i]))
            return 1;
    }
    return accepted && ap_cstr_casecmpn(accepted, "image/", strlen("image/")) == 0;
}

/* A client that repeats a request is refused each time; that is said once. */
void boot_watch_refused(request_rec *r, int status, boot_reason reason)
{
    const char *text = boot_reason_texts[reason];
    unsigned before = troubles_refused_before(apr_pstrcat(r->pool, r->useragent_ip, " ", text,
                                                          " ", r->unparsed_uri, NULL));

    walt_vpn_request_of(r)->is_strangers = 1;
    boot_watch_refuse(r, reason);
    ap_log_rerror(APLOG_MARK, before ? APLOG_DEBUG : APLOG_INFO, 0, r, "%srefused with %d: %s: %s",
                  is_browsers(r) ? "a browser's request is " : "", status, text, r->unparsed_uri);
}

void boot_watch_received(const walt_vpn_entrypoint *entrypoint, apr_off_t bytes)
{
    counters_at(entrypoint->place)->from_server += (apr_uint64_t)bytes;
}

/* The WalT server answers, or it does not. */
static void note_server(entrypoint_counters *counters, server_state state)
{
    if (atomic_exchange(&counters->server, state) != state)
        counters->server_since = (apr_uint64_t)apr_time_now();
}

void boot_watch_answered(const walt_vpn_entrypoint *entrypoint, boot_file file, apr_time_t asked)
{
    entrypoint_counters *counters = counters_at(entrypoint->place);
    apr_time_t now = apr_time_now();

    note_server(counters, SERVER_ANSWERS);
    counters->answered = (apr_uint64_t)now;
    counters->took = now > asked ? (apr_uint64_t)(now - asked) : 0;
    histogram_add_time(&counters->answer_times[file], now - asked);
}

void boot_watch_unanswered(const walt_vpn_entrypoint *entrypoint)
{
    note_server(counters_at(entrypoint->place), SERVER_SILENT);
}

void boot_watch_relayed(const request_rec *r)
{
    walt_vpn_request *request = walt_vpn_request_of(r);

    if (request->asked_at)
        boot_watch_answered(request->entrypoint, request->boot.file, request->asked_at);
    request->asked_at = 0;
}

void boot_watch_digest(request_rec *r, const char *digest, int is_file)
{
    walt_vpn_request *request = walt_vpn_request_of(r);

    request->digest = digest;
    if (request->boot.file == BOOT_FILE_SIG && !r->header_only)
        boots_signed(request->entrypoint->place, request->boot.node, r->useragent_ip, digest,
                     is_file);
}

void boot_watch_mismatch(request_rec *r, const char *vouched, const char *found)
{
    boot_watch_answer(r, WALT_VPN_FAILED,
                      apr_psprintf(r->pool, "boot.img on the WalT server is not the file that its "
                                   "boot.sig vouches for (digest %.12s, signed %.12s); remove "
                                   "boot.sig there and set the image up again", found, vouched));
}

/* ------------------------------------------------------------------ what is counted apart */

const char *const boot_watch_codes[COUNTED_CODES] = {
    "200", "206", "304", "404", "413", "416", "500", "502", "503", "504", "other"
};

static int place_of_code(int status)
{
    int place = 0;

    while (place < COUNTED_CODES - 1 && atoi(boot_watch_codes[place]) != status)
        place++;
    return place;
}

/* ------------------------------------------------------------------ marks */

/* Bytes that the kernel took for this connection and that the other end does not have yet. */
static apr_off_t on_its_way(conn_rec *c)
{
    int bytes = 0;
    apr_socket_t *socket = c->master ? NULL : ap_get_conn_socket(c);
    apr_os_sock_t descriptor;

    if (!socket || apr_os_sock_get(&descriptor, socket) != APR_SUCCESS
        || ioctl(descriptor, SIOCOUTQ, &bytes) != 0)
        return 0;
    return bytes;
}

/*
 * What the filter knows of a reply on its way.  Its marks are destroyed after the request when its
 * connection's pool is, so this lives as long as one of them, in the memory of their buckets.
 */
typedef struct watch {
    conn_rec *c;                /* NULL: the request is gone */
    unsigned users;             /* marks, and the request */
    int begun;                  /* its head has passed */
    counter *counted;           /* among the answers of its entrypoint; NULL: not yet */
    boot_hold hold;             /* of the boot that it is part of */
    apr_off_t from;             /* first byte of the file that is sent */
    apr_off_t announced;        /* bytes of body that the head announces; -1: it does not */
    apr_off_t passed;           /* bytes of body that have passed on */
    apr_off_t piece;            /* bytes from mark to mark */
    apr_off_t marked;           /* bytes of body before the last mark */
    apr_off_t written;          /* bytes of body that the kernel took, as of the last mark */
    apr_off_t arrived;          /* bytes of body that the node has, as of the last mark */
    entrypoint_counters *counters;        /* of its entrypoint */
} watch;

/* One mark: what stands before it in the brigade ends here. */
typedef struct {
    apr_bucket bucket;
    watch *watch;
    apr_off_t at;               /* bytes of body before it */
} mark;

static void leave_watch(watch *watch)
{
    if (--watch->users == 0)
        apr_bucket_free(watch);
}

/* The request's pool goes. */
static apr_status_t forget_watch(void *data)
{
    watch *watch = data;

    watch->c = NULL;
    leave_watch(watch);
    return APR_SUCCESS;
}

/* The request counts as answered this way, from now on. */
static void count_answer(watch *watch, walt_vpn_answer answer)
{
    if (watch->counted)
        (*watch->counted)--;
    watch->counted = &watch->counters->answers[answer];
    (*watch->counted)++;
}

/* The node has so many bytes of the body. */
static void note_arrived(watch *watch, apr_off_t bytes)
{
    if (bytes <= watch->arrived)
        return;
    watch->counters->to_nodes += (apr_uint64_t)(bytes - watch->arrived);
    watch->arrived = bytes;
}

/* All before the mark is written, unless the brigade is thrown away with its connection. */
static void pass_mark(void *data)
{
    mark *mark = data;
    watch *watch = mark->watch;

    if (watch->c && !watch->c->aborted) {
        watch->written = mark->at;
        note_arrived(watch, mark->at - (watch->hold ? on_its_way(watch->c) : 0));
        boots_progress(watch->hold, watch->from + watch->arrived);
    }
    leave_watch(watch);
}

/* The next mark is set after so many bytes of the body, and the last one behind the last byte. */
static apr_off_t next_mark(const watch *watch)
{
    apr_off_t next = watch->marked + watch->piece;

    return watch->announced > watch->marked && next > watch->announced ? watch->announced : next;
}

/* Set a mark before this bucket: so much of the body has passed. */
static void set_mark(watch *watch, apr_bucket *before)
{
    apr_bucket_alloc_t *allocator = watch->c->bucket_alloc;
    mark *mark = apr_bucket_alloc(sizeof(*mark), allocator);

    mark->watch = watch;
    watch->users++;
    mark->at = watch->marked = watch->passed;
    APR_BUCKET_INIT(&mark->bucket);
    mark->bucket.free = apr_bucket_free;
    mark->bucket.list = allocator;
    mark->bucket.type = &mark_type;
    mark->bucket.length = 0;
    mark->bucket.start = 0;
    mark->bucket.data = mark;
    APR_BUCKET_INSERT_BEFORE(before, &mark->bucket);
}

/*
 * The head passes.  If it is that of a node's download, to the end of its file, the download is
 * written down.
 */
static void begin_reply(request_rec *r, watch *watch)
{
    const walt_vpn_request *request = walt_vpn_request_of(r);
    const char *length = apr_table_get(r->headers_out, "Content-Length");

    watch->begun = 1;
    if (!length || !ap_parse_strict_length(&watch->announced, length))
        watch->announced = -1;
    watch->piece = watch->announced / MARKS;
    if (watch->piece < MARK_MIN)
        watch->piece = MARK_MIN;
    if (request->boot.file != BOOT_FILE_IMG || r->header_only || watch->announced < 0
        || (r->status != HTTP_OK && (r->status != HTTP_PARTIAL_CONTENT || request->other_range)))
        return;
    watch->from = r->status == HTTP_OK ? 0 : request->resume_from;
    watch->hold = boots_start(request->entrypoint->place, request->boot.node,
                              r->useragent_ip, request->digest,
                              watch->from + watch->announced, watch->from,
                              request->answer, request->fetch);
    count_answer(watch, request->answer);       /* an image takes its time */
}

void boot_watch_fetch(walt_vpn_request *request, apr_uint64_t fetch)
{
    if (request->fetch == fetch)
        return;
    request->fetch = fetch;
    boots_go_on(request->watch->hold, fetch);
}

/* Count the body in this brigade, and set marks in it. */
static apr_status_t watch_brigade(watch *watch, apr_bucket_brigade *bb)
{
    apr_bucket *bucket;

    for (bucket = APR_BRIGADE_FIRST(bb); bucket != APR_BRIGADE_SENTINEL(bb);
         bucket = APR_BUCKET_NEXT(bucket)) {
        apr_off_t left = next_mark(watch) - watch->passed;
        apr_size_t length = bucket->length;
        const char *bytes;
        apr_status_t rv;

        if (APR_BUCKET_IS_EOS(bucket) && watch->passed > watch->marked)
            set_mark(watch, bucket);
        if (APR_BUCKET_IS_METADATA(bucket))
            continue;
        if (length == (apr_size_t)-1
            && (rv = apr_bucket_read(bucket, &bytes, &length, APR_BLOCK_READ)) != APR_SUCCESS)
            return rv;
        if ((apr_off_t)length > left) {
            apr_bucket_split(bucket, (apr_size_t)left);
            length = (apr_size_t)left;
        }
        watch->passed += (apr_off_t)length;
        if ((apr_off_t)length == left)
            set_mark(watch, APR_BUCKET_NEXT(bucket));
    }
    return APR_SUCCESS;
}

static apr_status_t filter_watch(ap_filter_t *f, apr_bucket_brigade *bb)
{
    walt_vpn_request *request = walt_vpn_request_of(f->r);
    ap_filter_t *next = f->next;
    int is_head;
    apr_status_t rv;

    /* An internal redirect takes the filters of the wire along to a request that is not ours. */
    if (!request) {
        ap_remove_output_filter(f);
        return ap_pass_brigade(next, bb);
    }
    is_head = !request->watch->begun;
    if (is_head && !APR_BRIGADE_EMPTY(bb))
        begin_reply(f->r, request->watch);
    /* The head comes first, in a brigade of its own, or with HTTP/2 as a bucket without a length
     * before the body. */
    if ((!is_head || f->c->master)
        && (rv = watch_brigade(request->watch, bb)) != APR_SUCCESS)
        return rv;
    return ap_pass_brigade(next, bb);
}

/* Follow the reply to this request. */
static void begin_watch(request_rec *r, walt_vpn_request *request)
{
    request->watch = apr_bucket_alloc(sizeof(watch), r->connection->bucket_alloc);
    *request->watch = (watch){ .c = r->connection, .users = 1, .counters = counters_of(r) };
    apr_pool_cleanup_register(r->pool, request->watch, forget_watch, apr_pool_cleanup_null);
    ap_add_output_filter_handle(watch_filter, NULL, r, r->connection);
}

void boot_watch_judged(request_rec *r)
{
    walt_vpn_request *request = walt_vpn_request_of(r);

    if (request->boot.node[0])
        apr_table_setn(r->subprocess_env, "WALT_VPN_NODE", request->boot.node);
    apr_table_setn(r->subprocess_env, "WALT_VPN_FILE", boot_file_names[request->boot.file]);
    if (request->resume_from > 0)
        apr_table_setn(r->subprocess_env, "WALT_VPN_FROM",
                       apr_off_t_toa(r->pool, request->resume_from));
    if (!request->question)
        begin_watch(r, request);
}

/* ------------------------------------------------------------------ log lines */

void boot_watch_send_away(request_rec *r, walt_vpn_request *request, const char *why)
{
    ap_log_rerror(APLOG_MARK, APLOG_INFO, 0, r, "%s is %s: the connection is reset, so that the "
                  "node asks again",
                  request->boot.file == BOOT_FILE_SIG ? "boot.sig" : "boot.img", why);
    request->sent_away = 1;
    boot_watch_answer(r, request->watch->begun ? request->answer : WALT_VPN_FAILED,
                      apr_pstrcat(r->pool, why, ", so reset", NULL));
}

/* Kinds of a node's trouble, as bits: an error for boot.sig or boot.img by its place among the
 * statuses that are counted apart, and behind these a download that ended. */
#define TROUBLE_SIG(status) (1u << place_of_code(status))
#define TROUBLE_IMG(status) (TROUBLE_SIG(status) << COUNTED_CODES)
#define TROUBLE_SHORT (1u << 2 * COUNTED_CODES)
#define TROUBLE_WRONG (TROUBLE_SHORT << 1)
_Static_assert(2 * COUNTED_CODES + 1 < 32, "an unsigned has a bit for each kind");

/* So many unknown nodes of one client are a line in the log. */
#define UNKNOWN_TOGETHER 10

/*
 * The WalT server does not know this node, and nor do we.  Who asks for many of these invents them,
 * which fail2ban is told; but where a node is known there are nodes, and others may be new.
 */
static void count_unknown(request_rec *r, const walt_vpn_request *request)
{
    unsigned count;

    if (is_browsers(r) || boots_know_client(request->entrypoint->place, r->useragent_ip))
        return;
    count = 1 + troubles_refused_before(apr_pstrcat(r->pool, r->useragent_ip, " invents", NULL));
    if (count % UNKNOWN_TOGETHER == 0)
        ap_log_rerror(APLOG_MARK, APLOG_INFO, 0, r, "unknown nodes asked for: %u, now %s", count,
                      request->boot.node);
}

/*
 * Trouble with a node's download: the status page shows it, and there is one warning, and silence
 * about the same trouble of the same node, until it has booted, which says how often there was
 * trouble.
 */
static void warn_of_node(request_rec *r, const walt_vpn_request *request, int is_known,
                         unsigned kind, const char *what)
{
    if (!failures_note(request->entrypoint->place, request->boot.node, is_known, r->useragent_ip,
                       kind, what))
        return;
    ap_log_rerror(APLOG_MARK, APLOG_WARNING, 0, r, "node %s (%s): %s", request->boot.node,
                  r->useragent_ip, what);
    if (!is_known && r->status == HTTP_NOT_FOUND)
        count_unknown(r, request);
}

/* Why the request was answered as it was, behind a colon; "": nobody said it. */
static const char *because(const request_rec *r)
{
    const char *reason = apr_table_get(r->subprocess_env, "WALT_VPN_REASON");

    return reason ? apr_pstrcat(r->pool, ": ", reason, NULL) : "";
}

/* A download that ended short, in words. */
static const char *ended_short(apr_pool_t *p, apr_off_t position, apr_off_t size, const char *why)
{
    return apr_psprintf(p, "its download of boot.img ended short, after %" APR_OFF_T_FMT " of %"
                        APR_OFF_T_FMT " bytes%s", position, size, why);
}

/* The node of this request was not given its file. */
static void warn_of_error(request_rec *r, const walt_vpn_request *request)
{
    int is_image = request->boot.file == BOOT_FILE_IMG;
    int place = request->entrypoint->place;
    known_node known;

    boots_find(place, request->boot.node, r->useragent_ip, 0, &known);
    if (!is_image && !request->sent_away)
        counters_of(r)->boots[known.is_known_here ? RESULT_UNSIGNED : RESULT_UNKNOWN]++;
    /* It was told of these bytes already, with the reason. */
    if (request->fetch == FETCH_WRONG && request->answer == WALT_VPN_REFUSED)
        return;
    /* What a stranger asks for in a node's name is no trouble of the node's. */
    if (known.is_known && !known.is_known_here)
        return;
    boots_failed(place, request->boot.node, r->useragent_ip, r->status);
    warn_of_node(r, request, known.is_known_here,
                 is_image ? TROUBLE_IMG(r->status) : TROUBLE_SIG(r->status),
                 apr_psprintf(r->pool, "%s was answered with %d%s",
                              boot_file_names[request->boot.file], r->status, because(r)));
}

/* The line about a boot whose last byte was sent. */
static void log_boot(request_rec *r, const boot_row *boot)
{
    apr_uint64_t troubles = failures_are_over(boot->entrypoint, boot->node);

    ap_log_rerror(APLOG_MARK, APLOG_INFO, 0, r, "node %s (%s) has image %s: %" APR_OFF_T_FMT
                  " bytes in %" APR_TIME_T_FMT ".%03d s, %d resume%s, %s%s", boot->node,
                  boot->client, boot->digest[0] ? boot->digest : "unverified", boot->size,
                  apr_time_sec(boot->touched - boot->began),
                  (int)apr_time_msec(boot->touched - boot->began), (int)boot->resumes,
                  boot->resumes == 1 ? "" : "s", walt_vpn_answer_names[boot->answer],
                  troubles ? apr_psprintf(r->pool, ", after trouble %" APR_UINT64_T_FMT
                                          " time%s", troubles, troubles == 1 ? "" : "s") : "");
}

/* Count how long a boot took whose last byte was sent, and how fast that reply was. */
static void count_download(const request_rec *r, const boot_row *boot)
{
    entrypoint_counters *counters = counters_of(r);
    apr_interval_time_t took = boot->touched - boot->sending;

    histogram_add_time(&counters->boot_times, boot->touched - boot->began);
    if (took > 0)
        histogram_add_rate(&counters->download_rates, (apr_uint64_t)(boot->size - boot->from)
                                                      * APR_USEC_PER_SEC / (apr_uint64_t)took);
}

/* A download has ended: with its last byte, or before. */
static void end_download(request_rec *r, const walt_vpn_request *request, watch *watch)
{
    int whole = watch->written == watch->announced;
    const char *why = because(r);
    boot_row boot;

    if (!whole && !*why)
        apr_table_setn(r->subprocess_env, "WALT_VPN_REASON", "ended short");
    if (!boots_end(watch->hold, whole, watch->from + watch->written + watch->piece, &boot))
        return;
    if (whole) {
        count_download(r, &boot);
        log_boot(r, &boot);
    }
    else if (!request->sent_away)
        warn_of_node(r, request, 1,
                     request->fetch == FETCH_WRONG ? TROUBLE_WRONG : TROUBLE_SHORT,
                     ended_short(r->pool, watch->from + watch->arrived, boot.size, why));
}

/* What an error of the 5xx kind means where nobody said more. */
static const char *reason_of(int status)
{
    switch (status) {
    case HTTP_BAD_GATEWAY:
        return "the WalT server's reply was broken";
    case HTTP_SERVICE_UNAVAILABLE:
        return "the WalT server can't be reached";
    case HTTP_GATEWAY_TIME_OUT:
        return "the WalT server did not answer in time";
    default:
        return "the WalT server reports an error";
    }
}

/* Say how the request was answered, as far as nobody said it yet. */
static void complete_answer(request_rec *r, const walt_vpn_request *request)
{
    const char *reason = apr_table_get(r->subprocess_env, "WALT_VPN_REASON");

    /* Who answers is known when a handler is asked: access control, for one, came before. */
    if (!apr_table_get(r->subprocess_env, "WALT_VPN_ANSWER"))
        boot_watch_refuse(r, REASON_NONE);
    else if (r->status == HTTP_NOT_FOUND && request->answer == WALT_VPN_RELAYED
             && request->boot.node[0])
        boot_watch_answer(r, WALT_VPN_RELAYED,
                          apr_psprintf(r->pool, "so says what %s leads to: the node or its %s is "
                                       "not there, at least for now, its daemon is down, or it is "
                                       "no WalT server; what it says of /walt-vpn/server and %s "
                                       "tells which", request->entrypoint->where,
                                       boot_file_names[request->boot.file],
                                       boot_file_names[request->boot.file == BOOT_FILE_SIG
                                                       ? BOOT_FILE_IMG : BOOT_FILE_SIG]));
    else if (request->answer != WALT_VPN_REFUSED && ap_is_HTTP_SERVER_ERROR(r->status))
        boot_watch_answer(r, WALT_VPN_FAILED, reason ? reason : reason_of(r->status));
}

/* Count a request that has ended, after its answer is known. */
static void count_request(const request_rec *r, const walt_vpn_request *request)
{
    entrypoint_counters *counters = counters_of(r);

    count_answer(request->watch, request->answer);
    counters->requests[request->boot.file][request->answer][place_of_code(r->status)]++;
    if (request->answer == WALT_VPN_REFUSED)
        counters->refusals[request->refused_for]++;
    /* With a body an error of mod_proxy's may be about that: a broken chunk, say, for which it
     * gives 502, and has asked nobody. */
    if (request->asked_at && ap_is_HTTP_SERVER_ERROR(r->status) && !walt_vpn_request_has_body(r))
        boot_watch_unanswered(request->entrypoint);
}

/* Runs when the reply's last byte is written, or its connection is given up. */
static int walt_vpn_log_transaction(request_rec *r)
{
    walt_vpn_request *request = walt_vpn_request_of(r);
    watch *watch;

    if (!request)
        return DECLINED;
    watch = request->watch;
    /* What HTTP/2 has taken it sends when it likes, and tells nobody. */
    if (r->connection->master)
        watch->written = watch->passed;
    if (r->connection->master || watch->written == watch->announced)
        note_arrived(watch, watch->written);
    complete_answer(r, request);
    if (watch->hold)
        end_download(r, request, watch);
    else if (request->boot.node[0] && !request->is_strangers && ap_is_HTTP_ERROR(r->status)
             && !r->header_only)        /* no node asks HEAD */
        warn_of_error(r, request);
    count_request(r, request);
    if (watch->hold)
        boot_memory_keep(request->entrypoint, KEEP_AGAIN);
    return OK;
}

/* A child that was killed could not say what became of its downloads: its parent does. */
static void walt_vpn_child_status(server_rec *s, pid_t pid, ap_generation_t generation, int slot,
                                  mpm_child_status state)
{
    apr_pool_t *p;
    boot_row boot;
    int row = 0;

    (void)generation;
    (void)slot;
    if (state != MPM_CHILD_EXITED)
        return;
    waiting_bury(pid);
    fetches_bury(pid);
    if (apr_pool_create(&p, NULL) != APR_SUCCESS)
        return;
    while (boots_bury(pid, &row, &boot)) {
        const char *what = ended_short(p, boot.position, boot.size,
                                       ": the httpd process that sent it has ended");

        if (failures_note(boot.entrypoint, boot.node, 1, boot.client, TROUBLE_SHORT, what))
            ap_log_error(APLOG_MARK, APLOG_WARNING, 0, s, "node %s (%s): %s", boot.node,
                         boot.client, what);
    }
    apr_pool_destroy(p);
}

void boot_watch_register_hooks(void)
{
    /* As one that flushes it holds no bytes, but it can't be doubled. */
    mark_type = apr_bucket_type_flush;
    mark_type.name = "WALT_VPN_MARK";
    mark_type.destroy = pass_mark;
    mark_type.copy = apr_bucket_copy_notimpl;
    /* Behind the filter that writes the head (AP_FTYPE_PROTOCOL) and what it adds: what passes
     * here is what goes out, after byte ranges were cut. */
    watch_filter = ap_register_output_filter("WALT_VPN_WATCH", filter_watch, NULL,
                                             AP_FTYPE_TRANSCODE);
    /* Before mod_log_config's, which writes the variables that this sets. */
    ap_hook_log_transaction(walt_vpn_log_transaction, NULL, NULL, APR_HOOK_FIRST);
    ap_hook_child_status(walt_vpn_child_status, NULL, NULL, APR_HOOK_MIDDLE);
}
