/*
 * status_page.c: the section on mod_status's page.
 *
 * Every value is written once, by an item of the functions below, and comes out as a cell of a
 * table or, for ?auto, as a "Key: value" line.  mod_status is optional: without it nobody runs
 * the hook.
 */
#include "status_page.h"
#include "boot_ledger.h"
#include "boot_watch.h"
#include "image_cache.h"

#include "apr_strings.h"
#include "http_core.h"
#include "http_main.h"
#include "http_protocol.h"
#include "mod_status.h"

#include <stdlib.h>

/* Boots that have ended, of all that are remembered, that are shown. */
#define BOOTS_SHOWN 32

/* ------------------------------------------------------------------ items */

/* A page on its way out. */
typedef struct {
    request_rec *r;
    int automatic;              /* "Key: value" lines rather than tables */
    const char *row;            /* what the keys of this row begin with */
} page;

static void begin_table(const page *page, const char *title, const char *const *columns)
{
    if (page->automatic)
        return;
    ap_rprintf(page->r, "<h3>%s</h3>\n<div class=\"walt-vpn\"><table><tr>", title);
    for (; *columns; columns++)
        ap_rprintf(page->r, "<th>%s</th>", *columns);
    ap_rputs("</tr>\n", page->r);
}

static void end_table(const page *page)
{
    if (!page->automatic)
        ap_rputs("</table></div>\n", page->r);
}

static void begin_row(page *page, const char *kind, int number)
{
    page->row = apr_psprintf(page->r->pool, "WaltVpn%s%d", kind, number);
    if (!page->automatic)
        ap_rputs("<tr>", page->r);
}

static void end_row(const page *page)
{
    if (!page->automatic)
        ap_rputs("</tr>\n", page->r);
}

/* One value: shown as it is for people, or the plain one for programs. */
static void put_item(const page *page, const char *key, const char *shown, const char *plain)
{
    if (page->automatic)
        ap_rprintf(page->r, "%s%s: %s\n", page->row, key, plain);
    else
        ap_rprintf(page->r, "<td>%s</td>", ap_escape_html(page->r->pool, shown));
}

static void put_text(const page *page, const char *key, const char *text)
{
    put_item(page, key, text, text);
}

static void put_number(const page *page, const char *key, apr_uint64_t number)
{
    put_text(page, key, apr_psprintf(page->r->pool, "%" APR_UINT64_T_FMT, number));
}

/* A number of bytes: "64.0 MiB" or the number itself. */
static void put_bytes(const page *page, const char *key, apr_uint64_t bytes)
{
    static const char units[] = "KMGTP";
    apr_pool_t *p = page->r->pool;
    const char *plain = apr_psprintf(p, "%" APR_UINT64_T_FMT, bytes), *shown;
    double value = (double)bytes / 1024;
    int unit = 0;

    while (value >= 1024 && units[unit + 1]) {
        value /= 1024;
        unit++;
    }
    shown = bytes < 1024 ? apr_pstrcat(p, plain, " B", NULL)
                         : apr_psprintf(p, "%.1f %ciB", value, units[unit]);
    put_item(page, key, shown, plain);
}

static void put_seconds(const page *page, const char *key, apr_interval_time_t span)
{
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

/* How much of a whole has come: "42 %" or "42". */
static void put_percent(const page *page, const char *key, apr_uint64_t part, apr_off_t whole)
{
    apr_uint64_t percent = whole > 0 ? part * 100 / (apr_uint64_t)whole : 0;
    const char *plain = apr_psprintf(page->r->pool, "%" APR_UINT64_T_FMT, percent);

    put_item(page, key, apr_pstrcat(page->r->pool, plain, " %", NULL), plain);
}

/* Bytes a second since a moment. */
static void put_rate(const page *page, const char *key, apr_uint64_t bytes, apr_time_t since)
{
    apr_time_t span = apr_time_now() - since;

    put_bytes(page, key, span > 0 ? bytes * APR_USEC_PER_SEC / (apr_uint64_t)span : 0);
}

/* ------------------------------------------------------------------ what there is */

static void put_entrypoints(page *page)
{
    static const char *const columns[] = {
        "Entrypoint", "WalT server", "Exposed", "Relayed", "Cached", "Fetched", "Waited",
        "Refused", "Failed", "To nodes", "From WalT server", NULL
    };
    /* The keys of the counters, in the order of walt_vpn_answer and of the columns. */
    static const char *const keys[WALT_VPN_ANSWERS] = {
        "Relayed", "Cached", "Fetched", "Waited", "Refused", "Failed"
    };
    const server_rec *s;
    int number = 0;

    begin_table(page, "WalT VPN entrypoints: requests by how they were answered", columns);
    for (s = ap_server_conf; s; s = s->next) {
        const walt_vpn_entrypoint *entrypoint = walt_vpn_entrypoint_of(s);
        const ledger_entrypoint *counters;
        int i;

        if (!entrypoint || !(counters = boot_ledger_entrypoint(entrypoint->place)))
            continue;
        begin_row(page, "Entrypoint", number++);
        put_text(page, "Name", s->server_hostname);
        put_text(page, "Server", entrypoint->url);
        put_text(page, "Exposed", entrypoint->boot_only ? "boot" : "all");
        for (i = 0; i < WALT_VPN_ANSWERS; i++)
            put_number(page, keys[i], counters->answers[i]);
        put_bytes(page, "ToNodes", counters->to_nodes);
        put_bytes(page, "FromServer", counters->from_server);
        end_row(page);
    }
    end_table(page);
}

static void put_fetches(page *page)
{
    static const char *const columns[] = {
        "Image", "Size", "Arrived", "Seconds", "Rate per second", NULL
    };
    ledger_fetch fetch;
    int place, number = 0;

    begin_table(page, "Fetches from WalT servers", columns);
    for (place = 0; place < LEDGER_FETCHES; place++) {
        if (!boot_ledger_fetch(place, &fetch))
            continue;
        begin_row(page, "Fetch", number++);
        put_text(page, "Image", fetch.digest);
        put_bytes(page, "Size", fetch.size < 0 ? 0 : (apr_uint64_t)fetch.size);
        put_percent(page, "Percent", fetch.position, fetch.size);
        put_seconds(page, "Seconds", apr_time_now() - fetch.began);
        put_rate(page, "Rate", fetch.position, fetch.began);
        end_row(page);
    }
    end_table(page);
}

static int latest_first(const void *a, const void *b)
{
    const ledger_boot *one = a, *other = b;

    return one->touched < other->touched ? 1 : one->touched > other->touched ? -1 : 0;
}

/* Copies of all boots that are sent an image now (or have ended), the latest first. */
static apr_array_header_t *boots_of(apr_pool_t *p, int running)
{
    apr_array_header_t *boots = apr_array_make(p, 64, sizeof(ledger_boot));
    ledger_boot boot;
    int place;

    for (place = 0; place < LEDGER_BOOTS; place++) {
        if (!boot_ledger_boot(place, &boot))
            continue;
        if (running ? boot.state == BOOT_RUNNING
                    : boot.state == BOOT_DONE || boot.state == BOOT_SHORT)
            memcpy(apr_array_push(boots), &boot, sizeof(boot));
    }
    qsort(boots->elts, (size_t)boots->nelts, sizeof(ledger_boot), latest_first);
    return boots;
}

/* The columns that running and ended boots share. */
static void put_boot(const page *page, const ledger_boot *boot)
{
    put_text(page, "Node", boot->node);
    put_text(page, "Client", boot->client);
    put_text(page, "Image", boot->digest);
    put_bytes(page, "Size", (apr_uint64_t)boot->size);
    put_number(page, "Resumes", boot->resumes);
}

static void put_downloads(page *page)
{
    static const char *const columns[] = {
        "Node", "Client", "Image", "Size", "Resumes", "Sent", "Seconds", "Rate per second", NULL
    };
    apr_array_header_t *boots = boots_of(page->r->pool, 1);
    int i;

    begin_table(page, "Nodes downloading now", columns);
    for (i = 0; i < boots->nelts; i++) {
        const ledger_boot *boot = &APR_ARRAY_IDX(boots, i, ledger_boot);

        begin_row(page, "Download", i);
        put_boot(page, boot);
        put_percent(page, "Percent", boot->position, boot->size);
        put_seconds(page, "Seconds", apr_time_now() - boot->began);
        put_rate(page, "Rate", boot->position, boot->began);
        end_row(page);
    }
    end_table(page);
}

static void put_boots(page *page)
{
    static const char *const columns[] = {
        "Node", "Client", "Image", "Size", "Resumes", "When", "Seconds", "Result", NULL
    };
    apr_array_header_t *boots = boots_of(page->r->pool, 0);
    int i;

    begin_table(page, "Last boots", columns);
    for (i = 0; i < boots->nelts && i < BOOTS_SHOWN; i++) {
        const ledger_boot *boot = &APR_ARRAY_IDX(boots, i, ledger_boot);

        begin_row(page, "Boot", i);
        put_boot(page, boot);
        put_moment(page, "When", boot->began);
        put_seconds(page, "Seconds", boot->touched - boot->began);
        put_text(page, "Result", boot->state == BOOT_DONE ? boot_watch_answer_name(boot->answer)
                                                          : "ended short");
        end_row(page);
    }
    end_table(page);
}

/* Is there an entrypoint before this one that keeps its images in the same folder? */
static int folder_was_shown(const server_rec *before, const image_folder *folder)
{
    const server_rec *s;

    for (s = ap_server_conf; s != before; s = s->next) {
        const walt_vpn_entrypoint *entrypoint = walt_vpn_entrypoint_of(s);

        if (entrypoint && entrypoint->folder
            && strcmp(entrypoint->folder->root, folder->root) == 0)
            return 1;
    }
    return 0;
}

static void put_images(page *page)
{
    static const char *const columns[] = { "Folder", "Image", "Size", "Last use", NULL };
    const server_rec *s;
    int number = 0;

    begin_table(page, "Boot images in the cache", columns);
    for (s = ap_server_conf; s; s = s->next) {
        const walt_vpn_entrypoint *entrypoint = walt_vpn_entrypoint_of(s);
        apr_array_header_t *images;
        int i;

        if (!entrypoint || !entrypoint->folder || folder_was_shown(s, entrypoint->folder))
            continue;
        images = image_cache_list(page->r->pool, entrypoint->folder);
        for (i = 0; i < images->nelts; i++) {
            const image_listing *image = &APR_ARRAY_IDX(images, i, image_listing);

            begin_row(page, "Image", number++);
            put_text(page, "Folder", entrypoint->folder->root);
            put_text(page, "Digest", image->digest);
            put_bytes(page, "Size", (apr_uint64_t)image->size);
            put_moment(page, "Used", image->used);
            end_row(page);
        }
    }
    end_table(page);
}

static int walt_vpn_status(request_rec *r, int flags)
{
    page page = { r, flags & AP_STATUS_SHORT, "" };

    if (!page.automatic)
        ap_rputs("<hr />\n<meta name=\"viewport\" content=\"width=device-width\">\n"
                 "<style>.walt-vpn { overflow-x: auto } .walt-vpn table { border-collapse: "
                 "collapse } .walt-vpn th, .walt-vpn td { border: 1px solid; padding: 0.2em "
                 "0.5em; text-align: left; white-space: nowrap }</style>\n"
                 "<h2>WalT VPN</h2>\n", r);
    put_entrypoints(&page);
    put_downloads(&page);
    put_fetches(&page);
    put_boots(&page);
    put_images(&page);
    return OK;
}

void status_page_register_hooks(void)
{
    APR_OPTIONAL_HOOK(ap, status_hook, walt_vpn_status, NULL, NULL, APR_HOOK_MIDDLE);
}
