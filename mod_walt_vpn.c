/*
 * mod_walt_vpn.c: one directive turns a virtual host into a WalT VPN HTTP entrypoint.
 *
 * Why a module that generates a worker rather than a ProxyPass line: a node does not survive what
 * a mere relay does to it (facts.md 1: a clean close at the wrong byte hangs it, a resumed download
 * answered with 200 corrupts it), and the WalT server does not survive what a mere relay lets
 * through.  So a request is judged as it was sent (request/judge.c) before anything in httpd
 * rewrites it, claimed ahead of every other module, passed on by mod_proxy_http through a worker
 * with settings of our own, and its reply is guarded (src/reply).
 */
#include "request/walt_vpn.h"
#include "boot/crew.h"
#include "boot/files.h"
#include "boot/room.h"
#include "ledger/counters.h"
#include "ledger/troubles.h"
#include "reply/headers.h"
#include "reply/promise.h"
#include "reply/relay.h"
#include "report/metrics_page.h"
#include "report/status_page.h"
#include "report/watch.h"
#include "request/own_pool.h"
#include "request/record.h"
#include "site/directives.h"
#include "site/checks.h"
#include "walt/address.h"
#include "walt/line.h"
#include "walt/query.h"
#include "walt/server_fault.h"
#include "walt/worker.h"

#include "apr_lib.h"
#include "apr_strings.h"
#include "ap_mpm.h"
#include "http_connection.h"
#include "http_main.h"
#include "http_protocol.h"
#include "http_request.h"
#include "http_vhost.h"

/* Longest body without a Content-Length, in bytes: mod_proxy collects it on the disk, to find its
 * length, before it asks the WalT server.  Of an enroll request see BOOT_ENROLL_MAX. */
#define CHUNKED_MAX (1024 * 1024)

static ap_filter_rec_t *body_filter;

/* N of "bytes=N-", the only range that a node asks for (facts.md 1); 0 for any other range. */
static apr_off_t resumed_byte(const char *range)
{
    apr_off_t from;
    char *end;

    if (!range || ap_cstr_casecmpn(range, "bytes=", 6) != 0 || !apr_isdigit(range[6]))
        return 0;
    if (apr_strtoff(&from, range + 6, &end, 10) != APR_SUCCESS || strcmp(end, "-") != 0)
        return 0;
    return from;
}

/* Why this request gets an error from us and which; OK: it gets none. */
static int refusal(request_rec *r, const walt_vpn_request *request, boot_reason *why)
{
    const boot_request *boot = &request->boot;
    const char *length = apr_table_get(r->headers_in, "Content-Length");

    *why = boot->fault;
    if (boot->fault)
        return HTTP_NOT_FOUND;
    if (request->entrypoint->boot_only) {
        *why = REASON_NOT_EXPOSED;
        if (!boot->plain)
            return HTTP_NOT_FOUND;
        /* With this status httpd reads nothing more: no byte of it is taken for a request. */
        if (walt_vpn_request_has_body(r)) {
            *why = REASON_BODY;
            return HTTP_REQUEST_ENTITY_TOO_LARGE;
        }
        if (r->method_number != M_GET)
            return HTTP_METHOD_NOT_ALLOWED;
    }
    /* HttpProtocolOptions Unsafe lets any bytes be a method or a header's name. */
    *why = REASON_METHOD;
    if (strspn(r->method, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != strlen(r->method))
        return HTTP_NOT_IMPLEMENTED;
    *why = REASON_HEADER;
    if (!apr_table_do(headers_is_line, NULL, r->headers_in, NULL))
        return HTTP_BAD_REQUEST;
    *why = REASON_LARGE_ENROLL;
    if (boot->file == BOOT_FILE_ENROLL && length && apr_atoi64(length) > BOOT_ENROLL_MAX)
        return HTTP_REQUEST_ENTITY_TOO_LARGE;
    return OK;
}

/* Does r ask an entrypoint by its name? */
static int is_by_name(const request_rec *r)
{
    return !r->prev && r->hostname && entrypoint_of(r->server)
           && entrypoint_is_named(r->server, r->hostname);
}

/*
 * Judge r as it was sent, and promise its reply.  NULL: it is none of ours.  A path that only some
 * other server would read as a path below /walt-vpn/ ("/.//walt-vpn/") is ours to refuse: no node
 * asks so, and a ProxyPass that was left from before would let it through.
 */
static walt_vpn_request *judge(request_rec *r)
{
    const char *path = r->parsed_uri.path, *rest = path ? boot_request_rest(path) : NULL;
    walt_vpn_request *request;

    if (!path || !is_by_name(r)
        || (!rest && !boot_request_is_disguised(apr_pstrdup(r->pool, path))))
        return NULL;
    request = walt_vpn_request_make(r);
    request->entrypoint = entrypoint_of(r->server);
    request->rest = rest ? apr_pstrdup(r->pool, rest) : "";     /* httpd decodes it in place */
    request->query = apr_pstrdup(r->pool, r->parsed_uri.query);
    boot_request_judge(&request->boot, request->rest, request->query);
    if (!rest)
        request->boot.fault = REASON_DISGUISE;
    promise_make(r);
    headers_own_errors(r);
    return request;
}

/* The names of an entrypoint, for people. */
static const char *names_of(apr_pool_t *p, const server_rec *s)
{
    const char *names = s->server_hostname;
    int i;

    for (i = 0; s->names && i < s->names->nelts; i++)
        names = apr_pstrcat(p, names, ", ", APR_ARRAY_IDX(s->names, i, const char *), NULL);
    for (i = 0; s->wild_names && i < s->wild_names->nelts; i++)
        names = apr_pstrcat(p, names, ", ", APR_ARRAY_IDX(s->wild_names, i, const char *), NULL);
    return names;
}

/*
 * Somebody asks for what is below /walt-vpn/, but not by a name of the entrypoint: by its address,
 * perhaps, or by a misspelt name.  The request is not ours; it is said once for each name, and
 * counted.
 */
static void note_misnamed(const request_rec *r)
{
    const server_rec *s = entrypoint_of(r->server) ? r->server : ap_server_conf;
    const char *name = r->hostname ? r->hostname : "no name";

    if (r->prev || !r->parsed_uri.path || !boot_request_rest(r->parsed_uri.path))
        return;
    while (s && !entrypoint_of(s))
        s = s->next;
    if (!s)
        return;
    counters_at(entrypoint_of(s)->place)->misnamed++;
    if (!troubles_refused_before(apr_pstrcat(r->pool, "misnamed ", name, NULL)))
        ap_log_rerror(APLOG_MARK, APLOG_INFO, 0, r, "%s was asked for under \"%s\", the "
                      "entrypoint's names are: %s", BOOT_PREFIX, name, names_of(r->pool, s));
}

static int is_entrypoint(void *data, conn_rec *c, server_rec *s)
{
    (void)data;
    (void)c;
    return entrypoint_of(s) != NULL;
}

/*
 * A process that begins to end (graceful restart, MaxConnectionsPerChild) may have taken a
 * connection that the event MPM did not count yet when it looked whether there are any.  Nobody
 * then finishes what is left to the MPM or to the keeper of the room (boot/room.c), and the process
 * ends with it.  So at the address of an entrypoint the thread itself serves such a connection to
 * its end.
 */
static int walt_vpn_pre_connection(conn_rec *c, void *socket)
{
    int state = 0;

    (void)socket;
    ap_mpm_query(AP_MPMQ_MPM_STATE, &state);
    if (state == AP_MPMQ_STOPPING && !c->master
        && ap_vhost_iterate_given_conn(c, is_entrypoint, NULL))
        c->clogging_input_filters = 1;  /* httpd's sign for that; other MPMs always do so */
    return OK;
}

/* A request is about to be read: at the address of an entrypoint it may be a node's, if it is the
 * first of its connection, for a node makes one for each (facts.md 1).  The entrypoint's own
 * questions are made on connections that are called outgoing. */
static int walt_vpn_create_request(request_rec *r)
{
    conn_rec *c = r->connection;

    if (!r->main && !r->prev && !c->outgoing && c->keepalives == 0
        && ap_vhost_iterate_given_conn(c, is_entrypoint, NULL))
        promise_begin_reading(r);
    return OK;
}

/*
 * Judge a request as the client sent it: httpd normalises the path before translate_name, and
 * what it would quietly repair or answer with 400 (which a node takes for its file) is answered
 * here with 404.
 */
static int walt_vpn_post_read_first(request_rec *r)
{
    walt_vpn_request *request = judge(r);

    promise_end_reading(r);
    if (!request) {
        note_misnamed(r);
        return DECLINED;
    }
    if (r->method_number == M_GET) {
        const char *range = apr_table_get(r->headers_in, "Range");

        if (!apr_table_get(r->headers_in, "If-Range"))
            request->resume_from = resumed_byte(range);
        request->other_range = range && request->resume_from == 0
                               && ap_cstr_casecmp(range, "bytes=0-") != 0;
    }
    boot_watch_judged(r);
    return DECLINED;
}

/* mod_md's MDRequireHttps redirects in this very hook, where nothing can be claimed yet.  What
 * has no path it lets alone: between these two ours has none. */
static int walt_vpn_before_md(request_rec *r)
{
    walt_vpn_request *request = walt_vpn_request_of(r);

    if (request) {
        request->path = r->parsed_uri.path;
        r->parsed_uri.path = NULL;
    }
    return DECLINED;
}

static int walt_vpn_after_md(request_rec *r)
{
    const walt_vpn_request *request = walt_vpn_request_of(r);

    if (request)
        r->parsed_uri.path = request->path;
    return DECLINED;
}

/* Refuse what was judged so, or make sure that access rules see the rest of it as it is. */
static int walt_vpn_post_read_last(request_rec *r)
{
    const walt_vpn_request *request = walt_vpn_request_of(r);
    boot_reason why;
    int status;

    if (!request)
        return DECLINED;
    if ((status = refusal(r, request, &why))) {
        boot_watch_refused(r, status, why);
        return status;
    }
    /* Where ProxyRequests is on, mod_proxy takes a target in absolute form for a forward proxy's
     * and puts the whole of it in r->uri, which no <Location> would match any more. */
    if (r->proxyreq == PROXYREQ_PROXY) {
        r->proxyreq = PROXYREQ_NONE;
        r->uri = r->parsed_uri.path;
        r->filename = NULL;
        r->handler = NULL;
    }
    return DECLINED;
}

/*
 * Site-wide redirects and rewrites that stand in a <Location> or <If> act in fixups, where nothing
 * can be claimed ahead of them: take them out of this request's configuration.
 */
static int walt_vpn_post_perdir_config(request_rec *r)
{
    static const char *const redirecting[] = { "mod_alias.c", "mod_rewrite.c" };
    ap_conf_vector_t *config;
    apr_size_t i;

    if (!walt_vpn_request_of(r))
        return OK;
    config = ap_merge_per_dir_configs(r->pool, r->per_dir_config,
                                      ap_create_per_dir_config(r->pool));
    for (i = 0; i < sizeof(redirecting) / sizeof(redirecting[0]); i++) {
        module *m = ap_find_linked_module(redirecting[i]);

        if (m)
            ap_set_module_config(config, m, m->create_dir_config(r->pool, NULL));
    }
    r->per_dir_config = config;
    return OK;
}

/* Counts the body, in f->ctx, as it comes in; mod_proxy takes APR_ENOSPC for 413. */
static apr_status_t filter_body(ap_filter_t *f, apr_bucket_brigade *bb, ap_input_mode_t mode,
                                apr_read_type_e block, apr_off_t readbytes)
{
    int is_enroll = walt_vpn_request_of(f->r)->boot.file == BOOT_FILE_ENROLL;
    apr_off_t length, *received = f->ctx;
    apr_status_t rv = ap_get_brigade(f->next, bb, mode, block, readbytes);

    if (rv != APR_SUCCESS || mode == AP_MODE_SPECULATIVE
        || (rv = apr_brigade_length(bb, 0, &length)) != APR_SUCCESS)
        return rv;
    *received += length > 0 ? length : 0;
    if (*received <= (is_enroll ? BOOT_ENROLL_MAX : CHUNKED_MAX))
        return APR_SUCCESS;
    boot_watch_refused(f->r, HTTP_REQUEST_ENTITY_TOO_LARGE,
                       is_enroll ? REASON_LARGE_ENROLL : REASON_LARGE_CHUNKED);
    return APR_ENOSPC;
}

static void walt_vpn_insert_filter(request_rec *r)
{
    const walt_vpn_request *request = walt_vpn_request_of(r);

    if (request && (request->boot.file == BOOT_FILE_ENROLL
                    || apr_table_get(r->headers_in, "Transfer-Encoding")))
        ap_add_input_filter_handle(body_filter, apr_pcalloc(r->pool, sizeof(apr_off_t)), r,
                                   r->connection);
}

/* What the site makes of file names (mod_mime's handlers, codings, languages) is said of its own
 * files, not of the WalT server's. */
static int walt_vpn_type_checker(request_rec *r)
{
    return walt_vpn_request_of(r) ? OK : DECLINED;
}

/* Claim what was judged to be ours, whoever claimed it before. */
static int walt_vpn_translate(request_rec *r)
{
    const walt_vpn_request *request = walt_vpn_request_of(r);

    if (!request)
        return DECLINED;
    walt_worker_take(r, request->entrypoint, request->boot.file != BOOT_FILE_ENROLL
                                             && request->boot.file != BOOT_FILE_OTHER,
                     request->rest, request->query);
    return OK;
}

static void register_hooks(apr_pool_t *p)
{
    static const char *const md[] = { "mod_md.c", NULL };

    (void)p;
    ap_hook_pre_connection(walt_vpn_pre_connection, NULL, NULL, APR_HOOK_MIDDLE);
    ap_hook_create_request(walt_vpn_create_request, NULL, NULL, APR_HOOK_MIDDLE);
    /* Before whatever changes the request. */
    ap_hook_post_read_request(walt_vpn_post_read_first, NULL, NULL, APR_HOOK_REALLY_FIRST);
    ap_hook_post_read_request(walt_vpn_before_md, NULL, md, APR_HOOK_MIDDLE);
    ap_hook_post_read_request(walt_vpn_after_md, md, NULL, APR_HOOK_MIDDLE);
    /* Behind mod_remoteip's (FIRST), so that a refusal names the client, and mod_proxy's
     * (FIRST). */
    ap_hook_post_read_request(walt_vpn_post_read_last, NULL, NULL, APR_HOOK_REALLY_LAST);
    /* Before mod_rewrite's and mod_proxy's (FIRST) and mod_alias's (MIDDLE): a site-wide
     * ProxyPass, Alias or redirect to https must not take a node's request. */
    ap_hook_translate_name(walt_vpn_translate, NULL, NULL, APR_HOOK_REALLY_FIRST);
    ap_hook_post_perdir_config(walt_vpn_post_perdir_config, NULL, NULL, APR_HOOK_REALLY_LAST);
    /* Before mod_mime's (MIDDLE). */
    ap_hook_type_checker(walt_vpn_type_checker, NULL, NULL, APR_HOOK_REALLY_FIRST);
    body_filter = ap_register_input_filter("WALT_VPN_BODY", filter_body, NULL, AP_FTYPE_RESOURCE);
    ap_hook_insert_filter(walt_vpn_insert_filter, NULL, NULL, APR_HOOK_MIDDLE);
    own_pool_register_hooks();
    directives_register_hooks();
    site_check_register_hooks();
    promise_register_hooks();
    headers_register_hooks();
    relay_register_hooks();
    walt_query_register_hooks();
    walt_address_register_hooks();
    question_line_register_hooks();
    boot_files_register_hooks();
    crew_register_hooks();
    room_register_hooks();
    server_fault_register_hooks();
    boot_watch_register_hooks();
    status_page_register_hooks();
    metrics_page_register_hooks();
}

module AP_MODULE_DECLARE_DATA walt_vpn_module = {
    STANDARD20_MODULE_STUFF,
    NULL,
    NULL,
    directives_create_config,
    directives_merge_config,
    directives_table,
    register_hooks,
    AP_MODULE_FLAG_NONE
};
