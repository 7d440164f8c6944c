/*
 * store/digest.h: is a file what its name says?  The SHA-256 of images.
 */
#ifndef WALT_VPN_STORE_DIGEST_H
#define WALT_VPN_STORE_DIGEST_H

#include "store/folder.h"

#include <openssl/evp.h>
#include <sys/stat.h>

/* Begin the hash anew, with the bytes of the file up to this one, by way of a buffer with so much
 * room.  0: they can't be read. */
int image_digest_hash(EVP_MD_CTX *hash, int fd, apr_off_t until, char *buffer, apr_size_t room);

/* Does the hash, which this ends, spell the digest?  Writes what it spells into found, 65
 * bytes. */
int image_digest_is(EVP_MD_CTX *hash, const char *digest, char *found);

typedef enum {
    DIGEST_UNKNOWN,
    DIGEST_AWAITED,             /* another thread of the process computes it */
    DIGEST_RIGHT,
    DIGEST_WRONG
} digest_verdict;

/*
 * Has this open file, of which st tells, the digest?  Computed once by a process for each file;
 * nobody waits for the thread that computes.  The pool is for what is needed meanwhile.
 */
digest_verdict image_digest_verdict(apr_pool_t *pool, const char *digest, int fd,
                                    const struct stat *st);

/* Does a thread of this process compute whether a file has this digest? */
int image_digest_is_awaited(const char *digest);

/* This process has computed the open file's digest in another way, and it is this one. */
void image_digest_note(int fd, const char *digest);

#endif
