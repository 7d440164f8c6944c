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

/* A question in the line. */
typedef struct question_turn question_turn;

/* Come to the line of its entrypoint with this question, which has no begin.  The turn is in the
 * question's pool, and ends with it at the latest. */
question_turn *question_line_come(walt_query *query);

/* Has the turn come: may it be asked now, or has another visit an answer, or failed so that this
 * would fail too?  This never waits.  The place to ask from is held until the turn is taken or
 * left. */
int question_line_look(question_turn *turn);

/* Ask as walt_query_ask() does, or be given what another visit got.  The question gathers the
 * answer's bytes in body.  The turn ends. */
void question_line_take(question_turn *turn, const apr_array_header_t *body);

/* Go away without asking.  The turn ends. */
void question_line_leave(question_turn *turn);

void question_line_register_hooks(void);

#endif
