/*
 * image_cache.h: the folder of verified boot images.
 */
#ifndef WALT_VPN_IMAGE_CACHE_H
#define WALT_VPN_IMAGE_CACHE_H

#include "walt_vpn.h"

#include "apr_file_io.h"

/* Length of an image's name: its SHA-256 in lower-case hexadecimal digits. */
#define IMAGE_DIGEST_LENGTH 64

/* What an entrypoint keeps its images in.  Lives in pconf. */
typedef struct image_folder {
    const char *root;           /* absolute path of the folder */
    apr_off_t size;             /* most bytes that it may hold */
} image_folder;

typedef enum {
    IMAGE_READY,                /* it is there, whole and verified */
    IMAGE_MISSING,              /* the caller is to fetch it, alone among all processes */
    IMAGE_BROKEN,               /* the fetch that was waited for did not bring it */
    IMAGE_NO_ROOM,              /* the folder can't take it: relay */
    IMAGE_LATE                  /* the wait lasted too long; the fetch goes on */
} image_state;

/* An image in the folder, or one on its way there. */
typedef struct image image;

/* What is wrong with a folder and what to type, in words; NULL: it can be used or made. */
const char *image_cache_fault(apr_pool_t *p, const image_folder *folder);

/* Make the folder if it is not there, owned by the user that the children run as. */
apr_status_t image_cache_make(const image_folder *folder);

/* Called in each child: what it knows of files it has verified starts empty. */
apr_status_t image_cache_child_init(apr_pool_t *pchild);

/* Clear what fetches of dead processes left behind. */
void image_cache_sweep(apr_pool_t *p, const image_folder *folder);

/*
 * Look for the image with this digest, and wait for it until the deadline while another request,
 * in whatever process, fetches it.  *found is allocated in r->pool and set for IMAGE_READY (to be
 * sent) and IMAGE_MISSING (to be reserved, written and finished or abandoned by the caller);
 * *waited tells whether another's fetch was waited for.
 */
image_state image_cache_find(request_rec *r, const image_folder *folder, const char *digest,
                             apr_time_t deadline, image **found, int *waited);

/* Make room for a missing image of this many bytes; IMAGE_MISSING: there is room. */
image_state image_cache_reserve(image *missing, apr_off_t size);

/* Append bytes to a missing image. */
apr_status_t image_cache_write(image *missing, const char *bytes, apr_size_t length);

/* All bytes are written: verify and publish.  IMAGE_READY, IMAGE_BROKEN or IMAGE_NO_ROOM. */
image_state image_cache_finish(image *missing);

/* Has this process no descriptor left, so that its fetch could not even connect? */
int image_cache_exhausted(const image *missing);

/* The fetch failed: tell those who wait why (IMAGE_BROKEN or IMAGE_NO_ROOM). */
void image_cache_abandon(image *missing, image_state why);

/* An image in the folder. */
typedef struct {
    const char *digest;
    apr_off_t size;             /* bytes */
    apr_time_t used;            /* when it was last sent */
} image_listing;

/* The images in the folder, as image_listing, the last used first; empty if it can't be read. */
apr_array_header_t *image_cache_list(apr_pool_t *p, const image_folder *folder);

/* A ready image's open file, in the pool of the request that it was found for, and its size. */
apr_file_t *image_cache_file(const image *ready);
apr_off_t image_cache_size(const image *ready);

#endif
