/*
 * store/cache.h: the verified images in the folder.
 */
#ifndef WALT_VPN_STORE_CACHE_H
#define WALT_VPN_STORE_CACHE_H

#include "request/record.h"
#include "store/folder.h"

#include "apr_file_io.h"

/* It is not known yet whether the image is what its name says. */
#define IMAGE_AWAITED (APR_OS_START_USERERR + 2)

/* An image that is in the folder, open to be sent to one request. */
typedef struct {
    const char *digest;
    apr_file_t *file;           /* in the connection's pool; closed when the request's goes */
    apr_off_t size;             /* bytes */
} image;

/*
 * Open the image with this digest for r, whose entrypoint has a folder; it is used now.
 * APR_ENOENT: it is not there, or it was damaged and was removed.  IMAGE_AWAITED: another thread of
 * the process compares it with its digest (image_digest_is_awaited()).  Other errors are trouble
 * with the folder, which was said.
 */
apr_status_t image_cache_open(request_rec *r, const char *digest, image *found);

/* A file that is sent in reply to r is in its connection's pool: close it when r->pool goes, and
 * the connection, if it has seen many. */
void image_cache_close_with(request_rec *r, apr_file_t *file);

/* How files of the folder are opened for r: the folder is a local one, so sendfile is right unless
 * the administrator says no. */
apr_int32_t image_cache_open_flags(const request_rec *r);

#endif
