/*
 * boot/visit.h: one request for boot.sig or boot.img, from its handler to its end.
 */
#ifndef WALT_VPN_BOOT_VISIT_H
#define WALT_VPN_BOOT_VISIT_H

#include "boot/sender.h"
#include "ledger/boots.h"
#include "ledger/waiting.h"
#include "walt/signature.h"

typedef enum {
    VISIT_ASKS,                 /* it is to ask the WalT server, when it is its turn */
    VISIT_FINDS,                /* it waits for a thread that compares the image with its digest */
    VISIT_FOLLOWS,              /* it waits for what becomes of a fetch, or for its beginning */
    VISIT_SENDS,                /* it is sent the image piece by piece */
    VISIT_OVER                  /* with what the handler returns in status */
} visit_state;

/* In r->pool.  One thread at a time works on it. */
typedef struct {
    request_rec *r;
    walt_vpn_request *request;
    visit_state state;
    int status;
    int is_late;                /* it is to end: its time is over, or it has lost its seat */
    known_node known;           /* as of the last look */
    boot_signature signature;
    question_turn *turn;        /* NULL: it does not stand in the line */
    apr_time_t look_at;         /* when it stands in the line again, after a 404; 0: it had none */
    const char *digest;         /* of the image that the node needs; NULL: not known yet */
    apr_uint64_t fetch;         /* that it follows; 0: none */
    fetch_row row;              /* of that, as of the last look */
    int needs;                  /* images may be evicted for it */
    image_sender *sender;       /* NULL: there is none yet */
    int can_grow;               /* it can be sent an image piece by piece */
    int has_fetched;            /* it has begun a fetch itself */
    int is_suspended;           /* it has left the MPM's thread */
} visit;

/* A visit of r, which its handler has just got; it may be over already. */
visit *visit_begin(request_rec *r, walt_vpn_request *request);

/* Is there something to be done, other than feeding?  It takes no time, and never waits. */
int visit_is_ready(visit *its);

/* May that be at any moment, with others waiting for it? */
int visit_is_urgent(const visit *its);

/* Do what can be done now, which may take as long as an answer of the WalT server. */
visit_state visit_go_on(visit *its);

/* Send what is there of the image and what the node takes, without waiting, in the state
 * VISIT_SENDS. */
visit_state visit_feed(visit *its);

#endif
