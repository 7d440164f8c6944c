/*
 * ledger/fetches.h: images on their way into a folder.
 */
#ifndef WALT_VPN_LEDGER_FETCHES_H
#define WALT_VPN_LEDGER_FETCHES_H

#include "ledger/boots.h"
#include "ledger/counters.h"

#include <stdatomic.h>
#include <sys/types.h>

/* Most fetches that are written down. */
#define FETCH_ROWS 64

/* The run of what is relayed: nobody vouches for it, and it goes on with nothing but itself. */
#define FETCH_RELAYED (~(apr_uint64_t)0)

/*
 * An image on its way, into a file that nodes are sent from meanwhile.  A try that breaks off is
 * followed by another one, of this process or, when it dies, of another; as long as their bytes
 * are the same, they are one run.
 */
typedef struct {
    _Atomic apr_uint32_t process;       /* that fetches it, or did when it died; 0: a free place */
    counter device, inode;       /* of its file */
    counter run;                 /* no two runs have the same number; 0: none, while it
                                         * changes and when it ends */
    counter before;              /* the run before it in the same file; 0: none */
    counter common;              /* bytes that it has in common with that one */
    counter size;                /* bytes; 0: not known yet */
    counter position;            /* bytes that have arrived in this try */
    counter written;             /* bytes of this run that are in the file */
    counter touched;             /* when bytes arrived last */
    counter called;              /* when a node was sent away so that it fetches it */
    int entrypoint;                     /* its place */
    char digest[DIGEST_SHOWN + 1];
    apr_time_t began;
} fetch_row;

/* Find the table that an earlier call, before a restart, made, or make it; called in
 * post_config. */
apr_status_t fetches_open(apr_pool_t *process_pool);

/* A fetch into this file begins; returns its place, or -1 when all are taken. */
int fetches_begin(int entrypoint, const char *digest, dev_t device, ino_t inode);

/*
 * The place of the fetch into this file, also of one whose process died a while ago; -1: there is
 * none.
 */
int fetches_of(dev_t device, ino_t inode);

/* This process goes on with it. */
void fetches_adopt(int place);

void fetches_size(int place, apr_off_t size);

/* So many bytes have arrived in this try; and so many of the run are in the file. */
void fetches_progress(int place, apr_off_t position);
void fetches_written(int place, apr_off_t written);

/* Behind this byte a new try brought other bytes than the one before: a run of its own. */
void fetches_differ(int place, apr_off_t position);

/* The run that a node goes on with, instead of this one, that holds bytes before this position: the
 * same one, or that which came after it and brought the same bytes so far. */
apr_uint64_t fetches_heir(int place, apr_uint64_t run, apr_off_t position);

/* The image is whole and its digest is right: so are the bytes of its run that were sent before,
 * and those that it has in common with the run before. */
void fetches_prove(int place);

/* Were the bytes of this run before this position proven?  The last few hundred runs are
 * remembered; of 0, which is none, none were. */
int fetches_is_proven(apr_uint64_t run, apr_off_t position);

/* Is the caller, alone among all processes for a while, to send a node away that will fetch it? */
int fetches_call(int place);

/* It is given up by this process, but another may go on with it, as if this one had died. */
void fetches_leave(int place);

void fetches_end(int place);

/* The file of a fetch whose process is dead was removed: nobody goes on with it. */
void fetches_lost(dev_t device, ino_t inode);

/* Free the places of fetches that nobody went on with in time.  Returns how many there were. */
int fetches_forget(void);

/* The fetch at a place, to read from; it may become another one's at any time. */
const fetch_row *fetches_at(int place);

/* A copy of the fetch at this place; 0: there is none whose process is alive. */
int fetches_copy(int place, fetch_row *fetch);

#endif
