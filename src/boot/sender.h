/*
 * boot/sender.h: sending an image to a node, whole or while it is fetched.
 */
#ifndef WALT_VPN_BOOT_SENDER_H
#define WALT_VPN_BOOT_SENDER_H

#include "ledger/fetches.h"
#include "request/record.h"
#include "store/cache.h"

typedef enum {
    SENDER_WAITS,               /* for more of the image */
    SENDER_HOLDS,               /* what the node does not take now */
    SENDER_DONE,                /* all of the image has been passed on */
    SENDER_ANSWERS,             /* with sender->status, without the image */
    SENDER_BROKEN,              /* the rest will not come */
    SENDER_GONE                 /* the node is gone */
} sender_state;

/* An image on its way to a node.  In r->pool. */
typedef struct {
    request_rec *r;
    walt_vpn_request *request;
    const char *digest;
    apr_file_t *file;           /* in the connection's pool, closed when r->pool goes */
    apr_uint64_t fetch;         /* of which it is; 0: the image is verified */
    int needs;                  /* images may be evicted for it */
    apr_off_t size;             /* bytes of the image */
    apr_off_t at;               /* the next one to pass on */
    apr_bucket_brigade *bb;     /* for what is passed on, used again and again */
    int begun;                  /* the head has been passed on */
    int is_orphaned;            /* somebody is to go on with the fetch */
    sender_state state;         /* after the last advance */
    int status;                 /* of SENDER_ANSWERS */
    apr_time_t passed;          /* when something was passed on last */
} image_sender;

/* Send a verified image, or the rest of it.  Returns what the handler returns. */
int image_sender_send(request_rec *r, walt_vpn_request *request, const image *found);

/* May r be sent an image piece by piece?  Only the plain way of a node is sound for that. */
int image_sender_can_grow(const request_rec *r, const walt_vpn_request *request);

/* Begin to send an image that is fetched, which is row as of now, and for which others may be
 * evicted if the node needs it.  NULL: its file can't be opened. */
image_sender *image_sender_follow(request_rec *r, walt_vpn_request *request, int needs,
                                  const fetch_row *row);

/* Begin to send a verified image piece by piece. */
image_sender *image_sender_begin(request_rec *r, walt_vpn_request *request, const image *found);

/* Pass on what is there and what the node takes, without waiting.  Nothing is to be done with a
 * sender after another state than the first two. */
sender_state image_sender_advance(image_sender *sender);

/* End the reply as the sender's state is.  Returns what the handler returns. */
int image_sender_end(image_sender *sender);

/* Hand the kernel what httpd's core has set aside for this connection, as the MPM does it. */
void image_sender_push(conn_rec *c);

#endif
