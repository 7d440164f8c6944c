/*
 * report/metrics_page.c: the page that Prometheus reads, for "SetHandler walt-vpn-metrics".
 *
 * Prometheus's text format 0.0.4, or OpenMetrics 1.0.0 where the client likes that better.  Labels
 * have values from fixed lists, or names from the configuration: what strangers send makes no new
 * series.  Only the nodes are as many as there are, and come only when they are asked for
 * ("?nodes=100").
 */
#include "report/metrics_page.h"
#include "ledger/boots.h"
#include "ledger/counters.h"
#include "ledger/fetches.h"
#include "ledger/waiting.h"
#include "report/watch.h"
#include "request/entrypoint.h"
#include "store/folder.h"

#include "apr_lib.h"
#include "apr_strings.h"
#include "http_main.h"
#include "http_protocol.h"
#include "http_request.h"
#include "util_script.h"

#include <stddef.h>
#include <stdlib.h>

/* Most nodes on a page: each is a series, and a new one for each image that it boots. */
#define NODES_MAX 500

#define TEXT_TYPE "text/plain; version=0.0.4; charset=utf-8"
#define OPEN_TYPE "application/openmetrics-text"

/* An entrypoint, and what there is of it now. */
typedef struct subject {
    const walt_vpn_entrypoint *entrypoint;
    const entrypoint_counters *counters;
    const char *label;          /* entrypoint="..." */
    apr_uint64_t downloads;
    apr_uint64_t fetches;
    apr_uint64_t waiting;       /* threads */
    apr_uint64_t images;        /* in its folder */
    apr_uint64_t bytes;         /* that these take */
    apr_uint64_t limit;         /* that they may */
} subject;

/* A page on its way out. */
typedef struct {
    request_rec *r;
    int open;                   /* in the format of OpenMetrics */
    apr_array_header_t *subjects;
    apr_array_header_t *boots;  /* boot_row of nodes to show, each node once, the latest first */
} page;

/* Samples of one name: they stand together, whatever entrypoint they are of. */
typedef struct family {
    const char *name;           /* a counter's without _total */
    const char *type;
    const char *help;
    void (*put)(const page *page, const struct family *family, const subject *subject);
    apr_size_t at;              /* where the value stands, for a put that needs to be told */
} family;

/* ------------------------------------------------------------------ samples */

/* A text as it stands between the quotes of a label. */
static const char *escaped(apr_pool_t *p, const char *text)
{
    char *label = apr_palloc(p, strlen(text) * 2 + 1), *to = label;

    for (; *text; text++) {
        if (*text == '\\' || *text == '"' || *text == '\n')
            *to++ = '\\';
        *to++ = *text == '\n' ? 'n' : *text;
    }
    *to = '\0';
    return label;
}

/* One more label, behind others. */
static const char *labelled(const page *page, const char *labels, const char *name,
                            const char *value)
{
    return apr_pstrcat(page->r->pool, labels, ",", name, "=\"", escaped(page->r->pool, value),
                       "\"", NULL);
}

/* A sample: the suffix of its name, the labels behind the entrypoint's, and a whole number. */
static void put_number(const page *page, const family *family, const char *suffix,
                       const subject *subject, const char *labels, apr_uint64_t value)
{
    ap_rprintf(page->r, "%s%s{%s%s} %" APR_UINT64_T_FMT "\n", family->name, suffix,
               subject->label, labels, value);
}

/* A number of microseconds, in seconds. */
static void put_seconds(const page *page, const family *family, const char *suffix,
                        const subject *subject, const char *labels, apr_uint64_t time)
{
    ap_rprintf(page->r, "%s%s{%s%s} %" APR_UINT64_T_FMT ".%06u\n", family->name, suffix,
               subject->label, labels, time / APR_USEC_PER_SEC,
               (unsigned)(time % APR_USEC_PER_SEC));
}

/* The count of all is that of the last bucket: they are counted on while they are read. */
static void put_measures(const page *page, const family *family, const subject *subject,
                         const char *labels, const histogram *histogram,
                         const histogram_scale *scale)
{
    apr_uint64_t sum = histogram->sum, count = 0;
    int i;

    for (i = 0; i <= HISTOGRAM_BOUNDS; i++) {
        count += histogram->counts[i];
        put_number(page, family, "_bucket", subject,
                   labelled(page, labels, "le",
                            i < HISTOGRAM_BOUNDS ? scale->bounds[i].text : "+Inf"), count);
    }
    if (scale->unit == APR_USEC_PER_SEC)
        put_seconds(page, family, "_sum", subject, labels, sum);
    else
        put_number(page, family, "_sum", subject, labels, sum);
    put_number(page, family, "_count", subject, labels, count);
}

/* ------------------------------------------------------------------ counters */

/* at: in a entrypoint_counters. */
static void put_counter(const page *page, const family *family, const subject *subject)
{
    put_number(page, family, "_total", subject, "",
               *(const counter *)((const char *)subject->counters + family->at));
}

/* Of all that there can be, what there was. */
static void put_requests(const page *page, const family *family, const subject *subject)
{
    int file, answer, code;

    for (file = 0; file < BOOT_FILES; file++) {
        for (answer = 0; answer < WALT_VPN_ANSWERS; answer++) {
            for (code = 0; code < COUNTED_CODES; code++) {
                apr_uint64_t count = subject->counters->requests[file][answer][code];
                const char *labels;

                if (count == 0)
                    continue;
                labels = labelled(page, "", "file", boot_file_names[file]);
                labels = labelled(page, labels, "answer",
                                  walt_vpn_answer_names[answer]);
                put_number(page, family, "_total", subject,
                           labelled(page, labels, "code", boot_watch_codes[code]), count);
            }
        }
    }
}

/* Likewise. */
static void put_refusals(const page *page, const family *family, const subject *subject)
{
    int i;

    for (i = 0; i < BOOT_REASONS; i++) {
        if (subject->counters->refusals[i])
            put_number(page, family, "_total", subject,
                       labelled(page, "", "reason", boot_reason_texts[i]),
                       subject->counters->refusals[i]);
    }
}

static void put_boots(const page *page, const family *family, const subject *subject)
{
    static const char *const results[BOOT_RESULTS] = { "done", "short", "failed_at_signature",
                                                       "started_over" };
    int i;

    for (i = 0; i < BOOT_RESULTS; i++)
        put_number(page, family, "_total", subject, labelled(page, "", "result", results[i]),
                   subject->counters->boots[i]);
}

static void put_fetches(const page *page, const family *family, const subject *subject)
{
    static const char *const results[FETCH_RESULTS] = { "done", "broken", "no_room", "left" };
    int i;

    for (i = 0; i < FETCH_RESULTS; i++)
        put_number(page, family, "_total", subject, labelled(page, "", "result", results[i]),
                   subject->counters->fetches[i]);
}

/* at: in a entrypoint_counters. */
static void put_times(const page *page, const family *family, const subject *subject)
{
    put_measures(page, family, subject, "",
                 (const histogram *)((const char *)subject->counters + family->at),
                 &histogram_times);
}

static void put_rates(const page *page, const family *family, const subject *subject)
{
    put_measures(page, family, subject, "", &subject->counters->download_rates, &histogram_rates);
}

static void put_answer_times(const page *page, const family *family, const subject *subject)
{
    int file;

    for (file = 0; file < BOOT_FILES; file++)
        put_measures(page, family, subject,
                     labelled(page, "", "file", boot_file_names[file]),
                     &subject->counters->answer_times[file], &histogram_times);
}

/* ------------------------------------------------------------------ what there is now */

/* at: in a subject. */
static void put_gauge(const page *page, const family *family, const subject *subject)
{
    put_number(page, family, "", subject, "",
               *(const apr_uint64_t *)((const char *)subject + family->at));
}

static void put_info(const page *page, const family *family, const subject *subject)
{
    const walt_vpn_entrypoint *entrypoint = subject->entrypoint;

    put_number(page, family, "", subject,
               labelled(page, labelled(page, "", "server", entrypoint->url), "expose",
                        entrypoint->boot_only ? "boot" : "all"), 1);
}

static void put_up(const page *page, const family *family, const subject *subject)
{
    int state = subject->counters->server;

    if (state != SERVER_UNKNOWN)
        put_number(page, family, "", subject, "", state == SERVER_ANSWERS);
}

static void put_last_answer(const page *page, const family *family, const subject *subject)
{
    if (subject->counters->answered)
        put_seconds(page, family, "", subject, "", subject->counters->answered);
}

static void put_cache_gauge(const page *page, const family *family, const subject *subject)
{
    if (subject->entrypoint->folder)
        put_gauge(page, family, subject);
}

/* The reason is one of the few that the operating system has. */
static void put_degraded(const page *page, const family *family, const subject *subject)
{
    const image_folder *folder = subject->entrypoint->folder;
    const char *why = folder ? image_folder_trouble_of(page->r->pool, folder) : NULL;

    if (folder)
        put_number(page, family, "", subject, labelled(page, "", "reason", why ? why : ""),
                   why != NULL);
}

static void put_nodes(const page *page, const family *family, const subject *subject)
{
    int i;

    for (i = 0; i < page->boots->nelts; i++) {
        const boot_row *boot = &APR_ARRAY_IDX(page->boots, i, boot_row);
        const char *labels = labelled(page, labelled(page, "", "node", boot->node), "image",
                                      boot->digest);

        if (boot->entrypoint == subject->entrypoint->place)
            put_seconds(page, family, "", subject,
                        labelled(page, labels, "result", boot->state == BOOT_DONE ? "done"
                                                         : boot->status ? "failed" : "short"),
                        (apr_uint64_t)boot->touched);
    }
}

/* ------------------------------------------------------------------ the page */

#define OF_COUNTERS(field) offsetof(entrypoint_counters, field)
#define OF_NOW(field) offsetof(subject, field)

static const family families[] = {
    { "walt_vpn_info", "gauge", "What each entrypoint is.", put_info, 0 },
    { "walt_vpn_requests", "counter", "Requests that have ended.", put_requests, 0 },
    { "walt_vpn_refusals", "counter", "Requests that were refused, by reason.", put_refusals, 0 },
    { "walt_vpn_misnamed_requests", "counter", "Requests below /walt-vpn/ by a name of no "
      "entrypoint.",
      put_counter, OF_COUNTERS(misnamed) },
    { "walt_vpn_bad_signatures", "counter", "What the WalT server gave for boot.sig and was none.",
      put_counter, OF_COUNTERS(no_signatures) },
    { "walt_vpn_received_bytes", "counter", "Bytes of bodies received from the WalT server.",
      put_counter, OF_COUNTERS(from_server) },
    { "walt_vpn_sent_bytes", "counter", "Bytes of bodies sent to nodes.",
      put_counter, OF_COUNTERS(to_nodes) },
    { "walt_vpn_boots", "counter", "Boots that have ended. done: the last byte of boot.img was "
      "sent; short: it was not, and nothing was heard of it for a minute; failed_at_signature: an "
      "error answered boot.sig; started_over: the node began another boot within that minute.",
      put_boots, 0 },
    { "walt_vpn_resumes", "counter", "Downloads of boot.img that went on where another had ended.",
      put_counter, OF_COUNTERS(resumes) },
    { "walt_vpn_fetches", "counter", "Fetches of images into the cache folder that have ended. "
      "left: the node that it was for has another image by now.", put_fetches, 0 },
    { "walt_vpn_digest_mismatches", "counter", "Images, fetched or in the cache folder, that were "
      "not what their boot.sig said.", put_counter, OF_COUNTERS(mismatches) },
    { "walt_vpn_evictions", "counter", "Images that left the cache folder to make room.",
      put_counter, OF_COUNTERS(evictions) },
    { "walt_vpn_boot_seconds", "histogram", "From boot.sig to the last byte of boot.img.",
      put_times, OF_COUNTERS(boot_times) },
    { "walt_vpn_download_bytes_per_second", "histogram", "Rate of the downloads that brought the "
      "last byte of boot.img.", put_rates, 0 },
    { "walt_vpn_server_answer_seconds", "histogram", "Until the WalT server's head had come.",
      put_answer_times, 0 },
    { "walt_vpn_fetch_seconds", "histogram", "Fetches that brought an image into the cache folder.",
      put_times, OF_COUNTERS(fetch_times) },
    { "walt_vpn_waiting_seconds", "histogram", "Waits of threads for what another request brings.",
      put_times, OF_COUNTERS(waiting_times) },
    { "walt_vpn_downloads_running", "gauge", "Nodes that are sent their boot.img.",
      put_gauge, OF_NOW(downloads) },
    { "walt_vpn_fetches_running", "gauge", "Images that are fetched into the cache folder.",
      put_gauge, OF_NOW(fetches) },
    { "walt_vpn_waiting_threads", "gauge", "Threads that wait for what another request brings.",
      put_gauge, OF_NOW(waiting) },
    { "walt_vpn_server_up", "gauge", "Whether the WalT server answered when it was asked last.",
      put_up, 0 },
    { "walt_vpn_server_last_answer_timestamp_seconds", "gauge", "When it answered last.",
      put_last_answer, 0 },
    { "walt_vpn_cache_bytes", "gauge", "Bytes that the images in the cache folder take.",
      put_cache_gauge, OF_NOW(bytes) },
    { "walt_vpn_cache_limit_bytes", "gauge", "Bytes that the cache folder may take.",
      put_cache_gauge, OF_NOW(limit) },
    { "walt_vpn_cache_images", "gauge", "Images in the cache folder.",
      put_cache_gauge, OF_NOW(images) },
    { "walt_vpn_cache_degraded", "gauge", "Whether the cache folder is in trouble, so that images "
      "are relayed.", put_degraded, 0 },
    { "walt_vpn_node_last_boot_timestamp_seconds", "gauge", "When the last boot of a node ended. "
      "result: done, short, or failed, when an error answered it.", put_nodes, 0 }
};

static void put_family(const page *page, const family *family)
{
    /* Of a counter OpenMetrics names the family without _total. */
    const char *suffix = !page->open && strcmp(family->type, "counter") == 0 ? "_total" : "";
    int i;

    ap_rprintf(page->r, "# HELP %s%s %s\n# TYPE %s%s %s\n", family->name, suffix, family->help,
               family->name, suffix, family->type);
    for (i = 0; i < page->subjects->nelts; i++)
        family->put(page, family, &APR_ARRAY_IDX(page->subjects, i, subject));
}

/* An entrypoint's label: its name, with its WalT server's URL if another one has that name too. */
static const char *label_of(const page *page, const walt_vpn_entrypoint *entrypoint)
{
    const entrypoint_counters *counters = counters_at(entrypoint->place);
    const char *name = counters->name;

    if (entrypoint_shares_name(entrypoint->server))
        name = apr_pstrcat(page->r->pool, counters->name, " ", counters->url, NULL);
    return labelled(page, "", "entrypoint", name) + strlen(",");
}

/* Look at an entrypoint's folder. */
static void list_images(const page *page, subject *subject)
{
    const image_folder *folder = subject->entrypoint->folder;
    apr_array_header_t *images = image_folder_list(page->r->pool, folder);

    subject->limit = (apr_uint64_t)folder->size;
    subject->images = (apr_uint64_t)images->nelts;
    subject->bytes = (apr_uint64_t)image_folder_bytes(images);
}

static void list_subjects(page *page)
{
    const server_rec *s;

    page->subjects = apr_array_make(page->r->pool, 4, sizeof(subject));
    for (s = ap_server_conf; s; s = s->next) {
        const walt_vpn_entrypoint *entrypoint = entrypoint_to_show(s);
        subject *subject;

        if (!entrypoint)
            continue;
        subject = apr_array_push(page->subjects);
        memset(subject, 0, sizeof(*subject));
        subject->entrypoint = entrypoint;
        subject->counters = counters_at(entrypoint->place);
        subject->label = label_of(page, entrypoint);
        subject->waiting = waiting_count(SEAT_THREAD, entrypoint->place);
        if (entrypoint->folder)
            list_images(page, subject);
    }
}

/* The entrypoint at this place of the ledger; NULL: it is not on the page. */
static subject *subject_at(const page *page, int place)
{
    int i;

    for (i = 0; i < page->subjects->nelts; i++) {
        if (APR_ARRAY_IDX(page->subjects, i, subject).entrypoint->place == place)
            return &APR_ARRAY_IDX(page->subjects, i, subject);
    }
    return NULL;
}

/* Count what is under way. */
static void count_running(const page *page)
{
    boot_row boot;
    fetch_row fetch;
    subject *subject;
    int place;

    for (place = 0; place < BOOT_ROWS; place++) {
        if (boots_copy(place, &boot) && boot.state == BOOT_RUNNING
            && (subject = subject_at(page, boot.entrypoint)))
            subject->downloads++;
    }
    for (place = 0; place < FETCH_ROWS; place++) {
        if (fetches_copy(place, &fetch) && (subject = subject_at(page, fetch.entrypoint)))
            subject->fetches++;
    }
}

/* Take the last boots of so many nodes of what is on the page. */
static void choose_nodes(page *page, int nodes)
{
    apr_array_header_t *boots = boots_last(page->r->pool, -1);
    boot_row *boot = (boot_row *)boots->elts;
    int i, kept = 0;

    for (i = 0; i < boots->nelts && kept < nodes; i++) {
        if (subject_at(page, boot[i].entrypoint))
            memmove(&boot[kept++], &boot[i], sizeof(*boot));
    }
    boots->nelts = kept;
    page->boots = boots;
}

/* ------------------------------------------------------------------ the request */

/* How much the client wants what this item of its Accept line names, in thousandths. */
static int weight_of(const char *item)
{
    const char *weight = strstr(item, ";q=");

    return weight ? (int)(strtod(weight + strlen(";q="), NULL) * 1000) : 1000;
}

/* Does this item of an Accept line name the media type? */
static int names_type(const char *item, const char *type)
{
    apr_size_t length = strlen(type);

    return strncmp(item, type, length) == 0 && (item[length] == '\0' || item[length] == ';');
}

/* Does the client read OpenMetrics 1.0.0 at least as gladly as plain text? */
static int wants_open(request_rec *r)
{
    const char *accept = apr_table_get(r->headers_in, "Accept"), *item;
    int open = 0, text = 0;

    while (accept && (item = ap_get_list_item(r->pool, &accept))) {
        if (names_type(item, OPEN_TYPE)
            && (!strstr(item, ";version=") || strstr(item, ";version=1.0.0"))
            && weight_of(item) > open)
            open = weight_of(item);
        if (names_type(item, "text/plain") && weight_of(item) > text)
            text = weight_of(item);
    }
    return open > 0 && open >= text;
}

/* How many nodes the query asks for; -1: that is no number. */
static int nodes_of(request_rec *r)
{
    apr_table_t *arguments;
    const char *text;
    char *end;
    apr_int64_t nodes;

    ap_args_to_table(r, &arguments);
    if (!(text = apr_table_get(arguments, "nodes")))
        return 0;
    nodes = apr_isdigit(*text) ? apr_strtoi64(text, &end, 10) : -1;
    if (nodes < 0 || *end)
        return -1;
    return nodes < NODES_MAX ? (int)nodes : NODES_MAX;
}

static int walt_vpn_metrics_handler(request_rec *r)
{
    page page = { r, 0, NULL, NULL };
    apr_size_t i;
    int nodes;

    if (!r->handler || strcmp(r->handler, "walt-vpn-metrics") != 0)
        return DECLINED;
    ap_allow_methods(r, REPLACE_ALLOW, "GET", NULL);
    if (r->method_number == M_OPTIONS)
        return DECLINED;
    if (r->method_number != M_GET)
        return HTTP_METHOD_NOT_ALLOWED;
    if ((nodes = nodes_of(r)) < 0)
        return HTTP_BAD_REQUEST;
    page.open = wants_open(r);
    ap_set_content_type(r, page.open ? OPEN_TYPE "; version=1.0.0; charset=utf-8" : TEXT_TYPE);
    apr_table_mergen(r->headers_out, "Vary", "Accept");
    boots_count_short();
    list_subjects(&page);
    count_running(&page);
    if (nodes > 0)
        choose_nodes(&page, nodes);
    for (i = 0; i < sizeof(families) / sizeof(families[0]); i++) {
        if (families[i].put != put_nodes || nodes > 0)
            put_family(&page, &families[i]);
    }
    if (page.open)
        ap_rputs("# EOF\n", r);
    return OK;
}

void metrics_page_register_hooks(void)
{
    ap_hook_handler(walt_vpn_metrics_handler, NULL, NULL, APR_HOOK_MIDDLE);
}
