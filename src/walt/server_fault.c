/*
 * walt/server_fault.c: what is wrong with the WalT server, as the administrator should hear it.
 *
 * httpd takes a name that does not resolve for an error of its own, and what another web server at
 * its address says for an answer.
 */
#include "walt/server_fault.h"
#include "ledger/counters.h"
#include "ledger/troubles.h"
#include "reply/headers.h"
#include "report/watch.h"
#include "walt/address.h"
#include "walt/signature.h"

#include "apr_optional_hooks.h"
#include "apr_strings.h"
#include "mod_proxy.h"

/* The kind of trouble that it is when a boot.sig is none. */
#define TROUBLE_NO_SIGNATURE 1

/* What the trouble with an entrypoint's WalT server is known under. */
static const char *server_of(const request_rec *r, const walt_vpn_entrypoint *entrypoint)
{
    return apr_pstrcat(r->pool, "server ", entrypoint->url, NULL);
}

void server_fault_is_over(const request_rec *r, const walt_vpn_request *request)
{
    (void)troubles_forget(server_of(r, request->entrypoint));
}

int server_fault_no_signature(request_rec *r, const walt_vpn_request *request)
{
    const walt_vpn_entrypoint *entrypoint = request->entrypoint;

    counters_of(r)->no_signatures++;
    if (!troubles_met_before(server_of(r, entrypoint), TROUBLE_NO_SIGNATURE))
        ap_log_rerror(APLOG_MARK, APLOG_WARNING, 0, r, "%s: what answers there for boot.sig is not "
                      "a signature: probably another web server, or a captive portal in between. "
                      "Nodes get 404; look at what \"curl %s%s\" gives from here",
                      entrypoint->where, entrypoint->url,
                      boot_signature_path(r->pool, request->boot.node, "boot.sig"));
    boot_watch_answer(r, WALT_VPN_FAILED, "the WalT server's boot.sig is none");
    /* With any other status its firmware would take the body for the file, and only find out later
     * (facts.md 1). */
    return HTTP_NOT_FOUND;
}

/* mod_proxy gives 500 for a name that does not resolve.  It is said in its words which, and why. */
static int say_unresolved(request_rec *r, const walt_vpn_request *request)
{
    apr_pool_t *p = r->pool;
    apr_sockaddr_t *address;
    char word[120];
    apr_status_t rv = walt_address_fault(request->entrypoint);

    if (rv == APR_SUCCESS)      /* mod_proxy has looked it up itself */
        rv = apr_sockaddr_info_get(&address, request->entrypoint->host, APR_UNSPEC,
                                   request->entrypoint->port, 0, p);
    apr_table_setn(r->subprocess_env, "WALT_VPN_REASON",
                   apr_pstrcat(p, request->entrypoint->where, " does not resolve: ",
                               rv == APR_SUCCESS ? "it did not a moment ago"
                                                 : apr_strerror(rv, word, sizeof(word)), NULL));
    return HTTP_SERVICE_UNAVAILABLE;
}

/* mod_proxy is done with a request, a client's or the entrypoint's own, and this is what becomes of
 * it. */
static int walt_vpn_request_status(int *status, request_rec *r)
{
    const walt_vpn_request *request = walt_vpn_request_of(r);
    const char *notes = apr_table_get(r->notes, "error-notes");

    if (!request || !ap_is_HTTP_ERROR(*status))
        return DECLINED;
    if (*status == HTTP_INTERNAL_SERVER_ERROR && notes && strstr(notes, "DNS lookup"))
        *status = say_unresolved(r, request);
    else if (*status == HTTP_SERVICE_UNAVAILABLE)
        walt_address_doubt(request->entrypoint);
    if (!request->question)
        *status = headers_error(request, *status);
    return OK;
}

void server_fault_register_hooks(void)
{
    APR_OPTIONAL_HOOK(proxy, request_status, walt_vpn_request_status, NULL, NULL, APR_HOOK_MIDDLE);
}
