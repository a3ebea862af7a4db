/* finish_inside: what finish.c (the machine, branches, rollback), finish_vote.c (phase one) and finish_decide.c
 * (the decision and phase two) share.
 */
#ifndef LIBTX_FINISH_INSIDE_H
#define LIBTX_FINISH_INSIDE_H

#include "libtx/finish.h"

/* finish.c */

/* Moves on; every change of phase goes through here. */
void finish_enter(struct finish *f, enum finish_phase phase);

struct txn_branch *finish_branch(const struct finish *f, size_t i);
size_t finish_count(const struct finish *f, enum branch_kind kind, enum branch_state state);
/* Remote branches that take part; they stay ACTIVE here, the coordinator has them prepared and finished. */
size_t finish_remote(const struct finish *f);
void finish_start(struct finish *f, struct txn_branch *b, enum branch_op op);
/* Sets the result; the first reason is the one that is told. */
void finish_fail(struct finish *f, int code, const char *why);
void finish_fail_branch(struct finish *f, const struct txn_branch *b);

/* finish_vote.c */

void finish_enter_vote(struct finish *f);
bool finish_step_vote(struct finish *f);
void finish_enter_single(struct finish *f);
bool finish_step_single(struct finish *f);

/* finish_decide.c */

/* Sends WIRE_DECIDE with all branches that it concerns. Not TX_OK: nothing was sent. */
int finish_ask(struct finish *f, enum verdict verdict, enum wire_wait wait, bool agents_finish,
               uint64_t deadline_ms, struct tx_error *e);
/* What came of it: sets verdict, completed, heuristic and `reason` (TEXT_LIMIT + 1 bytes), and ends the call.
 */
int finish_answer(struct finish *f, char *reason, struct tx_error *e);
/* Ends the call, whose result is rc. */
void finish_asked(struct finish *f, int rc);

void finish_enter_decide(struct finish *f);
bool finish_step_decide(struct finish *f);
void finish_enter_carry_out(struct finish *f);
bool finish_step_carry_out(struct finish *f);
void finish_enter_await(struct finish *f);
bool finish_step_await(struct finish *f);

#endif
