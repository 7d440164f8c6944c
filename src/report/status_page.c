/*
 * report/status_page.c: the section on mod_status's page, for each entrypoint.
 *
 * Every value comes out as a cell of a table or, for ?auto, as a "Key: value" line, whose key names
 * what it is about:
 *
 *     WaltVpn[entry.example.org].Node[192.168.152.7].Result: cached
 *
 * Where people are shown something else (64.0 MiB for 67108864), the cell has the plain one as its
 * title.  mod_status is optional: without it nobody runs the hook.
 */
#include "report/status_page.h"
#include "ledger/boots.h"
#include "ledger/failures.h"
#include "ledger/fetches.h"
#include "report/values.h"
#include "store/folder.h"

#include "apr_strings.h"
#include "http_protocol.h"
#include "mod_status.h"
#include "util_script.h"

/* Nodes, of all whose last boot is remembered, that are shown unless nodes are asked for. */
#define NODES_SHOWN 32

/* A value that is longer is a sentence, and may take more than one line. */
#define WORDS 64

/* The section's anchor, which README names; that of an entrypoint has its name behind it. */
#define ANCHOR "walt-vpn"

/* A page on its way out. */
typedef struct {
    request_rec *r;
    int automatic;              /* "Key: value" lines rather than tables */
    const char *wanted;         /* only nodes whose address begins so; NULL: nobody asked */
    const standing *its;        /* of the entrypoint */
    const char *keys;           /* what all of the entrypoint's begin with */
} page;

/* ------------------------------------------------------------------ tables */

/* How a download or a fetch goes on, or went. */
typedef struct {
    apr_uint64_t percent;
    apr_uint64_t rate;          /* bytes a second */
    apr_uint64_t took;          /* microseconds so far */
    apr_uint64_t end;           /* when it ends if it goes on so; 0: not known */
    const char *result;         /* of a boot that has ended, in words */
} progress;

/* So many bytes of all are there, and these of them have come since then. */
static progress *progress_of(apr_pool_t *p, apr_off_t position, apr_off_t size, apr_off_t bytes,
                             apr_time_t since, apr_time_t began)
{
    progress *made = apr_pcalloc(p, sizeof(*made));
    apr_uint64_t left = size > position ? (apr_uint64_t)(size - position) : 0;
    apr_time_t now = apr_time_now();

    made->took = (apr_uint64_t)(now - began);
    if (size > 0)
        made->percent = left ? (apr_uint64_t)position * 100 / (apr_uint64_t)size : 100;
    if (now > since)
        made->rate = (apr_uint64_t)bytes * APR_USEC_PER_SEC / (apr_uint64_t)(now - since);
    if (size > 0 && made->rate)
        made->end = (apr_uint64_t)now + left / made->rate * APR_USEC_PER_SEC
                    + left % made->rate * APR_USEC_PER_SEC / made->rate;
    return made;
}

static const void *progress_of_fetch(apr_pool_t *p, const void *record)
{
    const fetch_row *fetch = record;

    return progress_of(p, fetch->position, fetch->size, fetch->position, fetch->began,
                       fetch->began);
}

static const void *progress_of_boot(apr_pool_t *p, const void *record)
{
    const boot_row *boot = record;
    progress *made = progress_of(p, boot->position, boot->size, boot->position - boot->from,
                                 boot->sending, boot->began);

    if (boot->state != BOOT_RUNNING)
        made->took = (apr_uint64_t)(boot->touched - boot->began);
    made->result = boot->state == BOOT_DONE ? walt_vpn_answer_names[boot->answer]
                   : boot->status ? apr_psprintf(p, "error %d", boot->status)
                   : apr_psprintf(p, "ended short at %d %%", (int)made->percent);
    return made;
}

/* All numbers of a record are read as apr_uint64_t. */
_Static_assert(sizeof(apr_off_t) == sizeof(apr_uint64_t), "files have large offsets");

#define OF(record, field) .at = offsetof(record, field)
#define PROGRESS(kind, field) .of = progress_of_##kind, .at = offsetof(progress, field)

/* A table with a row for each of what there is so many of. */
typedef struct {
    const char *title;
    const char *key;            /* of their number */
    const char *kind;           /* what a row's keys begin with */
    value columns[11];          /* the first one names the row; the last one has no key */
} table;

static const table failing_nodes = {
    "Nodes that fail", "Failing", "Failing", {
        { UNIT_CHARS, OF(failure, node), SHOWN("Node", "Node") },
        { UNIT_CHARS, OF(failure, trouble), SHOWN("Trouble", "Trouble") },
        { UNIT_MOMENT, OF(failure, last), SHOWN("Last", "Last") },
        { UNIT_NUMBER, OF(failure, times), SHOWN("Times", "Times") },
        { UNIT_MOMENT, OF(failure, since), SHOWN("Since", "Since") },
        { UNIT_CHARS, OF(failure, client), SHOWN("Client", "Client") }
    }
};

static const table downloads = {
    "Nodes downloading now", "Downloads", "Download", {
        { UNIT_CHARS, OF(boot_row, node), SHOWN("Node", "Node") },
        { UNIT_PERCENT, PROGRESS(boot, percent), SHOWN("Progress", "Percent") },
        { UNIT_RATE, PROGRESS(boot, rate), SHOWN("Rate", "Rate") },
        { UNIT_SECONDS, PROGRESS(boot, took), SHOWN("Seconds", "Seconds") },
        { UNIT_END, PROGRESS(boot, end), SHOWN("Expected end", "End"),
          .nothing = "not known yet" },
        { UNIT_BYTES, OF(boot_row, position), SHOWN("Sent", "Sent") },
        { UNIT_BYTES, OF(boot_row, size), SHOWN("Size", "Size") },
        { UNIT_NUMBER, OF(boot_row, resumes), SHOWN("Resumes", "Resumes") },
        { UNIT_CHARS, OF(boot_row, digest), SHOWN("Image", "Image") },
        { UNIT_CHARS, OF(boot_row, client), SHOWN("Client", "Client") }
    }
};

static const table fetches = {
    "Images being fetched now", "Fetches", "Fetch", {
        { UNIT_CHARS, OF(fetch_row, digest), SHOWN("Image", "Image") },
        { UNIT_PERCENT, PROGRESS(fetch, percent), SHOWN("Progress", "Percent") },
        { UNIT_BYTES, OF(fetch_row, position), SHOWN("Received", "Received") },
        { UNIT_BYTES, OF(fetch_row, size), SHOWN("Size", "Size"), .nothing = "not known yet" },
        { UNIT_RATE, PROGRESS(fetch, rate), SHOWN("Rate", "Rate") },
        { UNIT_SECONDS, PROGRESS(fetch, took), SHOWN("Seconds", "Seconds") },
        { UNIT_END, PROGRESS(fetch, end), SHOWN("Expected end", "End"),
          .nothing = "not known yet" },
        { UNIT_NUMBER, OF(fetch_row, readers), SHOWN("Nodes reading", "Readers") }
    }
};

static const table last_boots = {
    "Last boots", "Nodes", "Node", {
        { UNIT_CHARS, OF(boot_row, node), SHOWN("Node", "Node") },
        { UNIT_TEXT, PROGRESS(boot, result), SHOWN("Result", "Result") },
        { UNIT_MOMENT, OF(boot_row, began), SHOWN("When", "When") },
        { UNIT_SECONDS, PROGRESS(boot, took), SHOWN("Seconds", "Seconds") },
        { UNIT_BYTES, OF(boot_row, size), SHOWN("Size", "Size") },
        { UNIT_NUMBER, OF(boot_row, resumes), SHOWN("Resumes", "Resumes") },
        { UNIT_CHARS, OF(boot_row, digest), SHOWN("Image", "Image") },
        { UNIT_CHARS, OF(boot_row, client), SHOWN("Client", "Client") }
    }
};

static const table images = {
    "Images in the cache folder", "Images", "Image", {
        { UNIT_DIGEST, OF(folder_file, digest), SHOWN("Image", "Digest") },
        { UNIT_BYTES, OF(folder_file, size), SHOWN("Size", "Size") },
        { UNIT_MOMENT, OF(folder_file, used), SHOWN("Last use", "Used") }
    }
};

/* ------------------------------------------------------------------ HTML and lines */

/* Markup, for people. */
__attribute__((format(printf, 2, 3)))
static void html(const page *page, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    if (!page->automatic)
        ap_vrprintf(page->r, format, arguments);
    va_end(arguments);
}

/* A value of a record whose keys begin so. */
static void put_value(const page *page, const char *keys, const value *value, const void *record)
{
    apr_pool_t *p = page->r->pool;
    value_cell cell = value_cell_of(p, value, record);

    if (page->automatic)
        ap_rprintf(page->r, "%s%s: %s\n", keys, value->key, cell.plain);
    if (strcmp(cell.shown, cell.plain) == 0)
        html(page, strlen(cell.shown) > WORDS ? "<td class=\"words\">" : "<td>");
    else
        html(page, "<td title=\"%s\">", ap_escape_html(p, cell.plain));
    if (value->unit == UNIT_PERCENT)
        html(page, "<progress max=\"100\" value=\"%s\"></progress> ", cell.plain);
    html(page, "%s</td>", ap_escape_html(p, cell.shown));
}

/* How the entrypoint stands, a row for each value: it is narrow enough for any screen. */
static void put_summary(const page *page)
{
    const value *value;

    html(page, "<div class=\"walt-vpn\"><table>\n");
    for (value = standing_values; value->key || value->name; value++) {
        if (!value->key || (value->is_of_folder && !page->its->entrypoint->folder))
            continue;
        html(page, "<tr><th scope=\"row\">%s</th>", value->label);
        put_value(page, page->keys, value, page->its);
        html(page, "</tr>\n");
    }
    html(page, "</table></div>\n");
}

/* Where more than one client asks for a node's image, only the first one has the node's name for
 * its key. */
static void put_rows(const page *page, const table *table, const apr_array_header_t *rows,
                     int shown)
{
    apr_pool_t *p = page->r->pool;
    const char *before = "";
    int i;

    for (i = 0; i < shown; i++) {
        const char *record = rows->elts + i * rows->elt_size, *keys;
        const char *name = value_cell_of(p, table->columns, record).plain;
        const value *column;

        keys = strcmp(name, before) != 0 ? name
               : apr_pstrcat(p, name, ",", ((const boot_row *)record)->client, NULL);
        keys = apr_pstrcat(p, page->keys, table->kind, "[", keys, "].", NULL);
        before = name;
        html(page, "<tr>");
        for (column = table->columns; column->key; column++)
            put_value(page, keys, column, record);
        html(page, "</tr>\n");
    }
}

static void put_table(const page *page, const table *table, const apr_array_header_t *rows,
                      int most)
{
    int shown = rows->nelts > most ? most : rows->nelts;
    const value *column;

    if (page->automatic)
        ap_rprintf(page->r, "%s%s: %d\n", page->keys, table->key, shown);
    html(page, "<h3>%s: %d</h3>\n", table->title, shown);
    if (shown == 0)
        return;
    html(page, "<div class=\"walt-vpn\"><table><tr>");
    for (column = table->columns; column->key; column++)
        html(page, "<th>%s</th>", column->label);
    html(page, "</tr>\n");
    put_rows(page, table, rows, shown);
    html(page, "</table></div>\n");
}

/* ------------------------------------------------------------------ the page */

/* Of these rows those whose node, at this place in them, is wanted. */
static apr_array_header_t *wanted_of(const page *page, apr_array_header_t *rows, apr_size_t node)
{
    int all = rows->nelts, i;

    rows->nelts = 0;
    for (i = 0; i < all; i++) {
        const char *row = rows->elts + i * rows->elt_size;

        if (!page->wanted || strncmp(row + node, page->wanted, strlen(page->wanted)) == 0)
            memmove(apr_array_push(rows), row, (apr_size_t)rows->elt_size);
    }
    return rows;
}

static void put_entrypoint(const page *page)
{
    apr_pool_t *p = page->r->pool;
    const standing *its = page->its;
    int place = its->entrypoint->place;
    apr_array_header_t *failures = failures_list(p, place), *boots = boots_last(p, place);
    const char *anchor = apr_pstrcat(p, ANCHOR "-", ap_escape_html(p, its->name), NULL);

    html(page, "<h2 id=\"%s\">WalT VPN entrypoint %s</h2>\n", anchor,
         ap_escape_html(p, its->counters->name));
    put_table(page, &failing_nodes, wanted_of(page, failures, offsetof(failure, node)), INT_MAX);
    put_summary(page);
    put_table(page, &downloads, wanted_of(page, its->downloads, offsetof(boot_row, node)),
              INT_MAX);
    put_table(page, &fetches, its->fetches, INT_MAX);
    put_table(page, &last_boots, wanted_of(page, boots, offsetof(boot_row, node)),
              page->wanted ? INT_MAX : NODES_SHOWN);
    if (page->wanted || boots->nelts > NODES_SHOWN)
        html(page, "<form action=\"#%s\"><p><label>Nodes that begin with <input name=\"node\" "
             "value=\"%s\" size=\"15\" placeholder=\"192.168.152.\" /></label> <button>Show"
             "</button> <a href=\"?node=#%s\">Show all %d</a></p></form>\n",
             anchor, page->wanted ? page->wanted : "", anchor, boots->nelts);
    if (its->entrypoint->folder)
        put_table(page, &images, its->images, INT_MAX);
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
    page page = { r, flags & AP_STATUS_SHORT, wanted_nodes(r), NULL, NULL };
    apr_array_header_t *standings = standings_now(r->pool, ",");
    int i;

    for (i = 0; i < standings->nelts; i++) {
        page.its = &APR_ARRAY_IDX(standings, i, standing);
        page.keys = apr_pstrcat(r->pool, "WaltVpn[", page.its->name, "].", NULL);
        html(&page, "<hr />\n%s", i == 0 ? style : "");
        put_entrypoint(&page);
    }
    return OK;
}

void status_page_register_hooks(void)
{
    APR_OPTIONAL_HOOK(ap, status_hook, walt_vpn_status, NULL, NULL, APR_HOOK_MIDDLE);
}
