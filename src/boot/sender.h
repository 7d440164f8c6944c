/*
 * boot/sender.h: sending an image to a node, whole or while it is fetched.
 */
#ifndef WALT_VPN_BOOT_SENDER_H
#define WALT_VPN_BOOT_SENDER_H

#include "request/record.h"
#include "store/cache.h"

typedef enum {
    SENDER_WAITS,               /* for more of the image */
    SENDER_HOLDS,               /* what the node does not take now */
    SENDER_DONE,                /* all of the image has been passed on */
    SENDER_ANSWERS,             /* with sender->status, without the image */
    SENDER_BROKEN,              /* the rest will not come */
    SENDER_CALLED,              /* the node is to come again and have the rest fetched */
    SENDER_GONE                 /* the node is */
} sender_state;

/* An image on its way to a node.  In r->pool. */
typedef struct {
    request_rec *r;
    walt_vpn_request *request;
    const char *digest;
    apr_file_t *file;           /* in the connection's pool, closed when r->pool goes */
    int fd;                     /* of that */
    int place;                  /* of its fetch in the ledger */
    apr_uint64_t run;           /* of that: what it is sent comes of this one */
    apr_off_t size;             /* bytes of the image, as far as it is known */
    apr_off_t at;               /* the next one to pass on */
    int begun;                  /* the head has been passed on */
    sender_state state;         /* after the last advance */
    int status;                 /* of SENDER_ANSWERS */
    apr_time_t passed;          /* when something was passed on last */
    apr_time_t looked;          /* when it was last seen that somebody fetches */
} image_sender;

/* Send a verified image, or the rest of it.  Returns what the handler returns. */
int image_sender_send(request_rec *r, walt_vpn_request *request, const image *image);

/* May r be sent an image while it is fetched?  Only the plain way of a node is sound for that. */
int image_sender_can_grow(const request_rec *r, const walt_vpn_request *request);

/* Begin to send an image that is being fetched, by this request or by another.  NULL: that is over
 * by now. */
image_sender *image_sender_open(request_rec *r, walt_vpn_request *request, const image *image);

/* Pass on what is there and what the node takes, without waiting.  Nothing is to be done with a
 * sender after another state than the first two. */
sender_state image_sender_advance(image_sender *sender);

/* Advance until it ends, in this thread. */
sender_state image_sender_stay(image_sender *sender);

/* End the reply as the sender's state is.  Returns what the handler returns. */
int image_sender_end(image_sender *sender);

/* Hand the kernel what httpd's core has set aside for this connection, as the MPM does it. */
void image_sender_push(conn_rec *c);

/* How often a sender that waits is to be advanced. */
#define SENDER_LOOK apr_time_from_msec(20)

#endif
