/*
 * boot/fetch.h: fetching an image from the WalT server.
 */
#ifndef WALT_VPN_BOOT_FETCH_H
#define WALT_VPN_BOOT_FETCH_H

#include "boot/sender.h"
#include "store/cache.h"

/*
 * Fetch a missing image, in this thread, for whoever wants it.  The node of r is sent it meanwhile
 * if that is sound; *sender is set as soon as that has begun, and holds what is left to be done for
 * it.  *tries counts the questions of a request.  IMAGE_READY: it is in the folder; IMAGE_BROKEN or
 * IMAGE_NO_ROOM.
 */
image_state image_fetch(request_rec *r, walt_vpn_request *request, image *missing,
                        image_sender **sender, int *tries);

#endif
