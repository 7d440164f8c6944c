/*
 * walt/query.h: asking the WalT server for a file on the entrypoint's own account.
 */
#ifndef WALT_VPN_WALT_QUERY_H
#define WALT_VPN_WALT_QUERY_H

#include "request/record.h"

/* A question and what became of it. */
typedef struct walt_query walt_query;
struct walt_query {
    /* Set by the asker. */
    const walt_vpn_entrypoint *entrypoint;
    apr_pool_t *pool;           /* for what the answer sets */
    const apr_sockaddr_t *client_addr;  /* on whose behalf, for X-Forwarded-For */
    const char *rest;           /* path behind /walt-vpn/; needs no escaping */
    apr_off_t from;             /* > 0: only the bytes from this one on are asked for */
    const char *if_range;       /* the validator that this depends on; NULL: none */
    /* The head has arrived (status, length, headers are set); an error ends the query. */
    apr_status_t (*begin)(walt_query *query);
    /* The next bytes of the body; an error ends the query. */
    apr_status_t (*take)(walt_query *query, const char *bytes, apr_size_t length);
    /* Nothing more has come for now; NULL: the asker does not mind. */
    void (*pause)(walt_query *query);
    void *data;                 /* the asker's own */

    /* Set by the answer. */
    int status;                 /* HTTP status of the reply, or of the failure to get one */
    int whole;                  /* the reply arrived to its last byte and was taken; that of a 206
                                 * to the last byte of the range */
    apr_off_t length;           /* Content-Length of the reply; -1: none */
    apr_off_t received;         /* bytes of the body so far */
    apr_table_t *headers;       /* of the reply; NULL: no head came */
    const char *content_type;   /* of the reply; NULL: it has none */
    apr_time_t sent;            /* when the question was, by waiting_clock() */
    const char *reason;         /* of a failure, for WALT_VPN_REASON; NULL: the status says it */
};

/*
 * Ask the WalT server of the entrypoint through its worker, in this thread, which may be any thread
 * of the process.  Returns when the reply has been taken, or has failed.  No client's connection
 * is part of it.  Its memory is freed before this returns, except what is in query->pool.
 */
void walt_query_ask(walt_query *query);

/*
 * The process ends, and all its questions with it, whatever thread asks them.  A question that
 * waits for bytes ends at once, a question that connects as soon as it has.  To the asker it looks
 * as if the WalT server broke off.
 */
void walt_query_end_all(void);

void walt_query_register_hooks(void);

#endif
