/*
 * store/part.h: an image on its way into the folder.
 */
#ifndef WALT_VPN_STORE_PART_H
#define WALT_VPN_STORE_PART_H

#include "store/folder.h"

#include "apr_file_io.h"

#include <openssl/evp.h>

/* How it stands with an image that is wanted. */
typedef enum {
    IMAGE_READY,                /* it is there, whole and verified */
    IMAGE_MISSING,              /* the caller is to fetch it, alone among all processes */
    IMAGE_GROWING,              /* it is being fetched, and the caller may be sent what is there */
    IMAGE_BROKEN,               /* the fetch did not bring it */
    IMAGE_NO_ROOM,              /* the folder can't take it: relay */
    IMAGE_LATE                  /* not decided yet; of a wait: it lasted too long */
} image_state;

/* The file of an image on its way, as one request has it open.  In that request's pool. */
typedef struct {
    const open_folder *open;
    const char *digest;
    int fd;                     /* -1: closed */
    int place;                  /* of its fetch in the ledger; -1: none (yet) */
    /* Of the one who fetches it: */
    apr_off_t size;             /* bytes that it will have */
    apr_off_t position;         /* bytes of this try so far */
    apr_off_t known;            /* bytes of an earlier try in the file, which nodes may have */
    apr_off_t written;          /* bytes of this try that the file has: those before the buffer's */
    apr_time_t wrote;           /* when that became more */
    apr_pool_t *scratch;        /* of the buffers; destroyed when all is written */
    char *buffer;               /* for what comes next */
    apr_size_t buffered;        /* bytes in it */
    char *compared;             /* for what an earlier try brought */
    EVP_MD_CTX *hash;           /* of all bytes of this try */
} image_part;

/* Begin with no file open. */
void image_part_init(image_part *part, const open_folder *open, const char *digest);

/* Close what is open, and free what is needed for fetching.  It may be called again. */
void image_part_close(image_part *part);

/* Open the file, making it if need be.  0, or an errno. */
int image_part_open(image_part *part);

/*
 * One look at a file that another may be fetching.  IMAGE_MISSING: it is the caller's now, locked;
 * IMAGE_GROWING: its size is known and there is a place in the ledger to follow it by.
 */
image_state image_part_look(image_part *part);

/* Somebody else has published it: let the file go that look() made the caller's. */
void image_part_drop(image_part *part);

/* The caller does not fetch it (any more), but another may: let it go with what is in it. */
void image_part_leave(image_part *part);

/* ---- for the one who fetches it */

/* The caller begins to fetch it for this entrypoint, or goes on with a dead process's fetch. */
void image_part_begin(image_part *part, int entrypoint);

/* A try brings an image of this many bytes.  IMAGE_MISSING: there is room for it; IMAGE_NO_ROOM. */
image_state image_part_reserve(image_part *part, apr_off_t size);

/* The next bytes of this try. */
apr_status_t image_part_take(image_part *part, const char *bytes, apr_size_t length);

/* No more come for now: have what there is in the file, unless it is little. */
apr_status_t image_part_pause(image_part *part);

/* All bytes of this try have come: are they what the digest says? */
int image_part_is_right(image_part *part);

/* This try has ended: is there a point in another one that begins again? */
int image_part_can_try_again(const image_part *part);

/*
 * All bytes are right: give the file its name in the folder, and let whoever is sent the image have
 * the rest.  IMAGE_READY, or it was abandoned: IMAGE_NO_ROOM; IMAGE_BROKEN if somebody has removed
 * the file.
 */
image_state image_part_publish(image_part *part);

/* See to it that a published image lasts, which takes the disk a while, and close it.  A file that
 * was not written well after all is found out by its digest, after a loss of power too. */
void image_part_settle(image_part *part);

/* The fetch failed: tell those who wait why (IMAGE_BROKEN or IMAGE_NO_ROOM). */
void image_part_abandon(image_part *part, image_state why);

/* Has this process no descriptor left, so that its fetch could not even connect? */
int image_part_exhausted(const image_part *part);

/* ---- for those who are sent what is there */

/* Open the file once more, for reading, in pool.  APR_ENOENT: it has another name by now. */
apr_status_t image_part_open_again(const image_part *part, apr_int32_t flags, apr_pool_t *pool,
                                   apr_file_t **file);

#endif
