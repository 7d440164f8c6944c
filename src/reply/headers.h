/*
 * reply/headers.h: the head of a reply to a node, as its firmware can read it.
 */
#ifndef WALT_VPN_REPLY_HEADERS_H
#define WALT_VPN_REPLY_HEADERS_H

#include "request/record.h"

/* Error replies to r are this module's own short texts, whatever ErrorDocument says. */
void headers_own_errors(request_rec *r);

/* Does firmware read the reply to this request?  A refused request may be a node's, misspelt. */
int headers_are_for_firmware(const walt_vpn_request *request);

/*
 * Make the reply to r the rest of a file of this many bytes, from the request's resume_from on: a
 * 206 whose body the caller sends.  Not left to httpd's filter, because a site may forbid ranges,
 * and a 200 would be appended to what the node holds.  OK, or HTTP_NOT_FOUND: it has no byte there,
 * and the body of a 416 would be appended as well.
 */
int headers_resume(request_rec *r, apr_off_t length);

/* Do these lines of a 206 say that its body, of this length, is the rest of a file from that byte
 * on, to its end? */
int headers_are_rest(apr_pool_t *p, const apr_table_t *headers, apr_off_t from, apr_off_t length);

/*
 * The status of an error reply to a request: this status, but 404 for a resumed download.  The body
 * of any other status would be appended to what the node holds; 404 makes its boot start over at
 * once (facts.md 1).
 */
int headers_error(const walt_vpn_request *request, int status);

/* Is this a header line in the sense of RFC 9110?  For apr_table_do: 0 ends the walk. */
int headers_is_line(void *data, const char *name, const char *value);

/* Leave out of the head that the WalT server gave for r what is no header line: httpd would make an
 * error of it, without a length. */
void headers_drop_what_is_none(request_rec *r);

/* The head of the reply to r, an error's too, is tidied for firmware when it passes. */
void headers_add_filter(request_rec *r);

void headers_register_hooks(void);

#endif
