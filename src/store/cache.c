/*
 * store/cache.c: the verified images in the folder.
 *
 * A published file is never written again, and is sent only when its digest is right
 * (store/digest.c).
 */
#include "store/cache.h"
#include "ledger/counters.h"
#include "ledger/troubles.h"
#include "store/digest.h"

#include "apr_portable.h"
#include "apr_strings.h"
#include "http_core.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

/* Images that one connection is sent at most.  A node makes a connection for each (facts.md 1). */
#define IMAGES_MAX 100

static apr_status_t close_file(void *data)
{
    return apr_file_close(data);
}

void image_cache_close_with(request_rec *r, apr_file_t *file)
{
    apr_pool_cleanup_register(r->pool, file, close_file, apr_pool_cleanup_null);
    /* What APR remembers of a closed file stays in the pool. */
    if (r->connection->keepalives >= IMAGES_MAX)
        r->connection->keepalive = AP_CONN_CLOSE;
}

apr_int32_t image_cache_open_flags(const request_rec *r)
{
    const core_dir_config *core = ap_get_core_module_config(r->per_dir_config);

    return APR_READ | APR_BINARY
           | (core->enable_sendfile != ENABLE_SENDFILE_OFF ? APR_SENDFILE_ENABLED : 0);
}

/* The open file is not what its name says: remove it, if that is its name still. */
static void remove_damaged(const open_folder *open, const char *name, apr_os_file_t fd)
{
    counters_at(open->entrypoint)->mismatches++;
    ap_log_error(APLOG_MARK, APLOG_WARNING, 0, open->server, "cached image %s/%s is damaged: "
                 "removed", open->folder->root, name);
    if (image_folder_names(open->fd, name, fd))
        unlinkat(open->fd, name, 0);
}

/*
 * Open the file, unless something else has its name.  It goes into the connection's pool: of a file
 * in a shorter-lived one, httpd's core would duplicate the descriptor for each piece that it sets
 * aside until a slow node has read it.
 */
static apr_status_t open_file(const open_folder *open, request_rec *r, const char *name,
                              image *found)
{
    apr_os_file_t fd;
    digest_verdict verdict;
    struct stat st;

    if ((fd = image_folder_open_file(open, name, O_RDONLY, &st)) < 0)
        return errno;
    verdict = image_digest_verdict(r->pool, found->digest, fd, &st);
    if (verdict == DIGEST_WRONG)
        remove_damaged(open, name, fd);
    if (verdict != DIGEST_RIGHT) {
        close(fd);
        return verdict == DIGEST_WRONG ? APR_ENOENT : IMAGE_AWAITED;
    }
    image_folder_used_now(fd);
    found->size = st.st_size;
    return apr_os_file_put(&found->file, &fd, image_cache_open_flags(r), r->connection->pool);
}

apr_status_t image_cache_open(request_rec *r, const char *digest, image *found)
{
    image_name name = image_name_of(digest, ".img");
    open_folder open;
    apr_status_t rv;

    found->digest = digest;
    if (!image_folder_open(&open, r->pool, walt_vpn_request_of(r)->entrypoint))
        return APR_EGENERAL;
    rv = open_file(&open, r, name.text, found);
    if (rv == APR_SUCCESS) {
        image_cache_close_with(r, found->file);
        image_folder_is_readable(&open);
    }
    else if (!APR_STATUS_IS_ENOENT(rv) && rv != IMAGE_AWAITED) {
        image_folder_trouble(&open, "can't open an image", rv | TROUBLE_PASSING);
    }
    image_folder_close(&open);
    return rv;
}
