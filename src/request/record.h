/*
 * request/record.h: the record of a request that an entrypoint has claimed.
 *
 * What a part of the module finds out about a request and another part needs, from judging the
 * request to its log line.
 */
#ifndef WALT_VPN_REQUEST_RECORD_H
#define WALT_VPN_REQUEST_RECORD_H

#include "request/entrypoint.h"
#include "request/judge.h"

/* How a claimed request was answered. */
typedef enum {
    WALT_VPN_RELAYED,           /* by the WalT server */
    WALT_VPN_CACHED,            /* from the cache folder */
    WALT_VPN_FETCHED,           /* from the cache folder, after a fetch for this request */
    WALT_VPN_STREAMED,          /* from a fetch for another request, while it went on */
    WALT_VPN_WAITED,            /* from the cache folder, after a fetch for another request */
    WALT_VPN_REFUSED,           /* with an error, by this module's judgement */
    WALT_VPN_FAILED,            /* with an error: the WalT server did not deliver */
    WALT_VPN_ANSWERS            /* how many there are */
} walt_vpn_answer;

/* The names of these, and of files: as variables and pages have them. */
extern const char *const walt_vpn_answer_names[WALT_VPN_ANSWERS];
extern const char *const boot_file_names[BOOT_FILES];

/* One claimed request.  Lives in r->pool. */
typedef struct {
    const walt_vpn_entrypoint *entrypoint;
    boot_request boot;
    const char *rest;           /* path behind /walt-vpn/, as sent, judged */
    const char *query;          /* as sent, judged; NULL: none */
    char *path;                 /* that of r->parsed_uri, while it is out of mod_md's sight */
    apr_off_t resume_from;      /* N of a lone "Range: bytes=N-"; 0: no such range */
    int other_range;            /* it has a Range of another form */
    walt_vpn_answer answer;     /* known when WALT_VPN_ANSWER is set */
    apr_time_t came;            /* when its handler was asked, by waiting_clock(): since then
                                 * its node waits */
    apr_time_t asked_at;        /* when mod_proxy began to wait for the head of a reply to it; 0: it
                                 * does not */
    boot_reason refused_for;    /* with WALT_VPN_REFUSED */
    int is_strangers;           /* refused as no node asks so */
    int replaced_by;            /* error that was sent for a broken reply, a status; 0: none */
    int sent_away;              /* it is reset so that the node comes again: it counts as no
                                 * download that ended short, and as no boot that failed at its
                                 * signature */
    const char *digest;         /* of the image, as far as it is known; else NULL */
    apr_uint64_t fetch;         /* whose bytes it is sent unproven; 0: none */
    int is_declined;            /* it was suspended, and is relayed all the same */
    struct walt_question *question;     /* the entrypoint's own question that the request is
                                 * (walt/query.c); NULL: it is a client's */
    struct watch *watch;        /* of its reply, if it is a client's (report/watch.c) */
} walt_vpn_request;

/* The record of a claimed main request, or NULL for a request that is none of ours. */
walt_vpn_request *walt_vpn_request_of(const request_rec *r);

/* Does a body come with r?  ap_request_has_body() says no for each HEAD. */
int walt_vpn_request_has_body(const request_rec *r);

/* Make the record of r, empty. */
walt_vpn_request *walt_vpn_request_make(request_rec *r);

#endif
