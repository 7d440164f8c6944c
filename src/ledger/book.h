/*
 * ledger/book.h: a lock on memory that all processes of the server share.
 */
#ifndef WALT_VPN_LEDGER_BOOK_H
#define WALT_VPN_LEDGER_BOOK_H

#include "apr_errno.h"

#include <pthread.h>

/* Lives in shared memory, beside what it guards. */
typedef struct {
    pthread_mutex_t mutex;
} book;

typedef enum {
    BOOK_CLOSED,                /* it can't be had: nothing may be read or written */
    BOOK_OPEN,
    BOOK_INHERITED              /* open, and its last holder died while it wrote */
} book_state;

/* Make a book in new memory; called in post_config, before the children exist. */
apr_status_t book_make(book *made);

/*
 * Open a book, for moments: no wait, no call of httpd's, no log line until it is closed.  A holder
 * that was killed leaves the book to the next caller, who finds at worst one row half written.
 * BOOK_CLOSED: a stopped process has held it for seconds, or this thread itself holds it
 * (prefork ends its children in a signal handler).
 */
book_state book_open(book *wanted);

void book_close(book *held);

#endif
