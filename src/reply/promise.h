/*
 * reply/promise.h: no node sees a clean close short of Content-Length.
 */
#ifndef WALT_VPN_REPLY_PROMISE_H
#define WALT_VPN_REPLY_PROMISE_H

#include "request/record.h"

/*
 * From now until the reply's last byte is in the kernel's hands, whatever closes the connection
 * of r (a timeout, a signal, a crash) resets it: a node takes a clean close short of
 * Content-Length for the end and hangs for good (facts.md 1).
 */
void promise_make(request_rec *r);

/*
 * The same for what may turn out to be a request of a node: from before its first byte is read
 * until it is known whose it is.  An end of reading without a beginning does nothing.
 */
void promise_begin_reading(request_rec *r);
void promise_end_reading(request_rec *r);

/* The reset, for a reply that can't be completed; when the caller returns the connection is
 * closed. */
void promise_reset(request_rec *r);

void promise_register_hooks(void);

#endif
