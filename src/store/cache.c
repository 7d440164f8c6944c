/*
 * store/cache.c: finding the image that a node wants.
 *
 * A published file is never written again, and is opened only when its digest is right
 * (store/digest.c).  Who finds none, and can lock its .part, is to fetch it (store/part.c).
 */
#include "store/cache.h"
#include "ledger/counters.h"
#include "ledger/waiting.h"
#include "store/digest.h"

#include "apr_portable.h"
#include "apr_strings.h"
#include "http_core.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

/* How often a waiter looks, in microseconds: soon at first, since most fetches are short. */
#define LOOK_FIRST 2000
#define LOOK_LATER 25000

/* ------------------------------------------------------------------ opening */

void image_cache_close(image *image)
{
    image_part_close(&image->part);
    image_folder_close(&image->open);
}

static apr_status_t close_image(void *data)
{
    image_cache_close(data);
    return APR_SUCCESS;
}

static apr_status_t close_file(void *data)
{
    return apr_file_close(data);
}

void image_cache_close_with(request_rec *r, apr_file_t *file)
{
    apr_pool_cleanup_register(r->pool, file, close_file, apr_pool_cleanup_null);
}

apr_int32_t image_cache_open_flags(const request_rec *r)
{
    const core_dir_config *core = ap_get_core_module_config(r->per_dir_config);

    return APR_READ | APR_BINARY
           | (core->enable_sendfile != ENABLE_SENDFILE_OFF ? APR_SENDFILE_ENABLED : 0);
}

/* The open file is not what its name says: remove it, if that is its name still. */
static void remove_damaged(image *image, const char *name, apr_os_file_t fd)
{
    counters_of(image->r)->mismatches++;
    ap_log_rerror(APLOG_MARK, APLOG_WARNING, 0, image->r, "cached image %s/%s is damaged: removed",
                  image->open.folder->root, name);
    if (image_folder_names(image->open.fd, name, fd))
        unlinkat(image->open.fd, name, 0);
    apr_file_close(image->file);
    image->file = NULL;
}

/*
 * Open the published image, verified, until r->pool goes, and mark it as used now.  APR_ENOENT:
 * there is none (any more); other errors are trouble with the folder.
 */
static apr_status_t open_published(image *image)
{
    image_name name = image_name_of(image->digest, ".img");
    request_rec *r = image->r;
    apr_os_file_t fd;
    struct stat st;
    apr_status_t rv;

    /* Waiters ask often: find out without allocating. */
    if (fstatat(image->open.fd, name.text, &st, AT_SYMLINK_NOFOLLOW) != 0)
        return errno;
    if (!S_ISREG(st.st_mode)) {
        image_folder_remove_foreign(&image->open, name.text);
        return APR_ENOENT;
    }
    /* In the connection's pool: of a file in a shorter-lived one, httpd's core would duplicate the
     * descriptor for each piece that it sets aside until a slow node has read it. */
    rv = apr_file_open(&image->file, apr_pstrcat(r->pool, image->open.folder->root, "/",
                                                 name.text, NULL),
                       image_cache_open_flags(r), APR_OS_DEFAULT, r->connection->pool);
    if (APR_STATUS_IS_EACCES(rv)) {
        image_folder_remove_foreign(&image->open, name.text);
        return APR_ENOENT;
    }
    if (rv != APR_SUCCESS)
        return rv;
    apr_os_file_get(&fd, image->file);
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)
        || !image_digest_verified(r->pool, image->digest, fd, &st)) {
        remove_damaged(image, name.text, fd);
        return APR_ENOENT;
    }
    image_cache_close_with(r, image->file);
    image_folder_used_now(fd);
    image_folder_is_readable(&image->open);
    image->size = st.st_size;
    return APR_SUCCESS;
}

/* ------------------------------------------------------------------ finding */

/* One look at the .part and for the published file.  IMAGE_LATE: look again. */
static image_state look(image *image, int can_grow)
{
    image_state state;
    int error;

    if (image->part.fd < 0 && (error = image_part_open(&image->part)) != 0) {
        image_folder_trouble(&image->open, "can't make a file", error);
        return IMAGE_NO_ROOM;
    }
    state = image_part_look(&image->part);
    /* Looked for in either case: it may have been published just before. */
    if (open_published(image) == APR_SUCCESS) {
        if (state == IMAGE_MISSING)
            image_part_drop(&image->part);
        return IMAGE_READY;
    }
    return state == IMAGE_GROWING && !can_grow ? IMAGE_LATE : state;
}

/* Look until the image is there, can be used as it grows or is ours to fetch, or it is too late. */
static image_state wait_for_image(image *image, int can_grow, apr_time_t deadline)
{
    image_state state = look(image, can_grow);
    apr_time_t began = waiting_clock(), now = began;
    waiting waiting;

    if (state != IMAGE_LATE)
        return state;
    waiting_begin(&waiting, image->r);
    while (now < deadline && !waiting_is_too_long(began)) {
        image->waited = 1;
        apr_sleep(now - began < LOOK_LATER * 4 ? LOOK_FIRST : LOOK_LATER);
        if ((state = look(image, can_grow)) != IMAGE_LATE)
            break;
        now = waiting_clock();
    }
    waiting_end(&waiting);
    return state;
}

image_state image_cache_find(request_rec *r, const image_folder *folder, const char *digest,
                             int can_grow, apr_time_t deadline, image **found)
{
    image *image = apr_pcalloc(r->pool, sizeof(*image));
    apr_status_t rv;
    image_state state;

    *found = image;
    image->r = r;
    image->digest = digest;
    image_part_init(&image->part, &image->open, digest);
    if (!image_folder_open(&image->open, r, folder))
        return IMAGE_NO_ROOM;
    /* Before its children go, of which the part has one for its buffers. */
    apr_pool_pre_cleanup_register(r->pool, image, close_image);

    rv = open_published(image);
    if (rv == APR_SUCCESS) {
        state = IMAGE_READY;
    }
    else if (!APR_STATUS_IS_ENOENT(rv)) {
        image_folder_trouble_reading(&image->open, "can't open an image", rv);
        state = IMAGE_NO_ROOM;
    }
    else {
        state = wait_for_image(image, can_grow, deadline);
    }
    if (state != IMAGE_MISSING && state != IMAGE_GROWING)
        image_cache_close(image);
    return state;
}

image_state image_cache_reopen(image *image)
{
    image_state state = open_published(image) == APR_SUCCESS ? IMAGE_READY : IMAGE_BROKEN;

    image_cache_close(image);
    return state;
}
