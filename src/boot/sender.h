/*
 * boot/sender.h: sending an image to a node, whole or while it is fetched.
 */
#ifndef WALT_VPN_BOOT_SENDER_H
#define WALT_VPN_BOOT_SENDER_H

#include "ledger/fetches.h"
#include "request/record.h"
#include "store/cache.h"

/* An image on its way to a node.  In r->pool. */
typedef struct {
    request_rec *r;
    walt_vpn_request *request;
    image image;
    apr_off_t at;               /* the next byte to pass on */
    apr_bucket_brigade *bb;     /* for what is passed on, used again and again */
    int begun;                  /* the head has been passed on */
    apr_time_t passed;          /* when something was passed on last */
} image_sender;

/* Send a verified image, or the rest of it.  Returns what the handler returns. */
int image_sender_send(request_rec *r, walt_vpn_request *request, const image *found);

/* May r be sent an image piece by piece?  Only the plain way of a node is sound for that. */
int image_sender_can_grow(const request_rec *r, const walt_vpn_request *request);

/* Begin to send a verified image piece by piece. */
image_sender *image_sender_begin(request_rec *r, walt_vpn_request *request, const image *found);

/* Begin to send an image that is fetched, which is row as of now.  NULL: its file can't be
 * opened. */
image_sender *image_sender_follow(request_rec *r, walt_vpn_request *request, const fetch_row *row);

/* Pass on what the node may have and takes, without waiting.  The image is fetched, which is row as
 * of now; NULL: it is verified.  Returns what the handler returns, or SUSPENDED: not all is passed
 * on yet. */
int image_sender_advance(image_sender *sender, const fetch_row *row);

/* Hand the kernel what httpd's core has set aside for this connection, as the MPM does it.  0: the
 * node is yet to take some of it. */
int image_sender_push(conn_rec *c);

#endif
