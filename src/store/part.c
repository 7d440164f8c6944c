/*
 * store/part.c: an image on its way into the folder.
 *
 * It begins as DIGEST.part, exclusively flock()ed by the one request that fetches it; the kernel
 * frees that lock when its process dies, so there is no other lock to leave behind (fcntl locks
 * would not exclude threads).  Those who want it hold the same .part open and see its fate:
 * renamed (published), or unlinked and marked in its mode bits, which they can still read
 * (MODE_BROKEN, MODE_NO_ROOM), or unlocked where it was (its fetcher is dead: the next one takes
 * over).
 *
 * How far it has come stands in the ledger, so that nodes can be sent what is there.  Therefore a
 * byte of the file that was announced there is not written again: a second try, which the WalT
 * server begins at byte 0 (facts.md 2), is compared with it, and where it differs it becomes a run
 * of its own, with which nobody goes on who was sent bytes of the first one.
 */
#include "store/part.h"
#include "ledger/fetches.h"
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

/*
 * Mode bits of a .part: being fetched, or why it was given up.  The marks give nobody a right that
 * matters, and leave the owner his: a marked file may still be met by its name, for a moment, or
 * for good if its process was killed in that moment.
 */
#define MODE_FETCHING 0600
#define MODE_BROKEN   0610      /* the WalT server did not bring it */
#define MODE_NO_ROOM  0601      /* the folder can't take it */

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

/* Bytes that are compared at a time. */
#define COMPARE_PIECE (64 * 1024)

void image_part_init(image_part *part, const open_folder *open, const char *digest)
{
    memset(part, 0, sizeof(*part));
    part->open = open;
    part->digest = digest;
    part->fd = -1;
    part->place = -1;
}

void image_part_close(image_part *part)
{
    if (part->fd >= 0)
        close(part->fd);
    part->fd = -1;
    EVP_MD_CTX_free(part->hash);
    part->hash = NULL;
    if (part->scratch)
        apr_pool_destroy(part->scratch);
    part->scratch = NULL;
}

static image_name part_name(const image_part *part)
{
    return image_name_of(part->digest, ".part");
}

int image_part_open(image_part *part)
{
    image_name name = part_name(part);
    int tries, error = 0;

    for (tries = 0; tries < 2; tries++) {
        struct stat st;

        part->fd = openat(part->open->fd, name.text, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW,
                          MODE_FETCHING);
        if (part->fd >= 0)
            return 0;
        error = errno;
        /* What a fetch of ours made can be opened: this was made by another. */
        if ((error != EACCES && error != ELOOP && error != EISDIR)
            || fstatat(part->open->fd, name.text, &st, AT_SYMLINK_NOFOLLOW) != 0)
            break;
        image_folder_remove_foreign(part->open, name.text);
    }
    return error;
}

static int is_named(const image_part *part)
{
    image_name name = part_name(part);

    return image_folder_names(part->open->fd, name.text, part->fd);
}

/* The file has lost its name: why? */
static image_state fate_of(image_part *part, mode_t mode)
{
    image_part_close(part);
    switch (mode & 0777) {
    case MODE_BROKEN:
        return IMAGE_BROKEN;
    case MODE_NO_ROOM:
        return IMAGE_NO_ROOM;
    default:
        return IMAGE_LATE;      /* published, and perhaps evicted again */
    }
}

/* Is the file what the fetch at this place made of it?  An emptied one, or another that has the
 * number of one that was removed, is not. */
static int is_fetchs_own(const image_part *part, const struct stat *st)
{
    apr_uint64_t size = part->place < 0 ? 0 : fetches_at(part->place)->size;

    return size > 0 && size == (apr_uint64_t)st->st_size;
}

/*
 * The lock is ours, so whoever fetched is dead, or has left it.  Of such a fetch there may be bytes
 * in the file that nodes were sent: then they stay.  One that had not come so far is over, and so
 * is one whose file had this one's number before it: others must not find it instead of ours.
 * They may have the file of a fetch that nobody remembers open: it is not touched.
 */
static image_state take_over(image_part *part)
{
    struct stat st;

    if (fstat(part->fd, &st) != 0)
        return IMAGE_NO_ROOM;
    part->place = fetches_of(st.st_dev, st.st_ino);
    if (is_fetchs_own(part, &st))
        return IMAGE_MISSING;
    fetches_lost(st.st_dev, st.st_ino);
    part->place = -1;
    if (st.st_size > 0) {
        image_part_drop(part);
        return IMAGE_LATE;
    }
    if ((st.st_mode & 0777) != MODE_FETCHING && fchmod(part->fd, MODE_FETCHING) != 0) {
        image_folder_trouble(part->open, "can't take a file over", errno);
        return IMAGE_NO_ROOM;
    }
    return IMAGE_MISSING;
}

image_state image_part_look(image_part *part)
{
    struct stat st;

    if (fstat(part->fd, &st) != 0)
        return IMAGE_NO_ROOM;
    if (!is_named(part))
        return fate_of(part, st.st_mode);
    if (flock(part->fd, LOCK_EX | LOCK_NB) != 0) {
        if (errno != EWOULDBLOCK && errno != EINTR) {
            image_folder_trouble(part->open, "can't lock a file", errno);
            return IMAGE_NO_ROOM;
        }
        part->place = fetches_of(st.st_dev, st.st_ino);
        return is_fetchs_own(part, &st) ? IMAGE_GROWING : IMAGE_LATE;
    }
    /* Its last owner may have ended it between the two looks. */
    if (!is_named(part)) {
        image_part_close(part);
        return IMAGE_LATE;
    }
    return take_over(part);
}

void image_part_drop(image_part *part)
{
    image_name name = part_name(part);

    (void)unlinkat(part->open->fd, name.text, 0);
    image_part_close(part);
}

void image_part_leave(image_part *part)
{
    if (part->place < 0) {
        image_part_drop(part);
        return;
    }
    fetches_leave(part->place);
    image_part_close(part);
}

/* ------------------------------------------------------------------ fetching */

void image_part_begin(image_part *part, int entrypoint)
{
    struct stat st;

    if (part->place >= 0)
        fetches_adopt(part->place);
    else if (fstat(part->fd, &st) == 0)
        part->place = fetches_begin(entrypoint, part->digest, st.st_dev, st.st_ino);
    if (part->place >= 0)
        part->size = (apr_off_t)fetches_at(part->place)->size;
}

/* Make room in the folder for an image of this size.  IMAGE_MISSING, or IMAGE_NO_ROOM. */
static image_state make_room(image_part *part, apr_off_t size)
{
    const open_folder *open = part->open;
    image_name name = part_name(part);

    if (size <= open->folder->size)
        return image_folder_make_room(open, name.text, part->fd, size)
               && (size >= part->size || ftruncate(part->fd, size) == 0) ? IMAGE_MISSING
                                                                         : IMAGE_NO_ROOM;
    if (!troubles_met_before(apr_pstrcat(open->r->pool, "large ", part->digest, NULL), 0))
        ap_log_rerror(APLOG_MARK, APLOG_WARNING, 0, open->r, "an image of %" APR_OFF_T_FMT
                      " bytes is larger than WaltVpnCacheSize %" APR_OFF_T_FMT ": it is relayed; "
                      "raise WaltVpnCacheSize", size, open->folder->size);
    return IMAGE_NO_ROOM;
}

image_state image_part_reserve(image_part *part, apr_off_t size)
{
    image_state state;

    if (!part->scratch) {
        apr_pool_create(&part->scratch, part->open->r->pool);
        part->buffer = apr_palloc(part->scratch, WRITE_PIECE);
        part->compared = apr_palloc(part->scratch, COMPARE_PIECE);
        part->hash = EVP_MD_CTX_new();
    }
    if (!part->hash || !EVP_DigestInit_ex(part->hash, EVP_sha256(), NULL))
        return IMAGE_NO_ROOM;
    if (part->size != size && (state = make_room(part, size)) != IMAGE_MISSING)
        return state;
    fetches_size(part->place, size);
    if (part->size > 0 && part->size != size)   /* an earlier try was of another file */
        fetches_differ(part->place, 0);
    part->size = size;
    part->position = part->written = 0;
    part->buffered = 0;
    part->known = part->place < 0 ? 0 : (apr_off_t)fetches_at(part->place)->written;
    part->wrote = waiting_clock();
    return IMAGE_MISSING;
}

/* Write what is in the buffer, and let it be known.  After an error the rest is in the buffer, and
 * may be written later. */
static apr_status_t write_buffer(image_part *part)
{
    const char *bytes = part->buffer;
    apr_off_t before = part->written;

    while (part->buffered > 0) {
        ssize_t put = pwrite(part->fd, bytes, part->buffered, part->written);

        if (put < 0 && errno == EINTR)
            continue;
        if (put <= 0) {
            apr_status_t rv = put < 0 ? errno : APR_ENOSPC;

            memmove(part->buffer, bytes, part->buffered);
            image_folder_trouble(part->open, "can't write an image", rv);
            return rv;
        }
        bytes += put;
        part->buffered -= (apr_size_t)put;
        part->written += put;
    }
    fetches_written(part->place, part->written);
    part->wrote = waiting_clock();
    /* Begin to write to the disk as it comes, so that the fsync at the end is short. */
    if (before / WRITE_BEHIND != part->written / WRITE_BEHIND)
        (void)sync_file_range(part->fd, before / WRITE_BEHIND * WRITE_BEHIND, WRITE_BEHIND,
                              SYNC_FILE_RANGE_WRITE);
    return APR_SUCCESS;
}

/* Bytes of an earlier try come again: pass over those that are the same.  Returns how many of
 * them were passed over; less than there are: the next ones differ, or are not known. */
static apr_size_t pass_known(image_part *part, const char *bytes, apr_size_t length)
{
    apr_size_t passed = 0;

    while (passed < length && part->position < part->known) {
        apr_size_t piece = length - passed;

        if (piece > COMPARE_PIECE)
            piece = COMPARE_PIECE;
        if ((apr_off_t)piece > part->known - part->position)
            piece = (apr_size_t)(part->known - part->position);
        if (pread(part->fd, part->compared, piece, part->position) != (ssize_t)piece
            || memcmp(part->compared, bytes + passed, piece) != 0) {
            ap_log_rerror(APLOG_MARK, APLOG_INFO, 0, part->open->r, "the WalT server's boot.img "
                          "differs from what it sent before, behind byte %" APR_OFF_T_FMT ": nodes "
                          "that hold more of that start over", part->position);
            part->known = part->position;
            fetches_differ(part->place, part->position);
            break;
        }
        passed += piece;
        part->position += (apr_off_t)piece;
        part->written = part->position;
    }
    return passed;
}

apr_status_t image_part_take(image_part *part, const char *bytes, apr_size_t length)
{
    apr_size_t passed;
    apr_status_t rv;

    EVP_DigestUpdate(part->hash, bytes, length);
    passed = pass_known(part, bytes, length);
    bytes += passed;
    length -= passed;
    while (length > 0) {
        apr_size_t room = WRITE_PIECE - part->buffered;
        apr_size_t piece = length < room ? length : room;

        memcpy(part->buffer + part->buffered, bytes, piece);
        part->buffered += piece;
        part->position += (apr_off_t)piece;
        bytes += piece;
        length -= piece;
        if ((part->buffered == WRITE_PIECE || waiting_clock() - part->wrote >= WRITE_EVERY)
            && (rv = write_buffer(part)) != APR_SUCCESS)
            return rv;
    }
    fetches_progress(part->place, part->position);
    return APR_SUCCESS;
}

apr_status_t image_part_pause(image_part *part)
{
    if (part->buffered < PAUSE_PIECE && waiting_clock() - part->wrote < PAUSE_EVERY)
        return APR_SUCCESS;
    return part->buffered > 0 ? write_buffer(part) : APR_SUCCESS;
}

int image_part_is_right(image_part *part)
{
    return image_digest_is(part->hash, part->digest);
}

int image_part_can_try_again(const image_part *part)
{
    return part->fd >= 0 && is_named(part);
}

/* Give the file its name in the folder.  0, or an errno; ENOENT: it was removed, and what has its
 * name now is another's. */
static int rename_part(const image_part *part)
{
    image_name name = part_name(part), published = image_name_of(part->digest, ".img");
    int locked = image_folder_lock(part->open);
    int error = !is_named(part) ? ENOENT
                : renameat(part->open->fd, name.text, part->open->fd, published.text) ? errno : 0;

    if (locked)
        image_folder_unlock(part->open);
    return error;
}

image_state image_part_publish(image_part *part)
{
    int error;

    if (write_buffer(part) != APR_SUCCESS) {
        image_part_abandon(part, IMAGE_NO_ROOM);
        return IMAGE_NO_ROOM;
    }
    /* Used now: else the image that took longest to come would be the first to go. */
    image_folder_used_now(part->fd);
    image_digest_note(part->fd, part->digest);
    /* Before it has its name: who finds that trusts what nodes hold of it. */
    fetches_prove(part->place);
    if ((error = rename_part(part)) == ENOENT) {        /* which is no trouble */
        image_part_abandon(part, IMAGE_BROKEN);
        return IMAGE_BROKEN;
    }
    if (error != 0) {
        image_folder_trouble(part->open, "can't publish an image", error);
        image_part_abandon(part, IMAGE_NO_ROOM);
        return IMAGE_NO_ROOM;
    }
    image_folder_is_sound(part->open);
    return IMAGE_READY;
}

void image_part_settle(image_part *part)
{
    image_name published = image_name_of(part->digest, ".img");

    if (part->fd < 0)
        return;
    if (fsync(part->fd) == 0) {
        (void)fsync(part->open->fd);
    }
    else {
        image_folder_trouble(part->open, "can't keep an image", errno);
        if (image_folder_names(part->open->fd, published.text, part->fd))
            (void)unlinkat(part->open->fd, published.text, 0);
    }
    fetches_end(part->place);
    image_part_close(part);
}

void image_part_abandon(image_part *part, image_state why)
{
    image_name name = part_name(part);

    if (part->fd < 0)
        return;
    /* Marked first, unlinked then: who sees it gone finds the mark. */
    (void)fchmod(part->fd, why == IMAGE_NO_ROOM ? MODE_NO_ROOM : MODE_BROKEN);
    if (is_named(part))
        (void)unlinkat(part->open->fd, name.text, 0);
    fetches_end(part->place);
    part->place = -1;
    image_part_close(part);
}

int image_part_exhausted(const image_part *part)
{
    int fd = fcntl(part->fd, F_DUPFD_CLOEXEC, 0);

    if (fd < 0) {
        image_folder_trouble(part->open, "can't fetch an image", errno);
        return 1;
    }
    close(fd);
    return 0;
}

apr_status_t image_part_open_again(const image_part *part, apr_int32_t flags, apr_pool_t *pool,
                                   apr_file_t **file)
{
    image_name name = part_name(part);
    apr_os_file_t fd = openat(part->open->fd, name.text, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    struct stat one, other;

    if (fd < 0)
        return errno;
    if (fstat(fd, &one) != 0 || fstat(part->fd, &other) != 0 || one.st_ino != other.st_ino
        || one.st_dev != other.st_dev) {
        close(fd);
        return APR_ENOENT;
    }
    return apr_os_file_put(file, &fd, flags, pool);
}
