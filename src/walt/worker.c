/*
 * walt/worker.c: handing a request to mod_proxy_http, whose worker leads to the WalT server.
 */
#include "walt/worker.h"

#include "apr_strings.h"

/*
 * Firmware takes the first status line for the answer.  And what it reads is compared, kept, and
 * given to others: a proxy on the way is not to encode it because this client could decode it.
 */
void walt_worker_take(request_rec *r, const walt_vpn_entrypoint *entrypoint, int is_for_firmware,
                      const char *rest, const char *query)
{
    r->filename = apr_pstrcat(r->pool, "proxy:", entrypoint->url, rest, query ? "?" : "", query,
                              NULL);
    r->handler = "proxy-server";
    r->proxyreq = PROXYREQ_REVERSE;
    apr_table_setn(r->notes, "proxy-nocanon", "1");
    /* The WalT server answers a chunked request body with 400 (facts.md 2). */
    apr_table_setn(r->subprocess_env, "proxy-sendcl", "1");
    if (is_for_firmware) {
        apr_table_setn(r->subprocess_env, "proxy-interim-response", "Suppress");
        apr_table_unset(r->headers_in, "Accept-Encoding");
    }
}
