/*
 * ledger/ledger.h: what all processes of the server know together, in shared memory: troubles that
 * were logged, counters of each entrypoint, boots, and fetches that are under way.
 */
#ifndef WALT_VPN_LEDGER_LEDGER_H
#define WALT_VPN_LEDGER_LEDGER_H

#include "ledger/histogram.h"
#include "request/record.h"

#include <stdatomic.h>
#include <sys/types.h>

/* Most entrypoints, boots (running and remembered), nodes that fail, fetches and threads that wait
 * that are written down. */
#define LEDGER_ENTRYPOINTS 32
#define LEDGER_BOOTS 1536
#define LEDGER_FAILURES 256
#define LEDGER_FETCHES 64
#define LEDGER_WAITERS 1024

/* Of an image's digest this many digits are shown. */
#define LEDGER_DIGEST 12

typedef _Atomic apr_uint64_t ledger_counter;

/* The run of what is relayed: nobody vouches for it, and it goes on with nothing but itself. */
#define LEDGER_RELAYED (~(apr_uint64_t)0)

/* Statuses of replies, and reasons of refusals, that are counted apart from others; which they are
 * report/watch.h knows. */
#define LEDGER_CODES 11
#define LEDGER_REASONS 24

/* What became of a boot. */
typedef enum {
    RESULT_DONE,                /* the last byte was sent */
    RESULT_SHORT,               /* its download ended before that, and was not resumed in time */
    RESULT_UNSIGNED,            /* its boot.sig was answered with an error */
    RESULT_STARTED_OVER,        /* the node began another one before */
    BOOT_RESULTS                /* how many there are */
} boot_result;

/* What became of a fetch. */
typedef enum {
    FETCH_DONE,
    FETCH_BROKEN,               /* the WalT server did not bring the image */
    FETCH_NO_ROOM,              /* the folder can't take it */
    FETCH_LEFT,                 /* its node has another image by now; another may go on with it */
    FETCH_RESULTS               /* how many there are */
} fetch_result;

/* Does the WalT server answer? */
typedef enum {
    SERVER_UNKNOWN,             /* it was not asked yet */
    SERVER_ANSWERS,
    SERVER_SILENT               /* or it can't be reached */
} server_state;

/* The counters of an entrypoint, since the server was started. */
typedef struct {
    char name[256];             /* its ServerName, NUL: a free place */
    char url[320];              /* its WalT server */
    ledger_counter answers[WALT_VPN_ANSWERS];   /* requests by how they were answered */
    ledger_counter to_nodes;    /* bytes of bodies sent */
    ledger_counter from_server; /* bytes of bodies received from the WalT server */
    ledger_counter no_signatures;       /* boot.sig that were none */
    ledger_counter misnamed;    /* requests below /walt-vpn/ under a name of no entrypoint */
    ledger_counter requests[BOOT_FILES][WALT_VPN_ANSWERS][LEDGER_CODES];    /* that have ended */
    ledger_counter refusals[LEDGER_REASONS];
    ledger_counter boots[BOOT_RESULTS];
    ledger_counter resumes;
    ledger_counter fetches[FETCH_RESULTS];
    ledger_counter mismatches;  /* images whose digest was not right */
    ledger_counter evictions;   /* of images from its folder */
    _Atomic int server;         /* a server_state: what the last question to it showed */
    ledger_counter server_since;        /* when that began */
    ledger_counter answered;    /* when it answered last */
    ledger_counter took;        /* how long that took, in microseconds */
    histogram boot_times;       /* from the boot.sig to the last byte */
    histogram download_rates;   /* of replies that brought the last byte */
    histogram answer_times[BOOT_FILES]; /* until the head of the WalT server's reply came */
    histogram fetch_times;      /* of those that are FETCH_DONE */
    histogram waiting_times;    /* of threads */
    ledger_counter ended;       /* boots, whole or short */
    ledger_counter kept;        /* how many of these are written down in a file */
    ledger_counter kept_at;     /* when that was done */
} ledger_entrypoint;

typedef enum {
    BOOT_FREE,
    BOOT_WRITING,               /* for the moment in which a process changes it */
    BOOT_SIGNED,                /* the node has its boot.sig */
    BOOT_RUNNING,               /* it is being sent its boot.img */
    BOOT_SHORT,                 /* that ended early, or with an error; the node may resume */
    BOOT_DONE                   /* the last byte was sent */
} boot_state;

/* One boot of one node, from its boot.sig to the last byte of its boot.img. */
typedef struct {
    _Atomic apr_uint32_t state;         /* a boot_state; behind BOOT_WRITING who writes */
    _Atomic apr_uint32_t generation;    /* counts the requests that worked on this place */
    ledger_counter position;            /* bytes of the file that the node was sent */
    pid_t process;                      /* that is sending */
    int entrypoint;                     /* its place */
    char node[16];                      /* with dots */
    char client[46];                    /* the address that it comes from */
    char digest[LEDGER_DIGEST + 1];     /* "": not known */
    walt_vpn_answer answer;             /* how its first request for boot.img was answered */
    int status;                         /* the error that its last request got; 0: none */
    apr_off_t size;                     /* bytes of its boot.img; 0: not known yet */
    apr_off_t from;                     /* first byte that its last request was sent */
    apr_time_t began;
    apr_time_t sending;                 /* when that byte was sent */
    apr_time_t touched;                 /* last progress; for BOOT_DONE its end */
    unsigned resumes;
    apr_uint64_t run;                   /* of a fetch whose bytes it was sent; 0: proven ones */
    int counted;                        /* its result was */
} ledger_boot;

/* A node that was not given what it asked for, and has not booted since. */
typedef struct {
    _Atomic apr_uint32_t state;         /* BOOT_FREE, BOOT_WRITING as with a boot, or BOOT_SHORT */
    _Atomic apr_uint32_t generation;    /* counts its changes */
    int entrypoint;                     /* its place */
    char node[16];                      /* with dots */
    char client[46];                    /* the address that it came from last */
    char trouble[320];                  /* the last one, in words */
    unsigned times;                     /* how often it had trouble */
    apr_time_t since;                   /* when it began */
    apr_time_t last;                    /* when that was */
} ledger_failure;

/* A request's hold on a boot; it loses it when another request of the node takes over. */
typedef struct {
    int place;                          /* -1: none */
    apr_uint32_t generation;
} ledger_hold;

/*
 * An image on its way, into a file that nodes are sent from meanwhile.  A try that breaks off is
 * followed by another one, of this process or, when it dies, of another; as long as their bytes
 * are the same, they are one run.
 */
typedef struct {
    _Atomic apr_uint32_t process;       /* that fetches it, or did when it died; 0: a free place */
    ledger_counter device, inode;       /* of its file */
    ledger_counter run;                 /* no two runs have the same number; 0: none, while it
                                         * changes and when it ends */
    ledger_counter before;              /* the run before it in the same file; 0: none */
    ledger_counter common;              /* bytes that it has in common with that one */
    ledger_counter size;                /* bytes; 0: not known yet */
    ledger_counter position;            /* bytes that have arrived in this try */
    ledger_counter written;             /* bytes of this run that are in the file */
    ledger_counter touched;             /* when bytes arrived last */
    ledger_counter called;              /* when a node was sent away so that it fetches it */
    int entrypoint;                     /* its place */
    char digest[LEDGER_DIGEST + 1];
    apr_time_t began;
} ledger_fetch;

/*
 * Open the ledger, or make it; called in post_config, before the children exist.  It lives in the
 * pool of the process, so restarts keep it.
 */
apr_status_t boot_ledger_open(apr_pool_t *process_pool);

/* When it was made: since then everything is counted. */
apr_time_t boot_ledger_began(void);

/* ---- troubles */

/* Kinds of trouble from this one on may be over when nobody has met them for a while. */
#define LEDGER_PASSING 2048

/*
 * Note that somebody or something has met this kind of trouble (below 4096) again, in whatever
 * process.  Returns how often since it was last forgotten: so a trouble that every request
 * repeats is logged once.
 */
unsigned boot_ledger_met_before(const char *who, unsigned kind);

/* Was a trouble of such a kind met since the start, by anybody, but not for this long? */
int boot_ledger_may_have_passed(apr_interval_time_t pause);

/* A kind of trouble that they have met, and that is not over; -1: there is none. */
int boot_ledger_trouble_of(const char *who);

/* All kinds of trouble of theirs are over.  Returns how often they were met. */
unsigned boot_ledger_forget(const char *who);

/* Likewise, for what is refused: strangers who try many things crowd out no trouble. */
unsigned boot_ledger_refused_before(const char *what);

/* ---- counters */

/* The place of an entrypoint's counters, made if need be, which *is_new tells; -1: all places are
 * taken. */
int boot_ledger_entrypoint_place(const char *name, const char *url, int *is_new);

/* The counters at a place, to add to and to read; for -1 some that nobody reads. */
ledger_entrypoint *boot_ledger_entrypoint(int place);

/* Those of the entrypoint of r, a main request that was claimed. */
ledger_entrypoint *boot_ledger_counters(const request_rec *r);

/* ---- boots */

/* The node got its boot.sig: a boot begins. */
void boot_ledger_signed(int entrypoint, const char *node, const char *client, const char *digest);

/* A request of the node got this error instead of its file: noted if a boot of it has begun. */
void boot_ledger_failed(int entrypoint, const char *node, const char *client, int status);

/*
 * The node is being sent its boot.img of this many bytes, from this byte on (0: from the start).
 * Goes on with the boot that its boot.sig or an earlier request began, if there is one.  What it
 * is sent is of this run of a fetch; 0: it is proven.
 */
ledger_hold boot_ledger_start(int entrypoint, const char *node, const char *client,
                              const char *digest, apr_off_t size, apr_off_t from,
                              walt_vpn_answer answer, apr_uint64_t run);

/* What it is sent from now on is of this run of the fetch, and so is what it holds; 0: proven. */
void boot_ledger_goes_on(ledger_hold hold, apr_uint64_t run);

/* It has been sent this many bytes of the file. */
void boot_ledger_progress(ledger_hold hold, apr_off_t position);

/* The request ended, with the last byte of the file or before.  Fills *boot and returns 1 unless
 * another request of the node has taken over. */
int boot_ledger_end(ledger_hold hold, int whole, ledger_boot *boot);

/* Has the node begun the boot that this download, new or resumed, is part of with a boot.sig of
 * another digest? */
int boot_ledger_changed(int entrypoint, const char *node, const char *client, const char *digest,
                        int resumed);

/* The run of a fetch that the bytes came of which a node holds that resumes its download at this
 * position; 0: they are proven, as far as anybody knows. */
apr_uint64_t boot_ledger_held_run(int entrypoint, const char *node, const char *client,
                                  apr_off_t position);

/*
 * This process has died: free what it held, and end the next boot, from *place on, that it was
 * sending.  Fills *boot and moves *place behind it; 0: there are no more.
 */
int boot_ledger_bury(pid_t process, int *place, ledger_boot *boot);

/* Count the boots that have ended short and were not resumed in time. */
void boot_ledger_count_short(void);

/* A boot that ended before httpd was started, with its entrypoint and its state. */
void boot_ledger_recall(const ledger_boot *boot);

/*
 * Have boots of this entrypoint ended that no file tells of, and was it written longer ago than
 * this? The caller alone, among all processes, is to write it.
 */
int boot_ledger_keep_claim(int entrypoint, apr_interval_time_t pause);

/* A consistent copy of the boot at this place, from 0 on; 0: there is none. */
int boot_ledger_boot(int place, ledger_boot *boot);

/* Each node's last boot, the one that began last of those that have ended, as ledger_boot in p:
 * of this entrypoint's nodes, or with -1 of all; the latest end first. */
apr_array_header_t *boot_ledger_last_boots(apr_pool_t *p, int entrypoint);

/* ---- nodes that fail */

/* The node was not given its file, or not all of it: what happened, in words. */
void boot_ledger_trouble(int entrypoint, const char *node, const char *client, const char *what);

/* It has booted. */
void boot_ledger_recovered(int entrypoint, const char *node);

/* A consistent copy of the failure at this place, from 0 on; 0: there is none. */
int boot_ledger_failure(int place, ledger_failure *failure);

/* ---- fetches */

/* A fetch into this file begins; returns its place, or -1 when all are taken. */
int boot_ledger_fetch_begin(int entrypoint, const char *digest, dev_t device, ino_t inode);

/*
 * The place of the fetch into this file, also of one whose process died a while ago; -1: there is
 * none.
 */
int boot_ledger_fetch_of(dev_t device, ino_t inode);

/* This process goes on with it. */
void boot_ledger_fetch_adopt(int place);

void boot_ledger_fetch_size(int place, apr_off_t size);

/* So many bytes have arrived in this try; and so many of the run are in the file. */
void boot_ledger_fetch_progress(int place, apr_off_t position);
void boot_ledger_fetch_written(int place, apr_off_t written);

/* Behind this byte a new try brought other bytes than the one before: a run of its own. */
void boot_ledger_fetch_differs(int place, apr_off_t position);

/* The run that a node goes on with, instead of this one, that holds bytes before this position: the
 * same one, or that which came after it and brought the same bytes so far. */
apr_uint64_t boot_ledger_fetch_heir(int place, apr_uint64_t run, apr_off_t position);

/* The image is whole and its digest is right: so are the bytes of its run that were sent before,
 * and those that it has in common with the run before. */
void boot_ledger_fetch_proven(int place);

/* Were the bytes of this run before this position proven?  The last few hundred runs are
 * remembered; of 0, which is none, none were. */
int boot_ledger_is_proven(apr_uint64_t run, apr_off_t position);

/* Is the caller, alone among all processes for a while, to send a node away that will fetch it? */
int boot_ledger_fetch_call(int place);

/* It is given up by this process, but another may go on with it, as if this one had died. */
void boot_ledger_fetch_leave(int place);

void boot_ledger_fetch_end(int place);

/* The file of a fetch whose process is dead was removed: nobody goes on with it. */
void boot_ledger_fetch_lost(dev_t device, ino_t inode);

/* Free the places of fetches that nobody went on with in time.  Returns how many there were. */
int boot_ledger_fetch_forget(void);

/* The fetch at a place, to read from; it may become another one's at any time. */
const ledger_fetch *boot_ledger_fetch_at(int place);

/* A copy of the fetch at this place; 0: there is none whose process is alive. */
int boot_ledger_fetch(int place, ledger_fetch *fetch);

/* ---- threads that wait */

/* A thread of this process begins to wait for this entrypoint; returns its place, or -1 when all
 * are taken. */
int boot_ledger_wait(int entrypoint);
void boot_ledger_wait_end(int place);

/* How many wait for this entrypoint, in all processes. */
unsigned boot_ledger_waiting(int entrypoint);

#endif
