/*
 * walt/signature.h: asking the WalT server for a node's boot.sig.
 */
#ifndef WALT_VPN_WALT_SIGNATURE_H
#define WALT_VPN_WALT_SIGNATURE_H

#include "walt/query.h"

/* How often a file is tried. */
#define BOOT_SIGNATURE_TRIES 3

/* Pause before a second try: a WalT server that has just broken off may be restarting. */
#define BOOT_SIGNATURE_PAUSE apr_time_from_msec(100)

/* A boot.sig on its way: its bytes, in pool. */
typedef struct {
    apr_pool_t *pool;
    char *text;                 /* NULL: no room was made yet */
    apr_size_t room;
    apr_size_t length;
} boot_signature;

/* The path of a file of this request's node, behind /walt-vpn/, in pool. */
const char *boot_signature_path(apr_pool_t *pool, const walt_vpn_request *request,
                                const char *file);

/*
 * Ask for the boot.sig of the node of r when it is its turn, again if need be.  query->whole: it
 * arrived.  *tries counts the questions of a request.  0: its turn did not come by the deadline.
 */
int boot_signature_ask(request_rec *r, walt_query *query, boot_signature *signature, int *tries,
                       apr_time_t deadline);

/* The digest in line 1 of a boot.sig, in lower case in its pool; NULL: there is none. */
const char *boot_signature_digest(const boot_signature *signature);

/*
 * May a failed question be asked again, after a pause that this makes, and the node still be
 * there?
 */
int boot_signature_try_again(const request_rec *r, const walt_query *query, int tries);

#endif
