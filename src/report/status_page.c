/*
 * report/status_page.c: the section on mod_status's page, for each entrypoint.
 *
 * Every value is written once, by one of the put_ functions, and comes out as a cell of a table
 * or, for ?auto, as a "Key: value" line, whose key names what it is about:
 *
 *     WaltVpn[entry.example.org].Node[192.168.152.7].Result: cached
 *
 * Where people are shown something else (64.0 MiB for 67108864), the cell has the plain one as its
 * title.  mod_status is optional: without it nobody runs the hook.
 */
#include "report/status_page.h"
#include "ledger/boots.h"
#include "ledger/counters.h"
#include "ledger/failures.h"
#include "ledger/fetches.h"
#include "report/watch.h"
#include "request/entrypoint.h"
#include "store/folder.h"

#include "apr_strings.h"
#include "http_main.h"
#include "http_protocol.h"
#include "mod_status.h"
#include "util_script.h"

#include <arpa/inet.h>
#include <stdlib.h>

/* Nodes, of all whose last boot is remembered, that are shown unless nodes are asked for. */
#define NODES_SHOWN 32

/* A value that is longer is a sentence, and may take more than one line. */
#define WORDS 64

/* The section's anchor, which README names; that of an entrypoint has its mark_of() behind it. */
#define ANCHOR "walt-vpn"

/* ------------------------------------------------------------------ values */

/* A page on its way out. */
typedef struct {
    request_rec *r;
    int automatic;              /* "Key: value" lines rather than tables */
    const char *wanted;         /* only nodes whose address begins so; NULL: nobody asked */
    const char *entrypoint;     /* what all keys of this entrypoint begin with */
    const char *row;            /* what the keys of this row begin with */
    const char *label;          /* a row of its own for each value, labelled so; NULL: a cell */
} page;

/* A table with a row for each of what there is so many of. */
static void begin_table(const page *page, const char *title, const char *key, int rows,
                        const char *const *columns)
{
    if (page->automatic) {
        ap_rprintf(page->r, "%s%s: %d\n", page->entrypoint, key, rows);
        return;
    }
    ap_rprintf(page->r, "<h3>%s: %d</h3>\n", title, rows);
    if (rows == 0)
        return;
    ap_rputs("<div class=\"walt-vpn\"><table><tr>", page->r);
    for (; *columns; columns++)
        ap_rprintf(page->r, "<th>%s</th>", *columns);
    ap_rputs("</tr>\n", page->r);
}

static void end_table(const page *page, int rows)
{
    if (!page->automatic && rows > 0)
        ap_rputs("</table></div>\n", page->r);
}

static void begin_row(page *page, const char *kind, const char *name)
{
    page->row = apr_pstrcat(page->r->pool, page->entrypoint, kind, "[", name, "].", NULL);
    if (!page->automatic)
        ap_rputs("<tr>", page->r);
}

static void end_row(const page *page)
{
    if (!page->automatic)
        ap_rputs("</tr>\n", page->r);
}

/* One value: as people are shown it, what stands before that as HTML, and the plain one. */
static void put_marked(const page *page, const char *key, const char *html, const char *shown,
                       const char *plain)
{
    apr_pool_t *p = page->r->pool;

    if (page->automatic) {
        ap_rprintf(page->r, "%s%s: %s\n", page->row, key, plain);
        return;
    }
    if (page->label)
        ap_rprintf(page->r, "<tr><th scope=\"row\">%s</th>", page->label);
    if (strcmp(shown, plain) == 0)
        ap_rputs(strlen(shown) > WORDS ? "<td class=\"words\">" : "<td>", page->r);
    else
        ap_rprintf(page->r, "<td title=\"%s\">", ap_escape_html(p, plain));
    ap_rprintf(page->r, "%s%s</td>%s", html, ap_escape_html(p, shown),
               page->label ? "</tr>\n" : "");
}

static void put_item(const page *page, const char *key, const char *shown, const char *plain)
{
    put_marked(page, key, "", shown, plain);
}

static void put_text(const page *page, const char *key, const char *text)
{
    put_item(page, key, text, text);
}

static const char *plain_number(apr_pool_t *p, apr_uint64_t number)
{
    return apr_psprintf(p, "%" APR_UINT64_T_FMT, number);
}

static void put_number(const page *page, const char *key, apr_uint64_t number)
{
    put_text(page, key, plain_number(page->r->pool, number));
}

/* "64.0 MiB" */
static const char *shown_bytes(apr_pool_t *p, apr_uint64_t bytes)
{
    static const char units[] = "KMGTP";
    double value = (double)bytes / 1024;
    int unit = 0;

    if (bytes < 1024)
        return apr_pstrcat(p, plain_number(p, bytes), " B", NULL);
    while (value >= 1024 && units[unit + 1]) {
        value /= 1024;
        unit++;
    }
    return apr_psprintf(p, "%.1f %ciB", value, units[unit]);
}

static void put_bytes(const page *page, const char *key, apr_uint64_t bytes)
{
    put_item(page, key, shown_bytes(page->r->pool, bytes), plain_number(page->r->pool, bytes));
}

static void put_seconds(const page *page, const char *key, apr_interval_time_t span)
{
    if (span < 0)
        span = 0;               /* the clock was set back */
    put_text(page, key, apr_psprintf(page->r->pool, "%" APR_TIME_T_FMT ".%03d",
                                     apr_time_sec(span), (int)apr_time_msec(span)));
}

/* A moment: in the server's time for people, in this form; in seconds since 1970 for programs. */
static void put_time(const page *page, const char *key, apr_time_t moment, const char *form)
{
    apr_pool_t *p = page->r->pool;

    put_item(page, key, ap_ht_time(p, moment, form, 0),
             apr_psprintf(p, "%" APR_TIME_T_FMT, apr_time_sec(moment)));
}

static void put_moment(const page *page, const char *key, apr_time_t moment)
{
    put_time(page, key, moment, "%Y-%m-%d %H:%M:%S %Z");
}

/* What is not known, or has not happened: in words for people, empty for programs. */
static void put_nothing(const page *page, const char *key, const char *words)
{
    put_item(page, key, words, "");
}

static apr_uint64_t left_of(apr_off_t whole, apr_uint64_t part)
{
    return (apr_uint64_t)whole > part ? (apr_uint64_t)whole - part : 0;
}

static unsigned percent_of(apr_uint64_t part, apr_off_t whole)
{
    if (whole <= 0)
        return 0;
    return part >= (apr_uint64_t)whole ? 100 : (unsigned)(part * 100 / (apr_uint64_t)whole);
}

/* How much of a whole has come: "42 %" behind a bar, or "42". */
static void put_percent(const page *page, const char *key, apr_uint64_t part, apr_off_t whole)
{
    apr_pool_t *p = page->r->pool;
    const char *plain = apr_psprintf(p, "%u", percent_of(part, whole));

    put_marked(page, key, apr_psprintf(p, "<progress max=\"100\" value=\"%s\"></progress> ", plain),
               apr_pstrcat(p, plain, " %", NULL), plain);
}

/* Bytes a second since a moment. */
static apr_uint64_t rate_since(apr_uint64_t bytes, apr_time_t since)
{
    apr_time_t span = apr_time_now() - since;

    return span > 0 ? bytes * APR_USEC_PER_SEC / (apr_uint64_t)span : 0;
}

static void put_rate(const page *page, const char *key, apr_uint64_t rate)
{
    apr_pool_t *p = page->r->pool;

    put_item(page, key, apr_pstrcat(p, shown_bytes(p, rate), "/s", NULL), plain_number(p, rate));
}

/* When so many bytes will have come if they go on at this rate: today, as a rule. */
static void put_end(const page *page, const char *key, apr_uint64_t left, apr_uint64_t rate)
{
    apr_time_t span;

    if (rate == 0) {
        put_nothing(page, key, "not known yet");
        return;
    }
    span = apr_time_from_sec(left / rate) + (apr_time_t)(left % rate * APR_USEC_PER_SEC / rate);
    put_time(page, key, apr_time_now() + span, span < apr_time_from_sec(12 * 3600)
                                               ? "%H:%M:%S %Z" : "%Y-%m-%d %H:%M:%S %Z");
}

/* ------------------------------------------------------------------ which nodes */

/* Is this a node that is asked for? */
static int is_wanted(const page *page, const char *node)
{
    return !page->wanted || strncmp(node, page->wanted, strlen(page->wanted)) == 0;
}

/* An address as a number, to sort by. */
static apr_uint32_t number_of(const char *node)
{
    return ntohl(inet_addr(node));
}

/* "node=192.168.152" among the arguments of the page's URL; NULL: it is not there. */
static const char *wanted_nodes(request_rec *r)
{
    apr_table_t *arguments;
    const char *wanted;

    ap_args_to_table(r, &arguments);
    wanted = apr_table_get(arguments, "node");
    return wanted && strspn(wanted, "0123456789.") == strlen(wanted) ? wanted : NULL;
}

/* A field to ask for nodes. */
static void put_search(const page *page, const char *anchor, int all)
{
    if (!page->automatic)
        ap_rprintf(page->r, "<form action=\"#%s\"><p><label>Nodes that begin with "
                   "<input name=\"node\" value=\"%s\" size=\"15\" placeholder=\"192.168.152.\" />"
                   "</label> <button>Show</button> <a href=\"?node=#%s\">Show all %d</a></p>"
                   "</form>\n",
                   anchor, page->wanted ? page->wanted : "", anchor, all);
}

/* ------------------------------------------------------------------ what there is */

/* A row of the table that says how the entrypoint stands: its label is for people. */
static page *labelled(page *page, const char *label)
{
    page->label = label;
    return page;
}

/* How the WalT server does, as far as it was asked. */
static void put_server(page *page, const entrypoint_counters *counters)
{
    static const struct {
        const char *shown;
        const char *plain;
    } states[] = { { "not asked yet", "unknown" }, { "answers", "up" }, { "is silent", "down" } };
    apr_uint64_t since = counters->server_since, answered = counters->answered;
    apr_uint64_t took = counters->took;
    int state = counters->server;
    apr_pool_t *p = page->r->pool;

    put_item(labelled(page, "State of the WalT server"), "ServerState", states[state].shown,
             states[state].plain);
    if (since)
        put_moment(labelled(page, "In that state since"), "ServerSince", (apr_time_t)since);
    else
        put_nothing(labelled(page, "In that state since"), "ServerSince", "");
    if (answered) {
        const char *ms = apr_psprintf(p, "%" APR_UINT64_T_FMT ".%d", took / 1000,
                                      (int)(took % 1000 / 100));

        put_moment(labelled(page, "Last answer"), "ServerAnswered", (apr_time_t)answered);
        put_item(labelled(page, "Time for that answer"), "ServerMilliseconds",
                 apr_pstrcat(p, ms, " ms", NULL), ms);
    }
    else {
        put_nothing(labelled(page, "Last answer"), "ServerAnswered", "never");
        put_nothing(labelled(page, "Time for that answer"), "ServerMilliseconds", "");
    }
}

static void put_cache(page *page, const image_folder *folder, const apr_array_header_t *images)
{
    const char *trouble;

    if (!folder) {
        put_text(labelled(page, "Cache folder"), "CacheRoot", "none");
        return;
    }
    put_text(labelled(page, "Cache folder"), "CacheRoot", folder->root);
    put_bytes(labelled(page, "Images in it"), "CacheUsed",
              (apr_uint64_t)image_folder_bytes(images));
    put_bytes(labelled(page, "It may hold"), "CacheSize", (apr_uint64_t)folder->size);
    if ((trouble = image_folder_trouble_of(page->r->pool, folder)))
        put_item(labelled(page, "Trouble with it"), "CacheTrouble",
                 apr_pstrcat(page->r->pool, trouble, ": images are relayed until this is mended",
                             NULL), trouble);
    else
        put_nothing(labelled(page, "Trouble with it"), "CacheTrouble", "none");
}

/* How the entrypoint stands, a row for each value: it is narrow enough for any screen. */
static void put_summary(page *page, const walt_vpn_entrypoint *entrypoint,
                        const entrypoint_counters *counters, const apr_array_header_t *images)
{
    /* Labels and keys of the counters, in the order of walt_vpn_answer. */
    static const struct {
        const char *label;
        const char *key;
    } answers[WALT_VPN_ANSWERS] = {
        { "Requests relayed", "Relayed" },
        { "Images from the cache", "Cached" },
        { "Images fetched first", "Fetched" },
        { "Images sent while fetched", "Streamed" },
        { "Images waited for", "Waited" },
        { "Requests refused", "Refused" },
        { "Requests failed", "Failed" }
    };
    apr_uint64_t to_nodes = counters->to_nodes, from_server = counters->from_server;
    int i;

    page->row = page->entrypoint;
    if (!page->automatic)
        ap_rputs("<div class=\"walt-vpn\"><table>\n", page->r);
    put_text(labelled(page, "WalT server"), "Server", entrypoint->url);
    put_server(page, counters);
    put_text(labelled(page, "Exposed"), "Exposed", entrypoint->boot_only ? "boot" : "all");
    put_moment(labelled(page, "Counted since"), "Since", counters_began());
    for (i = 0; i < WALT_VPN_ANSWERS; i++)
        put_number(labelled(page, answers[i].label), answers[i].key, counters->answers[i]);
    put_number(labelled(page, "boot.sig that were none"), "NoSignatures", counters->no_signatures);
    put_number(labelled(page, "Asked for by another name"), "Misnamed", counters->misnamed);
    put_bytes(labelled(page, "Sent to nodes"), "ToNodes", to_nodes);
    put_bytes(labelled(page, "From the WalT server"), "FromServer", from_server);
    put_bytes(labelled(page, "Saved by the cache"), "Saved",
              to_nodes > from_server ? to_nodes - from_server : 0);
    put_cache(page, entrypoint->folder, images);
    page->label = NULL;
    end_table(page, 1);
}

/* How many nodes are sent bytes of this fetch. */
static unsigned count_readers(apr_uint64_t fetch)
{
    boot_row boot;
    unsigned readers = 0;
    int place;

    for (place = 0; place < BOOT_ROWS; place++)
        readers += boots_copy(place, &boot) && boot.state == BOOT_RUNNING && boot.fetch == fetch;
    return readers;
}

/* As much of a digest as is shown. */
static const char *short_digest(const page *page, const char *digest)
{
    return apr_pstrmemdup(page->r->pool, digest, DIGEST_SHOWN);
}

static void put_fetches(page *page, int entrypoint)
{
    static const char *const columns[] = {
        "Image", "Progress", "Received", "Size", "Rate", "Seconds", "Expected end",
        "Nodes reading", NULL
    };
    apr_array_header_t *fetches = apr_array_make(page->r->pool, 4, sizeof(fetch_row));
    fetch_row fetch;
    int i;

    for (i = 0; i < FETCH_ROWS; i++) {
        if (fetches_copy(i, &fetch) && fetch.entrypoint == entrypoint)
            memcpy(apr_array_push(fetches), &fetch, sizeof(fetch));
    }
    begin_table(page, "Images being fetched now", "Fetches", fetches->nelts, columns);
    for (i = 0; i < fetches->nelts; i++) {
        const fetch_row *running = &APR_ARRAY_IDX(fetches, i, fetch_row);
        apr_uint64_t rate = rate_since(running->position, running->began);

        begin_row(page, "Fetch", short_digest(page, running->digest));
        put_text(page, "Image", short_digest(page, running->digest));
        put_percent(page, "Percent", running->position, (apr_off_t)running->size);
        put_bytes(page, "Received", running->position);
        if (running->size == 0)
            put_item(page, "Size", "not known yet", "");
        else
            put_bytes(page, "Size", running->size);
        put_rate(page, "Rate", rate);
        put_seconds(page, "Seconds", apr_time_now() - running->began);
        put_end(page, "End", left_of((apr_off_t)running->size, running->position),
                running->size ? rate : 0);
        put_number(page, "Readers", count_readers(running->id));
        end_row(page);
    }
    end_table(page, fetches->nelts);
}

/* ------------------------------------------------------------------ nodes */

static int latest_failure_first(const void *a, const void *b)
{
    const failure *one = a, *other = b;

    return one->last < other->last ? 1 : one->last > other->last ? -1 : 0;
}

/* Nodes that have had trouble and have not booted since, the latest first. */
static void put_failures(page *page, int entrypoint)
{
    static const char *const columns[] = {
        "Node", "Trouble", "Last", "Times", "Since", "Client", NULL
    };
    apr_array_header_t *failures = failures_list(page->r->pool, entrypoint);
    failure *all = (failure *)failures->elts;
    int i, kept = 0;

    for (i = 0; i < failures->nelts; i++) {
        if (is_wanted(page, all[i].node))
            memmove(&all[kept++], &all[i], sizeof(*all));
    }
    failures->nelts = kept;
    qsort(all, (size_t)kept, sizeof(*all), latest_failure_first);
    begin_table(page, "Nodes that fail", "Failing", failures->nelts, columns);
    for (i = 0; i < failures->nelts; i++) {
        const failure *failing = &all[i];

        begin_row(page, "Failing", failing->node);
        put_text(page, "Node", failing->node);
        put_text(page, "Trouble", failing->trouble);
        put_moment(page, "Last", failing->last);
        put_number(page, "Times", failing->times);
        put_moment(page, "Since", failing->since);
        put_text(page, "Client", failing->client);
        end_row(page);
    }
    end_table(page, failures->nelts);
}

static int by_node_and_beginning(const void *a, const void *b)
{
    const boot_row *one = a, *other = b;
    apr_uint32_t number = number_of(one->node), others = number_of(other->node);

    if (number != others)
        return number < others ? -1 : 1;
    return one->began < other->began ? -1 : one->began > other->began ? 1 : 0;
}

/* Copies of the boots of an entrypoint's wanted nodes that are sent an image now, by node, the
 * earlier first. */
static apr_array_header_t *list_downloads(const page *page, int entrypoint)
{
    apr_array_header_t *boots = apr_array_make(page->r->pool, 64, sizeof(boot_row));
    boot_row boot;
    int place;

    for (place = 0; place < BOOT_ROWS; place++) {
        if (boots_copy(place, &boot) && boot.entrypoint == entrypoint
            && boot.state == BOOT_RUNNING && is_wanted(page, boot.node))
            memcpy(apr_array_push(boots), &boot, sizeof(boot));
    }
    qsort(boots->elts, (size_t)boots->nelts, sizeof(boot_row), by_node_and_beginning);
    return boots;
}

/* The last boots of an entrypoint's wanted nodes, the latest first. */
static apr_array_header_t *list_last_boots(const page *page, int entrypoint)
{
    apr_array_header_t *boots = boots_last(page->r->pool, entrypoint);
    boot_row *boot = (boot_row *)boots->elts;
    int i, kept = 0;

    for (i = 0; i < boots->nelts; i++) {
        if (is_wanted(page, boot[i].node))
            memmove(&boot[kept++], &boot[i], sizeof(*boot));
    }
    boots->nelts = kept;
    return boots;
}

/* The columns that running and ended boots share. */
static void put_boot(const page *page, const boot_row *boot)
{
    put_bytes(page, "Size", (apr_uint64_t)boot->size);
    put_number(page, "Resumes", boot->resumes);
    put_text(page, "Image", boot->digest);
    put_text(page, "Client", boot->client);
}

/* One download.  Where more than one client asks for a node's image, only the first has the node's
 * name for its key. */
static void put_download(page *page, const boot_row *boot, int is_first)
{
    apr_uint64_t rate = rate_since(boot->position - (apr_uint64_t)boot->from, boot->sending);

    begin_row(page, "Download", is_first ? boot->node
                                : apr_pstrcat(page->r->pool, boot->node, ",", boot->client, NULL));
    put_text(page, "Node", boot->node);
    put_percent(page, "Percent", boot->position, boot->size);
    put_rate(page, "Rate", rate);
    put_seconds(page, "Seconds", apr_time_now() - boot->began);
    put_end(page, "End", left_of(boot->size, boot->position), rate);
    put_bytes(page, "Sent", boot->position);
    put_boot(page, boot);
    end_row(page);
}

static void put_downloads(page *page, int entrypoint)
{
    static const char *const columns[] = {
        "Node", "Progress", "Rate", "Seconds", "Expected end", "Sent", "Size", "Resumes", "Image",
        "Client", NULL
    };
    apr_array_header_t *boots = list_downloads(page, entrypoint);
    const boot_row *boot = (const boot_row *)boots->elts;
    int i;

    begin_table(page, "Nodes downloading now", "Downloads", boots->nelts, columns);
    for (i = 0; i < boots->nelts; i++)
        put_download(page, &boot[i], i == 0 || strcmp(boot[i].node, boot[i - 1].node) != 0);
    end_table(page, boots->nelts);
}

/* How a boot ended, in words. */
static const char *result_of(apr_pool_t *p, const boot_row *boot)
{
    if (boot->state == BOOT_DONE)
        return walt_vpn_answer_names[boot->answer];
    if (boot->status)
        return apr_psprintf(p, "error %d", boot->status);
    return apr_psprintf(p, "ended short at %u %%", percent_of(boot->position, boot->size));
}

/* The last boot of each node that is wanted, or of those that booted last. */
static void put_nodes(page *page, int entrypoint, const char *anchor)
{
    static const char *const columns[] = {
        "Node", "Result", "When", "Seconds", "Size", "Resumes", "Image", "Client", NULL
    };
    apr_array_header_t *boots = list_last_boots(page, entrypoint);
    int shown = page->wanted || boots->nelts < NODES_SHOWN ? boots->nelts : NODES_SHOWN, i;

    begin_table(page, "Last boots", "Nodes", shown, columns);
    for (i = 0; i < shown; i++) {
        const boot_row *boot = &APR_ARRAY_IDX(boots, i, boot_row);

        begin_row(page, "Node", boot->node);
        put_text(page, "Node", boot->node);
        put_text(page, "Result", result_of(page->r->pool, boot));
        put_moment(page, "When", boot->began);
        put_seconds(page, "Seconds", boot->touched - boot->began);
        put_boot(page, boot);
        end_row(page);
    }
    end_table(page, shown);
    if (page->wanted || shown < boots->nelts)
        put_search(page, anchor, boots->nelts);
}

/* ------------------------------------------------------------------ the page */

static void put_images(page *page, const apr_array_header_t *images)
{
    static const char *const columns[] = { "Image", "Size", "Last use", NULL };
    int i;

    begin_table(page, "Images in the cache folder", "Images", images->nelts, columns);
    for (i = 0; i < images->nelts; i++) {
        const image_listing *image = &APR_ARRAY_IDX(images, i, image_listing);

        begin_row(page, "Image", image->digest);
        put_item(page, "Digest", apr_pstrndup(page->r->pool, image->digest, DIGEST_SHOWN),
                 image->digest);
        put_bytes(page, "Size", (apr_uint64_t)image->size);
        put_moment(page, "Used", image->used);
        end_row(page);
    }
    end_table(page, images->nelts);
}

/* What an entrypoint's keys and its anchor have in them: its name, and where two have the same
 * one, for two WalT servers, that server. */
static const char *mark_of(apr_pool_t *p, const walt_vpn_entrypoint *entrypoint,
                           const entrypoint_counters *counters)
{
    return entrypoint_shares_name(entrypoint->server)
           ? apr_pstrcat(p, counters->name, ",", counters->url, NULL) : counters->name;
}

static void put_entrypoint(page *page, const walt_vpn_entrypoint *entrypoint)
{
    apr_pool_t *p = page->r->pool;
    const entrypoint_counters *counters = counters_at(entrypoint->place);
    apr_array_header_t *images = entrypoint->folder ? image_folder_list(p, entrypoint->folder)
                                 : apr_array_make(p, 1, sizeof(image_listing));
    const char *mark = mark_of(p, entrypoint, counters);
    const char *anchor = ap_escape_html(p, apr_pstrcat(p, ANCHOR "-", mark, NULL));

    page->entrypoint = apr_pstrcat(p, "WaltVpn[", mark, "].", NULL);
    if (!page->automatic)
        ap_rprintf(page->r, "<h2 id=\"%s\">WalT VPN entrypoint %s</h2>\n", anchor,
                   ap_escape_html(p, counters->name));
    put_failures(page, entrypoint->place);
    put_summary(page, entrypoint, counters, images);
    put_downloads(page, entrypoint->place);
    put_fetches(page, entrypoint->place);
    put_nodes(page, entrypoint->place, anchor);
    if (entrypoint->folder)
        put_images(page, images);
}

/*
 * Readable on a phone: the page is as wide as its screen, and what is wider scrolls by itself.
 * The section comes last on a long page, so a link to it stands at the top, where only a style can
 * put it.
 */
static const char style[] =
    "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
    "<style>\n"
    "body { position: relative; padding-top: 1.5em }\n"
    ".walt-vpn, pre, body > table { display: block; overflow-x: auto }\n"
    ".walt-vpn { margin: 1em 0 }\n"
    ".walt-vpn table { border-collapse: collapse; font-size: small }\n"
    ".walt-vpn th, .walt-vpn td { border: 1px solid; padding: 0.2em 0.5em; text-align: left; "
    "white-space: nowrap }\n"
    ".walt-vpn th[scope=row] + td { white-space: normal; overflow-wrap: anywhere }\n"
    ".walt-vpn td.words { white-space: normal; min-width: 16em }\n"
    ".walt-vpn progress { width: 6em }\n"
    ".walt-vpn-top { position: absolute; top: 0; left: 0; margin: 0 }\n"
    "</style>\n"
    "<p class=\"walt-vpn-top\"><a href=\"#" ANCHOR "\">WalT VPN</a></p>\n"
    "<div id=\"" ANCHOR "\"></div>\n";

static int walt_vpn_status(request_rec *r, int flags)
{
    page page = { r, flags & AP_STATUS_SHORT, wanted_nodes(r), "", "", NULL };
    const server_rec *s;
    int is_first = 1;

    for (s = ap_server_conf; s; s = s->next) {
        const walt_vpn_entrypoint *entrypoint = entrypoint_to_show(s);

        if (!entrypoint)
            continue;
        if (!page.automatic)
            ap_rprintf(r, "<hr />\n%s", is_first ? style : "");
        is_first = 0;
        put_entrypoint(&page, entrypoint);
    }
    return OK;
}

void status_page_register_hooks(void)
{
    APR_OPTIONAL_HOOK(ap, status_hook, walt_vpn_status, NULL, NULL, APR_HOOK_MIDDLE);
}
