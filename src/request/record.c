/*
 * request/record.c: the record of a request that an entrypoint has claimed.
 */
#include "request/record.h"

#include "apr_strings.h"

const char *const walt_vpn_answer_names[WALT_VPN_ANSWERS] = {
    "relayed", "cached", "fetched", "streamed", "waited", "refused", "failed"
};

const char *const boot_file_names[BOOT_FILES] = {
    "other", "server", "boot.sig", "boot.img", "enroll"
};

walt_vpn_request *walt_vpn_request_of(const request_rec *r)
{
    return ap_get_module_config(r->request_config, &walt_vpn_module);
}

int walt_vpn_request_has_body(const request_rec *r)
{
    const char *length = apr_table_get(r->headers_in, "Content-Length");

    /* What has neither in HTTP/2 was given a Transfer-Encoding by mod_http2.  A length that is no
     * number httpd has refused. */
    return apr_table_get(r->headers_in, "Transfer-Encoding") || (length && apr_atoi64(length) != 0);
}

walt_vpn_request *walt_vpn_request_make(request_rec *r)
{
    walt_vpn_request *request = apr_pcalloc(r->pool, sizeof(*request));

    ap_set_module_config(r->request_config, &walt_vpn_module, request);
    return request;
}
