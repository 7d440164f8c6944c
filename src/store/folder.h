/*
 * store/folder.h: the folder of boot images: is it fit for use, what is in it, what has to go.
 */
#ifndef WALT_VPN_STORE_FOLDER_H
#define WALT_VPN_STORE_FOLDER_H

#include "request/entrypoint.h"

#include <sys/stat.h>

/* Length of an image's name: its SHA-256 in lower-case hexadecimal digits. */
#define IMAGE_DIGEST_LENGTH 64

/* What an entrypoint keeps its images in.  Lives in pconf. */
typedef struct image_folder {
    const char *root;           /* absolute path of the folder */
    const char *where;          /* for people: "WaltVpnCacheRoot root (file:line)" */
    apr_off_t size;             /* most bytes that it may hold */
} image_folder;

/* A file's name in it, with an extension: ".img", or ".part" while it is on its way. */
typedef struct {
    char text[IMAGE_DIGEST_LENGTH + sizeof(".part")];
} image_name;

image_name image_name_of(const char *digest, const char *extension);

/* ---- for the configuration */

/* Why a folder can never serve as it is, and what to type, in words; NULL: it can, or it is not
 * there. */
const char *image_folder_fault(apr_pool_t *p, const image_folder *folder);

/* Make the folder if it is not there, owned by the user that the children run as; with is_trial
 * only see whether that would work.  NULL: it is there; else why it is not, and what to type:
 * images are relayed until it is. */
const char *image_folder_missing(apr_pool_t *p, const image_folder *folder, int is_trial);

/* As httpd starts: act as the user of its children, or with 0 as this process's own user again.
 * 0: errno. */
int image_folder_be_child(int be);

/* ---- for whoever works on files in it */

/* A descriptor of the folder, for the caller to close; -1, and errno: it can't be opened. */
int image_folder_descriptor(const image_folder *folder);

/* ---- for a request, or a fetch */

/* A folder that is open. */
typedef struct {
    const server_rec *server;   /* for the log */
    int entrypoint;             /* the place of its counters */
    apr_pool_t *pool;
    const image_folder *folder;
    int fd;                     /* -1: closed */
} open_folder;

/* Open the folder of this entrypoint.  0: it can't be opened, which was said. */
int image_folder_open(open_folder *open, apr_pool_t *pool, const walt_vpn_entrypoint *entrypoint);
void image_folder_close(open_folder *open);

/* The folder is in trouble, as what and kind tell, an errno, with TROUBLE_PASSING if it was met in
 * reading: one warning, until it is over.  The caller relays meanwhile. */
void image_folder_trouble(const open_folder *open, const char *what, int kind);

/* Why the folder is in trouble, as far as anybody knows, in words; NULL: it is not. */
const char *image_folder_trouble_of(apr_pool_t *p, const image_folder *folder);

/* It serves again. */
void image_folder_is_sound(const open_folder *open);

/* An image was read: the folder serves again, if its only trouble was with reading, and nobody met
 * it for a while. */
void image_folder_is_readable(const open_folder *open);

/* Mark an image's open file as used now. */
void image_folder_used_now(int fd);

/* Does the name in the folder still stand for this open file? */
int image_folder_names(int folder_fd, const char *name, int fd);

/* Open a file in it with these flags, and know it.  -1, and errno: that failed.  What stands there
 * and can be none of our files is removed: ENOENT. */
int image_folder_open_file(const open_folder *open, const char *name, int flags, struct stat *st);

/* Whoever makes room holds this lock until the room is taken; meanwhile no file gets another name,
 * under which it would be missed.  0, and errno: that failed; ETIMEDOUT: a process that was stopped
 * has it.  The wait is counted. */
int image_folder_lock(const open_folder *open);
void image_folder_unlock(const open_folder *open);

typedef enum {
    ROOM_MADE,
    ROOM_NONE,                  /* it would not fit if all images went, so that none has gone */
    ROOM_TAKEN,                 /* by images, which were not to go */
    ROOM_TROUBLE                /* errno */
} folder_room;

/*
 * Make room for the .part of this image, which is open, of this many bytes: remove what fetches
 * have left, evict images, the least recently used first, and take the blocks.  is_full: the disk
 * is, so that at least one other file is to go.  Being sent does an evicted image no harm: its open
 * files outlive its name.  *evicted counts the images that went; NULL: none is to go.
 */
folder_room image_folder_make_room(const open_folder *open, const char *digest, int fd,
                                   apr_off_t size, int is_full, int *evicted);

/* ---- for the status page and the metrics page */

/* A file of ours in the folder. */
typedef struct {
    char digest[IMAGE_DIGEST_LENGTH + 1];
    int is_image;               /* .img; else a .part, which is or was being fetched */
    apr_off_t size;             /* bytes */
    apr_time_t used;            /* when it was last sent */
} folder_file;

/* The images in the folder, as folder_file, the last used first; empty if it can't be read. */
apr_array_header_t *image_folder_list(apr_pool_t *p, const image_folder *folder);

#endif
