/*
 * ledger/book.c: a lock on memory that all processes of the server share.
 *
 * A robust mutex: the kernel tells the next holder when a process was killed that held it.
 * (apr_proc_mutex is made of these too, but takes a page for each, and does not tell.)
 */
#include "ledger/book.h"

#include "apr_time.h"

#include <errno.h>
#include <time.h>

/* A book that is held for so long by a process that was stopped is not waited for. */
#define BOOK_WAIT_SECONDS 2

apr_status_t book_make(book *made)
{
    pthread_mutexattr_t kind;
    int rv = pthread_mutexattr_init(&kind);

    if (rv != 0)
        return rv;
    rv = pthread_mutexattr_setpshared(&kind, PTHREAD_PROCESS_SHARED);
    if (rv == 0)
        rv = pthread_mutexattr_setrobust(&kind, PTHREAD_MUTEX_ROBUST);
    if (rv == 0)        /* so that a signal handler gets an error for its own thread's book */
        rv = pthread_mutexattr_settype(&kind, PTHREAD_MUTEX_ERRORCHECK);
    if (rv == 0)
        rv = pthread_mutex_init(&made->mutex, &kind);
    pthread_mutexattr_destroy(&kind);
    return rv;
}

book_state book_open(book *wanted)
{
    int rv = pthread_mutex_trylock(&wanted->mutex);

    if (rv == EBUSY) {
        struct timespec end;

        clock_gettime(CLOCK_MONOTONIC, &end);
        end.tv_sec += BOOK_WAIT_SECONDS;
        rv = pthread_mutex_clocklock(&wanted->mutex, CLOCK_MONOTONIC, &end);
    }
    if (rv == EOWNERDEAD) {
        pthread_mutex_consistent(&wanted->mutex);
        return BOOK_INHERITED;
    }
    return rv == 0 ? BOOK_OPEN : BOOK_CLOSED;
}

void book_close(book *held)
{
    pthread_mutex_unlock(&held->mutex);
}
