/*
 * report/values.c: what the status page and the metrics page tell, each value once.
 */
#include "report/values.h"
#include "ledger/boots.h"
#include "ledger/fetches.h"
#include "ledger/waiting.h"
#include "report/watch.h"
#include "store/folder.h"

#include "apr_strings.h"
#include "http_main.h"
#include "util_script.h"

/* ------------------------------------------------------------------ the table */

static const value_dimension by_file = { "file", boot_file_names, BOOT_FILES };
static const value_dimension by_answer = { "answer", walt_vpn_answer_names, WALT_VPN_ANSWERS };
static const value_dimension by_code = { "code", boot_watch_codes, COUNTED_CODES };
static const value_dimension by_reason = { "reason", boot_reason_texts, BOOT_REASONS };

static const char *const boot_results[BOOT_RESULTS] = {
    "done", "short", "failed_at_signature", "unknown_node", "started_over"
};
static const value_dimension by_boot_result = { "result", boot_results, BOOT_RESULTS };

static const char *const fetch_results[FETCH_RESULTS] = { "done", "broken", "no_room", "left" };
static const value_dimension by_fetch_result = { "result", fetch_results, FETCH_RESULTS };

/* Where a value stands. */
#define COUNTED(field) .is_counted = 1, .at = offsetof(entrypoint_counters, field)
#define NOW(field) .at = offsetof(standing, field)

/* What it is called on the metrics page. */
#define METRIC(its_type, its_name, its_help) \
    .type = its_type, .name = "walt_vpn_" its_name, .help = its_help
#define COUNTER(its_name, its_help) METRIC(METRIC_COUNTER, its_name, its_help)
#define GAUGE(its_name, its_help) METRIC(METRIC_GAUGE, its_name, its_help)
#define HISTOGRAM(its_name, its_help) METRIC(METRIC_HISTOGRAM, its_name, its_help)

const value standing_values[] = {
    { UNIT_TEXT, NOW(server), SHOWN("WalT server", "Server") },
    { UNIT_INFO, GAUGE("info", "What each entrypoint is.") },
    { UNIT_STATE, COUNTED(server), SHOWN("State of the WalT server", "ServerState"),
      GAUGE("server_up", "Whether the WalT server answered when it was asked last.") },
    { UNIT_MOMENT, COUNTED(server_since), SHOWN("In that state since", "ServerSince"),
      .nothing = "" },
    { UNIT_MOMENT, COUNTED(answered), SHOWN("Last answer", "ServerAnswered"), .nothing = "never",
      GAUGE("server_last_answer_timestamp_seconds", "When it answered last.") },
    { UNIT_MILLISECONDS, COUNTED(took), SHOWN("Time for that answer", "ServerMilliseconds"),
      .nothing = "" },
    { UNIT_TEXT, NOW(exposed), SHOWN("Exposed", "Exposed") },
    { UNIT_MOMENT, NOW(since), SHOWN("Counted since", "Since") },
    { UNIT_NUMBER, COUNTED(answers[WALT_VPN_RELAYED]), SHOWN("Requests relayed", "Relayed") },
    { UNIT_NUMBER, COUNTED(answers[WALT_VPN_CACHED]), SHOWN("Images from the cache", "Cached") },
    { UNIT_NUMBER, COUNTED(answers[WALT_VPN_FETCHED]), SHOWN("Images fetched first", "Fetched") },
    { UNIT_NUMBER, COUNTED(answers[WALT_VPN_STREAMED]),
      SHOWN("Images sent while fetched", "Streamed") },
    { UNIT_NUMBER, COUNTED(answers[WALT_VPN_WAITED]), SHOWN("Images waited for", "Waited") },
    { UNIT_NUMBER, COUNTED(answers[WALT_VPN_REFUSED]), SHOWN("Requests refused", "Refused") },
    { UNIT_NUMBER, COUNTED(answers[WALT_VPN_FAILED]), SHOWN("Requests failed", "Failed") },
    { UNIT_NUMBER, COUNTED(requests), COUNTER("requests", "Requests that have ended."),
      .by = { &by_file, &by_answer, &by_code }, .is_sparse = 1 },
    { UNIT_NUMBER, COUNTED(refusals), COUNTER("refusals", "Requests that were refused, by reason."),
      .by = { &by_reason }, .is_sparse = 1 },
    { UNIT_NUMBER, COUNTED(no_signatures), SHOWN("boot.sig that were none", "NoSignatures"),
      COUNTER("bad_signatures", "What the WalT server gave for boot.sig and was none.") },
    { UNIT_NUMBER, COUNTED(misnamed), SHOWN("Asked for by another name", "Misnamed"),
      COUNTER("misnamed_requests", "Requests below /walt-vpn/ by a name of no entrypoint.") },
    { UNIT_NUMBER, COUNTED(boots[RESULT_UNKNOWN]), SHOWN("Boots of unknown nodes", "Unknown") },
    { UNIT_BYTES, COUNTED(to_nodes), SHOWN("Sent to nodes", "ToNodes"),
      COUNTER("sent_bytes", "Bytes of bodies sent to nodes.") },
    { UNIT_BYTES, COUNTED(from_server), SHOWN("From the WalT server", "FromServer"),
      COUNTER("received_bytes", "Bytes of bodies received from the WalT server.") },
    { UNIT_BYTES, NOW(saved), SHOWN("Saved by the cache", "Saved") },
    { UNIT_TEXT, NOW(root), SHOWN("Cache folder", "CacheRoot") },
    { UNIT_BYTES, NOW(bytes), SHOWN("Images in it", "CacheUsed"), .is_of_folder = 1,
      GAUGE("cache_bytes", "Bytes that the images in the cache folder take.") },
    { UNIT_BYTES, NOW(limit), SHOWN("It may hold", "CacheSize"), .is_of_folder = 1,
      GAUGE("cache_limit_bytes", "Bytes that the cache folder may take.") },
    { UNIT_COUNT, NOW(images), GAUGE("cache_images", "Images in the cache folder."),
      .is_of_folder = 1 },
    { UNIT_TROUBLE, NOW(trouble), SHOWN("Trouble with it", "CacheTrouble"), .nothing = "none",
      .is_of_folder = 1, GAUGE("cache_degraded", "Whether the cache folder is in trouble, so that "
      "images are relayed.") },
    { UNIT_NUMBER, COUNTED(boots), COUNTER("boots", "Boots that have ended. done: the last byte of "
      "boot.img was sent; short: it was not, and nothing was heard of it for a minute; "
      "failed_at_signature: an error answered boot.sig; unknown_node: likewise, of a node that has "
      "never had one there, or is none; started_over: the node began another boot within that "
      "minute."), .by = { &by_boot_result } },
    { UNIT_NUMBER, COUNTED(resumes),
      COUNTER("resumes", "Downloads of boot.img that went on where another had ended.") },
    { UNIT_NUMBER, COUNTED(fetches), COUNTER("fetches", "Fetches of images into the cache folder "
      "that have ended. left: the node that it was for has another image by now."),
      .by = { &by_fetch_result } },
    { UNIT_NUMBER, COUNTED(mismatches), COUNTER("digest_mismatches", "Images, fetched, relayed "
      "or in the cache folder, that were not what their boot.sig said.") },
    { UNIT_NUMBER, COUNTED(evictions),
      COUNTER("evictions", "Images that left the cache folder to make room.") },
    { UNIT_TIMES, COUNTED(boot_times),
      HISTOGRAM("boot_seconds", "From boot.sig to the last byte of boot.img.") },
    { UNIT_RATES, COUNTED(download_rates), HISTOGRAM("download_bytes_per_second", "Rate of the "
      "downloads that brought the last byte of boot.img.") },
    { UNIT_TIMES, COUNTED(answer_times), .by = { &by_file },
      HISTOGRAM("server_answer_seconds", "Until the WalT server's head had come.") },
    { UNIT_TIMES, COUNTED(fetch_times),
      HISTOGRAM("fetch_seconds", "Fetches that brought an image into the cache folder.") },
    { UNIT_TIMES, COUNTED(waiting_times),
      HISTOGRAM("waiting_seconds", "Waits of requests for what another request brings.") },
    { UNIT_COUNT, NOW(downloads),
      GAUGE("downloads_running", "Nodes that are sent their boot.img.") },
    { UNIT_COUNT, NOW(fetches),
      GAUGE("fetches_running", "Images that are fetched into the cache folder.") },
    { UNIT_NUMBER, NOW(waiting),
      GAUGE("waiting_threads", "Threads that wait for what another request brings.") },
    { UNIT_NODES, GAUGE("node_last_boot_timestamp_seconds", "When the last boot of a node ended. "
      "result: done, short, or failed, when an error answered it.") },
    { .key = NULL }
};

/* ------------------------------------------------------------------ how an entrypoint stands */

static standing standing_of(apr_pool_t *p, const walt_vpn_entrypoint *entrypoint,
                            const char *between)
{
    int place = entrypoint->place;
    const entrypoint_counters *counters = counters_at(place);
    const image_folder *folder = entrypoint->folder;
    apr_uint64_t sent = counters->to_nodes, received = counters->from_server;
    standing now = {
        .entrypoint = entrypoint,
        .counters = counters,
        .name = entrypoint_shares_name(entrypoint->server)
                ? apr_pstrcat(p, counters->name, between, counters->url, NULL) : counters->name,
        .downloads = boots_list(p, place, 1),
        .fetches = fetches_list(p, place),
        .images = folder ? image_folder_list(p, folder)
                  : apr_array_make(p, 1, sizeof(folder_file)),
        .server = entrypoint->url,
        .exposed = entrypoint->boot_only ? "boot" : "all",
        .root = folder ? folder->root : "none",
        .trouble = folder ? image_folder_trouble_of(p, folder) : NULL,
        .since = (apr_uint64_t)counters_began(),
        .saved = sent > received ? sent - received : 0,
        .waiting = waiting_threads(place),
        .limit = folder ? (apr_uint64_t)folder->size : 0
    };
    int i, k;

    for (i = 0; i < now.fetches->nelts; i++) {
        fetch_row *fetch = &APR_ARRAY_IDX(now.fetches, i, fetch_row);

        fetch->digest[DIGEST_SHOWN] = '\0';
        for (k = 0; k < now.downloads->nelts; k++)
            fetch->readers += APR_ARRAY_IDX(now.downloads, k, boot_row).fetch == fetch->id;
    }
    for (i = 0; i < now.images->nelts; i++)
        now.bytes += (apr_uint64_t)APR_ARRAY_IDX(now.images, i, folder_file).size;
    return now;
}

apr_array_header_t *standings_now(apr_pool_t *p, const char *between)
{
    apr_array_header_t *standings = apr_array_make(p, 4, sizeof(standing));
    const server_rec *s;

    for (s = ap_server_conf; s; s = s->next) {
        const walt_vpn_entrypoint *entrypoint = entrypoint_to_show(s);

        if (entrypoint)
            APR_ARRAY_PUSH(standings, standing) = standing_of(p, entrypoint, between);
    }
    return standings;
}

/* ------------------------------------------------------------------ cells */

apr_uint64_t value_number(const value *value, const void *record)
{
    const char *from = record;

    if (value->is_counted)
        return *(const counter *)((const char *)((const standing *)record)->counters + value->at);
    if (value->unit == UNIT_COUNT)
        return (apr_uint64_t)(*(apr_array_header_t *const *)(from + value->at))->nelts;
    return *(const apr_uint64_t *)(from + value->at);
}

/* "64.0 MiB" */
static const char *shown_bytes(apr_pool_t *p, apr_uint64_t bytes)
{
    static const char units[] = "KMGTP";
    double size = (double)bytes / 1024;
    int unit = 0;

    if (bytes < 1024)
        return apr_psprintf(p, "%" APR_UINT64_T_FMT " B", bytes);
    while (size >= 1024 && units[unit + 1]) {
        size /= 1024;
        unit++;
    }
    return apr_psprintf(p, "%.1f %ciB", size, units[unit]);
}

static value_cell cell_of_text(apr_pool_t *p, const value *value, const char *at)
{
    const char *text = value->unit <= UNIT_DIGEST ? at : *(const char *const *)at;
    value_cell cell = { text, text };

    if (value->nothing && !text)
        return (value_cell){ value->nothing, "" };
    if (value->unit == UNIT_DIGEST)
        cell.shown = apr_pstrmemdup(p, text, DIGEST_SHOWN);
    if (value->unit == UNIT_TROUBLE)
        cell.shown = apr_pstrcat(p, text, ": images are relayed until this is mended", NULL);
    return cell;
}

/* A moment: in the server's time for people; in seconds since 1970 for programs. */
static value_cell cell_of_moment(apr_pool_t *p, value_unit unit, apr_time_t moment)
{
    int is_soon = unit == UNIT_END && moment - apr_time_now() < apr_time_from_sec(12 * 3600);

    return (value_cell){
        ap_ht_time(p, moment, is_soon ? "%H:%M:%S %Z" : "%Y-%m-%d %H:%M:%S %Z", 0),
        apr_psprintf(p, "%" APR_TIME_T_FMT, apr_time_sec(moment))
    };
}

static value_cell cell_of_number(apr_pool_t *p, value_unit unit, apr_uint64_t number)
{
    static const value_cell states[] = {
        [SERVER_UNKNOWN] = { "not asked yet", "unknown" },
        [SERVER_ANSWERS] = { "answers", "up" },
        [SERVER_SILENT] = { "is silent", "down" }
    };
    const char *plain = apr_psprintf(p, "%" APR_UINT64_T_FMT, number);

    switch (unit) {
    case UNIT_PERCENT:
        return (value_cell){ apr_pstrcat(p, plain, " %", NULL), plain };
    case UNIT_BYTES:
        return (value_cell){ shown_bytes(p, number), plain };
    case UNIT_RATE:
        return (value_cell){ apr_pstrcat(p, shown_bytes(p, number), "/s", NULL), plain };
    case UNIT_SECONDS:
        if ((apr_interval_time_t)number < 0)
            number = 0;         /* the clock was set back */
        plain = apr_psprintf(p, "%" APR_UINT64_T_FMT ".%03d", number / 1000000,
                             (int)(number / 1000 % 1000));
        return (value_cell){ plain, plain };
    case UNIT_MILLISECONDS:
        plain = apr_psprintf(p, "%" APR_UINT64_T_FMT ".%d", number / 1000,
                             (int)(number % 1000 / 100));
        return (value_cell){ apr_pstrcat(p, plain, " ms", NULL), plain };
    case UNIT_STATE:
        return states[number];
    default:
        return (value_cell){ plain, plain };
    }
}

value_cell value_cell_of(apr_pool_t *p, const value *value, const void *record)
{
    apr_uint64_t number;

    if (value->of)
        record = value->of(p, record);
    if (value->unit < UNIT_NUMBER)
        return cell_of_text(p, value, (const char *)record + value->at);
    number = value_number(value, record);
    if (value->nothing && !number)
        return (value_cell){ value->nothing, "" };
    if (value->unit == UNIT_MOMENT || value->unit == UNIT_END)
        return cell_of_moment(p, value->unit, (apr_time_t)number);
    return cell_of_number(p, value->unit, number);
}
