/*
 * store/part.c: the file of an image on its way into the folder.
 *
 * It is DIGEST.part, and as long as what is written of it; the blocks for the rest are taken
 * beforehand.  Its fetch holds an exclusive flock() on it, which the kernel frees when the process
 * dies (fcntl locks would not exclude threads): so who makes room knows what nobody works on.  A
 * byte that is in the file is never written again, because nodes may have been sent it: what comes
 * once more is compared.  What a fetch leaves is gone on with by the next one, after a restart too.
 */
#include "store/part.h"
#include "ledger/troubles.h"
#include "ledger/waiting.h"
#include "store/digest.h"

#include "apr_portable.h"
#include "apr_strings.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* Bytes that are written at a time: large writes let the page cache be made of large folios, which
 * cost sendfile less later.  Over a slow link fewer, so often that nodes see them come.  And bytes
 * after which the disk is told to begin with them. */
#define WRITE_PIECE (512 * 1024)
#define WRITE_EVERY apr_time_from_msec(100)
#define WRITE_BEHIND (8 * 1024 * 1024)

/* When the WalT server pauses, which a fast link sees often, what is less than this and was not
 * there so long ago waits for more. */
#define PAUSE_PIECE (32 * 1024)
#define PAUSE_EVERY apr_time_from_msec(20)

static image_name part_name(const image_part *part)
{
    return image_name_of(part->digest, ".part");
}

int image_part_is_there(const image_part *part)
{
    image_name name = part_name(part);

    return image_folder_names(part->open->fd, name.text, part->fd);
}

/* ------------------------------------------------------------------ opening */

/* Open the file with these flags, once more if something else stood there, and lock it.  0, or an
 * errno; EBUSY: another has it. */
static int open_file(image_part *part, int flags)
{
    image_name name = part_name(part);
    struct stat st;
    int tries;

    for (tries = 0; tries < 2 && part->fd < 0; tries++)
        part->fd = image_folder_open_file(part->open, name.text, flags | O_RDWR | O_CREAT, &st);
    if (part->fd < 0)
        return errno;
    return flock(part->fd, LOCK_EX | LOCK_NB) == 0 ? 0 : errno == EWOULDBLOCK ? EBUSY : errno;
}

/* Hash the bytes of the file up to this one, from the start; 0: they can't be read. */
static int hash_file(image_part *part, apr_off_t until)
{
    return image_digest_hash(part->hash, part->fd, until, part->buffer, WRITE_PIECE);
}

/* As many of these bytes as the buffer takes at a time. */
static apr_size_t piece_of(apr_off_t bytes)
{
    return bytes < WRITE_PIECE ? (apr_size_t)bytes : WRITE_PIECE;
}

/*
 * Where the file ends, of this size now, without the zeros behind the bytes that nodes hold.  Those
 * zeros may never have been written: version 1.1.1 gave its files their full length beforehand, and
 * a file system may have done so when power was lost.  If they are of the image, they come again.
 */
static apr_off_t end_of_data(image_part *part, apr_off_t held, apr_off_t size)
{
    apr_size_t piece = 0;

    while (piece == 0 && size > held) {
        piece = piece_of(size - held);
        size -= (apr_off_t)piece;
        if (pread(part->fd, part->buffer, piece, size) != (ssize_t)piece)
            break;
        while (piece > 0 && part->buffer[piece - 1] == '\0')
            piece--;
    }
    return size + (apr_off_t)piece;
}

/* The file is ours: know what it has.  0, or an errno. */
static int take_file(image_part *part, apr_off_t held)
{
    struct stat st;

    /* Its last owner may have ended it before it was locked here. */
    if (!image_part_is_there(part))
        return EBUSY;
    if (fstat(part->fd, &st) != 0)
        return errno;
    part->written = end_of_data(part, held, st.st_size);
    if (part->written < st.st_size && ftruncate(part->fd, part->written) != 0)
        return errno;
    return hash_file(part, part->written) ? 0 : EIO;
}

apr_status_t image_part_open(image_part *part, const open_folder *open, const char *digest,
                             apr_off_t held, int (*is_needed)(void *data), void *data)
{
    int error;

    memset(part, 0, sizeof(*part));
    part->open = open;
    part->digest = digest;
    part->is_needed = is_needed;
    part->data = data;
    part->buffer = apr_palloc(open->pool, WRITE_PIECE);
    part->fd = -1;
    if (!(part->hash = EVP_MD_CTX_new()))
        return APR_ENOMEM;
    error = open_file(part, 0);
    if (error == 0)
        error = take_file(part, held);
    if (error == 0)
        return APR_SUCCESS;
    if (error != EBUSY) {
        image_part_remove(part);        /* what can't be locked, or read, is of no use */
        image_folder_trouble(open, "can't make a file", error);
    }
    image_part_close(part);
    return error;
}

void image_part_close(image_part *part)
{
    if (part->fd >= 0)
        close(part->fd);
    part->fd = -1;
    EVP_MD_CTX_free(part->hash);
    part->hash = NULL;
}

void image_part_remove(image_part *part)
{
    image_name name = part_name(part);

    if (image_part_is_there(part))
        (void)unlinkat(part->open->fd, name.text, 0);
}

apr_status_t image_part_begin_anew(image_part *part)
{
    int before = part->fd, error;

    image_part_remove(part);
    part->fd = -1;
    error = open_file(part, O_EXCL);
    if (error == 0 && !hash_file(part, 0))
        error = EIO;
    close(before);
    part->written = part->position = part->size = 0;
    if (error)
        image_folder_trouble(part->open, "can't make a file", error);
    return error;
}

/* ------------------------------------------------------------------ fetching */

apr_status_t image_part_begin(image_part *part, apr_off_t size, apr_off_t from)
{
    const open_folder *open = part->open;
    folder_room room;

    part->position = from;
    part->wrote = waiting_clock();
    if (part->size == size)
        return APR_SUCCESS;
    if (size > open->folder->size) {
        if (!troubles_met_before(apr_pstrcat(open->pool, "large ", part->digest, NULL), 0))
            ap_log_error(APLOG_MARK, APLOG_WARNING, 0, open->server, "an image of %" APR_OFF_T_FMT
                         " bytes is larger than WaltVpnCacheSize %" APR_OFF_T_FMT ": it is "
                         "relayed; raise WaltVpnCacheSize", size, open->folder->size);
        return APR_ENOSPC;
    }
    room = image_folder_make_room(open, part->digest, part->fd, size, 0, NULL);
    if (room == ROOM_TAKEN && part->is_needed(part->data))
        room = image_folder_make_room(open, part->digest, part->fd, size, 0, &part->evicted);
    if (room == ROOM_TROUBLE)
        image_folder_trouble(open, "can't make room for an image", errno);
    else if (room == ROOM_NONE)
        ap_log_error(APLOG_MARK, APLOG_INFO, 0, open->server, "other fetches fill "
                     "WaltVpnCacheSize %" APR_OFF_T_FMT ": an image is relayed",
                     open->folder->size);
    if (room != ROOM_MADE)
        return APR_ENOSPC;
    part->size = size;
    return APR_SUCCESS;
}

/* Bytes in the buffer: those that have come and are not in the file. */
static apr_size_t buffered(const image_part *part)
{
    return part->position > part->written ? (apr_size_t)(part->position - part->written) : 0;
}

/* Write what is in the buffer.  After an error the rest is in the buffer, and may be written
 * later. */
static apr_status_t write_buffer(image_part *part)
{
    const char *bytes = part->buffer;
    apr_off_t before = part->written;

    while (buffered(part) > 0) {
        ssize_t put = pwrite(part->fd, bytes, buffered(part), part->written);

        if (put <= 0) {
            apr_status_t rv = put < 0 ? errno : APR_ENOSPC;

            if (rv == EINTR || ((rv == ENOSPC || rv == EDQUOT) && part->is_needed(part->data)
                                && image_folder_make_room(part->open, part->digest, part->fd,
                                                          part->size, 1, &part->evicted)
                                   == ROOM_MADE))
                continue;
            memmove(part->buffer, bytes, buffered(part));
            image_folder_trouble(part->open, "can't write an image", rv);
            return rv;
        }
        bytes += put;
        part->written += put;
    }
    part->wrote = waiting_clock();
    /* Begin to write to the disk as it comes, so that the fsync at the end is short. */
    if (before / WRITE_BEHIND != part->written / WRITE_BEHIND)
        (void)sync_file_range(part->fd, before / WRITE_BEHIND * WRITE_BEHIND, WRITE_BEHIND,
                              SYNC_FILE_RANGE_WRITE);
    return APR_SUCCESS;
}

/* Bytes that the file has come again: pass over those that are the same.  Returns how many of them
 * were passed over; less than there are: the next ones differ, or are new. */
static apr_size_t pass_known(image_part *part, const char *bytes, apr_size_t length)
{
    apr_size_t passed = 0;

    while (passed < length && part->position < part->written) {
        apr_off_t known = part->written - part->position, come = (apr_off_t)(length - passed);
        apr_size_t piece = piece_of(known < come ? known : come);

        if (pread(part->fd, part->buffer, piece, part->position) != (ssize_t)piece
            || memcmp(part->buffer, bytes + passed, piece) != 0)
            break;
        passed += piece;
        part->position += (apr_off_t)piece;
    }
    return passed;
}

apr_status_t image_part_take(image_part *part, const char *bytes, apr_size_t length)
{
    apr_size_t passed = pass_known(part, bytes, length);
    apr_status_t rv;

    bytes += passed;
    length -= passed;
    if (length > 0 && part->position < part->written)
        return PART_DIFFERS;
    EVP_DigestUpdate(part->hash, bytes, length);
    while (length > 0) {
        apr_size_t before = buffered(part), room = WRITE_PIECE - before;
        apr_size_t piece = length < room ? length : room;

        memcpy(part->buffer + before, bytes, piece);
        part->position += (apr_off_t)piece;
        bytes += piece;
        length -= piece;
        if ((piece == room || waiting_clock() - part->wrote >= WRITE_EVERY)
            && (rv = write_buffer(part)) != APR_SUCCESS)
            return rv;
    }
    return APR_SUCCESS;
}

apr_status_t image_part_flush(image_part *part, int now)
{
    if (buffered(part) == 0 || (!now && buffered(part) < PAUSE_PIECE
                                && waiting_clock() - part->wrote < PAUSE_EVERY))
        return APR_SUCCESS;
    return write_buffer(part);
}

int image_part_is_right(const image_part *part, char *found)
{
    EVP_MD_CTX *hash = EVP_MD_CTX_new();
    int is_right;

    found[0] = '\0';
    is_right = hash && EVP_MD_CTX_copy_ex(hash, part->hash)
               && image_digest_is(hash, part->digest, found);
    EVP_MD_CTX_free(hash);
    return is_right;
}

/* ------------------------------------------------------------------ publishing */

void image_part_publish(image_part *part)
{
    image_name name = part_name(part), published = image_name_of(part->digest, ".img");
    int is_there, error;

    /* Used now: else the image that took longest to come would be the first to go. */
    image_folder_used_now(part->fd);
    image_digest_note(part->fd, part->digest);
    /* Also if the lock can't be had: at worst a fetch that makes room now does not see the file,
     * and the folder holds too much until the next fetch. */
    (void)image_folder_lock(part->open);
    is_there = image_part_is_there(part);
    error = is_there && renameat(part->open->fd, name.text, part->open->fd, published.text) != 0
            ? errno : 0;
    image_folder_unlock(part->open);
    if (error)
        image_folder_trouble(part->open, "can't publish an image", error);
    else if (is_there)
        image_folder_is_sound(part->open);
}

void image_part_settle(image_part *part)
{
    image_name published = image_name_of(part->digest, ".img");

    if (fsync(part->fd) == 0) {
        (void)fsync(part->open->fd);
        return;
    }
    image_folder_trouble(part->open, "can't keep an image", errno);
    if (image_folder_names(part->open->fd, published.text, part->fd))
        (void)unlinkat(part->open->fd, published.text, 0);
}

/* ------------------------------------------------------------------ following */

apr_status_t image_part_open_to_read(const open_folder *open, const char *digest,
                                     apr_int32_t flags, apr_pool_t *pool, apr_file_t **file)
{
    image_name name = image_name_of(digest, ".part");
    apr_os_file_t fd = openat(open->fd, name.text, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW);

    return fd < 0 ? errno : apr_os_file_put(file, &fd, flags, pool);
}
