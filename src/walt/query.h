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
    const char *rest;           /* path behind /walt-vpn/; needs no escaping */
    boot_file file;             /* that it names */
    /* The head has arrived (status, length, headers are set); an error ends the query. */
    apr_status_t (*begin)(walt_query *query);
    /* The next bytes of the body; an error ends the query. */
    apr_status_t (*take)(walt_query *query, const char *bytes, apr_size_t length);
    /* Nothing more has come for now; NULL: the asker does not mind. */
    void (*pause)(walt_query *query);
    void *data;                 /* the asker's own */

    /* Set by the answer. */
    int status;                 /* HTTP status of the reply, or of the failure to get one */
    int whole;                  /* the reply arrived to its last byte and was taken */
    apr_off_t length;           /* Content-Length; -1: none */
    apr_off_t received;         /* bytes of the body so far */
    apr_table_t *headers;       /* of the reply, in the asking request's pool */
    const char *content_type;   /* likewise */
};

/*
 * Ask by a sub-request of r through the entrypoint's worker; returns when the reply has been
 * taken, has failed, or has been refused by begin or take.  Whether the client of r is still
 * there does not matter.
 */
void walt_query_ask(request_rec *r, walt_query *query);

void walt_query_register_hooks(void);

#endif
