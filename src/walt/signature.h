/*
 * walt/signature.h: a node's boot.sig.
 */
#ifndef WALT_VPN_WALT_SIGNATURE_H
#define WALT_VPN_WALT_SIGNATURE_H

#include "walt/line.h"

/* How often a file is tried. */
#define BOOT_SIGNATURE_TRIES 3

/* Pause before a second try: a WalT server that has just broken off may be restarting. */
#define BOOT_SIGNATURE_PAUSE apr_time_from_msec(100)

/* A boot.sig on its way, with the question that brings it. */
typedef struct {
    walt_query query;
    int tries;                  /* questions so far */
    apr_array_header_t *text;   /* its bytes, in the question's pool */
} boot_signature;

/* The path of a file of this node, behind /walt-vpn/, in pool. */
const char *boot_signature_path(apr_pool_t *pool, const char *node, const char *file);

/* Prepare to ask for the boot.sig of a node, on behalf of this client. */
void boot_signature_begin(boot_signature *signature, apr_pool_t *pool,
                          const walt_vpn_entrypoint *entrypoint, const char *node,
                          const apr_sockaddr_t *client_addr);

/* The turn has come: ask, or have the answer that another visit got.  query.whole: it arrived. */
void boot_signature_take(boot_signature *signature, question_turn *turn);

/* Ask when it is this question's turn, in this thread, again if need be.  query.whole: it arrived.
 * 0: its turn did not come by the deadline. */
int boot_signature_ask(boot_signature *signature, apr_time_t deadline);

/* May a question that failed be asked again for a request that came then, after a pause that this
 * makes, and the node still be there? */
int boot_signature_try_again(const boot_signature *signature, apr_time_t came);

/* Is the boot.sig that has come a file on the WalT server?  Then it is the node's for certain; a
 * computed boot.sig may be another node's (facts.md 2). */
int boot_signature_is_file(const boot_signature *signature);

/* The digest in line 1 of a boot.sig, in lower case in its pool; NULL: there is none. */
const char *boot_signature_digest(const boot_signature *signature);

#endif
