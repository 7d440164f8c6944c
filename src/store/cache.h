/*
 * store/cache.h: finding the image that a node wants.
 */
#ifndef WALT_VPN_STORE_CACHE_H
#define WALT_VPN_STORE_CACHE_H

#include "store/part.h"

/* An image in a folder, or one on its way there, as one request has it.  In r->pool. */
typedef struct {
    request_rec *r;
    open_folder open;           /* closed for an image that is ready */
    const char *digest;
    image_part part;            /* of one on its way */
    apr_file_t *file;           /* of one that is ready; closed when r->pool goes */
    apr_off_t size;             /* bytes of that */
    int waited;                 /* another one's fetch was waited for */
} image;

/*
 * Look for the image with this digest.  IMAGE_READY: it is there, to be sent; IMAGE_MISSING: the
 * caller is to fetch it, alone among all processes; IMAGE_GROWING, only if the caller can use that:
 * another one fetches it.  While none of these is so, or an image that is fetched can't be used as
 * it grows, it waits until the deadline.
 */
image_state image_cache_find(request_rec *r, const image_folder *folder, const char *digest,
                             int can_grow, apr_time_t deadline, image **found);

/* A missing image was published: open it, or close what was needed to fetch it.  Returns
 * IMAGE_READY or IMAGE_BROKEN. */
image_state image_cache_reopen(image *image);

/* Close all but the file of a ready image: a slow node's download holds that alone. */
void image_cache_close(image *image);

/* A file that is sent in reply to r is in its connection's pool: close it when r->pool goes. */
void image_cache_close_with(request_rec *r, apr_file_t *file);

/* How files of the folder are opened for r: the folder is a local one, so sendfile is right unless
 * the administrator says no. */
apr_int32_t image_cache_open_flags(const request_rec *r);

#endif
