/*
 * status_page.c: the section on mod_status's page, for each entrypoint.
 *
 * Every value is written once, by one of the put_ functions, and comes out as a cell of a table
 * or, for ?auto, as a "Key: value" line.  Where people are shown something else (64.0 MiB for
 * 67108864), the cell has the plain one as its title.  mod_status is optional: without it nobody
 * runs the hook.
 */
#include "status_page.h"
#include "boot_ledger.h"
#include "boot_watch.h"
#include "entrypoint.h"
#include "image_folder.h"

#include "apr_strings.h"
#include "http_core.h"
#include "http_main.h"
#include "http_protocol.h"
#include "mod_status.h"

#include <stdlib.h>

/* Boots that have ended, of all that are remembered, that are shown. */
#define BOOTS_SHOWN 32

/* ------------------------------------------------------------------ values */

/* A page on its way out. */
typedef struct {
    request_rec *r;
    int automatic;              /* "Key: value" lines rather than tables */
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

static void begin_row(page *page, const char *kind, int number)
{
    page->row = apr_psprintf(page->r->pool, "%s%s%d", page->entrypoint, kind, number);
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
        ap_rputs("<td>", page->r);
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

/* A moment: in the server's time for people, in seconds since 1970 for programs. */
static void put_moment(const page *page, const char *key, apr_time_t moment)
{
    apr_pool_t *p = page->r->pool;

    put_item(page, key, ap_ht_time(p, moment, "%Y-%m-%d %H:%M:%S", 0),
             apr_psprintf(p, "%" APR_TIME_T_FMT, apr_time_sec(moment)));
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
static void put_rate(const page *page, const char *key, apr_uint64_t bytes, apr_time_t since)
{
    apr_pool_t *p = page->r->pool;
    apr_time_t span = apr_time_now() - since;
    apr_uint64_t rate = span > 0 ? bytes * APR_USEC_PER_SEC / (apr_uint64_t)span : 0;

    put_item(page, key, apr_pstrcat(p, shown_bytes(p, rate), "/s", NULL), plain_number(p, rate));
}

/* ------------------------------------------------------------------ what there is */

/* A row of the table that says how the entrypoint stands: its label is for people. */
static page *labelled(page *page, const char *label)
{
    page->label = label;
    return page;
}

static void put_cache(page *page, const image_folder *folder, const apr_array_header_t *images)
{
    apr_uint64_t bytes = 0;
    int i;

    if (!folder) {
        put_text(labelled(page, "Cache folder"), "CacheRoot", "none");
        return;
    }
    for (i = 0; i < images->nelts; i++)
        bytes += (apr_uint64_t)APR_ARRAY_IDX(images, i, image_listing).size;
    put_text(labelled(page, "Cache folder"), "CacheRoot", folder->root);
    put_bytes(labelled(page, "Images in it"), "CacheUsed", bytes);
    put_bytes(labelled(page, "It may hold"), "CacheSize", (apr_uint64_t)folder->size);
}

/* How the entrypoint stands, a row for each value: it is narrow enough for any screen. */
static void put_summary(page *page, const walt_vpn_entrypoint *entrypoint,
                        const ledger_entrypoint *counters, const apr_array_header_t *images)
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
    else
        put_text(page, "Name", counters->name);
    put_text(labelled(page, "WalT server"), "Server", entrypoint->url);
    put_text(labelled(page, "Exposed"), "Exposed", entrypoint->boot_only ? "boot" : "all");
    put_moment(labelled(page, "Counted since"), "Since", boot_ledger_began());
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

/* How many nodes are sent bytes of this run of a fetch. */
static unsigned count_readers(apr_uint64_t run)
{
    ledger_boot boot;
    unsigned readers = 0;
    int place;

    for (place = 0; place < LEDGER_BOOTS; place++)
        readers += boot_ledger_boot(place, &boot) && boot.state == BOOT_RUNNING && boot.run == run;
    return readers;
}

static void put_fetches(page *page, int entrypoint)
{
    static const char *const columns[] = {
        "Image", "Progress", "Received", "Size", "Rate", "Seconds", "Nodes reading", NULL
    };
    apr_array_header_t *fetches = apr_array_make(page->r->pool, 4, sizeof(ledger_fetch));
    ledger_fetch fetch;
    int i;

    for (i = 0; i < LEDGER_FETCHES; i++) {
        if (boot_ledger_fetch(i, &fetch) && fetch.entrypoint == entrypoint)
            memcpy(apr_array_push(fetches), &fetch, sizeof(fetch));
    }
    begin_table(page, "Images being fetched now", "Fetches", fetches->nelts, columns);
    for (i = 0; i < fetches->nelts; i++) {
        const ledger_fetch *running = &APR_ARRAY_IDX(fetches, i, ledger_fetch);

        begin_row(page, "Fetch", i);
        put_text(page, "Image", running->digest);
        put_percent(page, "Percent", running->position, (apr_off_t)running->size);
        put_bytes(page, "Received", running->position);
        if (running->size == 0)
            put_item(page, "Size", "not known yet", "");
        else
            put_bytes(page, "Size", running->size);
        put_rate(page, "Rate", running->position, running->began);
        put_seconds(page, "Seconds", apr_time_now() - running->began);
        put_number(page, "Readers", count_readers(running->run));
        end_row(page);
    }
    end_table(page, fetches->nelts);
}

static int latest_change_first(const void *a, const void *b)
{
    const ledger_boot *one = a, *other = b;

    return one->touched < other->touched ? 1 : one->touched > other->touched ? -1 : 0;
}

static int latest_begun_first(const void *a, const void *b)
{
    const ledger_boot *one = a, *other = b;

    return one->began < other->began ? 1 : one->began > other->began ? -1 : 0;
}

/* Copies of all boots of an entrypoint that are sent an image now (or have ended), the latest
 * first. */
static apr_array_header_t *boots_of(apr_pool_t *p, int entrypoint, int running)
{
    apr_array_header_t *boots = apr_array_make(p, 64, sizeof(ledger_boot));
    ledger_boot boot;
    int place;

    for (place = 0; place < LEDGER_BOOTS; place++) {
        if (!boot_ledger_boot(place, &boot) || boot.entrypoint != entrypoint)
            continue;
        if (running ? boot.state == BOOT_RUNNING
                    : boot.state == BOOT_DONE || boot.state == BOOT_SHORT)
            memcpy(apr_array_push(boots), &boot, sizeof(boot));
    }
    qsort(boots->elts, (size_t)boots->nelts, sizeof(ledger_boot),
          running ? latest_begun_first : latest_change_first);
    return boots;
}

/* The columns that running and ended boots share. */
static void put_boot(const page *page, const ledger_boot *boot)
{
    put_bytes(page, "Size", (apr_uint64_t)boot->size);
    put_number(page, "Resumes", boot->resumes);
    put_text(page, "Image", boot->digest);
    put_text(page, "Client", boot->client);
}

static void put_downloads(page *page, int entrypoint)
{
    static const char *const columns[] = {
        "Node", "Progress", "Rate", "Seconds", "Sent", "Size", "Resumes", "Image", "Client", NULL
    };
    apr_array_header_t *boots = boots_of(page->r->pool, entrypoint, 1);
    int i;

    begin_table(page, "Nodes downloading now", "Downloads", boots->nelts, columns);
    for (i = 0; i < boots->nelts; i++) {
        const ledger_boot *boot = &APR_ARRAY_IDX(boots, i, ledger_boot);

        begin_row(page, "Download", i);
        put_text(page, "Node", boot->node);
        put_percent(page, "Percent", boot->position, boot->size);
        put_rate(page, "Rate", boot->position - (apr_uint64_t)boot->from, boot->sending);
        put_seconds(page, "Seconds", apr_time_now() - boot->began);
        put_bytes(page, "Sent", boot->position);
        put_boot(page, boot);
        end_row(page);
    }
    end_table(page, boots->nelts);
}

/* How a boot ended, in words. */
static const char *result_of(apr_pool_t *p, const ledger_boot *boot)
{
    if (boot->state == BOOT_DONE)
        return boot_watch_answer_name(boot->answer);
    if (boot->status)
        return apr_psprintf(p, "error %d", boot->status);
    return apr_psprintf(p, "ended short at %u %%", percent_of(boot->position, boot->size));
}

static void put_boots(page *page, int entrypoint)
{
    static const char *const columns[] = {
        "Node", "Result", "When", "Seconds", "Size", "Resumes", "Image", "Client", NULL
    };
    apr_array_header_t *boots = boots_of(page->r->pool, entrypoint, 0);
    int i, shown = boots->nelts < BOOTS_SHOWN ? boots->nelts : BOOTS_SHOWN;

    begin_table(page, "Last boots", "Boots", shown, columns);
    for (i = 0; i < shown; i++) {
        const ledger_boot *boot = &APR_ARRAY_IDX(boots, i, ledger_boot);

        begin_row(page, "Boot", i);
        put_text(page, "Node", boot->node);
        put_text(page, "Result", result_of(page->r->pool, boot));
        put_moment(page, "When", boot->began);
        put_seconds(page, "Seconds", boot->touched - boot->began);
        put_boot(page, boot);
        end_row(page);
    }
    end_table(page, shown);
}

static void put_images(page *page, const apr_array_header_t *images)
{
    static const char *const columns[] = { "Image", "Size", "Last use", NULL };
    int i;

    begin_table(page, "Images in the cache folder", "Images", images->nelts, columns);
    for (i = 0; i < images->nelts; i++) {
        const image_listing *image = &APR_ARRAY_IDX(images, i, image_listing);

        begin_row(page, "Image", i);
        put_item(page, "Digest", apr_pstrndup(page->r->pool, image->digest, LEDGER_DIGEST),
                 image->digest);
        put_bytes(page, "Size", (apr_uint64_t)image->size);
        put_moment(page, "Used", image->used);
        end_row(page);
    }
    end_table(page, images->nelts);
}

static void put_entrypoint(page *page, const walt_vpn_entrypoint *entrypoint,
                           const ledger_entrypoint *counters)
{
    apr_pool_t *p = page->r->pool;
    apr_array_header_t *images = entrypoint->folder ? image_folder_list(p, entrypoint->folder)
                                 : apr_array_make(p, 1, sizeof(image_listing));

    if (!page->automatic)
        ap_rprintf(page->r, "<h2 id=\"%s\">WalT VPN entrypoint %s</h2>\n", page->entrypoint,
                   ap_escape_html(p, counters->name));
    put_summary(page, entrypoint, counters, images);
    put_downloads(page, entrypoint->place);
    put_fetches(page, entrypoint->place);
    put_boots(page, entrypoint->place);
    if (entrypoint->folder)
        put_images(page, images);
}

/* Readable on a phone: the page is as wide as its screen, and what is wider scrolls by itself. */
static const char style[] =
    "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
    "<style>\n"
    ".walt-vpn, pre, body > table { display: block; overflow-x: auto }\n"
    ".walt-vpn table { border-collapse: collapse; font-size: small }\n"
    ".walt-vpn th, .walt-vpn td { border: 1px solid; padding: 0.2em 0.5em; text-align: left; "
    "white-space: nowrap }\n"
    ".walt-vpn th[scope=row] + td { white-space: normal; overflow-wrap: anywhere }\n"
    ".walt-vpn progress { width: 6em }\n"
    "</style>\n";

static int walt_vpn_status(request_rec *r, int flags)
{
    page page = { r, flags & AP_STATUS_SHORT, "", "", NULL };
    const server_rec *s;
    int number = 0;

    for (s = ap_server_conf; s; s = s->next) {
        const walt_vpn_entrypoint *entrypoint = entrypoint_to_show(s);

        if (!entrypoint)
            continue;
        if (!page.automatic)
            ap_rprintf(r, "<hr />\n%s", number == 0 ? style : "");
        page.entrypoint = apr_psprintf(r->pool, "WaltVpn%d", number++);
        put_entrypoint(&page, entrypoint, boot_ledger_entrypoint(entrypoint->place));
    }
    return OK;
}

void status_page_register_hooks(void)
{
    APR_OPTIONAL_HOOK(ap, status_hook, walt_vpn_status, NULL, NULL, APR_HOOK_MIDDLE);
}
