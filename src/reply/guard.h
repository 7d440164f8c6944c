/*
 * reply/guard.h: the promises that every reply to a node keeps.
 */
#ifndef WALT_VPN_REPLY_GUARD_H
#define WALT_VPN_REPLY_GUARD_H

#include "request/record.h"

/*
 * From now until the reply's last byte is in the kernel's hands, whatever closes the connection
 * of r (a timeout, a signal, a crash) resets it: a node takes a clean close short of
 * Content-Length for the end and hangs for good (facts.md 1).
 */
void reply_guard_promise(request_rec *r);

/*
 * The same for what may turn out to be a request of a node: from before its first byte is read
 * until it is known whose it is.  An end of reading without a beginning does nothing.
 */
void reply_guard_begin_reading(request_rec *r);
void reply_guard_end_reading(request_rec *r);

/* Error replies to r are this module's own short texts, whatever ErrorDocument says. */
void reply_guard_own_errors(request_rec *r);

/* The reply to r is a local file: nothing is relayed, and httpd's own filters serve the ranges of
 * it that are no resumed download. */
void reply_guard_is_local(request_rec *r);

/*
 * Make the reply to r the rest of a file of this many bytes, from the request's resume_from on: a
 * 206 whose body the caller sends.  Not left to httpd's filter, because a site may forbid ranges,
 * and a 200 would be appended to what the node holds.  OK, or HTTP_RANGE_NOT_SATISFIABLE.
 */
int reply_guard_resume(request_rec *r, apr_off_t length);

/*
 * The status of an error reply to a request: this one, but 404 for a resumed download.  The body of
 * any other would be appended to what the node holds; 404 makes its boot start over at once
 * (facts.md 1).
 */
int reply_guard_error(const walt_vpn_request *request, int status);

/*
 * Nothing (more) of a local reply to r is passed on, of which the head was, or was not: its
 * connection is reset.  Without a head it is logged with 504.  Returns what the handler returns.
 */
int reply_guard_give_up(request_rec *r, int begun);

/* The reset itself, at once, by a thread that goes on with other things and closes the connection
 * later. */
void reply_guard_reset_now(request_rec *r);

void reply_guard_register_hooks(void);

#endif
