/*
 * store/folder.c: the folder of boot images: is it fit for use, what is in it, what has to go.
 *
 * An image is a file named by its SHA-256: DIGEST.img.  On its way there it is DIGEST.part
 * (store/part.c).  All files together, with those on their way at their full length, take no more
 * than the folder may hold.
 */
#include "store/folder.h"
#include "ledger/counters.h"
#include "ledger/fetches.h"
#include "ledger/troubles.h"
#include "ledger/waiting.h"
#include "request/times.h"

#include "apr_strings.h"
#include "apr_thread_proc.h"
#include "apr_user.h"
#include "unixd.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

/* How often is looked whether the folder is still locked. */
#define LOCK_LOOK apr_time_from_msec(1)

/* ------------------------------------------------------------------ is it fit for use? */

/* The user that children run as: who may own the folder.  A server that was not started by root
 * stays who it is. */
static uid_t child_user(void)
{
    return geteuid() == 0 ? ap_unixd_config.user_id : geteuid();
}

static const char *user_name(apr_pool_t *p, uid_t uid)
{
    char *name;

    if (apr_uid_name_get(&name, uid, p) == APR_SUCCESS)
        return name;
    return apr_psprintf(p, "#%ld", (long)uid);
}

/*
 * access(2) as the children will see it; called while the configuration is read.  A process that
 * becomes what they are, with all groups of their user, has a look and ends.
 */
static int child_access(apr_pool_t *p, const char *path, int mode)
{
    enum { UNABLE = 255 };      /* not an errno */
    apr_proc_t child;
    apr_exit_why_e why;
    int code;
    apr_status_t rv = geteuid() == 0 ? apr_proc_fork(&child, p) : APR_ENOTIMPL;

    if (rv == APR_INCHILD) {
        if (setgid(ap_unixd_config.group_id) != 0
            || initgroups(user_name(p, child_user()), ap_unixd_config.group_id) != 0
            || setuid(ap_unixd_config.user_id) != 0)
            _exit(UNABLE);
        _exit(access(path, mode) == 0 ? 0 : errno);
    }
    if (rv == APR_INPARENT && apr_proc_wait(&child, &code, &why, APR_WAIT) == APR_CHILD_DONE
        && APR_PROC_CHECK_EXIT(why) && code != UNABLE) {
        errno = code;
        return code ? -1 : 0;
    }
    return access(path, mode);
}

/* The longest part of the folder's path that is there: it is made in that. */
static const char *existing_part(apr_pool_t *p, const image_folder *folder)
{
    char *path = apr_pstrdup(p, folder->root), *slash;
    struct stat st;

    while (stat(path, &st) != 0 && errno == ENOENT && (slash = strrchr(path, '/')))
        slash[slash == path] = '\0';
    return path;
}

const char *image_folder_fault(apr_pool_t *p, const image_folder *folder)
{
    const char *owner = user_name(p, child_user()), *parent = existing_part(p, folder);
    struct stat st;

    if (strcmp(parent, folder->root) != 0)
        return child_access(p, parent, X_OK) == 0 ? NULL
               : apr_psprintf(p, "httpd's children run as %s and may not enter %s (%s); name a "
                              "folder elsewhere", owner, parent, strerror(errno));
    if (stat(folder->root, &st) != 0)
        return apr_psprintf(p, "it can't be reached (%s)", strerror(errno));
    if (!S_ISDIR(st.st_mode))
        return "it is not a folder; name one, or a path where nothing is";
    if (st.st_uid != child_user() && !(geteuid() != 0 && st.st_uid == ap_unixd_config.user_id))
        return apr_psprintf(p, "it belongs to %s, and httpd's children run as %s; name a folder "
                            "for images alone, or, if this is one, type \"chown %s %s\"",
                            user_name(p, st.st_uid), owner, owner, folder->root);
    if ((st.st_mode & 0700) != 0700 || (st.st_mode & 0022))
        return apr_psprintf(p, "its mode is %04o, and it must be for %s alone to write; name a "
                            "folder for images alone, or, if this is one, type \"chmod 700 %s\"",
                            (unsigned)st.st_mode & 07777, owner, folder->root);
    if (child_access(p, folder->root, R_OK | W_OK | X_OK) == 0)
        return NULL;
    if (errno == EROFS)
        return "its file system is read-only; name a folder elsewhere, or, if it is so for httpd "
               "alone, name this one in ReadWritePaths= of its systemd unit";
    /* Its own mode is right, so it is a folder above it.  What another user than the server's asks
     * of configtest says nothing about the server. */
    return st.st_uid != child_user() ? NULL
           : apr_psprintf(p, "httpd's children run as %s and may not enter it (%s); open the "
                          "folders above it to them, or name a folder elsewhere", owner,
                          strerror(errno));
}

/* ------------------------------------------------------------------ making it */

int image_folder_be_child(int be)
{
    if (getuid() != 0)
        return 1;
    return be ? setegid(ap_unixd_config.group_id) == 0 && seteuid(ap_unixd_config.user_id) == 0
              : seteuid(0) == 0 && setegid(getgid()) == 0;
}

/* Is this a folder of ours in which nobody else can put a link where we have made something? */
static int is_ours_alone(int fd)
{
    struct stat st;

    return fstat(fd, &st) == 0 && st.st_uid == geteuid()
           && (!(st.st_mode & 0022) || (st.st_mode & S_ISVTX));
}

/*
 * Make the folders of this path below an open one, which this closes: for all to enter, whatever
 * the umask, but for the last one, which is given to the children.  No link is followed, and what
 * is given away was just made.  0, or an errno.
 */
static int make_below(int fd, char *path)
{
    char *name, *rest;
    int error = 0;

    for (name = apr_strtok(path, "/", &rest); name && !error; name = apr_strtok(NULL, "/", &rest)) {
        int next = mkdirat(fd, name, 0700) != 0 ? -1
                   : openat(fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

        error = next < 0 ? errno : !is_ours_alone(next) ? EPERM : fchmod(next, 0755) ? errno : 0;
        close(fd);
        fd = next;
    }
    if (!error && (fchmod(fd, 0700) != 0
                   || (geteuid() == 0 && fchown(fd, ap_unixd_config.user_id,
                                                ap_unixd_config.group_id) != 0)))
        error = errno;
    close(fd);
    return error;
}

/* Make the folder in what there is of its path, or with is_trial see whether that would work: as
 * root only where nobody else can put a link in the way, else as who the children are.  0, or an
 * errno. */
static int make(apr_pool_t *p, const image_folder *folder, const char *parent, int is_trial)
{
    int fd = open(parent, O_PATH | O_DIRECTORY | O_CLOEXEC), as_child, error;

    if (fd < 0)
        return errno;
    as_child = !is_ours_alone(fd);
    if (is_trial) {
        close(fd);
        return (as_child ? child_access(p, parent, W_OK) : access(parent, W_OK)) ? errno : 0;
    }
    if (as_child && !image_folder_be_child(1)) {
        error = errno;
        close(fd);
    }
    else {
        error = make_below(fd, apr_pstrdup(p, folder->root + strlen(parent)));
    }
    if (as_child)
        (void)image_folder_be_child(0);
    return error;
}

const char *image_folder_missing(apr_pool_t *p, const image_folder *folder, int is_trial)
{
    const char *parent = existing_part(p, folder);
    struct stat st;
    int error;

    if (strcmp(parent, folder->root) == 0)
        return NULL;
    if (lstat(folder->root, &st) == 0)
        return "it is a link to a folder that is not there, so that images are relayed; make that "
               "folder, or mount its disk";
    if ((error = make(p, folder, parent, is_trial)) == 0)
        return NULL;
    return apr_psprintf(p, "it is not there and can't be made in %s (%s), so that images are "
                        "relayed; mend that and type \"install -d -o %s -m 700 %s\", or name a "
                        "folder elsewhere", parent, strerror(error), user_name(p, child_user()),
                        folder->root);
}

/* ------------------------------------------------------------------ files in it */

int image_folder_descriptor(const image_folder *folder)
{
    return open(folder->root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

image_name image_name_of(const char *digest, const char *extension)
{
    image_name name;

    memcpy(name.text, digest, IMAGE_DIGEST_LENGTH);
    strcpy(name.text + IMAGE_DIGEST_LENGTH, extension);
    return name;
}

/* Is this the name of a file of ours with this extension? */
static int is_ours(const char *name, const char *extension)
{
    return strspn(name, "0123456789abcdef") == IMAGE_DIGEST_LENGTH
           && strcmp(name + IMAGE_DIGEST_LENGTH, extension) == 0;
}

void image_folder_used_now(int fd)
{
    /* The last use is kept as the time of access. */
    static const struct timespec now[2] = { { 0, UTIME_NOW }, { 0, UTIME_OMIT } };

    (void)futimens(fd, now);
}

int image_folder_names(int folder_fd, const char *name, int fd)
{
    struct stat named, opened;

    return fstatat(folder_fd, name, &named, AT_SYMLINK_NOFOLLOW) == 0 && fstat(fd, &opened) == 0
           && named.st_dev == opened.st_dev && named.st_ino == opened.st_ino;
}

/* Under which a folder's troubles are known. */
static const char *troubled(apr_pool_t *p, const image_folder *folder)
{
    return apr_pstrcat(p, "folder ", folder->root, NULL);
}

void image_folder_trouble(const open_folder *open, const char *what, int kind)
{
    if (!troubles_met_before(troubled(open->pool, open->folder), (unsigned)kind))
        ap_log_error(APLOG_MARK, APLOG_WARNING, kind & ~TROUBLE_PASSING, open->server, "%s in "
                     "WaltVpnCacheRoot %s: images are relayed until this is mended", what,
                     open->folder->root);
}

const char *image_folder_trouble_of(apr_pool_t *p, const image_folder *folder)
{
    int kind = troubles_of(troubled(p, folder));
    char text[120];

    return kind < 0 ? NULL
           : apr_pstrdup(p, apr_strerror(kind & ~TROUBLE_PASSING, text, sizeof(text)));
}

void image_folder_is_sound(const open_folder *open)
{
    if (troubles_forget(troubled(open->pool, open->folder)))
        ap_log_error(APLOG_MARK, APLOG_NOTICE, 0, open->server, "WaltVpnCacheRoot %s: images are "
                      "kept again", open->folder->root);
}

void image_folder_is_readable(const open_folder *open)
{
    if (troubles_have_passed(troubled(open->pool, open->folder), READING_AGAIN))
        image_folder_is_sound(open);
}

int image_folder_open(open_folder *open, apr_pool_t *pool, const walt_vpn_entrypoint *entrypoint)
{
    open->server = entrypoint->server;
    open->entrypoint = entrypoint->place;
    open->pool = pool;
    open->folder = entrypoint->folder;
    open->fd = image_folder_descriptor(open->folder);
    if (open->fd < 0)
        image_folder_trouble(open, "can't open the folder", errno | TROUBLE_PASSING);
    return open->fd >= 0;
}

void image_folder_close(open_folder *open)
{
    if (open->fd >= 0)
        close(open->fd);
    open->fd = -1;
}

/* Remove what stands where one of our files belongs, whatever it is. */
static void remove_foreign(const open_folder *open, const char *name)
{
    ap_log_error(APLOG_MARK, APLOG_WARNING, 0, open->server, "%s/%s is not a file of the cache: "
                  "removed", open->folder->root, name);
    if (unlinkat(open->fd, name, 0) != 0)
        (void)unlinkat(open->fd, name, AT_REMOVEDIR);
}

int image_folder_open_file(const open_folder *open, const char *name, int flags, struct stat *st)
{
    /* O_NONBLOCK: whatever stands there, a FIFO too, is not waited for. */
    int fd = openat(open->fd, name, flags | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW, 0600);
    int error = errno;

    if (fd >= 0 && fstat(fd, st) == 0 && S_ISREG(st->st_mode))
        return fd;
    if (fd >= 0) {
        close(fd);
        error = EISDIR;
    }
    /* The folder itself may be what can't be entered, or written; or another thread has removed the
     * thing. */
    if (error == EACCES || error == ELOOP || error == EISDIR) {
        if (fstatat(open->fd, name, st, AT_SYMLINK_NOFOLLOW) == 0) {
            remove_foreign(open, name);
            error = ENOENT;
        }
        else if (error != EACCES || !(flags & O_CREAT)) {
            error = errno;
        }
    }
    errno = error;
    return -1;
}

/* ------------------------------------------------------------------ what is in it */

/* Remove a .part that no fetch is at: nobody holds its lock.  1: it was. */
static int clear_dead_part(const open_folder *open, const char *digest)
{
    image_name name = image_name_of(digest, ".part");
    struct stat st;
    int fd = image_folder_open_file(open, name.text, O_RDONLY, &st);
    int dead;

    if (fd < 0)
        return 0;
    dead = flock(fd, LOCK_EX | LOCK_NB) == 0 && image_folder_names(open->fd, name.text, fd)
           && unlinkat(open->fd, name.text, 0) == 0;
    close(fd);
    return dead;
}

/* What is to go comes first: what fetches have left, then images, the least recently used first. */
static int by_worth(const void *a, const void *b)
{
    const folder_file *one = a, *other = b;

    if (one->is_image != other->is_image)
        return one->is_image - other->is_image;
    return one->used < other->used ? -1 : one->used > other->used;
}

/* The files of ours in the folder, as folder_file in p, by worth.  An error: it can't be read. */
static apr_status_t list_folder(apr_pool_t *p, const image_folder *folder,
                                apr_array_header_t **files)
{
    const apr_int32_t wanted = APR_FINFO_NAME | APR_FINFO_SIZE | APR_FINFO_CSIZE | APR_FINFO_ATIME;
    apr_finfo_t found;
    apr_dir_t *names;
    apr_status_t rv = apr_dir_open(&names, folder->root, p);

    *files = apr_array_make(p, 16, sizeof(folder_file));
    if (rv != APR_SUCCESS)
        return rv;
    /* APR_INCOMPLETE: it has gone meanwhile. */
    while ((rv = apr_dir_read(&found, wanted, names)) == APR_SUCCESS || rv == APR_INCOMPLETE) {
        int is_image = is_ours(found.name, ".img");
        folder_file *file;

        if (rv != APR_SUCCESS || (!is_image && !is_ours(found.name, ".part")))
            continue;
        file = apr_array_push(*files);
        apr_cpystrn(file->digest, found.name, sizeof(file->digest));
        file->is_image = is_image;
        file->size = is_image || found.csize < found.size ? found.size
                     : found.csize;     /* taken beforehand */
        file->used = found.atime;
    }
    apr_dir_close(names);
    qsort((*files)->elts, (size_t)(*files)->nelts, sizeof(folder_file), by_worth);
    return APR_SUCCESS;
}

/* Remove this file if it may go.  1: it was. */
static int evict(const open_folder *open, const folder_file *file)
{
    image_name name = image_name_of(file->digest, ".img");

    if (!file->is_image)
        return clear_dead_part(open, file->digest);
    if (unlinkat(open->fd, name.text, 0) != 0)
        return 0;
    counters_at(open->entrypoint)->evictions++;
    ap_log_error(APLOG_MARK, APLOG_INFO, 0, open->server, "evicted %s from %s to make room",
                 name.text, open->folder->root);
    return 1;
}

/* Take blocks for a file now rather than meet ENOSPC in the middle, where the file system has such
 * a call; the file becomes no longer.  0, or an errno. */
static int take_blocks(int fd, apr_off_t size)
{
    struct rlimit longest;

    if (getrlimit(RLIMIT_FSIZE, &longest) == 0 && longest.rlim_cur != RLIM_INFINITY
        && (rlim_t)size > longest.rlim_cur)
        return EFBIG;
    while (size > 0 && fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, size) != 0) {
        if (errno != EINTR)
            return errno == EOPNOTSUPP ? 0 : errno;
    }
    return 0;
}

/* Has the disk room for a file of this many bytes when this many others are gone?  Where blocks
 * can be taken beforehand that is tried, which knows of quotas too. */
static int would_fit(int fd, apr_off_t size, apr_off_t others)
{
    struct stat st;

    if (size <= others || fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, size - others) == 0)
        return 1;
    return errno == EOPNOTSUPP && fstat(fd, &st) == 0 && size - st.st_size <= others;
}

/* The files of ours in the folder, by worth.  Adds to total the bytes that they take, or will take,
 * but for this image's .part, and to images those of images.  An error: it can't be read. */
static apr_status_t list_with_sizes(const open_folder *open, const char *own,
                                    apr_array_header_t **files, apr_off_t *total,
                                    apr_off_t *images)
{
    apr_status_t rv = list_folder(open->pool, open->folder, files);
    int i;

    for (i = 0; i < (*files)->nelts; i++) {
        folder_file *file = &APR_ARRAY_IDX(*files, i, folder_file);
        apr_off_t whole = file->is_image ? 0 : fetches_size_of(open->folder->root, file->digest);

        if (!file->is_image && strcmp(file->digest, own) == 0)
            file->size = 0;     /* locked by its fetch, it stays */
        else if (whole > file->size)
            file->size = whole;
        *total += file->size;
        *images += file->is_image ? file->size : 0;
    }
    return rv;
}

/*
 * Remove others until this file fits beside them, into the folder's size and onto the disk, and
 * take its blocks.  The disk is found full by that, or by the caller (is_full), as where blocks
 * can't be taken beforehand.  ROOM_TROUBLE: errno.
 */
static folder_room make_fit(const open_folder *open, const char *own, int fd, apr_off_t size,
                            int is_full, int *evicted)
{
    apr_off_t total = size, images = 0;
    apr_array_header_t *files;
    int i, error = list_with_sizes(open, own, &files, &total, &images);

    for (i = 0; error == 0; i++) {
        const folder_file *file = &APR_ARRAY_IDX(files, i, folder_file);

        error = is_full || total > open->folder->size ? ENOSPC : take_blocks(fd, size);
        if (error == 0)
            return ROOM_MADE;
        if ((error != ENOSPC && error != EDQUOT) || i == files->nelts)
            break;
        if (file->is_image
            && (total - images > open->folder->size || !would_fit(fd, size, images)))
            break;
        if (file->is_image && !evicted)
            return ROOM_TAKEN;
        images -= file->is_image ? file->size : 0;
        error = 0;
        if (!evict(open, file))
            continue;
        total -= file->size;
        is_full = 0;
        if (file->is_image)
            ++*evicted;
    }
    errno = error;
    return total > open->folder->size ? ROOM_NONE : ROOM_TROUBLE;
}

int image_folder_lock(const open_folder *open)
{
    apr_time_t began = waiting_clock(), waited = 0;
    int rv;

    while ((rv = flock(open->fd, LOCK_EX | LOCK_NB)) != 0 && errno == EWOULDBLOCK
           && waited < FOLDER_WAIT) {
        apr_sleep(LOCK_LOOK);
        waited = waiting_clock() - began;
    }
    if (waited > 0)
        histogram_add_time(&counters_at(open->entrypoint)->waiting_times, waited);
    if (rv != 0 && errno == EWOULDBLOCK)
        errno = ETIMEDOUT;
    return rv == 0;
}

void image_folder_unlock(const open_folder *open)
{
    flock(open->fd, LOCK_UN);
}

folder_room image_folder_make_room(const open_folder *open, const char *digest, int fd,
                                   apr_off_t size, int is_full, int *evicted)
{
    folder_room room = image_folder_lock(open) ? make_fit(open, digest, fd, size, is_full, evicted)
                                               : ROOM_TROUBLE;
    int error = errno;

    image_folder_unlock(open);
    errno = error;
    return room;
}

apr_array_header_t *image_folder_list(apr_pool_t *p, const image_folder *folder)
{
    apr_array_header_t *images = apr_array_make(p, 16, sizeof(folder_file)), *files;
    int i;

    (void)list_folder(p, folder, &files);
    for (i = files->nelts - 1; i >= 0 && APR_ARRAY_IDX(files, i, folder_file).is_image; i--)
        APR_ARRAY_PUSH(images, folder_file) = APR_ARRAY_IDX(files, i, folder_file);
    return images;
}
