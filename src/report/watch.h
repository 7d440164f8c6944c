/*
 * report/watch.h: what the administrator is told of each request: variables, log lines, counters.
 */
#ifndef WALT_VPN_REPORT_WATCH_H
#define WALT_VPN_REPORT_WATCH_H

#include "ledger/counters.h"

/*
 * Set the variables of a request that has just been judged: WALT_VPN_NODE, WALT_VPN_FILE and
 * WALT_VPN_FROM.  From now on its reply is followed, if it is a client's.
 */
void boot_watch_judged(request_rec *r);

/* The request is answered this way: WALT_VPN_ANSWER, and WALT_VPN_REASON unless that is NULL. */
void boot_watch_answer(request_rec *r, walt_vpn_answer answer, const char *reason);

/* The request is refused for this reason. */
void boot_watch_refuse(request_rec *r, boot_reason reason);

/* The request is refused with this status, because no node asks so; said in the error log. */
void boot_watch_refused(request_rec *r, int status, boot_reason reason);

/* The caller is about to reset the node, which then asks again.  The error log says the reason: its
 * file is "still" what why says.  What the node has got stays an answer. */
void boot_watch_send_away(request_rec *r, walt_vpn_request *request, const char *why);

/* The node of r was given a boot.sig, a file on the WalT server or not, or is about to be given a
 * boot.img, of this digest. */
void boot_watch_digest(request_rec *r, const char *digest, int is_file);

/* The WalT server's boot.img has another digest than its boot.sig signs: WALT_VPN_REASON. */
void boot_watch_mismatch(request_rec *r, const char *vouched, const char *found);

/* What is sent in this reply comes of this fetch; 0: it is verified. */
void boot_watch_fetch(walt_vpn_request *request, apr_uint64_t fetch);

/* This many bytes of the WalT server's have come in. */
void boot_watch_received(const walt_vpn_entrypoint *entrypoint, apr_off_t bytes);

/* The head of the WalT server's reply with this file has come, for which it was asked then; or none
 * will come. */
void boot_watch_answered(const walt_vpn_entrypoint *entrypoint, boot_file file, apr_time_t asked);
void boot_watch_unanswered(const walt_vpn_entrypoint *entrypoint);

/* The head of a reply has come that is relayed to r. */
void boot_watch_relayed(const request_rec *r);

/* The statuses that are counted apart; the last one is "other". */
extern const char *const boot_watch_codes[COUNTED_CODES];

void boot_watch_register_hooks(void);

#endif
