/*
 * boot/fetch.h: fetching an image from the WalT server.
 */
#ifndef WALT_VPN_BOOT_FETCH_H
#define WALT_VPN_BOOT_FETCH_H

#include "ledger/fetches.h"
#include "request/record.h"

/* What a fetch calls in the thread that waits for it, whenever bytes have come. */
typedef void (*fetch_step)(void *data);

/*
 * Fetch the image with this digest, which the node of r needs and whose fetch was claimed, into the
 * folder of its entrypoint: in a thread of its own, and until the fetch has ended for all.  Whoever
 * wants the image follows the fetch.  A fetch in a thread of its own outlives r.  Without such a
 * thread the image is fetched in this thread, which calls step(data) meanwhile.
 */
void image_fetch(request_rec *r, const char *digest, apr_uint64_t id, fetch_step step, void *data);

#endif
