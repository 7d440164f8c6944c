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
#include "request/times.h"

#include "apr_strings.h"
#include "apr_user.h"
#include "unixd.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

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
static int child_access(const char *path, int mode, const char *user)
{
    enum { UNABLE = 255 };      /* not an errno */
    pid_t child = geteuid() == 0 ? fork() : -1;
    int status;

    if (child == 0) {
        if (setgid(ap_unixd_config.group_id) != 0
            || initgroups(user, ap_unixd_config.group_id) != 0
            || setuid(ap_unixd_config.user_id) != 0)
            _exit(UNABLE);
        _exit(access(path, mode) == 0 ? 0 : errno);
    }
    if (child > 0) {
        while (waitpid(child, &status, 0) < 0) {
            if (errno != EINTR)
                return access(path, mode);
        }
        if (WIFEXITED(status) && WEXITSTATUS(status) != UNABLE) {
            errno = WEXITSTATUS(status);
            return errno ? -1 : 0;
        }
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
        return child_access(parent, X_OK, owner) == 0 ? NULL
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
    if (child_access(folder->root, R_OK | W_OK | X_OK, owner) == 0)
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
    const char *path = folder->root + strlen(parent);
    int fd = open(parent, O_PATH | O_DIRECTORY | O_CLOEXEC), error = 0;

    if (fd < 0)
        return errno;
    if (is_ours_alone(fd) && !is_trial)
        return make_below(fd, apr_pstrdup(p, path));
    if (is_ours_alone(fd)) {
        error = access(parent, W_OK) ? errno : 0;
    }
    else if (is_trial) {
        error = ap_strchr_c(path + 1, '/') ? ENOENT
                : child_access(parent, W_OK, user_name(p, child_user())) ? errno : 0;
    }
    else {
        error = !image_folder_be_child(1) || mkdir(folder->root, 0700) != 0 ? errno : 0;
        (void)image_folder_be_child(0);
    }
    close(fd);
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

/* Its kind is the error that began it, with TROUBLE_PASSING if that was met in reading. */
static void trouble_of_kind(const open_folder *open, const char *what, int error, unsigned kind)
{
    const char *who = troubled(open->pool, open->folder);
    int known = troubles_of(who);

    if (!troubles_met_before(who, known >= 0 ? (unsigned)known : kind))
        ap_log_error(APLOG_MARK, APLOG_WARNING, error, open->server, "%s in WaltVpnCacheRoot %s: "
                      "images are relayed until this is mended", what, open->folder->root);
}

void image_folder_trouble(const open_folder *open, const char *what, int error)
{
    trouble_of_kind(open, what, error, (unsigned)error);
}

void image_folder_trouble_reading(const open_folder *open, const char *what, int error)
{
    trouble_of_kind(open, what, error, (unsigned)error | TROUBLE_PASSING);
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
    if (troubles_may_have_passed(READING_AGAIN)
        && troubles_of(troubled(open->pool, open->folder)) >= TROUBLE_PASSING)
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
        image_folder_trouble_reading(open, "can't open the folder", errno);
    return open->fd >= 0;
}

void image_folder_close(open_folder *open)
{
    if (open->fd >= 0)
        close(open->fd);
    open->fd = -1;
}

void image_folder_remove_foreign(const open_folder *open, const char *name)
{
    ap_log_error(APLOG_MARK, APLOG_WARNING, 0, open->server, "%s/%s is not a file of the cache: "
                  "removed", open->folder->root, name);
    if (unlinkat(open->fd, name, 0) != 0)
        (void)unlinkat(open->fd, name, AT_REMOVEDIR);
}

/* ------------------------------------------------------------------ what is in it */

/* A file of the folder, as one look at it found it. */
typedef struct {
    char name[IMAGE_DIGEST_LENGTH + sizeof(".part")];
    apr_off_t size;
    struct timespec used;
    int published;              /* .img, which may go; else a .part that is being fetched */
} folder_entry;

/* Remove a .part that no fetch is at: nobody holds its lock.  1: it was. */
static int clear_dead_part(const open_folder *open, const char *name)
{
    /* O_NONBLOCK: whatever stands there, a FIFO too, is not waited for. */
    int fd = openat(open->fd, name, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW);
    int dead;

    if (fd < 0)
        return 0;
    dead = flock(fd, LOCK_EX | LOCK_NB) == 0 && image_folder_names(open->fd, name, fd)
           && unlinkat(open->fd, name, 0) == 0;
    if (dead)
        fetches_lost(open->folder->root, apr_pstrmemdup(open->pool, name, IMAGE_DIGEST_LENGTH));
    close(fd);
    return dead;
}

/* The folder's names, to be read from the first on.  NULL, and errno: it can't be read. */
static DIR *open_names(int folder_fd)
{
    int fd = openat(folder_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), error;
    DIR *names = fd >= 0 ? fdopendir(fd) : NULL;

    if (!names && fd >= 0) {
        error = errno;
        close(fd);
        errno = error;
    }
    return names;
}

/* The files of ours in the folder, but for the one named except (NULL: none), as folder_entry in
 * pool.  NULL, and errno: the folder can't be read. */
static apr_array_header_t *list_folder(apr_pool_t *pool, int folder_fd, const char *except)
{
    apr_array_header_t *entries = apr_array_make(pool, 16, sizeof(folder_entry));
    DIR *names = open_names(folder_fd);
    const struct dirent *item;

    if (!names)
        return NULL;
    while ((item = readdir(names))) {
        int published = is_ours(item->d_name, ".img");
        folder_entry *entry;
        struct stat st;

        if ((!published && !is_ours(item->d_name, ".part"))
            || (except && strcmp(item->d_name, except) == 0)
            || fstatat(folder_fd, item->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0)
            continue;
        entry = apr_array_push(entries);
        strcpy(entry->name, item->d_name);
        entry->size = st.st_size;
        if (!published && (apr_off_t)st.st_blocks * 512 > entry->size)
            entry->size = (apr_off_t)st.st_blocks * 512;        /* taken beforehand */
        entry->used = st.st_atim;
        entry->published = published;
    }
    closedir(names);
    return entries;
}

static int by_last_use(const void *a, const void *b)
{
    const struct timespec *one = &((const folder_entry *)a)->used;
    const struct timespec *other = &((const folder_entry *)b)->used;

    if (one->tv_sec != other->tv_sec)
        return one->tv_sec < other->tv_sec ? -1 : 1;
    return one->tv_nsec < other->tv_nsec ? -1 : one->tv_nsec > other->tv_nsec;
}

/* Bytes that a .part takes, or will take: those of the whole image while it is fetched. */
static apr_off_t claim_of(const open_folder *open, const folder_entry *entry)
{
    apr_off_t size = 0;

    if (!entry->published)
        size = fetches_size_of(open->folder->root,
                               apr_pstrmemdup(open->pool, entry->name, IMAGE_DIGEST_LENGTH));
    return size > entry->size ? size : entry->size;
}

/* Remove this file if it may go.  1: it was. */
static int evict(const open_folder *open, const folder_entry *entry)
{
    if (!entry->published)
        return clear_dead_part(open, entry->name);
    if (unlinkat(open->fd, entry->name, 0) != 0)
        return 0;
    counters_at(open->entrypoint)->evictions++;
    ap_log_error(APLOG_MARK, APLOG_INFO, 0, open->server, "evicted %s from %s to make room",
                 entry->name, open->folder->root);
    return 1;
}

/* What is to go comes first: what fetches have left, then images, the least recently used first. */
static int by_worth(const void *a, const void *b)
{
    int one = ((const folder_entry *)a)->published, other = ((const folder_entry *)b)->published;

    return one != other ? one - other : by_last_use(a, b);
}

/* The files in the folder but for this one, as folder_entry, what is to go first before the others,
 * and the bytes of the images among them.  NULL, and errno: the folder can't be read. */
static apr_array_header_t *list_by_worth(const open_folder *open, const char *own,
                                         apr_off_t *images)
{
    apr_array_header_t *entries = list_folder(open->pool, open->fd, own);
    int i;

    *images = 0;
    for (i = 0; entries && i < entries->nelts; i++) {
        const folder_entry *entry = &APR_ARRAY_IDX(entries, i, folder_entry);

        *images += entry->published ? entry->size : 0;
    }
    if (entries)
        qsort(entries->elts, (size_t)entries->nelts, sizeof(folder_entry), by_worth);
    return entries;
}

/* Evict until this many bytes fit beside what is there. */
static folder_room evict_for(const open_folder *open, const char *own, apr_off_t size,
                             int *evicted)
{
    apr_array_header_t *entries;
    apr_off_t total = size, images;
    int i;

    if (!(entries = list_by_worth(open, own, &images)))
        return ROOM_TROUBLE;
    for (i = 0; i < entries->nelts; i++)
        total += claim_of(open, &APR_ARRAY_IDX(entries, i, folder_entry));
    for (i = 0; i < entries->nelts && total > open->folder->size; i++) {
        const folder_entry *entry = &APR_ARRAY_IDX(entries, i, folder_entry);

        if (entry->published && total - images > open->folder->size)
            return ROOM_NONE;
        if (entry->published && !evicted)
            return ROOM_TAKEN;
        if (!evict(open, entry))
            continue;
        total -= entry->size;
        if (entry->published) {
            images -= entry->size;
            ++*evicted;
        }
    }
    return total <= open->folder->size ? ROOM_MADE : ROOM_NONE;
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

folder_room image_folder_relieve(const open_folder *open, const char *own, int fd, apr_off_t size,
                                 int *evicted)
{
    apr_off_t images;
    apr_array_header_t *entries = list_by_worth(open, own, &images);
    int i;

    for (i = 0; entries && i < entries->nelts; i++) {
        const folder_entry *entry = &APR_ARRAY_IDX(entries, i, folder_entry);

        if (entry->published && !would_fit(fd, size, images))
            return ROOM_NONE;
        if (entry->published && !evicted)
            return ROOM_TAKEN;
        if (evict(open, entry)) {
            if (entry->published)
                ++*evicted;
            return ROOM_MADE;
        }
        images -= entry->published ? entry->size : 0;
    }
    return ROOM_NONE;
}

/* Take blocks for a file now rather than meet ENOSPC in the middle, where the file system has such
 * a call; the file becomes no longer.  What is in the way goes.  That there is no room is trouble
 * here. */
static folder_room take_blocks(const open_folder *open, const char *own, int fd, apr_off_t size,
                               int *evicted)
{
    struct rlimit longest;

    if (getrlimit(RLIMIT_FSIZE, &longest) == 0 && longest.rlim_cur != RLIM_INFINITY
        && (rlim_t)size > longest.rlim_cur) {
        errno = EFBIG;
        return ROOM_TROUBLE;
    }
    while (size > 0 && fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, size) != 0) {
        folder_room room = ROOM_NONE;
        int error = errno;

        if (error == EOPNOTSUPP)
            return ROOM_MADE;
        if (error == ENOSPC || error == EDQUOT)
            room = image_folder_relieve(open, own, fd, size, evicted);
        if (room != ROOM_MADE && error != EINTR) {
            errno = error;
            return room == ROOM_TAKEN ? ROOM_TAKEN : ROOM_TROUBLE;
        }
    }
    return ROOM_MADE;
}

int image_folder_lock(const open_folder *open)
{
    while (flock(open->fd, LOCK_EX) != 0) {
        if (errno != EINTR)
            return 0;
    }
    return 1;
}

void image_folder_unlock(const open_folder *open)
{
    flock(open->fd, LOCK_UN);
}

folder_room image_folder_make_room(const open_folder *open, const char *name, int fd,
                                   apr_off_t size, int *evicted)
{
    folder_room room = image_folder_lock(open) ? evict_for(open, name, size, evicted)
                                               : ROOM_TROUBLE;
    int error;

    if (room == ROOM_MADE)
        room = take_blocks(open, name, fd, size, evicted);
    error = errno;
    image_folder_unlock(open);
    if (room == ROOM_TROUBLE)
        image_folder_trouble(open, "can't make room for an image", error);
    else if (room == ROOM_NONE)
        ap_log_error(APLOG_MARK, APLOG_INFO, 0, open->server, "other fetches fill "
                     "WaltVpnCacheSize %" APR_OFF_T_FMT ": an image is relayed",
                     open->folder->size);
    return room;
}

apr_array_header_t *image_folder_list(apr_pool_t *p, const image_folder *folder)
{
    apr_array_header_t *images = apr_array_make(p, 16, sizeof(image_listing)), *entries = NULL;
    int folder_fd = image_folder_descriptor(folder), i;

    if (folder_fd >= 0) {
        entries = list_folder(p, folder_fd, NULL);
        close(folder_fd);
    }
    if (!entries)
        return images;
    qsort(entries->elts, (size_t)entries->nelts, sizeof(folder_entry), by_last_use);
    for (i = entries->nelts - 1; i >= 0; i--) {
        const folder_entry *entry = &APR_ARRAY_IDX(entries, i, folder_entry);
        image_listing *image;

        if (!entry->published)
            continue;
        image = apr_array_push(images);
        image->digest = apr_pstrmemdup(p, entry->name, IMAGE_DIGEST_LENGTH);
        image->size = entry->size;
        image->used = apr_time_from_sec(entry->used.tv_sec) + entry->used.tv_nsec / 1000;
    }
    return images;
}

apr_off_t image_folder_bytes(const apr_array_header_t *images)
{
    apr_off_t bytes = 0;
    int i;

    for (i = 0; i < images->nelts; i++)
        bytes += APR_ARRAY_IDX(images, i, image_listing).size;
    return bytes;
}
