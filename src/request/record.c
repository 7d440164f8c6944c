/*
 * request/record.c: the record of a request that an entrypoint has claimed.
 */
#include "request/record.h"

walt_vpn_request *walt_vpn_request_of(const request_rec *r)
{
    return ap_get_module_config(r->request_config, &walt_vpn_module);
}

walt_vpn_request *walt_vpn_request_make(request_rec *r)
{
    walt_vpn_request *request = apr_pcalloc(r->pool, sizeof(*request));

    ap_set_module_config(r->request_config, &walt_vpn_module, request);
    return request;
}
