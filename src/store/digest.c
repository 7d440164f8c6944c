/*
 * store/digest.c: is a file what its name says?  The SHA-256 of images.
 *
 * A process sends a file only after it has computed the digest itself, once for each file (name,
 * device, inode, size, time of change): so a damaged or foreign file is found out, whatever
 * happened to the folder.
 */
#include "store/digest.h"

#include <pthread.h>
#include <unistd.h>

/* Bytes that are hashed at a time. */
#define PIECE (128 * 1024)

/* Files that a process remembers to have verified. */
#define VERIFIED_MAX 256

#define DIGEST_BYTES (IMAGE_DIGEST_LENGTH / 2)

/* Identity of a file's content as far as its name and stat(2) can tell. */
typedef struct {
    dev_t device;
    ino_t inode;
    off_t size;
    struct timespec changed;
    char digest[IMAGE_DIGEST_LENGTH];   /* that it was verified for: it may be renamed, or linked */
} file_identity;

/* What this process knows of the folder's files; guarded by verified_mutex. */
static struct verified_file {
    digest_verdict verdict;     /* DIGEST_UNKNOWN: a free row */
    file_identity identity;
} verified_files[VERIFIED_MAX];
static unsigned verified_next;
static pthread_mutex_t verified_mutex = PTHREAD_MUTEX_INITIALIZER;

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
        if (verified_files[i].verdict != DIGEST_UNKNOWN
            && memcmp(&verified_files[i].identity, identity, sizeof(*identity)) == 0)
            return &verified_files[i];
    }
    return NULL;
}

/* Note a verdict on this file, in place of the oldest one; but what is known is not awaited.  If
 * the oldest is awaited yet, so many files were met meanwhile that it is computed once more than
 * need be.  Returns what was known before. */
static digest_verdict note(const file_identity *identity, digest_verdict verdict)
{
    digest_verdict before = DIGEST_UNKNOWN;
    struct verified_file *entry;

    pthread_mutex_lock(&verified_mutex);
    if ((entry = look_up(identity)))
        before = entry->verdict;
    else
        entry = &verified_files[verified_next++ % VERIFIED_MAX];
    if (before == DIGEST_UNKNOWN || verdict != DIGEST_AWAITED) {
        entry->identity = *identity;
        entry->verdict = verdict;
    }
    pthread_mutex_unlock(&verified_mutex);
    return before;
}

void image_digest_note(int fd, const char *digest)
{
    struct stat st;
    file_identity identity;

    if (fstat(fd, &st) != 0)
        return;
    identity = identity_of(&st, digest);
    (void)note(&identity, DIGEST_RIGHT);
}

int image_digest_is(EVP_MD_CTX *hash, const char *digest, char *found)
{
    unsigned char bytes[EVP_MAX_MD_SIZE];
    unsigned length = 0;

    found[0] = '\0';
    if (!EVP_DigestFinal_ex(hash, bytes, &length) || length != DIGEST_BYTES)
        return 0;
    ap_bin2hex(bytes, length, found);
    return memcmp(found, digest, IMAGE_DIGEST_LENGTH) == 0;
}

int image_digest_hash(EVP_MD_CTX *hash, int fd, apr_off_t until, char *buffer, apr_size_t room)
{
    apr_off_t at = 0;

    if (!EVP_DigestInit_ex(hash, EVP_sha256(), NULL))
        return 0;
    while (at < until) {
        apr_size_t piece = until - at < (apr_off_t)room ? (apr_size_t)(until - at) : room;
        ssize_t got = pread(fd, buffer, piece, at);

        if (got <= 0)
            return 0;
        EVP_DigestUpdate(hash, buffer, (size_t)got);
        at += got;
    }
    return 1;
}

digest_verdict image_digest_verdict(apr_pool_t *pool, const char *digest, int fd,
                                    const struct stat *st)
{
    file_identity identity = identity_of(st, digest);
    digest_verdict known = note(&identity, DIGEST_AWAITED);
    char found[IMAGE_DIGEST_LENGTH + 1];
    EVP_MD_CTX *hash;
    int is_right;

    if (known != DIGEST_UNKNOWN)
        return known;
    hash = EVP_MD_CTX_new();
    is_right = hash && image_digest_hash(hash, fd, st->st_size, apr_palloc(pool, PIECE), PIECE)
               && image_digest_is(hash, digest, found);
    EVP_MD_CTX_free(hash);
    (void)note(&identity, is_right ? DIGEST_RIGHT : DIGEST_UNKNOWN);
    return is_right ? DIGEST_RIGHT : DIGEST_WRONG;
}

int image_digest_is_awaited(const char *digest)
{
    int i, is_awaited = 0;

    pthread_mutex_lock(&verified_mutex);
    for (i = 0; i < VERIFIED_MAX && !is_awaited; i++)
        is_awaited = verified_files[i].verdict == DIGEST_AWAITED
                     && memcmp(verified_files[i].identity.digest, digest, IMAGE_DIGEST_LENGTH) == 0;
    pthread_mutex_unlock(&verified_mutex);
    return is_awaited;
}
