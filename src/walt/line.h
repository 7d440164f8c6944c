/*
 * walt/line.h: the line in which questions for boot.sig stand before a WalT server.
 */
#ifndef WALT_VPN_WALT_LINE_H
#define WALT_VPN_WALT_LINE_H

#include "walt/query.h"

/*
 * Open the line before the WalT server of this worker's URL, or make it; called in post_config,
 * before the children exist.  It lives in the pool of the process: restarts keep it, and all
 * virtual hosts that name that server share it.
 */
apr_status_t question_line_open(struct question_line **line, const char *url,
                                apr_pool_t *process_pool);

/*
 * Ask as walt_query_ask() does (without a begin), when it is this question's turn.  It may be given
 * the answer, or the failure, of another question that stood in the line at the same time.  0: its
 * turn did not come by the deadline, or too many threads wait; nothing was asked.
 */
int question_line_ask(request_rec *r, walt_query *query, apr_time_t deadline);

#endif
