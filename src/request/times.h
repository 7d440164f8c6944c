/*
 * request/times.h: how long the module waits, pauses and remembers.
 *
 * What is a second or more stands here, in microseconds, so that a reader sees how these times
 * follow from a node's patience (facts.md 1).  What is shorter stands where it is used.
 */
#ifndef WALT_VPN_REQUEST_TIMES_H
#define WALT_VPN_REQUEST_TIMES_H

#include "apr_time.h"

/* ---- one reply of the WalT server.  A stalled reply and a second try must both end within the
 * 50 s that a node waits for a byte. */

#define CONNECT_TIMEOUT apr_time_from_sec(4)    /* the setup check gives up after 2 (facts.md 3) */
#define REPLY_TIMEOUT apr_time_from_sec(20)

/* ---- the address of the WalT server.  A server that moves is followed within ADDRESS_TTL. */

#define ADDRESS_TTL apr_time_from_sec(30)
#define ADDRESS_AGEING apr_time_from_sec(20)    /* then it is looked up, and used meanwhile */

/* So long a lookup is waited for when an address of former times is known, and when none
 * is: a resolver asks a second time after 5 s, and a third after 10 s. */
#define LOOKUP_SHORT_WAIT apr_time_from_sec(1)
#define LOOKUP_WAIT apr_time_from_sec(20)

/* A lookup that began so long ago may have ended with its process. */
#define LOOKUP_LOST apr_time_from_sec(30)

/* So long the addresses of a name have to take a connection, in all. */
#define RACE_TIME apr_time_from_sec(2)

/* ---- one request of a node */

/* How long it may wait, for its turn and for the fetch of another request: a little less than the
 * node does. */
#define WAIT_MAX apr_time_from_sec(45)

/* When a request came so long ago, and its node has no byte of the file, the file is not tried
 * again for it. */
#define LAST_TRY apr_time_from_sec(25)

/* When more nodes behind an address wait than may, a node that has waited for so long makes
 * room. */
#define TURN apr_time_from_sec(3)

/* As long as httpd lingers on a connection that it closes. */
#define LINGER_TIME apr_time_from_sec(2)

/* So long after a 404 a node is looked for once more: its image may be changing. */
#define NOT_THERE_PAUSE apr_time_from_sec(1)

/* ---- one fetch */

/* Pause before a second try when the WalT server can't be reached at all. */
#define PAUSE_DOWN apr_time_from_sec(1)

/* A fetch is given up so long after its last new byte. */
#define SILENCE_MAX apr_time_from_sec(40)

/* Longest pause between tries that bring nothing. */
#define PAUSE_MAX apr_time_from_sec(4)

/* When two whole fetches of an image brought the same wrong bytes, the image is not fetched again
 * for so long. */
#define MISMATCH_LASTS apr_time_from_sec(60)

/* So long it waits for who makes room in the folder: that takes milliseconds, unless the process
 * was stopped. */
#define FOLDER_WAIT apr_time_from_sec(3)

/* A fetch for which images were evicted, and that nobody has wanted for so long, is given up. */
#define UNWANTED apr_time_from_sec(10)

/* ---- the line of questions */

/* A failure that came after this long is shared. */
#define LONG_FAILURE apr_time_from_sec(1)

/* A question that is not answered for so long keeps nobody else from asking: two fifths of
 * REPLY_TIMEOUT. */
#define SILENT apr_time_from_sec(8)

/* ---- what is remembered */

/* A boot that nothing was heard of for this long does not go on. */
#define BOOT_FORGOTTEN apr_time_from_sec(600)

/* A download that ended short and was not resumed for this long counts as short; and the boot.sig
 * of a boot that has rested for so long vouches for nothing: by now the node may have a later one,
 * of another entrypoint behind the same name. */
#define BOOT_SILENT apr_time_from_sec(60)

/* The boots are written down once in this time. */
#define KEEP_AGAIN apr_time_from_sec(60)

/* Trouble with reading ends when an image was read and nobody met trouble for so long: where
 * descriptors run out, a request may get a descriptor, and the next request none. */
#define READING_AGAIN apr_time_from_sec(10)

#endif
