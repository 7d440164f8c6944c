/*
 * report/watch.h: what the administrator is told of each request: variables, log lines, counters.
 */
#ifndef WALT_VPN_REPORT_WATCH_H
#define WALT_VPN_REPORT_WATCH_H

#include "request/record.h"

/* Reasons of refusals, in the words of log and metrics page, that more than one place needs. */
#define REASON_CONFIGURATION "by the configuration of this httpd"
#define REASON_LARGE_ENROLL "an enroll body of more than 32 KiB"
#define REASON_LARGE_CHUNKED "a chunked body of more than 1 MiB"
#define REASON_BODY "a body, which WaltVpnExpose boot does not let through"
#define REASON_DISGUISE "a path below " BOOT_PREFIX " in disguise"
#define REASON_NOT_EXPOSED "not among what WaltVpnExpose boot lets through"
#define REASON_METHOD "a method that is not a word in capitals"
#define REASON_HEADER "a header line that is none"
#define REASON_CHANGED "its image has changed since it began"
#define REASON_FAILED_FETCH "what it holds came of a fetch that failed"

/*
 * Set the variables of a request that has just been judged: WALT_VPN_NODE, WALT_VPN_FILE and
 * WALT_VPN_FROM.
 */
void boot_watch_judged(request_rec *r);

/* The request is answered this way: WALT_VPN_ANSWER, and WALT_VPN_REASON unless that is NULL. */
void boot_watch_answer(request_rec *r, walt_vpn_answer answer, const char *reason);

/* The request is refused with this status, for this reason; said in the error log. */
void boot_watch_refused(request_rec *r, int status, const char *reason);

/* The node is about to be reset by the caller, because its file is "still" what why says, and asks
 * again; said in the error log.  What it has got stays an answer. */
void boot_watch_send_away(request_rec *r, walt_vpn_request *request, const char *why);

/* An answer's name, as WALT_VPN_ANSWER and the status page have it. */
const char *boot_watch_answer_name(walt_vpn_answer answer);

/* The node of r was given a boot.sig, or is about to be given a boot.img, of this digest. */
void boot_watch_digest(request_rec *r, const char *digest);

/* What is sent in this reply comes of this fetch; 0: it is verified. */
void boot_watch_fetch(walt_vpn_request *request, apr_uint64_t fetch);

/* This many bytes of the WalT server's have come in. */
void boot_watch_received(const walt_vpn_entrypoint *entrypoint, apr_off_t bytes);

/* The head of the WalT server's reply with this file has come, for which it was asked then; or none
 * will come. */
void boot_watch_answered(const walt_vpn_entrypoint *entrypoint, boot_file file, apr_time_t asked);
void boot_watch_unanswered(const walt_vpn_entrypoint *entrypoint);

/* Likewise, the head of a reply that is relayed to r. */
void boot_watch_relayed(const request_rec *r);

/* A file's name, as WALT_VPN_FILE and the metrics page have it. */
const char *boot_watch_file_name(boot_file file);

/* The status that is counted at this place, from 0 on, and why a request was refused that is
 * counted there.  The last ones are "other". */
const char *boot_watch_code(int place);
const char *boot_watch_reason(int place);

void boot_watch_register_hooks(void);

#endif
