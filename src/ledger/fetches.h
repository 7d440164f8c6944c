/*
 * ledger/fetches.h: the fetches of images into a folder, running and remembered.
 */
#ifndef WALT_VPN_LEDGER_FETCHES_H
#define WALT_VPN_LEDGER_FETCHES_H

#include "apr_pools.h"
#include "apr_tables.h"
#include "apr_time.h"

#include <sys/types.h>

/* Most fetches that are written down. */
#define FETCH_ROWS 256

/* What becomes of a fetch.  It ends with one of the last four, for good. */
typedef enum {
    FATE_FREE,                  /* no fetch is written down here */
    FATE_UNDER_WAY,
    FATE_ORPHANED,              /* its process has died or let it go: a follower goes on */
    FATE_GIVEN_UP,              /* the WalT server did not bring it: the next boot goes on */
    FATE_PUBLISHED,             /* the image is whole, and its digest is right */
    FATE_BROKEN,                /* what came is not the image: nobody goes on with these bytes */
    FATE_MISMATCH,              /* the same, and a whole fetch before had brought the same bytes */
    FATE_NO_ROOM                /* the folder can't take it */
} fetch_fate;

/*
 * One fetch is one file: who holds bytes of it may be sent its rest, whoever fetches that.  A try
 * that brings other bytes than the try before is another fetch.
 */
typedef struct {
    apr_uint64_t id;            /* no two fetches have the same; it tells the row; 0: none */
    fetch_fate fate;
    pid_t process;              /* of one under way */
    int entrypoint;             /* its place among the counters */
    apr_uint64_t folder;        /* hash of the folder's path */
    char digest[64 + 1];        /* of the image */
    char found[64 + 1];         /* digest of what came instead, with FATE_MISMATCH */
    dev_t device;               /* of its file */
    ino_t inode;                /* of its file */
    apr_off_t size;             /* bytes of the image; 0: not known yet */
    apr_off_t written;          /* bytes that are in the file, and may be sent */
    apr_off_t position;         /* bytes that this try has brought, which may be fewer than written
                                 * when they are compared with those */
    apr_time_t began;
    apr_time_t moved;           /* when bytes arrived last, or it ended */
    apr_time_t wanted;          /* when somebody looked last who wants the image */
    apr_time_t needed;          /* when somebody looked last for whom images may be evicted */
    apr_uint64_t readers;       /* for the status page; not counted here */
} fetch_row;

/* In place of a fetch.  The bytes are relayed, and compared if the first byte passes here.  They
 * were relayed and found wrong, so that no node is sent their rest. */
#define FETCH_RELAYED (~(apr_uint64_t)0)
#define FETCH_WRONG (FETCH_RELAYED - 1)

/* Find the table that an earlier call, before a restart, made, or make it; called in
 * post_config. */
apr_status_t fetches_open(apr_pool_t *process_pool);

typedef enum {
    CLAIM_OURS,                 /* the caller is to fetch it, alone among all processes */
    CLAIM_FOLLOW,               /* it is under way */
    CLAIM_MISMATCH,             /* what the WalT server has is not the image, as of a moment ago */
    CLAIM_NO_ROOM               /* no row is left */
} fetch_claim;

/* Claim the fetch of this image into this folder, or find out who has it.  *id is the fetch that
 * the answer is about; 0: there is none. */
fetch_claim fetches_claim(int entrypoint, const char *folder, const char *digest,
                          apr_uint64_t *id);

/* A copy of a fetch, as of now.  0: it is forgotten. */
int fetches_look(apr_uint64_t id, fetch_row *copy);

/* A copy for a caller that wants the image.  needs: images may be evicted for the caller. */
int fetches_follow(apr_uint64_t id, int needs, fetch_row *copy);

/* ---- for the process that fetches */

/* The fetch goes into this file, which has this size when it is whole, and so many bytes now. */
void fetches_file(apr_uint64_t id, dev_t device, ino_t inode, apr_off_t size, apr_off_t written);

/* So many bytes are in the file, and the try has come so far. */
void fetches_progress(apr_uint64_t id, apr_off_t written, apr_off_t position);

/* The fetch is not under way any more, but what this says; with FATE_MISMATCH, this is the digest
 * of what the WalT server has. */
void fetches_end(apr_uint64_t id, fetch_fate fate, const char *found);

/* The fetch is broken, and its process begins another one of the same image, in a new file: that
 * one; 0: there is no row for it. */
apr_uint64_t fetches_begin_anew(apr_uint64_t id);

/* ---- for upkeep and pages */

/* This process has died: its fetches are orphaned. */
void fetches_bury(pid_t process);

/* The size that the image of a fetch under way will have; 0: none is, or it is not known. */
apr_off_t fetches_size_of(const char *folder, const char *digest);

/* Copies of this entrypoint's fetches that are under way, as fetch_row in p. */
apr_array_header_t *fetches_list(apr_pool_t *p, int entrypoint);

#endif
