/*
 * image_cache.c: the folder of verified boot images.
 *
 * An image is a file named by its SHA-256: DIGEST.img.  It begins as DIGEST.part, exclusively
 * flock()ed by the one request that fetches it; the kernel frees that lock when its process dies,
 * so there is no other lock to leave behind (fcntl locks would not exclude threads).  Those who
 * wait hold the same .part open and see its fate: renamed (published), or unlinked and marked in
 * its mode bits, which they can still read (MODE_BROKEN, MODE_NO_ROOM), or unlocked where it
 * was (its fetcher is dead: the next one takes over).
 *
 * A published file is never written again.  A process sends one only after it has computed the
 * digest itself, once for each file (name, device, inode, size, time of change): so a damaged or
 * foreign file is found out, whatever happened to the folder.
 */
#include "image_cache.h"
#include "boot_ledger.h"

#include "apr_atomic.h"
#include "apr_strings.h"
#include "apr_thread_cond.h"
#include "apr_thread_mutex.h"
#include "apr_user.h"
#include "ap_mpm.h"
#include "http_core.h"
#include "unixd.h"

#include <openssl/evp.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/*
 * Mode bits of a .part: being fetched, or why it was given up.  The marks give nobody a right that
 * matters, and leave the owner his: a marked file may still be met by its name, for a moment, or
 * for good if its process was killed in that moment.
 */
#define MODE_FETCHING 0600
#define MODE_BROKEN   0610      /* the WalT server did not bring it */
#define MODE_NO_ROOM  0601      /* the folder can't take it */

/* Bytes that are hashed at a time. */
#define PIECE (128 * 1024)

/* Bytes that are written at a time: large writes let the page cache be made of large folios, which
 * cost sendfile less later.  And bytes after which the disk is told to begin with them. */
#define WRITE_PIECE (512 * 1024)
#define WRITE_BEHIND (8 * 1024 * 1024)

/* How often a waiter looks, in microseconds: soon at first, since most fetches are short. */
#define LOOK_FIRST 2000
#define LOOK_LATER 25000

/* A waiter holds a thread.  When more than half of a process's threads wait, it gives up after
 * this long, so that the rest of the server goes on. */
#define CROWDED_WAIT apr_time_from_sec(8)

/* Times for futimens(2): the last use is kept as the time of access. */
static const struct timespec used_now[2] = { { 0, UTIME_NOW }, { 0, UTIME_OMIT } };

/* Files that a process remembers to have verified. */
#define VERIFIED_MAX 256

#define DIGEST_BYTES (IMAGE_DIGEST_LENGTH / 2)

/* Room for a digest, an extension and a NUL byte. */
typedef struct {
    char text[IMAGE_DIGEST_LENGTH + sizeof(".part")];
} image_name;

struct image {
    const request_rec *r;
    const image_folder *folder;
    const char *digest;
    int folder_fd;              /* -1: closed */
    int part_fd;                /* of a missing image: locked, being written; -1: closed */
    apr_off_t written;          /* bytes of it so far */
    apr_pool_t *scratch;        /* what the buffer is in; destroyed when it is written whole */
    char *buffer;               /* WRITE_PIECE bytes, for what comes next */
    apr_size_t buffered;        /* bytes in it */
    EVP_MD_CTX *hash;           /* of all those bytes */
    apr_file_t *file;           /* of a ready image; closed when r->pool goes */
    apr_off_t size;
};

/* Identity of a file's content as far as its name and stat(2) can tell. */
typedef struct {
    dev_t device;
    ino_t inode;
    off_t size;
    struct timespec changed;
    char digest[IMAGE_DIGEST_LENGTH];   /* that it was verified for: it may be renamed, or linked */
} file_identity;

typedef enum { VERDICT_NONE, VERDICT_PENDING, VERDICT_GOOD } verdict;

/* What this process knows of the folder's files; guarded by verified_mutex. */
static struct verified_file {
    verdict verdict;
    file_identity identity;
} verified_files[VERIFIED_MAX];
static unsigned verified_next;
static apr_thread_mutex_t *verified_mutex;
static apr_thread_cond_t *verified_cond;

/* Threads of this process that wait for a fetch. */
static volatile apr_uint32_t waiters;

/* ------------------------------------------------------------------ the folder */

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

const char *image_cache_fault(apr_pool_t *p, const image_folder *folder)
{
    const char *parent = ap_make_dirstr_parent(p, folder->root);
    const char *owner = user_name(p, child_user());
    struct stat st;

    if (stat(folder->root, &st) != 0) {
        if (errno != ENOENT)
            return apr_psprintf(p, "it can't be reached (%s)", strerror(errno));
        if (lstat(folder->root, &st) == 0)
            return "it is a link to a folder that is not there; make that folder, or mount its disk";
        if (stat(parent, &st) != 0)
            return apr_psprintf(p, "%s is not there either; type \"mkdir -p %s\"", parent, parent);
        if (!S_ISDIR(st.st_mode) || access(parent, W_OK | X_OK) != 0)
            return apr_psprintf(p, "it can't be made in %s (%s); name a folder elsewhere", parent,
                                S_ISDIR(st.st_mode) ? strerror(errno) : "not a folder");
        if (child_access(parent, X_OK, owner) != 0)
            return apr_psprintf(p, "httpd's children run as %s and may not enter %s (%s); name a "
                                "folder elsewhere", owner, parent, strerror(errno));
        return NULL;
    }
    if (!S_ISDIR(st.st_mode))
        return "it is not a folder; name one, or a path where nothing is";
    if (st.st_uid != child_user() && !(geteuid() != 0 && st.st_uid == ap_unixd_config.user_id))
        return apr_psprintf(p, "it belongs to %s, and httpd's children run as %s; type \"chown %s "
                            "%s\"", user_name(p, st.st_uid), owner, owner, folder->root);
    if ((st.st_mode & 0700) != 0700 || (st.st_mode & 0022))
        return apr_psprintf(p, "its mode is %04o, and it must be for %s alone to write; type "
                            "\"chmod 700 %s\"", (unsigned)st.st_mode & 07777, owner,
                            folder->root);
    if (child_access(folder->root, R_OK | W_OK | X_OK, owner) == 0)
        return NULL;
    if (errno == EROFS)
        return "its file system is read-only; name a folder elsewhere";
    /* Its own mode is right, so it is a folder above it.  What another user than the server's asks
     * of configtest says nothing about the server. */
    return st.st_uid != child_user() ? NULL
           : apr_psprintf(p, "httpd's children run as %s and may not enter it (%s); open the "
                          "folders above it to them, or name a folder elsewhere", owner,
                          strerror(errno));
}

apr_status_t image_cache_make(const image_folder *folder)
{
    if (mkdir(folder->root, 0700) != 0)
        return errno == EEXIST ? APR_SUCCESS : errno;
    if (geteuid() == 0 && chown(folder->root, ap_unixd_config.user_id,
                                ap_unixd_config.group_id) != 0)
        return errno;
    return APR_SUCCESS;
}

static image_name name_of(const char *digest, const char *extension)
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

/* The folder is in trouble: one warning, until it is over.  The caller relays meanwhile. */
static void warn_of_trouble(const image *image, const char *what, int error)
{
    if (!boot_ledger_met_before(apr_pstrcat(image->r->pool, "folder ", image->folder->root, NULL),
                                0))
        ap_log_rerror(APLOG_MARK, APLOG_WARNING, error, image->r, "%s in WaltVpnCacheRoot %s: "
                      "images are relayed until this is mended", what, image->folder->root);
}

static void trouble_is_over(const image *image)
{
    if (boot_ledger_forget(apr_pstrcat(image->r->pool, "folder ", image->folder->root, NULL)))
        ap_log_rerror(APLOG_MARK, APLOG_NOTICE, 0, image->r, "WaltVpnCacheRoot %s: images are "
                      "kept again", image->folder->root);
}

/* Does the name in the folder still stand for this open file? */
static int still_named(int folder_fd, const char *name, int fd)
{
    struct stat named, opened;

    return fstatat(folder_fd, name, &named, AT_SYMLINK_NOFOLLOW) == 0 && fstat(fd, &opened) == 0
           && named.st_dev == opened.st_dev && named.st_ino == opened.st_ino;
}

/* ------------------------------------------------------------------ verifying */

static file_identity identity_of(const struct stat *st, const char *digest)
{
    file_identity identity;

    memset(&identity, 0, sizeof(identity));     /* compared whole */
    identity.device = st->st_dev;
    identity.inode = st->st_ino;
    identity.size = st->st_size;
    identity.changed.tv_sec = st->st_mtim.tv_sec;
    identity.changed.tv_nsec = st->st_mtim.tv_nsec;
    memcpy(identity.digest, digest, sizeof(identity.digest));
    return identity;
}

/* The entry for this file, or NULL. Under verified_mutex. */
static struct verified_file *look_up(const file_identity *identity)
{
    int i;

    for (i = 0; i < VERIFIED_MAX; i++) {
        if (verified_files[i].verdict != VERDICT_NONE
            && memcmp(&verified_files[i].identity, identity, sizeof(*identity)) == 0)
            return &verified_files[i];
    }
    return NULL;
}

/* Note a verdict on this file, in place of the oldest one. Under verified_mutex. */
static void note(const file_identity *identity, verdict verdict)
{
    struct verified_file *entry = look_up(identity);

    if (!entry) {
        do {
            entry = &verified_files[verified_next++ % VERIFIED_MAX];
        } while (entry->verdict == VERDICT_PENDING);
    }
    entry->identity = *identity;
    entry->verdict = verdict;
}

static void note_good(int fd, const char *digest)
{
    struct stat st;
    file_identity identity;

    if (fstat(fd, &st) != 0)
        return;
    identity = identity_of(&st, digest);
    apr_thread_mutex_lock(verified_mutex);
    note(&identity, VERDICT_GOOD);
    apr_thread_mutex_unlock(verified_mutex);
}

/* Does the hash, which this ends, spell the digest? */
static int hash_is(EVP_MD_CTX *hash, const char *digest)
{
    unsigned char bytes[EVP_MAX_MD_SIZE];
    char text[IMAGE_DIGEST_LENGTH + 1];
    unsigned length = 0;

    if (!EVP_DigestFinal_ex(hash, bytes, &length) || length != DIGEST_BYTES)
        return 0;
    ap_bin2hex(bytes, length, text);
    return memcmp(text, digest, IMAGE_DIGEST_LENGTH) == 0;
}

/* Does the open file have this digest?  Buffer: PIECE bytes. */
static int content_is(int fd, const char *digest, char *buffer)
{
    EVP_MD_CTX *hash = EVP_MD_CTX_new();
    off_t at = 0;
    ssize_t got;
    int good = 0;

    if (hash && EVP_DigestInit_ex(hash, EVP_sha256(), NULL)) {
        while ((got = pread(fd, buffer, PIECE, at)) > 0) {
            EVP_DigestUpdate(hash, buffer, (size_t)got);
            at += got;
        }
        good = got == 0 && hash_is(hash, digest);
    }
    EVP_MD_CTX_free(hash);
    return good;
}

/*
 * Has this open file the digest that its name says?  Computed once by a process for each file;
 * threads that ask meanwhile wait for the one that computes.
 */
static int is_verified(const image *image, int fd, const struct stat *st)
{
    file_identity identity = identity_of(st, image->digest);
    struct verified_file *entry;
    apr_pool_t *scratch;
    int good;

    apr_thread_mutex_lock(verified_mutex);
    while ((entry = look_up(&identity)) && entry->verdict == VERDICT_PENDING)
        apr_thread_cond_wait(verified_cond, verified_mutex);
    if (!entry)
        note(&identity, VERDICT_PENDING);
    apr_thread_mutex_unlock(verified_mutex);
    if (entry)
        return 1;

    apr_pool_create(&scratch, image->r->pool);
    good = content_is(fd, image->digest, apr_palloc(scratch, PIECE));
    apr_pool_destroy(scratch);

    apr_thread_mutex_lock(verified_mutex);
    note(&identity, good ? VERDICT_GOOD : VERDICT_NONE);
    apr_thread_cond_broadcast(verified_cond);
    apr_thread_mutex_unlock(verified_mutex);
    return good;
}

apr_status_t image_cache_child_init(apr_pool_t *pchild)
{
    apr_status_t rv = apr_thread_mutex_create(&verified_mutex, APR_THREAD_MUTEX_DEFAULT, pchild);

    return rv == APR_SUCCESS ? apr_thread_cond_create(&verified_cond, pchild) : rv;
}

/* ------------------------------------------------------------------ opening */

static void close_part(image *image)
{
    if (image->part_fd >= 0)
        close(image->part_fd);
    image->part_fd = -1;
}

/* Close what finding and fetching needed: a slow node's download holds its image's file alone. */
static apr_status_t close_image(void *data)
{
    image *image = data;

    close_part(image);
    if (image->folder_fd >= 0)
        close(image->folder_fd);
    image->folder_fd = -1;
    EVP_MD_CTX_free(image->hash);
    image->hash = NULL;
    if (image->scratch)
        apr_pool_destroy(image->scratch);
    image->scratch = NULL;
    return APR_SUCCESS;
}

/* Remove what stands where one of our files belongs, whatever it is. */
static void remove_foreign(const image *image, const char *name)
{
    ap_log_rerror(APLOG_MARK, APLOG_WARNING, 0, image->r, "%s/%s is not a file of the cache: "
                  "removed", image->folder->root, name);
    if (unlinkat(image->folder_fd, name, 0) != 0)
        (void)unlinkat(image->folder_fd, name, AT_REMOVEDIR);
}

static apr_status_t close_file(void *data)
{
    return apr_file_close(data);
}

/*
 * Open the published image, verified, until r->pool goes, and mark it as used now.  APR_ENOENT:
 * there is none (any more); other errors are trouble with the folder.
 */
static apr_status_t open_published(image *image)
{
    image_name name = name_of(image->digest, ".img");
    const core_dir_config *core = ap_get_core_module_config(image->r->per_dir_config);
    apr_int32_t flags = APR_READ | APR_BINARY;
    apr_os_file_t fd;
    struct stat st;
    apr_status_t rv;

    /* Waiters ask often: find out without allocating. */
    if (fstatat(image->folder_fd, name.text, &st, AT_SYMLINK_NOFOLLOW) != 0)
        return errno;
    if (!S_ISREG(st.st_mode)) {
        remove_foreign(image, name.text);
        return APR_ENOENT;
    }
    /* The folder is a local one: sendfile is right unless the administrator says no. */
    if (core->enable_sendfile != ENABLE_SENDFILE_OFF)
        flags |= APR_SENDFILE_ENABLED;
    /* In the connection's pool: of a file in a shorter-lived one, httpd's core would duplicate the
     * descriptor for each piece that it sets aside until a slow node has read it. */
    rv = apr_file_open(&image->file, apr_pstrcat(image->r->pool, image->folder->root, "/",
                                                 name.text, NULL),
                       flags, APR_OS_DEFAULT, image->r->connection->pool);
    if (APR_STATUS_IS_EACCES(rv)) {
        remove_foreign(image, name.text);
        return APR_ENOENT;
    }
    if (rv != APR_SUCCESS)
        return rv;
    apr_os_file_get(&fd, image->file);
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) || !is_verified(image, fd, &st)) {
        ap_log_rerror(APLOG_MARK, APLOG_WARNING, 0, image->r, "cached image %s/%s is damaged: "
                      "removed", image->folder->root, name.text);
        if (still_named(image->folder_fd, name.text, fd))
            unlinkat(image->folder_fd, name.text, 0);
        apr_file_close(image->file);
        image->file = NULL;
        return APR_ENOENT;
    }
    apr_pool_cleanup_register(image->r->pool, image->file, close_file, apr_pool_cleanup_null);
    (void)futimens(fd, used_now);
    image->size = st.st_size;
    return APR_SUCCESS;
}

/* Open the .part, making it if need be.  0, or an errno. */
static int open_part(image *image)
{
    image_name name = name_of(image->digest, ".part");
    int tries, error = 0;

    for (tries = 0; tries < 2; tries++) {
        struct stat st;

        image->part_fd = openat(image->folder_fd, name.text,
                                O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, MODE_FETCHING);
        if (image->part_fd >= 0)
            return 0;
        error = errno;
        /* What a fetch of ours made can be opened: this was made by another. */
        if ((error != EACCES && error != ELOOP && error != EISDIR)
            || fstatat(image->folder_fd, name.text, &st, AT_SYMLINK_NOFOLLOW) != 0)
            break;
        remove_foreign(image, name.text);
    }
    return error;
}

/*
 * One look at a .part that another may be fetching.  IMAGE_MISSING: it is ours now, locked and
 * empty; IMAGE_LATE: not yet decided, look again.
 */
static image_state look_at_part(image *image)
{
    image_name name = name_of(image->digest, ".part");
    struct stat st;

    if (fstat(image->part_fd, &st) != 0)
        return IMAGE_NO_ROOM;
    if (!still_named(image->folder_fd, name.text, image->part_fd)) {
        mode_t mode = st.st_mode & 0777;

        close_part(image);
        return mode == MODE_BROKEN ? IMAGE_BROKEN : mode == MODE_NO_ROOM ? IMAGE_NO_ROOM
                                                                        : IMAGE_LATE;
    }
    if (flock(image->part_fd, LOCK_EX | LOCK_NB) != 0)
        return IMAGE_LATE;
    /* Its last owner may have ended it between the two looks. */
    if (!still_named(image->folder_fd, name.text, image->part_fd)) {
        close_part(image);
        return IMAGE_LATE;
    }
    /* It may be a dead fetch's, marked or not. */
    if (fchmod(image->part_fd, MODE_FETCHING) != 0 || ftruncate(image->part_fd, 0) != 0) {
        warn_of_trouble(image, "can't empty a file", errno);
        return IMAGE_NO_ROOM;
    }
    return IMAGE_MISSING;
}

/* Do so many of this process's threads wait that one more does not pay? */
static int is_crowded(void)
{
    int threads = 0;

    ap_mpm_query(AP_MPMQ_MAX_THREADS, &threads);
    return threads > 1 && apr_atomic_read32(&waiters) * 2 > (apr_uint32_t)threads;
}

/* Wait until the image is there, is ours to fetch, or the deadline comes. */
static image_state wait_for_image(image *image, apr_time_t deadline, int *waited)
{
    apr_time_t began = apr_time_now(), now;

    for (;;) {
        image_state state;
        apr_status_t rv;
        int error;

        if (image->part_fd < 0 && (error = open_part(image)) != 0) {
            warn_of_trouble(image, "can't make a file", error);
            return IMAGE_NO_ROOM;
        }
        state = look_at_part(image);
        /* Looked for in either case: it may have been published just before. */
        rv = open_published(image);
        if (rv == APR_SUCCESS) {
            if (state == IMAGE_MISSING) {
                image_name name = name_of(image->digest, ".part");

                unlinkat(image->folder_fd, name.text, 0);
            }
            close_part(image);
            return IMAGE_READY;
        }
        if (state != IMAGE_LATE)
            return state;
        now = apr_time_now();
        if (now >= deadline || (is_crowded() && now - began >= CROWDED_WAIT))
            return IMAGE_LATE;
        *waited = 1;
        apr_sleep(now - began < LOOK_LATER * 4 ? LOOK_FIRST : LOOK_LATER);
    }
}

image_state image_cache_find(request_rec *r, const image_folder *folder, const char *digest,
                             apr_time_t deadline, image **found, int *waited)
{
    image *image = apr_pcalloc(r->pool, sizeof(*image));
    apr_status_t rv;
    image_state state;

    *found = image;
    *waited = 0;
    image->r = r;
    image->folder = folder;
    image->digest = digest;
    image->part_fd = -1;
    image->folder_fd = open(folder->root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (image->folder_fd < 0) {
        warn_of_trouble(image, "can't open the folder", errno);
        return IMAGE_NO_ROOM;
    }
    apr_pool_cleanup_register(r->pool, image, close_image, apr_pool_cleanup_null);

    rv = open_published(image);
    if (rv == APR_SUCCESS) {
        state = IMAGE_READY;
    }
    else if (!APR_STATUS_IS_ENOENT(rv)) {
        warn_of_trouble(image, "can't open an image", rv);
        state = IMAGE_NO_ROOM;
    }
    else {
        apr_atomic_inc32(&waiters);
        state = wait_for_image(image, deadline, waited);
        apr_atomic_dec32(&waiters);
    }
    if (state != IMAGE_MISSING)
        close_image(image);
    return state;
}

/* ------------------------------------------------------------------ making room */

/* A file of the folder, as one look at it found it. */
typedef struct {
    char name[IMAGE_DIGEST_LENGTH + sizeof(".part")];
    apr_off_t size;
    struct timespec used;
    int published;              /* .img, which may go; else a .part that is being fetched */
} folder_entry;

/* Remove a .part whose fetcher is dead: nobody holds its lock.  1: it was. */
static int clear_dead_part(int folder_fd, const char *name)
{
    int fd = openat(folder_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    int dead;

    if (fd < 0)
        return 0;
    dead = flock(fd, LOCK_EX | LOCK_NB) == 0 && still_named(folder_fd, name, fd)
           && unlinkat(folder_fd, name, 0) == 0;
    close(fd);
    return dead;
}

/*
 * The files of ours in the folder, but for the one named except (NULL: none), as folder_entry in
 * pool; dead parts are removed on the way.  NULL: the folder can't be read.
 */
static apr_array_header_t *list_folder(apr_pool_t *pool, int folder_fd, const char *except)
{
    apr_array_header_t *entries = apr_array_make(pool, 16, sizeof(folder_entry));
    int fd = openat(folder_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *stream = fd >= 0 ? fdopendir(fd) : NULL;
    const struct dirent *item;

    if (!stream) {
        if (fd >= 0)
            close(fd);
        return NULL;
    }
    while ((item = readdir(stream))) {
        int published = is_ours(item->d_name, ".img");
        folder_entry *entry;
        struct stat st;

        if ((!published && !is_ours(item->d_name, ".part"))
            || (except && strcmp(item->d_name, except) == 0)
            || (!published && clear_dead_part(folder_fd, item->d_name))
            || fstatat(folder_fd, item->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0)
            continue;
        entry = apr_array_push(entries);
        strcpy(entry->name, item->d_name);
        entry->size = st.st_size;
        entry->used = st.st_atim;
        entry->published = published;
    }
    closedir(stream);
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

/*
 * Evict images, the least recently used first, until this many bytes fit beside what is there.
 * Being sent does an evicted image no harm: its open files outlive its name.
 */
static int evict_for(const image *image, apr_off_t size)
{
    image_name own = name_of(image->digest, ".part");
    apr_array_header_t *entries = list_folder(image->r->pool, image->folder_fd, own.text);
    apr_off_t total = size;
    int i;

    if (!entries)
        return 0;
    for (i = 0; i < entries->nelts; i++)
        total += APR_ARRAY_IDX(entries, i, folder_entry).size;
    qsort(entries->elts, (size_t)entries->nelts, sizeof(folder_entry), by_last_use);
    for (i = 0; i < entries->nelts && total > image->folder->size; i++) {
        const folder_entry *entry = &APR_ARRAY_IDX(entries, i, folder_entry);

        if (entry->published && unlinkat(image->folder_fd, entry->name, 0) == 0) {
            total -= entry->size;
            ap_log_rerror(APLOG_MARK, APLOG_INFO, 0, image->r, "evicted %s from %s to make room",
                          entry->name, image->folder->root);
        }
    }
    return total <= image->folder->size;
}

/*
 * Take blocks for the image now rather than meet ENOSPC in the middle; where the file system has no
 * such call, the size alone.  0, or an errno.
 */
static int take_blocks(const image *missing, apr_off_t size)
{
    if (size == 0)
        return 0;
    while (fallocate(missing->part_fd, 0, 0, size) != 0) {
        if (errno == EOPNOTSUPP)
            return ftruncate(missing->part_fd, size) == 0 ? 0 : errno;
        if (errno != EINTR)
            return errno;
    }
    return 0;
}

image_state image_cache_reserve(image *missing, apr_off_t size)
{
    int fits, error = 0;

    if (size > missing->folder->size) {
        if (!boot_ledger_met_before(apr_pstrcat(missing->r->pool, "large ", missing->digest, NULL),
                                    0))
            ap_log_rerror(APLOG_MARK, APLOG_WARNING, 0, missing->r, "an image of %" APR_OFF_T_FMT
                          " bytes is larger than WaltVpnCacheSize %" APR_OFF_T_FMT ": it is "
                          "relayed; raise WaltVpnCacheSize", size, missing->folder->size);
        return IMAGE_NO_ROOM;
    }
    apr_pool_create(&missing->scratch, missing->r->pool);
    missing->buffer = apr_palloc(missing->scratch, WRITE_PIECE);
    missing->hash = EVP_MD_CTX_new();
    if (!missing->hash || !EVP_DigestInit_ex(missing->hash, EVP_sha256(), NULL))
        return IMAGE_NO_ROOM;
    /* One at a time makes room, and takes it before the next one looks. */
    while (flock(missing->folder_fd, LOCK_EX) != 0) {
        if (errno != EINTR)
            return IMAGE_NO_ROOM;
    }
    fits = evict_for(missing, size);
    if (fits)
        error = take_blocks(missing, size);
    flock(missing->folder_fd, LOCK_UN);
    if (error)
        warn_of_trouble(missing, "can't make room for an image", error);
    else if (!fits)
        ap_log_rerror(APLOG_MARK, APLOG_INFO, 0, missing->r, "other fetches fill WaltVpnCacheSize "
                      "%" APR_OFF_T_FMT ": an image is relayed", missing->folder->size);
    return fits && !error ? IMAGE_MISSING : IMAGE_NO_ROOM;
}

/* Write what is in the buffer. */
static apr_status_t write_buffer(image *missing)
{
    const char *bytes = missing->buffer;
    apr_off_t before = missing->written;

    while (missing->buffered > 0) {
        ssize_t put = pwrite(missing->part_fd, bytes, missing->buffered, missing->written);

        if (put < 0 && errno == EINTR)
            continue;
        if (put <= 0) {
            apr_status_t rv = put < 0 ? errno : APR_ENOSPC;

            warn_of_trouble(missing, "can't write an image", rv);
            return rv;
        }
        bytes += put;
        missing->buffered -= (apr_size_t)put;
        missing->written += put;
    }
    /* Begin to write to the disk as it comes, so that the fsync at the end is short. */
    if (before / WRITE_BEHIND != missing->written / WRITE_BEHIND)
        (void)sync_file_range(missing->part_fd, before / WRITE_BEHIND * WRITE_BEHIND,
                              WRITE_BEHIND, SYNC_FILE_RANGE_WRITE);
    return APR_SUCCESS;
}

apr_status_t image_cache_write(image *missing, const char *bytes, apr_size_t length)
{
    EVP_DigestUpdate(missing->hash, bytes, length);
    while (length > 0) {
        apr_size_t room = WRITE_PIECE - missing->buffered;
        apr_size_t part = length < room ? length : room;
        apr_status_t rv;

        memcpy(missing->buffer + missing->buffered, bytes, part);
        missing->buffered += part;
        bytes += part;
        length -= part;
        if (missing->buffered == WRITE_PIECE && (rv = write_buffer(missing)) != APR_SUCCESS)
            return rv;
    }
    return APR_SUCCESS;
}

image_state image_cache_finish(image *missing)
{
    image_name part = name_of(missing->digest, ".part"), name = name_of(missing->digest, ".img");
    image_state state;

    if (!hash_is(missing->hash, missing->digest)) {
        image_cache_abandon(missing, IMAGE_BROKEN);
        return IMAGE_BROKEN;
    }
    if (write_buffer(missing) != APR_SUCCESS) {
        image_cache_abandon(missing, IMAGE_NO_ROOM);
        return IMAGE_NO_ROOM;
    }
    /* Used now: else the image that took longest to come would be the first to go. */
    (void)futimens(missing->part_fd, used_now);
    if (fsync(missing->part_fd) != 0
        || renameat(missing->folder_fd, part.text, missing->folder_fd, name.text) != 0) {
        warn_of_trouble(missing, "can't publish an image", errno);
        image_cache_abandon(missing, IMAGE_NO_ROOM);
        return IMAGE_NO_ROOM;
    }
    (void)fsync(missing->folder_fd);
    trouble_is_over(missing);
    note_good(missing->part_fd, missing->digest);
    close_part(missing);
    state = open_published(missing) == APR_SUCCESS ? IMAGE_READY : IMAGE_BROKEN;
    close_image(missing);
    return state;
}

int image_cache_exhausted(const image *missing)
{
    int fd = fcntl(missing->part_fd, F_DUPFD_CLOEXEC, 0);

    if (fd < 0) {
        warn_of_trouble(missing, "can't fetch an image", errno);
        return 1;
    }
    close(fd);
    return 0;
}

void image_cache_abandon(image *missing, image_state why)
{
    image_name name = name_of(missing->digest, ".part");

    if (missing->part_fd < 0)
        return;
    /* Marked first, unlinked then: who sees it gone finds the mark. */
    (void)fchmod(missing->part_fd, why == IMAGE_NO_ROOM ? MODE_NO_ROOM : MODE_BROKEN);
    (void)unlinkat(missing->folder_fd, name.text, 0);
    close_image(missing);
}

void image_cache_sweep(apr_pool_t *p, const image_folder *folder)
{
    int folder_fd = open(folder->root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (folder_fd < 0)
        return;
    (void)list_folder(p, folder_fd, NULL);
    close(folder_fd);
}

apr_array_header_t *image_cache_list(apr_pool_t *p, const image_folder *folder)
{
    apr_array_header_t *images = apr_array_make(p, 16, sizeof(image_listing)), *entries = NULL;
    int folder_fd = open(folder->root, O_RDONLY | O_DIRECTORY | O_CLOEXEC), i;

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

apr_file_t *image_cache_file(const image *ready)
{
    return ready->file;
}

apr_off_t image_cache_size(const image *ready)
{
    return ready->size;
}
