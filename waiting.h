/*
 * waiting.h: threads that wait on behalf of nodes, and how long they may.
 */
#ifndef WALT_VPN_WAITING_H
#define WALT_VPN_WAITING_H

#include "httpd.h"

/* A thread of this process begins to wait for something that another request brings about, and has
 * ended. */
void waiting_begin(void);
void waiting_end(void);

typedef enum {
    WAITING_LITTLE,
    WAITING_CROWDED,            /* more than half of the threads do: one more does not pay for long */
    WAITING_FULL                /* three quarters of them: the rest is for the rest of the server */
} waiting_state;

waiting_state waiting_level(void);

/* Has one that began to wait then waited for too long, as crowded as it is now? */
int waiting_is_too_long(apr_time_t began);

#endif
