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
#include "report/values.h"
#include "store/folder.h"

#include "apr_lib.h"
#include "apr_strings.h"
#include "http_protocol.h"
#include "http_request.h"
#include "util_script.h"

#include <stdlib.h>

/* Most nodes on a page: each is a series, and a new one for each image that it boots. */
#define NODES_MAX 500

#define TEXT_TYPE "text/plain; version=0.0.4; charset=utf-8"
#define OPEN_TYPE "application/openmetrics-text"

/* A page on its way out. */
typedef struct {
    request_rec *r;
    int open;                   /* in the format of OpenMetrics */
    apr_array_header_t *standings;
    apr_array_header_t *boots;  /* boot_row of nodes to show, each node once, the latest first */
} page;

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
    return apr_pstrcat(page->r->pool, labels, *labels ? "," : "", name, "=\"",
                       escaped(page->r->pool, value), "\"", NULL);
}

/* A sample: the suffix of its name, its labels, and a whole number. */
static void put_number(const page *page, const value *value, const char *suffix,
                       const char *labels, apr_uint64_t number)
{
    ap_rprintf(page->r, "%s%s{%s} %" APR_UINT64_T_FMT "\n", value->name, suffix, labels, number);
}

/* A number of microseconds, in seconds. */
static void put_seconds(const page *page, const value *value, const char *suffix,
                        const char *labels, apr_uint64_t time)
{
    ap_rprintf(page->r, "%s%s{%s} %" APR_UINT64_T_FMT ".%06u\n", value->name, suffix, labels,
               time / APR_USEC_PER_SEC, (unsigned)(time % APR_USEC_PER_SEC));
}

/* The count of all is that of the last bucket: they are counted on while they are read. */
static void put_histogram(const page *page, const value *value, const char *labels,
                          const histogram *histogram)
{
    const histogram_bound *bounds = value->unit == UNIT_TIMES ? histogram_times : histogram_rates;
    apr_uint64_t count = 0;
    int i;

    for (i = 0; i <= HISTOGRAM_BOUNDS; i++) {
        count += histogram->counts[i];
        put_number(page, value, "_bucket",
                   labelled(page, labels, "le",
                            i < HISTOGRAM_BOUNDS ? bounds[i].text : "+Inf"), count);
    }
    (value->unit == UNIT_TIMES ? put_seconds : put_number)(page, value, "_sum", labels,
                                                           histogram->sum);
    put_number(page, value, "_count", labels, count);
}

/* ------------------------------------------------------------------ values */

/* What is counted, one series or several: this one of what precedes "by". */
static void put_counted(const page *page, const value *value, const standing *its,
                        const value_dimension *const *by, const char *labels, int place)
{
    const char *first = (const char *)its->counters + value->at;
    int i;

    for (i = 0; *by && i < (*by)->count; i++)
        put_counted(page, value, its, by + 1,
                    labelled(page, labels, (*by)->label, (*by)->names[i]),
                    place * (*by)->count + i);
    if (*by)
        return;
    if (value->type == METRIC_HISTOGRAM)
        put_histogram(page, value, labels, &((const histogram *)first)[place]);
    else if (((const counter *)first)[place] || !value->is_sparse)
        put_number(page, value, "_total", labels, ((const counter *)first)[place]);
}

static void put_nodes(const page *page, const value *value, const standing *its,
                      const char *labels)
{
    int i;

    for (i = 0; i < page->boots->nelts; i++) {
        const boot_row *boot = &APR_ARRAY_IDX(page->boots, i, boot_row);
        const char *and_image = labelled(page, labelled(page, labels, "node", boot->node),
                                         "image", boot->digest);

        if (boot->entrypoint == its->entrypoint->place)
            put_seconds(page, value, "",
                        labelled(page, and_image, "result", boot->state == BOOT_DONE ? "done"
                                                            : boot->status ? "failed" : "short"),
                        (apr_uint64_t)boot->touched);
    }
}

/* What there is now.  What is not known is not on the page. */
static void put_gauge(const page *page, const value *value, const standing *its,
                      const char *labels)
{
    switch (value->unit) {
    case UNIT_INFO:
        labels = labelled(page, labels, "server", its->server);
        put_number(page, value, "", labelled(page, labels, "expose", its->exposed), 1);
        return;
    case UNIT_TROUBLE:          /* one of the few that the operating system has */
        put_number(page, value, "",
                   labelled(page, labels, "reason", its->trouble ? its->trouble : ""),
                   its->trouble != NULL);
        return;
    case UNIT_STATE:
        if (value_number(value, its) != SERVER_UNKNOWN)
            put_number(page, value, "", labels, value_number(value, its) == SERVER_ANSWERS);
        return;
    case UNIT_MOMENT:
        if (value_number(value, its))
            put_seconds(page, value, "", labels, value_number(value, its));
        return;
    case UNIT_NODES:
        put_nodes(page, value, its, labels);
        return;
    default:
        put_number(page, value, "", labels, value_number(value, its));
    }
}

/* Samples of one name: they stand together, whatever entrypoint they are of. */
static void put_family(const page *page, const value *value)
{
    static const char *const types[] = {
        [METRIC_GAUGE] = "gauge", [METRIC_COUNTER] = "counter", [METRIC_HISTOGRAM] = "histogram"
    };
    /* Of a counter OpenMetrics names the family without _total. */
    const char *suffix = value->type == METRIC_COUNTER && !page->open ? "_total" : "";
    int i;

    ap_rprintf(page->r, "# HELP %s%s %s\n# TYPE %s%s %s\n", value->name, suffix, value->help,
               value->name, suffix, types[value->type]);
    for (i = 0; i < page->standings->nelts; i++) {
        const standing *its = &APR_ARRAY_IDX(page->standings, i, standing);
        const char *labels = labelled(page, "", "entrypoint", its->name);

        if (value->is_of_folder && !its->entrypoint->folder)
            continue;
        if (value->type == METRIC_GAUGE)
            put_gauge(page, value, its, labels);
        else
            put_counted(page, value, its, value->by, labels, 0);
    }
}

/* Take the last boots of so many nodes of what is on the page. */
static void choose_nodes(page *page, int nodes)
{
    apr_array_header_t *all = boots_last(page->r->pool, -1);
    int i, k;

    page->boots = apr_array_make(page->r->pool, 64, sizeof(boot_row));
    for (i = 0; i < all->nelts && page->boots->nelts < nodes; i++) {
        const boot_row *boot = &APR_ARRAY_IDX(all, i, boot_row);

        for (k = 0; k < page->standings->nelts; k++) {
            if (APR_ARRAY_IDX(page->standings, k, standing).entrypoint->place == boot->entrypoint)
                APR_ARRAY_PUSH(page->boots, boot_row) = *boot;
        }
    }
}

/* ------------------------------------------------------------------ the request */

/* How much the client wants this version of a media type, in thousandths. */
static int weight_of(request_rec *r, const char *type, const char *version)
{
    const char *accept = apr_table_get(r->headers_in, "Accept"), *item;
    apr_size_t length = strlen(type);
    int most = 0;

    while (accept && (item = ap_get_list_item(r->pool, &accept))) {
        const char *weight = strstr(item, ";q=");
        int thousandths = weight ? (int)(strtod(weight + strlen(";q="), NULL) * 1000) : 1000;

        if (strncmp(item, type, length) == 0 && (item[length] == '\0' || item[length] == ';')
            && (!strstr(item, ";version=") || strstr(item, version)) && thousandths > most)
            most = thousandths;
    }
    return most;
}

/* Does the client read OpenMetrics 1.0.0 at least as gladly as plain text? */
static int wants_open(request_rec *r)
{
    int open = weight_of(r, OPEN_TYPE, ";version=1.0.0");

    return open > 0 && open >= weight_of(r, "text/plain", ";version=0.0.4");
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
    const value *value;
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
    page.standings = standings_now(r->pool, " ");
    if (nodes > 0)
        choose_nodes(&page, nodes);
    for (value = standing_values; value->key || value->name; value++) {
        if (value->name && (value->unit != UNIT_NODES || nodes > 0))
            put_family(&page, value);
    }
    if (page.open)
        ap_rputs("# EOF\n", r);
    return OK;
}

void metrics_page_register_hooks(void)
{
    ap_hook_handler(walt_vpn_metrics_handler, NULL, NULL, APR_HOOK_MIDDLE);
}
