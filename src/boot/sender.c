/*
 * boot/sender.c: sending an image to a node, whole or while it is fetched.
 *
 * A node is sent what is in the file of a fetch as it grows, but for a last piece that goes out
 * only when the digest is right: a short image can't boot, so no node ever completes one that the
 * WalT server did not sign.  Pieces are FILE buckets: httpd's core passes them to the kernel and
 * sets aside what that does not take, so nobody waits for a node.
 *
 * This is sound where nothing but httpd's own filters is between here and the socket.  A client of
 * another kind (TLS, HTTP/2, ranges, HEAD) waits for the verified file.
 */
#include "boot/sender.h"
#include "ledger/waiting.h"
#include "reply/headers.h"
#include "reply/relay.h"
#include "report/watch.h"
#include "store/part.h"

#include "apr_portable.h"
#include "apr_strings.h"
#include "http_core.h"
#include "http_protocol.h"
#include "http_ssl.h"
#include "util_filter.h"

#include <sys/stat.h>

/* A piece has so many bytes: each costs a walk through all that is pending.  On a slow link what
 * there is goes out after a while, so that the node sees the image come. */
#define PIECE (256 * 1024)
#define PIECE_EVERY apr_time_from_msec(250)

/* Without sendfile httpd's core reads a piece into memory, and waits for the node with more than
 * FlushMaxThreshold (64 KiB) of that: less is passed on at a time, and only when nothing is
 * pending. */
#define PIECE_READ (48 * 1024)

/* Bytes at the end that go out only when the digest is right: without them no image can boot. */
#define HELD_BACK (64 * 1024)

/* ------------------------------------------------------------------ the head */

/*
 * Make the head of the reply with an image of this size, whole or from *from on.  OK, or the
 * status of the reply that is sent instead.
 */
static int make_head(request_rec *r, const walt_vpn_request *request, apr_off_t size,
                     const char *digest, apr_off_t *from)
{
    int status;

    relay_is_off(r);
    ap_set_content_type(r, "application/octet-stream");
    ap_set_content_length(r, size);
    apr_table_setn(r->headers_out, "ETag", apr_pstrcat(r->pool, "\"", digest, "\"", NULL));
    ap_set_accept_ranges(r);
    *from = 0;
    if ((status = ap_meets_conditions(r)) != OK || r->header_only || request->resume_from == 0)
        return status;
    *from = request->resume_from;
    return headers_resume(r, size);
}

/* Append bytes of an open file, which is in the connection's pool, to a brigade.  One that may
 * become shorter yet is not to be mapped. */
static void append_file(request_rec *r, apr_bucket_brigade *bb, apr_file_t *file, apr_off_t from,
                        apr_off_t until, int may_shrink)
{
    apr_bucket *bucket = apr_brigade_insert_file(bb, file, from, until - from, r->pool);
    const core_dir_config *core = ap_get_core_module_config(r->per_dir_config);

    if (may_shrink || core->enable_mmap == ENABLE_MMAP_OFF)
        (void)apr_bucket_file_enable_mmap(bucket, 0);
}

int image_sender_send(request_rec *r, walt_vpn_request *request, const image *found)
{
    apr_bucket_brigade *bb;
    apr_off_t from;
    int status = make_head(r, request, found->size, found->digest, &from);

    if (status != OK)
        return status;
    /* One brigade with the file and EOS, in r->pool: the byterange filter answers other ranges by
     * itself, and the file stays open until the last byte is sent. */
    bb = apr_brigade_create(r->pool, r->connection->bucket_alloc);
    append_file(r, bb, found->file, from, found->size, 0);
    APR_BRIGADE_INSERT_TAIL(bb, apr_bucket_eos_create(r->connection->bucket_alloc));
    (void)ap_pass_brigade(r->output_filters, bb);       /* a client that is gone is no error */
    return OK;
}

/* ------------------------------------------------------------------ piece by piece */

/* Is this filter one that passes FILE buckets on at once and as they are? */
static int is_transparent(const ap_filter_t *f)
{
    static const char *const names[] = {
        "http_header", "content_length", "byterange", "http_outerror", "core", "fixup_headers_out",
        "fixup_headers_err", "logio_ttfb_out", "reqtimeout", "walt_vpn_relay", "walt_vpn_headers",
        "walt_vpn_watch"
    };
    apr_size_t i;

    for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (ap_cstr_casecmp(f->frec->name, names[i]) == 0)
            return 1;
    }
    return 0;
}

int image_sender_can_grow(const request_rec *r, const walt_vpn_request *request)
{
    const ap_filter_t *f;

    if (r->header_only || apr_table_get(r->headers_in, "If-Range")
        || (request->resume_from == 0 && apr_table_get(r->headers_in, "Range"))
        || r->connection->master || ap_ssl_conn_is_ssl(r->connection))
        return 0;
    /* A folder that fails in the middle again would make nodes start over for ever. */
    if (image_folder_trouble_of(r->pool, request->entrypoint->folder))
        return 0;
    for (f = r->output_filters; f; f = f->next) {
        if (!is_transparent(f))
            return 0;
    }
    return 1;
}

image_sender *image_sender_begin(request_rec *r, walt_vpn_request *request, const image *found)
{
    image_sender *sender = apr_pcalloc(r->pool, sizeof(*sender));

    sender->r = r;
    sender->request = request;
    sender->image = *found;
    sender->at = request->resume_from;
    sender->bb = apr_brigade_create(r->pool, r->connection->bucket_alloc);
    return sender;
}

image_sender *image_sender_follow(request_rec *r, walt_vpn_request *request, const fetch_row *row)
{
    image growing = { apr_pstrdup(r->pool, row->digest), NULL, row->size };
    apr_os_file_t fd;
    open_folder open;
    struct stat st;
    apr_status_t rv;

    if (!image_folder_open(&open, r->pool, request->entrypoint))
        return NULL;
    rv = image_part_open_to_read(&open, row->digest, image_cache_open_flags(r),
                                 r->connection->pool, &growing.file);
    image_folder_close(&open);
    if (rv != APR_SUCCESS)
        return NULL;
    image_cache_close_with(r, growing.file);
    apr_os_file_get(&fd, growing.file);
    /* It may be another fetch's by now, or somebody may have emptied it. */
    if (fstat(fd, &st) != 0 || st.st_ino != row->inode || st.st_dev != row->device
        || st.st_size < row->written)
        return NULL;
    return image_sender_begin(r, request, &growing);
}

/* Bytes of the image that the node may have by now. */
static apr_off_t available(const image_sender *sender, const fetch_row *row)
{
    apr_off_t size = sender->image.size, most = size > HELD_BACK ? size - HELD_BACK : 0;

    if (!row || row->fate == FATE_PUBLISHED)
        return size;
    return row->written < most ? row->written : most;
}

int image_sender_push(conn_rec *c)
{
    ap_filter_t *core = c->output_filters;

    if (!c->aborted && c->data_in_output_filters) {
        while (core->next)
            core = core->next;
        (void)core->frec->filter_func.out_func(core, NULL);     /* an error is in c->aborted */
    }
    return c->aborted || !c->data_in_output_filters;
}

/* Pass the image on up to this byte, with its head if need be.  Returns what
 * image_sender_advance() does. */
static int pass(image_sender *sender, apr_off_t until)
{
    const image *sent = &sender->image;
    request_rec *r = sender->r;
    conn_rec *c = r->connection;
    apr_off_t from;
    apr_status_t rv;

    if (!sender->begun) {
        int status = make_head(r, sender->request, sent->size, sent->digest, &from);

        if (status != OK)
            return status;
        sender->begun = 1;
    }
    if (until > sender->at)
        append_file(r, sender->bb, sent->file, sender->at, until, until < sent->size);
    if (until == sent->size)
        APR_BRIGADE_INSERT_TAIL(sender->bb, apr_bucket_eos_create(c->bucket_alloc));
    sender->at = until;
    sender->passed = waiting_clock();
    rv = ap_pass_brigade(r->output_filters, sender->bb);
    apr_brigade_cleanup(sender->bb);
    /* A client that is gone is no error. */
    return rv != APR_SUCCESS || c->aborted || until == sent->size ? OK : SUSPENDED;
}

int image_sender_advance(image_sender *sender, const fetch_row *row)
{
    conn_rec *c = sender->r->connection;
    apr_off_t size = sender->image.size, until = available(sender, row), most = size;
    int status;

    if (!(apr_file_flags_get(sender->image.file) & APR_SENDFILE_ENABLED))
        most = PIECE_READ;
    if (c->data_in_output_filters && (until < size || most < size))
        return SUSPENDED;
    if (until < size && until - sender->at < PIECE
        && (until <= sender->at || waiting_clock() - sender->passed < PIECE_EVERY))
        return SUSPENDED;
    do {
        status = pass(sender, until - sender->at > most ? sender->at + most : until);
    } while (status == SUSPENDED && !c->data_in_output_filters && sender->at < until);
    return status;
}
