/*
 * reply/headers.c: the head of a reply to a node, as its firmware can read it.
 *
 * The files that firmware reads have one Content-Length, no coding, and no header line that
 * overruns its parser, whatever filters and headers the site configures (filter WALT_VPN_HEADERS).
 * Errors are short texts of our own, whatever ErrorDocument says.
 */
#include "reply/headers.h"
#include "ledger/troubles.h"

#include "apr_lib.h"
#include "apr_strings.h"
#include "http_core.h"
#include "http_protocol.h"
#include "http_request.h"
#include "util_filter.h"

/* Longest header line, in bytes without its CRLF: older firmware's parser wedges at 200. */
#define HEADER_LINE_MAX 199

static ap_filter_rec_t *headers_filter;

/* ------------------------------------------------------------------ errors */

void headers_own_errors(request_rec *r)
{
    static const struct {
        int status;
        const char *text;
    } errors[] = {
        { HTTP_BAD_REQUEST, "Bad request.\n" },
        { HTTP_FORBIDDEN, "Forbidden.\n" },
        { HTTP_NOT_FOUND, "Not found.\n" },
        { HTTP_METHOD_NOT_ALLOWED, "Method not allowed.\n" },
        { HTTP_REQUEST_ENTITY_TOO_LARGE, "The request body is too large.\n" },
        { HTTP_INTERNAL_SERVER_ERROR, "Internal error.\n" },
        { HTTP_NOT_IMPLEMENTED, "Not implemented.\n" },
        { HTTP_BAD_GATEWAY, "The WalT server's reply was broken.\n" },
        { HTTP_SERVICE_UNAVAILABLE, "The WalT server can't be reached.\n" },
        { HTTP_GATEWAY_TIME_OUT, "The WalT server did not answer in time.\n" }
    };
    int unnamed = ap_index_of_response(HTTP_INTERNAL_SERVER_ERROR);     /* and unknown statuses */
    apr_size_t i;
    int status;

    /* No document of the site is sent with any error status: it may be a redirect. */
    for (status = HTTP_BAD_REQUEST; status <= HTTP_NETWORK_AUTHENTICATION_REQUIRED; status++) {
        if (ap_index_of_response(status) != unnamed)
            ap_custom_response(r, status, "Error.\n");
    }
    for (i = 0; i < sizeof(errors) / sizeof(errors[0]); i++)
        ap_custom_response(r, errors[i].status, errors[i].text);
}

/* ------------------------------------------------------------------ headers */

int headers_are_for_firmware(const walt_vpn_request *request)
{
    return request->boot.file == BOOT_FILE_SIG || request->boot.file == BOOT_FILE_IMG
           || request->boot.fault;
}

int headers_is_line(void *data, const char *name, const char *value)
{
    static const char token[] = "!#$%&'*+-.^_`|~0123456789"
                                "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

    (void)data;
    if (*name == '\0' || name[strspn(name, token)] != '\0')
        return 0;
    for (; *value; value++) {
        if (apr_iscntrl(*value) && *value != '\t')
            return 0;
    }
    return 1;
}

/* Can't a header line be read that may have this many bytes? */
static int is_unfit(apr_size_t most, const char *name, const char *value)
{
    return strlen(name) + strlen(": ") + strlen(value) > most
           || !headers_is_line(NULL, name, value);
}

/* Leave out the lines that have more than this many bytes, or are none. */
static void drop_unfit_lines(request_rec *r, apr_table_t *headers, apr_size_t most)
{
    const apr_array_header_t *lines = apr_table_elts(headers);
    int i = 0;

    while (i < lines->nelts) {
        const apr_table_entry_t line = APR_ARRAY_IDX(lines, i++, apr_table_entry_t);

        if (!is_unfit(most, line.key, line.val))
            continue;
        if (!troubles_met_before(apr_pstrcat(r->pool, "header ", line.key, NULL), 0))
            ap_log_rerror(APLOG_MARK, APLOG_WARNING, 0, r, "header %s: line of 200 bytes or more, "
                          "or none, is left out of replies to nodes, whose firmware can't read it",
                          line.key);
        apr_table_unset(headers, line.key);     /* with all of that name: look from the start */
        i = 0;
    }
    if (r->content_type && is_unfit(most, "Content-Type", r->content_type))
        r->content_type = "application/octet-stream";
}

void headers_drop_what_is_none(request_rec *r)
{
    drop_unfit_lines(r, r->headers_out, APR_SIZE_MAX);
}

/* Leave no length and no coding but what the body has, whatever the site says about them. */
static void tidy_framing(request_rec *r)
{
    static const char *const names[] = { "Content-Length", "Content-Encoding",
                                         "Transfer-Encoding" };
    apr_size_t i;

    for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        apr_table_unset(r->headers_out, names[i]);
        apr_table_unset(r->err_headers_out, names[i]);
    }
    /* An empty or an error reply comes in one brigade: httpd's own filter counts that. */
    if (r->clength > 0)
        ap_set_content_length(r, r->clength);
}

/* Leave nothing in the head of this reply that firmware trips over. */
static void tidy_headers(request_rec *r)
{
    tidy_framing(r);
    /* httpd's own list would name TRACE, which is refused like all methods but these two. */
    if (r->status == HTTP_METHOD_NOT_ALLOWED
        && walt_vpn_request_of(r)->answer == WALT_VPN_REFUSED)
        apr_table_setn(r->headers_out, "Allow", "GET, HEAD");
    drop_unfit_lines(r, r->headers_out, HEADER_LINE_MAX);
    drop_unfit_lines(r, r->err_headers_out, HEADER_LINE_MAX);
    if (r->status_line && strlen("HTTP/1.1 ") + strlen(r->status_line) > HEADER_LINE_MAX)
        r->status_line = NULL;
    r->content_languages = NULL;
    /* httpd writes its own Server line, of any length, behind all filters, unless the request is
     * a proxied one that has a line already. */
    if (!apr_table_get(r->headers_out, "Server")
        && strlen("Server: ") + strlen(ap_get_server_banner()) > HEADER_LINE_MAX) {
        r->proxyreq = PROXYREQ_REVERSE;
        apr_table_setn(r->headers_out, "Server", AP_SERVER_BASEPRODUCT);
    }
}

/* Tidies the head of the reply when it first passes, then leaves the chain. */
static apr_status_t filter_headers(ap_filter_t *f, apr_bucket_brigade *bb)
{
    ap_filter_t *next = f->next;

    tidy_headers(f->r);
    ap_remove_output_filter(f);
    return ap_pass_brigade(next, bb);
}

/* ------------------------------------------------------------------ resumed downloads */

/* The Content-Range of all but the first bytes of a file of this size. */
static const char *rest_of(apr_pool_t *p, apr_off_t from, apr_off_t size)
{
    return apr_psprintf(p, "bytes %" APR_OFF_T_FMT "-%" APR_OFF_T_FMT "/%" APR_OFF_T_FMT, from,
                        size - 1, size);
}

int headers_are_rest(apr_pool_t *p, const apr_table_t *headers, apr_off_t from, apr_off_t length)
{
    const char *range = apr_table_get(headers, "Content-Range");

    return range && length > 0 && length <= APR_INT64_MAX - from
           && strcmp(range, rest_of(p, from, from + length)) == 0;
}

int headers_resume(request_rec *r, apr_off_t length)
{
    apr_off_t from = walt_vpn_request_of(r)->resume_from;

    if (from >= length)
        return HTTP_NOT_FOUND;
    r->status = HTTP_PARTIAL_CONTENT;
    r->status_line = NULL;
    apr_table_setn(r->headers_out, "Content-Range", rest_of(r->pool, from, length));
    ap_set_content_length(r, length - from);
    return OK;
}

int headers_error(const walt_vpn_request *request, int status)
{
    return headers_are_for_firmware(request) && request->resume_from > 0 ? HTTP_NOT_FOUND : status;
}

void headers_add_filter(request_rec *r)
{
    ap_add_output_filter_handle(headers_filter, NULL, r, r->connection);
}

void headers_register_hooks(void)
{
    /* Behind mod_headers (AP_FTYPE_CONTENT_SET), before the byterange filter and the one that
     * writes the head (AP_FTYPE_PROTOCOL). */
    headers_filter = ap_register_output_filter("WALT_VPN_HEADERS", filter_headers, NULL,
                                               AP_FTYPE_PROTOCOL - 1);
}
