/*
 * store/part.h: the file of an image on its way into the folder.
 */
#ifndef WALT_VPN_STORE_PART_H
#define WALT_VPN_STORE_PART_H

#include "store/folder.h"

#include "apr_file_io.h"

#include <openssl/evp.h>

/* What a try brings is not what the file has: the fetch goes on in a new file. */
#define PART_DIFFERS (APR_OS_START_USERERR + 1)

/* The file as its fetch has it. */
typedef struct {
    const open_folder *open;
    const char *digest;
    int fd;                     /* -1: closed; locked, which is a sign of life */
    apr_off_t size;             /* bytes that it will have; 0: no room was made yet */
    apr_off_t position;         /* bytes that the try has brought, and those that it began behind */
    apr_off_t written;          /* bytes that are in the file */
    apr_time_t wrote;           /* when that became more */
    char *buffer;               /* for what comes next; while the try brings what is in the file
                                 * already, for that */
    int evicted;                /* images that made room for it */
    int (*is_needed)(void *data);       /* by somebody for whom images may be evicted? */
    void *data;
    EVP_MD_CTX *hash;           /* of the bytes in the file and in the buffer */
} image_part;

/*
 * Open the file of this image, or make it, with what an earlier fetch has left in it: part->written
 * bytes, whose digest this computes.  Nodes hold "held" bytes of it.  APR_EBUSY: a process that
 * lets it go has it still; other errors are trouble with the folder, which was said.
 */
apr_status_t image_part_open(image_part *part, const open_folder *open, const char *digest,
                             apr_off_t held, int (*is_needed)(void *data), void *data);

/* Close it, and leave it where it is. */
void image_part_close(image_part *part);

/* The file is of no use to anybody: remove it. */
void image_part_remove(image_part *part);

/* Begin a new file; the old one stays open for those who are sent it. */
apr_status_t image_part_begin_anew(image_part *part);

/*
 * A try brings an image of this many bytes, from this byte on, which is 0 or what is written.
 * Make room for it, and count in part->evicted what has to go, which part->is_needed() may forbid.
 * APR_ENOSPC: there is none.
 */
apr_status_t image_part_begin(image_part *part, apr_off_t size, apr_off_t from);

/* The next bytes of this try.  PART_DIFFERS: they are not those that the file has behind
 * part->position; other errors: the file can't be written. */
apr_status_t image_part_take(image_part *part, const char *bytes, apr_size_t length);

/* No more come for now: have what there is in the file, unless it is little and not urgent. */
apr_status_t image_part_flush(image_part *part, int now);

/* Are the bytes in the file, and in the buffer, the whole that the name says?  Writes the digest
 * that they have into found (65 bytes). */
int image_part_is_right(const image_part *part, char *found);

/* Give the file its name in the folder, unless somebody has removed it. */
void image_part_publish(image_part *part);

/* See to it that a published image lasts, which takes the disk a while.  A file that was not
 * written well after all is found out by its digest, after a loss of power too. */
void image_part_settle(image_part *part);

/* Does the file still have its name? */
int image_part_is_there(const image_part *part);

/* Open the file of a fetch under way, for reading, in pool.  APR_ENOENT: it has another name by
 * now. */
apr_status_t image_part_open_to_read(const open_folder *open, const char *digest,
                                     apr_int32_t flags, apr_pool_t *pool, apr_file_t **file);

#endif
